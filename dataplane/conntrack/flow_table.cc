#include "dataplane/conntrack/flow_table.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

namespace isthmus {

// Lookup --------------------------------------------------------------------------------------------------------------

Hit FlowTable::find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept {
  Hit hit;
  index_.find(hash, [&](const TagIndex::Entry& entry) {
    const DirectionLine* line = line_of(entry.number);
    if (line->key != key) {
      return false;
    }
    hit = this->hit(line);
    return true;
  });
  return hit;
}

Hit FlowTable::find([[maybe_unused]] WorkerId worker, const FlowKey& key) const noexcept {
  assert(quiescence_.inside(worker.value()));
  return find_hashed(key, hasher_(key));
}

Hit FlowTable::find([[maybe_unused]] WorkerId worker, const FlowKey& key, std::uint64_t hash,
                    Seconds now) const noexcept {
  assert(quiescence_.inside(worker.value()));
  const Hit hit = find_hashed(key, hash);
  return hit && !expired(*hit.connection, now) ? hit : Hit{};
}

Hit FlowTable::find_locked([[maybe_unused]] WorkerId worker, const FlowKey& key, std::uint64_t hash) noexcept {
  assert(quiescence_.inside(worker.value()));
  const TagIndex::Guard guard(index_, hash);
  return find_hashed(key, hash);
}

Hit FlowTable::find([[maybe_unused]] WorkerId worker, FlowRef ref, Direction direction) const noexcept {
  assert(quiescence_.inside(worker.value()));
  return find(ref) != nullptr ? hit_of(ref.slot, direction) : Hit{};
}

Connection* FlowTable::find(FlowRef ref) const noexcept {
  if (ref.slot >= capacity_) {
    return nullptr;
  }
  Connection& connection = mapping_.connection(ref.slot);
  const bool same = connection.shared.checksum.load(std::memory_order_seq_cst) != 0 &&
                    connection.shared.sequence.load(std::memory_order_seq_cst) == ref.sequence;
  return same ? &connection : nullptr;
}

void FlowTable::find_burst(WorkerId worker, std::span<const FlowKey> keys, std::span<Hit> hits) const noexcept {
  assert(hits.size() >= keys.size());
  constexpr std::size_t kBurst = 64;
  std::uint64_t hashes[kBurst];
  const void* buckets[kBurst];
  DirectionLine* lines[kBurst];
  for (std::size_t from = 0; from < keys.size(); from += kBurst) {
    const auto count = static_cast<unsigned>(std::min(kBurst, keys.size() - from));
    for (unsigned i = 0; i < count; ++i) {
      hashes[i] = hasher_(keys[from + i]);
      buckets[i] = index_.prefetch(hashes[i]);
    }
    find_each(
        worker, count, [&](unsigned i) noexcept -> const FlowKey& { return keys[from + i]; },
        [&](unsigned i) noexcept { return hashes[i]; }, [&](unsigned i) noexcept { return buckets[i]; },
        [&](unsigned i) noexcept -> DirectionLine*& { return lines[i]; },
        [&](unsigned i, const DirectionBlock*) noexcept { hits[from + i] = hit(lines[i]); });
  }
}

// Connection state per packet --------------------------------------------------------------------------

bool FlowTable::record([[maybe_unused]] WorkerId worker, const Hit& hit, Seconds now, std::uint8_t marks) noexcept {
  assert(quiescence_.inside(worker.value()));
  Connection& c = *hit.connection;
  const std::uint8_t fresh = lifecycle::record(c, hit.direction, now, marks);
  if (leases_.pairs() != 0) {
    if ((fresh & (mark::kFin | mark::kRst)) != 0) {
      leases_.withdraw(c.shared, LeaseState::kEnding);
    }
    note_hot(worker, hit, now);
  }
  if (fresh != 0 && lifecycle::opens(c, hit.direction, marks, fresh)) {
    half_open_.release(worker, c.shared);
  }
  return (fresh & mark::kSeen) != 0 && hit.direction == Direction::kReply;
}

bool FlowTable::evict(WorkerId worker, HalfOpen::Victim victim) noexcept {
  const FlowRef ref{victim.slot, victim.sequence};
  if (!victim || !remove_if(worker, victim.slot, {.reference = &ref, .half_open = true})) {
    return false;
  }
  state(worker).half_open_evicted.add();
  return true;
}

// Insert --------------------------------------------------------------------------------------------------------------

Holder FlowTable::holder_of(const NewConnection& request) const noexcept {
  const bool answer = request.first == Direction::kReply;
  return holders_.holder_of(answer ? request.reply : request.forward, answer ? Side::kLocal : request.from,
                            request.peer, request.cluster, request.vouched);
}

InsertResult FlowTable::insert(WorkerId worker, const NewConnection& request, Seconds now) noexcept {
  assert(quiescence_.inside(worker.value()));
  WorkerState& counters = state(worker);
  const Holder holder = request.holder.source != 0 ? request.holder : holder_of(request);
  const bool room = !scarce() || make_room(worker, holder, now);
  const HalfOpen::Acquired acquired = room ? half_open_.acquire(worker, holder) : HalfOpen::Acquired{};
  if (acquired.victim) [[unlikely]] {
    evict(worker, acquired.victim);
  }
  InsertResult result;
  if (!acquired.ok) [[unlikely]] {  // but the connection may exist already
    give_back_blocks(worker, request);
    result.hit = find(worker, request.forward);
    if (result.hit) {
      result.outcome = InsertOutcome::kExists;
      counters.lost_races.add();
    } else if (room) {
      result.outcome = InsertOutcome::kHalfOpenLimit;
      counters.rejected_half_open_limit.add();
    } else {
      counters.rejected_full.add();
    }
    return result;
  }
  const std::uint64_t word = HalfOpen::word(worker, acquired.place, holder);
  bool taken = true;  // the request's blocks are not the table's
  result.outcome = insert_once(worker, request, word, now, result.hit, taken);
  if (result.outcome == InsertOutcome::kReplyTaken && result.hit &&
      remove_if(worker, result.hit.slot, {.expired_at = &now})) {
    counters.expired.add();  // the owner of the reply key had expired but was not aged out yet
    result.outcome = insert_once(worker, request, word, now, result.hit, taken);
  }
  if (result.outcome == InsertOutcome::kInserted) [[likely]] {
    half_open_.occupy(worker, acquired.place, result.hit.slot,
                      result.hit.shared().sequence.load(std::memory_order_relaxed));
    if (request.first == Direction::kReply) {
      result.hit = hit_of(result.hit.slot, Direction::kReply);
    }
    counters.created.add();
    return result;
  }
  half_open_.cancel(worker, acquired.place, holder);
  if (taken) {
    give_back_blocks(worker, request);
  }
  count_refused(worker, result);
  return result;
}

// A connection that has not been inserted.
void FlowTable::count_refused(WorkerId worker, InsertResult& result) noexcept {
  WorkerState& counters = state(worker);
  switch (result.outcome) {
    case InsertOutcome::kExists:
      counters.lost_races.add();
      break;
    case InsertOutcome::kReplyTaken:
      result.hit = Hit{};
      counters.reply_taken.add();
      break;
    default:
      counters.rejected_full.add();
      evict(worker, half_open_.victim(worker));  // its slot is free for one of the next
      break;
  }
}

inline InsertOutcome FlowTable::insert_once(WorkerId worker, const NewConnection& request, std::uint64_t half_open,
                                            Seconds now, Hit& hit, bool& taken) noexcept {
  if (request.forward == request.reply) {
    return InsertOutcome::kReplyTaken;
  }
  const std::uint32_t number = slots_->allocate(worker);
  if (number == 0) {
    return InsertOutcome::kFull;
  }
  const std::uint32_t slot = number - 1;
  Connection& connection = mapping_.connection(slot);
  fill(slot, request, now);
  connection.shared.half_open.store(half_open, std::memory_order_relaxed);
  InsertOutcome outcome = InsertOutcome::kFull;
  bool seen = false;
  if (fill_blocks(worker, connection, request)) {
    outcome = link(slot,
                   {request.forward_hash != 0 ? request.forward_hash : hasher_(request.forward),
                    request.reply_hash != 0 ? request.reply_hash : hasher_(request.reply)},
                   hit);
    seen = outcome == InsertOutcome::kFull;  // its reply key may have been linked
  }
  if (outcome != InsertOutcome::kInserted) [[unlikely]] {
    for (std::size_t i = 0; i < request.taken.size() && !seen; ++i) {
      if (request.taken[i] != 0) {  // still the caller's
        connection.lines[i].block.store(kNoBlock, std::memory_order_relaxed);
      }
    }
    taken = taken && !seen;
    discard(worker, slot, seen);
  }
  return outcome;
}

// Writes a slot that no reader can see yet.
inline void FlowTable::fill(std::uint32_t slot, const NewConnection& request, Seconds now) noexcept {
  Connection& c = mapping_.connection(slot);
  ConnectionShared& s = c.shared;
  s.state.store(request.user_flags << ConnectionShared::kUserShift | (request.watched ? ConnectionShared::kWatched : 0),
                std::memory_order_relaxed);
  s.closed_at.store(0, std::memory_order_relaxed);
  s.peer.store(request.peer);
  s.lease.store(0, std::memory_order_relaxed);
  s.created = now;
  s.source_identity = request.source_identity;
  s.from = request.from;
  s.to = request.to;
  s.first = request.first;
  s.vouched = request.vouched;
  s.direct_return = request.direct_return;
  s.cluster = request.cluster;
  s.exit.store(request.exit, std::memory_order_relaxed);
  c.lines[0].key = request.forward;
  c.lines[1].key = request.reply;
  for (DirectionLine& line : c.lines) {
    line.block.store(kNoBlock, std::memory_order_relaxed);
    line.seen.store(now.value() << 8, std::memory_order_relaxed);
    line.packets.store(0, std::memory_order_relaxed);
    line.bytes.store(0, std::memory_order_relaxed);
  }
  c.line(request.first).seen.store(now.value() << 8 | request.marks, std::memory_order_relaxed);
}

inline bool FlowTable::fill_blocks(WorkerId worker, Connection& connection, const NewConnection& request) noexcept {
  const std::array<const DirectionBlock*, 2> blocks{request.forward_block, request.reply_block};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] == nullptr) {
      continue;
    }
    const std::uint32_t number = request.taken[i] != 0 ? request.taken[i] : new_block(worker, *blocks[i]);
    if (number == 0) {
      return false;
    }
    connection.lines[i].block.store(number, std::memory_order_relaxed);
  }
  return true;
}

void FlowTable::give_back_blocks(WorkerId worker, const NewConnection& request) noexcept {
  for (const std::uint32_t number : request.taken) {
    if (number != 0) {
      blocks_->release(worker, number);
    }
  }
}

// Frees a slot that was filled but not inserted.
void FlowTable::discard(WorkerId worker, std::uint32_t slot, bool seen) noexcept {
  const auto free_number = [&](NumberPool& pool, std::uint32_t number) {
    if (seen) {
      pool.retire(worker, number);
    } else {
      pool.release(worker, number);
    }
  };
  for (DirectionLine& line : mapping_.connection(slot).lines) {
    const std::uint32_t number = line.block.exchange(kBlockRemoved, std::memory_order_relaxed);
    if (number != kNoBlock) {
      free_number(*blocks_, number);
    }
  }
  if (seen) {
    half_open_.undo_release(worker, mapping_.connection(slot).shared);
  }
  free_number(*slots_, slot + 1);
}

// Insert-if-absent of both keys. While both locks are held, no other worker can link or unlink either key.
inline InsertOutcome FlowTable::link(std::uint32_t slot, const Hashes& hashes, Hit& hit) noexcept {
  Connection& c = mapping_.connection(slot);
  const TagIndex::Guard guard(index_, hashes.forward, hashes.reply);
  if (!link_vacant(slot, hashes)) {
    const InsertOutcome outcome = link_any(slot, hashes, hit);
    if (outcome != InsertOutcome::kInserted) {
      return outcome;
    }
  }
  c.shared.checksum.store(checksum_of(c, slot), std::memory_order_release);
  write_hit(hit, slot, Direction::kForward);
  return InsertOutcome::kInserted;
}

// Nearly always there is room in the first bucket of each key, and nothing that may be the key. The reply key comes
// first: a reader that finds the forward key can rely on the reply key being there.
bool FlowTable::link_vacant(std::uint32_t slot, const Hashes& hashes) noexcept {
  const Connection& c = mapping_.connection(slot);
  auto* const reply = index_.vacancy(hashes.reply);
  auto* const forward = index_.vacancy(hashes.forward);
  if (reply == nullptr || forward == nullptr || reply == forward) [[unlikely]] {
    return false;
  }
  TagIndex::fill(*reply, hashes.reply, entry_of(c, slot, Direction::kReply));
  TagIndex::fill(*forward, hashes.forward, entry_of(c, slot, Direction::kForward));
  return true;
}

InsertOutcome FlowTable::link_any(std::uint32_t slot, const Hashes& hashes, Hit& hit) noexcept {
  const Connection& c = mapping_.connection(slot);
  if (!index_.definitely_absent(hashes.forward)) {
    hit = find_hashed(c.lines[0].key, hashes.forward);
    if (hit) {
      return InsertOutcome::kExists;
    }
  }
  if (!index_.definitely_absent(hashes.reply)) {
    hit = find_hashed(c.lines[1].key, hashes.reply);
    if (hit) {
      return InsertOutcome::kReplyTaken;
    }
  }
  const TagIndex::Entry reply = entry_of(c, slot, Direction::kReply);
  if (!index_.insert(hashes.reply, reply)) {
    return InsertOutcome::kFull;
  }
  if (!index_.insert(hashes.forward, entry_of(c, slot, Direction::kForward))) {
    index_.erase(hashes.reply, reply);
    return InsertOutcome::kFull;
  }
  return InsertOutcome::kInserted;
}

// Revalidate ----------------------------------------------------------------------------------------------------------

std::uint32_t FlowTable::new_block(WorkerId worker, const DirectionBlock& block) noexcept {
  const std::uint32_t number = blocks_->allocate(worker);
  if (number == 0) {
    state(worker).no_block.add();
    return 0;
  }
  mapping_.block(number) = block;
  return number;
}

namespace {

// Whether two decisions differ in nothing but when they were made.
bool same_decision(const DirectionBlock& a, const DirectionBlock& b) noexcept {
  constexpr std::size_t kSum = offsetof(DirectionBlock, epoch_sum), kIndex = offsetof(DirectionBlock, epoch_index);
  constexpr std::size_t kPeer = offsetof(DirectionBlock, encap_peer);
  static_assert(offsetof(DirectionBlock, verified_at) + 4 == kPeer && kSum + 4 == kIndex);
  const auto* x = reinterpret_cast<const std::byte*>(&a);
  const auto* y = reinterpret_cast<const std::byte*>(&b);
  return a.origin == b.origin && std::memcmp(x + kPeer, y + kPeer, kSum - kPeer) == 0 &&
         std::memcmp(x + kIndex, y + kIndex, offsetof(DirectionBlock, epoch_value) - kIndex) == 0;
}

}  // namespace

// An equal decision is stamped anew in place. Its words were sampled before the tables were read, as those of any
// other: a worker that was late stores a sum that is not current.
RevalidateOutcome FlowTable::revalidate(WorkerId worker, Hit& hit, const DirectionBlock& block) noexcept {
  assert(quiescence_.inside(worker.value()));
  if (hit.block != nullptr && same_decision(*hit.block, block)) {
    EpochTable::stamp(*hit.block, block.epoch_sum, block.epoch_value);
    stamp_lease(hit, block.epoch_sum);
    if (hit.line().block.load(std::memory_order_acquire) != kBlockRemoved) {
      return RevalidateOutcome::kPublished;
    }
    hit.block_number = kBlockRemoved;
    hit.block = nullptr;
    return RevalidateOutcome::kRemoved;
  }
  const std::uint32_t number = new_block(worker, block);
  if (number == 0) {
    return RevalidateOutcome::kOutOfBlocks;
  }
  std::uint32_t old = hit.block_number;
  // Only the worker that replaces a number may retire it; fails if another worker replaced the block or removed the
  // connection meanwhile.
  const bool replaced = old != kBlockRemoved && hit.line().block.compare_exchange_strong(
                                                    old, number, std::memory_order_seq_cst, std::memory_order_acquire);
  if (replaced) {
    leases_.withdraw(hit.shared(), hit.direction, LeaseState::kRedecided);
    if (old != kNoBlock) {
      blocks_->retire(worker, old);
    }
    hit.block_number = number;
    hit.block = block_of(number);
    return RevalidateOutcome::kPublished;
  }
  blocks_->release(worker, number);
  hit.block_number = old;
  hit.block = block_of(old);
  return old == kBlockRemoved ? RevalidateOutcome::kRemoved : RevalidateOutcome::kSuperseded;
}

void FlowTable::forget(WorkerId worker, DirectionLine& line) noexcept {
  assert(quiescence_.inside(worker.value()));
  std::uint32_t old = line.block.load(std::memory_order_acquire);
  while (old != kNoBlock && old != kBlockRemoved) {
    if (line.block.compare_exchange_weak(old, kNoBlock, std::memory_order_seq_cst, std::memory_order_acquire)) {
      const Hit its = hit(&line);
      leases_.withdraw(its.shared(), its.direction, LeaseState::kRedecided);
      blocks_->retire(worker, old);
      return;
    }
  }
}

// Remove --------------------------------------------------------------------------------------------------------------

bool FlowTable::remove(WorkerId worker, const Hit& hit) noexcept { return remove_if(worker, hit.slot, {}); }

bool FlowTable::meets(Connection& c, const Condition& condition) const noexcept {
  if (c.shared.checksum.load(std::memory_order_relaxed) == 0) {
    return false;
  }
  if (condition.expired_at != nullptr) {
    return expired(c, *condition.expired_at);
  }
  return !(condition.half_open && c.opened()) &&
         (condition.reference == nullptr ||
          c.shared.sequence.load(std::memory_order_relaxed) == condition.reference->sequence);
}

bool FlowTable::remove_if(WorkerId worker, std::uint32_t slot, const Condition& condition) noexcept {
  assert(quiescence_.inside(worker.value()));
  Connection& c = mapping_.connection(slot);
  const Hashes hashes = hashes_of(c);
  {
    const TagIndex::Guard guard(index_, hashes.forward, hashes.reply);
    if (!meets(c, condition)) {
      return false;
    }
    c.shared.checksum.store(0, std::memory_order_release);
    index_.erase(hashes.forward, entry_of(c, slot, Direction::kForward));
    index_.erase(hashes.reply, entry_of(c, slot, Direction::kReply));
    c.shared.sequence.fetch_add(1, std::memory_order_seq_cst);
  }
  leases_.withdraw(c.shared, LeaseState::kRemoved);  // before a number of the connection is retired
  for (DirectionLine& line : c.lines) {
    const std::uint32_t number = line.block.exchange(kBlockRemoved, std::memory_order_acq_rel);
    if (number != kNoBlock) {
      blocks_->retire(worker, number);
    }
  }
  half_open_.release(worker, c.shared);
  holders_.remove_open(HalfOpen::holder_of(c.shared));
  slots_->retire(worker, slot + 1);
  state(worker).removed.add();
  return true;
}

}  // namespace isthmus
