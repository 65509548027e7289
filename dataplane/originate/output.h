// Packets that the gateway sends of its own accord, ICMP errors, answers to pings, probes, and frames that wait for a
// neighbour; and the transmit batches that they share with the packet path. Thread: the owning worker.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "dataplane/base/rate_limit.h"
#include "dataplane/packet/packet.h"
#include "dataplane/publish/worker_context.h"

namespace isthmus {

// Frames to send on one device; flushed by the worker once per round.
struct TxBatch {
  // What bursts of two devices bring, and one of frames of 9,000 bytes that leave in fragments of 1,280.
  static constexpr unsigned kCapacity = 12 * kMaxBurst;
  std::array<Frame, kCapacity> frames;
  unsigned count = 0;
};

// A complete frame that waits for the MAC address of its next hop; at most one per adjacency.
struct WaitingFrame {
  Frame frame;
  AdjacencyId adjacency;
  std::uint32_t incarnation = 0;  // of the adjacency, which may be freed while the frame waits
  std::uint64_t since_ns = 0;
  std::uint64_t sender = 0;  // charged_to() of its packet, or kOurselves
};
inline constexpr std::uint64_t kOurselves = ~std::uint64_t{0};

enum class IcmpError : std::uint8_t { kPortUnreachable, kTooBig, kTimeExceeded };
inline constexpr std::size_t kIcmpErrors = 3;
inline constexpr std::uint32_t kPathMtuClaimsPerSecond = 4;

struct Output {
  explicit Output(WorkerContext& context)
      : worker(context),
        icmp_limits{ErrorLimits(context.shared.options.icmp_errors_per_second),
                    ErrorLimits(context.shared.options.icmp_errors_per_second),
                    ErrorLimits(context.shared.options.icmp_errors_per_second)},
        echo_limits(ErrorLimits::of_prefixes(context.shared.options.echo_answers_per_second)) {}

  WorkerContext& worker;
  std::vector<TxBatch> tx;  // by DeviceId
  std::array<WaitingFrame, 64> waiting{};
  unsigned waiting_count = 0;
  std::array<ErrorLimits, kIcmpErrors> icmp_limits;       // so that one kind cannot use up another's
  ErrorLimits echo_limits;                                // of answers to pings
  SenderLimits path_mtu_claims{kPathMtuClaimsPerSecond};  // that are passed on to control, by peer
  std::uint16_t ip_id = 0;                                // IP identification of the next packet we build
};

// Adds a complete frame to its device's transmit batch. False if the batch is full; the caller then keeps the frame.
[[nodiscard]] inline bool append(Output& output, const Frame& frame, DeviceId device) noexcept {
  TxBatch& batch = output.tx[device.value()];
  if (batch.count == TxBatch::kCapacity) [[unlikely]] {
    return false;
  }
  // Field by field: the fields were written just now, and one wide load would stall on store forwarding.
  Frame& slot = batch.frames[batch.count++];
  slot.data = frame.data;
  slot.length = frame.length;
  slot.chunk = frame.chunk;
  return true;
}
[[nodiscard]] inline bool append(Output& output, const Frame& frame, AdjacencyId adjacency) noexcept {
  return append(output, frame, output.worker.shared.adjacencies.device(adjacency));
}

// Keeps the frame until its next hop is resolved; where too many wait, the oldest of the sender that has most of them
// is dropped. False if another frame already waits for it; the caller then keeps the frame.
[[nodiscard]] bool wait_for_mac(Output& output, const Frame& frame, AdjacencyId adjacency,
                                std::uint64_t sender) noexcept;

// Sends a frame that is complete but for its Ethernet addresses: to the device's batch, or to wait for the next hop's
// MAC address. Always takes ownership of the frame; one that cannot be sent is counted as a drop and freed.
void send_frame(Output& output, const Frame& frame, AdjacencyId adjacency) noexcept;

// Puts the outer header for `peer` in front of the IP packet at `ip` inside `frame` and moves the frame's start.
// Returns the drop reason on failure: no such peer, no headroom, or longer than the underlay's MTU.
[[nodiscard]] std::optional<DropReason> push_tunnel(Output& output, Frame& frame, std::uint8_t* ip,
                                                    std::uint32_t ip_bytes, Family family, PeerId peer, Vni vni,
                                                    std::uint16_t entropy) noexcept;

// Once per round: sends the waiting frames whose next hop is resolved and drops those that have waited for a second.
void retry_waiting(Output& output) noexcept;

// Sends an ICMP error about a packet to its source (RFC 1812 section 4.3, RFC 4443) the way it came: into the tunnel of
// its peer, or to the MAC address from which it arrived, so that it makes and awaits no next hop.
// Rate-limited by kind, sender and source prefix, and never about an ICMP error. Does not change the packet, which must
// be as its sender sent it. The error comes from the packet's destination, as if that had refused it; but that of a
// used-up TTL from an address of the gateway's own, which a trace then shows: without one of the family it is not sent.
void send_icmp_error(Output& output, const Packet& packet, IcmpError what, Bytes mtu = Bytes{0}) noexcept;

// The same error alone, in a frame of its own with room for headers, from its IP header on as long as `most` at most.
// nullopt: none is to be sent.
[[nodiscard]] std::optional<Frame> make_icmp_error(Output& output, const Packet& packet, IcmpError what, Bytes mtu,
                                                   Bytes most) noexcept;

// Whether the limits have room for one more packet that goes to the sender of this one; takes it.
[[nodiscard]] bool within_limits(const Output& output, const Packet& packet, ErrorLimits& limits) noexcept;

// Answers an echo request for a VIP in the VIP's name, the way it came (echo_reply.cc): in its own frame, so that it
// needs no other, and limited by its sender and source prefix. The request is consumed, or dropped.
void answer_echo(Output& output, Packet& packet) noexcept;

// Health probes inside the tunnel. handle_probe() answers a request, reports the first answer to a probe of ours to
// control, and drops anything else; a valid probe is consumed.
void handle_probe(Output& output, Packet& packet) noexcept;
void send_probe(Output& output, const ProbeCommand& probe) noexcept;

}  // namespace isthmus
