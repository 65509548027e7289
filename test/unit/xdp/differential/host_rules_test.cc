// The rules in user space and the kernel's program say the same: random rules, their changes, and packets.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <map>
#include <string>
#include <utility>

#include "dataplane/publish/host_rule_lists.h"
#include "test/unit/xdp/differential/length.h"
#include "test/unit/xdp/differential/rule_frames.h"
#include "xdp/loader/steer_program.h"

namespace isthmus::test {
namespace {

constexpr unsigned kFleets = 12, kChanges = 40, kFramesPerChange = 250;

// Few addresses, so that prefixes meet them.
IpAddress end_of(Dice& dice) {
  const std::string net = std::to_string(dice.below(4)), host = std::to_string(dice.below(4));
  if (dice.one_in(30)) {
    return *IpAddress::parse(dice.one_in(2) ? "0.0.0.0" : "::");
  }
  return *IpAddress::parse(dice.one_in(2) ? "10." + net + ".0." + host : "fd00:" + net + "::" + host);
}

Prefix rule_prefix(Dice& dice) {
  const IpAddress address = end_of(dice);
  constexpr std::uint8_t kLengths4[] = {0, 8, 14, 15, 16, 24, 31, 32}, kLengths6[] = {0, 16, 30, 32, 64, 127, 128, 128};
  const std::size_t which = dice.one_in(8) ? 0 : dice.between(1, 7);
  return {address, address.is_ipv4() ? kLengths4[which] : kLengths6[which]};
}

template <typename Set, typename Make>
void turn_some(Dice& dice, Set& set, Set& added, Set& removed, Make make) {
  for (std::size_t i = dice.below(3); i > 0; --i) {
    const auto key = make(dice);
    if (added.contains(key) || removed.contains(key)) {
      continue;
    }
    if (set.erase(key) != 0) {
      removed.insert(key);
    } else {
      set.insert(key);
      added.insert(key);
    }
  }
}

SteerChange change_some(Dice& dice, SteerRules& rules) {
  SteerChange change;
  turn_some(dice, rules.peers, change.added.peers, change.removed.peers, end_of);
  turn_some(dice, rules.fleet, change.added.fleet, change.removed.fleet, rule_prefix);
  turn_some(dice, rules.local_sources, change.added.local_sources, change.removed.local_sources, rule_prefix);
  turn_some(dice, rules.native, change.added.native, change.removed.native, rule_prefix);
  return change;
}

TunnelEnds some_ends(Dice& dice) {
  TunnelEnds ends;
  const std::size_t families = dice.below(3);
  ends.ipv4 = families != 1 ? *IpAddress::parse("10.1.0.1") : IpAddress{};
  ends.ipv6 = families != 0 ? *IpAddress::parse("fd00:1::1") : IpAddress{};
  ends.ports[0] = L4Port{8472};
  ends.ports[1] = dice.one_in(2) ? L4Port{6081} : L4Port{0};
  return ends;
}

struct Verdicts {
  std::uint64_t passed = 0, taken = 0;
};

class BothRules {
 public:
  explicit BothRules(std::uint64_t seed) : seed_(seed), dice_(seed) {
    pool_.mac = {{2, 0, 0, 0, 7, 1}};
    SteerProgram::Settings settings;
    settings.mac = pool_.mac;
    auto loaded = SteerProgram::load(settings);
    EXPECT_TRUE(loaded.ok()) << loaded.error().text();
    program_ = *std::move(loaded);
    rules_.tunnel = pool_.tunnel = some_ends(dice_);
    for (unsigned i = 0; i < 24; ++i) {
      pool_.ends.push_back(end_of(dice_));
      pool_.peers.push_back(end_of(dice_));
    }
    static_cast<void>(change_some(dice_, rules_));
    EXPECT_TRUE(program_->apply(rules_).ok());
    lists_.replace(rules_);
  }

  void change() {
    const SteerChange changed = change_some(dice_, rules_);
    EXPECT_TRUE(program_->change(changed).ok());
    lists_.change(changed);
  }

  void compare(std::map<std::string, Verdicts>& tally) {
    const RuleFrame frame = random_rule_frame(pool_, dice_);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.bytes.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.bytes.size());
    options.repeat = 1;
    ASSERT_EQ(bpf_prog_test_run_opts(program_->program(), &options), 0) << frame.bytes.size() << " bytes";
    const bool taken = options.retval != XDP_PASS;  // dropped, for want of a heartbeat
    ASSERT_EQ(frame.for_mac && lists_.rules()->takes(frame.bytes), taken)
        << "seed " << seed_ << ": " << frame.shape << (frame.for_mac ? "" : ", for another MAC");
    Verdicts& of_shape = tally[frame.shape];
    (taken ? of_shape.taken : of_shape.passed) += 1;
    tally["another MAC"].passed += frame.for_mac ? 0 : 1;
  }

 private:
  std::uint64_t seed_;
  Dice dice_;
  RulePool pool_;
  SteerRules rules_;
  HostRuleLists lists_;
  std::unique_ptr<SteerProgram> program_;
};

TEST(HostRulesDifferential, WhatTheKernelsProgramPassesIsTheHosts) {
  std::map<std::string, Verdicts> tally;
  for (std::uint64_t fleet = 0; fleet < kFleets; ++fleet) {
    BothRules both(differential_length().seed + fleet);
    for (unsigned change = 0; change < kChanges; ++change) {
      for (unsigned i = 0; i < kFramesPerChange; ++i) {
        ASSERT_NO_FATAL_FAILURE(both.compare(tally));
      }
      both.change();
    }
  }
  for (const std::string& shape : rule_frame_shapes()) {
    EXPECT_GT(tally[shape].taken, 100u) << shape;
    EXPECT_GT(tally[shape].passed, 100u) << shape;
  }
  EXPECT_GT(tally["another MAC"].passed, 100u);
}

}  // namespace
}  // namespace isthmus::test
