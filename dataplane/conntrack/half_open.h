// HalfOpen: bounds the connections that are not open yet, so that a flood of them hurts only who sends it.
//
// A connection is half-open until its initiator has acknowledged the reply (lifecycle.h). Each worker has a pool with a
// place for its part of the limit; a new connection takes a free place. Where the source endpoint or the ingress peer
// has more than its share, the oldest of a few of its own that are drawn at random makes room. Where no place is free,
// it is the one of a few with the highest product of age and of its source's number. A new connection is therefore not
// refused for want of a place, and one that is opened within its round trip is hardly ever the one that makes room.
// Sources and peers are counted by a keyed hash, in numbers that all workers share.
//
// A place is freed by its owner: at once where it opens or removes the connection itself, else when it is drawn or
// sweep() passes. Threads: acquire, occupy, cancel, sweep: the owner; release: any worker; all inside a read section.
// Nothing is allocated after construction.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/base/types.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/flow_mapping.h"

namespace isthmus {

class HalfOpen {
 public:
  // Who opens a connection. 0: nobody in particular.
  struct Origin {
    std::uint16_t source = 0, peer = 0;
  };
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

  // `limit` 0: no limit; only counts. `mapping` outlives this.
  HalfOpen(const FlowMapping& mapping, std::uint32_t limit, unsigned workers);

  [[nodiscard]] Origin origin_of(const FlowKey& forward, Side from, const IpAddress& peer) const noexcept;
  // For a connection about to be inserted, which is counted from here on. Then call occupy() or, if it is not inserted,
  // cancel().
  [[nodiscard]] Acquired acquire(WorkerId worker, Origin origin) noexcept;
  void cancel(WorkerId worker, std::uint32_t place, Origin origin) noexcept;
  // What ConnectionShared::half_open of this connection is.
  [[nodiscard]] static std::uint64_t word(WorkerId worker, std::uint32_t place, Origin origin) noexcept {
    return place | std::uint64_t{worker.value()} << 26 | std::uint64_t{origin.source} << 32 |
           std::uint64_t{origin.peer} << 48;
  }
  void occupy(WorkerId worker, std::uint32_t place, std::uint32_t slot, std::uint32_t sequence) noexcept;
  // The connection is open or removed. The first call counts.
  void release(WorkerId worker, ConnectionShared& shared) noexcept;
  // One to make room although there is a place: the table is full.
  [[nodiscard]] Victim victim(WorkerId worker) noexcept;
  // For a connection of an earlier process: takes a place if one is free, else only counts. Returns the place.
  std::uint32_t adopt(WorkerId worker, Origin origin, std::uint32_t slot, std::uint32_t sequence) noexcept;
  // Frees places whose connections other workers have opened or removed: looks at `count` places.
  void sweep(WorkerId worker, unsigned count) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept;

 private:
  // Draws to make room, and those to find kOwn ones of a source or peer that has more than its share.
  static constexpr unsigned kDraws = 8, kOwn = 4, kDrawsForOwn = 32;
  static constexpr std::size_t kShares = 16384;
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
    std::uint64_t random = 1;
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
  [[nodiscard]] static Origin origin_in(std::uint64_t word) noexcept {
    return {static_cast<std::uint16_t>(word >> 32), static_cast<std::uint16_t>(word >> 48)};
  }
  [[nodiscard]] bool live(const Place& place) const noexcept;
  [[nodiscard]] std::uint32_t share_of(std::uint16_t origin) const noexcept {
    const std::uint32_t share = origin == 0 ? 0 : shares_[origin].load(std::memory_order_relaxed);
    return share >> 31 == 0 ? share : 0;  // a connection released between two steps of cancel()
  }
  void add_to(Origin origin, std::uint32_t number) noexcept;  // modulo 2^32
  [[nodiscard]] std::uint32_t take_free(Pool& pool) noexcept;
  void free_place(Pool& pool, std::uint32_t place) noexcept;
  // Frees the places that it finds unused.
  [[nodiscard]] Drawn draw(Pool& pool, Origin origin, bool over_source, bool over_peer) noexcept;

  const FlowMapping& mapping_;
  std::uint32_t places_;  // of each pool; 0: no limit
  std::uint32_t source_share_, peer_share_;
  unsigned workers_;
  std::array<std::uint64_t, 3> secrets_;
  std::unique_ptr<Pool[]> pools_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> shares_;
};

}  // namespace isthmus
