// Looking at what is down, and taking it back.
#include <algorithm>
#include <utility>

#include "dataplane/handdown/hand_down.h"

namespace isthmus {

// `measures`: a period after the last one that did.
void HandDown::look(bool measures) {
  look_again_ = false;
  const Seconds now = shared_.flows->now();
  for (std::size_t from = 1; from < pairs_.size(); from += kSection) {
    const ReadSection section(shared_.quiescence, shared_.hand_down_slot);
    for (std::size_t number = from; number < std::min(pairs_.size(), from + kSection); ++number) {
      if (pairs_[number].has(Stage::kDown)) {
        look_at(static_cast<std::uint32_t>(number), now, measures);
        if (measures) {
          measure(static_cast<std::uint32_t>(number));
        }
      }
    }
  }
  if (measures) {
    make_room();
  }
}

std::uint64_t HandDown::forwarded(std::uint32_t number) const {
  const Leases& leases = shared_.flows->leases();
  return leases.count(number, Direction::kForward).packets + leases.count(number, Direction::kReply).packets;
}

void HandDown::measure(std::uint32_t number) {
  Pair& pair = pairs_[number];
  const std::uint64_t packets = forwarded(number);
  pair.fresh = static_cast<std::uint32_t>(packets - pair.looked);
  pair.looked = packets;
  pair.looks = pair.looks == kWholePeriod ? pair.looks : static_cast<std::uint8_t>(pair.looks + 1);
}

// What is refused now, and what has sent nothing since its decision went out of date, does not stay down.
void HandDown::look_at(std::uint32_t number, Seconds now, bool measures) {
  FlowTable& flows = *shared_.flows;
  Pair& pair = pairs_[number];
  Connection* const connection = flows.find(pair.flow);
  if (connection != nullptr) {
    flows.refresh(*connection, now);
  }
  bool may_follow = false;
  for (const Direction direction : kDirections) {
    const std::uint32_t lease = Leases::index(number, direction);
    const Stage stage = way_of(lease).stage;
    if (stage == Stage::kUp) {
      may_follow = connection != nullptr && able(*connection, direction) &&  // what is refused, or idle, came and went
                   flows.epochs().is_current(*flows.block(*connection, direction));
    } else if (stage == Stage::kDown) {
      const LeaseState why = connection == nullptr ? LeaseState::kRemoved : withdrawn(lease);
      if (why != LeaseState::kLeased) {
        leave(lease, why);
      } else if (heal(lease, *connection)) {
        way_of(lease).outdated = false;
      } else if (measures && forgotten(lease)) {
        leave(lease, LeaseState::kCold);
      }
    }
  }
  if (may_follow && pair.has(Stage::kDown)) {
    candidates_.push_back(pair.flow);
  }
}

// kLeased: it is not to be taken back.
LeaseState HandDown::withdrawn(std::uint32_t lease) const {
  const Way& way = way_of(lease);
  const LeaseState state = shared_.flows->leases().state(Leases::pair_of(lease), Leases::direction_of(lease));
  if (state != LeaseState::kLeased) {
    return state;
  }
  const DirectionBlock& block = *shared_.flows->block_at(way.block);
  const bool leads = !records_.gone(way.hop) && egresses_[block.device.value()] && arrives_at_program(block);
  return leads ? LeaseState::kLeased : LeaseState::kPeerMoved;
}

// A worker that confirmed a decision just while it was handed down has stamped the block alone. False: nobody has
// confirmed it since its words have moved.
bool HandDown::heal(std::uint32_t lease, const Connection& connection) const {
  const FlowTable& flows = *shared_.flows;
  const std::uint32_t number = Leases::pair_of(lease), handed_down = way_of(lease).block;
  const Direction direction = Leases::direction_of(lease);
  const auto& present = connection.line(direction).block;
  const DirectionBlock* const block = flows.block_at(handed_down);
  if (block == nullptr || present.load(std::memory_order_seq_cst) != handed_down) {
    return true;  // who has decided anew withdraws it
  }
  const std::uint32_t sum = EpochTable::stamp_of(*block);
  if (!flows.epochs().is_current(*block)) {
    return false;
  }
  if (flows.leases().sum(number, direction) != sum) {
    flows.leases().stamp(number, direction, sum);
    if (present.load(std::memory_order_seq_cst) != handed_down) {
      flows.leases().withdraw(number, direction, LeaseState::kRedecided);
    }
  }
  return true;
}

// Of one that is out of date: where tables are published all the time, most are at any moment, and are confirmed by
// their next packet.
bool HandDown::forgotten(std::uint32_t lease) {
  Way& way = way_of(lease);
  const std::uint32_t sum = shared_.flows->leases().sum(Leases::pair_of(lease), Leases::direction_of(lease));
  const bool again = way.outdated && way.sum == sum;
  way.outdated = true;
  way.sum = sum;
  return again;
}

// Above the watermark the coldest go, so that what becomes hot finds room. Those that have not been down for a whole
// period are hot by what a worker has measured, and go last.
void HandDown::make_room() {
  const std::size_t capacity = pairs_.size() - 1;
  const std::size_t most = capacity - std::max<std::size_t>(capacity / 16, 1);
  const std::size_t enough = capacity - std::max<std::size_t>(capacity / 8, 2);
  if (used() <= most) {
    return;
  }
  std::vector<std::uint32_t> down;
  for (std::uint32_t number = 1; number < pairs_.size(); ++number) {
    if (pairs_[number].has(Stage::kDown)) {
      down.push_back(number);
    }
  }
  if (down.size() <= enough) {
    return;
  }
  const auto end = down.begin() + static_cast<std::ptrdiff_t>(down.size() - enough);
  std::nth_element(down.begin(), end, down.end(),
                   [this](std::uint32_t a, std::uint32_t b) { return pairs_[a].heat() < pairs_[b].heat(); });
  std::for_each(down.begin(), end, [this](std::uint32_t number) {
    for (const Direction direction : kDirections) {
      const std::uint32_t lease = Leases::index(number, direction);
      if (way_of(lease).stage == Stage::kDown) {
        leave(lease, LeaseState::kCold);
      }
    }
  });
}

void HandDown::leave(std::uint32_t lease, LeaseState why) {
  const Leases& leases = shared_.flows->leases();
  const std::uint32_t number = Leases::pair_of(lease);
  const Direction direction = Leases::direction_of(lease);
  leases.withdraw(number, direction, why);
  way_of(lease).stage = Stage::kLeaving;
  leaving_.push_back(lease);
  taken_back_[static_cast<std::size_t>(leases.state(number, direction))].add();
}

// From the withdrawal on no program that starts forwards by the leases; those that run may, until they have been waited
// for, and count.
void HandDown::take_back() {
  std::vector<isthmus_flow_key> keys;
  for (const std::uint32_t lease : leaving_) {
    if (way_of(lease).inserted) {
      keys.push_back(way_of(lease).key);
    }
  }
  maps_->erase(keys);
  erased_.insert(erased_.end(), leaving_.begin(), leaving_.end());
  leaving_.clear();
  if (erased_.empty()) {
    return;
  }
  if (!maps_->wait_for_programs()) {
    hand_down_wait_failures_.add();
    return;
  }
  for (std::size_t at = 0; at < erased_.size(); at += kSection) {
    const ReadSection section(shared_.quiescence, shared_.hand_down_slot);
    const std::lock_guard lock(mutex_);
    for (std::size_t i = at; i < std::min(erased_.size(), at + kSection); ++i) {
      Leaver& leaver = unlinked_.emplace_back();
      leaver.lease = erased_[i];
      unlink(erased_[i], leaver);
      leaver.ticket = shared_.quiescence.advance();
    }
  }
  erased_.clear();
}

// The connection keeps the pair while the other direction is down, and needs no new one where it goes down again.
void HandDown::unlink(std::uint32_t lease, Leaver& leaver) {
  FlowTable& flows = *shared_.flows;
  Pair& pair = pair_of(lease);
  const std::uint32_t number = Leases::pair_of(lease);
  const Direction direction = Leases::direction_of(lease);
  if (Connection* const connection = flows.find(pair.flow); connection != nullptr) {
    flows.refresh(*connection, flows.now());
    const Stage other = other_of(lease).stage;
    const bool last = other == Stage::kUp || other == Stage::kUnlinked;
    const LeaseState why = flows.leases().state(number, direction);
    leaver.again = why == LeaseState::kRedecided || why == LeaseState::kPeerMoved;
    if (last) {
      flows.take_back(*connection, number);
    }
    if (last && leaver.again) {
      candidates_.push_back(pair.flow);
    }
  }
  give_back_records(way_of(lease));
  way_of(lease).stage = Stage::kUnlinked;
}

void HandDown::give_back_records(Way& way) {
  records_.give_back_hop(std::exchange(way.hop, 0));
  records_.give_back_tunnel(std::exchange(way.tunnel, 0));
  records_.give_back_tunnel(std::exchange(way.from, 0));
}

void HandDown::free_leases() {
  while (!unlinked_.empty() && shared_.quiescence.passed(unlinked_.front().ticket)) {
    const std::lock_guard lock(mutex_);
    const Leaver leaver = unlinked_.front();
    unlinked_.pop_front();
    const std::uint32_t number = Leases::pair_of(leaver.lease);
    Pair& pair = pairs_[number];
    shared_.flows->leases().reopen(number, Leases::direction_of(leaver.lease));
    way_of(leaver.lease) = {};
    const bool other = other_of(leaver.lease).stage != Stage::kUp;
    one_way_ = other ? one_way_ + 1 : one_way_ - 1;
    if (!other) {
      shared_.flows->leases().clear(number);
      pair = {};
      free_.push_back(number);
    } else if (leaver.again) {
      candidates_.push_back(pair.flow);
    }
  }
}

}  // namespace isthmus
