// What a Service says of how it is served: to whom, and by which backends.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;

constexpr const char* kVip = "10.200.0.10";

TEST(ServiceRules, ServeTheClientsThatOurOwnServiceServes) {
  Fleet3 f;
  ServiceObject east = global_service({kVip}), west = global_service();
  west.created = 1;
  west.rules = ServiceRules{{net("10.0.0.0/8")}, true, false, false};
  f.service("west", west);
  f.import("west", kVip);
  f.compile();
  ASSERT_NE(f.frontend(kVip)->sources, nullptr) << "the oldest, where we have none";
  EXPECT_EQ(*f.frontend(kVip)->sources, (SourceRanges{{net("10.0.0.0/8")}, true}));
  f.service("east", east);
  f.compile();
  EXPECT_EQ(f.frontend(kVip)->sources, nullptr);
  east.rules = ServiceRules{{net("10.1.0.0/16")}, false, false, false};
  f.service("east", east);
  f.compile();
  ASSERT_NE(f.frontend(kVip)->sources, nullptr);
  EXPECT_EQ(*f.frontend(kVip)->sources, (SourceRanges{{net("10.1.0.0/16")}, false}));
  east.created = 5;
  f.service("east", east);
  EXPECT_TRUE(f.compile().delta.upsert_frontends.empty()) << "the same ranges";
}

TEST(ServiceRules, WithInternalTrafficPolicyLocalStayInTheClientsCluster) {
  Fleet3 f;
  ServiceObject east = global_service({kVip});
  east.rules = ServiceRules{{}, false, true, false};
  f.service("east", east);
  f.service("west", global_service());
  f.slice("east", {{"10.1.0.1"}});
  f.slice("west", {{"10.2.0.1"}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.2.0.1:8080");
  EXPECT_EQ(f.backends_from_fabric(kVip), "10.1.0.1:8080* 10.2.0.1:8080*");
  f.slice("east", {unready("10.1.0.1")});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080") << "none elsewhere";
  east.rules = ServiceRules{};
  f.service("east", east);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.2.0.1:8080*");
  EXPECT_EQ(f.backends_from_fabric(kVip), "-");
}

TEST(ServiceRules, WithExternalTrafficPolicyLocalServeOtherClustersFromTheGatewaysNode) {
  Fleet3 f;
  ServiceObject east = global_service({kVip});
  east.rules = ServiceRules{{}, false, false, true};
  f.service("east", east);
  f.service("west", global_service());
  EndpointSpec near{"10.1.0.3"}, far{"10.1.0.1"}, other{"10.2.0.1"};
  near.node = "node-1", far.node = "node-2", other.node = "node-1";
  f.slice("east", {far, near});
  f.slice("west", {other});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.1.0.1:8080* 10.1.0.3:8080* 10.2.0.1:8080*");
  EXPECT_EQ(f.backends_from_fabric(kVip), "10.1.0.1:8080* 10.1.0.3:8080* 10.2.0.1:8080") << "the node is not known";
  f.node("east", "node-1", "192.0.1.1");
  f.compile();
  EXPECT_EQ(f.backends_from_fabric(kVip), "10.1.0.1:8080 10.1.0.3:8080* 10.2.0.1:8080");
  EXPECT_EQ(f.frontend(kVip)->from_fabric->backends, f.frontend(kVip)->backends->backends);
  f.slice("east", {far});
  f.compile();
  EXPECT_EQ(f.backends_from_fabric(kVip), "10.1.0.1:8080* 10.2.0.1:8080") << "none on that node";
}

TEST(ServiceRules, PreferTheBackendsThatTheyAskFor) {
  constexpr auto kHints = TrafficDistribution::kHints, kZone = TrafficDistribution::kZone,
                 kNode = TrafficDistribution::kNode;
  struct Row {
    const char* description;
    TrafficDistribution distribution;
    std::vector<SliceEndpoint> pods;  // 10.1.0.1 and so on
    std::string chosen;               // their last digits, and 9 for west's
  };
  const auto pod = [](const char* node, const char* zone, std::vector<std::string> zones = {},
                      std::vector<std::string> nodes = {}) {
    SliceEndpoint endpoint;
    endpoint.node = node;
    endpoint.zone = zone;
    endpoint.for_zones = std::move(zones);
    endpoint.for_nodes = std::move(nodes);
    return endpoint;
  };
  SliceEndpoint unready = pod("node-1", "a");
  unready.ready = unready.serving = false;
  const std::vector<Row> rows{
      {"nothing asked for", TrafficDistribution::kAny, {pod("node-1", "a", {"a"}), pod("node-2", "b", {"b"})}, "129"},
      {"a zone", kZone, {pod("node-2", "a"), pod("node-1", "a"), pod("node-3", "b")}, "12"},
      {"a zone, by hints instead of where they run", kZone, {pod("x", "a", {"b"}), pod("y", "b", {"a", "b"})}, "2"},
      {"a zone without a backend", kZone, {pod("x", "b"), pod("y", "")}, "129"},
      {"a zone whose backend is not ready", kZone, {unready, pod("y", "b")}, "29"},
      {"a node", kNode, {pod("node-1", "a"), pod("node-2", "a"), pod("x", "b")}, "1"},
      {"a node, by hints", kNode, {pod("node-1", "a", {}, {"x"}), pod("x", "b", {}, {"node-1"})}, "2"},
      {"a node that has none, but its zone has", kNode, {pod("node-2", "a"), pod("x", "b")}, "1"},
      {"hints", kHints, {pod("node-1", "a", {"b"}), pod("x", "b", {"a"})}, "2"},
      {"hints, which one lacks", kHints, {pod("node-1", "a", {"b"}), pod("x", "b", {"a"}), pod("y", "a")}, "1239"},
      {"hints of other zones", kHints, {pod("node-1", "a", {"b"}), pod("x", "b", {"c"})}, "129"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.description);
    Fleet3 f;
    ServiceObject east = global_service({kVip});
    east.rules = ServiceRules{{}, false, false, false, row.distribution};
    f.service("east", east);
    f.service("west", global_service());
    f.slice("west", {{"10.2.0.9"}});
    SliceObject slice{"cart", {http(8080)}, row.pods};
    for (std::size_t i = 0; i < slice.endpoints.size(); ++i) {
      slice.endpoints[i].addresses = {ip("10.1.0." + std::to_string(i + 1))};
    }
    f.put(ObjectKind::kSlice, "east", "shop", "cart-1", slice);
    f.compile();
    NodeObject node{{ip("192.0.1.1")}, {}};
    node.zone = std::string("a");
    f.put(ObjectKind::kNode, "east", "", "node-1", node);  // learned later
    f.compile();
    std::string chosen;
    const BackendSet& set = *f.frontend(kVip)->backends;
    for (std::size_t i = 0; i < set.backends.size(); ++i) {
      if (std::find(set.ring.begin(), set.ring.end(), i) != set.ring.end()) {
        chosen += set.backends[i].address.to_string().back();
      }
    }
    std::sort(chosen.begin(), chosen.end());
    EXPECT_EQ(chosen, row.chosen);
  }
}

}  // namespace
}  // namespace isthmus
