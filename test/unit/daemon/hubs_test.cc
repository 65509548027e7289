// What a gateway knows of its hubs when it starts again: of the same folder or another, mounted or not, as the same
// cluster or another.
#include "control/daemon/hubs.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <ctime>
#include <string>
#include <thread>
#include <utility>

#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

class HubsTest : public testing::Test {
 protected:
  struct Known {
    bool cluster = false, pod = false, policies = false;
    std::string problems;
  };
  void SetUp() override {
    folder_.write("hub/fleet/east.yaml",
                  "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: east}\nspec: {id: 1, podCIDRs: "
                  "[10.1.0.0/16]}\n");
    folder_.write("hub/clusters/east/pods.yaml",
                  "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nstatus: {podIP: 10.1.0.1}\n");
    folder_.make("other");
    config_.name = "east-1";
    config_.cluster = "east";
    config_.hub_file = folder_.path("hub");
    config_.last_known_directory = folder_.path("known");
  }
  // A run of the gateway: what is known once every file that can be read was read.
  Known run() {
    EventLoop loop;
    EXPECT_TRUE(loop.open().ok());
    Model model;
    Hubs hubs;
    const Status opened = hubs.open(config_, loop, model, [] {});
    EXPECT_TRUE(opened.ok()) << opened.error().text();
    for (int i = 0; i < 3; ++i) {  // a folder is read before the first
      hubs.take(model, [](const std::string&) { return false; });
    }
    Known known{model.find<ClusterObject>({ObjectKind::kCluster, {}, {}, "east"}).value != nullptr,
                model.find<PodObject>({ObjectKind::kPod, "east", "shop", "a"}).value != nullptr,
                model.policies_listed(),
                {}};
    for (const SourceProblem& problem : hubs.problems()) {
      known.problems += problem.what + "\n";
    }
    return known;
  }
  // A run whose store is removed, until it is kept anew: what the next one finds.
  KeptState lose() {
    {
      EventLoop loop;
      EXPECT_TRUE(loop.open().ok());
      Model model;
      Hubs hubs;
      EXPECT_TRUE(hubs.open(config_, loop, model, [] {}).ok());
      const auto take = [&] { hubs.take(model, [](const std::string&) { return false; }); };
      for (int i = 0; i < 3; ++i) {
        take();
      }
      folder_.remove("known/east-1.known");
      ClusterView north;
      north.name = "north";
      hubs.holders().clusters_are({north});  // something to write
      for (int i = 0; i < 600 && !hubs.holders().lost(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        take();
      }
      EXPECT_TRUE(hubs.holders().lost());
    }
    KeptState kept;
    const KeptOwners owners{{"", "cluster east"}, {"file", std::nullopt}};
    static_cast<void>(Keeper::open(config_.last_known_directory, config_.name, owners, kept));
    return kept;
  }
  void unmount() {
    folder_.move("hub", "away");
    folder_.make("hub");
  }

  TemporaryFolder folder_;
  GatewayConfig config_;
};

TEST_F(HubsTest, AnEmptyFolderLeavesWhatWasKnownInForce) {
  const Known first = run();
  EXPECT_TRUE(first.cluster && first.pod && first.policies) << first.problems;
  unmount();
  for (int restart = 0; restart < 2; ++restart) {
    const Known known = run();
    EXPECT_TRUE(known.cluster && known.pod && known.policies) << known.problems;
  }
}

TEST_F(HubsTest, AnEmptyFolderOpensNothingWhereNothingWasKnown) {
  unmount();
  const Known known = run();
  EXPECT_FALSE(known.cluster || known.pod || known.policies);
  EXPECT_NE(known.problems.find("policies are not known"), std::string::npos) << known.problems;
}

TEST_F(HubsTest, WhoHasWhatIsAsAnActiveGatewayToldItLastInTheProcessAndAfterIt) {
  const IpAddress vip = *IpAddress::parse("10.200.0.1"), other = *IpAddress::parse("10.200.0.2");
  const auto run_with = [&](const auto& act) {
    EventLoop loop;
    EXPECT_TRUE(loop.open().ok());
    Model model;
    Hubs hubs;
    EXPECT_TRUE(hubs.open(config_, loop, model, [] {}).ok());
    act(hubs.holders());
  };
  const auto tell = [](ClaimHolders& holders, const std::string& cluster, const std::string& service,
                       const IpAddress& address) {
    ClusterView view;
    view.name = cluster;
    view.id = ClusterId{2};
    view.prefixes = {*Prefix::parse("10.2.0.0/16")};
    holders.clusters_are({view}, {{cluster, {address}}});
    ServiceView of;
    of.name = {"shop", service};
    of.vips = {address};
    holders.services_are({of});
  };
  const auto expect = [](const ClaimHolders& holders, const std::string& cluster, const std::string& service,
                         const IpAddress& address) {
    const Incumbents incumbents = holders.incumbents();
    EXPECT_EQ(incumbents.clusters, (std::map<std::string, IncumbentCluster>{
                                       {cluster, {ClusterId{2}, {*Prefix::parse("10.2.0.0/16")}, {}, {address}}}}));
    EXPECT_EQ(incumbents.vips, (std::map<IpAddress, ServiceName>{{address, {"shop", service}}}));
  };
  run_with([&](ClaimHolders& holders) { tell(holders, "west", "old", vip); });
  run_with([&](ClaimHolders& holders) {
    expect(holders, "west", "old", vip);
    tell(holders, "north", "new", other);  // by the first of two active gateways of this process
    expect(holders, "north", "new", other);
    tell(holders, "south", "newer", vip);
  });
  run_with([&](ClaimHolders& holders) { expect(holders, "south", "newer", vip); });
}

TEST_F(HubsTest, TellOfWhomTheyHaveSaidAllSinceTheRestart) {
  for (const std::string hub : {"first", "read", "away"}) {
    if (hub == "away") {
      unmount();
    }
    EventLoop loop;
    EXPECT_TRUE(loop.open().ok());
    Model model;
    Hubs hubs;
    EXPECT_TRUE(hubs.open(config_, loop, model, [] {}).ok());
    EXPECT_EQ(model.listed(), Model::Listed{});
    for (int i = 0; i < 3; ++i) {
      hubs.take(model, [](const std::string&) { return false; });
    }
    EXPECT_EQ(model.listed().all, hub != "away");
    EXPECT_EQ(model.listed().clusters.contains("west"), hub == "read");
    ClusterView west;
    west.name = "west";
    west.id = ClusterId{2};
    hubs.holders().clusters_are({west}, {{"west", {*IpAddress::parse("192.0.9.9")}}});
  }
}

TEST_F(HubsTest, WhatAnotherClusterKnewOpensNothing) {
  static_cast<void>(run());
  unmount();
  config_.cluster = "west";
  const Known known = run();
  EXPECT_FALSE(known.cluster || known.pod || known.policies);
  EXPECT_NE(known.problems.find("is set aside"), std::string::npos) << known.problems;
}

TEST_F(HubsTest, WhatAnotherHubSaidOpensNothing) {
  static_cast<void>(run());
  config_.hub_file = folder_.path("other");
  const Known known = run();
  EXPECT_FALSE(known.cluster || known.pod || known.policies);
  EXPECT_NE(known.problems.find("is set aside"), std::string::npos) << known.problems;
}

TEST_F(HubsTest, AKindThatIsNoLongerReadDoesNotMakePoliciesTooOld) {
  folder_.write(
      "kubeconfig",
      "clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: a, user: {token: a}}]\n"
      "contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\n");
  config_.hub_file.reset();
  config_.kubernetes.cluster = folder_.path("kubeconfig");
  config_.policy_scope = SelectorScope::kOwn;  // the agents' configuration is not asked for
  const KeptOwners owners{{"", "cluster east"},
                          {"kubernetes", "the Kubernetes API of cluster east at https://127.0.0.1:1"}};
  constexpr std::int64_t kDay = 86'400;
  KeptState kept;
  {
    const auto keeper = *Keeper::open(config_.last_known_directory, config_.name, owners, kept);
    keeper->seen("kubernetes", "NetworkPolicy", {std::time(nullptr) - 60, true});
    keeper->seen("kubernetes", "ConfigMap", {std::time(nullptr) - 2 * kDay, true});
  }
  const Known known = run();
  EXPECT_TRUE(known.policies) << known.problems;
  const auto keeper = *Keeper::open(config_.last_known_directory, config_.name, owners, kept);
  EXPECT_EQ(kept.seen.count({"kubernetes", "NetworkPolicy"}), 1U);
  EXPECT_EQ(kept.seen.count({"kubernetes", "ConfigMap"}), 0U);
}

TEST_F(HubsTest, WhatIsLostWhileAHubIsAwayIsKeptAnewWithItsAge) {
  static_cast<void>(run());
  unmount();
  const KeptState kept = lose();
  EXPECT_EQ(kept.objects.size(), 2U);
  EXPECT_EQ(kept.seen.count({"file", {}}), 1U);
  const Known known = run();
  EXPECT_TRUE(known.cluster && known.pod && known.policies) << known.problems;
}

TEST_F(HubsTest, WhatIsLostWhileSomethingIsHeldIsKeptAnewWithTheHold) {
  folder_.write("hub/clusters/east/more.yaml",
                "apiVersion: v1\nkind: Pod\nmetadata: {name: b, namespace: shop}\nstatus: {podIP: 10.1.0.2}\n");
  static_cast<void>(run());
  folder_.remove("hub/clusters/east");
  const KeptState kept = lose();
  EXPECT_EQ(kept.objects.size(), 3U);
  EXPECT_EQ(kept.holds.count({"file", ObjectKind::kPod, "east"}), 1U);
}

// While the model is in use elsewhere nobody is called, and what a hub says is neither lost nor told twice.
TEST_F(HubsTest, WhatAPausedHubSaysWaitsWithIt) {
  EventLoop loop;
  ASSERT_TRUE(loop.open().ok());
  Model model;
  Hubs hubs;
  bool called = false;
  ASSERT_TRUE(hubs.open(config_, loop, model, [&] { called = true; }).ok());
  const auto take = [&] { hubs.take(model, [](const std::string&) { return false; }); };
  const auto pod = [&](const char* name) { return model.find<PodObject>({ObjectKind::kPod, "east", "shop", name}); };
  const auto until = [&](const auto& holds) {
    for (int i = 0; i < 600 && !holds(); ++i) {
      loop.io().run_for(std::chrono::milliseconds(50));
    }
    return holds();
  };
  for (int i = 0; i < 3; ++i) {
    take();
  }
  ASSERT_FALSE(pod("late"));
  hubs.pause();
  loop.io().run_for(std::chrono::milliseconds(1));  // what was under way
  called = false;
  folder_.write("hub/clusters/east/late.yaml",
                "apiVersion: v1\nkind: Pod\nmetadata: {name: late, namespace: shop}\nstatus: {podIP: 10.1.0.2}\n");
  loop.io().run_for(std::chrono::milliseconds(300));
  EXPECT_FALSE(called);
  hubs.resume();
  EXPECT_TRUE(until([&] {
    if (std::exchange(called, false)) {
      take();
    }
    return bool(pod("late"));
  }));
}

}  // namespace
}  // namespace isthmus
