#include "dataplane/conntrack/half_open.h"

#include <algorithm>

namespace isthmus {
namespace {

void add_one(std::atomic<std::uint64_t>& counter) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

HalfOpen::HalfOpen(const FlowMapping& mapping, Holders& holders, std::uint32_t limit, unsigned workers)
    : mapping_(mapping),
      holders_(holders),
      places_(limit / workers + (limit % workers != 0 ? 1 : 0)),
      source_share_(std::max(limit / 8, 1u)),
      peer_share_(std::max(limit / 2, 1u)),
      workers_(workers),
      pools_(std::make_unique<Pool[]>(workers)) {
  for (unsigned worker = 0; worker < workers; ++worker) {
    Pool& pool = pools_[worker];
    pool.places = std::make_unique<Place[]>(places_);
    pool.free = std::make_unique<std::uint32_t[]>(places_);
  }
}

bool HalfOpen::live(const Place& place) const noexcept {
  if (place.slot == kNoSlot) {
    return false;
  }
  const ConnectionShared& shared = mapping_.connection(place.slot).shared;
  return shared.sequence.load(std::memory_order_relaxed) == place.sequence &&
         (shared.state.load(std::memory_order_relaxed) & ConnectionShared::kOpened) == 0;
}

std::uint32_t HalfOpen::take_free(Pool& pool) noexcept {
  if (pool.free_count != 0) {
    return pool.free[--pool.free_count];
  }
  return pool.used < places_ ? pool.used++ : kNoPlace;
}

void HalfOpen::free_place(Pool& pool, std::uint32_t place) noexcept {
  if (pool.places[place].slot != kNoSlot) {
    pool.places[place].slot = kNoSlot;
    pool.free[pool.free_count++] = place;
  }
}

HalfOpen::Drawn HalfOpen::draw(Pool& pool, Holder holder, bool over_source, bool over_peer) noexcept {
  const auto keep_heavier = [](Candidate& best, const Candidate& other) {
    if (!best.victim || other.weight > best.weight) {
      best = other;
    }
  };
  const unsigned draws = over_source || over_peer ? kDrawsForOwn : kDraws;
  Drawn drawn;
  unsigned own = 0;
  for (unsigned i = 0; i < draws && own < kOwn && pool.used != 0; ++i) {
    const std::uint32_t number = pool.draws.below(pool.used);
    const Place& place = pool.places[number];
    if (!live(place)) {
      free_place(pool, number);
      continue;
    }
    const Holder its = holder_of(mapping_.connection(place.slot).shared);
    const std::uint64_t age = std::min(pool.order - place.order, places_);  // how many have come since
    const Victim victim{place.slot, place.sequence};
    keep_heavier(drawn.any, {number, victim, age * holders_.half_open(its.source)});
    if ((over_source && its.source == holder.source) || (over_peer && its.peer == holder.peer)) {
      keep_heavier(drawn.own, {number, victim, age});
      ++own;
    }
  }
  if (own < kOwn) {
    drawn.own = {};  // too few to tell old from new
  }
  return drawn;
}

HalfOpen::Acquired HalfOpen::acquire(WorkerId worker, Holder holder) noexcept {
  Pool& pool = pools_[worker.value()];
  Acquired acquired;
  if (places_ == 0) {
    acquired.ok = true;
  } else {
    const bool over_source = holders_.half_open(holder.source) >= source_share_;
    const bool over_peer = holders_.half_open(holder.peer) >= peer_share_;
    Drawn drawn;
    if (over_source || over_peer || (pool.free_count == 0 && pool.used == places_)) {
      drawn = draw(pool, holder, over_source, over_peer);
    }
    acquired.place = take_free(pool);
    const Candidate& chosen = drawn.own.victim ? drawn.own : drawn.any;
    if (drawn.own.victim || acquired.place == kNoPlace) {
      acquired.victim = chosen.victim;
    }
    if (acquired.place == kNoPlace && chosen.victim) {
      acquired.place = chosen.place;
      pool.places[chosen.place].slot = kNoSlot;  // no longer the victim's, so that it is not freed with it
    }
    acquired.ok = acquired.place != kNoPlace;
  }
  if (acquired.ok) {
    add_one(pool.taken);
    holders_.add_half_open(holder);
  }
  return acquired;
}

HalfOpen::Victim HalfOpen::victim(WorkerId worker) noexcept {
  return draw(pools_[worker.value()], {}, false, false).any.victim;
}

void HalfOpen::cancel(WorkerId worker, std::uint32_t place, Holder holder) noexcept {
  Pool& pool = pools_[worker.value()];
  add_one(pool.released);
  holders_.remove_half_open(holder);
  if (place != kNoPlace) {
    pool.free[pool.free_count++] = place;
  }
}

void HalfOpen::occupy(WorkerId worker, std::uint32_t place, std::uint32_t slot, std::uint32_t sequence) noexcept {
  if (place != kNoPlace) {
    Pool& pool = pools_[worker.value()];
    pool.places[place] = {slot, sequence, pool.order++};
  }
}

std::uint32_t HalfOpen::adopt(WorkerId worker, Holder holder, std::uint32_t slot, std::uint32_t sequence) noexcept {
  Pool& pool = pools_[worker.value()];
  add_one(pool.taken);
  holders_.add_half_open(holder);
  const std::uint32_t place = take_free(pool);
  if (place != kNoPlace) {
    occupy(worker, place, slot, sequence);
  }
  return place;
}

void HalfOpen::release(WorkerId worker, ConnectionShared& shared) noexcept {
  const std::uint32_t before = shared.state.fetch_or(ConnectionShared::kOpened, std::memory_order_relaxed);
  if ((before & ConnectionShared::kOpened) != 0) {
    return;
  }
  add_one(pools_[worker.value()].released);
  holders_.open(holder_of(shared));
  const std::uint64_t word = shared.half_open.load(std::memory_order_relaxed);
  if (place_of(word) != kNoPlace && owner_of(word) == worker.value()) {
    free_place(pools_[worker.value()], place_of(word));
  }
}

void HalfOpen::undo_release(WorkerId worker, ConnectionShared& shared) noexcept {
  const std::uint32_t before = shared.state.fetch_or(ConnectionShared::kOpened, std::memory_order_relaxed);
  if ((before & ConnectionShared::kOpened) != 0) {
    add_one(pools_[worker.value()].taken);
    const Holder holder = holder_of(shared);
    holders_.add_half_open(holder);
    holders_.remove_open(holder);
  }
}

void HalfOpen::sweep(WorkerId worker, unsigned count) noexcept {
  Pool& pool = pools_[worker.value()];
  for (unsigned i = 0; i < std::min(count, pool.used); ++i) {
    pool.swept = pool.swept + 1 >= pool.used ? 0 : pool.swept + 1;
    if (!live(pool.places[pool.swept])) {
      free_place(pool, pool.swept);
    }
  }
}

std::uint64_t HalfOpen::count() const noexcept {
  std::uint64_t taken = 0, released = 0;
  for (unsigned worker = 0; worker < workers_; ++worker) {
    released += pools_[worker].released.load(std::memory_order_relaxed);
  }
  for (unsigned worker = 0; worker < workers_; ++worker) {
    taken += pools_[worker].taken.load(std::memory_order_relaxed);
  }
  return taken - std::min(released, taken);
}

}  // namespace isthmus
