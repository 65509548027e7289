// HalfOpen: bounds the connections that are not open yet, so that a flood of them hurts only who sends it.
//
// A connection is half-open until its initiator has acknowledged the reply (lifecycle.h). Each worker has a pool with a
// place for its part of the limit; a new connection takes a free place. Where the source endpoint or the ingress peer
// has more than its share, the oldest of a few of its own that are drawn at random makes room. Where no place is free,
// it is the one of a few with the highest product of age and of its source's number. A new connection is therefore not
// refused for want of a place, and one that is opened within its round trip is hardly ever the one that makes room.
//
// A place is freed by its owner: at once where it opens or removes the connection itself, else when it is drawn or
// sweep() passes. Threads: acquire, occupy, cancel, sweep: the owner; release: any worker; all inside a read section.
// Nothing is allocated after construction.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/base/mix.h"
#include "dataplane/base/types.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/flow_mapping.h"
#include "dataplane/conntrack/holders.h"

namespace isthmus {

class HalfOpen {
 public:
  static constexpr std::uint32_t kNoPlace = 0x3ffffff;
  static constexpr std::uint32_t kNoSlot = 0xffffffff;
  // A connection that has to make room.
  struct Victim {
    std::uint32_t slot = kNoSlot;
    std::uint32_t sequence = 0;
    explicit operator bool() const noexcept { return slot != kNoSlot; }
  };
  struct Acquired {
    bool ok = false;  // false: no place; refuse the connection
    std::uint32_t place = kNoPlace;
    Victim victim;  // remove it first
  };

  // `limit` 0: no limit; only counts. `mapping` and `holders` outlive this.
  HalfOpen(const FlowMapping& mapping, Holders& holders, std::uint32_t limit, unsigned workers);

  // For a connection about to be inserted, which is counted from here on. Then call occupy() or, if it is not inserted,
  // cancel().
  [[nodiscard]] Acquired acquire(WorkerId worker, Holder holder) noexcept;
  void cancel(WorkerId worker, std::uint32_t place, Holder holder) noexcept;
  // What ConnectionShared::half_open of this connection is.
  [[nodiscard]] static std::uint64_t word(WorkerId worker, std::uint32_t place, Holder holder) noexcept {
    return place | std::uint64_t{worker.value()} << 26 | std::uint64_t{holder.source} << 32 |
           std::uint64_t{holder.peer} << 48;
  }
  // Of a connection, as long as it is in the table.
  [[nodiscard]] static Holder holder_of(const ConnectionShared& shared) noexcept {
    const std::uint64_t word = shared.half_open.load(std::memory_order_relaxed);
    return {static_cast<std::uint16_t>(word >> 32), static_cast<std::uint16_t>(word >> 48)};
  }
  void occupy(WorkerId worker, std::uint32_t place, std::uint32_t slot, std::uint32_t sequence) noexcept;
  // The connection is open or about to be removed. The first call counts.
  void release(WorkerId worker, ConnectionShared& shared) noexcept;
  // For one that is not inserted after all, although others may have seen it: it counts as if they had not. Then call
  // cancel().
  void undo_release(WorkerId worker, ConnectionShared& shared) noexcept;
  // One to make room although there is a place: the table is full.
  [[nodiscard]] Victim victim(WorkerId worker) noexcept;
  // For a connection of an earlier process: takes a place if one is free, else only counts. Returns the place.
  std::uint32_t adopt(WorkerId worker, Holder holder, std::uint32_t slot, std::uint32_t sequence) noexcept;
  // Frees places whose connections other workers have opened or removed: looks at `count` places.
  void sweep(WorkerId worker, unsigned count) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept;

 private:
  // Draws to make room, and those to find kOwn ones of a source or peer that has more than its share.
  static constexpr unsigned kDraws = 8, kOwn = 4, kDrawsForOwn = 32;
  struct Place {
    std::uint32_t slot = kNoSlot;  // kNoSlot: free
    std::uint32_t sequence = 0;
    std::uint32_t order = 0;  // of the pool's connections, modulo 2^32
  };
  struct alignas(64) Pool {
    std::unique_ptr<Place[]> places;
    std::unique_ptr<std::uint32_t[]> free;  // a stack
    std::uint32_t free_count = 0;
    std::uint32_t used = 0;  // places below it have been taken at least once
    std::uint32_t swept = 0;
    std::uint32_t order = 0;  // of the next
    Draws draws;
    std::atomic<std::uint64_t> taken{0}, released{0};  // one writer, any reader
  };
  struct Candidate {
    std::uint32_t place = kNoPlace;
    Victim victim;
    std::uint64_t weight = 0;
  };
  struct Drawn {
    Candidate own, any;  // `own`: of the source or peer that has more than its share, where enough were found
  };

  [[nodiscard]] static std::uint32_t place_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word & kNoPlace);
  }
  [[nodiscard]] static unsigned owner_of(std::uint64_t word) noexcept { return static_cast<unsigned>(word >> 26 & 63); }
  [[nodiscard]] bool live(const Place& place) const noexcept;
  [[nodiscard]] std::uint32_t take_free(Pool& pool) noexcept;
  void free_place(Pool& pool, std::uint32_t place) noexcept;
  // Frees the places that it finds unused.
  [[nodiscard]] Drawn draw(Pool& pool, Holder holder, bool over_source, bool over_peer) noexcept;

  const FlowMapping& mapping_;
  Holders& holders_;
  std::uint32_t places_;  // of each pool; 0: no limit
  std::uint32_t source_share_, peer_share_;
  unsigned workers_;
  std::unique_ptr<Pool[]> pools_;
};

}  // namespace isthmus
