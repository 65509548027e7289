// FlowTable: the connection table of an engine, shared by all its workers.
//
// An index (tags and slot numbers, one key per direction) finds a connection slot. The slot has a shared line and one
// line per direction; each direction refers to its immutable decision, a DirectionBlock. Slots, blocks and epoch words
// lie in a mapping (a named file, or anonymous memory); index and free lists are private and rebuilt on adoption.
//
// Threads and lifetime: created by the engine before its workers start, after the Quiescence, which outlives it. Reader
// slot w of the quiescence is worker w. Functions that take a WorkerId are called by that worker inside its read
// section; a Hit is valid until the worker's next quiescent point. Lookups take no lock. Insert and remove take the
// spin locks of one or two regions of the index, in address order, for some hundred nanoseconds. Any worker may use any
// connection.
//
// A hit does not compare the slot's sequence number, which is for references kept longer (FlowRef): inside a read
// section a slot that was found cannot be re-used. Nothing is allocated after open(). Failures of insert and revalidate
// are return values; the packet path continues.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/counters.h"
#include "dataplane/base/defaults.h"
#include "dataplane/base/memory_area.h"
#include "dataplane/base/mix.h"
#include "dataplane/base/prefetch.h"
#include "dataplane/base/quiescence.h"
#include "dataplane/base/result.h"
#include "dataplane/base/types.h"
#include "dataplane/conntrack/affinity_table.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/direction_block.h"
#include "dataplane/conntrack/epoch_table.h"
#include "dataplane/conntrack/flow_mapping.h"
#include "dataplane/conntrack/half_open.h"
#include "dataplane/conntrack/holders.h"
#include "dataplane/conntrack/hot_flows.h"
#include "dataplane/conntrack/leases.h"
#include "dataplane/conntrack/lifecycle.h"
#include "dataplane/conntrack/number_pool.h"
#include "dataplane/conntrack/tag_index.h"
#include "dataplane/packet/flow_key.h"
#include "dataplane/stats/counter.h"

namespace isthmus {

// The connection that a packet belongs to, and its direction.
struct Hit {
  Connection* connection = nullptr;       // nullptr: no hit
  const DirectionBlock* block = nullptr;  // nullptr: no decision for this direction yet, or the connection was removed
  std::uint32_t slot = 0;
  std::uint32_t block_number = kNoBlock;
  Direction direction = Direction::kForward;

  Hit() noexcept = default;
  Hit(const Hit&) noexcept = default;
  // Member by member, as hits are written: a wider load would stall on store forwarding.
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

// What a new connection has in common with others of its pattern (slowpath/patterns.h).
struct ConnectionTraits {
  IpAddress peer;          // see ConnectionShared::peer
  std::uint32_t exit = 0;  // see ConnectionShared::exit
  ClusterId cluster;       // see ConnectionShared::cluster
  Identity source_identity;
  Side from = Side::kLocal, to = Side::kLocal;
  bool vouched = false, direct_return = false;  // see ConnectionShared
  std::uint32_t user_flags = 0;                 // 16 bits
};

// Input of insert(). Keys as packets arrive: `reply` is the key of a reply before translation is undone (backend to
// translated client).
struct NewConnection : ConnectionTraits {
  FlowKey forward;
  FlowKey reply;
  const DirectionBlock* forward_block = nullptr;  // copied, unless of take_block(); nullptr: no decision yet
  const DirectionBlock* reply_block = nullptr;
  std::array<std::uint32_t, 2> taken{};   // numbers of those, by Direction; insert() gives them back if it fails
  Direction first = Direction::kForward;  // that of the packet which opens it: of the hit, and whose source counts
  std::uint64_t forward_hash = 0, reply_hash = 0;  // from FlowTable::hash(); 0: insert() computes them
  Holder holder;                                   // FlowTable::holder_of(); none: insert() computes it
  std::uint8_t marks = 0;  // that the first packet sets on its direction, where it neither ends nor answers anything
  bool watched = false;    // see ConnectionShared::kWatched
};

enum class InsertOutcome : std::uint8_t {
  kInserted,       // `hit` is the new connection
  kExists,         // another packet was first: `hit` is its connection, in the direction of our `forward` key
  kReplyTaken,     // the reply key belongs to another connection: try another backend or source port
  kFull,           // no free slot or block, no room in the index, or the rest is kept for those who hold few
  kHalfOpenLimit,  // too many half-open connections, and none of them could make room
};
struct InsertResult {
  InsertOutcome outcome = InsertOutcome::kFull;
  Hit hit;
};

enum class RevalidateOutcome : std::uint8_t {
  kPublished,    // hit.block is the new decision
  kSuperseded,   // another worker was first: hit.block is its decision; either is valid for this packet
  kRemoved,      // the connection was removed meanwhile: repeat the lookup
  kOutOfBlocks,  // none free: use the decision for this packet only; the next packet tries again
};

class FlowTable {
 public:
  struct Options {
    std::string name = "isthmus";
    std::string directory = "/dev/shm";
    bool keep_state = true;  // false: an anonymous mapping, no state survives a restart
    std::uint32_t connections = kDefaultConnections;
    std::uint32_t half_open_limit = 0;  // 0: a quarter of the connections; `connections`: no limit
    unsigned workers = 1;               // 1..64; reader slots 0..workers-1
    FlowTimeouts timeouts;
    std::uint64_t hash_seed = 0;  // 0: random
    // Where connections are handed down: the leases; the epoch words, which XDP reads (EpochTable::kWords; nullptr:
    // those of the mapping); and how many packets a second of one direction make that worth it. Outlive the table.
    std::span<isthmus_lease> leases;
    EpochTable::Word* epochs = nullptr;
    std::uint32_t hot_packets_per_second = 0;
    bool beside = false;  // the table is another engine's, which runs, until take()
  };

  // Control thread. Adopts the mapping of an earlier process if it matches, else starts empty (see start_reason()).
  // Fails when another engine uses the name, or when the mapping cannot be created.
  [[nodiscard]] static Result<std::unique_ptr<FlowTable>> open(const Options& options, Quiescence& quiescence);
  // Of one opened beside another engine, which stands now: adopts the connections as they are. `file`: that engine's
  // descriptor with the lock; -1: it has ended. Before it, only now(), epochs() and what observes may be used.
  [[nodiscard]] Status take(int file);
  [[nodiscard]] int file() const noexcept { return mapping_.file(); }
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  // Seconds since the table was created, possibly by an earlier process. Makes a system call: workers use seconds_at()
  // with their own clock (CLOCK_BOOTTIME in nanoseconds, read once per round).
  [[nodiscard]] Seconds now() const noexcept;
  [[nodiscard]] Seconds seconds_at(Nanoseconds boot_time) const noexcept { return mapping_.seconds_at(boot_time); }
  [[nodiscard]] StateStart start() const noexcept { return mapping_.start(); }
  // Why earlier state was discarded ("capacity was 1024, is 2048") or this table is not kept; else empty.
  [[nodiscard]] const std::string& start_reason() const noexcept { return mapping_.start_reason(); }
  [[nodiscard]] EpochTable& epochs() noexcept { return epochs_; }
  [[nodiscard]] const EpochTable& epochs() const noexcept { return epochs_; }
  [[nodiscard]] const FlowTimeouts& timeouts() const noexcept { return timeouts_; }

  // Lookup ------------------------------------------------------------------------------------------------------------
  // `hits` is at least as long as `keys`. Prefetches buckets, then direction lines, then blocks.
  void find_burst(WorkerId worker, std::span<const FlowKey> keys, std::span<Hit> hits) const noexcept;
  // The same for packets of a burst: for i < `count`, key_of(i) is the key, hash_of(i) its hash and bucket_of(i) what
  // prefetch_bucket() returned for it; line_at(i) becomes the line of its direction, and found(i, block) is called with
  // the decision there, each nullptr if there is none.
  template <typename KeyOf, typename HashOf, typename BucketOf, typename LineAt, typename Found>
  void find_each(WorkerId worker, unsigned count, KeyOf&& key_of, HashOf&& hash_of, BucketOf&& bucket_of,
                 LineAt&& line_at, Found&& found) const noexcept;
  // The connection and direction that a line belongs to.
  [[nodiscard]] Hit hit(const DirectionLine* line) const noexcept {
    if (line == nullptr) {
      return {};
    }
    const auto number = static_cast<std::uint32_t>(line - line_of(0));
    return hit_of(number / kLinesPerSlot, number % kLinesPerSlot == 1 ? Direction::kForward : Direction::kReply);
  }
  [[nodiscard]] Hit find(WorkerId worker, const FlowKey& key) const noexcept;
  // The same for a key whose hash() is known, and not one that has expired.
  [[nodiscard]] Hit find(WorkerId worker, const FlowKey& key, std::uint64_t hash, Seconds now) const noexcept;
  // How many connections its source has, if the connection, which has a key that the new one needs, should give way: it
  // is of somebody who has more than twice as many as the newcomer's source, if it is half-open, of half-open ones.
  // 0: it stays. displace() removes it, if that is still so. False: it stays.
  [[nodiscard]] std::uint32_t yields(const Hit& taken, const NewConnection& newcomer) const noexcept;
  [[nodiscard]] bool displace(WorkerId worker, const Hit& taken, const NewConnection& newcomer) noexcept;
  // The same under the key's lock: a miss is certain, where an unlocked lookup may miss an entry that is being moved.
  [[nodiscard]] Hit find_locked(WorkerId worker, const FlowKey& key, std::uint64_t hash) noexcept;
  [[nodiscard]] std::uint64_t hash(const FlowKey& key) const noexcept { return hasher_(key); }
  [[nodiscard]] const FlowHasher& hasher() const noexcept { return hasher_; }
  // The referenced connection, if it still exists.
  [[nodiscard]] Hit find(WorkerId worker, FlowRef ref, Direction direction) const noexcept;
  // The same for any reader, inside its read section. nullptr: it is gone.
  [[nodiscard]] Connection* find(FlowRef ref) const noexcept;
  [[nodiscard]] static FlowRef ref(const Hit& hit) noexcept {
    return {hit.slot, hit.shared().sequence.load(std::memory_order_acquire)};
  }

  // Counts a forwarded packet and updates the connection's TCP state and timers. Call for every packet, including the
  // first. `flags`: of the TCP header; 0 for other protocols. True for the first packet of the reply direction.
  bool account_packet(WorkerId worker, DirectionLine& line, Seconds now, Bytes length, std::uint8_t flags) noexcept {
    line.packets.store(line.packets.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    line.bytes.store(line.bytes.load(std::memory_order_relaxed) + length.value(), std::memory_order_relaxed);
    const std::uint8_t marks = lifecycle::marks_of(line.key.protocol, flags);
    const std::uint32_t seen = line.seen.load(std::memory_order_relaxed);
    if (((seen ^ now.value() << 8) >> 8 | (marks & ~seen)) != 0) [[unlikely]] {
      return record(worker, hit(&line), now, marks);
    }
    return false;
  }
  // The same without counting, for a packet that neither opens nor closes.
  bool record_packet(WorkerId worker, DirectionLine& line, Seconds now) noexcept {
    return record(worker, hit(&line), now, lifecycle::marks_of(line.key.protocol, tcp_flag::kAck));
  }
  // True for a TCP SYN on a connection that an end has closed or reset, or that was only taken up by an answer: a new
  // connection with the same key. The caller removes the old one, then inserts.
  [[nodiscard]] static bool reopens(const Hit& hit, std::uint8_t tcp_flags) noexcept {
    return tcp_flag::is_opening(tcp_flags) && (hit.connection->ending() || hit.connection->starts_with_answer());
  }

  // Prefetches for insert() the bucket of a key's hash, and the slot and two blocks that the insert after `ahead`
  // others will take; for revalidate() the block, and the lines of a connection that a lookup does not touch.
  [[nodiscard]] static const void* empty_bucket() noexcept { return TagIndex::empty_bucket(); }
  const void* prefetch_bucket(std::uint64_t hash) const noexcept { return index_.prefetch(hash); }
  void prefetch_insert(WorkerId worker, unsigned ahead) const noexcept {
    if (const std::uint32_t slot = slots_->upcoming(worker, ahead); slot != 0) {
      Connection& connection = mapping_.connection(slot - 1);
      prefetch_line_for_write(&connection.shared);
      prefetch_line_for_write(&connection.lines[0]);
      prefetch_line_for_write(&connection.lines[1]);
    }
    prefetch_block(blocks_->upcoming(worker, 2 * ahead));
    prefetch_block(blocks_->upcoming(worker, 2 * ahead + 1));
  }
  void prefetch_revalidate(WorkerId worker, unsigned ahead) const noexcept {
    prefetch_block(blocks_->upcoming(worker, ahead));
  }
  // The shared line of a direction's connection.
  void prefetch_shared(const DirectionLine* line) const noexcept {
    prefetch_line(&mapping_.connection(static_cast<std::uint32_t>(line - line_of(0)) / kLinesPerSlot).shared);
  }
  void prefetch_connection(const Hit& hit) const noexcept {
    prefetch_line(&hit.connection->shared);
    prefetch_line(&hit.connection->line(opposite(hit.direction)));
  }

  // Change ------------------------------------------------------------------------------------------------------------
  // Who a new connection counts for: the source of its first packet. Of `request`: keys, `first`, traits.
  [[nodiscard]] Holder holder_of(const NewConnection& request) const noexcept;
  // Its first half: of the source's address alone.
  [[nodiscard]] std::uint16_t source_holder(Realm realm, const IpAddress& address) const noexcept {
    return holders_.source_of(realm, address);
  }
  // A block to be filled in for NewConnection::taken. 0: none is free.
  [[nodiscard]] std::uint32_t take_block(WorkerId worker) noexcept { return blocks_->allocate(worker); }
  // Those of a request that is not inserted after all.
  void give_back_blocks(WorkerId worker, const NewConnection& request) noexcept;
  [[nodiscard]] DirectionBlock& taken_block(std::uint32_t number) noexcept { return mapping_.block(number); }
  [[nodiscard]] InsertResult insert(WorkerId worker, const NewConnection& request, Seconds now) noexcept;
  // Replaces the decision of the hit's direction if it is still the one in the hit; updates the hit. An equal decision
  // keeps its block.
  [[nodiscard]] RevalidateOutcome revalidate(WorkerId worker, Hit& hit, const DirectionBlock& block) noexcept;
  // The decision of the hit stands as of a sample of its words: stamps it anew.
  void restamp(const Hit& hit, const EpochSample& sample) noexcept {
    EpochTable::stamp(*hit.block, sample.sum, sample.value.data());
    stamp_lease(hit, sample.sum);
  }
  // Takes a direction's decision away: its next packet is decided.
  void forget(WorkerId worker, DirectionLine& line) noexcept;
  // False if it was removed already. The hit stays readable until the next quiescent point, its blocks included.
  bool remove(WorkerId worker, const Hit& hit) noexcept;

  // Aging: visits the next `budget` of this worker's share() slots, removes expired connections, and frees slots and
  // blocks whose grace period is over. Call once per round and before sleeping; a sleeping worker wakes at least every
  // few seconds for it. Returns how many were removed; `watch` (may be null) is told of those that nobody has answered.
  unsigned age_connections(WorkerId worker, Seconds now, unsigned budget,
                           lifecycle::UnansweredWatch* watch = nullptr) noexcept;
  [[nodiscard]] std::uint32_t share() const noexcept { return (capacity_ + workers_ - 1) / workers_; }

  [[nodiscard]] AffinityTable& affinities() noexcept { return affinities_; }

  // Observation, any thread -------------------------------------------------------------------------------------------

  // Calls visit(const Connection&, std::uint32_t slot) for live connections until it returns false. `reader` is a slot
  // of the quiescence that is offline; a few hundred slots form one read section. A connection may change during a
  // visit.
  template <typename Visit>
  void visit(unsigned reader, Visit&& visit) const {
    constexpr std::uint32_t kSection = 256;
    for (std::uint32_t from = 0; from < capacity_; from += kSection) {
      const ReadSection section(quiescence_, reader);
      const std::uint32_t to = capacity_ - from < kSection ? capacity_ : from + kSection;
      for (std::uint32_t slot = from; slot < to; ++slot) {
        const Connection& c = mapping_.connection(slot);
        if (c.shared.checksum.load(std::memory_order_acquire) != 0 && !visit(c, slot)) {
          return;
        }
      }
    }
  }
  // kNoBlock and kBlockRemoved: nullptr.
  [[nodiscard]] const DirectionBlock* block_at(std::uint32_t number) const noexcept { return block_of(number); }
  // A connection's decision, for use inside the same read section. nullptr: none.
  [[nodiscard]] const DirectionBlock* block(const Connection& connection, Direction direction) const noexcept {
    return block_of(connection.line(direction).block.load(std::memory_order_acquire));
  }
  [[nodiscard]] std::uint32_t idle(const Connection& c, Seconds now) const noexcept { return lifecycle::idle(c, now); }
  [[nodiscard]] std::uint32_t expires_in(const Connection& c, Seconds now) const noexcept {
    return lifecycle::expires_in(c, timeouts_, now);
  }
  [[nodiscard]] FlowCounts counts() const noexcept;
  // Packets and bytes of a direction, those that XDP has forwarded among them.
  [[nodiscard]] LeaseCount total(const Connection& connection, Direction direction) const noexcept;

  // Hand-down ---------------------------------------------------------------------------------------------------------

  [[nodiscard]] const Leases& leases() const noexcept { return leases_; }
  // The hand-down thread, inside its read section. Gives the connection a pair, whose leases go on from what XDP has
  // forwarded of it before; and takes it away, when no program counts there any more.
  void lend(Connection& connection, std::uint32_t pair) noexcept;
  void take_back(Connection& connection, std::uint32_t pair) noexcept;
  // By worker. Only where connections are handed down.
  [[nodiscard]] HotFlows& hot_flows(WorkerId worker) noexcept { return hot_flows_[worker.value()]; }
  // Where XDP has forwarded packets since the last call: counts that as use now. Any thread, inside its read section.
  bool refresh(Connection& connection, Seconds now) const noexcept;
  // Adopted connections that an earlier process had handed down, until forget_earlier(). Control thread.
  [[nodiscard]] std::vector<FlowRef> earlier() const;
  // What XDP has counted for them, by the leases of that process. Control thread, in a read section.
  void count_earlier(std::span<const LeaseCount> counts, Seconds now) noexcept;
  void forget_earlier() noexcept;
  // Until then none is handed down: what XDP has forwarded of a connection has one writer. Any thread.
  [[nodiscard]] bool counts_earlier() const noexcept { return counts_earlier_.load(std::memory_order_acquire); }

 private:
  struct Earlier {
    FlowRef flow;
    std::uint32_t pair = 0;
  };
  struct alignas(64) WorkerState {  // counters: one writer, any reader
#define ISTHMUS_CONNECTION_COUNTER(field, ...) Counter field;
#include "dataplane/stats/counters.def"
    std::uint32_t cursor = 0;
    Draws draws;
  };
  struct Hashes {
    std::uint64_t forward, reply;
  };

  FlowTable(const Options& options, Quiescence& quiescence, FlowMapping mapping, MemoryArea index_area);
  // flow_adoption.cc
  [[nodiscard]] static FlowMapping::Options mapping_options(const Options& options);
  void settle() noexcept;
  void adopt(std::vector<bool>& slots_used, std::vector<bool>& blocks_used) noexcept;
  [[nodiscard]] bool adopt_slot(std::uint32_t slot) noexcept;
  void adopt_holder(std::uint32_t slot) noexcept;
  void adopt_line(DirectionLine& line, std::vector<bool>& blocks_used) noexcept;
  // Of the keys and plain fields; never 0.
  [[nodiscard]] static std::uint32_t checksum_of(const Connection& connection, std::uint32_t slot) noexcept;

  bool record(WorkerId worker, const Hit& hit, Seconds now, std::uint8_t marks) noexcept;
  // Removes a half-open connection that has to make room, if it still is one.
  bool evict(WorkerId worker, HalfOpen::Victim victim) noexcept;
  // The table is nearly full (flow_room.cc). False: the new connection is refused.
  [[nodiscard]] bool scarce() const noexcept { return slots_->available() < reserve_; }
  [[nodiscard]] bool make_room(WorkerId worker, Holder newcomer, Seconds now) noexcept;

  // Numbers in the index are those of direction lines in the array of slots, in units of a line.
  static constexpr std::uint32_t kLinesPerSlot = sizeof(Connection) / sizeof(DirectionLine);
  static_assert(kLinesPerSlot == 3 && offsetof(Connection, lines) == sizeof(DirectionLine));
  [[nodiscard]] DirectionLine* line_of(std::uint32_t number) const noexcept {
    return reinterpret_cast<DirectionLine*>(&mapping_.connection(0)) + number;
  }
  [[nodiscard]] Hashes hashes_of(const Connection& c) const noexcept {
    return {hasher_(c.lines[0].key), hasher_(c.lines[1].key)};
  }
  [[nodiscard]] Hit find_hashed(const FlowKey& key, std::uint64_t hash) const noexcept;
  // Written in place: copying a hit right after it was built would load it before its stores are complete, and stall.
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
  // `hit`: the new connection, or the one that has its key. `taken`: becomes false where the request's blocks have been
  // freed.
  [[nodiscard]] InsertOutcome insert_once(WorkerId worker, const NewConnection& request, std::uint64_t half_open,
                                          Seconds now, Hit& hit, bool& taken) noexcept;
  void count_refused(WorkerId worker, InsertResult& result) noexcept;
  void fill(std::uint32_t slot, const NewConnection& request, Seconds now) noexcept;
  [[nodiscard]] bool fill_blocks(WorkerId worker, Connection& connection, const NewConnection& request) noexcept;
  // `seen`: readers may have found the slot.
  void discard(WorkerId worker, std::uint32_t slot, bool seen) noexcept;
  [[nodiscard]] InsertOutcome link(std::uint32_t slot, const Hashes& hashes, Hit& hit) noexcept;
  [[nodiscard]] bool link_vacant(std::uint32_t slot, const Hashes& hashes) noexcept;
  [[nodiscard]] InsertOutcome link_any(std::uint32_t slot, const Hashes& hashes, Hit& hit) noexcept;
  // Another worker may have replaced the hit's decision, and the thread handed down the other one: its lease is not
  // this decision's to stamp.
  void stamp_lease(const Hit& hit, std::uint32_t sum) const noexcept {
    leases_.stamp(hit.shared(), hit.direction, sum);
    if (hit.line().block.load(std::memory_order_seq_cst) != hit.block_number) [[unlikely]] {
      leases_.withdraw(hit.shared(), hit.direction, LeaseState::kRedecided);
    }
  }
  [[nodiscard]] std::uint32_t new_block(WorkerId worker, const DirectionBlock& block) noexcept;
  // What a connection must be to be removed, besides being there: expired at a time; that of a reference; half-open.
  struct Condition {
    const Seconds* expired_at = nullptr;
    const FlowRef* reference = nullptr;
    bool half_open = false;
  };
  [[nodiscard]] bool meets(Connection& connection, const Condition& condition) const noexcept;
  [[nodiscard]] bool expired(Connection& connection, Seconds now) const noexcept;
  bool remove_if(WorkerId worker, std::uint32_t slot, const Condition& condition) noexcept;
  // What XDP has forwarded of it, in all.
  [[nodiscard]] LeaseCount forwarded(const Connection& connection, Direction direction) const noexcept;
  void set_forwarded(Connection& connection, const std::array<LeaseCount, 2>& counts) noexcept;
  [[nodiscard]] ForwardedCounts& forwarded_counts(const Connection& connection) const noexcept;
  // A direction's packet has begun a new second.
  void note_hot(WorkerId worker, const Hit& hit, Seconds now) noexcept;

  void prefetch_block(std::uint32_t number) const noexcept {
    if (number != 0) {
      DirectionBlock& block = mapping_.block(number);
      prefetch_line_for_write(&block);
      prefetch_line_for_write(&block.ipv6_source);
    }
  }
  [[nodiscard]] const DirectionBlock* block_of(std::uint32_t number) const noexcept {
    return number < kFirstBlock ? nullptr : &mapping_.block(number);
  }
  [[nodiscard]] static TagIndex::Entry entry_of(const Connection& c, std::uint32_t slot, Direction d) noexcept {
    const std::uint32_t number = kLinesPerSlot * slot + (d == Direction::kForward ? 1 : 2);
    return {number, c.shared.sequence.load(std::memory_order_relaxed)};
  }
  [[nodiscard]] WorkerState& state(WorkerId worker) noexcept { return states_[worker.value()]; }

  std::uint32_t capacity_;
  std::uint32_t reserve_;  // fewer free slots: who holds many makes room
  unsigned workers_;
  FlowTimeouts timeouts_;
  Quiescence& quiescence_;
  FlowMapping mapping_;
  MemoryArea index_area_;
  TagIndex index_;
  EpochTable epochs_;
  Leases leases_;
  std::deque<HotFlows> hot_flows_;
  FlowHasher hasher_;
  Holders holders_;
  HalfOpen half_open_;
  AffinityTable affinities_;
  std::unique_ptr<NumberPool> slots_, blocks_;  // of slots_: slot + 1
  std::unique_ptr<WorkerState[]> states_;
  std::uint64_t adopted_ = 0;
  std::vector<Earlier> earlier_;
  std::atomic<bool> counts_earlier_{false};
  Options options_;
};

template <typename KeyOf, typename HashOf, typename BucketOf, typename LineAt, typename Found>
void FlowTable::find_each([[maybe_unused]] WorkerId worker, unsigned count, KeyOf&& key_of, HashOf&& hash_of,
                          BucketOf&& bucket_of, LineAt&& line_at, Found&& found) const noexcept {
  assert(quiescence_.inside(worker.value()));
  DirectionLine* const before_first = line_of(0) - 1;
  DirectionLine* const no_line = &mapping_.no_line();
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t guess = TagIndex::guess(bucket_of(i), hash_of(i));
    DirectionLine* line = guess == 0 ? no_line : before_first + guess;
    line_at(i) = line;
    prefetch_line_for_write(line);
  }
  for (unsigned i = 0; i < count; ++i) {
    const DirectionLine* line = line_at(i);
    const FlowKey& key = key_of(i);
    if (((line->key.head ^ key.head) | (line->key.rest() ^ key.rest())) != 0 ||
        (key.family != Family::kIpv4 && line->key != key)) [[unlikely]] {
      const bool absent = line == no_line && TagIndex::complete(bucket_of(i));
      const Hit hit = absent ? Hit{} : find_hashed(key, hash_of(i));
      line = hit ? &hit.line() : nullptr;
      line_at(i) = const_cast<DirectionLine*>(line);
    }
    const DirectionBlock* block =
        &mapping_.block(line != nullptr ? line->block.load(std::memory_order_acquire) : kNoBlock);
    prefetch_line_once(block);  // read once per burst: not worth a place in the second-level cache
    if (key.family != Family::kIpv4) [[unlikely]] {
      prefetch_line(&block->ipv6_source);
    }
    found(i, block);
  }
}

}  // namespace isthmus
