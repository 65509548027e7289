// Leases: the right of a flow that is handed down to be forwarded by XDP (xdp/abi.h), by direction of its connection.
//
// A connection that is handed down has a pair of them, whose number is ConnectionShared::lease; 0: none. XDP reads the
// word {sum, valid} and adds to the counts; everything else is done here, without a system call.
//
// Threads and order. The hand-down thread alone gives a connection a pair, makes its leases valid and takes the pair
// away; a worker that changes what a lease stands for withdraws it. The two meet without a lock: the thread stores the
// pair's number, then the valid word, and then looks whether connection and decision are still as they were; a worker
// changes connection or decision first and then looks for the number. All of these are sequentially consistent, so that
// at least one of the two sees the other, and whoever does withdraws. Nothing but the thread makes a lease valid, and a
// stamp replaces a valid word only (compare and swap): what is withdrawn stays so.
// A pair's number is used again only after every worker has passed a quiescent point since the connection lost it: a
// worker that still has the number writes to leases of nobody. Of the pair's two leases one may be valid, and the other
// belong to nobody: withdrawing that one means nothing, and is undone (reopen) before its direction is read to be
// handed down.
//
// Counts. A lease counts on from what XDP has forwarded of the direction before, so that there is one number of it at
// any time: in the lease while the connection has a pair, else in ForwardedCounts. A crash leaves the counts in the
// kernel's map, and the pairs' numbers in the connections' mapping: a successor reads them (FlowTable::count_earlier).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/api/counters.h"
#include "dataplane/conntrack/connection.h"
#include "xdp/abi.h"

namespace isthmus {

// isthmus_lease::valid. XDP knows only whether it is kLeased; the rest tells the hand-down thread why it is not.
enum class LeaseState : std::uint32_t {
  kNone,       // belongs to nobody, or is not valid yet
  kLeased,     // packets are forwarded by XDP while the epoch words stand
  kRemoved,    // the connection is gone
  kEnding,     // an end has sent FIN or RST
  kRedecided,  // another decision, or none
  kPeerMoved,  // the tunnel header or next hop in the kernel is not what it was
  kCold,       // made room, found none, or nobody has confirmed its decision
};
inline constexpr std::size_t kLeaseStates = 7;

class Leases {
 public:
  // Of nobody: every connection is without.
  Leases() noexcept = default;
  // leases[2 * pair + direction]; pair 0 is nobody's.
  explicit Leases(std::span<isthmus_lease> leases)
      : leases_(leases), told_(std::make_unique<std::atomic<std::uint64_t>[]>(leases.size())) {}

  [[nodiscard]] std::uint32_t pairs() const noexcept { return static_cast<std::uint32_t>(leases_.size() / 2); }
  [[nodiscard]] static constexpr std::uint32_t index(std::uint32_t pair, Direction direction) noexcept {
    return 2 * pair + static_cast<std::uint32_t>(direction);
  }
  [[nodiscard]] static constexpr std::uint32_t pair_of(std::uint32_t index) noexcept { return index / 2; }
  [[nodiscard]] static constexpr Direction direction_of(std::uint32_t index) noexcept {
    return static_cast<Direction>(index % 2);
  }

  [[nodiscard]] LeaseState state(std::uint32_t pair, Direction direction) const noexcept {
    return static_cast<LeaseState>(word(pair, direction).load(std::memory_order_seq_cst) >> 32);
  }
  [[nodiscard]] std::uint32_t sum(std::uint32_t pair, Direction direction) const noexcept {
    return static_cast<std::uint32_t>(word(pair, direction).load(std::memory_order_seq_cst));
  }

  // Workers, after their change of the connection; any other thread that knows that the pair is somebody's. The first
  // reason stays.
  void withdraw(const ConnectionShared& shared, LeaseState why) const noexcept {
    if (const std::uint32_t pair = number_of(shared); pair != 0) [[unlikely]] {
      withdraw(pair, why);
    }
  }
  void withdraw(const ConnectionShared& shared, Direction direction, LeaseState why) const noexcept {
    if (const std::uint32_t pair = number_of(shared); pair != 0) [[unlikely]] {
      withdraw(pair, direction, why);
    }
  }
  void withdraw(std::uint32_t pair, LeaseState why) const noexcept {
    withdraw(pair, Direction::kForward, why);
    withdraw(pair, Direction::kReply, why);
  }
  // Also of one that is not valid yet: it then never is.
  void withdraw(std::uint32_t pair, Direction direction, LeaseState why) const noexcept {
    const auto at = word(pair, direction);
    std::uint64_t now = at.load(std::memory_order_seq_cst);
    while (now >> 32 <= static_cast<std::uint64_t>(LeaseState::kLeased) &&
           !at.compare_exchange_weak(now, of(0, why), std::memory_order_seq_cst)) {
    }
  }
  // The decision stands as of words of this sum. Nothing, where the lease is not valid.
  void stamp(const ConnectionShared& shared, Direction direction, std::uint32_t sum) const noexcept {
    if (const std::uint32_t pair = number_of(shared); pair != 0) [[unlikely]] {
      stamp(pair, direction, sum);
    }
  }
  void stamp(std::uint32_t pair, Direction direction, std::uint32_t sum) const noexcept {
    const auto at = word(pair, direction);
    std::uint64_t now = at.load(std::memory_order_relaxed);
    while (now >> 32 == static_cast<std::uint64_t>(LeaseState::kLeased) &&
           !at.compare_exchange_weak(now, of(sum, LeaseState::kLeased), std::memory_order_seq_cst)) {
    }
  }

  [[nodiscard]] bool holds(const ConnectionShared& shared, Direction direction) const noexcept {
    const std::uint32_t pair = number_of(shared);
    return pair != 0 && state(pair, direction) == LeaseState::kLeased;
  }

  // What XDP has forwarded of the direction, also under other pairs.
  [[nodiscard]] LeaseCount count(std::uint32_t pair, Direction direction) const noexcept {
    const isthmus_lease& lease = leases_[index(pair, direction)];
    return {__atomic_load_n(&lease.packets, __ATOMIC_RELAXED), __atomic_load_n(&lease.bytes, __ATOMIC_RELAXED)};
  }
  // Calls used() where XDP has forwarded packets since it was last called. Any thread. Whoever does not call it any
  // more finds what the last one has done.
  template <typename Used>
  void tell_moved(std::uint32_t pair, Direction direction, Used&& used) const noexcept {
    const std::uint64_t now = count(pair, direction).packets;
    std::atomic<std::uint64_t>& told = told_[index(pair, direction)];
    if (told.load(std::memory_order_acquire) != now) {
      used();
      told.store(now, std::memory_order_release);
    }
  }

  // The hand-down thread ------------------------------------------------------------------------------------------

  // Of a pair that is nobody's yet: it counts on from there.
  void begin(std::uint32_t pair, Direction direction, const LeaseCount& from) const noexcept {
    isthmus_lease& lease = leases_[index(pair, direction)];
    __atomic_store_n(&lease.packets, from.packets, __ATOMIC_RELAXED);
    __atomic_store_n(&lease.bytes, from.bytes, __ATOMIC_RELAXED);
    told_[index(pair, direction)].store(from.packets, std::memory_order_relaxed);
  }
  // False: it was withdrawn before.
  bool grant(std::uint32_t pair, Direction direction, std::uint32_t sum) const noexcept {
    std::uint64_t none = of(0, LeaseState::kNone);
    return word(pair, direction).compare_exchange_strong(none, of(sum, LeaseState::kLeased), std::memory_order_seq_cst);
  }
  // Whoever withdrew it did so before: a direction that is read from here on is as it has become, or withdraws anew.
  void reopen(std::uint32_t pair, Direction direction) const noexcept {
    word(pair, direction).store(of(0, LeaseState::kNone), std::memory_order_seq_cst);
  }
  // Of a pair that belongs to nobody and that no program uses: as new.
  void clear(std::uint32_t pair) const noexcept {
    for (const Direction direction : {Direction::kForward, Direction::kReply}) {
      begin(pair, direction, {});
      reopen(pair, direction);
    }
  }

 private:
  using Word = std::atomic_ref<std::uint64_t>;
  static_assert(offsetof(isthmus_lease, valid) == offsetof(isthmus_lease, sum) + 4 && Word::is_always_lock_free);

  [[nodiscard]] static constexpr std::uint64_t of(std::uint32_t sum, LeaseState state) noexcept {
    return sum | std::uint64_t{static_cast<std::uint32_t>(state)} << 32;
  }
  [[nodiscard]] static std::uint32_t number_of(const ConnectionShared& shared) noexcept { return shared.pair(); }
  [[nodiscard]] Word word(std::uint32_t pair, Direction direction) const noexcept {
    auto* const bytes = reinterpret_cast<std::byte*>(&leases_[index(pair, direction)]);
    return Word(*reinterpret_cast<std::uint64_t*>(bytes + offsetof(isthmus_lease, sum)));
  }

  std::span<isthmus_lease> leases_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> told_;  // packets at the last tell_moved()
};

}  // namespace isthmus
