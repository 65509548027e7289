// A packet on its way through the path, and a burst of them. Every stage reads and writes these; a worker owns one
// Burst per receive and shares it with no other thread. Frames belong to the burst until a stage consumes or drops the
// packet.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/conntrack/flow_table.h"
#include "dataplane/packet/frame.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus {

enum class Verdict : std::uint8_t {
  kContinue,  // goes on to the next stage
  kDrop,      // dropped for `reason`; counted and freed in send()
  kConsumed,  // its frame has been handed on
};

struct Packet {
  Frame frame;
  std::uint8_t* ip = nullptr;  // the inner IP header (the only one if the packet was not tunnelled)
  std::uint8_t* l4 = nullptr;  // the L4 header
  std::uint32_t ip_bytes = 0;  // total length of the IP packet, from its header
  Verdict verdict = Verdict::kContinue;
  DropReason reason{};
  Side side = Side::kLocal;  // the side it arrived on
  Family family = Family::kIpv4;
  std::uint8_t tcp_flags = 0;
  bool reopens = false;     // a SYN that hits a closing connection: a new one, once its sender has been validated
  bool icmp_error = false;  // `key` is then that of the connection it reports on, in its direction
  DeviceId device;          // the device it arrived on
  PeerId peer;              // fabric side: the tunnel end it came from
  Vni vni;                  // fabric side: as received
  FlowKey key;
  std::uint64_t hash = 0;                 // FlowTable::hash(key)
  Hit hit;                                // after lookup: the connection and direction, if any
  const DirectionBlock* block = nullptr;  // after lookup or admit: the valid decision

  // Starts over with a frame that a device has just received; parse fills in the rest.
  void receive(const Frame& received, DeviceId from) noexcept {
    frame.data = received.data;
    frame.length = received.length;
    frame.chunk = received.chunk;
    device = from;
    verdict = Verdict::kContinue;
    tcp_flags = 0;
    reopens = false;
    icmp_error = false;
    peer = kNoPeer;
    vni = Vni{};
    hit.connection = nullptr;
    block = nullptr;
  }
  void drop(DropReason drop_reason) noexcept {
    verdict = Verdict::kDrop;
    reason = drop_reason;
  }
  [[nodiscard]] bool alive() const noexcept { return verdict == Verdict::kContinue; }
};

struct Burst {
  std::array<Packet, kMaxBurst> packets;
  unsigned count = 0;
  unsigned undecided = 0;  // after lookup: packets without a valid decision
  [[nodiscard]] Packet* begin() noexcept { return packets.data(); }
  [[nodiscard]] Packet* end() noexcept { return packets.data() + count; }
};

}  // namespace isthmus
