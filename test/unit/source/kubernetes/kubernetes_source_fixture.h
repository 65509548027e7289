// A source of a cluster's own API server, and the server, for tests.
#pragma once

#include <optional>
#include <string>

#include "test/unit/source/kubernetes/follow.h"

namespace isthmus {

inline constexpr auto kSlices = "/apis/discovery.k8s.io/v1/endpointslices";
inline constexpr auto kServices = "/api/v1/services";
inline constexpr auto kPods = "/api/v1/pods";
inline constexpr auto kPolicies = "/apis/networking.k8s.io/v1/networkpolicies";
inline constexpr auto kNamespaces = "/api/v1/namespaces";

class KubernetesSourceTest : public testing::Test {
 protected:
  KubernetesSourceTest() {
    server.serve_cluster_kinds();
    options.cluster = "east";
    options.server.times = short_times();
    folder.write("ca.crt", server.authority().certificate());
    use({{"token", "first"}});
  }
  void use(const nlohmann::json& user, const nlohmann::json& cluster = nlohmann::json::object()) {
    nlohmann::json with{{"certificate-authority", "ca.crt"}};
    with.update(cluster);
    folder.write("config", server.kubeconfig(user, with));
    options.server.kubeconfig = folder.path("config");
  }
  // Starts the source.
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

}  // namespace isthmus
