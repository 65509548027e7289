// A Fleet hub watched over TLS. Which exports count is covered by fleet_hub_objects_test.
#include "control/source/kubernetes/fleet_hub_source.h"

#include <gmock/gmock.h>

#include <optional>

#include "test/unit/source/kubernetes/follow.h"

namespace isthmus {
namespace {

using nlohmann::json;

const std::string kNetworking = "/apis/networking.fleet.azure.com/v1alpha1/";
const std::string kClusters = "/apis/cluster.kubernetes-fleet.io/v1beta1/memberclusters";

class FleetHubSourceTest : public testing::Test {
 protected:
  FleetHubSourceTest() {
    for (const auto& [plural, kind] :
         std::map<std::string, std::string>{{"endpointsliceexports", "EndpointSliceExport"},
                                            {"internalserviceexports", "InternalServiceExport"},
                                            {"serviceimports", "ServiceImport"}}) {
      server.serve(kNetworking + plural, kind, "networking.fleet.azure.com/v1alpha1");
    }
    server.serve(kClusters, "MemberCluster", "cluster.kubernetes-fleet.io/v1beta1");
    folder.write("ca.crt", server.authority().certificate());
    folder.write("config", server.kubeconfig({{"token", "t"}}, {{"certificate-authority", "ca.crt"}}));
    options.server.kubeconfig = folder.path("config");
    options.server.times = short_times();
    options.blank_retention = std::chrono::milliseconds(300);
  }
  void publish_west() {
    const json reference{{"clusterId", "west"}, {"namespace", "shop"}, {"name", "cart"}};
    server.put(kNetworking + "endpointsliceexports",
               {{"metadata", {{"namespace", "fleet-member-west"}, {"name", "west-shop-cart-1-abcde"}}},
                {"spec",
                 {{"endpoints", {{{"addresses", {"10.2.0.5"}}}}},
                  {"ports", {{{"name", "http"}, {"port", 8080}}}},
                  {"endpointSliceReference",
                   {{"clusterId", "west"}, {"namespace", "shop"}, {"name", "cart-1"}, {"uid", "u"}, {"generation", 1}}},
                  {"ownerServiceReference", {{"namespace", "shop"}, {"name", "cart"}}}}}});
    server.put(kNetworking + "internalserviceexports",
               {{"metadata", {{"namespace", "fleet-member-west"}, {"name", "shop-cart"}}},
                {"spec", {{"ports", {{{"name", "http"}, {"port", 80}}}}, {"serviceReference", reference}}},
                {"status", {{"conditions", {{{"type", "Conflict"}, {"status", "False"}}}}}}});
    import({{ { "cluster", "west" } }});
    server.put(kClusters, {{"metadata", {{"name", "west"}}},
                           {"status", {{"conditions", {{{"type", "Joined"}, {"status", "True"}}}}}}});
  }
  void import(const json& clusters) {
    server.put(kNetworking + "serviceimports",
               {{"metadata", {{"namespace", "shop"}, {"name", "cart"}}}, {"status", {{"clusters", clusters}}}});
  }
  bool all_present() { return hub->objects.size() == 3; }

  ApiServer server;
  TemporaryFolder folder;
  FleetHubSourceOptions options;
  std::optional<FleetHubSource> source;
  std::optional<Follower> hub;
};

TEST_F(FleetHubSourceTest, AppliesExportsWithdrawalsAndBlankImports) {
  publish_west();
  source.emplace(options);
  ASSERT_TRUE(source->start());
  hub.emplace(*source);
  ASSERT_TRUE(hub->until_synced());
  EXPECT_TRUE(all_present());
  EXPECT_NE(hub->find<AddressObject>(ObjectKind::kAddress, "west", "", "10.2.0.5"), nullptr);
  EXPECT_EQ(hub->state("endpointsliceexports").objects, 1U);

  // Blank for longer than blank_retention, without other events: a timer withdraws the exports.
  import(json::array());
  EXPECT_TRUE(hub->until([&] { return hub->objects.empty(); }));
  import({{ { "cluster", "west" } }});
  EXPECT_TRUE(hub->until([&] { return all_present(); }));

  server.remove(kNetworking + "internalserviceexports", "fleet-member-west", "shop-cart");
  EXPECT_TRUE(hub->until([&] { return hub->objects.empty(); }));
}

TEST_F(FleetHubSourceTest, ReportsForbiddenMemberClustersAndContinues) {
  publish_west();
  server.forbid(kClusters, true);
  source.emplace(options);
  ASSERT_TRUE(source->start());
  hub.emplace(*source);
  ASSERT_TRUE(hub->until_synced());
  EXPECT_TRUE(all_present());
  ASSERT_EQ(source->problems().size(), 1U);
  EXPECT_THAT(source->problems()[0].what, testing::HasSubstr("memberclusters cannot be read"));
}

}  // namespace
}  // namespace isthmus
