#include "dataplane/flow/flow_table.h"

#include <algorithm>
#include <array>

namespace isthmus {
namespace {

void count(std::atomic<std::uint64_t>& counter) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

}  // namespace

// Lookup --------------------------------------------------------------------------------------------------------------

Hit FlowTable::find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept {
  Hit hit;
  index_.find(hash, [&](const TagIndex::Entry& entry) {
    const auto direction = static_cast<Direction>(entry.flag);
    if (mapping_.connection(entry.number).line(direction).key != key) {
      return false;
    }
    hit = hit_of(entry.number, direction);
    return true;
  });
  return hit;
}

Hit FlowTable::find([[maybe_unused]] WorkerId worker, const FlowKey& key) const noexcept {
  assert(quiescence_.inside(worker.value()));
  return find_hashed(key, hasher_(key));
}

Hit FlowTable::find([[maybe_unused]] WorkerId worker, FlowRef ref, Direction direction) const noexcept {
  assert(quiescence_.inside(worker.value()));
  if (ref.slot >= capacity_) {
    return {};
  }
  const ConnectionShared& shared = mapping_.connection(ref.slot).shared;
  const bool same = shared.seal.load(std::memory_order_acquire) != 0 &&
                    shared.sequence.load(std::memory_order_relaxed) == ref.sequence;
  return same ? hit_of(ref.slot, direction) : Hit{};
}

void FlowTable::find_burst(WorkerId worker, std::span<const FlowKey> keys, std::span<Hit> hits) const noexcept {
  assert(hits.size() >= keys.size());
  constexpr std::size_t kBurst = 64;
  std::uint64_t hashes[kBurst];
  for (std::size_t from = 0; from < keys.size(); from += kBurst) {
    const auto count = static_cast<unsigned>(std::min(kBurst, keys.size() - from));
    for (unsigned i = 0; i < count; ++i) {
      hashes[i] = hasher_(keys[from + i]);
      index_.prefetch(hashes[i]);
    }
    find_each(
        worker, count, [&](unsigned i) noexcept -> const FlowKey& { return keys[from + i]; },
        [&](unsigned i) noexcept { return hashes[i]; }, [&](unsigned i) noexcept -> Hit& { return hits[from + i]; });
  }
}

// A packet's effect on the connection's life --------------------------------------------------------------------------

void FlowTable::note([[maybe_unused]] WorkerId worker, const Hit& hit, Seconds now, std::uint8_t marks) noexcept {
  assert(quiescence_.inside(worker.value()));
  const bool first = lifecycle::note(*hit.connection, hit.direction, now, marks);
  if (first && hit.direction == Direction::kReply) {
    give_back_unreplied(*hit.connection);
  }
}

bool FlowTable::take_unreplied() noexcept {
  if (unreplied_.fetch_add(1, std::memory_order_relaxed) < unreplied_limit_) {
    return true;
  }
  unreplied_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

// By the first reply or by removal, whichever sets the bit.
void FlowTable::give_back_unreplied(Connection& connection) noexcept {
  const std::uint32_t before = connection.shared.state.fetch_or(ConnectionShared::kReplied, std::memory_order_relaxed);
  if ((before & ConnectionShared::kReplied) == 0) {
    unreplied_.fetch_sub(1, std::memory_order_relaxed);
  }
}

// Insert --------------------------------------------------------------------------------------------------------------

InsertResult FlowTable::insert(WorkerId worker, const NewConnection& wanted, Seconds now) noexcept {
  assert(quiescence_.inside(worker.value()));
  WorkerState& counters = state(worker);
  if (!take_unreplied()) {
    // The unit may be missing only because the connection is there already.
    if (Hit hit = find(worker, wanted.forward)) {
      count(counters.lost_races);
      return {InsertOutcome::kExists, hit};
    }
    count(counters.refused_quota);
    return {InsertOutcome::kQuota, {}};
  }
  InsertResult result = insert_once(worker, wanted, now);
  if (result.outcome == InsertOutcome::kReplyTaken && result.hit && remove_if(worker, result.hit.slot, &now)) {
    count(counters.expired);
    result = insert_once(worker, wanted, now);  // the holder of the reply key had expired, only nobody had swept it
  }
  if (result.outcome != InsertOutcome::kInserted) {
    unreplied_.fetch_sub(1, std::memory_order_relaxed);
  }
  switch (result.outcome) {
    case InsertOutcome::kInserted:
      count(counters.created);
      break;
    case InsertOutcome::kExists:
      count(counters.lost_races);
      break;
    case InsertOutcome::kReplyTaken:
      result.hit = Hit{};
      count(counters.reply_taken);
      break;
    case InsertOutcome::kFull:
    case InsertOutcome::kQuota:
      count(counters.refused_full);
      break;
  }
  return result;
}

InsertResult FlowTable::insert_once(WorkerId worker, const NewConnection& wanted, Seconds now) noexcept {
  if (wanted.forward == wanted.reply) {
    return {InsertOutcome::kReplyTaken, {}};
  }
  const std::uint32_t number = slots_->allocate(worker);
  if (number == 0) {
    return {InsertOutcome::kFull, {}};
  }
  const std::uint32_t slot = number - 1;
  fill(slot, wanted, now);
  InsertResult result;
  if (fill_blocks(worker, mapping_.connection(slot), wanted)) {
    result = link(slot, {wanted.forward_hash != 0 ? wanted.forward_hash : hasher_(wanted.forward),
                         wanted.reply_hash != 0 ? wanted.reply_hash : hasher_(wanted.reply)});
  }
  if (result.outcome != InsertOutcome::kInserted) {
    discard(worker, slot);
  }
  return result;
}

// Writes a slot that nobody can see yet.
void FlowTable::fill(std::uint32_t slot, const NewConnection& wanted, Seconds now) noexcept {
  Connection& c = mapping_.connection(slot);
  ConnectionShared& s = c.shared;
  s.state.store(0, std::memory_order_relaxed);
  s.closed_at.store(0, std::memory_order_relaxed);
  s.forward_peer.store(wanted.forward_peer.value(), std::memory_order_relaxed);
  s.user_flags.store(wanted.user_flags, std::memory_order_relaxed);
  s.created = now;
  s.service = wanted.service;
  s.backend = wanted.backend;
  s.source_identity = wanted.source_identity;
  s.backend_cluster = wanted.backend_cluster;
  s.from = wanted.from;
  s.to = wanted.to;
  c.lines[0].key = wanted.forward;
  c.lines[1].key = wanted.reply;
  for (DirectionLine& line : c.lines) {
    line.block.store(kNoBlock, std::memory_order_relaxed);
    line.seen.store(now.value() << 8, std::memory_order_relaxed);
    line.packets.store(0, std::memory_order_relaxed);
    line.bytes.store(0, std::memory_order_relaxed);
  }
}

bool FlowTable::fill_blocks(WorkerId worker, Connection& connection, const NewConnection& wanted) noexcept {
  const std::array<const DirectionBlock*, 2> blocks{wanted.forward_block, wanted.reply_block};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] == nullptr) {
      continue;
    }
    const std::uint32_t number = new_block(worker, *blocks[i]);
    if (number == 0) {
      return false;
    }
    connection.lines[i].block.store(number, std::memory_order_relaxed);
  }
  return true;
}

// A slot that was filled but never linked.
void FlowTable::discard(WorkerId worker, std::uint32_t slot) noexcept {
  for (DirectionLine& line : mapping_.connection(slot).lines) {
    const std::uint32_t number = line.block.load(std::memory_order_relaxed);
    if (number != kNoBlock) {
      blocks_->release(worker, number);
      line.block.store(kNoBlock, std::memory_order_relaxed);
    }
  }
  slots_->release(worker, slot + 1);
}

// Insert-if-absent of both keys. Under both locks nobody else can link or unlink either key.
InsertResult FlowTable::link(std::uint32_t slot, const Hashes& hashes) noexcept {
  Connection& c = mapping_.connection(slot);
  const TagIndex::Guard guard(index_, hashes.forward, hashes.reply);
  if (!index_.surely_absent(hashes.forward)) {
    if (Hit other = find_hashed(c.lines[0].key, hashes.forward)) {
      return {InsertOutcome::kExists, other};
    }
  }
  if (!index_.surely_absent(hashes.reply)) {
    if (Hit other = find_hashed(c.lines[1].key, hashes.reply)) {
      return {InsertOutcome::kReplyTaken, other};
    }
  }
  if (!link_both(slot, hashes)) {
    return {InsertOutcome::kFull, {}};
  }
  c.shared.seal.store(seal_of(c, slot), std::memory_order_release);
  return {InsertOutcome::kInserted, hit_of(slot, Direction::kForward)};
}

// The reply key first: who finds the forward key can rely on the other.
bool FlowTable::link_both(std::uint32_t slot, const Hashes& hashes) noexcept {
  const Connection& c = mapping_.connection(slot);
  const TagIndex::Entry reply = entry_of(c, slot, Direction::kReply);
  if (!index_.insert(hashes.reply, reply)) {
    return false;
  }
  if (!index_.insert(hashes.forward, entry_of(c, slot, Direction::kForward))) {
    index_.erase(hashes.reply, reply);
    return false;
  }
  return true;
}

// Re-admit ------------------------------------------------------------------------------------------------------------

std::uint32_t FlowTable::new_block(WorkerId worker, const DirectionBlock& block) noexcept {
  const std::uint32_t number = blocks_->allocate(worker);
  if (number == 0) {
    count(state(worker).no_block);
    return 0;
  }
  mapping_.block(number) = block;
  return number;
}

ReadmitOutcome FlowTable::readmit(WorkerId worker, Hit& hit, const DirectionBlock& block) noexcept {
  assert(quiescence_.inside(worker.value()));
  const std::uint32_t number = new_block(worker, block);
  if (number == 0) {
    return ReadmitOutcome::kOutOfBlocks;
  }
  std::uint32_t old = hit.block_number;
  // Only the one who replaces a number may retire it: another worker's block, or the mark of removal, makes this fail.
  const bool replaced = old != kBlockGone && hit.line().block.compare_exchange_strong(
                                                 old, number, std::memory_order_acq_rel, std::memory_order_acquire);
  if (replaced) {
    if (old != kNoBlock) {
      blocks_->retire(worker, old);
    }
    hit.block_number = number;
    hit.block = block_of(number);
    return ReadmitOutcome::kPublished;
  }
  blocks_->release(worker, number);
  hit.block_number = old;
  hit.block = block_of(old);
  return old == kBlockGone ? ReadmitOutcome::kGone : ReadmitOutcome::kSuperseded;
}

// Remove --------------------------------------------------------------------------------------------------------------

bool FlowTable::remove(WorkerId worker, const Hit& hit) noexcept { return remove_if(worker, hit.slot, nullptr); }

bool FlowTable::remove_if(WorkerId worker, std::uint32_t slot, const Seconds* expired_at) noexcept {
  assert(quiescence_.inside(worker.value()));
  Connection& c = mapping_.connection(slot);
  const Hashes hashes = hashes_of(c);
  {
    const TagIndex::Guard guard(index_, hashes.forward, hashes.reply);
    if (c.shared.seal.load(std::memory_order_relaxed) == 0 ||
        (expired_at != nullptr && lifecycle::expires_in(c, timeouts_, *expired_at) != 0)) {
      return false;
    }
    c.shared.seal.store(0, std::memory_order_release);
    index_.erase(hashes.forward, entry_of(c, slot, Direction::kForward));
    index_.erase(hashes.reply, entry_of(c, slot, Direction::kReply));
    c.shared.sequence.fetch_add(1, std::memory_order_release);
  }
  for (DirectionLine& line : c.lines) {
    const std::uint32_t number = line.block.exchange(kBlockGone, std::memory_order_acq_rel);
    if (number != kNoBlock) {
      blocks_->retire(worker, number);
    }
  }
  give_back_unreplied(c);
  slots_->retire(worker, slot + 1);
  count(state(worker).removed);
  return true;
}

unsigned FlowTable::sweep(WorkerId worker, Seconds now, unsigned budget) noexcept {
  WorkerState& own = state(worker);
  const std::uint32_t first = std::min(capacity_, worker.value() * share());
  const std::uint32_t size = std::min(capacity_ - first, share());
  unsigned removed = 0;
  for (unsigned visited = 0; visited < std::min(budget, size); ++visited) {
    const std::uint32_t slot = first + own.cursor;
    own.cursor = own.cursor + 1 == size ? 0 : own.cursor + 1;
    const Connection& c = mapping_.connection(slot);
    if (c.shared.seal.load(std::memory_order_acquire) != 0 && lifecycle::expires_in(c, timeouts_, now) == 0 &&
        remove_if(worker, slot, &now)) {
      count(own.expired);
      ++removed;
    }
  }
  slots_->collect(worker);
  blocks_->collect(worker);
  mapping_.still_used(now);
  return removed;
}

}  // namespace isthmus
