// A packet on its way through the path, and a burst of them. Every stage reads and writes these; a worker owns one
// Burst per receive and nobody else sees it. Frames belong to the burst until a stage consumes or drops the packet.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/flow/flow_table.h"
#include "dataplane/packet/frame.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus {

enum class Verdict : std::uint8_t {
  kContinue,  // the next stage looks at it
  kDrop,      // `reason` says why; counted and freed at the exit
  kConsumed,  // its frame has another holder now
};

struct Packet {
  Frame frame;
  std::uint8_t* ip = nullptr;  // the inner IP header (the only one, where the packet was not tunnelled)
  std::uint8_t* l4 = nullptr;  // the header behind it
  std::uint32_t ip_bytes = 0;  // IP header and payload, as the header says
  Verdict verdict = Verdict::kContinue;
  DropReason reason{};
  Side side = Side::kLocal;  // where it came from
  Family family = Family::kIpv4;
  std::uint8_t tcp_flags = 0;
  bool icmp_error = false;  // key is the one of the connection it reports on, in the same direction
  DeviceId device;          // where it came in
  PeerId peer;              // fabric side: the tunnel end it came from
  Vni vni;                  // fabric side: as received
  FlowKey key;
  std::uint64_t hash = 0;                 // of key, as the connection table's hash() makes it
  Hit hit;                                // after track: the connection and direction, if any
  const DirectionBlock* block = nullptr;  // after track or admit: the decision that stands

  // A frame that a device has just handed over; parse fills in the rest.
  void receive(const Frame& received, DeviceId from) noexcept {
    frame.data = received.data;
    frame.length = received.length;
    frame.chunk = received.chunk;
    device = from;
    verdict = Verdict::kContinue;
    tcp_flags = 0;
    icmp_error = false;
    peer = kNoPeer;
    vni = Vni{};
    hit.connection = nullptr;
    block = nullptr;
  }
  void drop(DropReason why) noexcept {
    verdict = Verdict::kDrop;
    reason = why;
  }
  [[nodiscard]] bool alive() const noexcept { return verdict == Verdict::kContinue; }
};

struct Burst {
  std::array<Packet, kMaxBurst> packets;
  unsigned count = 0;
  unsigned undecided = 0;  // after track: packets without a standing decision
  [[nodiscard]] Packet* begin() noexcept { return packets.data(); }
  [[nodiscard]] Packet* end() noexcept { return packets.data() + count; }
};

}  // namespace isthmus
