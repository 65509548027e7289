#include "control/restore/intake.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace isthmus {
namespace {

using namespace std::chrono_literals;
using Wall = std::chrono::system_clock;

// A hub that says what the test makes it say.
class SaidSource final : public Source {
 public:
  Status start() override { return Ok{}; }
  [[nodiscard]] int fd() const override { return -1; }
  std::vector<ObjectDelta> poll() override { return {}; }
  [[nodiscard]] std::vector<SourceProblem> problems() const override { return {}; }
  [[nodiscard]] bool synced() const override { return false; }
  [[nodiscard]] bool listed(ObjectKind, const std::string& cluster) const override {
    return clusters.contains(cluster);
  }
  [[nodiscard]] bool withholds(ObjectKind kind) const override { return withheld.contains(kind); }
  [[nodiscard]] std::string describe() const override { return "said"; }
  [[nodiscard]] std::optional<std::string> identity() const override { return "said"; }

  std::set<std::string> clusters;
  std::set<ObjectKind> withheld;
};

class IntakeTest : public ::testing::Test {
 protected:
  static ObjectKey address_key(const std::string& cluster, int n) {
    return {ObjectKind::kAddress, cluster, {}, "10.1.0." + std::to_string(n)};
  }
  static ObjectDelta address(const std::string& cluster, int n, std::uint32_t identity = 300) {
    const ObjectKey key = address_key(cluster, n);
    return {key, AddressObject{*Prefix::parse(key.name), Identity{identity}, {}, {}, {}, {}}, {"hub", 1}};
  }
  static ObjectDelta cluster(const std::string& name, std::uint16_t id) {
    return {{ObjectKind::kCluster, {}, {}, name}, ClusterObject{ClusterId{id}, {}, {}}, {"hub", 1}};
  }
  static ObjectDelta gateway(const std::string& name, const std::string& of) {
    return {{ObjectKind::kGateway, {}, {}, name}, GatewayObject{of, *IpAddress::parse("192.0.2.1"), L4Port{8472}}, {}};
  }
  static ObjectDelta profile(std::vector<std::string> clusters) {
    return {{ObjectKind::kProfile, {}, {}, "mesh"}, ProfileObject{std::move(clusters)}, {}};
  }
  static ObjectDelta policy(bool refused, unsigned line) {
    PolicyObject object;
    object.specs.emplace_back();
    object.refused = refused;
    return {{ObjectKind::kCiliumPolicy, "west", "shop", "web"}, object, {"hub", line}};
  }
  static ObjectDelta gone(ObjectDelta delta) {
    delta.value.reset();
    return delta;
  }
  // What was kept of the hub, which was in step `age` ago.
  void restore(std::vector<ObjectDelta> objects, std::chrono::seconds age = 60s, bool policies = false,
               const std::string& hub = "etcd") {
    KeptState kept;
    for (ObjectDelta& delta : objects) {
      kept.objects.push_back({{hub, delta.key}, {*delta.value, delta.provenance}});
    }
    for (const char* member : {"west", "north"}) {
      kept.seen[{hub, member}] = {Wall::to_time_t(wall_ - age), policies};
    }
    kept.holds = holds_;
    for (const auto& [of, time] : seen_) {
      kept.seen[of] = time;
    }
    lost_ = intake_.restore(std::move(kept), wall_, now_);
  }
  std::size_t take(std::vector<ObjectDelta> deltas, Intake::Hub hub = 1) {
    return intake_.take(hub, std::move(deltas), answers_, now_).size();
  }
  std::size_t confirm(Intake::Hub hub = 1) { return intake_.confirm(hub, source_, answers_, now_).size(); }
  static ObjectDelta policy(const std::string& name) {
    return {{ObjectKind::kNetworkPolicy, "east", "shop", name}, PolicyObject{}, {}};
  }
  [[nodiscard]] KeptTime before(std::chrono::seconds age, bool policies = false) const {
    return {Wall::to_time_t(wall_ - age), policies};
  }
  std::size_t expire() { return intake_.expire(answers_, now_).size(); }
  [[nodiscard]] bool has(const ObjectDelta& delta) const { return has(delta.key); }
  [[nodiscard]] bool has(const ObjectKey& key) const { return model_.version_of(1, key) != nullptr; }
  std::vector<std::string> profile_clusters() const {
    return std::get<ProfileObject>(*model_.version_of(1, profile({}).key)).clusters;
  }

  IntakeOptions options_{24h, 50, 600s, 60s};
  Model model_;
  Intake intake_{options_, {"file", "etcd", "kubernetes"}, model_};
  SaidSource source_;
  Intake::Answers answers_ = [this](const std::string& name) { return alive_.contains(name); };
  std::set<std::string> alive_;
  Intake::Lost lost_;
  std::map<KeptPart, KeptTime> holds_;                              // kept before the restart
  std::map<std::pair<std::string, std::string>, KeptTime> seen_{};  // the same, beside or instead of the usual
  Wall::time_point wall_ = Wall::from_time_t(1'800'000'000);
  Intake::Clock::time_point now_ = Intake::Clock::time_point(100h);
};

// Whatever comes first, and when they change: of restored objects too, which stay restored.
TEST_F(IntakeTest, WhatHubsSayIsReadByTheAliasesThatProfilesGive) {
  const auto with_alias = [&](const char* alias) {
    ObjectDelta delta = profile({"west"});
    std::get<ProfileObject>(*delta.value).members["west"].aliases = {
        {*Prefix::parse("10.1.0.0/24"), *Prefix::parse(alias)}};
    return delta;
  };
  const auto key = [](const char* address) { return ObjectKey{ObjectKind::kAddress, "west", {}, address}; };
  restore({address("west", 1)});
  take({address("west", 2), address("north", 2)});
  EXPECT_TRUE(intake_.take_renamed().empty());
  take({with_alias("10.9.0.0/24")}, 0);
  std::set<std::string> removed, said;
  for (const auto& [hub, delta] : intake_.take_renamed()) {
    EXPECT_EQ(hub, 1U);
    (delta.value ? said : removed).insert(delta.key.name);
  }
  EXPECT_EQ(removed, (std::set<std::string>{"10.1.0.1", "10.1.0.2"}));
  EXPECT_EQ(said, (std::set<std::string>{"10.9.0.1", "10.9.0.2"}));
  EXPECT_TRUE(has(key("10.9.0.1")) && has(key("10.9.0.2")) && has(address("north", 2)));
  EXPECT_TRUE(model_.is_restored(key("10.9.0.1")) && !model_.is_restored(key("10.9.0.2")));
  EXPECT_EQ(std::get<AddressObject>(*model_.version_of(1, key("10.9.0.2"))).prefix, *Prefix::parse("10.9.0.2"));
  take({address("west", 3), gone(address("west", 2))});
  EXPECT_TRUE(has(key("10.9.0.3")) && !has(key("10.9.0.2")));
  take({with_alias("10.8.0.0/24")}, 0);
  EXPECT_EQ(intake_.take_renamed().size(), 4U);
  EXPECT_TRUE(has(key("10.8.0.3")) && !has(key("10.9.0.3")));
  take({gone(with_alias("10.8.0.0/24"))}, 0);
  (void)intake_.take_renamed();
  EXPECT_TRUE(has(address("west", 3)) && !has(key("10.8.0.3")));
}

// Two blocks of a cluster change their aliases with each other: every address is there afterwards.
TEST_F(IntakeTest, AliasesThatChangePlacesLoseNoAddress) {
  const auto with_aliases = [&](const char* first, const char* second) {
    ObjectDelta delta = profile({"west"});
    std::get<ProfileObject>(*delta.value).members["west"].aliases = {
        {*Prefix::parse("10.1.0.0/24"), *Prefix::parse(first)},
        {*Prefix::parse("10.2.0.0/24"), *Prefix::parse(second)}};
    return delta;
  };
  const auto at = [](const char* text, std::uint32_t identity) {
    const ObjectKey key{ObjectKind::kAddress, "west", {}, text};
    return ObjectDelta{key, AddressObject{*Prefix::parse(text), Identity{identity}, {}, {}, {}, {}}, {"hub", 1}};
  };
  const auto identity_of = [&](const char* text) {
    const ObjectValue* value = model_.version_of(1, {ObjectKind::kAddress, "west", {}, text});
    return value == nullptr ? 0U : std::get<AddressObject>(*value).identity.value();
  };
  take({with_aliases("10.8.0.0/24", "10.9.0.0/24")}, 0);
  (void)intake_.take_renamed();
  take({at("10.1.0.5", 301), at("10.2.0.5", 302)});
  EXPECT_EQ(identity_of("10.8.0.5"), 301U);
  EXPECT_EQ(identity_of("10.9.0.5"), 302U);
  take({with_aliases("10.9.0.0/24", "10.8.0.0/24")}, 0);
  (void)intake_.take_renamed();
  EXPECT_EQ(identity_of("10.9.0.5"), 301U) << "swapped";
  EXPECT_EQ(identity_of("10.8.0.5"), 302U) << "swapped";
  take({with_aliases("10.8.0.0/24", "10.7.0.0/24")}, 0);
  (void)intake_.take_renamed();
  EXPECT_EQ(identity_of("10.8.0.5"), 301U) << "moved on";
  EXPECT_EQ(identity_of("10.7.0.5"), 302U) << "moved on";
}

TEST_F(IntakeTest, WhatStandsStaysWhereItsNewVersionIsTooLarge) {
  options_.limits.megabytes = 1;
  Intake intake(options_, {"file", "etcd", "kubernetes"}, model_);
  KeptState kept;
  const ObjectDelta standing = address("west", 1);
  kept.objects.push_back({{"etcd", standing.key}, {*standing.value, standing.provenance}});
  kept.seen[{"etcd", "west"}] = before(60s);
  (void)intake.restore(std::move(kept), wall_, now_);
  ObjectDelta large = standing;
  std::get<AddressObject>(*large.value).pod = std::string(2'000'000, 'x');
  (void)intake.take(1, {large}, answers_, now_);
  source_.clusters = {"west"};
  EXPECT_TRUE(intake.confirm(1, source_, answers_, now_).empty());
  EXPECT_TRUE(has(standing)) << "its hub has said something of it";
}

TEST_F(IntakeTest, RestoredObjectsCountUntilAListOfTheirClusterLacksThem) {
  restore({address("west", 1), address("west", 2), address("north", 3)});
  EXPECT_TRUE(has(address("west", 1)) && has(address("west", 2)) && has(address("north", 3)));
  take({address("west", 1)});
  EXPECT_EQ(confirm(), 0U) << "no list is complete";
  source_.clusters = {"west"};
  EXPECT_EQ(confirm(), 1U);
  EXPECT_TRUE(has(address("west", 1)) && !has(address("west", 2)) && has(address("north", 3)));
  ASSERT_EQ(intake_.restored(now_).size(), 1U);
  EXPECT_EQ(intake_.restored(now_)[0].cluster, "north");
  EXPECT_EQ(intake_.restored(now_)[0].age, 60s);
}

TEST_F(IntakeTest, WhatTheHubSaysReplacesWhatWasRestored) {
  restore({address("west", 1, 300)});
  take({address("west", 1, 301)});
  EXPECT_EQ(std::get<AddressObject>(*model_.version_of(1, address_key("west", 1))).identity, Identity{301});
  EXPECT_TRUE(model_.restored().empty());
  take({gone(address("west", 1))});
  EXPECT_FALSE(has(address("west", 1)));
}

TEST_F(IntakeTest, AListThatLacksMostOfThemKeepsThemForTheHoldTime) {
  std::vector<ObjectDelta> all;
  for (int n = 0; n < 20; ++n) {
    all.push_back(address("west", n));
  }
  restore(all);
  source_.clusters = {"west"};
  take({address("west", 0)});
  EXPECT_EQ(confirm(), 0U);
  EXPECT_TRUE(has(address("west", 19)));
  EXPECT_TRUE(intake_.restored(now_)[0].held);
  EXPECT_EQ(intake_.problems(now_).size(), 1U);
  now_ += 599s;
  take({address("west", 1)});
  EXPECT_EQ(confirm() + expire(), 0U);
  now_ += 2s;
  EXPECT_EQ(expire(), 18U);
  EXPECT_TRUE(has(address("west", 1)) && !has(address("west", 19)));
  EXPECT_TRUE(intake_.problems(now_).empty());
}

TEST_F(IntakeTest, WhatIsTooOldIsNotUsedAndTakenFromTheStore) {
  restore({address("west", 1)}, 25h);
  EXPECT_FALSE(has(address("west", 1)));
  ASSERT_EQ(lost_.size(), 1U);
  EXPECT_EQ(lost_[0].first, "etcd");
  EXPECT_EQ(lost_[0].second.key, address_key("west", 1));
}

TEST_F(IntakeTest, WhatBecomesTooOldWhileTheHubIsAwayGoes) {
  restore({address("west", 1), gateway("west-1", "west"), cluster("west", 2)}, 23h, true);
  EXPECT_TRUE(intake_.policies_restored(1, now_));
  now_ += 59min;
  EXPECT_EQ(expire(), 0U);
  now_ += 2min;
  EXPECT_EQ(expire(), 3U);
  EXPECT_TRUE(model_.restored().empty());
  EXPECT_FALSE(intake_.policies_restored(1, now_));
}

TEST_F(IntakeTest, ObjectsOfAHubThatIsNoLongerConfiguredAreNotUsed) {
  restore({address("west", 1)}, 60s, false, "fleet");
  EXPECT_EQ(model_.size(), 0U);
  EXPECT_EQ(lost_.size(), 1U);
}

TEST_F(IntakeTest, AClockThatWasSetBackDoesNotMakeThemTooOldOrForeverYoung) {
  restore({address("west", 1)}, -100h);
  EXPECT_TRUE(has(address("west", 1)));
  EXPECT_EQ(intake_.restored(now_)[0].age, 0s);
}

TEST_F(IntakeTest, PoliciesAreKnownFromBeforeOnlyIfTheyHadAllBeenListed) {
  restore({address("west", 1)}, 60s, false);
  EXPECT_FALSE(intake_.policies_restored(1, now_));
}

TEST_F(IntakeTest, AProfileKeepsClustersThatAreNotConfirmedYet) {
  restore({profile({"east", "west", "north"}), cluster("west", 2), cluster("north", 3)});
  take({profile({"east"})});
  EXPECT_EQ(profile_clusters(), (std::vector<std::string>{"east", "west", "north"}));
  take({cluster("west", 2), profile({"east", "west"})});
  confirm();
  EXPECT_EQ(profile_clusters(), (std::vector<std::string>{"east", "west", "north"}));
  source_.clusters = {"west", "north"};
  confirm();
  EXPECT_FALSE(has(cluster("north", 3)));
  EXPECT_EQ(profile_clusters(), (std::vector<std::string>{"east", "west"}));
  take({profile({"east"})});
  EXPECT_EQ(profile_clusters(), (std::vector<std::string>{"east"}));
}

TEST_F(IntakeTest, AGatewayThatAnswersStaysForALease) {
  take({cluster("west", 2), gateway("west-1", "west"), gateway("west-2", "west")});
  alive_ = {"west-1"};
  EXPECT_EQ(take({gone(gateway("west-1", "west")), gone(gateway("west-2", "west"))}), 1U);
  EXPECT_TRUE(has(gateway("west-1", "west")) && !has(gateway("west-2", "west")));
  EXPECT_EQ(intake_.problems(now_).size(), 1U);
  now_ += 59s;
  EXPECT_EQ(expire(), 0U);
  now_ += 2s;
  EXPECT_EQ(expire(), 1U);
  EXPECT_FALSE(has(gateway("west-1", "west")));
}

TEST_F(IntakeTest, AHeldGatewayGoesWhenItNoLongerAnswersAndStaysWhenTheHubHasItAgain) {
  take({gateway("west-1", "west"), gateway("west-2", "west")});
  alive_ = {"west-1", "west-2"};
  take({gone(gateway("west-1", "west")), gone(gateway("west-2", "west"))});
  take({gateway("west-2", "west")});
  alive_ = {};
  EXPECT_EQ(expire(), 1U);
  EXPECT_TRUE(!has(gateway("west-1", "west")) && has(gateway("west-2", "west")));
  now_ += 61s;
  EXPECT_EQ(expire(), 0U);
}

TEST_F(IntakeTest, AClusterThatLeavesTakesItsGatewaysAlong) {
  take({cluster("west", 2), gateway("west-1", "west")});
  alive_ = {"west-1"};
  EXPECT_EQ(take({gone(gateway("west-1", "west")), gone(cluster("west", 2))}), 2U);
  EXPECT_FALSE(has(gateway("west-1", "west")));
}

TEST_F(IntakeTest, APolicyThatIsRefusedStaysAsItWasBeforeTheRestart) {
  const auto line = [&] { return model_.said(1, policy(false, 0).key).provenance.copy().line; };
  const auto is_refused = [&] { return std::get<PolicyObject>(*model_.version_of(1, policy(false, 0).key)).refused; };
  restore({policy(false, 1)});
  const auto applied = intake_.take(1, {policy(true, 2)}, answers_, now_);
  EXPECT_FALSE(is_refused());
  EXPECT_EQ(line(), 1U) << "its rules are those of the earlier text";
  EXPECT_TRUE(model_.restored().empty()) << "the hub has said that it exists";
  ASSERT_EQ(applied.size(), 1U);
  EXPECT_FALSE(std::get<PolicyObject>(*applied[0].value).refused) << "what is kept for the next restart";
  EXPECT_TRUE(intake_.outlives(1, policy(true, 0).key));
  take({policy(true, 3)});
  EXPECT_EQ(line(), 1U) << "another version that is refused";
  take({policy(false, 4)});
  EXPECT_EQ(line(), 4U);
  EXPECT_FALSE(intake_.outlives(1, policy(true, 0).key));
  take({gone(policy(false, 0))});
  take({policy(true, 5)});
  EXPECT_TRUE(is_refused()) << "it is a new one";
}

TEST_F(IntakeTest, AFolderThatBecomesEmptyAtOnceIsHeld) {
  take({cluster("west", 2), address("west", 1), address("west", 2)}, 0);
  EXPECT_EQ(take({gone(address("west", 2))}, 0), 1U) << "one file is removed as a person wants it";
  EXPECT_EQ(take({gone(cluster("west", 2)), gone(address("west", 1))}, 0), 0U);
  EXPECT_EQ(model_.versions_of(0), 2U);
  EXPECT_EQ(intake_.problems(now_).size(), 1U);
  take({cluster("west", 2)}, 0);  // is mounted again, without the address
  now_ += 601s;
  EXPECT_EQ(expire(), 1U);
  EXPECT_EQ(model_.versions_of(0), 1U);
}

TEST_F(IntakeTest, AMemberIsAsOldAsItsOwnDataHoweverFreshTheOthersAre) {
  seen_[{"etcd", "north"}] = before(25h);
  restore({address("west", 1), address("north", 2), gateway("north-1", "north"), cluster("north", 3)});
  EXPECT_TRUE(has(address("west", 1)));
  EXPECT_EQ(model_.size(), 1U);
  EXPECT_EQ(lost_.size(), 3U);
}

TEST_F(IntakeTest, AMemberThatIsUsedGoesWhenItsOwnDataIsTooOld) {
  seen_[{"etcd", "north"}] = before(23h);
  restore({address("west", 1), address("north", 2)});
  now_ += 2h;
  EXPECT_EQ(expire(), 1U);
  EXPECT_TRUE(has(address("west", 1)) && !has(address("north", 2)));
}

TEST_F(IntakeTest, AKindOfAnApiServerIsAsOldAsItsOwnListAndPoliciesAsTheOldestOfTheirs) {
  for (const auto age : {23h, 25h}) {
    Model model;
    Intake intake({24h, 50, 600s, 60s}, {"kubernetes"}, model);
    KeptState kept;
    kept.objects.push_back({{"kubernetes", policy("web").key}, {*policy("web").value, {}}});
    kept.seen[{"kubernetes", "Service"}] = before(1s);
    kept.seen[{"kubernetes", "Pod"}] = before(1s, true);
    kept.seen[{"kubernetes", "NetworkPolicy"}] = before(age, true);
    static_cast<void>(intake.restore(std::move(kept), wall_, now_));
    EXPECT_EQ(model.size(), age == 23h ? 1U : 0U);
    EXPECT_EQ(intake.policies_restored(0, now_), age == 23h) << "policies of which some are too old are not all known";
  }
}

TEST_F(IntakeTest, WhatAnApiServersListLacksGoesAtOnceHoweverMuchItIs) {
  KeptState kept;
  for (int n = 0; n < 20; ++n) {
    const ObjectDelta delta = policy("p" + std::to_string(n));
    kept.objects.push_back({{"kubernetes", delta.key}, {*delta.value, {}}});
  }
  kept.seen[{"kubernetes", "NetworkPolicy"}] = before(60s, true);
  lost_ = intake_.restore(std::move(kept), wall_, now_);
  ASSERT_EQ(model_.size(), 20U);
  take({policy("p0")}, 2);
  EXPECT_EQ(confirm(2), 0U) << "not listed";
  source_.clusters = {"east"};
  EXPECT_EQ(confirm(2), 19U);
  EXPECT_EQ(model_.size(), 1U);
}

TEST_F(IntakeTest, WhatAnApiServerWithholdsStandsAndGrowsNoOlder) {
  KeptState kept;
  const ObjectKey key{ObjectKind::kAgentConfig, "east", "kube-system", "cilium-config"};
  kept.objects.push_back({{"kubernetes", key}, {AgentConfigObject{false}, {}}});
  kept.seen[{"kubernetes", "ConfigMap"}] = before(60s, true);
  lost_ = intake_.restore(std::move(kept), wall_, now_);
  source_.clusters = {"east"};
  source_.withheld = {ObjectKind::kAgentConfig};
  for (int i = 0; i < 3; ++i, now_ += 23h) {
    EXPECT_EQ(confirm(2) + expire(), 0U);
  }
  EXPECT_NE(model_.version_of(2, key), nullptr);
  source_.withheld.clear();  // and it turns out not to be there
  EXPECT_EQ(confirm(2), 1U);
  EXPECT_EQ(model_.version_of(2, key), nullptr);
}

TEST_F(IntakeTest, AFolderThatIsEmptyAtTheStartIsHeldAsOneThatBecomesEmpty) {
  restore({cluster("west", 2), cluster("north", 3), address("west", 1), address("west", 2)}, 60s, true, "file");
  seen_.clear();
  source_.clusters = {"west", "north"};
  EXPECT_EQ(confirm(0), 0U);
  EXPECT_EQ(model_.versions_of(0), 4U);
  EXPECT_FALSE(intake_.problems(now_).empty());
  take({cluster("west", 2), address("west", 1)}, 0);  // is mounted now
  EXPECT_EQ(confirm(0), 0U);
  now_ += 601s;
  EXPECT_EQ(expire(), 2U);
  EXPECT_EQ(model_.versions_of(0), 2U);
}

TEST_F(IntakeTest, OfAFolderWithAFleetAndNoClustersTheClustersAreHeldAndOneFileThatIsGoneIsNot) {
  restore({cluster("west", 2), cluster("north", 3), address("west", 1), address("west", 2)}, 60s, true, "file");
  source_.clusters = {"west", "north"};
  take({cluster("west", 2)}, 0);
  EXPECT_EQ(confirm(0), 1U) << "a person has removed north";
  EXPECT_EQ(model_.versions_of(0), 3U) << "clusters/ may not be mounted";
}

TEST_F(IntakeTest, HowLongSomethingIsHeldIsCountedOverRestarts) {
  std::vector<ObjectDelta> all;
  for (int n = 0; n < 20; ++n) {
    all.push_back(address("west", n));
  }
  restore(all);
  source_.clusters = {"west"};
  confirm();
  auto holds = intake_.take_holds();
  ASSERT_EQ(holds.size(), 1U);
  EXPECT_EQ(holds[0].part, (KeptPart{"etcd", ObjectKind::kAddress, "west"}));
  EXPECT_EQ(holds[0].until, now_ + 600s);
  EXPECT_TRUE(intake_.take_holds().empty());
  intake_.repeat_holds();
  holds = intake_.take_holds();
  ASSERT_EQ(holds.size(), 1U) << "what is kept anew has it too";
  EXPECT_EQ(holds[0].until, now_ + 600s);
  for (const auto left : {100s, -1s}) {  // the next start
    Model model;
    Intake intake({24h, 50, 600s, 60s}, {"file", "etcd"}, model);
    KeptState kept;
    for (const ObjectDelta& delta : all) {
      kept.objects.push_back({{"etcd", delta.key}, {*delta.value, {}}});
    }
    kept.seen[{"etcd", "west"}] = before(1s);
    kept.holds[{"etcd", ObjectKind::kAddress, "west"}] = {Wall::to_time_t(wall_ + left), false};
    static_cast<void>(intake.restore(std::move(kept), wall_, now_));
    EXPECT_EQ(intake.confirm(1, source_, answers_, now_).size(), left > 0s ? 0U : 20U);
    EXPECT_TRUE(intake.expire(answers_, now_ + 99s).empty());
    EXPECT_EQ(intake.expire(answers_, now_ + 101s).size(), left > 0s ? 20U : 0U);
    holds = intake.take_holds();
    ASSERT_EQ(holds.size(), 1U);
    EXPECT_FALSE(holds[0].until) << "it is over, and not kept any longer";
  }
}

TEST_F(IntakeTest, AHoldThatIsOverDoesNotShortenALaterOne) {
  holds_[{"etcd", ObjectKind::kAddress, "west"}] = before(60s);  // it was over while the gateway was down
  restore({address("west", 1), address("west", 2)});
  take({address("west", 1), address("west", 2)});
  EXPECT_EQ(confirm() + expire(), 0U);
  const auto holds = intake_.take_holds();
  ASSERT_EQ(holds.size(), 1U);
  EXPECT_FALSE(holds[0].until);
}

TEST_F(IntakeTest, AProfileThatIsRemovedGoesOnceWhateverIsNotConfirmed) {
  restore({profile({"east", "west"}), cluster("west", 2)});
  EXPECT_EQ(take({gone(profile({}))}), 1U);
  EXPECT_EQ(model_.version_of(1, profile({}).key), nullptr);
  EXPECT_EQ(confirm() + confirm(), 0U) << "nothing more changes";
}

}  // namespace
}  // namespace isthmus
