// The policy table, compared with a direct evaluation of the rules in dataplane/api/policy.h.
#include "dataplane/tables/policy_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>

#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

using Selectors = std::map<std::uint32_t, std::vector<Identity>>;

SelectorEntry selector(std::uint32_t id, std::vector<std::uint32_t> identities) {
  std::sort(identities.begin(), identities.end());
  identities.erase(std::unique(identities.begin(), identities.end()), identities.end());
  auto members = std::make_shared<std::vector<Identity>>();
  for (const std::uint32_t i : identities) {
    members->push_back(Identity{i});
  }
  return {SelectorId{id}, members};
}

bool matches(const PolicyEntry& entry, const Selectors& selectors, Identity peer, PolicyL4 l4) {
  if (entry.protocol != 0 && entry.protocol != l4.protocol) {
    return false;
  }
  if (l4.port < entry.first_port || l4.port > entry.last_port) {
    return false;
  }
  if (entry.peers == kEveryPeer) {
    return true;
  }
  const auto& members = selectors.at(entry.peers.value());
  return std::find(members.begin(), members.end(), peer) != members.end();
}

// Evaluates every entry, as the interface describes it.
PolicyOutcome evaluate(const DirectionPolicy& direction, bool audit, const Selectors& selectors, Identity peer,
                       PolicyL4 l4) {
  bool denied = false;
  bool allowed = false;
  for (const PolicyEntry& entry : direction.entries) {
    if (matches(entry, selectors, peer, l4)) {
      (entry.deny ? denied : allowed) = true;
    }
  }
  if (denied) {
    return audit ? PolicyOutcome::kAudited : PolicyOutcome::kDeniedByRule;
  }
  if (!allowed && direction.enforced) {
    return audit ? PolicyOutcome::kAudited : PolicyOutcome::kDenied;
  }
  return PolicyOutcome::kAllowed;
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(engine_() % n); }
  bool one_in(std::uint32_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

DirectionPolicy random_direction(Random& random, std::uint32_t selectors) {
  constexpr std::uint8_t kProtocols[] = {0, 1, 6, 17, 58};
  DirectionPolicy direction;
  direction.enforced = !random.one_in(3);
  const std::uint32_t entries = random.below(12);
  for (std::uint32_t i = 0; i < entries; ++i) {
    PolicyEntry entry;
    entry.peers = SelectorId{random.below(selectors + 1)};
    entry.protocol = kProtocols[random.below(5)];
    entry.deny = random.one_in(4);
    if (!random.one_in(3)) {
      entry.first_port = static_cast<std::uint16_t>(random.below(12));
      entry.last_port = static_cast<std::uint16_t>(entry.first_port + random.below(4));
    }
    entry.rule = RuleId{i + 1};
    direction.entries.push_back(entry);
  }
  return direction;
}

TEST(PolicyTable, MatchesDirectEvaluationForRandomPoliciesAndPackets) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  constexpr std::uint8_t kProtocols[] = {1, 6, 17, 58, 132};
  for (int round = 0; round < 400; ++round) {
    Selectors selectors;
    TableDelta delta;
    const std::uint32_t count = 1 + random.below(600);
    for (std::uint32_t id = 1; id <= count; ++id) {
      std::vector<std::uint32_t> members;
      for (std::uint32_t i = random.below(4); i > 0; --i) {
        members.push_back(1000 + random.below(20));
      }
      delta.upsert_selectors.push_back(selector(id, members));
      selectors[id] = *delta.upsert_selectors.back().identities;
    }
    auto policy = std::make_shared<SubjectPolicy>();
    policy->subject = Identity{70000 + random.below(1000)};
    policy->audit = random.one_in(8);
    policy->ingress = random_direction(random, count);
    policy->egress = random_direction(random, count);
    delta.upsert_policies = {policy};
    const auto table = PolicyTable(Realm{}).changed(delta, std::make_shared<const RangeMap>());
    for (int packet = 0; packet < 200; ++packet) {
      const Identity peer{1000 + random.below(24)};
      const PolicyL4 l4{kProtocols[random.below(5)], static_cast<std::uint16_t>(random.below(16))};
      const PolicyVerdict in = table->ingress(policy->subject, peer, l4);
      const PolicyVerdict out = table->egress(policy->subject, peer, l4);
      ASSERT_EQ(in.outcome, evaluate(policy->ingress, policy->audit, selectors, peer, l4));
      ASSERT_EQ(out.outcome, evaluate(policy->egress, policy->audit, selectors, peer, l4));
      for (const auto& [verdict, direction] : {std::pair{in, &policy->ingress}, std::pair{out, &policy->egress}}) {
        if (verdict.rule != kNoRule) {
          EXPECT_TRUE(matches(direction->entries[verdict.rule.value() - 1], selectors, peer, l4));
        }
      }
    }
  }
}

// Ranges that all overlap: lists of what covers each port would take millions of places.
TEST(PolicyTable, ManyOverlappingRangesAreEvaluatedToo) {
  constexpr std::uint16_t kRanges = 1500;
  DirectionPolicy direction;
  direction.enforced = true;
  for (std::uint16_t n = 0; n < kRanges; ++n) {
    const auto first = static_cast<std::uint16_t>(10 * n), last = static_cast<std::uint16_t>(65'535 - 10 * n);
    direction.entries.push_back({SelectorId{n + 1u}, 6, false, first, last, RuleId{n + 1u}});
  }
  TableDelta delta;
  for (std::uint16_t n = 0; n < kRanges; ++n) {
    delta.upsert_selectors.push_back(selector(n + 1u, {70'000u + n}));
  }
  const Identity subject{1 << 16 | 5};
  delta.upsert_policies = {std::make_shared<const SubjectPolicy>(SubjectPolicy{subject, false, direction, direction})};
  const auto table = PolicyTable(Realm{}).changed(delta, std::make_shared<const RangeMap>());
  for (std::uint16_t n = 0; n < kRanges; n += 7) {
    const auto outcome = [&](std::uint32_t port) {
      return table->egress(subject, Identity{70'000u + n}, {6, static_cast<std::uint16_t>(port)}).outcome;
    };
    EXPECT_EQ(outcome(10u * n), PolicyOutcome::kAllowed);
    EXPECT_EQ(outcome(65'535u - 10u * n), PolicyOutcome::kAllowed);
    if (n != 0) {
      EXPECT_EQ(outcome(10u * n - 1), PolicyOutcome::kDenied);
      EXPECT_EQ(outcome(65'536u - 10u * n), PolicyOutcome::kDenied);
    }
  }
}

// What a port scan costs: ports that no entry tells apart are one class.
TEST(PolicyTable, PortsThatNoEntryTellsApartAreOneClass) {
  DirectionPolicy direction;
  direction.enforced = true;
  direction.entries = {{kEveryPeer, 6, false, 80, 80, RuleId{1}},
                       {kEveryPeer, 6, true, 1000, 1999, RuleId{2}},
                       {kEveryPeer, 17, false, 53, 53, RuleId{3}},
                       {kEveryPeer, 0, false, 0, 65'535, RuleId{4}}};
  const DirectionRules rules(direction);
  std::map<std::uint32_t, std::set<PolicyOutcome>> outcomes;
  for (const std::uint8_t protocol : std::to_array<std::uint8_t>({6, 17, 1})) {
    for (std::uint32_t port = 0; port < 65'536; ++port) {
      const PolicyL4 l4{protocol, static_cast<std::uint16_t>(port)};
      outcomes[rules.class_of(l4)].insert(rules.decide(SelectorSets{}, Identity{300}, l4).outcome);
    }
  }
  EXPECT_LE(outcomes.size(), 12u);
  for (const auto& [number, found] : outcomes) {
    EXPECT_EQ(found.size(), 1u) << number;
  }
}

TEST(PolicyTable, ADeltaChangesOnlyTheSubjectsAndSelectorsItNames) {
  const auto allow = [](std::uint32_t subject, std::uint32_t selector_id) {
    auto policy = std::make_shared<SubjectPolicy>();
    policy->subject = Identity{subject};
    policy->ingress = {true, {{SelectorId{selector_id}, 0, false, 0, 65535, RuleId{selector_id}}}};
    return policy;
  };
  TableDelta first;
  first.upsert_selectors = {selector(1, {1000}), selector(2, {2000}), selector(900, {3000})};
  first.upsert_policies = {allow(70000, 1), allow(70256, 2), allow(70001, 900)};
  const auto one = PolicyTable(Realm{}).changed(first, std::make_shared<const RangeMap>());
  const PolicyL4 l4{6, 80};
  const auto outcome = [&](const PolicyTable& table, std::uint32_t subject, std::uint32_t peer) {
    return table.ingress(Identity{subject}, Identity{peer}, l4).outcome;
  };
  EXPECT_EQ(outcome(*one, 70000, 1000), PolicyOutcome::kAllowed);
  EXPECT_EQ(outcome(*one, 70256, 1000), PolicyOutcome::kDenied);
  EXPECT_EQ(outcome(*one, 70001, 3000), PolicyOutcome::kAllowed);

  TableDelta second;
  second.upsert_selectors = {selector(1, {1001})};
  second.remove_selectors = {SelectorId{2}};
  second.remove_policies = {Identity{70256}};
  const auto two = one->changed(second, std::make_shared<const RangeMap>());
  EXPECT_EQ(outcome(*two, 70000, 1000), PolicyOutcome::kDenied);
  EXPECT_EQ(outcome(*two, 70000, 1001), PolicyOutcome::kAllowed);
  EXPECT_EQ(outcome(*two, 70256, 1000), PolicyOutcome::kAllowed) << "without a policy nothing is denied";
  EXPECT_EQ(outcome(*two, 70001, 3000), PolicyOutcome::kAllowed);
  EXPECT_EQ(two->selectors().find(SelectorId{2}), nullptr);
  EXPECT_EQ(outcome(*one, 70000, 1000), PolicyOutcome::kAllowed) << "the previous table is unchanged";
}

TEST(PolicyTable, DefaultsApplyOnlyToWorkloadsWithoutAPolicy) {
  TableDelta delta;
  delta.policy_defaults = PolicyDefaults{false, true, false};
  const auto table = PolicyTable(Realm{}).changed(delta, std::make_shared<const RangeMap>());
  const PolicyL4 l4{6, 80};
  for (const std::uint32_t workload : {70000u, 4u, 5u, 102u, 200u}) {
    EXPECT_EQ(table->ingress(Identity{workload}, Identity{1}, l4).outcome, PolicyOutcome::kDenied) << workload;
    EXPECT_EQ(table->egress(Identity{workload}, Identity{1}, l4).outcome, PolicyOutcome::kAllowed) << workload;
  }
  for (const std::uint32_t other : {0u, 1u, 2u, 6u, 7u, 8u, 9u, 10u, 1u << 24 | 5u, 2u << 24 | 5u}) {
    EXPECT_EQ(table->ingress(Identity{other}, Identity{1}, l4).outcome, PolicyOutcome::kNotApplicable) << other;
  }
  delta.policy_defaults->audit = true;
  EXPECT_EQ(
      table->changed(delta, std::make_shared<const RangeMap>())->ingress(Identity{70000}, Identity{1}, l4).outcome,
      PolicyOutcome::kAudited);
}

TEST(PolicyTable, WhatNothingIsKnownOfIsDeniedWhereTheDefaultsSaySo) {
  TableDelta delta;
  delta.policy_defaults = PolicyDefaults{false, true, true, true};
  const auto table = PolicyTable(Realm{}).changed(delta, std::make_shared<const RangeMap>());
  const PolicyL4 l4{6, 80};
  for (const std::uint32_t unknown :
       {2u, 1u << 24 | 5u, 3u << 24 | 5u, identity::unlabelled(ClusterId{1}).value(), identity::local(7).value()}) {
    EXPECT_EQ(table->ingress(Identity{unknown}, Identity{70000}, l4).outcome, PolicyOutcome::kDenied) << unknown;
    EXPECT_EQ(table->egress(Identity{unknown}, Identity{70000}, l4).outcome, PolicyOutcome::kDenied) << unknown;
  }
  for (const std::uint32_t known : {1u, 6u, 7u, 8u}) {
    EXPECT_EQ(table->ingress(Identity{known}, Identity{70000}, l4).outcome, PolicyOutcome::kNotApplicable) << known;
  }
  delta.policy_defaults->audit = true;
  EXPECT_EQ(
      table->changed(delta, std::make_shared<const RangeMap>())->ingress(Identity{2}, Identity{70000}, l4).outcome,
      PolicyOutcome::kAudited);
}

TEST(PolicyTable, ListsTheSubjectsWhoseSelectorsContainPrefixIdentities) {
  TableDelta delta;
  delta.upsert_selectors = {selector(1, {70000}), selector(2, {70000, 1u << 24 | 1}), selector(3, {2})};
  for (const std::uint32_t id : {1u, 2u, 3u}) {
    auto policy = std::make_shared<SubjectPolicy>();
    policy->subject = Identity{80000 + id};
    policy->egress = {true, {{SelectorId{id}, 0, false, 0, 65535, RuleId{1}}}};
    delta.upsert_policies.push_back(policy);
  }
  const auto subjects = PolicyTable(Realm{}).changed(delta, std::make_shared<const RangeMap>())->subjects_by_prefix();
  EXPECT_EQ(subjects, (std::vector<Identity>{Identity{80002}, Identity{80003}}));
}

}  // namespace
}  // namespace isthmus
