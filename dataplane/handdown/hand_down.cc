// The rounds, and handing down.
#include "dataplane/handdown/hand_down.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

namespace isthmus {
namespace {

constexpr auto kBusyPause = std::chrono::milliseconds(10);
constexpr auto kIdlePause = std::chrono::milliseconds(50);
constexpr std::size_t kPostsPerRound = 4096;
constexpr unsigned kLooksForExpected = 10;

}  // namespace

HandDown::HandDown(SharedState& shared, unsigned workers)
    : shared_(shared),
      maps_(shared.options.hand_down.flows),
      workers_(workers),
      records_(maps_->tunnels(), maps_->hops(), shared.adjacencies, shared.options.tunnel),
      pairs_(shared.flows->leases().pairs()) {
  for (std::size_t number = pairs_.size() - 1; number > 0; --number) {
    free_.push_back(static_cast<std::uint32_t>(number));
  }
}

HandDown::~HandDown() { stop(); }

void HandDown::start() {
  stopping_ = false;
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "isthmus-down");
}

void HandDown::stop() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(sleep_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
}

void HandDown::run() {
  using Clock = std::chrono::steady_clock;
  const auto every = std::chrono::seconds(std::max(shared_.options.hand_down.sweep.value(), 1u));
  Clock::time_point next_look = Clock::now() + every;
  std::unique_lock lock(sleep_);
  while (!stopping_) {
    lock.unlock();
    const bool due = Clock::now() >= next_look;
    next_look = due ? Clock::now() + every : next_look;
    const bool busy = round(due);
    lock.lock();
    wake_.wait_for(lock, busy ? kBusyPause : kIdlePause, [this] { return stopping_; });
  }
}

bool HandDown::round(bool look_at_all) {
  for (std::size_t device = 0; device < egresses_.size(); ++device) {
    egresses_[device] = egress_[device].load(std::memory_order_acquire);
  }
  const bool posted = take_posts();
  if (look_at_all || look_again_) {
    look();
  }
  if (look_at_all) {
    add_expected();
  }
  const bool leaving = !leaving_.empty();
  take_back();
  free_pairs();
  hand_down();
  now_.store(used(), std::memory_order_relaxed);
  return posted || leaving || !leaving_.empty() || !unlinked_.empty();
}

void HandDown::expect(std::vector<FlowRef> flows) {
  const std::lock_guard lock(mutex_);
  expected_ = std::move(flows);
  looks_left_ = kLooksForExpected;
}

// Decided are they by their next packets.
void HandDown::add_expected() {
  const std::lock_guard lock(mutex_);
  candidates_.insert(candidates_.end(), expected_.begin(), expected_.end());
  if (looks_left_ != 0 && --looks_left_ == 0) {
    expected_ = {};
  }
}

bool HandDown::take_posts() {
  FlowRef flow;
  bool any = false;
  for (unsigned worker = 0; worker < workers_; ++worker) {
    HotFlows& hot = shared_.flows->hot_flows(WorkerId{static_cast<std::uint8_t>(worker)});
    while (candidates_.size() < kPostsPerRound && hot.take(flow)) {
      candidates_.push_back(flow);
      any = true;
    }
  }
  return any;
}

Status HandDown::set_egress(DeviceId device, int interface_index) {
  if (interface_index != 0) {
    if (Status set = maps_->set_device(device.value(), interface_index); !set) {
      egress_[device.value()].store(false, std::memory_order_release);
      return set;
    }
  }
  egress_[device.value()].store(interface_index != 0, std::memory_order_release);
  return Ok{};
}

void HandDown::set_ingress(DeviceId device, bool forwards) {
  const std::uint64_t bit = std::uint64_t{1} << device.value();
  ingress_.store(forwards ? ingress_ | bit : ingress_ & ~bit, std::memory_order_relaxed);
}

// Tunnels, and what says so, arrive on the underlay device, all else on any other one.
bool HandDown::arrives_at_program(const DirectionBlock& block) const {
  const std::uint64_t underlay = std::uint64_t{1} << shared_.options.underlay_device.value();
  const bool there = block.origin.side() == Side::kFabric || block.origin.on_underlay();
  return (ingress_.load(std::memory_order_relaxed) & (there ? underlay : ~underlay)) != 0;
}

// The new tables are visible, and no word has moved yet: no decision that was made with them can stamp a lease before
// its tunnel has been compared here. A record that the thread takes later is one of the new tables, because it loads
// the snapshot under the mutex.
void HandDown::peers_moved(const Snapshot& snapshot, const std::set<PeerId>& changed) {
  const std::lock_guard lock(mutex_);
  if (!records_.compare(*snapshot.peers, changed)) {
    return;
  }
  for (std::uint32_t number = 1; number < pairs_.size(); ++number) {
    const Pair& pair = pairs_[number];
    for (const std::size_t d : {0U, 1U}) {
      if (pair.used && (records_.stale(pair.tunnel[d]) || records_.stale(pair.from[d]))) {
        shared_.flows->leases().withdraw(number, LeaseState::kPeerMoved);
      }
    }
  }
}

void HandDown::add_to(TableCounts& counts) const {
  const auto back = [&](LeaseState why) { return taken_back_[static_cast<std::size_t>(why)].get(); };
  counts.handed_down_now = now_.load(std::memory_order_relaxed);
  counts.handed_down_capacity = pairs_.size() - 1;
  counts.handed_down = handed_down_.get();
  counts.taken_back_removed = back(LeaseState::kRemoved);
  counts.taken_back_ending = back(LeaseState::kEnding);
  counts.taken_back_redecided = back(LeaseState::kRedecided);
  counts.taken_back_moved = back(LeaseState::kPeerMoved);
  counts.taken_back_cold = back(LeaseState::kCold);
  counts.hand_down_no_room = hand_down_no_room_.get();
  counts.hand_down_insert_failures = hand_down_insert_failures_.get();
  for (unsigned worker = 0; worker < workers_; ++worker) {
    counts.hand_down_posts_lost += shared_.flows->hot_flows(WorkerId{static_cast<std::uint8_t>(worker)}).lost();
  }
}

// Handing down --------------------------------------------------------------------------------------------------------

void HandDown::hand_down() {
  if (shared_.flows->counts_earlier()) {
    candidates_.clear();
  }
  for (std::size_t at = 0; at < candidates_.size(); at += kSection) {
    const ReadSection section(shared_.quiescence, shared_.hand_down_slot);
    const std::lock_guard lock(mutex_);
    for (std::size_t i = at; i < std::min(candidates_.size(), at + kSection); ++i) {
      prepare(candidates_[i]);
    }
  }
  candidates_.clear();
  if (entering_.empty()) {
    return;
  }
  insert();
  for (std::size_t at = 0; at < entering_.size(); at += kSection) {
    const ReadSection section(shared_.quiescence, shared_.hand_down_slot);
    const std::lock_guard lock(mutex_);
    for (std::size_t i = at; i < std::min(entering_.size(), at + kSection); ++i) {
      grant(entering_[i]);
    }
  }
  entering_.clear();
}

// A worker that changes the connection from here on finds the pair's number, and withdraws leases that are not valid
// yet. One that has changed it just before may not have found the number: its change is seen by stands().
void HandDown::prepare(FlowRef flow) {
  FlowTable& flows = *shared_.flows;
  Connection* const connection = flows.find(flow);
  if (connection == nullptr || connection->shared.lease.load(std::memory_order_relaxed) != 0) {
    return;
  }
  Pair pair;
  pair.flow = flow;
  std::array<const DirectionBlock*, 2> blocks{};
  for (const Direction direction : kDirections) {
    const auto d = static_cast<std::size_t>(direction);
    pair.block[d] = connection->line(direction).block.load(std::memory_order_seq_cst);
    blocks[d] = flows.block_at(pair.block[d]);
    pair.key[d] = key_of(connection->line(direction).key);
  }
  if (!can_go_down(*connection, blocks, egresses_) ||
      !(arrives_at_program(*blocks[0]) || arrives_at_program(*blocks[1]))) {
    return;
  }
  if (free_.empty()) {
    hand_down_no_room_.add();
    return;
  }
  if (!take_records(pair, blocks)) {
    give_back_records(pair);
    return;
  }
  const std::uint32_t number = free_.back();
  free_.pop_back();
  pair.used = true;
  pairs_[number] = pair;
  flows.lend(*connection, number);
  pairs_[number].looked = forwarded(number);
  for (const Direction direction : kDirections) {
    const auto d = static_cast<std::size_t>(direction);
    keys_.push_back(pair.key[d]);
    flows_.push_back(flow_of(*blocks[d], connection->line(direction).key.family,
                             {Leases::index(number, direction), pair.hop[d], pair.tunnel[d], pair.from[d]}));
  }
  if (!stands(pair, *connection)) {
    flows.leases().withdraw(number, LeaseState::kRedecided);
  }
  entering_.push_back(number);
}

bool HandDown::take_records(Pair& pair, const std::array<const DirectionBlock*, 2>& blocks) {
  const Snapshot* const snapshot = shared_.snapshot.load(std::memory_order_acquire);
  if (snapshot == nullptr) {
    return false;
  }
  for (std::size_t d = 0; d < blocks.size(); ++d) {
    const DirectionBlock& block = *blocks[d];
    pair.hop[d] = records_.take_hop(block.adjacency);
    bool have = pair.hop[d] != 0;
    if (have && (block.flags & DirectionBlock::kTunnel) != 0) {
      pair.tunnel[d] = records_.take_tunnel(*snapshot->peers, block.encap_peer);
      have = pair.tunnel[d] != 0;
    }
    if (have && block.origin.side() == Side::kFabric) {
      pair.from[d] = records_.take_tunnel(*snapshot->peers, block.origin.peer());
      have = pair.from[d] != 0;
    }
    if (!have) {
      return false;
    }
  }
  return true;
}

// A key that is there already is that of an earlier connection, which nobody has looked at since it ended.
void HandDown::insert() {
  const std::span<const isthmus_flow_key> keys(keys_);
  const std::span<const isthmus_flow> flows(flows_);
  std::size_t at = 0;
  while (at < keys.size()) {
    const std::size_t until = at + maps_->insert(keys.subspan(at), flows.subspan(at));
    for (; at < until; ++at) {
      pairs_[entering_[at / 2]].inserted[at % 2] = true;
    }
    if (at < keys.size()) {
      hand_down_insert_failures_.add();
      look_again_ = true;
      ++at;
    }
  }
  keys_.clear();
  flows_.clear();
}

void HandDown::grant(std::uint32_t number) {
  FlowTable& flows = *shared_.flows;
  const Leases& leases = flows.leases();
  const Pair& pair = pairs_[number];
  const Connection* const connection = flows.find(pair.flow);
  bool tunnels = true;
  for (const std::size_t d : {0U, 1U}) {
    tunnels = tunnels && !records_.stale(pair.tunnel[d]) && !records_.stale(pair.from[d]);
  }
  if (connection == nullptr || !pair.inserted[0] || !pair.inserted[1] || !tunnels) {
    leave(number, connection == nullptr ? LeaseState::kRemoved : LeaseState::kPeerMoved);
    return;
  }
  bool granted = stands(pair, *connection);  // else the blocks may be others' by now
  for (const Direction direction : kDirections) {
    const DirectionBlock* block = flows.block_at(pair.block[static_cast<std::size_t>(direction)]);
    granted = granted && leases.grant(number, direction, EpochTable::stamp_of(*block));
  }
  if (!granted || !stands(pair, *connection) || flows.find(pair.flow) == nullptr ||
      connection->ending(std::memory_order_seq_cst)) {
    leave(number, LeaseState::kRedecided);
    return;
  }
  handed_down_.add();
}

// Both directions have the decisions that were handed down. Inside a read section their numbers cannot have been used
// for other ones.
bool HandDown::stands(const Pair& pair, const Connection& connection) const {
  return connection.line(Direction::kForward).block.load(std::memory_order_seq_cst) == pair.block[0] &&
         connection.line(Direction::kReply).block.load(std::memory_order_seq_cst) == pair.block[1];
}

}  // namespace isthmus
