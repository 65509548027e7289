// FlowTable: opening the table and adopting the connections that an earlier process left in the mapping.
#include <nmmintrin.h>
#include <time.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "dataplane/conntrack/flow_table.h"

namespace isthmus {
namespace {

// CRC32C of `bytes` bytes, a multiple of eight.
std::uint64_t crc_of(const void* data, std::size_t bytes, std::uint64_t start) noexcept {
  assert(bytes % sizeof(std::uint64_t) == 0);
  std::uint64_t crc = start;
  for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const std::byte*>(data) + at, sizeof word);
    crc = _mm_crc32_u64(crc, word);
  }
  return crc;
}

constexpr std::uint32_t kMaxConnections = 1u << 26;
constexpr std::uint32_t kReserved = 16;      // one in so many slots
constexpr std::uint32_t kSmallTable = 1024;  // without shares

// As HalfOpen takes it: 0 is no limit.
std::uint32_t half_open_limit_of(std::uint32_t configured, std::uint32_t connections) {
  if (configured == 0) {
    return std::max(connections / 4, 1u);
  }
  return configured < connections ? configured : 0;
}

}  // namespace

Result<std::unique_ptr<FlowTable>> FlowTable::open(const Options& options, Quiescence& quiescence) {
  if (options.connections == 0 || options.connections > kMaxConnections) {
    return Error{"capacity of " + std::to_string(options.connections) + " connections is out of range",
                 "engine.connections", "choose 1 to " + std::to_string(kMaxConnections)};
  }
  if (options.workers == 0 || options.workers > kMaxWorkers || options.workers > quiescence.readers()) {
    return Error{std::to_string(options.workers) + " workers is out of range", "engine.workers",
                 "choose 1 to " + std::to_string(kMaxWorkers)};
  }
  auto mapping = FlowMapping::open(mapping_options(options));
  if (!mapping) {
    return mapping.error();
  }
  auto index_area = MemoryArea::anonymous(TagIndex::bytes_for(2 * std::size_t{options.connections}));
  if (!index_area) {
    return index_area.error();
  }
  return std::unique_ptr<FlowTable>(new FlowTable(options, quiescence, std::move(*mapping), std::move(*index_area)));
}

FlowMapping::Options FlowTable::mapping_options(const Options& options) {
  return {.name = options.name,
          .directory = options.directory,
          .keep_state = options.keep_state,
          .connections = options.connections,
          .blocks = FlowMapping::blocks_for(options.connections),
          .beside = options.beside};
}

FlowTable::FlowTable(const Options& options, Quiescence& quiescence, FlowMapping mapping, MemoryArea index_area)
    : capacity_(options.connections),
      reserve_(options.connections < kSmallTable ? 0 : options.connections / kReserved),
      workers_(options.workers),
      timeouts_(options.timeouts),
      quiescence_(quiescence),
      mapping_(std::move(mapping)),
      index_area_(std::move(index_area)),
      index_(index_area_.data(), index_area_.bytes()),
      epochs_(options.epochs != nullptr ? options.epochs : mapping_.epochs()),
      leases_(options.leases.empty() ? Leases() : Leases(options.leases)),
      hasher_(options.hash_seed != 0 ? FlowHasher(options.hash_seed) : FlowHasher::random()),
      half_open_(mapping_, holders_, half_open_limit_of(options.half_open_limit, options.connections), options.workers),
      states_(std::make_unique<WorkerState[]>(options.workers)),
      options_(options) {
  for (unsigned worker = 0; worker < workers_ && leases_.pairs() != 0; ++worker) {
    hot_flows_.emplace_back(std::max(options.hot_packets_per_second, 1u));
  }
  if (!options.beside) {
    settle();
  }
}

Status FlowTable::take(int file) {
  Status taken = mapping_.take(file, mapping_options(options_));
  if (taken) {
    settle();
  }
  return taken;
}

void FlowTable::settle() noexcept {
  const std::uint32_t blocks = FlowMapping::blocks_for(capacity_);
  std::vector<bool> slots_used(std::size_t{capacity_} + 1);
  std::vector<bool> blocks_used(std::size_t{blocks} + 1);
  for (std::uint32_t number = 0; number < kFirstBlock; ++number) {
    blocks_used[number] = true;
    mapping_.block(number) = DirectionBlock{};
    mapping_.block(number).origin = Origin::none();
  }
  if (mapping_.start() == StateStart::kAdopted) {
    adopt(slots_used, blocks_used);
    epochs_.bump_all();
  }
  slots_ = std::make_unique<NumberPool>(capacity_, workers_, quiescence_, slots_used);
  blocks_ = std::make_unique<NumberPool>(blocks, workers_, quiescence_, blocks_used);
}

void FlowTable::adopt(std::vector<bool>& slots_used, std::vector<bool>& blocks_used) noexcept {
  for (std::uint32_t slot = 0; slot < capacity_; ++slot) {
    Connection& c = mapping_.connection(slot);
    if (c.shared.checksum.load(std::memory_order_acquire) == 0) {
      continue;
    }
    if (!adopt_slot(slot)) {
      c.shared.checksum.store(0, std::memory_order_relaxed);
      c.shared.sequence.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    constexpr std::uint32_t kEarlier = ConnectionShared::kEarlierPair;
    if (const std::uint32_t pair = c.shared.lease.load(std::memory_order_relaxed) & ~kEarlier; pair != 0) {
      c.shared.lease.store(pair | kEarlier, std::memory_order_relaxed);
      earlier_.push_back({{slot, c.shared.sequence.load(std::memory_order_relaxed)}, pair});
      counts_earlier_.store(true, std::memory_order_relaxed);
    }
    (void)c.shared.take_watch();  // answers may have been lost between the two processes
    for (DirectionLine& line : c.lines) {
      adopt_line(line, blocks_used);
    }
    slots_used[std::size_t{slot} + 1] = true;
    adopt_holder(slot);
    ++adopted_;
  }
}

// Counts it for its holder, and gives a half-open one a place. One that has none, because the limit is lower than it
// was, stays until it expires.
void FlowTable::adopt_holder(std::uint32_t slot) noexcept {
  Connection& connection = mapping_.connection(slot);
  ConnectionShared& shared = connection.shared;
  const WorkerId worker{static_cast<std::uint8_t>(slot % workers_)};
  const Holder holder = holders_.holder_of(connection.line(shared.first).key,
                                           connection.starts_with_answer() ? Side::kLocal : shared.from,
                                           shared.peer.load(), shared.cluster, shared.vouched);
  std::uint32_t place = HalfOpen::kNoPlace;
  if (connection.opened()) {
    holders_.add_open(holder);
  } else {
    place = half_open_.adopt(worker, holder, slot, shared.sequence.load(std::memory_order_relaxed));
  }
  shared.half_open.store(HalfOpen::word(worker, place, holder), std::memory_order_relaxed);
}

// Links a slot that an earlier process left complete. False when the slot is incomplete or cannot be linked.
bool FlowTable::adopt_slot(std::uint32_t slot) noexcept {
  Connection& c = mapping_.connection(slot);
  if (c.shared.checksum.load(std::memory_order_relaxed) != checksum_of(c, slot)) {
    return false;
  }
  const Hashes hashes = hashes_of(c);
  const TagIndex::Guard guard(index_, hashes.forward, hashes.reply);
  Hit other;
  if (!link_vacant(slot, hashes) && link_any(slot, hashes, other) != InsertOutcome::kInserted) {
    return false;
  }
  // The earlier process may have died between two steps of one state change: complete them.
  const std::uint32_t marks =
      c.lines[0].seen.load(std::memory_order_relaxed) | c.lines[1].seen.load(std::memory_order_relaxed);
  for (DirectionLine& line : c.lines) {
    line.seen.fetch_or(marks & mark::kClosed, std::memory_order_relaxed);
  }
  const bool replied = (c.line(opposite(c.shared.first)).seen.load(std::memory_order_relaxed) & mark::kSeen) != 0;
  const bool acknowledged = c.protocol() != IpProtocol::kTcp || (marks & (mark::kNonSyn | mark::kRst)) == mark::kNonSyn;
  if (replied && acknowledged) {
    c.shared.state.fetch_or(ConnectionShared::kOpened, std::memory_order_relaxed);
  }
  return true;
}

void FlowTable::adopt_line(DirectionLine& line, std::vector<bool>& blocks_used) noexcept {
  const std::uint32_t number = line.block.load(std::memory_order_relaxed);
  if (number >= blocks_used.size() || blocks_used[number]) {
    line.block.store(kNoBlock, std::memory_order_relaxed);
    return;
  }
  blocks_used[number] = true;
  DirectionBlock& block = mapping_.block(number);  // not valid any more; what is read of it must not be wrong
  block.verified_at = 0;
  epochs_.spoil(block);
  block.encap_peer = kNoPeer;
  block.adjacency = kNoAdjacency;
}

// A CRC is enough, because the checksum guards against crashes, not attackers; it takes one instruction per eight
// bytes.
std::uint32_t FlowTable::checksum_of(const Connection& connection, std::uint32_t slot) noexcept {
  constexpr std::size_t kPlain = offsetof(ConnectionShared, created);
  constexpr std::size_t kPlainBytes = sizeof(ConnectionShared) - kPlain;
  std::uint64_t checksum = crc_of(&connection.lines[0].key, sizeof(FlowKey), slot);
  checksum ^= crc_of(&connection.lines[1].key, sizeof(FlowKey), ~std::uint64_t{slot}) << 1;
  checksum ^= crc_of(reinterpret_cast<const std::byte*>(&connection.shared) + kPlain, kPlainBytes, 1) << 2;
  return static_cast<std::uint32_t>(checksum ^ (checksum >> 32)) | 1;
}

Seconds FlowTable::now() const noexcept {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return seconds_at(
      Nanoseconds{static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec)});
}

FlowCounts FlowTable::counts() const noexcept {
  FlowCounts n;
  for (unsigned w = 0; w < workers_; ++w) {
    const WorkerState& s = states_[w];
#define ISTHMUS_CONNECTION_COUNTER(field, ...) n.field += s.field.get();
#include "dataplane/stats/counters.def"
  }
  n.adopted = adopted_;
  // What comes and goes while the workers are read may be in only one of the sums.
  n.now = adopted_ + n.created - std::min(adopted_ + n.created, n.removed);
  n.half_open = half_open_.count();
  n.capacity = capacity_;
  n.bytes = mapping_.bytes();
  n.huge_page_bytes = mapping_.huge_page_bytes();
  n.affinities = affinities_.size();
  n.affinities_capacity = affinities_.capacity();
  return n;
}

}  // namespace isthmus
