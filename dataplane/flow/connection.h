// The connection slot as it lies in the mapping: one shared line and one line for each direction.
//
// Numbers only. Slot numbers count from 0; block numbers from 1. A slot's keys and the plain fields of its shared line
// are written before the slot is linked and never change until it is freed, a grace period after it was unlinked.
// Per packet only the direction line is touched. Readers must be in a read section.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "dataplane/base/types.h"
#include "dataplane/flow/flow_key.h"

namespace isthmus {

// Forward is the way of the first packet.
enum class Direction : std::uint8_t { kForward = 0, kReply = 1 };
[[nodiscard]] constexpr Direction opposite(Direction d) noexcept {
  return d == Direction::kForward ? Direction::kReply : Direction::kForward;
}

inline constexpr std::uint32_t kNoBlock = 0;             // this direction was never admitted
inline constexpr std::uint32_t kBlockGone = 0xffffffff;  // the connection has been removed

// TCP flags as in the header (RFC 9293 section 3.1); 0 for other protocols.
namespace tcp_flag {
inline constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
}

// What one direction has shown, in the low 8 bits of DirectionLine::seen.
namespace mark {
inline constexpr std::uint8_t kSeen = 1;  // any packet
inline constexpr std::uint8_t kSyn = 2;
inline constexpr std::uint8_t kNonSyn = 4;  // TCP without SYN
inline constexpr std::uint8_t kFin = 8;
inline constexpr std::uint8_t kRst = 16;
inline constexpr std::uint8_t kClosed = 32;  // the connection is closing: packets no longer prolong it
}  // namespace mark

struct alignas(64) DirectionLine {
  FlowKey key;
  std::atomic<std::uint32_t> block{kNoBlock};  // number, or kNoBlock, or kBlockGone
  std::atomic<std::uint32_t> seen{0};  // last packet: seconds of the table's clock, modulo 2^24, << 8; and marks
  // Relaxed load, add, store: two workers that carry one direction at the same instant may lose a count.
  std::atomic<std::uint64_t> packets{0};
  std::atomic<std::uint64_t> bytes{0};
};
static_assert(sizeof(DirectionLine) == 64 && std::is_standard_layout_v<DirectionLine>);
static_assert(offsetof(DirectionLine, block) == 40 && offsetof(DirectionLine, seen) == 44);
static_assert(offsetof(DirectionLine, packets) == 48 && offsetof(DirectionLine, bytes) == 56);

struct alignas(64) ConnectionShared {
  // Bits of `state`.
  static constexpr std::uint32_t kReplied = 1;  // its unit of the unreplied quota has been given back

  std::atomic<std::uint32_t> seal{0};      // 0: free. Written last when made, first when removed; proves the keys whole
  std::atomic<std::uint32_t> sequence{0};  // moves whenever the slot is freed
  std::atomic<std::uint32_t> state{0};
  std::atomic<std::uint32_t> closed_at{0};     // seconds, valid with mark::kClosed
  std::atomic<std::uint32_t> forward_peer{0};  // tunnel end the forward direction came from last; 0: the local side
  std::atomic<std::uint32_t> user_flags{0};    // the path's own
  Seconds created;
  ServiceId service;
  BackendId backend;
  Identity source_identity;
  ClusterId backend_cluster;
  Side from = Side::kLocal;  // of the forward direction
  Side to = Side::kLocal;
  std::uint8_t reserved[20] = {};
};
static_assert(sizeof(ConnectionShared) == 64 && std::is_standard_layout_v<ConnectionShared>);
static_assert(offsetof(ConnectionShared, created) == 24 && offsetof(ConnectionShared, backend_cluster) == 40);

struct Connection {
  ConnectionShared shared;
  std::array<DirectionLine, 2> lines;  // by Direction

  [[nodiscard]] DirectionLine& line(Direction d) noexcept { return lines[static_cast<std::size_t>(d)]; }
  [[nodiscard]] const DirectionLine& line(Direction d) const noexcept { return lines[static_cast<std::size_t>(d)]; }
  [[nodiscard]] IpProtocol protocol() const noexcept { return lines[0].key.protocol; }
  [[nodiscard]] bool replied() const noexcept {
    return (shared.state.load(std::memory_order_relaxed) & ConnectionShared::kReplied) != 0;
  }
  // Both ends have said goodbye: a TCP SYN that hits it is a new connection (see FlowTable::remove).
  [[nodiscard]] bool closing() const noexcept {
    return (lines[0].seen.load(std::memory_order_relaxed) & mark::kClosed) != 0;
  }
};
static_assert(sizeof(Connection) == 192 && std::is_standard_layout_v<Connection>);

}  // namespace isthmus
