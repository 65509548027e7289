// forward: the last step of a packet: rewrite, encap, then the Ethernet addresses of the next hop and the transmit
// batch of its device. At most one packet waits per unresolved next hop.
#pragma once

#include "dataplane/path/context.h"
#include "dataplane/path/encap.h"
#include "dataplane/path/rewrite.h"

namespace isthmus {

// What forwarding reads for each packet of a burst, and the sums it keeps until the burst's end.
class Forwarder {
 public:
  explicit Forwarder(PathContext& context) noexcept
      : context_(context), peers_(*context.snapshot->peers), adjacencies_(context.shared.adjacencies) {}
  ~Forwarder() {
    context_.counters.encapsulated.add(tally_.encapsulated);
    context_.counters.fabric_bytes.add(tally_.fabric_bytes);
    context_.counters.local_bytes.add(tally_.local_bytes);
  }
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // Carries out the decision. Afterwards the packet is consumed or dropped.
  void operator()(Packet& packet, const DirectionBlock& block) noexcept {
    if (!rewrite(context_, packet, block)) [[unlikely]] {
      return;
    }
    if (!packet.icmp_error) [[likely]] {
      context_.shared.flows->account_packet(context_.worker, *packet.line, context_.now, Bytes{packet.ip_bytes},
                                            packet.tcp_flags);
    }
    if (!encapsulate(context_, peers_, packet, block, tally_)) [[unlikely]] {
      return;
    }
    if (!adjacencies_.write_addresses(block.adjacency, block.device, packet.frame.data)) [[unlikely]] {
      wait(packet, block);
      return;
    }
    TxBatch& batch = context_.output.tx[block.device.value()];
    if (batch.count == TxBatch::kCapacity) [[unlikely]] {
      packet.drop(DropReason::kTxFull);
      return;
    }
    packet.verdict = Verdict::kConsumed;
    // Field by field: the fields were written just now, and one wide load would stall on store forwarding.
    Frame& slot = batch.frames[batch.count++];
    slot.data = packet.frame.data;
    slot.length = packet.frame.length;
    slot.chunk = packet.frame.chunk;
  }

 private:
  void wait(Packet& packet, const DirectionBlock& block) noexcept {
    if (wait_for_mac(context_.output, packet.frame, block.adjacency)) {
      packet.verdict = Verdict::kConsumed;
    } else {
      packet.drop(DropReason::kNeighbourUnresolved);
    }
  }

  PathContext& context_;
  const PeerTable& peers_;
  const AdjacencyTable& adjacencies_;
  ForwardTally tally_;
};

// Counts, reports and frees a dropped packet. (forward_slow.cc)
void finish_drop(PathContext& context, const Burst& burst, Packet& packet) noexcept;
// For a packet with SYN, FIN or RST, or an ICMP error: whether its decision, which holds, may be used. Reports the
// first FIN and RST of a direction. (forward_slow.cc)
[[nodiscard]] bool usable_for_special(PathContext& context, const Packet& packet) noexcept;

}  // namespace isthmus
