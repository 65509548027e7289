// Looking at what is down, and taking it back.
#include <algorithm>

#include "dataplane/handdown/hand_down.h"

namespace isthmus {
void HandDown::look() {
  look_again_ = false;
  const Seconds now = shared_.flows->now();
  for (std::size_t from = 1; from < pairs_.size(); from += kSection) {
    const ReadSection section(shared_.quiescence, shared_.hand_down_slot);
    for (std::size_t number = from; number < std::min(pairs_.size(), from + kSection); ++number) {
      if (pairs_[number].used && !pairs_[number].leaving) {
        look_at(static_cast<std::uint32_t>(number), now);
      }
    }
  }
  make_room();
}

void HandDown::look_at(std::uint32_t number, Seconds now) {
  FlowTable& flows = *shared_.flows;
  Pair& pair = pairs_[number];
  Connection* const connection = flows.find(pair.flow);
  if (connection == nullptr) {
    leave(number, LeaseState::kRemoved);
    return;
  }
  flows.refresh(*connection, now);
  const std::uint64_t packets = forwarded(number);
  pair.fresh = static_cast<std::uint32_t>(packets - pair.looked);
  pair.looked = packets;
  if (const LeaseState why = withdrawn(number); why != LeaseState::kLeased) {
    leave(number, why);
  } else {
    heal(number, *connection);
  }
}

// In both directions together.
std::uint64_t HandDown::forwarded(std::uint32_t number) const {
  const Leases& leases = shared_.flows->leases();
  return leases.count(number, Direction::kForward).packets + leases.count(number, Direction::kReply).packets;
}

// kLeased: it is not to be taken back.
LeaseState HandDown::withdrawn(std::uint32_t number) const {
  const Pair& pair = pairs_[number];
  for (const Direction direction : kDirections) {
    const auto d = static_cast<std::size_t>(direction);
    if (const LeaseState state = shared_.flows->leases().state(number, direction); state != LeaseState::kLeased) {
      return state;
    }
    const DirectionBlock* const block = shared_.flows->block_at(pair.block[d]);
    if (records_.gone(pair.hop[d]) || !egresses_[block->device.value()]) {
      return LeaseState::kPeerMoved;
    }
  }
  return LeaseState::kLeased;
}

// A worker that confirmed a decision just while it was handed down has stamped the block alone.
void HandDown::heal(std::uint32_t number, const Connection& connection) const {
  const FlowTable& flows = *shared_.flows;
  for (const Direction direction : kDirections) {
    const std::uint32_t handed_down = pairs_[number].block[static_cast<std::size_t>(direction)];
    const auto& present = connection.line(direction).block;
    const DirectionBlock* const block = flows.block_at(handed_down);
    if (block == nullptr || present.load(std::memory_order_seq_cst) != handed_down) {
      continue;
    }
    const std::uint32_t sum = EpochTable::stamp_of(*block);
    if (flows.leases().sum(number, direction) != sum && flows.epochs().is_current(*block)) {
      flows.leases().stamp(number, direction, sum);
      if (present.load(std::memory_order_seq_cst) != handed_down) {
        flows.leases().withdraw(number, direction, LeaseState::kRedecided);
      }
    }
  }
}

// Above the watermark the coldest go, so that what becomes hot finds room.
void HandDown::make_room() {
  const std::size_t capacity = pairs_.size() - 1;
  const std::size_t most = capacity - std::max<std::size_t>(capacity / 16, 1);
  const std::size_t enough = capacity - std::max<std::size_t>(capacity / 8, 2);
  if (used() <= most) {
    return;
  }
  std::vector<std::uint32_t> down;
  for (std::uint32_t number = 1; number < pairs_.size(); ++number) {
    if (pairs_[number].used && !pairs_[number].leaving) {
      down.push_back(number);
    }
  }
  if (down.size() <= enough) {
    return;
  }
  const auto end = down.begin() + static_cast<std::ptrdiff_t>(down.size() - enough);
  std::nth_element(down.begin(), end, down.end(),
                   [this](std::uint32_t a, std::uint32_t b) { return pairs_[a].fresh < pairs_[b].fresh; });
  std::for_each(down.begin(), end, [this](std::uint32_t number) { leave(number, LeaseState::kCold); });
}

void HandDown::leave(std::uint32_t number, LeaseState why) {
  const Leases& leases = shared_.flows->leases();
  leases.withdraw(number, why);
  pairs_[number].leaving = true;
  leaving_.push_back(number);
  taken_back_[static_cast<std::size_t>(leases.state(number, Direction::kForward))].add();
}

// From the withdrawal on no program that starts forwards by the leases; those that run may, until they have been waited
// for, and count.
void HandDown::take_back() {
  if (leaving_.empty()) {
    return;
  }
  std::vector<isthmus_flow_key> keys;
  for (const std::uint32_t number : leaving_) {
    for (const std::size_t d : {0U, 1U}) {
      if (pairs_[number].inserted[d]) {
        keys.push_back(pairs_[number].key[d]);
      }
    }
  }
  maps_->erase(keys);
  maps_->wait_for_programs();
  for (std::size_t at = 0; at < leaving_.size(); at += kSection) {
    const ReadSection section(shared_.quiescence, shared_.hand_down_slot);
    const std::lock_guard lock(mutex_);
    for (std::size_t i = at; i < std::min(leaving_.size(), at + kSection); ++i) {
      unlink(leaving_[i]);
      unlinked_.push_back({leaving_[i], shared_.quiescence.advance()});
    }
  }
  leaving_.clear();
}

void HandDown::unlink(std::uint32_t number) {
  FlowTable& flows = *shared_.flows;
  Pair& pair = pairs_[number];
  if (Connection* const connection = flows.find(pair.flow); connection != nullptr) {
    flows.refresh(*connection, flows.now());
    flows.take_back(*connection, number);
    const LeaseState why = flows.leases().state(number, Direction::kForward);
    if (why == LeaseState::kRedecided || why == LeaseState::kPeerMoved) {
      candidates_.push_back(pair.flow);
    }
  }
  give_back_records(pair);
  pair.used = false;
}

void HandDown::give_back_records(const Pair& pair) {
  for (const std::size_t d : {0U, 1U}) {
    records_.give_back_hop(pair.hop[d]);
    records_.give_back_tunnel(pair.tunnel[d]);
    records_.give_back_tunnel(pair.from[d]);
  }
}

void HandDown::free_pairs() {
  while (!unlinked_.empty() && shared_.quiescence.passed(unlinked_.front().ticket)) {
    const std::lock_guard lock(mutex_);
    const std::uint32_t number = unlinked_.front().pair;
    unlinked_.pop_front();
    shared_.flows->leases().clear(number);
    pairs_[number] = {};
    free_.push_back(number);
  }
}

}  // namespace isthmus
