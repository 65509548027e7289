// An EtcdSource under test: its configurations in a folder, its changes applied to a map as the model does.
// Tests do not sleep: until() polls the source until a condition holds, for 30 s at most.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/source/etcd/etcd_source.h"
#include "test/support/etcd_server.h"
#include "test/unit/source/etcd/hub_values.h"
#include "test/unit/source/temporary_folder.h"

namespace isthmus {

#define ISTHMUS_NEEDS_ETCD()                              \
  if (!etcd_installed()) {                                \
    GTEST_SKIP() << "etcd and etcdctl are not installed"; \
  }                                                       \
  static_assert(true)

class EtcdRig {
 public:
  using Milliseconds = std::chrono::milliseconds;
  explicit EtcdRig(const std::string& user = "remote") {
    options.own_cluster = "east";
    options.own_id = ClusterId{1};
    options.folder = folder.path("configs");
    options.folder_period = Milliseconds(50);
    options.missing_file_period = Milliseconds(100);
    options.status_period = Milliseconds(200);
    options.heartbeat_timeout = Milliseconds(60'000);
    options.backoff_step = Milliseconds(50);
    options.max_backoff = Milliseconds(300);
    options.max_list_backoff = Milliseconds(300);
    options.call_timeout = Milliseconds(5000);
    options.cluster_debounce = Milliseconds(20);
    options.list_page = 3;  // so that lists have several pages
    options.reads_per_second = 0;
    folder.make("configs");
    write_certificates(etcd_pki().client(user));
  }

  void write_certificates(const TestCertificate& client) const {
    folder.write("pki/ca.crt", etcd_pki().ca());
    folder.write("pki/client.crt", client.certificate);
    folder.write("pki/client.key", client.key);
  }
  [[nodiscard]] std::string config_text(const std::string& url) const {
    return "endpoints:\n- " + url + "\ntrusted-ca-file: " + folder.path("pki/ca.crt") +
           "\ncert-file: " + folder.path("pki/client.crt") + "\nkey-file: " + folder.path("pki/client.key") + "\n";
  }
  void follow(const std::string& cluster, const EtcdServer& server) const {
    folder.replace("configs/" + cluster, config_text(server.url()));
  }
  void start() {
    source = std::make_unique<EtcdSource>(options);
    const Status status = source->start();
    ASSERT_TRUE(status.ok()) << status.error().text();
  }

  // Applies changes until the condition holds; false after 30 s.
  [[nodiscard]] bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    do {
      apply();
      if (condition()) {
        return true;
      }
      pollfd fd{source->fd(), POLLIN, 0};
      ::poll(&fd, 1, 20);
    } while (std::chrono::steady_clock::now() < end);
    return false;
  }
  void apply() {
    for (ObjectDelta& delta : source->poll()) {
      ++changes;
      if (delta.value) {
        objects[delta.key] = std::move(*delta.value);
      } else {
        ++removals;
        if (objects.erase(delta.key) == 0) {
          ++redundant_removals;
        }
      }
    }
  }

  template <typename T>
  [[nodiscard]] const T* find(ObjectKind kind, const std::string& cluster, const std::string& name,
                              const std::string& ns = "") const {
    const auto found = objects.find({kind, cluster, ns, name});
    return found == objects.end() ? nullptr : std::get_if<T>(&found->second);
  }
  [[nodiscard]] const AddressObject* address(const std::string& name, const std::string& cluster = "west") const {
    return find<AddressObject>(ObjectKind::kAddress, cluster, name);
  }
  [[nodiscard]] const ClusterObject* cluster(const std::string& name = "west") const {
    return find<ClusterObject>(ObjectKind::kCluster, "", name);
  }
  [[nodiscard]] const NodeObject* node(const std::string& name, const std::string& of = "west") const {
    return find<NodeObject>(ObjectKind::kNode, of, name);
  }
  [[nodiscard]] std::size_t count(ObjectKind kind, const std::string& cluster = "west") const {
    std::size_t found = 0;
    for (const auto& [key, value] : objects) {
      found += key.kind == kind && key.cluster == cluster ? 1U : 0U;
    }
    return found;
  }
  [[nodiscard]] std::vector<std::string> members() const {
    const auto* profile = find<ProfileObject>(ObjectKind::kProfile, "", "clustermesh");
    return profile == nullptr ? std::vector<std::string>{} : profile->clusters;
  }
  [[nodiscard]] HubState state(const std::string& name = "west") const {
    for (const HubState& state : source->states()) {
      if (state.name == name) {
        return state;
      }
    }
    return {};
  }
  [[nodiscard]] bool is(HubState::Sync sync, const std::string& name = "west") const {
    const HubState now = state(name);
    return now.name == name && now.sync == sync;
  }
  // True if the text of some problem contains `words`.
  [[nodiscard]] bool reports(const std::string& words) const { return problem_text().find(words) != std::string::npos; }
  [[nodiscard]] std::string problem_text() const {
    std::string all;
    for (const SourceProblem& problem : source->problems()) {
      all += problem.provenance.text() + ": " + problem.what + " (" + problem.fix + ")\n";
    }
    return all;
  }

  TemporaryFolder folder;
  EtcdSourceOptions options;
  std::unique_ptr<EtcdSource> source;
  std::map<ObjectKey, ObjectValue> objects;
  std::size_t changes = 0, removals = 0, redundant_removals = 0;
};

namespace hub {

inline void put_canaries(const EtcdServer& server, const std::string& cluster = "west",
                         const std::string& layout = "state") {
  for (const char* what : {"nodes", "identities", "ip", "services", "serviceexports", "endpointslices"}) {
    server.put("cilium/synced/" + cluster + "/cilium/" + layout + "/" + what + "/v1", "2026-03-02T10:00:00Z");
  }
}

inline void heartbeat(const EtcdServer& server) { server.put("cilium/.heartbeat", "2026-03-02T10:00:00Z"); }

// Publishes a small, complete cluster.
inline void publish(const EtcdServer& server) {
  heartbeat(server);
  server.put({{"cilium/cluster-config/west", config(5)},
              {"cilium/state/nodes/v1/west/w-7", node("w-7", "192.0.2.17", "10.51.7.0/24")},
              {"cilium/state/identities/v1/id/331906", labels("cart")},
              {"cilium/state/ip/v1/default/10.51.7.40", ip("10.51.7.40", 331906)},
              {"cilium/state/services/v1/west/shop/cart",
               service("shop/cart", R"({"10.51.7.40":{"http":{"Protocol":"TCP","Port":8080}}})",
                       R"(,"frontends":{"10.90.0.12":{"http":{"Protocol":"TCP","Port":80}}})")}});
  put_canaries(server);
}

}  // namespace hub
}  // namespace isthmus
