// A packet on its way through the path, and a burst of them. Every stage reads and writes these; a worker owns one
// Burst per receive and shares it with no other thread. Frames belong to the burst until a stage consumes or drops the
// packet.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/packet/flow_key.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/origin.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus {

struct DirectionBlock;  // conntrack/direction_block.h
struct DirectionLine;   // conntrack/connection.h

enum class Verdict : std::uint8_t {
  kContinue,  // goes on to the next stage
  kDrop,      // dropped for `reason`; counted and freed at the end of the path
  kConsumed,  // its frame has been handed on
};

struct Packet {
  Frame frame;
  std::uint8_t* ip = nullptr;  // the inner IP header (the only one if the packet was not tunnelled)
  std::uint8_t* l4 = nullptr;  // the L4 header
  std::uint32_t ip_bytes = 0;  // total length of the IP packet, from its header
  Family family = Family::kIpv4;
  std::uint8_t tcp_flags = 0;
  Verdict verdict = Verdict::kContinue;
  DropReason reason{};
  DeviceId device;          // the device it arrived on
  bool icmp_error = false;  // `key` is then that of the connection it reports on, in its direction
  bool reopens = false;     // a SYN that hits a closing connection: a new one, once its sender has been validated
  Origin origin;
  FlowKey key;
  std::uint64_t hash = 0;                 // FlowTable::hash(key)
  DirectionLine* line = nullptr;          // after lookup: of its connection and direction, if any
  const DirectionBlock* block = nullptr;  // after lookup: the decision, if any; after the slow path: the valid one

  // Starts over with a frame that `from` has just received; parse fills in the rest.
  void receive(const Frame& received, DeviceId from) noexcept {
    frame.data = received.data;
    frame.length = received.length;
    frame.chunk = received.chunk;
    // One store: TCP flags, verdict, reason, device and the two marks start over.
    tcp_flags = 0;
    verdict = Verdict::kContinue;
    reason = DropReason{};
    device = from;
    icmp_error = false;
    reopens = false;
  }
  void drop(DropReason drop_reason) noexcept {
    verdict = Verdict::kDrop;
    reason = drop_reason;
  }
  [[nodiscard]] bool alive() const noexcept { return verdict == Verdict::kContinue; }
  // TCP with SYN, FIN or RST, or an ICMP error: more to do than for other packets of a flow.
  [[nodiscard]] bool special() const noexcept {
    constexpr std::uint8_t kFinSynRst = 0x07;
    return (tcp_flags & kFinSynRst) != 0 || icmp_error;
  }
};

// Packets of a burst by their index, in order.
struct PacketList {
  std::array<std::uint8_t, kMaxBurst> index;
  unsigned count = 0;
  void add(unsigned packet) noexcept { index[count++] = static_cast<std::uint8_t>(packet); }
};

struct Burst {
  std::array<Packet, kMaxBurst> packets;
  unsigned count = 0;
  PacketList undecided;  // after lookup: alive packets without a valid decision
  [[nodiscard]] Packet* begin() noexcept { return packets.data(); }
  [[nodiscard]] Packet* end() noexcept { return packets.data() + count; }
};

}  // namespace isthmus
