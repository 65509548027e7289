// The fleet after any series of changes is that which a rebuild makes of the same objects and the fleet before them.
#include <gtest/gtest.h>

#include <random>

#include "control/compile/fleet_builder.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;

std::string text_of(const Fleet& fleet) {
  std::string text;
  for (const auto& [name, cluster] : fleet.clusters) {
    text += name + (cluster.pods_ipv4 ? " 4" : "") + (cluster.pods_ipv6 ? " 6" : "") + ":";
    for (const Prefix& prefix : cluster.prefixes) {
      text += " " + prefix.to_string();
    }
    for (const FleetGateway& gateway : cluster.gateways) {
      text += " " + gateway.name + "=" + gateway.underlay.to_string();
    }
    text += "\n";
  }
  for (const auto& [prefix, cluster] : fleet.ranges) {
    text += prefix.to_string() + "=" + cluster + " ";
  }
  return text + (fleet.ipv4_without_prefixes ? " none 4" : "") + (fleet.ipv6_without_prefixes ? " none 6" : "") + "\n";
}

std::multiset<std::string> problems_of(const Fleet& fleet) {
  std::multiset<std::string> texts;
  for (const Problem& problem : fleet.problems) {
    texts.insert(problem.text());
  }
  return texts;
}

// Nodes of four clusters that claim overlapping prefixes, of other clusters' gateways and our nodes' addresses too.
class Claims {
 public:
  explicit Claims(unsigned seed) : random_(seed) {}

  struct Changes {
    std::set<ObjectKey> clusters, nodes;
  };
  Changes step(Fleet3& f) {
    Changes changes;
    if (pick(3) == 0) {
      const std::string cluster = kClusters[pick(4)];
      changes.clusters.insert({ObjectKind::kCluster, {}, {}, cluster});
      put_cluster(f, cluster, pick(3));
    }
    for (unsigned n = 1 + pick(3); n > 0; --n) {
      const std::string cluster = kClusters[pick(4)], name = "n" + std::to_string(pick(6));
      changes.nodes.insert({ObjectKind::kNode, cluster, {}, name});
      if (pick(4) == 0) {
        f.drop(ObjectKind::kNode, cluster, "", name);
        continue;
      }
      NodeObject node{{ip(pick(6) == 0 ? "10.64.0.1" : "192.0.9." + std::to_string(pick(200)))}, {}};
      for (unsigned p = pick(3); p > 0; --p) {
        node.pod_prefixes.push_back(prefix());
      }
      f.put(ObjectKind::kNode, cluster, "", name, node);
    }
    return changes;
  }

  // A change of what rebuilds the fleet.
  void layout(Fleet3& f) {
    const std::string cluster = kClusters[pick(4)], n = std::to_string(pick(3) + 1);
    switch (pick(6)) {
      case 4: {  // no CIDRs, perhaps with pods allowed by name
        ProfileObject profile{{"east", "west", "north", "south"}, 255};
        if (pick(2) == 0) {
          profile.members[cluster].pod_prefixes = {prefix(), net("fd00:6::/48")};
        }
        return f.put(ObjectKind::kProfile, "", "", "fleet", profile);
      }
      case 5:
        return f.cluster(cluster, id_of(cluster), {});
      case 0:
        return f.gateway("late", cluster, "10.64." + std::to_string(pick(4)) + ".1");
      case 1:
        return f.drop(ObjectKind::kGateway, "", "", "late");
      default:
        return put_cluster(f, cluster, 1);
    }
  }

  unsigned pick(unsigned below) { return std::uniform_int_distribution<unsigned>(0, below - 1)(random_); }

 private:
  void put_cluster(Fleet3& f, const std::string& cluster, unsigned prefixes) {
    ClusterObject object{ClusterId{id_of(cluster)}, {}, {}};
    for (; prefixes > 0; --prefixes) {
      const Prefix claimed = prefix();
      object.pod_prefixes.push_back(claimed);
      if (pick(4) == 0) {
        object.node_prefixes.push_back(claimed);
      }
    }
    object.node_prefixes.push_back(net("192.0." + std::to_string(pick(3) + 1) + ".0/24"));
    f.put(ObjectKind::kCluster, "", "", cluster, object);
  }

  // Of 10.64.0.0/14, of several lengths, so that many overlap.
  Prefix prefix() {
    constexpr std::array<std::uint8_t, 6> kLengths{14, 15, 16, 17, 24, 32};
    const std::string text = "10." + std::to_string(64 + pick(4)) + "." + std::to_string(pick(2) * 128 + pick(2)) +
                             "." + std::to_string(pick(2));
    return {ip(text), kLengths[pick(kLengths.size())]};
  }

  static std::uint16_t id_of(const std::string& cluster) {
    return static_cast<std::uint16_t>(std::find(kClusters.begin(), kClusters.end(), cluster) - kClusters.begin() + 1);
  }

  static constexpr std::array<const char*, 4> kClusters{"east", "west", "north", "south"};
  std::mt19937 random_;
};

// What stood before a restart: north has some of the addresses, and a gateway that is no more.
Incumbents incumbents() {
  Incumbents kept;
  kept.clusters["north"] = {ClusterId{3}, {net("10.64.0.0/24"), net("10.66.0.0/16")}, {{"north-1", ip("192.0.3.1")}}};
  kept.clusters["west"] = {ClusterId{2}, {net("10.65.128.0/17")}, {{"late", ip("10.64.1.1")}}};
  return kept;
}

// Nobody's prefix is another's, and no more are used than may be.
void expect_right_use(const Fleet& fleet, std::size_t most) {
  const std::pair<const Prefix, std::string>* last = nullptr;
  for (const auto& range : fleet.ranges) {
    EXPECT_FALSE(last != nullptr && last->first.contains(range.first)) << range.first.to_string();
    last = &range;
  }
  for (const auto& [name, cluster] : fleet.clusters) {
    EXPECT_TRUE(cluster.local || cluster.prefixes.size() <= most) << name;
  }
}

// The limit is two prefixes at the least: with one, limits that interlock have several outcomes.
//
// One kept up to date, and before each step a rebuild from a copy of it.
void follow(unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Fleet3 f;
  Claims claims(seed);
  f.options.admission.prefixes_per_cluster = seed % 4 == 0 ? 100 : 1 + seed % 4;
  f.options.admission.pods = {{"north", {net("10.66.0.0/15"), net("10.64.0.0/25")}}};
  f.options.reserved = {{ip("10.67.0.0"), "a network of this node (eth1)", true, net("10.67.0.0/24")}};
  if (seed % 2 == 0) {
    f.options.incumbents = incumbents();
  }
  for (const auto& [name, id] : {std::pair("west", 2), std::pair("north", 3), std::pair("south", 4)}) {
    f.cluster(name, static_cast<std::uint16_t>(id), {});
  }
  f.gateway("south-1", "south", "192.0.4.1");
  f.profile({"east", "west", "north", "south"});
  Fleet fleet;
  fleet.own = *find_own_gateway(f.model, "east", "east-1");
  FleetBuilder builder(f.model, f.options, fleet);
  builder.seed();
  (void)builder.rebuild();
  for (int step = 0; step < 40; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    Fleet again = fleet;
    FleetBuilder from_scratch(f.model, f.options, again);
    if (claims.pick(10) == 0) {
      claims.layout(f);
      (void)claims.step(f);
      (void)from_scratch.rebuild();
      (void)builder.rebuild();
    } else {
      const Claims::Changes changes = claims.step(f);
      const Fleet before = fleet;
      (void)from_scratch.rebuild();
      ASSERT_FALSE(builder.changes_layout(changes.clusters));
      const FleetChange change = builder.update(changes.clusters, changes.nodes);
      for (const auto& [name, cluster] : before.clusters) {
        const FleetCluster& now = fleet.clusters.at(name);
        const bool turned = now.pods_ipv4 != cluster.pods_ipv4 || now.pods_ipv6 != cluster.pods_ipv6;
        ASSERT_EQ(change.unprefixed.contains(name), turned) << name;
      }
      const std::set<Prefix> moved(change.moved.begin(), change.moved.end());
      for (const auto& [prefix, cluster] : before.ranges) {
        const auto at = fleet.ranges.find(prefix);
        ASSERT_TRUE(moved.contains(prefix) || (at != fleet.ranges.end() && at->second == cluster));
      }
    }
    ASSERT_EQ(text_of(fleet), text_of(again));
    ASSERT_EQ(problems_of(fleet), problems_of(again));
    expect_right_use(fleet, f.options.admission.prefixes_per_cluster);
    Fleet later = fleet;
    FleetBuilder unchanged(f.model, f.options, later);
    (void)unchanged.rebuild();
    ASSERT_EQ(text_of(fleet), text_of(later)) << "what nothing changes stays";
    ASSERT_EQ(problems_of(fleet), problems_of(later)) << "what is listed is so";
  }
}

// Keeps one fleet up to date with nodes that a test puts.
class Followed {
 public:
  explicit Followed(std::uint32_t most) {
    f.options.admission.prefixes_per_cluster = most;
    f.cluster("west", 2, {});
    f.cluster("north", 3, {});
  }
  ObjectKey node(const char* cluster, const char* name, std::initializer_list<const char*> prefixes) {
    NodeObject object{{}, {}};
    for (const char* prefix : prefixes) {
      object.pod_prefixes.push_back(net(prefix));
    }
    f.put(ObjectKind::kNode, cluster, "", name, object);
    return {ObjectKind::kNode, cluster, {}, name};
  }
  void start() {
    fleet.own = *find_own_gateway(f.model, "east", "east-1");
    builder.seed();
    (void)builder.rebuild();
  }
  void update(std::set<ObjectKey> nodes) { (void)builder.update({}, nodes); }
  std::string prefixes(const std::string& cluster) {
    std::string text;
    for (const Prefix& prefix : fleet.clusters[cluster].prefixes) {
      text += prefix.to_string() + " ";
    }
    return text;
  }

  Fleet3 f;
  Fleet fleet;
  FleetBuilder builder{f.model, f.options, fleet};
};

// What west has beyond the limit is used by nobody; north may have it, and does not lose it when west has room again.
TEST(FleetDeltas, WhatIsBeyondTheLimitIsInNobodysWay) {
  Followed f(2);
  f.node("west", "n0", {"10.64.0.0/24"});
  f.node("west", "n1", {"10.64.2.0/24"});
  f.start();
  f.update({f.node("west", "n2", {"10.64.4.0/24", "10.64.6.0/24", "10.64.8.0/24"})});
  EXPECT_EQ(f.prefixes("west"), "10.64.0.0/24 10.64.2.0/24 ");
  f.update({f.node("north", "m", {"10.64.4.0/23"})});
  EXPECT_EQ(f.prefixes("north"), "10.64.4.0/23 ");
  EXPECT_TRUE(std::any_of(f.fleet.problems.begin(), f.fleet.problems.end(), [](const Problem& problem) {
    return problem.what.starts_with("prefix 10.64.4.0/24 of cluster west overlaps 10.64.4.0/23 of cluster north");
  }));
  f.update({f.node("west", "n0", {})});
  EXPECT_EQ(f.prefixes("west"), "10.64.2.0/24 10.64.6.0/24 ");
  EXPECT_EQ(f.prefixes("north"), "10.64.4.0/23 ");
  f.update({f.node("north", "m", {})});
  f.update({f.node("west", "n1", {})});
  EXPECT_EQ(f.prefixes("west"), "10.64.4.0/24 10.64.6.0/24 ");
}

// 10.66.0.0/24 is beyond the limits of both: it counts as west's, and is north's once north has room for it.
TEST(FleetDeltas, WhatIsBeyondTheLimitsOfSeveralIsThatOnesThatHasRoom) {
  Followed f(1);
  f.node("west", "n0", {"10.64.0.0/24"});
  f.node("west", "n1", {"10.66.0.0/24"});
  f.node("north", "m0", {"10.65.0.0/24"});
  f.node("north", "m1", {"10.66.0.0/24"});
  f.start();
  EXPECT_EQ(f.prefixes("north"), "10.65.0.0/24 ");
  f.update({f.node("north", "m0", {})});
  EXPECT_EQ(f.prefixes("west"), "10.64.0.0/24 ");
  EXPECT_EQ(f.prefixes("north"), "10.66.0.0/24 ");
}

// The same where all is new at once, and west's id is the lower one.
TEST(FleetDeltas, WhatIsBeyondTheLimitIsInNobodysWayAtAStart) {
  Followed f(1);
  f.node("west", "n0", {"10.64.0.0/24", "10.64.4.0/24"});
  f.node("north", "m", {"10.64.4.0/23"});
  f.start();
  EXPECT_EQ(f.prefixes("west"), "10.64.0.0/24 ");
  EXPECT_EQ(f.prefixes("north"), "10.64.4.0/23 ");
}

TEST(FleetDeltas, AGatewayInsideAPrefixBeyondTheLimitStands) {
  Followed f(1);
  f.node("west", "n0", {"10.64.0.0/24", "10.64.4.0/24"});
  f.f.gateway("north-9", "north", "10.64.4.1");
  f.start();
  const auto& gateways = f.fleet.clusters["north"].gateways;
  EXPECT_TRUE(std::any_of(gateways.begin(), gateways.end(), [](const auto& each) { return each.name == "north-9"; }));
}

// West's prefix covers an address of our own node: it stays, with a problem, until our own cluster takes it.
TEST(FleetDeltas, TheProblemOfWhatStaysEndsWithIt) {
  Followed f(100);
  f.node("west", "n0", {"10.64.0.0/24"});
  f.start();
  const auto staying = [&] {
    return std::any_of(f.fleet.problems.begin(), f.fleet.problems.end(), [](const Problem& problem) {
      return problem.what.find("stays: it was there before") != std::string::npos;
    });
  };
  f.f.put(ObjectKind::kNode, "east", "", "e0", NodeObject{{ip("10.64.0.1")}, {}});
  f.update({{ObjectKind::kNode, "east", {}, "e0"}});
  EXPECT_EQ(f.prefixes("west"), "10.64.0.0/24 ");
  EXPECT_TRUE(staying());
  f.update({f.node("east", "e1", {"10.64.0.0/16"})});
  EXPECT_EQ(f.prefixes("west"), "");
  EXPECT_FALSE(staying());
}

// 10.66.0.0/16 stays in use after a wider claim was refused. At the limit of prefixes it makes room for others of its
// cluster: then nobody claims it, and it is neither counted again nor denied to others.
TEST(FleetDeltas, WhatNobodyClaimsDoesNotOutlastTheLimit) {
  Fleet3 f;
  f.options.admission.prefixes_per_cluster = 2;
  const auto node = [&](const char* cluster, const char* name, std::initializer_list<const char*> prefixes) {
    NodeObject object{{}, {}};
    for (const char* prefix : prefixes) {
      object.pod_prefixes.push_back(net(prefix));
    }
    f.put(ObjectKind::kNode, cluster, "", name, object);
    return ObjectKey{ObjectKind::kNode, cluster, {}, name};
  };
  f.cluster("west", 2, {});
  f.cluster("north", 3, {});
  node("west", "n0", {"10.64.0.0/16"});
  node("west", "n1", {"10.66.0.0/16"});
  node("north", "m", {"10.67.0.0/16"});
  Fleet fleet;
  fleet.own = *find_own_gateway(f.model, "east", "east-1");
  FleetBuilder builder(f.model, f.options, fleet);
  builder.seed();
  (void)builder.rebuild();
  using Prefixes = std::vector<Prefix>;
  ASSERT_EQ(fleet.clusters["west"].prefixes, (Prefixes{net("10.64.0.0/16"), net("10.66.0.0/16")}));

  (void)builder.update({},
                       {node("west", "n0", {"10.64.0.0/24", "10.64.8.0/24"}), node("west", "n1", {"10.66.0.0/15"})});
  EXPECT_EQ(fleet.clusters["west"].prefixes, (Prefixes{net("10.64.0.0/24"), net("10.64.8.0/24")}));
  (void)builder.update({}, {node("west", "n2", {"10.70.0.0/24"})});
  EXPECT_EQ(fleet.clusters["west"].prefixes, (Prefixes{net("10.64.0.0/24"), net("10.64.8.0/24")}));
  (void)builder.update({}, {node("north", "m2", {"10.66.0.0/16"})});
  EXPECT_EQ(fleet.clusters["north"].prefixes, (Prefixes{net("10.66.0.0/16"), net("10.67.0.0/16")}));
}

TEST(FleetDeltas, ComeToWhatARebuildMakes) {
  const unsigned first = std::random_device{}();
  RecordProperty("seed", static_cast<int>(first));
  std::printf("first seed %u\n", first);
  for (unsigned round = 0; round < 60 && !testing::Test::HasFailure(); ++round) {
    follow(first + round);
  }
}

}  // namespace
}  // namespace isthmus
