// forward: the last step of a packet: rewrite, encap, then the Ethernet addresses of the next hop and the transmit
// batch of its device. At most one packet waits per unresolved next hop.
#pragma once

#include "dataplane/path/context.h"
#include "dataplane/path/encap.h"
#include "dataplane/path/rewrite.h"
#include "dataplane/slowpath/admit.h"

namespace isthmus {

// Counts, reports and frees a dropped packet. (forward_slow.cc)
void finish_drop(PathContext& context, const Burst& burst, Packet& packet) noexcept;
// For a packet with SYN, FIN or RST, or an ICMP error: whether its decision, which holds, may be used. Reports the
// first FIN and RST of a direction. (forward_slow.cc)
[[nodiscard]] bool usable_for_special(PathContext& context, const Packet& packet) noexcept;

// An ICMP error about a packet that is as it came, to its sender: the way it came, but not to a load balancer, which is
// not who has made it (dsr_error_slow.cc).
void tell_sender(PathContext& context, const Packet& packet, IcmpError what, Bytes mtu) noexcept;

// Of a SYN, which is to be forwarded by the block: lowers the maximum segment size that it announces to what the path
// carries in either direction. (mss_slow.cc)
void clamp_segments(const PathContext& context, Packet& packet, const DirectionBlock& block) noexcept;
// A complete frame whose next hop has no MAC address yet, or whose transmit batch is full. False: it has been dropped.
// (forward_slow.cc)
[[nodiscard]] bool keep_waiting(PathContext& context, Packet& packet, const DirectionBlock& block) noexcept;

class Forwarder;
// Of an ICMP error about no connection of ours, which has a decision and is still as it came: leaves nothing of it but
// headers, and sends copies to the other gateways of the cluster that it goes to, where it may be about a service's
// connection that one of them has. Drops it if its checksum is wrong. (stray_error_slow.cc)
void prepare_stray_error(PathContext& context, Forwarder& forwarder, Packet& packet) noexcept;

// Of an ICMP message that is all there: a corrupt one must not get a good checksum by being changed. (rewrite_slow.cc)
[[nodiscard]] bool icmp_checksum_valid(const Packet& packet) noexcept;

// How a tunnel packet is fragmented. (split_slow.cc)
struct TunnelCut;

// What forwarding reads for each packet of a burst, and the sums it keeps until the burst's end.
class Forwarder {
 public:
  explicit Forwarder(PathContext& context) noexcept
      : context_(context),
        peers_(*context.snapshot->peers),
        adjacencies_(context.shared.adjacencies),
        settled_now_(context.now.value() << 8 | mark::kSettled),
        batch_(context.output.tx.data()),
        ip_id_(context.output.ip_id) {}
  ~Forwarder() {
    context_.output.ip_id = ip_id_;
    context_.counters.encapsulated.add(tally_.encapsulated);
    context_.counters.fabric_bytes.add(tally_.fabric_bytes);
    context_.counters.local_bytes.add(tally_.local_bytes);
  }
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // Carries out the decision. False: the packet has been dropped.
  [[nodiscard]] bool operator()(Packet& packet, const DirectionBlock& block) noexcept;

  // The same for an ordinary packet: nearly all packets.
  [[nodiscard]] bool forward_ordinary(Packet& packet, const DirectionBlock& block) noexcept {
    return forward_ipv4<true>(packet, block);
  }
  // The same for one that is ordinary but for TCP flags that open or close.
  [[nodiscard]] bool forward_special(Packet& packet, const DirectionBlock& block) noexcept {
    return forward_ipv4<false>(packet, block);
  }

 private:
  template <bool kOrdinary>
  [[nodiscard]] bool forward_ipv4(Packet& packet, const DirectionBlock& block) noexcept {
    if (packet.ip_bytes > block.mtu || !rewrite_ordinary(packet, block)) [[unlikely]] {
      return forward_unsendable(packet, block);
    }
    if constexpr (kOrdinary) {
      account(packet);
    } else if (context_.shared.flows->account_packet(context_.worker, *packet.line, context_.now,
                                                     Bytes{packet.ip_bytes}, packet.tcp_flags)) {
      report_first_reply(context_, packet);
    }
    std::uint32_t header_bytes = sizeof(net::Ethernet);
    if ((block.flags & DirectionBlock::kTunnel) != 0) {
      const OuterHeader& header = peers_[block.encap_peer].header;
      if (header.size != encap::kIpv4Bytes) [[unlikely]] {
        return tunnel_other(packet, block, header);
      }
      push_header(header, packet, block, Family::kIpv4, ip_id_++);
      header_bytes = encap::kIpv4Bytes;
      ++tally_.encapsulated;
      tally_.fabric_bytes += packet.ip_bytes;
    } else {
      write_local_type(packet.ip, Family::kIpv4);
      tally_.local_bytes += packet.ip_bytes;
    }
    return send(packet, block, header_bytes);
  }

  // What exceeds the MTU or whose TTL is used up. (forward_slow.cc)
  [[nodiscard]] bool forward_unsendable(Packet& packet, const DirectionBlock& block) noexcept;
  // To a node that answers the client itself. (direct_return_slow.cc)
  [[nodiscard]] bool forward_with_option(Packet& packet, const DirectionBlock& block) noexcept;
  // Behind push_header(): the DSR option, if the packet takes one. Returns its bytes.
  [[nodiscard]] static std::uint32_t push_option(const Packet& packet, const DirectionBlock& block,
                                                 const OuterHeader& header) noexcept;
  // What exceeds the MTU: sends it in fragments, or drops it. (split_slow.cc)
  [[nodiscard]] bool forward_too_long(Packet& packet, const DirectionBlock& block) noexcept;
  [[nodiscard]] bool forward_in_fragments(Packet& packet, const DirectionBlock& block) noexcept;
  [[nodiscard]] Packet begin_piece(const Packet& first, Frame& frame) noexcept;
  void send_fragment(const Packet& first, const DirectionBlock& block, const std::uint8_t* data, std::uint32_t bytes,
                     std::uint32_t offset, bool more) noexcept;
  [[nodiscard]] bool tunnel_in_fragments(Packet& packet, const DirectionBlock& block) noexcept;
  void send_tunnel_fragment(const Packet& first, const DirectionBlock& block, const TunnelCut& cut,
                            const std::uint8_t* data, std::uint32_t bytes, std::uint32_t offset, bool more) noexcept;
  void account_any(const Packet& packet) noexcept;
  // What has been rewritten, by a tunnel or without.
  [[nodiscard]] bool send_any(Packet& packet, const DirectionBlock& block) noexcept;
  // The header of any kind, or none.
  [[nodiscard]] bool tunnel_other(Packet& packet, const DirectionBlock& block, const OuterHeader& header) noexcept;
  // FlowTable::account_packet() for a packet that sets no mark that its direction does not have.
  void account(Packet& packet) noexcept {
    DirectionLine& line = *packet.line;
    line.packets.store(line.packets.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    line.bytes.store(line.bytes.load(std::memory_order_relaxed) + packet.ip_bytes, std::memory_order_relaxed);
    constexpr std::uint32_t kTimeAndSettled = 0xffffff00 | mark::kSettled;
    if (((line.seen.load(std::memory_order_relaxed) ^ settled_now_) & kTimeAndSettled) != 0) [[unlikely]] {
      if (context_.shared.flows->record_packet(context_.worker, line, context_.now)) {
        report_first_reply(context_, packet);
      }
    }
  }

  // The Ethernet addresses in front of `header_bytes` bytes before the inner IP header, and the transmit batch.
  [[nodiscard]] bool send(Packet& packet, const DirectionBlock& block, std::uint32_t header_bytes) noexcept {
    std::uint8_t* const data = packet.ip - header_bytes;
    const std::uint32_t length = packet.ip_bytes + header_bytes;
    if (block.device != batch_device_) [[unlikely]] {
      batch_device_ = block.device;
      batch_ = &context_.output.tx[block.device.value()];
    }
    TxBatch& batch = *batch_;
    if (!adjacencies_.write_addresses(block.adjacency, data) || batch.count == TxBatch::kCapacity) [[unlikely]] {
      packet.frame->data = data;
      packet.frame->length = length;
      return keep_waiting(context_, packet, block);
    }
    Frame& slot = batch.frames[batch.count++];
    slot.data = data;
    slot.length = length;
    slot.chunk = packet.frame->chunk;
    return true;
  }

  PathContext& context_;
  const PeerTable& peers_;
  const AdjacencyTable& adjacencies_;
  const std::uint32_t settled_now_;  // DirectionLine::seen of a direction that had such a packet in this second
  TxBatch* batch_;                   // of the last packet's device
  DeviceId batch_device_{0};
  std::uint16_t ip_id_;  // IP identification of the next packet we build
  ForwardTally tally_;
};

}  // namespace isthmus
