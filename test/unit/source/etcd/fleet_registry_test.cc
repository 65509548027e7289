// Cluster ids, gateway names, the profile, and conflicting exports.
#include "control/source/etcd/fleet_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}, {"west-gateway-1", "192.0.2.22"}}));
  // A published gateway keeps its name, even if the newcomer's cluster sorts first.
  registry.set_member("north", true);
  registry.set_service_gateways("north", {backend("192.0.2.31", "gateway-0")});
  EXPECT_EQ(gateways(),
            (Names{{"gateway-0", "192.0.2.21"}, {"north-gateway-0", "192.0.2.31"}, {"west-gateway-1", "192.0.2.22"}}));
  registry.set_service_gateways("west", {});
  EXPECT_EQ(gateways(), (Names{{"north-gateway-0", "192.0.2.31"}}));
}

TEST_F(FleetRegistryTest, WhatAMemberHadBeforeARestartIsNotTakenByWhoIsReadFirst) {
  const RestoredMembers had{{"west", {ClusterId{5}, {{"gateway-0", *IpAddress::parse("192.0.2.21")}}}}};
  registry.set_restored(had);
  EXPECT_EQ(registry.reserve(ClusterId{5}, "north"), "west");
  registry.set_member("north", true);
  registry.set_service_gateways("north", {backend("192.0.2.31", "gateway-0")});
  EXPECT_EQ(gateways(), (Names{{"north-gateway-0", "192.0.2.31"}}));
  EXPECT_EQ(registry.reserve(ClusterId{5}, "west"), "");
  registry.set_member("west", true);
  registry.set_service_gateways("west", {backend("192.0.2.21", "gateway-0")});
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}, {"north-gateway-0", "192.0.2.31"}}));
  EXPECT_TRUE(registry.set_restored({}));
  EXPECT_EQ(gateways(), (Names{{"gateway-0", "192.0.2.21"}, {"north-gateway-0", "192.0.2.31"}}));
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
