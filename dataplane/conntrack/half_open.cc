#include "dataplane/conntrack/half_open.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "dataplane/packet/flow_key.h"

namespace isthmus {
namespace {

void add_one(std::atomic<std::uint64_t>& counter) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

HalfOpen::HalfOpen(const FlowMapping& mapping, std::uint32_t limit, unsigned workers)
    : mapping_(mapping),
      places_(limit / workers + (limit % workers != 0 ? 1 : 0)),
      source_share_(std::max(limit / 8, 1u)),
      peer_share_(std::max(limit / 2, 1u)),
      workers_(workers),
      secrets_{},
      pools_(std::make_unique<Pool[]>(workers)),
      shares_(std::make_unique<std::atomic<std::uint32_t>[]>(kShares)) {
  std::random_device device;
  const auto random_word = [&] { return std::uint64_t{device()} << 32 | device(); };
  std::generate(secrets_.begin(), secrets_.end(), random_word);
  for (unsigned worker = 0; worker < workers; ++worker) {
    Pool& pool = pools_[worker];
    pool.places = std::make_unique<Place[]>(places_);
    pool.free = std::make_unique<std::uint32_t[]>(places_);
    pool.random = random_word() | 1;
  }
}

HalfOpen::Origin HalfOpen::origin_of(const FlowKey& forward, Side from, const IpAddress& peer) const noexcept {
  const auto bucket = [&](const IpAddress& address, std::uint64_t kind) {  // 1 .. kShares - 1
    std::uint64_t w[2];
    std::memcpy(w, address.bytes().data(), sizeof w);
    const std::uint64_t hash = flow_hash::mix(w[0] ^ secrets_[0], w[1] ^ secrets_[1] ^ kind);
    return static_cast<std::uint16_t>(1 + (hash >> 32) % (kShares - 1));
  };
  return {bucket(forward.source(), forward.realm.value()),
          from == Side::kLocal ? std::uint16_t{0} : bucket(peer, secrets_[2])};
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

HalfOpen::Drawn HalfOpen::draw(Pool& pool, Origin origin, bool over_source, bool over_peer) noexcept {
  const auto keep_heavier = [](Candidate& best, const Candidate& other) {
    if (!best.victim || other.weight > best.weight) {
      best = other;
    }
  };
  const unsigned draws = over_source || over_peer ? kDrawsForOwn : kDraws;
  Drawn drawn;
  unsigned own = 0;
  for (unsigned i = 0; i < draws && own < kOwn && pool.used != 0; ++i) {
    pool.random ^= pool.random << 13;  // xorshift64
    pool.random ^= pool.random >> 7;
    pool.random ^= pool.random << 17;
    const auto number = static_cast<std::uint32_t>(((pool.random >> 32) * pool.used) >> 32);
    const Place& place = pool.places[number];
    if (!live(place)) {
      free_place(pool, number);
      continue;
    }
    const Origin its = origin_in(mapping_.connection(place.slot).shared.half_open.load(std::memory_order_relaxed));
    const std::uint64_t age = std::min(pool.order - place.order, places_);  // how many have come since
    const Victim victim{place.slot, place.sequence};
    keep_heavier(drawn.any, {number, victim, age * share_of(its.source)});
    if ((over_source && its.source == origin.source) || (over_peer && its.peer == origin.peer)) {
      keep_heavier(drawn.own, {number, victim, age});
      ++own;
    }
  }
  if (own < kOwn) {
    drawn.own = {};  // too few to tell old from new
  }
  return drawn;
}

HalfOpen::Acquired HalfOpen::acquire(WorkerId worker, Origin origin) noexcept {
  Pool& pool = pools_[worker.value()];
  Acquired acquired;
  if (places_ == 0) {
    acquired.ok = true;
  } else {
    const bool over_source = share_of(origin.source) >= source_share_;
    const bool over_peer = share_of(origin.peer) >= peer_share_;
    Drawn drawn;
    if (over_source || over_peer || (pool.free_count == 0 && pool.used == places_)) {
      drawn = draw(pool, origin, over_source, over_peer);
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
    add_to(places_ == 0 ? Origin{} : origin, 1);
  }
  return acquired;
}

HalfOpen::Victim HalfOpen::victim(WorkerId worker) noexcept {
  return draw(pools_[worker.value()], {}, false, false).any.victim;
}

void HalfOpen::add_to(Origin origin, std::uint32_t number) noexcept {
  for (const std::uint16_t share : {origin.source, origin.peer}) {
    if (share != 0) {
      shares_[share].fetch_add(number, std::memory_order_relaxed);
    }
  }
}

void HalfOpen::cancel(WorkerId worker, std::uint32_t place, Origin origin) noexcept {
  Pool& pool = pools_[worker.value()];
  add_one(pool.released);
  if (place != kNoPlace) {
    add_to(origin, -1u);
    pool.free[pool.free_count++] = place;
  }
}

void HalfOpen::occupy(WorkerId worker, std::uint32_t place, std::uint32_t slot, std::uint32_t sequence) noexcept {
  if (place != kNoPlace) {
    Pool& pool = pools_[worker.value()];
    pool.places[place] = {slot, sequence, pool.order++};
  }
}

std::uint32_t HalfOpen::adopt(WorkerId worker, Origin origin, std::uint32_t slot, std::uint32_t sequence) noexcept {
  Pool& pool = pools_[worker.value()];
  add_one(pool.taken);
  const std::uint32_t place = take_free(pool);
  if (place != kNoPlace) {
    add_to(origin, 1);
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
  const std::uint64_t word = shared.half_open.load(std::memory_order_relaxed);
  if (place_of(word) == kNoPlace) {
    return;
  }
  add_to(origin_in(word), -1u);
  if (owner_of(word) == worker.value()) {
    free_place(pools_[worker.value()], place_of(word));
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
