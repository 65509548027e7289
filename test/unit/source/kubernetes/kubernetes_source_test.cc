// The source of a cluster's own API server, against a server over TLS that behaves and misbehaves as real ones do.
#include "control/source/kubernetes/kubernetes_source.h"

#include <gmock/gmock.h>

#include "test/unit/source/kubernetes/follow.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr auto kSlices = "/apis/discovery.k8s.io/v1/endpointslices";
constexpr auto kServices = "/api/v1/services";
constexpr auto kPods = "/api/v1/pods";
constexpr auto kNamespaces = "/api/v1/namespaces";

class KubernetesSourceTest : public testing::Test {
 protected:
  KubernetesSourceTest() {
    server.serve_cluster_kinds();
    options.cluster = "east";
    options.server.times = short_times();
    folder.write("ca.crt", server.authority().certificate());
    use({{"token", "first"}});
  }
  void use(const json& user, const json& cluster = json::object()) {
    json with{{"certificate-authority", "ca.crt"}};
    with.update(cluster);
    folder.write("config", server.kubeconfig(user, with));
    options.server.kubeconfig = folder.path("config");
  }
  // Starts the source and takes what it finds first.
  void start() {
    source.emplace(options);
    const auto started = source->start();
    ASSERT_TRUE(started) << started.error().text();
    hub.emplace(*source);
  }
  void start_and_sync() {
    start();
    ASSERT_TRUE(hub->until_synced()) << states();
  }
  std::string states() const {
    std::string out;
    for (const HubState& state : source->states()) {
      out += state.name + ": " + std::to_string(static_cast<int>(state.sync)) + " " + state.last_error + "\n";
    }
    return out;
  }

  ApiServer server;
  TemporaryFolder folder;
  KubernetesSourceOptions options;
  std::optional<KubernetesSource> source;
  std::optional<Follower> hub;
};

TEST_F(KubernetesSourceTest, ListsAndWatchesEndpointSlices) {
  server.put(kSlices, slice_json("shop", "cart-1", "cart", "10.1.0.7"));
  server.put(kServices, service_json("shop", "cart"));
  start_and_sync();
  const auto* slice = hub->find<SliceObject>(ObjectKind::kSlice, "east", "shop", "cart-1");
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->service, "cart");
  EXPECT_EQ(slice->endpoints.at(0).addresses.at(0).to_string(), "10.1.0.7");
  EXPECT_EQ(hub->places.at({ObjectKind::kSlice, "east", "shop", "cart-1"}),
            server.url() + "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/cart-1");

  server.put(kSlices, slice_json("shop", "cart-2", "cart", "10.1.0.8"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kSlice, "shop", "cart-2"); })) << states();
  server.remove(kSlices, "shop", "cart-1");
  EXPECT_TRUE(hub->until([&] { return !hub->has(ObjectKind::kSlice, "shop", "cart-1"); })) << states();
  EXPECT_EQ(hub->state("endpointslices").sync, HubState::Sync::kSynced);
  EXPECT_EQ(hub->state("endpointslices").objects, 1U);
}

TEST_F(KubernetesSourceTest, FallsBackToPagesWhereAServerCannotStreamLists) {
  server.set_streaming(false);
  for (int i = 0; i < 1200; ++i) {
    server.put(kPods, {{"metadata", {{"namespace", "shop"}, {"name", "p" + std::to_string(i)}}},
                       {"status", {{"podIP", "10.1.0.7"}}}});
  }
  start_and_sync();
  EXPECT_EQ(hub->state("pods").objects, 1200U);
  EXPECT_EQ(server.count(kPods, "sendInitialEvents"), 1U);
  EXPECT_EQ(server.count(kPods, "limit=500"), 3U);
  server.put(kServices, service_json("shop", "late"));
  EXPECT_TRUE(hub->until([&] { return hub->has(ObjectKind::kService, "shop", "late"); })) << states();
}

}  // namespace
}  // namespace isthmus
