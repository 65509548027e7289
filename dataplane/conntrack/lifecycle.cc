#include "dataplane/conntrack/lifecycle.h"

#include <algorithm>

namespace isthmus::lifecycle {
namespace {

std::uint32_t remaining(std::uint32_t age, Seconds limit) noexcept {
  return age >= limit.value() ? 0 : limit.value() - age;
}

// Of replies that take another way: the client's packets tell how far TCP is. Its FIN or RST closes what it sends, and
// the other end may go on for a while.
Seconds unanswered_limit(IpProtocol protocol, const FlowTimeouts& timeouts, std::uint32_t marks) noexcept {
  if (protocol != IpProtocol::kTcp) {
    return timeouts.other;
  }
  if ((marks & (mark::kFin | mark::kRst)) != 0) {
    return std::min(timeouts.tcp, timeouts.tcp_syn);
  }
  return (marks & mark::kNonSyn) != 0 ? timeouts.tcp : timeouts.half_open;
}

// From here on packets no longer extend the connection's lifetime.
void close(Connection& connection, Seconds now) noexcept {
  std::uint32_t unset = 0;
  connection.shared.closed_at.compare_exchange_strong(unset, std::max(now.value(), 1u), std::memory_order_relaxed);
  for (DirectionLine& line : connection.lines) {
    line.seen.fetch_or(mark::kClosed, std::memory_order_release);
  }
}

// After the first FIN or RST of a direction. Marks are set and the other direction's are read with sequential
// consistency, so of two concurrent workers at least the second sees the marks of both directions.
void close_direction(Connection& connection, Direction direction, std::uint32_t own, bool reset, Seconds now) noexcept {
  const std::uint32_t other = connection.line(opposite(direction)).seen.load(std::memory_order_seq_cst);
  const bool both_syns = (own & other & mark::kSyn) != 0;
  if ((reset && (!both_syns || !connection.opened())) || (other & (mark::kFin | mark::kRst)) != 0) {
    close(connection, now);
  }
}

}  // namespace

std::uint32_t idle(const Connection& connection, Seconds now) noexcept {
  return std::min(idle_since(connection.lines[0].seen.load(std::memory_order_relaxed), now),
                  idle_since(connection.lines[1].seen.load(std::memory_order_relaxed), now));
}

std::uint32_t expires_in(const Connection& connection, const FlowTimeouts& timeouts, Seconds now) noexcept {
  const std::uint32_t forward = connection.lines[0].seen.load(std::memory_order_acquire);
  const std::uint32_t reply = connection.lines[1].seen.load(std::memory_order_acquire);
  const std::uint32_t marks = forward | reply;
  const bool answered = ((connection.starts_with_answer() ? forward : reply) & mark::kSeen) != 0;
  const std::uint32_t age = std::min(idle_since(forward, now), idle_since(reply, now));
  if (connection.shared.direct_return && !answered) [[unlikely]] {
    return remaining(age, unanswered_limit(connection.protocol(), timeouts, marks));
  }
  if (connection.protocol() != IpProtocol::kTcp) {
    return remaining(age, answered ? timeouts.other : timeouts.half_open);
  }
  if ((marks & mark::kClosed) != 0) {
    const std::uint32_t closed_at = connection.shared.closed_at.load(std::memory_order_relaxed);
    return remaining(idle_since(closed_at << 8, now), timeouts.tcp_closing);
  }
  if ((marks & mark::kNonSyn) == 0) {
    return remaining(age, timeouts.half_open);
  }
  if (!answered) {
    return remaining(age, timeouts.tcp_syn);
  }
  return remaining(age, (marks & mark::kRst) != 0 ? std::min(timeouts.tcp, timeouts.tcp_syn) : timeouts.tcp);
}

bool is_unanswered(const Connection& connection) noexcept {
  constexpr std::uint32_t kMarks = 0xff;
  return connection.protocol() == IpProtocol::kTcp &&
         (connection.line(Direction::kForward).seen.load(std::memory_order_relaxed) & kMarks) ==
             (mark::kSeen | mark::kSyn) &&
         (connection.line(Direction::kReply).seen.load(std::memory_order_relaxed) & kMarks) == 0;
}

std::uint8_t record(Connection& connection, Direction direction, Seconds now, std::uint8_t marks) noexcept {
  std::atomic<std::uint32_t>& word = connection.line(direction).seen;
  std::uint32_t old = word.load(std::memory_order_relaxed);
  std::uint32_t next = 0;
  do {
    const bool newer = ((now.value() - (old >> 8)) & 0xffffff) < 0x800000;
    const bool moves = newer && (old & mark::kClosed) == 0;
    next = (moves ? now.value() << 8 : old & ~0xffu) | (old & 0xff) | marks;
    if (next == old) {
      return 0;
    }
  } while (!word.compare_exchange_weak(old, next, std::memory_order_seq_cst, std::memory_order_relaxed));
  const auto fresh = static_cast<std::uint8_t>(next & ~old);
  if ((fresh & (mark::kFin | mark::kRst)) != 0) {
    close_direction(connection, direction, next, (fresh & mark::kRst) != 0, now);
  }
  return fresh;
}

bool opens(const Connection& connection, Direction direction, std::uint8_t marks, std::uint8_t fresh) noexcept {
  const bool tells = connection.protocol() == IpProtocol::kTcp
                         ? (fresh & mark::kNonSyn) != 0 && (marks & mark::kRst) == 0
                         : (fresh & mark::kSeen) != 0;
  const bool alone = connection.shared.direct_return && connection.protocol() == IpProtocol::kTcp;
  return tells && (alone || direction != connection.shared.first ||
                   (connection.line(opposite(direction)).seen.load(std::memory_order_seq_cst) & mark::kSeen) != 0);
}

}  // namespace isthmus::lifecycle
