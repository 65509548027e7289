// The threads that are the wire and the kernel.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "test/unit/handdown/agreement/agreement_rig.h"

namespace isthmus::test {
namespace {

constexpr std::size_t kHot = 32;  // connections that have half of the packets
constexpr unsigned kTrains = 8, kLongestTrain = 8;
constexpr std::size_t kResets = 6;
constexpr std::uint64_t kRoundsPerReset = 24, kRunsPerPause = 64;

}  // namespace

std::size_t AgreementRig::choose(Dice& dice) const { return dice.below(dice.one_in(2) ? kHot : script_->size()); }

// The wire ------------------------------------------------------------------------------------------------------------

void AgreementRig::carry() {
  Dice dice(2);
  for (std::uint64_t round = 1; !still_; ++round) {
    carry_some(dice);
    collect();
    if (round % kRoundsPerReset == 0) {
      reopen(dice, kResets);
    }
    ++carried_;
  }
  fence();
}

// Trains of packets of one direction, to each lane that has no others. Packets of a direction are all in one lane: two
// workers that have some at the same time may lose a count.
void AgreementRig::carry_some(Dice& dice) {
  const bool other = order_.read().is(Order::kOtherGateway);
  for (const Lane lane : {Lane{false, 0}, Lane{false, 1}, Lane{true, 0}, Lane{true, 1}}) {
    const WorkerId worker{static_cast<std::uint8_t>(lane.worker)};
    if (!memory(lane.underlay).drained(worker)) {
      continue;
    }
    for (unsigned train = 0; train < kTrains; ++train) {
      const std::size_t n = choose(dice);
      const ScriptedConnection& connection = (*script_)[n];
      if (worker_of(n, lane.underlay) != lane.worker || connection.stage != Stage::kOpen) {
        continue;
      }
      const FrameBytes& frame = lane.underlay ? connection.back[other ? 1 : 0] : connection.there;
      for (std::size_t i = dice.between(1, kLongestTrain); i > 0; --i) {
        EXPECT_TRUE(memory(lane.underlay).inject(frame, worker));
      }
    }
  }
}

void AgreementRig::collect() {
  for (const bool underlay : {true, false}) {
    for (std::uint8_t w = 0; w < kWorkers; ++w) {
      while (const auto frame = memory(underlay).take(WorkerId{w})) {
        took(ConnectionScript::read(*frame, underlay));
      }
    }
  }
}

void AgreementRig::took(const LeftFrame& frame) {
  ScriptedConnection* const connection = script_->of_port(frame.client_port);
  if (connection == nullptr) {
    const std::size_t fence = static_cast<std::size_t>(frame.client_port) - ConnectionScript::kFencePort;
    if (fence < fences_.size()) {
      ++fences_[fence];
    } else {
      ADD_FAILURE() << "a frame of port " << frame.client_port;
    }
    return;
  }
  const bool there = frame.direction == Direction::kForward;
  const std::uint8_t opens = frame.tcp_flags & (kSyn | kAck);
  if (there && opens == kSyn) {  // the first packet of another connection
    connection->forget_counts();
    connection->stage = Stage::kBegun;
    ++connection->turn;
  } else if (!there && opens == (kSyn | kAck) && connection->stage == Stage::kBegun) {
    connection->stage = Stage::kAnswered;
  } else if (there && opens == kAck && connection->stage == Stage::kAnswered) {
    connection->stage = Stage::kOpen;
  }
  connection->by_workers[there ? 0 : 1].add(frame.inner_bytes);
  if ((frame.tcp_flags & kRst) != 0 && connection->stage != Stage::kEnded) {
    connection->stage = Stage::kEnded;
    ++connection->turn;
    ++resets_;
  }
}

// Everything that was given to the workers before has left or been dropped. A worker's round sends what it has in one
// go: the second fence is of a later one.
void AgreementRig::fence() {
  static_cast<void>(await("workers", [&] {
    collect();
    for (std::uint8_t w = 0; w < kWorkers; ++w) {
      if (!rig_->underlay().drained(WorkerId{w}) || !rig_->local().drained(WorkerId{w})) {
        return false;
      }
    }
    return true;
  }));
  for (unsigned turn = 0; turn < 2; ++turn) {
    const auto before = fences_;
    for (std::uint8_t w = 0; w < kWorkers; ++w) {
      EXPECT_TRUE(rig_->local().inject(script_->fence(w), WorkerId{w}));
    }
    static_cast<void>(await("fences", [&] {
      collect();
      return fences_[0] > before[0] && fences_[1] > before[1];
    }));
  }
  collect();
}

// Opens what is not open, as far as policies let it, and ends some connections.
void AgreementRig::reopen(Dice& dice, std::size_t resets) {
  fence();
  for (std::size_t i = 0; i < resets; ++i) {
    const std::size_t n = choose(dice);
    if ((*script_)[n].stage == Stage::kOpen) {
      EXPECT_TRUE(rig_->local().inject(script_->there((*script_)[n], kRst | kAck),
                                       WorkerId{static_cast<std::uint8_t>(worker_of(n, false))}));
    }
  }
  fence();
  std::vector<std::size_t> closed;
  for (std::size_t n = 0; n < script_->size(); ++n) {
    if ((*script_)[n].stage != Stage::kOpen) {
      closed.push_back(n);
      while (in_program_.load(std::memory_order_seq_cst) == n) {  // what has begun before the end counts there
        std::this_thread::yield();
      }
    }
  }
  for (const Stage stage : {Stage::kEnded, Stage::kBegun, Stage::kAnswered}) {
    send_opening(closed, stage);
  }
}

// The packet that takes those in this stage to the next one.
void AgreementRig::send_opening(const std::vector<std::size_t>& which, Stage stage) {
  const bool underlay = stage == Stage::kBegun, other = order_.read().is(Order::kOtherGateway);
  for (const std::size_t n : which) {
    const ScriptedConnection& connection = (*script_)[n];
    if (connection.stage != stage) {
      continue;
    }
    const FrameBytes frame = underlay ? script_->back(connection, kSyn | kAck, other)
                                      : script_->there(connection, stage == Stage::kEnded ? kSyn : kAck);
    EXPECT_TRUE(memory(underlay).inject(frame, WorkerId{static_cast<std::uint8_t>(worker_of(n, underlay))}));
  }
  fence();
}

// The kernel ----------------------------------------------------------------------------------------------------------

void AgreementRig::run_programs() {
  Dice dice(3);
  while (!still_) {
    run_program(dice);
    if (++runs_ % kRunsPerPause == 0) {
      std::this_thread::sleep_for(kPause);
    }
  }
}

void AgreementRig::run_program(Dice& dice) {
  const std::size_t n = choose(dice);
  ScriptedConnection& connection = (*script_)[n];
  in_program_.store(n, std::memory_order_seq_cst);
  const std::uint32_t turn = connection.turn.load(std::memory_order_seq_cst);
  const Standing before = order_.read();
  const bool there = dice.one_in(2);
  const FrameBytes& frame = there ? connection.there : connection.back[before.is(Order::kOtherGateway) ? 1 : 0];
  const KernelOutcome outcome = (there ? local_ : underlay_)->kernel(frame);
  const bool same = order_.read() == before;
  if (outcome.verdict == KernelVerdict::kForwarded) {
    const Direction direction = there ? Direction::kForward : Direction::kReply;
    connection.by_kernel[static_cast<std::size_t>(direction)].add(
        ConnectionScript::read(outcome.bytes, there).inner_bytes);
    ++forwarded_;
    if (turn % 2 != 0 && connection.turn.load(std::memory_order_seq_cst) == turn) {
      violated("forwarded a packet of a connection that had ended");
    }
    if (same) {
      check(outcome.bytes, direction, before);
    }
  } else if (outcome.verdict == KernelVerdict::kAborted) {
    violated("aborted");
  }
  checked_ += same ? 1 : 0;
  in_program_.store(~std::size_t{0}, std::memory_order_seq_cst);
}

// A frame that was forwarded while all of this stood.
void AgreementRig::check(const FrameBytes& sent, Direction direction, Standing standing) {
  constexpr std::size_t kOuterDestination = 30, kOuterPort = 36, kLastOfMac = 5;
  if (standing.known(Order::kDenied) && standing.is(Order::kDenied)) {
    violated("forwarded a packet that is denied");
  }
  if (direction != Direction::kForward) {
    return;
  }
  const bool other = standing.is(Order::kOtherGateway);
  const IpAddress& gateway = other ? rig_->at.west_other : rig_->at.west_gateway;
  if (standing.known(Order::kOtherGateway) &&
      !std::equal(gateway.bytes().begin() + 12, gateway.bytes().end(), sent.begin() + kOuterDestination)) {
    violated("forwarded a packet to another gateway");
  }
  const std::uint16_t port = static_cast<std::uint16_t>(sent[kOuterPort] << 8 | sent[kOuterPort + 1]);
  if (standing.known(Order::kOtherGateway) && standing.known(Order::kOtherPort) &&
      port != (standing.is(Order::kOtherPort) && !other ? 4789 : 8472)) {
    violated("forwarded a packet to another port of the gateway: " + std::to_string(port));
  }
  if (standing.known(Order::kOtherHop) && sent[kLastOfMac] != (standing.is(Order::kOtherHop) ? 0xfd : 0xfe)) {
    violated("forwarded a packet to another next hop");
  }
}

void AgreementRig::violated(const std::string& what) {
  const std::lock_guard lock(mutex_);
  if (violation_.empty()) {
    violation_ = what;
  }
}

}  // namespace isthmus::test
