#include "dataplane/fragments/fragment_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "dataplane/base/mix.h"
#include "dataplane/net/address_hash.h"

namespace isthmus {
namespace {

using Step = FragmentOutcome::Step;

std::uint32_t buckets_for(std::uint32_t datagrams, std::size_t ways) noexcept {
  return std::bit_ceil(std::max<std::uint32_t>(datagrams / static_cast<std::uint32_t>(ways), 1));
}

}  // namespace

class FragmentTable::Locked {
 public:
  explicit Locked(Bucket& bucket) noexcept : bucket_(bucket) { bucket_.lock.take(); }
  ~Locked() { bucket_.lock.release(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Bucket& bucket_;
};

FragmentTable::FragmentTable(const Options& options)
    : hold_ns_(options.hold_ns),
      secret_(random_word() | 1),
      bucket_mask_(buckets_for(options.datagrams, kWays) - 1),
      datagrams_of_sender_(std::max<std::uint32_t>(options.datagrams / 8, 1)),
      kept_of_sender_(std::max<std::uint32_t>(places_for(options.datagrams) / 4, 1)),
      kept_(std::max<std::uint32_t>(places_for(options.datagrams), 1)),
      buckets_(std::make_unique<Bucket[]>(bucket_mask_ + 1)) {}

FragmentTable::Bucket& FragmentTable::bucket_of(const DatagramKey& key) noexcept {
  const std::uint64_t ends = folded_product(address_hash(key.realm, key.source) ^ secret_,
                                            address_hash(key.realm, key.destination) + key.origin.word());
  const std::uint64_t rest = std::uint64_t{key.id} << 16 | std::uint64_t{static_cast<std::uint8_t>(key.protocol)} << 8 |
                             (key.tunnel ? 1u : 0u);
  return buckets_[folded_product(ends ^ rest, secret_) & bucket_mask_];
}

// What the datagram has kept, for the caller.
std::uint32_t FragmentTable::detach(Datagram& datagram) noexcept {
  kept_of_[datagram.sender].fetch_sub(datagram.kept, std::memory_order_relaxed);
  datagram.kept = 0;
  return std::exchange(datagram.list, kNoPlace);
}

std::uint32_t FragmentTable::close(Bucket& bucket, Datagram& datagram) noexcept {
  const std::uint32_t list = detach(datagram);
  datagrams_of_[datagram.sender].fetch_sub(1, std::memory_order_relaxed);
  now_.fetch_sub(1, std::memory_order_relaxed);
  bucket.used.fetch_sub(1, std::memory_order_relaxed);
  datagram.state = State::kFree;
  return list;
}

// A free place of the bucket. nullptr: this sender has too many datagrams, and none here to make room.
FragmentTable::Datagram* FragmentTable::make_room(Bucket& bucket, std::uint8_t sender, std::uint64_t now_ns,
                                                  FragmentOutcome& outcome) noexcept {
  const bool too_many = datagrams_of_[sender].load(std::memory_order_relaxed) >= datagrams_of_sender_;
  Datagram* chosen = nullptr;
  std::uint32_t most = 0;
  for (Datagram& datagram : bucket.datagrams) {
    if (datagram.state == State::kFree) {
      if (!too_many) {
        return &datagram;
      }
      continue;
    }
    if (too_many && datagram.sender != sender) {
      continue;
    }
    if (expired(datagram, now_ns)) {
      outcome.lost = {close(bucket, datagram), DropReason::kFragmentTimeout};
      return &datagram;
    }
    const std::uint32_t has = datagrams_of_[datagram.sender].load(std::memory_order_relaxed);
    if (chosen == nullptr || has > most || (has == most && datagram.since_ns < chosen->since_ns)) {
      chosen = &datagram;
      most = has;
    }
  }
  if (chosen != nullptr) {
    outcome.lost = {close(bucket, *chosen), DropReason::kFragmentLimit};
  }
  return chosen;
}

FragmentTable::Datagram* FragmentTable::find_or_make(Bucket& bucket, const DatagramKey& key, std::uint64_t sender,
                                                     std::uint64_t now_ns, FragmentOutcome& outcome) noexcept {
  const auto number = static_cast<std::uint8_t>(folded_product(sender ^ secret_, secret_) % kSenders);
  Datagram* made = nullptr;
  for (Datagram& datagram : bucket.datagrams) {
    if (datagram.state != State::kFree && datagram.key == key) {
      if (!expired(datagram, now_ns)) {
        return &datagram;
      }
      outcome.lost = {close(bucket, datagram), DropReason::kFragmentTimeout};
      made = &datagram;
      break;
    }
  }
  if (made == nullptr) {
    made = make_room(bucket, number, now_ns, outcome);
  }
  if (made == nullptr) {
    outcome.reason = DropReason::kFragmentLimit;
    return nullptr;
  }
  *made = Datagram{};
  made->key = key;
  made->since_ns = now_ns;
  made->sender = number;
  made->state = State::kWaiting;
  datagrams_of_[number].fetch_add(1, std::memory_order_relaxed);
  now_.fetch_add(1, std::memory_order_relaxed);
  bucket.used.fetch_add(1, std::memory_order_relaxed);
  return made;
}

// Nothing more of the datagram is wanted. One that has been made just now has taken the place of what outcome.lost has.
void FragmentTable::refuse(Datagram& datagram, DropReason reason, FragmentOutcome& outcome) noexcept {
  outcome.reason = datagram.refused = reason;
  datagram.state = State::kRefused;
  if (datagram.list != kNoPlace) {
    outcome.lost = {detach(datagram), reason};
  }
}

// False: the fragment is to be dropped for outcome.reason, and the others of its datagram too unless it is a duplicate.
bool FragmentTable::add(Datagram& datagram, const FragmentPart& part, FragmentOutcome& outcome) noexcept {
  if (datagram.state == State::kRefused) {
    outcome.reason = datagram.refused;
    return false;
  }
  switch (datagram.parts.add(part.offset, part.bytes, !part.more)) {
    case DatagramParts::Added::kNew:
      return true;
    case DatagramParts::Added::kDuplicate:
      outcome.reason = DropReason::kFragmentOverlap;
      return false;
    case DatagramParts::Added::kOverlaps:
      refuse(datagram, DropReason::kFragmentOverlap, outcome);
      return false;
    case DatagramParts::Added::kTooMany:
      refuse(datagram, DropReason::kFragmentLimit, outcome);
      return false;
  }
  return false;
}

// A place in front of the datagram's list, for one that has come so; kNoPlace: there is none for its sender, and the
// datagram, which has counted the part, will never be whole.
std::uint32_t FragmentTable::keep(Datagram& datagram, const ArrivedFragment& arrived,
                                  FragmentOutcome& outcome) noexcept {
  std::atomic<std::uint32_t>& of_sender = kept_of_[datagram.sender];
  const bool has_share = of_sender.load(std::memory_order_relaxed) >= kept_of_sender_;
  const std::uint32_t place = has_share ? kNoPlace : kept_.take();
  if (place == kNoPlace) {
    refuse(datagram, DropReason::kFragmentLimit, outcome);
    return kNoPlace;
  }
  of_sender.fetch_add(1, std::memory_order_relaxed);
  ++datagram.kept;
  KeptFragment& kept = kept_[place];
  kept.peer = arrived.peer;
  kept.origin = arrived.origin;
  kept.device = arrived.device;
  kept.next = std::exchange(datagram.list, place);
  return place;
}

// The fragment is forwarded; after the last one, nothing is left to know.
void FragmentTable::pass(Bucket& bucket, Datagram& datagram, FragmentOutcome& outcome) noexcept {
  outcome.step = Step::kForward;
  outcome.ports = datagram.ports;
  outcome.list = datagram.parts.complete() ? close(bucket, datagram) : detach(datagram);
}

FragmentOutcome FragmentTable::first(const DatagramKey& key, const FragmentPart& part, const DatagramPorts& ports,
                                     std::uint64_t sender, std::uint64_t now_ns) noexcept {
  FragmentOutcome outcome;
  Bucket& bucket = bucket_of(key);
  const Locked locked(bucket);
  Datagram* const datagram = find_or_make(bucket, key, sender, now_ns, outcome);
  if (datagram == nullptr || !add(*datagram, part, outcome)) {
    return outcome;
  }
  datagram->ports = ports;
  datagram->state = State::kKnown;
  pass(bucket, *datagram, outcome);
  return outcome;
}

FragmentOutcome FragmentTable::later(const DatagramKey& key, const FragmentPart& part, const ArrivedFragment& arrived,
                                     std::uint64_t sender, std::uint64_t now_ns) noexcept {
  FragmentOutcome outcome;
  Bucket& bucket = bucket_of(key);
  const Locked locked(bucket);
  Datagram* const datagram = find_or_make(bucket, key, sender, now_ns, outcome);
  if (datagram == nullptr || !add(*datagram, part, outcome)) {
    return outcome;
  }
  if (datagram->state == State::kKnown) {
    pass(bucket, *datagram, outcome);
    return outcome;
  }
  if (arrived.frame.size() > sizeof(KeptFragment::bytes)) {
    refuse(*datagram, DropReason::kFragmentTooLong, outcome);
    return outcome;
  }
  const std::uint32_t place = keep(*datagram, arrived, outcome);
  if (place != kNoPlace) {
    KeptFragment& kept = kept_[place];
    kept_.add_frame(place, arrived.frame_bytes);
    kept.length = static_cast<std::uint16_t>(arrived.frame.size());
    std::memcpy(kept.bytes, arrived.frame.data(), arrived.frame.size());
    outcome.step = Step::kKept;
  }
  return outcome;
}

FragmentOutcome FragmentTable::assemble(const DatagramKey& key, const FragmentPart& part,
                                        const ArrivedFragment& arrived, std::span<const std::uint8_t> headers,
                                        std::uint8_t ecn, std::uint64_t sender, std::uint64_t now_ns) noexcept {
  FragmentOutcome outcome;
  Bucket& bucket = bucket_of(key);
  const Locked locked(bucket);
  Datagram* const datagram = find_or_make(bucket, key, sender, now_ns, outcome);
  if (datagram == nullptr || !add(*datagram, part, outcome)) {
    return outcome;
  }
  if (part.offset + part.bytes > kLongestAssembled || headers.size() > kHeaderRoom) {
    refuse(*datagram, DropReason::kFragmentTooLong, outcome);
    return outcome;
  }
  const std::uint32_t place = datagram->list != kNoPlace ? datagram->list : keep(*datagram, arrived, outcome);
  if (place == kNoPlace) {
    return outcome;
  }
  KeptFragment& kept = kept_[place];
  kept_.add_frame(place, arrived.frame_bytes);
  std::memcpy(kept.bytes + kHeaderRoom + part.offset, part.data, part.bytes);
  datagram->ecn_seen = static_cast<std::uint8_t>(datagram->ecn_seen | 1u << ecn);
  if (part.offset == 0) {
    kept.start = static_cast<std::uint16_t>(kHeaderRoom - headers.size());
    std::memcpy(kept.bytes + kept.start, headers.data(), headers.size());
  }
  outcome.step = Step::kKept;
  if (datagram->parts.complete()) {
    kept.length = static_cast<std::uint16_t>(kHeaderRoom - kept.start + datagram->parts.total());
    outcome.step = Step::kComplete;
    outcome.ecn_seen = datagram->ecn_seen;
    outcome.list = close(bucket, *datagram);
  }
  return outcome;
}

LostFragments FragmentTable::refuse(const DatagramKey& key, DropReason reason, std::uint64_t sender,
                                    std::uint64_t now_ns) noexcept {
  FragmentOutcome outcome;
  Bucket& bucket = bucket_of(key);
  const Locked locked(bucket);
  if (Datagram* const datagram = find_or_make(bucket, key, sender, now_ns, outcome)) {
    refuse(*datagram, reason, outcome);
  }
  return outcome.lost;
}

LostFragments FragmentTable::expire(std::uint32_t bucket, std::uint64_t now_ns) noexcept {
  LostFragments lost{kNoPlace, DropReason::kFragmentTimeout};
  Bucket& visited = buckets_[bucket];
  if (visited.used.load(std::memory_order_relaxed) == 0) {
    return lost;
  }
  const Locked locked(visited);
  for (Datagram& datagram : visited.datagrams) {
    if (datagram.state == State::kFree || !expired(datagram, now_ns)) {
      continue;
    }
    const std::uint32_t list = close(visited, datagram);
    if (list != kNoPlace) {
      std::uint32_t last = list;
      while (kept_[last].next != kNoPlace) {
        last = kept_[last].next;
      }
      kept_[last].next = lost.list;
      lost.list = list;
    }
  }
  return lost;
}

}  // namespace isthmus
