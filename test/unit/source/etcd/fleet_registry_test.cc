// Cluster ids, gateway names, the profile, and conflicting exports.
#include "control/source/etcd/fleet_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <set>

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FleetRegistryTest : public testing::Test {
 protected:
  static ServiceBackend backend(const std::string& address, const std::string& hostname) {
    return {*IpAddress::parse(address), hostname, {{"vxlan", IpProtocol::kUdp, L4Port{8472}}}};
  }
  // The published gateways: name → address.
  std::map<std::string, std::string> gateways() {
    for (const ObjectDelta& delta : out) {
      if (delta.key.kind == ObjectKind::kGateway && delta.value) {
        published[delta.key.name] = std::get<GatewayObject>(*delta.value).underlay.to_string();
      } else if (delta.key.kind == ObjectKind::kGateway) {
        published.erase(delta.key.name);
      }
    }
    out.clear();
    return published;
  }
  std::vector<ObjectDelta> out;
  std::map<std::string, std::string> published;
  FleetRegistry registry{{"east", "gateway-1", ClusterId{1}, 255}, out};
};

using Names = std::map<std::string, std::string>;

TEST_F(FleetRegistryTest, AnIdBelongsToTheFirstClusterUntilReleased) {
  EXPECT_EQ(registry.reserve(ClusterId{1}, "west"), "east");
  EXPECT_EQ(registry.reserve(ClusterId{5}, "west"), "");
  EXPECT_EQ(registry.reserve(ClusterId{5}, "west"), "");
  EXPECT_EQ(registry.reserve(ClusterId{5}, "south"), "west");
  registry.release(ClusterId{5}, "south");
  EXPECT_EQ(registry.reserve(ClusterId{5}, "south"), "west");
  registry.release(ClusterId{5}, "west");
  EXPECT_EQ(registry.reserve(ClusterId{5}, "south"), "");
}

TEST_F(FleetRegistryTest, OnlyGatewaysOfMembersArePublished) {
  registry.set_service_gateways("west", {backend("192.0.2.21", "gateway-0")});
  EXPECT_TRUE(gateways().empty());
  registry.set_member("west", true);
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}}));
  registry.set_member("west", false);
  EXPECT_TRUE(gateways().empty());
}

TEST_F(FleetRegistryTest, AGatewayWhoseNameIsTakenIsPrefixedWithItsCluster) {
  registry.set_member("west", true);
  registry.set_service_gateways("west", {backend("192.0.2.21", "gateway-0"), backend("192.0.2.22", "gateway-1")});
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}, {"west/gateway-1", "192.0.2.22"}}));
  // A published gateway keeps its name, even if the newcomer's cluster sorts first.
  registry.set_member("north", true);
  registry.set_service_gateways("north", {backend("192.0.2.31", "gateway-0")});
  EXPECT_EQ(gateways(),
            (Names{{"gateway-0", "192.0.2.21"}, {"north/gateway-0", "192.0.2.31"}, {"west/gateway-1", "192.0.2.22"}}));
  registry.set_service_gateways("west", {});
  EXPECT_EQ(gateways(), (Names{{"north/gateway-0", "192.0.2.31"}}));
}

TEST_F(FleetRegistryTest, WhatAMemberHadBeforeARestartIsNotTakenByWhoIsReadFirst) {
  const RestoredMembers had{{"west", {ClusterId{5}, {{"gateway-0", *IpAddress::parse("192.0.2.21")}}}}};
  registry.set_restored(had);
  EXPECT_EQ(registry.reserve(ClusterId{5}, "north"), "west");
  registry.set_member("north", true);
  registry.set_service_gateways("north", {backend("192.0.2.31", "gateway-0")});
  EXPECT_EQ(gateways(), (Names{{"north/gateway-0", "192.0.2.31"}}));
  EXPECT_EQ(registry.reserve(ClusterId{5}, "west"), "");
  registry.set_member("west", true);
  registry.set_service_gateways("west", {backend("192.0.2.21", "gateway-0")});
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}, {"north/gateway-0", "192.0.2.31"}}));
  EXPECT_TRUE(registry.set_restored({}));
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}, {"north/gateway-0", "192.0.2.31"}}));
  EXPECT_EQ(registry.reserve(ClusterId{5}, "north"), "west");
}

TEST_F(FleetRegistryTest, WhatAMemberHadIsFreeOnceItDoesNotReturnOrSaysOtherwise) {
  const RestoredMembers had{{"west", {ClusterId{5}, {{"gateway-0", *IpAddress::parse("192.0.2.21")}}}},
                            {"south", {ClusterId{6}, {}}}};
  registry.set_restored(had);
  EXPECT_EQ(registry.reserve(ClusterId{6}, "north"), "south");
  EXPECT_EQ(registry.reserve(ClusterId{7}, "south"), "");
  EXPECT_EQ(registry.reserve(ClusterId{6}, "north"), "") << "south says that it has another one";
  EXPECT_EQ(registry.reserve(ClusterId{5}, "a"), "west");
  EXPECT_TRUE(registry.set_restored({})) << "west is found to be gone";
  EXPECT_EQ(registry.reserve(ClusterId{5}, "a"), "");
  registry.set_member("north", true);
  registry.set_service_gateways("north", {backend("192.0.2.31", "gateway-0")});
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.31"}}));
}

// Whose address it is is for the compiler to decide, which names the other; nobody's gateway goes away here.
TEST_F(FleetRegistryTest, AMembersGatewayStaysWhenAnotherOneClaimsItsAddress) {
  registry.set_member("west", true);
  registry.set_service_gateways("west", {backend("192.0.2.21", "west-0")});
  registry.set_member("north", true);
  GatewayValue evil;
  evil.underlay = {*IpAddress::parse("192.0.2.21")};
  registry.set_registered_gateway("north", "evil", evil);
  EXPECT_EQ(gateways(), (Names{{"west-0", "192.0.2.21"}, {"evil", "192.0.2.21"}}));
  registry.set_registered_gateway("north", "evil", std::nullopt);
  registry.set_service_gateways("north", {backend("192.0.2.21", "a")});
  EXPECT_EQ(gateways(), (Names{{"west-0", "192.0.2.21"}, {"a", "192.0.2.21"}}));
}

GatewayValue registered(const char* address) {
  GatewayValue value;
  value.underlay = {*IpAddress::parse(address)};
  return value;
}

// Nobody can take the name under which another cluster's gateway is held while it answers, and returns.
TEST_F(FleetRegistryTest, ANameStaysItsClusters) {
  registry.set_member("west", true);
  registry.set_member("north", true);
  registry.set_registered_gateway("west", "gw", registered("192.0.2.21"));
  for (const char* name : {"gw", "west-gw", "north-gw"}) {
    registry.set_registered_gateway("north", name, registered("192.0.2.31"));
  }
  const Names before{
      {"gw", "192.0.2.21"}, {"north/gw", "192.0.2.31"}, {"west-gw", "192.0.2.31"}, {"north-gw", "192.0.2.31"}};
  EXPECT_EQ(gateways(), before);
  registry.set_registered_gateway("west", "gw", std::nullopt);
  EXPECT_EQ(gateways(), (Names{{"north/gw", "192.0.2.31"}, {"west-gw", "192.0.2.31"}, {"north-gw", "192.0.2.31"}}));
  registry.set_registered_gateway("north", "gw", std::nullopt);
  registry.set_registered_gateway("north", "gw", registered("192.0.2.31"));
  registry.set_registered_gateway("west", "gw", registered("192.0.2.21"));
  EXPECT_EQ(gateways(), before);
  EXPECT_TRUE(registry.problems().empty());
}

TEST_F(FleetRegistryTest, TheLastNamesThatAClusterHasGivenUpAreItsOwn) {
  registry.set_member("west", true);
  registry.set_member("north", true);
  for (int n = 0; n < 65; ++n) {
    registry.set_registered_gateway("north", "g" + std::to_string(n), registered("192.0.2.31"));
    registry.set_registered_gateway("north", "g" + std::to_string(n), std::nullopt);
  }
  for (const char* name : {"g0", "g1", "g64"}) {
    registry.set_registered_gateway("west", name, registered("192.0.2.21"));
  }
  EXPECT_EQ(gateways(), (Names{{"g0", "192.0.2.21"}, {"west/g1", "192.0.2.21"}, {"west/g64", "192.0.2.21"}}));
}

TEST_F(FleetRegistryTest, TheThirdOfAClusterWithTheSameNameIsLeftOutByName) {
  registry.set_member("west", true);
  registry.set_registered_gateway("west", "gw", registered("192.0.2.21"));
  registry.set_service_gateways("west", {backend("192.0.2.22", "gw"), backend("192.0.2.23", "gw")});
  EXPECT_EQ(gateways(), (Names{{"gw", "192.0.2.21"}, {"west/gw", "192.0.2.22"}}));
  ASSERT_EQ(registry.problems().size(), 1U);
  EXPECT_EQ(
      registry.problems()[0].what + "; " + registry.problems()[0].fix,
      "gateway gw of cluster west (192.0.2.23) is left out: a gateway of cluster west (192.0.2.21) has its name, and a "
      "gateway of cluster west (192.0.2.22) has west/gw; rename it, or the gateway that has its name");
  registry.set_registered_gateway("west", "gw", std::nullopt);
  EXPECT_EQ(gateways(), (Names{{"gw", "192.0.2.23"}, {"west/gw", "192.0.2.22"}}));
  EXPECT_TRUE(registry.problems().empty());
}

// One member's are not in the way of what is to be said of another's.
TEST_F(FleetRegistryTest, OfManyThatAreLeftOutSomeOfEachClusterAreNamed) {
  std::vector<ServiceBackend> many;
  for (int n = 1; n <= 200; ++n) {
    many.push_back(backend("198.51.100." + std::to_string(n), "gw"));
  }
  registry.set_member("a", true);
  registry.set_service_gateways("a", many);
  registry.set_member("west", true);
  registry.set_service_gateways("west", {backend("192.0.2.21", "gw"), backend("192.0.2.22", "gw")});
  const auto problems = registry.problems();
  EXPECT_EQ(problems.size(), 12U);  // ten of a, one of west, and how many more there are
  EXPECT_THAT(problems[10].what, HasSubstr("gateway gw of cluster west (192.0.2.22) is left out"));
  EXPECT_THAT(problems[11].what, HasSubstr("188 more gateways are left out"));
}

// This gateway's name, and one that another member had before a restart.
TEST_F(FleetRegistryTest, AKnownNameIsAnothersToo) {
  std::vector<ObjectDelta> deltas;
  FleetRegistry own({"east", "own-gw", ClusterId{1}, 255}, deltas);
  own.set_restored({{"south", {ClusterId{6}, {{"gw", *IpAddress::parse("192.0.2.61")}}}}});
  for (const char* cluster : {"north", "west"}) {
    own.set_member(cluster, true);
  }
  deltas.clear();
  own.set_service_gateways("west", {backend("192.0.2.21", "own-gw")});
  own.set_service_gateways("north", {backend("192.0.2.31", "gw")});
  ASSERT_EQ(deltas.size(), 2U);
  EXPECT_EQ(deltas[0].key.name, "west/own-gw");
  EXPECT_EQ(deltas[1].key.name, "north/gw");
  own.set_restored({});
  EXPECT_EQ(deltas.size(), 2U);
}

// What two members and a third one have said, by cluster and name or host name: addresses.
struct SaidGateways {
  std::map<std::string, std::map<std::string, std::string>> registered;  // by name
  std::map<std::string, std::set<std::string>> service;
  std::set<std::string> members;
  [[nodiscard]] std::multiset<std::string> addresses() const {
    std::multiset<std::string> all;
    for (const std::string& member : members) {
      std::set<std::string> taken;
      if (const auto at = registered.find(member); at != registered.end()) {
        for (const auto& [name, address] : at->second) {
          all.insert(address);
          taken.insert(address);
        }
      }
      if (const auto at = service.find(member); at != service.end()) {
        std::copy_if(at->second.begin(), at->second.end(), std::inserter(all, all.end()),
                     [&](const std::string& address) { return !taken.contains(address); });
      }
    }
    return all;
  }
};

// Whatever happens in whatever order, each gateway of a member is published under one name, or named as left out.
TEST_F(FleetRegistryTest, AfterAnyChangesEachGatewayIsPublishedOnceOrLeftOut) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const char* const clusters[] = {"a", "b", "a-b"};
  const auto any_address = [&] { return "192.0.2." + std::to_string(random() % 5); };
  SaidGateways said;
  std::map<std::string, std::string> of;  // cluster, by the name of a gateway
  for (int step = 0; step < 2000; ++step) {
    const std::string cluster = clusters[random() % 3], name = (random() % 2 ? "x" : "b-x");
    const auto what = random() % 8;
    if (what < 2) {
      registry.set_member(cluster, what == 0);
      said.members.erase(cluster);
      if (what == 0) {
        said.members.insert(cluster);
      }
    } else if (what == 2) {
      registry.set_registered_gateway(cluster, name, std::nullopt);
      said.registered[cluster].erase(name);
    } else if (what < 5) {
      std::vector<ServiceBackend> backends;
      said.service[cluster].clear();
      for (auto n = random() % 3; n > 0; --n) {
        backends.push_back(backend(any_address(), name));
        said.service[cluster].insert(backends.back().address.to_string());
      }
      registry.set_service_gateways(cluster, std::move(backends));
    } else {
      GatewayValue value;
      value.underlay = {*IpAddress::parse(any_address())};
      said.registered[cluster][name] = value.underlay.front().to_string();
      registry.set_registered_gateway(cluster, name, std::move(value));
    }
    std::multiset<std::string> found;
    for (const auto& [gateway, at] : gateways()) {
      found.insert(at);
    }
    for (const ObjectDelta& delta : std::exchange(out, {})) {
      if (const auto* gateway = delta.value ? std::get_if<GatewayObject>(&*delta.value) : nullptr) {
        ASSERT_EQ(of.try_emplace(delta.key.name, gateway->cluster).first->second, gateway->cluster) << delta.key.name;
      }
    }
    const std::multiset<std::string> expected = said.addresses();
    ASSERT_EQ(found.size() + registry.problems().size(), expected.size()) << "step " << step;
    ASSERT_TRUE(std::includes(expected.begin(), expected.end(), found.begin(), found.end())) << "step " << step;
  }
}

// A change says what it changes, not what all have said.
TEST_F(FleetRegistryTest, ARegistrationCostsItself) {
  registry.set_member("west", true);
  out.clear();
  for (int n = 0; n < 100'000; ++n) {
    GatewayValue value;
    value.underlay = {*IpAddress::parse("10." + std::to_string(n >> 16) + "." + std::to_string((n >> 8) & 255) + "." +
                                        std::to_string(n & 255))};
    registry.set_registered_gateway("west", "g" + std::to_string(n), value);
  }
  EXPECT_EQ(out.size(), 100'000U);
}

TEST_F(FleetRegistryTest, TheNameOfAGatewayServicesPortIsItsEncapsulation) {
  const auto udp = [](const char* name, std::uint16_t port) {
    return ServicePort{name, IpProtocol::kUdp, L4Port{port}};
  };
  struct Row {
    std::vector<ServicePort> ports;
    EncapsulationKind kind;
    std::uint16_t port;
  };
  const Row rows[] = {{{udp("vxlan", 9000)}, EncapsulationKind::kVxlan, 9000},
                      {{udp("health", 9), udp("geneve", 9001)}, EncapsulationKind::kGeneve, 9001},
                      {{udp("", 6081)}, EncapsulationKind::kGeneve, 6081},
                      {{udp("", 7000)}, EncapsulationKind::kVxlan, 7000}};
  registry.set_member("west", true);
  for (const Row& row : rows) {
    registry.set_service_gateways("west", {{*IpAddress::parse("192.0.2.21"), "west-1", row.ports}});
    const auto& gateway = std::get<GatewayObject>(*out.back().value);
    EXPECT_EQ(gateway.encapsulation, row.kind);
    EXPECT_EQ(gateway.port, L4Port{row.port});
  }
}

TEST_F(FleetRegistryTest, AGatewayServiceWithoutATunnelPortIsAProblem) {
  registry.set_member("west", true);
  registry.set_service_gateways("west", {{*IpAddress::parse("192.0.2.21"), "", {{"h", IpProtocol::kTcp, L4Port{80}}}}});
  EXPECT_TRUE(gateways().empty());
  ASSERT_EQ(registry.problems().size(), 1U);
  EXPECT_THAT(registry.problems()[0].what, HasSubstr("no UDP port named as an encapsulation"));
}

ServiceExportValue exported(std::int64_t created, std::vector<ServicePort> ports) {
  ServiceExportValue value;
  value.object.created = created;
  value.app_protocols.resize(ports.size());
  value.object.ports = std::move(ports);
  return value;
}

TEST_F(FleetRegistryTest, TheOldestExportTakesPrecedence) {
  const ServicePort http80{"http", IpProtocol::kTcp, L4Port{80}}, http81{"http", IpProtocol::kTcp, L4Port{81}},
      web81{"web", IpProtocol::kTcp, L4Port{81}};
  registry.set_export("west", "shop/cart", exported(100, {http81}));
  EXPECT_TRUE(registry.problems().empty());
  registry.set_export("south", "shop/cart", exported(200, {http80}));
  ASSERT_EQ(registry.problems().size(), 1U);
  EXPECT_EQ(registry.problems()[0].provenance.text(), "cluster south: serviceexports/shop/cart");
  EXPECT_THAT(registry.problems()[0].what, HasSubstr("means 80/TCP, but 81/TCP in cluster west"));
  registry.set_export("south", "shop/cart", exported(200, {web81}));
  EXPECT_THAT(registry.problems()[0].what, HasSubstr("is named web, but http in cluster west"));
  ServiceExportValue headless = exported(100, {http81});
  headless.headless = true;
  registry.set_export("south", "shop/cart", headless);  // same age: south sorts before west
  ASSERT_EQ(registry.problems().size(), 1U);
  EXPECT_EQ(registry.problems()[0].provenance.text(), "cluster west: serviceexports/shop/cart");
  EXPECT_THAT(registry.problems()[0].what, HasSubstr("type differs from cluster south"));
  registry.set_export("south", "shop/cart", std::nullopt);
  EXPECT_TRUE(registry.problems().empty());
}

}  // namespace
}  // namespace isthmus
