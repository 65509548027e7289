// Layout of a connection slot in the mapping: one shared cache line and one line per direction.
//
// Plain numbers, no pointers. Slot numbers start at 0, block numbers at kFirstBlock. A slot's keys and the non-atomic
// fields of its shared line are written before the slot is linked and stay constant until it is freed, one grace period
// after it was unlinked. The packet path touches only the direction line. Readers must be in a read section.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dataplane/base/mix.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"
#include "dataplane/packet/flow_key.h"

namespace isthmus {

// kForward is the direction of the first packet.
enum class Direction : std::uint8_t { kForward = 0, kReply = 1 };
[[nodiscard]] constexpr Direction opposite(Direction d) noexcept {
  return d == Direction::kForward ? Direction::kReply : Direction::kForward;
}

// Block numbers that are never allocated. Their blocks have an origin that no packet has.
inline constexpr std::uint32_t kNoBlock = 0;       // no decision for this direction yet
inline constexpr std::uint32_t kBlockRemoved = 1;  // the connection has been removed
inline constexpr std::uint32_t kFirstBlock = 2;

// TCP flags as in the header (RFC 9293 section 3.1); 0 for other protocols.
namespace tcp_flag {
inline constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
// The first packet of a connection: a SYN and nothing else of these.
[[nodiscard]] constexpr bool is_opening(std::uint8_t flags) noexcept {
  return (flags & (kFin | kSyn | kRst | kAck)) == kSyn;
}
}  // namespace tcp_flag

// Which kinds of packets a direction has seen: the low 8 bits of DirectionLine::seen.
namespace mark {
inline constexpr std::uint8_t kSeen = 1;  // any packet
inline constexpr std::uint8_t kSyn = 2;
inline constexpr std::uint8_t kNonSyn = 4;  // TCP without SYN
inline constexpr std::uint8_t kFin = 8;
inline constexpr std::uint8_t kRst = 16;
inline constexpr std::uint8_t kClosed = 32;   // the connection is closing: packets no longer extend its lifetime
inline constexpr std::uint8_t kSettled = 64;  // a packet that neither opens nor closes: another one sets no new mark
}  // namespace mark

struct alignas(64) DirectionLine {
  FlowKey key;
  std::atomic<std::uint32_t> block{kNoBlock};  // block number, kNoBlock or kBlockRemoved
  std::atomic<std::uint32_t> seen{0};  // time of the last packet (table clock, seconds modulo 2^24) << 8, and marks
  // Updated by a relaxed load, add and store: two workers that handle one direction at the same time may lose a count.
  std::atomic<std::uint64_t> packets{0};
  std::atomic<std::uint64_t> bytes{0};
};
static_assert(sizeof(DirectionLine) == 64 && std::is_standard_layout_v<DirectionLine>);
static_assert(offsetof(DirectionLine, block) == 40 && offsetof(DirectionLine, seen) == 44);
static_assert(offsetof(DirectionLine, packets) == 48 && offsetof(DirectionLine, bytes) == 56);

// An underlay address that any worker may replace. Two words: a reader may see one of each of two writers, which makes
// an address that is no peer's, or rarely another peer's; whoever uses it checks that it is one of the right cluster.
class PeerAddress {
 public:
  [[nodiscard]] IpAddress load() const noexcept {
    const std::uint64_t words[2] = {high_.load(std::memory_order_relaxed), low_.load(std::memory_order_relaxed)};
    std::uint8_t bytes[sizeof words];
    std::memcpy(bytes, words, sizeof words);
    return IpAddress::ipv6(bytes);
  }
  void store(const IpAddress& address) noexcept {
    std::uint64_t words[2];
    std::memcpy(words, address.bytes().data(), sizeof words);
    high_.store(words[0], std::memory_order_relaxed);
    low_.store(words[1], std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> high_{0}, low_{0};  // as the address lies in memory
};

struct alignas(64) ConnectionShared {
  // Bits of `state`.
  static constexpr std::uint32_t kOpened = 1;   // no longer half-open
  static constexpr std::uint32_t kWasDown = 2;  // its ForwardedCounts are of this connection
  static constexpr std::uint32_t kPin = 4;      // its client keeps its backend (affinity_table.h)
  static constexpr std::uint32_t kWatched = 8;  // how it opens is to be told, and has not been yet
  static constexpr unsigned kUserShift = 16;    // from here on: user_flags()

  // Over the keys and plain fields; 0: the slot is free. Written last on insert and cleared first on removal, so that
  // adoption recognises half-written slots.
  std::atomic<std::uint32_t> checksum{0};
  std::atomic<std::uint32_t> sequence{0};  // incremented whenever the slot is freed
  std::atomic<std::uint32_t> state{0};
  std::atomic<std::uint32_t> closed_at{0};  // seconds, valid with mark::kClosed
  std::atomic<std::uint64_t> half_open{0};  // of class HalfOpen: its place, until kOpened is set, and who holds it
  std::atomic<std::uint32_t> lease{0};  // that the connection is handed down with: its pair (leases.h); 0: it is not
  static constexpr std::uint32_t kEarlierPair = 1U
                                                << 31;  // of `lease`: an earlier process's, whose counts are not here
  // exit_of() of the tunnel end that the forward direction goes to, where `peer` is the one that it comes from; 0:
  // none.
  std::atomic<std::uint32_t> exit{0};
  // The tunnel end that the connection keeps: that which last sent the forward direction or, where that comes from the
  // local side, that to which it goes. By address, because the slot may outlive the numbers of this process.
  PeerAddress peer;
  Seconds created;
  Identity source_identity;
  Side from = Side::kLocal;  // of the forward direction
  Side to = Side::kLocal;
  // The direction of the first packet that was seen. kReply: a connection that may have been opened elsewhere, taken up
  // by what looks like an answer.
  Direction first = Direction::kForward;
  bool vouched = false;  // a load balancer has opened it for its client: counts for that one, and for `cluster`
  ClusterId cluster;     // the other cluster that opened it; kNoCluster: our own
  // Replies go straight from the backend to the client, in the VIP's name: the reply key is the reverse of the forward
  // one, and the backend stands in the forward direction's block. Packets of one direction alone keep it alive.
  bool direct_return = false;
  std::uint8_t reserved = 0;

  // Of this process; 0: none.
  [[nodiscard]] std::uint32_t pair(std::memory_order order = std::memory_order_seq_cst) const noexcept {
    const std::uint32_t word = lease.load(order);
    return (word & kEarlierPair) != 0 ? 0 : word;
  }

  [[nodiscard]] bool has_pin() const noexcept { return (state.load(std::memory_order_relaxed) & kPin) != 0; }
  void set_pin() noexcept { state.fetch_or(kPin, std::memory_order_relaxed); }
  [[nodiscard]] bool is_watched() const noexcept { return (state.load(std::memory_order_relaxed) & kWatched) != 0; }
  // True for one caller.
  bool take_watch() noexcept { return (state.fetch_and(~kWatched, std::memory_order_relaxed) & kWatched) != 0; }

  // 16 bits for the slow path.
  [[nodiscard]] std::uint32_t user_flags() const noexcept {
    return state.load(std::memory_order_relaxed) >> kUserShift;
  }
  void set_user_flags(std::uint32_t flags) noexcept { state.fetch_or(flags << kUserShift, std::memory_order_relaxed); }
  void clear_user_flags(std::uint32_t flags) noexcept {
    state.fetch_and(~(flags << kUserShift), std::memory_order_relaxed);
  }
};
static_assert(sizeof(ConnectionShared) == 64 && std::is_standard_layout_v<ConnectionShared>);
static_assert(offsetof(ConnectionShared, peer) == 32 && offsetof(ConnectionShared, created) == 48);

// What XDP had forwarded of each direction, by Direction, when the connection was last taken back. Beside the slots:
// the lines' own counts are the workers', who add to them by load and store.
struct ForwardedCounts {
  struct Count {
    std::atomic<std::uint64_t> packets{0}, bytes{0};
  };
  std::array<Count, 2> of;
};
static_assert(sizeof(ForwardedCounts) == 32 && std::is_standard_layout_v<ForwardedCounts>);

// An underlay address in 32 bits, the same in every process; never 0.
[[nodiscard]] inline std::uint32_t exit_of(const IpAddress& underlay) noexcept {
  return static_cast<std::uint32_t>(
             folded_product(underlay.word(0) ^ 0x243f6a8885a308d3ULL, underlay.word(1) ^ 0x13198a2e03707344ULL)) |
         1;
}

struct Connection {
  ConnectionShared shared;
  std::array<DirectionLine, 2> lines;  // by Direction

  [[nodiscard]] DirectionLine& line(Direction d) noexcept { return lines[static_cast<std::size_t>(d)]; }
  [[nodiscard]] const DirectionLine& line(Direction d) const noexcept { return lines[static_cast<std::size_t>(d)]; }
  [[nodiscard]] IpProtocol protocol() const noexcept { return lines[0].key.protocol; }
  // Its initiator has acknowledged the reply (lifecycle.h).
  [[nodiscard]] bool opened() const noexcept {
    return (shared.state.load(std::memory_order_relaxed) & ConnectionShared::kOpened) != 0;
  }
  [[nodiscard]] bool starts_with_answer() const noexcept { return shared.first == Direction::kReply; }
  // Both ends have closed.
  [[nodiscard]] bool closing() const noexcept {
    return (lines[0].seen.load(std::memory_order_relaxed) & mark::kClosed) != 0;
  }
  // An end has sent FIN or RST.
  [[nodiscard]] bool ending(std::memory_order order = std::memory_order_relaxed) const noexcept {
    const std::uint32_t marks = lines[0].seen.load(order) | lines[1].seen.load(order);
    return (marks & (mark::kFin | mark::kRst)) != 0;
  }
};
static_assert(sizeof(Connection) == 192 && std::is_standard_layout_v<Connection>);

}  // namespace isthmus
