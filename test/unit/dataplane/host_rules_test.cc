// The rules by which a frame is the gateway's or the host's, and how they follow changes. What they say of packets at
// random, the kernel's program says too: test/unit/xdp/differential.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/publish/host_rule_lists.h"
#include "test/support/packet.h"

namespace isthmus::test {
namespace {

IpAddress some(const char* text) { return *IpAddress::parse(text); }
Prefix within(const char* text) { return *Prefix::parse(text); }

SteerRules fleet_rules() {
  SteerRules rules;
  rules.tunnel = tunnel_end(some("192.0.2.1"));
  rules.tunnel.ipv6 = some("2001:db8::1");
  rules.tunnel.ports[1] = L4Port{6081};
  rules.peers = {some("198.51.100.7"), some("2001:db8:7::7")};
  rules.fleet = {within("10.2.0.0/16"), within("fd00:2::/48"), within("10.200.0.10")};
  rules.local_sources = {within("10.1.0.0/16"), within("fd00:1::/48"), within("10.7.0.0/16"), within("fd00:7::/48")};
  rules.native = {within("10.7.0.0/16"), within("fd00:7::/48")};
  return rules;
}

bool takes(const SteerRules& rules, const FrameBytes& frame) {
  HostRuleLists lists;
  lists.replace(rules);
  return lists.rules()->takes(frame);
}

FrameBytes plain(const char* from, const char* to) { return tcp({some(from), 1}, {some(to), 2}).bytes(); }

TEST(HostRules, WithoutAnyNothingIsTaken) {
  EXPECT_FALSE(takes({}, plain("10.1.0.5", "10.2.0.9")));
  EXPECT_FALSE(takes({}, plain("0.0.0.0", "0.0.0.0")));
  EXPECT_FALSE(takes({}, udp({some("198.51.100.7"), 1}, {some("192.0.2.1"), 0}).bytes()));
  EXPECT_FALSE(takes({}, FrameBytes{}));
}

TEST(HostRules, PlainPacketsGoByTheirAddresses) {
  struct Row {
    const char *from, *to;
    bool taken;
  };
  for (const Row& row : std::vector<Row>{{"10.1.0.5", "10.2.0.9", true},
                                         {"10.1.0.5", "10.200.0.10", true},
                                         {"10.1.0.5", "10.200.0.11", false},
                                         {"10.9.0.5", "10.2.0.9", false},
                                         {"10.1.0.5", "10.1.0.6", false},
                                         {"10.7.0.5", "10.1.0.6", true},
                                         {"10.7.0.5", "10.2.0.9", true},
                                         {"10.7.0.5", "10.9.0.1", false},
                                         {"10.7.0.5", "192.0.2.1", false},
                                         {"fd00:1::5", "fd00:2::9", true},
                                         {"fd00:9::5", "fd00:2::9", false},
                                         {"fd00:7::5", "fd00:1::9", true}}) {
    EXPECT_EQ(takes(fleet_rules(), plain(row.from, row.to)), row.taken) << row.from << " to " << row.to;
  }
}

// The node itself, where its addresses lie in the cluster's prefixes.
TEST(HostRules, WhatNativeClustersSendToTheNodeIsTheNodes) {
  SteerRules rules = fleet_rules();
  rules.local_sources.insert(within("192.0.2.0/24"));
  rules.local_sources.insert(within("2001:db8::/64"));
  EXPECT_FALSE(takes(rules, plain("10.7.0.5", "192.0.2.1")));
  EXPECT_TRUE(takes(rules, plain("10.7.0.5", "192.0.2.2")));
  EXPECT_FALSE(takes(rules, plain("fd00:7::5", "2001:db8::1")));
  EXPECT_TRUE(takes(rules, plain("fd00:7::5", "2001:db8::2")));
  rules.tunnel.ipv4 = {};
  EXPECT_TRUE(takes(rules, plain("10.7.0.5", "192.0.2.1")));
}

TEST(HostRules, AnIpv6PrefixThatHasAllAddressesInItHasNoIpv4Packets) {
  SteerRules rules = fleet_rules();
  rules.fleet = {within("::/0")};
  EXPECT_TRUE(takes(rules, plain("fd00:1::5", "2001:db8::9")));
  EXPECT_FALSE(takes(rules, plain("10.1.0.5", "10.2.0.9")));
  // Nor do IPv4 prefixes have IPv6 packets with such addresses.
  FrameBytes mapped = plain("fd00:1::5", "fd00:2::9");
  const IpAddress from = some("10.1.0.5"), to = some("10.2.0.9");
  std::copy(from.bytes().begin(), from.bytes().end(), mapped.begin() + 22);
  std::copy(to.bytes().begin(), to.bytes().end(), mapped.begin() + 38);
  EXPECT_FALSE(takes(rules, mapped)) << "a local source of IPv4";
  rules.local_sources = {within("::/0")};
  EXPECT_TRUE(takes(rules, mapped)) << "any IPv6 packet";
  EXPECT_FALSE(takes(fleet_rules(), mapped));
}

TEST(HostRules, TunnelPacketsAndWhatRoutersSayOfThemGoByThePeer) {
  const SteerRules rules = fleet_rules();
  for (const auto& [peer, gateway] : {std::pair("198.51.100.7", "192.0.2.1"), {"2001:db8:7::7", "2001:db8::1"}}) {
    const auto to_port = [&](const char* from, std::uint16_t port) {
      return udp({some(from), 40000}, {some(gateway), port}).bytes();
    };
    EXPECT_TRUE(takes(rules, to_port(peer, 8472)));
    EXPECT_TRUE(takes(rules, to_port(peer, 6081)));
    EXPECT_FALSE(takes(rules, to_port(peer, 53)));
    EXPECT_FALSE(takes(rules, to_port(peer, 0)));
    const bool ipv4 = some(peer).is_ipv4();
    const FrameBytes sent = udp({some(gateway), 40000}, {some(peer), 8472}).ip_bytes();
    const auto error = [&](const FrameBytes& about) {
      return icmp_error(some(ipv4 ? "203.0.113.1" : "2001:db8::fe"), some(gateway), ipv4 ? 3 : 2, ipv4 ? 4 : 0, about)
          .with_mtu(1400)
          .bytes();
    };
    EXPECT_TRUE(takes(rules, error(sent)));
    EXPECT_FALSE(takes(rules, error(udp({some(gateway), 40000}, {some(peer), 53}).ip_bytes())));
    EXPECT_FALSE(takes(rules, error(tcp({some(gateway), 40000}, {some(peer), 8472}).ip_bytes())));
    SteerRules without = rules;
    without.peers.clear();
    EXPECT_FALSE(takes(without, to_port(peer, 8472)));
    EXPECT_FALSE(takes(without, error(sent)));
  }
}

// No byte behind the frame is read, wherever it ends: the sanitizers see that, and what is taken has its addresses.
TEST(HostRules, AFrameThatEndsAnywhereIsReadNoFurther) {
  const FrameBytes about = udp({some("192.0.2.1"), 40000}, {some("198.51.100.7"), 8472}).ip_bytes();
  const FrameBytes about6 = udp({some("2001:db8::1"), 40000}, {some("2001:db8:7::7"), 8472}).ip_bytes();
  for (const FrameBytes& whole : {plain("10.1.0.5", "10.2.0.9"), plain("fd00:1::5", "fd00:2::9"),
                                  udp({some("198.51.100.7"), 1}, {some("192.0.2.1"), 8472}).bytes(),
                                  udp({some("2001:db8:7::7"), 1}, {some("2001:db8::1"), 8472}).bytes(),
                                  icmp_error(some("203.0.113.1"), some("192.0.2.1"), 3, 4, about).bytes(),
                                  icmp_error(some("2001:db8::fe"), some("2001:db8::1"), 2, 0, about6).bytes()}) {
    HostRuleLists lists;
    lists.replace(fleet_rules());
    const std::shared_ptr<const HostRules> rules = lists.rules();
    bool taken = false;
    for (std::size_t bytes = 0; bytes <= whole.size(); ++bytes) {
      const auto exact = std::make_unique<std::uint8_t[]>(bytes);
      std::copy(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes), exact.get());
      const bool now = rules->takes({exact.get(), bytes});
      EXPECT_TRUE(now || !taken) << "taken when shorter, at " << bytes;
      taken = now;
    }
    EXPECT_TRUE(taken);
  }
}

struct RuleDice {
  std::mt19937 source;
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(source() % limit); }
};

IpAddress address_of(RuleDice& dice) {
  const std::string number = std::to_string(dice.below(8)), last = std::to_string(dice.below(8));
  return dice.below(2) != 0 ? some(("10." + number + ".0." + last).c_str())
                            : some(("fd00:" + number + "::" + last).c_str());
}

Prefix prefix_of(RuleDice& dice) {
  const IpAddress address = address_of(dice);
  constexpr std::uint8_t kLengths4[] = {0, 8, 15, 16, 24, 31, 32}, kLengths6[] = {0, 16, 31, 32, 64, 127, 128};
  const std::uint32_t which = dice.below(7);
  return {address, address.is_ipv4() ? kLengths4[which] : kLengths6[which]};
}

template <typename Set, typename Make>
void turn(RuleDice& dice, Set& set, Set& added, Set& removed, Make make) {
  for (std::uint32_t i = dice.below(4); i > 0; --i) {
    const auto key = make(dice);
    if (set.erase(key) != 0) {
      added.erase(key);
      removed.insert(key);
    } else {
      set.insert(key);
      removed.erase(key);
      added.insert(key);
    }
  }
}

// Changes rules at random; `change`: how, in which nothing stands twice that stands as it stood.
void change_at_random(RuleDice& dice, SteerRules& rules, SteerChange& change) {
  const SteerRules before = rules;
  const auto keep_changes = [](const auto& was, auto& added, auto& removed) {
    std::erase_if(added, [&](const auto& key) { return was.contains(key); });
    std::erase_if(removed, [&](const auto& key) { return !was.contains(key); });
  };
  turn(dice, rules.peers, change.added.peers, change.removed.peers, address_of);
  turn(dice, rules.fleet, change.added.fleet, change.removed.fleet, prefix_of);
  turn(dice, rules.local_sources, change.added.local_sources, change.removed.local_sources, prefix_of);
  turn(dice, rules.native, change.added.native, change.removed.native, prefix_of);
  keep_changes(before.peers, change.added.peers, change.removed.peers);
  keep_changes(before.fleet, change.added.fleet, change.removed.fleet);
  keep_changes(before.local_sources, change.added.local_sources, change.removed.local_sources);
  keep_changes(before.native, change.added.native, change.removed.native);
}

TEST(HostRules, RulesThatFollowChangesAreThoseThatAreMadeAtOnce) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    RuleDice dice{std::mt19937(seed)};
    SteerRules rules;
    rules.tunnel = fleet_rules().tunnel;
    rules.tunnel.ipv4 = some("10.1.0.1");
    HostRuleLists kept;
    kept.replace(rules);
    unsigned taken = 0;
    for (unsigned step = 0; step < 60; ++step) {
      SteerChange change;
      change_at_random(dice, rules, change);
      const std::shared_ptr<const HostRules> before = kept.rules();
      kept.change(change);
      EXPECT_EQ(kept.rules() == before, change.empty()) << "shared when nothing changes, and only then";
      HostRuleLists anew;
      anew.replace(rules);
      for (unsigned i = 0; i < 60; ++i) {
        const IpAddress from = address_of(dice), to = address_of(dice);
        if (from.family() != to.family()) {
          continue;
        }
        const FrameBytes frame =
            udp({from, 1}, {to, dice.below(2) != 0 ? std::uint16_t{8472} : std::uint16_t{1}}).bytes();
        const bool expected = anew.rules()->takes(frame);
        ASSERT_EQ(kept.rules()->takes(frame), expected) << seed << ", step " << step << ": " << from.to_string();
        taken += expected ? 1 : 0;
      }
    }
    EXPECT_GT(taken, 0u);
  }
}

TEST(SteerChange, TwoInARowAreOne) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    RuleDice dice{std::mt19937(seed)};
    SteerRules rules, steered;
    SteerChange sum;
    for (unsigned step = 0; step < 20; ++step) {
      SteerChange change;
      change_at_random(dice, rules, change);
      sum.append(change);
      SteerRules at_once = steered;
      sum.apply_to(at_once);
      ASSERT_EQ(at_once, rules) << seed << ", step " << step;
      for (const Prefix& prefix : sum.added.fleet) {
        EXPECT_TRUE(rules.fleet.contains(prefix) && !steered.fleet.contains(prefix) &&
                    !sum.removed.fleet.contains(prefix));
      }
      if (dice.below(4) == 0) {
        steered = rules;
        sum = {};
      }
    }
  }
}

}  // namespace
}  // namespace isthmus::test
