// What stood before a restart stands after it, and two gateways that learn the same in different orders agree.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "control/compile/endpoints.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;

using Arrival = std::function<void(Fleet3&)>;

// Who has what: prefixes and gateways by cluster, ids, VIPs by service.
std::map<std::string, std::string> claims_of(const Fleet3& f) {
  std::map<std::string, std::string> out;
  for (const ClusterView& cluster : f.compiler->clusters()) {
    out["id " + cluster.name] = std::to_string(cluster.id.value());
    for (const Prefix& prefix : cluster.prefixes) {
      out["prefix " + prefix.to_string()] = cluster.name;
    }
    for (const auto& gateway : cluster.gateways) {
      out["gateway " + gateway.underlay.to_string()] = gateway.name;
    }
  }
  for (const ServiceView& service : f.compiler->services()) {
    for (const IpAddress& vip : service.vips) {
      out["vip " + vip.to_string()] = service.name.text();
    }
  }
  return out;
}

Incumbents incumbents_of(const Fleet3& f) {
  Incumbents kept;
  for (const ClusterView& cluster : f.compiler->clusters()) {
    if (!cluster.local) {
      IncumbentCluster& had = kept.clusters[cluster.name] = {cluster.id, cluster.prefixes};
      for (const auto& gateway : cluster.gateways) {
        had.gateways.emplace_back(gateway.name, gateway.underlay);
      }
    }
  }
  for (const auto& [name, addresses] : f.compiler->disputed_addresses()) {
    kept.clusters[name].addresses = addresses;
  }
  for (const ServiceView& service : f.compiler->services()) {
    for (const IpAddress& vip : service.vips) {
      kept.vips[vip] = service.name;
    }
  }
  return kept;
}

TEST(Incumbents, KeepTheirPrefixFromANewcomerWithALowerIdAcrossARestart) {
  for (const bool kept : {true, false}) {
    Fleet3 before;
    before.compile();
    Fleet3 after;  // north (3) has 10.3.0.0/16; west (2) claims it while the gateway is down
    after.options.incumbents = kept ? incumbents_of(before) : Incumbents{};
    after.cluster("west", 2, {"10.2.0.0/16", "10.3.0.0/16"});
    after.compile();
    EXPECT_EQ(claims_of(after)["prefix 10.3.0.0/16"], kept ? "north" : "west");
  }
}

TEST(Incumbents, KeepTheirIdAndTheirGatewaysAddress) {
  Fleet3 before;
  before.compile();
  Fleet3 after;
  after.options.incumbents = incumbents_of(before);
  after.cluster("another", 3, {"10.9.0.0/16"});  // sorts before north
  after.gateway("a-1", "west", "192.0.3.1");     // north-1's
  after.compile();
  auto claims = claims_of(after);
  EXPECT_EQ(claims["id north"], "3");
  EXPECT_EQ(claims.count("id another"), 0U);
  EXPECT_EQ(claims["gateway 192.0.3.1"], "north-1");
}

TEST(Incumbents, KeepTheirVipFromANewcomerThatIsReadFirst) {
  for (const bool kept : {true, false}) {
    Fleet3 before;
    before.service("west", global_service({"10.200.0.10"}), "old");
    before.compile();
    Fleet3 after;
    after.options.incumbents = kept ? incumbents_of(before) : Incumbents{};
    after.service("east", global_service({"10.200.0.10"}), "new");
    after.compile();
    EXPECT_EQ(claims_of(after)["vip 10.200.0.10"], "shop/new") << "nobody else claims it";
    after.service("west", global_service({"10.200.0.10"}), "old");
    after.compile();
    EXPECT_EQ(claims_of(after)["vip 10.200.0.10"], kept ? "shop/old" : "shop/new");
    after.drop(ObjectKind::kService, "west", "shop", "old");
    after.compile();
    after.service("west", global_service({"10.200.0.10"}), "old");
    after.compile();
    EXPECT_EQ(claims_of(after)["vip 10.200.0.10"], "shop/new") << "it gave the VIP up";
  }
}

void put_node(Fleet3& f, const std::string& cluster, const std::string& address) {
  f.put(ObjectKind::kNode, cluster, "", "n", NodeObject{{ip(address)}, {}});
}

std::string node_at(const Fleet3& f, const std::string& address) {
  const auto endpoint = f.compiler->find_endpoint(ip(address));
  return endpoint ? endpoint->cluster : "nobody";
}

// The node is in no prefix: only who said it first tells whose it is.
TEST(Incumbents, KeepTheAddressOfANodeThatAnotherClusterSaysToo) {
  for (const bool kept : {true, false}) {
    Fleet3 before;
    put_node(before, "west", "192.0.9.9");
    before.compile();
    EXPECT_TRUE(before.compiler->disputed_addresses().empty()) << "only what is disputed is kept";
    put_node(before, "north", "192.0.9.9");
    before.compile();
    EXPECT_EQ(node_at(before, "192.0.9.9"), "west");
    Fleet3 after;
    after.options.incumbents = kept ? incumbents_of(before) : Incumbents{};
    put_node(after, "west", "192.0.9.9");
    put_node(after, "north", "192.0.9.9");
    after.compile();
    EXPECT_EQ(node_at(after, "192.0.9.9"), kept ? "west" : "north");
  }
}

// Also where the other cluster is read before it; once it gives the address up, it is new.
TEST(Incumbents, KeepTheAddressOfANodeFromWhenTheySayItAgain) {
  Fleet3 after;
  after.options.incumbents.clusters["west"] = {ClusterId{2}, {net("10.2.0.0/16")}, {}, {ip("192.0.9.9")}};
  put_node(after, "north", "192.0.9.9");
  after.compile();
  EXPECT_EQ(node_at(after, "192.0.9.9"), "north") << "nobody else says it";
  put_node(after, "west", "192.0.9.9");
  after.compile();
  EXPECT_EQ(node_at(after, "192.0.9.9"), "west");
  after.drop(ObjectKind::kNode, "west", "", "n");
  after.compile();
  EXPECT_EQ(node_at(after, "192.0.9.9"), "north");
  EXPECT_TRUE(after.compiler->disputed_addresses().empty());
  put_node(after, "west", "192.0.9.9");
  after.compile();
  EXPECT_EQ(node_at(after, "192.0.9.9"), "north");
  put_node(after, "east", "192.0.9.9");
  after.compile();
  EXPECT_EQ(node_at(after, "192.0.9.9"), "east") << "our own goes before all";
}

// West's hub has said all that it has: what is not among it is new when it comes, as at a gateway that ran on.
TEST(Incumbents, HaveNoClaimToAnAddressThatTheirHubNoLongerHas) {
  for (const std::string listed : {"west", "north", "both say it"}) {
    Fleet3 after;
    after.options.incumbents.clusters["west"] = {ClusterId{2}, {net("10.2.0.0/16")}, {}, {ip("192.0.9.9")}};
    put_node(after, "north", "192.0.9.9");
    after.compile();
    if (listed == "both say it") {
      put_node(after, "west", "192.0.9.9");
    }
    (void)after.model.set_listed({false, {listed == "both say it" ? "west" : listed}});
    after.compile();
    put_node(after, "west", "192.0.9.9");
    after.compile();
    EXPECT_EQ(node_at(after, "192.0.9.9"), listed == "west" ? "north" : "west") << listed;
  }
}

TEST(Incumbents, HaveNoClaimToAVipThatNoHubSaysAnyLonger) {
  for (const bool all : {false, true}) {
    Fleet3 after;
    after.options.incumbents.vips[ip("10.200.0.10")] = {"shop", "old"};
    after.service("west", global_service({"10.200.0.10"}), "new");
    (void)after.model.set_listed({all, {"west"}});
    after.compile();
    after.service("north", global_service({"10.200.0.10"}), "old");
    after.compile();
    EXPECT_EQ(claims_of(after)["vip 10.200.0.10"], all ? "shop/new" : "shop/old");
  }
}

// West and north say the same addresses, one more than is kept: that one is told, and no longer once it is west's
// alone.
TEST(Incumbents, AreToldOfWhereMoreIsDisputedThanIsKept) {
  Fleet3 f;
  constexpr std::size_t kMost = EndpointSet::kMaxDisputed;
  const auto address = [](std::size_t i) { return "192.1." + std::to_string(i / 256) + "." + std::to_string(i % 256); };
  f.options.admission.node_ranges.push_back(net("192.1.0.0/16"));
  std::vector<Problem> problems;
  const auto say = [&](const std::string& cluster, std::size_t count) {
    NodeObject node{{}, {}};
    for (std::size_t i = 0; i < count; ++i) {
      node.addresses.push_back(ip(address(i)));
    }
    f.put(ObjectKind::kNode, cluster, "", "n", node);
    problems = f.compile().problems;
  };
  const auto told = [&] {
    return std::count_if(problems.begin(), problems.end(), [&](const Problem& problem) {
      return problem.what.find("over a restart of this gateway, " + address(kMost)) != std::string::npos &&
             problem.where.find("fleet/west.yaml") != std::string::npos;
    });
  };
  say("west", kMost + 1);
  say("north", kMost + 1);
  EXPECT_EQ(told(), 1);
  EXPECT_EQ(f.compiler->disputed_addresses()["west"].size(), kMost);
  EXPECT_EQ(f.compiler->disputed_addresses().size(), 1U);
  say("north", kMost);
  EXPECT_EQ(told(), 0);
  EXPECT_EQ(f.compiler->disputed_addresses()["west"].size(), kMost);
  say("west", 0);
  EXPECT_TRUE(f.compiler->disputed_addresses().empty());
}

// A remedy that a problem names: what came to lie over this node's own addresses stays until a restart.
TEST(Incumbents, HaveNoClaimToWhatThisNodeNeedsAfterARestart) {
  for (const bool network : {false, true}) {
    Fleet3 before;
    before.compile();
    Fleet3 after;
    after.options.incumbents = incumbents_of(before);
    after.options.reserved = {{ip("10.3.7.0"), "a network of this node (eth1)", network,
                               network ? std::optional(net("10.3.7.0/24")) : std::nullopt}};
    after.compile();
    auto claims = claims_of(after);
    EXPECT_EQ(claims.count("prefix 10.3.0.0/16"), 0U);
    EXPECT_EQ(claims["prefix 10.2.0.0/16"], "west");
    EXPECT_EQ(claims["id north"], "3");
  }
}

// As long as its hub has neither said it again nor lacks it.
TEST(Incumbents, KeepWhatTheyHadWhileTheyAreRestored) {
  Fleet3 before;
  before.compile();
  Fleet3 after;
  after.options.incumbents = incumbents_of(before);
  const ObjectKey north{ObjectKind::kCluster, {}, {}, "north"};
  const ClusterObject object = *after.model.find<ClusterObject>(north);
  after.drop(ObjectKind::kCluster, "", "", "north");
  after.model.restore(1, {north, object, {}});
  after.compile();
  after.cluster("another", 3, {"10.3.0.0/16"});
  after.profile({"east", "west", "north", "another"});
  after.compile();
  after.compile();
  EXPECT_EQ(claims_of(after)["prefix 10.3.0.0/16"], "north");
  EXPECT_EQ(claims_of(after)["id north"], "3");
  after.model.forget(1, north);
  after.compile();
  EXPECT_EQ(claims_of(after)["prefix 10.3.0.0/16"], "another");
  EXPECT_EQ(claims_of(after)["id another"], "3");
}

// Claims that arrive while gateways restart: each over something that stands, or free.
std::vector<Arrival> newcomers() {
  std::vector<Arrival> out;
  for (const auto id : {std::uint16_t{4}, std::uint16_t{5}}) {
    const std::string name = "new-" + std::to_string(id);
    out.push_back([=](Fleet3& f) {
      f.cluster(name, id, {"10." + std::to_string(id) + ".0.0/16", id == 4 ? "10.2.0.0/16" : "10.3.128.0/17"});
      f.profile({"east", "west", "north", "new-4", "new-5"});
    });
    out.push_back([=](Fleet3& f) { f.gateway(name + "-1", name, "192.0." + std::to_string(id) + ".1"); });
  }
  out.push_back([](Fleet3& f) { f.cluster("aaa", 2, {"10.8.0.0/16"}); });               // west's id
  out.push_back([](Fleet3& f) { f.gateway("aaa-1", "north", "192.0.2.1"); });           // west-1's address
  out.push_back([](Fleet3& f) { f.node("west", "n1", "192.0.2.50", "10.3.7.0/24"); });  // north's
  for (const char* cluster : {"east", "north"}) {
    out.push_back([=](Fleet3& f) {
      f.service(cluster, global_service({cluster == std::string("east") ? "10.200.0.1" : "10.200.0.2"}), cluster);
    });
  }
  return out;
}

void stand(Fleet3& f) {
  f.service("west", global_service({"10.200.0.1", "10.200.0.3"}), "w1");
  f.service("north", global_service({"10.200.0.2"}), "n1");
}

TEST(Incumbents, TwoGatewaysAgreeInWhateverOrderTheyLearnOfNewcomers) {
  Fleet3 before;
  stand(before);
  before.compile();
  const auto stood = claims_of(before);
  std::mt19937 random(14);
  std::map<std::string, std::string> agreed;
  for (int round = 0; round < 300; ++round) {
    Fleet3 gateway;
    gateway.options.incumbents = incumbents_of(before);
    stand(gateway);  // restored
    std::vector<Arrival> arrivals = newcomers();
    std::shuffle(arrivals.begin(), arrivals.end(), random);
    for (const Arrival& arrival : arrivals) {
      if (random() % 2 == 0) {
        gateway.compile();
      }
      arrival(gateway);
    }
    gateway.compile();
    const auto claims = claims_of(gateway);
    if (round == 0) {
      agreed = claims;
      for (const auto& [what, who] : stood) {
        ASSERT_EQ(claims.count(what), 1U) << what;
        EXPECT_EQ(claims.at(what), who) << what;
      }
    }
    ASSERT_EQ(claims, agreed) << "round " << round;
  }
}

// Claims of three clusters, each over each other's: a prefix, a gateway, VIPs with a creation time and without, one
// that both kinds claim, and addresses of pods and nodes in no prefix.
std::vector<Arrival> rivals() {
  std::vector<Arrival> out;
  for (const auto id : {std::uint16_t{4}, std::uint16_t{5}, std::uint16_t{6}}) {
    const std::string name = "n" + std::to_string(10 - id);  // names and ids sort differently
    out.push_back([=](Fleet3& f) { f.cluster(name, id, {"10.40.0.0/16", "10.4" + std::to_string(id) + ".0.0/16"}); });
    out.push_back([=](Fleet3& f) { f.gateway(name + "-1", name, "192.0.4.1"); });
    out.push_back([=](Fleet3& f) { f.service(name, global_service({"10.200.0.9"}), name); });
    out.push_back([=](Fleet3& f) {
      ServiceObject timed = global_service({"10.200.0.10", "10.200.0.11"});
      timed.created = id == 6 ? 0 : 1000 - id;  // of the last one nothing is known
      timed.claimed_vips.resize(id == 6 ? 1 : 2);
      f.service(name, std::move(timed), name + "-timed");
    });
    out.push_back([=](Fleet3& f) { f.node(name, "x", "192.0.9.9", "10.50." + std::to_string(id) + ".0/24"); });
    out.push_back([=](Fleet3& f) {  // an ipcache's, and nodes' of others
      id == 4 ? f.address(name, "192.0.9.12", 6) : f.node(name, "z", "192.0.9.12");
    });
    out.push_back([=](Fleet3& f) { f.node(name, "y", "192.0.9." + std::to_string(10 + id / 6), "10.51.0.0/24"); });
  }
  out.push_back([](Fleet3& f) { f.profile({"east", "n4", "n5", "n6"}, "more"); });
  return out;
}

std::map<std::string, std::string> claims_and_addresses_of(const Fleet3& f) {
  std::map<std::string, std::string> out = claims_of(f);
  f.compiler->visit_endpoints([&](const EndpointView& endpoint) {
    out["address " + endpoint.address.to_string()] = endpoint.cluster;
    return true;
  });
  return out;
}

// Between claims that are new together, with nothing kept: what every gateway sees alike decides, at one that starts as
// at one that runs. Where a compile lies between two rivals, the first one that came has it.
TEST(Incumbents, NewcomersThatComeTogetherAreJudgedByWhatEveryGatewaySees) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::map<std::string, std::string> agreed;
  for (int round = 0; round < 200; ++round) {
    std::vector<Arrival> arrivals = rivals();
    std::shuffle(arrivals.begin(), arrivals.end(), random);
    Fleet3 gateway;
    if (round % 2 == 1) {
      gateway.compile();
    }
    for (const Arrival& arrival : arrivals) {
      arrival(gateway);
    }
    gateway.compile();
    if (round == 0) {
      agreed = claims_and_addresses_of(gateway);
      EXPECT_EQ(agreed["prefix 10.40.0.0/16"], "n6");
      EXPECT_EQ(agreed["vip 10.200.0.11"], "shop/n5-timed") << "the older one";
      EXPECT_EQ(agreed["vip 10.200.0.10"], "shop/n4-timed") << "not all have a time: by name";
      EXPECT_EQ(agreed["address 192.0.9.9"], "n4") << "by name";
      EXPECT_EQ(agreed["address 192.0.9.12"], "n4") << "by name, whatever kind of object says it";
    }
    ASSERT_EQ(claims_and_addresses_of(gateway), agreed) << "round " << round;
  }
}

}  // namespace
}  // namespace isthmus
