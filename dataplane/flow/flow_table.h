// FlowTable: the connection table of an engine, shared by all its workers.
//
// An index (tags and slot numbers, one key per direction) finds a connection slot; the slot has a shared line and a
// line per direction; each direction names its immutable decision, a DirectionBlock. Slots, blocks and epoch words lie
// in a mapping (a named file, or anonymous); index and free lists are private and rebuilt when a mapping is adopted.
//
// Threads and lifetime
//   Made by the engine before its workers start, after the Quiescence, which outlives it. Reader slot w of the
//   quiescence is worker w. Functions that take a WorkerId are that worker's, called inside its read section; a Hit is
//   valid until the worker's next quiescent point. Lookups take no lock. Insert and remove take the spin locks of one
//   or two regions of the index, in address order, for some hundred nanoseconds.
//   Any worker may touch any connection.
// Why a hit does not compare the slot's sequence number: it lies in the shared line, which the packet path leaves
// alone;
//   inside a read section a slot that was found cannot be re-used. The sequence is for references kept longer
//   (FlowRef).
// Nothing is allocated after open(). Failure of insert and readmit is a value; the packet path goes on.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/base/types.h"
#include "dataplane/flow/connection.h"
#include "dataplane/flow/direction_block.h"
#include "dataplane/flow/epoch_table.h"
#include "dataplane/flow/flow_key.h"
#include "dataplane/flow/flow_mapping.h"
#include "dataplane/flow/lifecycle.h"
#include "dataplane/flow/number_pool.h"
#include "dataplane/publish/quiescence.h"
#include "dataplane/tables/memory_area.h"
#include "dataplane/tables/tag_index.h"

namespace isthmus {

// A connection that a packet belongs to, and which of its directions.
struct Hit {
  Connection* connection = nullptr;       // nullptr: no hit
  const DirectionBlock* block = nullptr;  // nullptr: this direction has no decision yet, or the connection has gone
  std::uint32_t slot = 0;
  std::uint32_t block_number = kNoBlock;
  Direction direction = Direction::kForward;

  Hit() noexcept = default;
  Hit(const Hit&) noexcept = default;
  // Part by part: hits are copied soon after they were written so.
  Hit& operator=(const Hit& other) noexcept {
    connection = other.connection;
    block = other.block;
    slot = other.slot;
    block_number = other.block_number;
    direction = other.direction;
    return *this;
  }
  explicit operator bool() const noexcept { return connection != nullptr; }
  [[nodiscard]] DirectionLine& line() const noexcept { return connection->line(direction); }
  [[nodiscard]] ConnectionShared& shared() const noexcept { return connection->shared; }
};

// Names a connection across read sections; remove() and find() tell when it is no longer the same.
struct FlowRef {
  std::uint32_t slot = 0;
  std::uint32_t sequence = 0;
};

// What insert() writes. The keys as packets arrive: `reply` is the key of an untouched reply (backend to translated
// client).
struct NewConnection {
  FlowKey forward;
  FlowKey reply;
  const DirectionBlock* forward_block = nullptr;  // copied; nullptr: not admitted yet
  const DirectionBlock* reply_block = nullptr;
  ServiceId service;
  BackendId backend;
  ClusterId backend_cluster;
  PeerId forward_peer;
  Identity source_identity;
  Side from = Side::kLocal;
  Side to = Side::kLocal;
  std::uint32_t user_flags = 0;
  std::uint64_t forward_hash = 0, reply_hash = 0;  // as FlowTable::hash() makes them; 0: insert() does
};

enum class InsertOutcome : std::uint8_t {
  kInserted,    // `hit` is the new connection, forward
  kExists,      // another packet was first: `hit` is the winner, in the direction that `forward` has there
  kReplyTaken,  // the reply key belongs to another connection: try another backend or source port
  kFull,        // no free slot or block, or no room in the index
  kQuota,       // too many unreplied connections
};
struct InsertResult {
  InsertOutcome outcome = InsertOutcome::kFull;
  Hit hit;
};

enum class ReadmitOutcome : std::uint8_t {
  kPublished,    // hit.block is the new decision
  kSuperseded,   // another worker was first: hit.block is its decision; use either for this packet
  kGone,         // the connection was removed meanwhile: look up again
  kOutOfBlocks,  // none free: use the decision for this packet; the next will ask again
};

struct FlowCounts {
  std::uint64_t now = 0, created = 0, removed = 0, expired = 0, adopted = 0;
  std::uint64_t unreplied = 0, capacity = 0;
  std::uint64_t bytes = 0, huge_page_bytes = 0;  // of the mapping, and of these on huge pages when it was opened
  std::uint64_t lost_races = 0, reply_taken = 0, refused_full = 0, refused_quota = 0, no_block = 0;
};

class FlowTable {
 public:
  struct Options {
    std::string name = "isthmus";
    std::string directory = "/dev/shm";
    bool keep_state = true;  // false: an anonymous mapping, nothing survives
    std::uint32_t connections = 262144;
    std::uint32_t unreplied = 0;  // 0: a quarter of the connections
    unsigned workers = 1;         // 1..64; reader slots 0..workers-1
    FlowTimeouts timeouts;
    std::uint64_t hash_seed = 0;  // 0: random
  };

  // Control thread. Adopts the mapping of an earlier process where it fits, else starts fresh (see start_reason()).
  // Fails when another engine holds the name, or the mapping cannot be made: the error says which and what to do.
  [[nodiscard]] static Result<std::unique_ptr<FlowTable>> open(const Options& options, Quiescence& quiescence);
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // Seconds since the table was created, also by an earlier process. A system call: workers take it once per round from
  // their own clock (boot time in nanoseconds) with seconds_at().
  [[nodiscard]] Seconds now() const noexcept;
  [[nodiscard]] Seconds seconds_at(Nanoseconds boot_time) const noexcept { return mapping_.seconds_at(boot_time); }
  // Empty when adopted or new; else why an earlier state was left behind ("capacity was 1024, is 2048").
  [[nodiscard]] const std::string& start_reason() const noexcept { return mapping_.fresh_reason(); }
  [[nodiscard]] EpochTable& epochs() noexcept { return epochs_; }
  [[nodiscard]] const EpochTable& epochs() const noexcept { return epochs_; }
  [[nodiscard]] const FlowTimeouts& timeouts() const noexcept { return timeouts_; }

  // Lookup ------------------------------------------------------------------------------------------------------------
  // `hits` is as long as `keys`. Prefetches buckets, then lines, then blocks.
  void find_burst(WorkerId worker, std::span<const FlowKey> keys, std::span<Hit> hits) const noexcept;
  // The same for keys that lie apart, whose buckets have been asked for: key_of(i) gives the key number i of `count`
  // (64 at most), hash_of(i) its hash, hit_at(i) where its hit goes.
  template <typename KeyOf, typename HashOf, typename HitAt>
  void find_each(WorkerId worker, unsigned count, KeyOf&& key_of, HashOf&& hash_of, HitAt&& hit_at) const noexcept;
  [[nodiscard]] Hit find(WorkerId worker, const FlowKey& key) const noexcept;
  [[nodiscard]] std::uint64_t hash(const FlowKey& key) const noexcept { return hasher_(key); }
  // The same connection, if it still lives.
  [[nodiscard]] Hit find(WorkerId worker, FlowRef ref, Direction direction) const noexcept;
  [[nodiscard]] static FlowRef ref(const Hit& hit) noexcept {
    return {hit.slot, hit.shared().sequence.load(std::memory_order_acquire)};
  }

  // Counts a forwarded packet and lets it act on the connection's life. For every packet, the first included.
  // `tcp_flags`: the header's, 0 for other protocols.
  void track(WorkerId worker, const Hit& hit, Seconds now, Bytes length, std::uint8_t tcp_flags) noexcept {
    DirectionLine& line = hit.line();
    line.packets.store(line.packets.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    line.bytes.store(line.bytes.load(std::memory_order_relaxed) + length.value(), std::memory_order_relaxed);
    const std::uint8_t marks = lifecycle::marks_of(line.key.protocol, tcp_flags);
    const std::uint32_t seen = line.seen.load(std::memory_order_relaxed);
    if (((seen ^ now.value() << 8) >> 8 | (marks & ~seen)) != 0) [[unlikely]] {
      note(worker, hit, now, marks);
    }
  }
  // A TCP SYN of a connection whose both ends have closed: a new one by the same name. Remove it, then insert.
  [[nodiscard]] static bool reopens(const Hit& hit, std::uint8_t tcp_flags) noexcept {
    return (tcp_flags & (tcp_flag::kSyn | tcp_flag::kAck)) == tcp_flag::kSyn && hit.connection->closing();
  }

  // Brings what insert() will touch into the cache: the bucket of a key's hash, and the slot and block that the insert
  // after `ahead` others takes; for readmit() the block, and the lines of a connection that a lookup leaves alone.
  void prefetch_bucket(std::uint64_t hash) const noexcept { index_.prefetch(hash); }
  void prefetch_insert(WorkerId worker, unsigned ahead) const noexcept {
    prefetch_number(slots_->upcoming(worker, ahead), blocks_->upcoming(worker, ahead));
  }
  void prefetch_readmit(WorkerId worker, unsigned ahead) const noexcept {
    prefetch_number(0, blocks_->upcoming(worker, ahead));
  }
  void prefetch_connection(const Hit& hit) const noexcept {
    __builtin_prefetch(&hit.connection->shared);
    __builtin_prefetch(&hit.connection->line(opposite(hit.direction)));
  }

  // Change ------------------------------------------------------------------------------------------------------------
  [[nodiscard]] InsertResult insert(WorkerId worker, const NewConnection& wanted, Seconds now) noexcept;
  // Replaces the decision of the hit's direction, given that it is still the one the hit carries; updates the hit.
  [[nodiscard]] ReadmitOutcome readmit(WorkerId worker, Hit& hit, const DirectionBlock& block) noexcept;
  // False if it was gone already. The hit stays readable until the next quiescent point, without blocks.
  bool remove(WorkerId worker, const Hit& hit) noexcept;

  // The janitor: visits the next `budget` slots of this worker's share, removes the expired, and collects what has
  // passed its grace. Once per round, also before sleeping; a sleeping worker wakes at least every few seconds for it.
  // With capacity c, a whole sweep takes c / (workers * budget) rounds. Returns how many it removed.
  unsigned sweep(WorkerId worker, Seconds now, unsigned budget) noexcept;
  // Slots in a worker's share, for choosing a budget.
  [[nodiscard]] std::uint32_t share() const noexcept { return (capacity_ + workers_ - 1) / workers_; }

  // Observation, any thread
  // --------------------------------------------------------------------------------------------- Calls visit(const
  // Connection&, std::uint32_t slot) for live connections until it returns false. `reader` is a slot of the quiescence
  // that is offline; every few hundred slots are one read section. What a visit gets may be changing.
  template <typename Visit>
  void visit(unsigned reader, Visit&& visit) const {
    constexpr std::uint32_t kSection = 256;
    for (std::uint32_t from = 0; from < capacity_; from += kSection) {
      const ReadSection section(quiescence_, reader);
      const std::uint32_t to = capacity_ - from < kSection ? capacity_ : from + kSection;
      for (std::uint32_t slot = from; slot < to; ++slot) {
        const Connection& c = mapping_.connection(slot);
        if (c.shared.seal.load(std::memory_order_acquire) != 0 && !visit(c, slot)) {
          return;
        }
      }
    }
  }
  // A connection's decision; inside the same read section. nullptr: none.
  [[nodiscard]] const DirectionBlock* block(const Connection& connection, Direction direction) const noexcept {
    return block_of(connection.line(direction).block.load(std::memory_order_acquire));
  }
  [[nodiscard]] std::uint32_t idle(const Connection& c, Seconds now) const noexcept { return lifecycle::idle(c, now); }
  [[nodiscard]] std::uint32_t expires_in(const Connection& c, Seconds now) const noexcept {
    return lifecycle::expires_in(c, timeouts_, now);
  }
  [[nodiscard]] FlowCounts counts() const noexcept;

 private:
  struct alignas(64) WorkerState {  // counters: one writer, any reader
    std::atomic<std::uint64_t> created{0}, removed{0}, expired{0}, lost_races{0}, reply_taken{0}, refused_full{0},
        refused_quota{0}, no_block{0};
    std::uint32_t cursor = 0;
  };
  struct Hashes {
    std::uint64_t forward, reply;
  };

  FlowTable(const Options& options, Quiescence& quiescence, FlowMapping mapping, MemoryArea index_area);
  // flow_adoption.cc
  void adopt(std::vector<bool>& slots_used, std::vector<bool>& blocks_used) noexcept;
  [[nodiscard]] bool adopt_slot(std::uint32_t slot) noexcept;
  void adopt_line(DirectionLine& line, std::vector<bool>& blocks_used) noexcept;
  // Over the keys and plain fields; never 0.
  [[nodiscard]] static std::uint32_t seal_of(const Connection& connection, std::uint32_t slot) noexcept;

  void note(WorkerId worker, const Hit& hit, Seconds now, std::uint8_t marks) noexcept;
  [[nodiscard]] bool take_unreplied() noexcept;
  void give_back_unreplied(Connection& connection) noexcept;

  [[nodiscard]] static Direction direction_of(std::uint64_t guess) noexcept {
    return static_cast<Direction>(TagIndex::flag_of(guess));
  }
  [[nodiscard]] Hashes hashes_of(const Connection& c) const noexcept {
    return {hasher_(c.lines[0].key), hasher_(c.lines[1].key)};
  }
  [[nodiscard]] Hit find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept;
  // Written in place: a hit that is made here and copied there is loaded before its parts have left the store buffer.
  void write_hit(Hit& hit, std::uint32_t slot, Direction direction) const noexcept {
    Connection& connection = mapping_.connection(slot);
    const std::uint32_t number = connection.line(direction).block.load(std::memory_order_acquire);
    hit.connection = &connection;
    hit.slot = slot;
    hit.direction = direction;
    hit.block_number = number;
    hit.block = block_of(number);
  }
  [[nodiscard]] Hit hit_of(std::uint32_t slot, Direction direction) const noexcept {
    Hit hit;
    write_hit(hit, slot, direction);
    return hit;
  }
  [[nodiscard]] InsertResult insert_once(WorkerId worker, const NewConnection& wanted, Seconds now) noexcept;
  void fill(std::uint32_t slot, const NewConnection& wanted, Seconds now) noexcept;
  [[nodiscard]] bool fill_blocks(WorkerId worker, Connection& connection, const NewConnection& wanted) noexcept;
  void discard(WorkerId worker, std::uint32_t slot) noexcept;
  [[nodiscard]] InsertResult link(std::uint32_t slot, const Hashes& hashes) noexcept;
  [[nodiscard]] bool link_both(std::uint32_t slot, const Hashes& hashes) noexcept;
  [[nodiscard]] std::uint32_t new_block(WorkerId worker, const DirectionBlock& block) noexcept;
  // With `expired_at`: only if it has expired by then.
  bool remove_if(WorkerId worker, std::uint32_t slot, const Seconds* expired_at) noexcept;

  void prefetch_number(std::uint32_t slot_number, std::uint32_t block_number) const noexcept {
    if (slot_number != 0) {
      Connection& connection = mapping_.connection(slot_number - 1);
      __builtin_prefetch(&connection.shared, 1);
      __builtin_prefetch(&connection.lines[0], 1);
      __builtin_prefetch(&connection.lines[1], 1);
    }
    if (block_number != 0) {
      DirectionBlock& block = mapping_.block(block_number);
      __builtin_prefetch(&block, 1);
      __builtin_prefetch(&block.source, 1);
    }
  }
  [[nodiscard]] const DirectionBlock* block_of(std::uint32_t number) const noexcept {
    return number == kNoBlock || number == kBlockGone ? nullptr : &mapping_.block(number);
  }
  [[nodiscard]] static TagIndex::Entry entry_of(const Connection& c, std::uint32_t slot, Direction d) noexcept {
    return {slot, c.shared.sequence.load(std::memory_order_relaxed), d == Direction::kReply};
  }
  [[nodiscard]] WorkerState& state(WorkerId worker) noexcept { return states_[worker.value()]; }

  std::uint32_t capacity_;
  unsigned workers_;
  std::uint32_t unreplied_limit_;
  FlowTimeouts timeouts_;
  Quiescence& quiescence_;
  FlowMapping mapping_;
  MemoryArea index_area_;
  TagIndex index_;
  EpochTable epochs_;
  FlowHasher hasher_;
  std::unique_ptr<NumberPool> slots_;  // numbers are slot + 1
  std::unique_ptr<NumberPool> blocks_;
  std::unique_ptr<WorkerState[]> states_;
  std::uint64_t adopted_ = 0;
  alignas(64) std::atomic<std::uint32_t> unreplied_{0};
};

template <typename KeyOf, typename HashOf, typename HitAt>
void FlowTable::find_each([[maybe_unused]] WorkerId worker, unsigned count, KeyOf&& key_of, HashOf&& hash_of,
                          HitAt&& hit_at) const noexcept {
  constexpr unsigned kMost = 64;
  assert(quiescence_.inside(worker.value()) && count <= kMost);
  std::uint64_t guesses[kMost];
  for (unsigned i = 0; i < count; ++i) {
    guesses[i] = index_.guess(hash_of(i));
    __builtin_prefetch(&mapping_.connection(TagIndex::number_of(guesses[i])).line(direction_of(guesses[i])), 1);
  }
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t slot = TagIndex::number_of(guesses[i]);
    const Direction direction = direction_of(guesses[i]);
    Hit& hit = hit_at(i);
    if (guesses[i] != TagIndex::kNoGuess && mapping_.connection(slot).line(direction).key == key_of(i)) [[likely]] {
      write_hit(hit, slot, direction);
    } else {
      hit = find_hashed(key_of(i), hash_of(i));
    }
    __builtin_prefetch(hit.block);
  }
}

}  // namespace isthmus
