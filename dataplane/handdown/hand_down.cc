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
    look(look_at_all);
  }
  if (look_at_all) {
    add_expected();
  }
  const bool leaving = !leaving_.empty() || !erased_.empty();
  take_back();
  free_leases();
  hand_down();
  now_.store(used(), std::memory_order_relaxed);
  one_way_now_.store(one_way_, std::memory_order_relaxed);
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
    for (const Direction direction : kDirections) {
      const Way& way = pairs_[number].ways[static_cast<std::size_t>(direction)];
      if (records_.stale(way.tunnel) || records_.stale(way.from)) {
        shared_.flows->leases().withdraw(number, direction, LeaseState::kPeerMoved);
      }
    }
  }
}

void HandDown::add_to(TableCounts& counts) const {
  const auto back = [&](LeaseState why) { return taken_back_[static_cast<std::size_t>(why)].get(); };
  counts.handed_down_now = now_.load(std::memory_order_relaxed);
  counts.handed_down_one_way = one_way_now_.load(std::memory_order_relaxed);
  counts.handed_down_capacity = pairs_.size() - 1;
  counts.handed_down = handed_down_.get();
  counts.taken_back_removed = back(LeaseState::kRemoved);
  counts.taken_back_ending = back(LeaseState::kEnding);
  counts.taken_back_redecided = back(LeaseState::kRedecided);
  counts.taken_back_moved = back(LeaseState::kPeerMoved);
  counts.taken_back_cold = back(LeaseState::kCold);
  counts.hand_down_no_room = hand_down_no_room_.get();
  counts.hand_down_insert_failures = hand_down_insert_failures_.get();
  counts.hand_down_wait_failures = hand_down_wait_failures_.get();
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
  if (connection == nullptr) {
    return;
  }
  std::uint32_t number = connection->shared.pair(std::memory_order_relaxed);
  const bool first = number == 0;
  if (first && free_.empty()) {
    if (able(*connection, Direction::kForward) || able(*connection, Direction::kReply)) {
      hand_down_no_room_.add();
    }
    return;
  }
  number = first ? free_.back() : number;
  std::array<bool, 2> enters{};
  for (const Direction direction : kDirections) {
    enters[static_cast<std::size_t>(direction)] =
        may_go_down(*connection, direction) && prepare(Leases::index(number, direction), connection->line(direction));
  }
  if (first && (enters[0] || enters[1])) {
    free_.pop_back();
    pairs_[number].used = true;
    pairs_[number].flow = flow;
    flows.lend(*connection, number);
    pairs_[number].looked = forwarded(number);
  }
  for (const Direction direction : kDirections) {
    const auto d = static_cast<std::size_t>(direction);
    if (enters[d] && !stands(pairs_[number].ways[d], connection->line(direction))) {
      flows.leases().withdraw(number, direction, LeaseState::kRedecided);
    }
  }
}

// True: it is on its way.
bool HandDown::prepare(std::uint32_t lease, const DirectionLine& line) {
  Way& way = way_of(lease);
  if (way.stage != Stage::kUp) {
    return false;
  }
  shared_.flows->leases().reopen(Leases::pair_of(lease), Leases::direction_of(lease));
  way.block = line.block.load(std::memory_order_seq_cst);
  const DirectionBlock* const block = shared_.flows->block_at(way.block);
  if (!able(block) || !take_records(way, *block)) {
    give_back_records(way);
    return false;
  }
  one_way_ = other_of(lease).stage == Stage::kUp ? one_way_ + 1 : one_way_ - 1;
  way.stage = Stage::kEntering;
  way.key = key_of(line.key);
  keys_.push_back(way.key);
  flows_.push_back(flow_of(*block, line.key.family, {lease, way.hop, way.tunnel, way.from}));
  entering_.push_back(lease);
  return true;
}

bool HandDown::able(const Connection& connection, Direction direction) const {
  return may_go_down(connection, direction) && able(shared_.flows->block(connection, direction));
}

bool HandDown::able(const DirectionBlock* block) const {
  return block != nullptr && can_go_down(*block, egresses_) && arrives_at_program(*block);
}

bool HandDown::take_records(Way& way, const DirectionBlock& block) {
  const Snapshot* const snapshot = shared_.snapshot.load(std::memory_order_acquire);
  if (snapshot == nullptr) {
    return false;
  }
  way.hop = records_.take_hop(block.adjacency);
  bool have = way.hop != 0;
  if (have && (block.flags & DirectionBlock::kTunnel) != 0) {
    way.tunnel = records_.take_tunnel(*snapshot->peers, block.encap_peer);
    have = way.tunnel != 0;
  }
  if (have && block.origin.side() == Side::kFabric) {
    way.from = records_.take_tunnel(*snapshot->peers, block.origin.peer());
    have = way.from != 0;
  }
  return have;
}

// A key that is there already is that of an earlier connection, which nobody has looked at since it ended. Else its
// chain is full, as long as others are hot.
void HandDown::insert() {
  const std::span<const isthmus_flow_key> keys(keys_);
  const std::span<const isthmus_flow> flows(flows_);
  std::size_t at = 0;
  while (at < keys.size()) {
    const std::size_t until = at + maps_->insert(keys.subspan(at), flows.subspan(at));
    for (; at < until; ++at) {
      way_of(entering_[at]).inserted = true;
    }
    if (at < keys.size()) {
      hand_down_insert_failures_.add();
      look_again_ = look_again_ || maps_->find(keys[at]) != nullptr;
      ++at;
    }
  }
  keys_.clear();
  flows_.clear();
}

void HandDown::grant(std::uint32_t lease) {
  FlowTable& flows = *shared_.flows;
  Way& way = way_of(lease);
  const FlowRef flow = pair_of(lease).flow;
  const Connection* const connection = flows.find(flow);
  if (connection == nullptr || records_.stale(way.tunnel) || records_.stale(way.from)) {
    leave(lease, connection == nullptr ? LeaseState::kRemoved : LeaseState::kPeerMoved);
    return;
  }
  if (!way.inserted) {
    leave(lease, maps_->find(way.key) == nullptr ? LeaseState::kCold : LeaseState::kPeerMoved);
    return;
  }
  const Direction direction = Leases::direction_of(lease);
  const DirectionLine& line = connection->line(direction);
  const bool granted =
      stands(way, line) &&  // else the block may be another one's by now
      flows.leases().grant(Leases::pair_of(lease), direction, EpochTable::stamp_of(*flows.block_at(way.block)));
  if (!granted || !stands(way, line) || flows.find(flow) == nullptr || connection->ending(std::memory_order_seq_cst)) {
    leave(lease, LeaseState::kRedecided);
    return;
  }
  way.stage = Stage::kDown;
  handed_down_.add();
}

// It has the decision that was handed down. Inside a read section its number cannot have been used for another one.
bool HandDown::stands(const Way& way, const DirectionLine& line) {
  return line.block.load(std::memory_order_seq_cst) == way.block;
}

}  // namespace isthmus
