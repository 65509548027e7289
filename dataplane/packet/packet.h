// A packet on its way through the path, and a burst of them. Every stage reads and writes these; a worker owns one
// Burst per receive and shares it with no other thread. Frames belong to the burst until a stage consumes or drops the
// packet.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dataplane/packet/flow_key.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/origin.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus {

struct DirectionBlock;  // conntrack/direction_block.h
struct DirectionLine;   // conntrack/connection.h

// What of its datagram a packet is: all of it, its beginning with the L4 header, or a part behind that without one.
enum class Fragment : std::uint8_t { kNone, kFirst, kLater };

enum class Verdict : std::uint8_t {
  kContinue,  // goes on to the next stage
  kDrop,      // dropped for `reason`; counted and freed at the end of the path
  kConsumed,  // its frame has been handed on
  kEcho,      // the ping of a VIP, to be answered (originate/echo_reply.cc)
  kToHost,    // not the fleet's: its frame goes to the kernel as it came (path/host.h)
};

struct alignas(64) Packet {
  Frame* frame = nullptr;      // in the burst
  std::uint8_t* ip = nullptr;  // the inner IP header (the only one if the packet was not tunnelled)
  std::uint8_t* l4 = nullptr;  // the L4 header; of a later fragment, what lies behind its IP headers
  std::uint32_t ip_bytes = 0;  // total length of the IP packet, from its header
  // Eight bytes that are written together; the first four are tested together.
  std::uint8_t tcp_flags = 0;
  bool icmp_error = false;  // `key` is then that of the connection it reports on, in its direction
  bool unusual = false;     // not IPv4 without options, with TCP or UDP
  Verdict verdict = Verdict::kContinue;
  DropReason reason{};
  bool stray : 1 = false;  // an ICMP error that passes although its connection is none of ours
  // From the body of its DSR option to the inner Ethernet header (dsr.h); 0: it has none.
  std::uint8_t dsr_words : 7 = 0;
  Family family = Family::kIpv4;
  Fragment fragment{};  // of any but kNone, `unusual` is set
  Origin origin;
  FlowKey key;
  std::uint64_t hash = 0;                 // FlowTable::hash(key)
  const void* bucket = nullptr;           // FlowTable::prefetch_bucket(hash)
  DirectionLine* line = nullptr;          // after lookup: of its connection and direction, if any
  const DirectionBlock* block = nullptr;  // after lookup: the decision, or one for no packet; later the valid one

  // Starts over, before its headers are read.
  void begin(std::uint8_t flags = 0) noexcept {
    constexpr std::uint64_t kIpv4 = std::uint64_t{static_cast<std::uint8_t>(Family::kIpv4)} << 48;
    const std::uint64_t word = kIpv4 | flags;
    std::memcpy(&tcp_flags, &word, sizeof word);
  }
  void drop(DropReason drop_reason) noexcept {
    verdict = Verdict::kDrop;
    reason = drop_reason;
  }
  [[nodiscard]] bool alive() const noexcept { return verdict == Verdict::kContinue; }
  // Alive, IPv4 without options, with UDP or with TCP that neither opens nor closes: all that a settled flow has.
  [[nodiscard]] bool ordinary() const noexcept {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::uint32_t kAny = 0xffffff07;  // FIN, SYN, RST; ICMP error; unusual; a verdict
    std::uint32_t marks = 0;
    std::memcpy(&marks, &tcp_flags, sizeof marks);
    return (marks & kAny) == 0;
  }
};

static_assert(sizeof(Packet) == 128 && offsetof(Packet, family) == offsetof(Packet, tcp_flags) + 6);

// Packets of a burst by their index, in order.
struct PacketList {
  std::array<std::uint8_t, kMaxBurst> index;
  unsigned count = 0;
  void add(unsigned packet) noexcept { index[count++] = static_cast<std::uint8_t>(packet); }
};

struct Burst {
  Burst() noexcept {
    for (unsigned i = 0; i < kMaxBurst; ++i) {
      packets[i].frame = &frames[i];
    }
  }
  Burst(const Burst&) = delete;
  Burst& operator=(const Burst&) = delete;

  static constexpr unsigned kAhead = 4;  // frames that may be read, and prefetched, behind the last one
  std::array<Frame, kMaxBurst + kAhead> frames;
  std::array<Packet, kMaxBurst> packets;
  unsigned count = 0;
  DeviceId device;       // it arrived on
  PacketList undecided;  // after lookup: alive packets without a valid decision
  [[nodiscard]] Packet* begin() noexcept { return packets.data(); }
  [[nodiscard]] Packet* end() noexcept { return packets.data() + count; }
};

}  // namespace isthmus
