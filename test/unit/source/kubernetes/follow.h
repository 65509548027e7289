// Follows a source of the test API server. Waits for conditions, never for fixed times.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "control/source/kubernetes/kubernetes_source.h"
#include "test/support/kubernetes/api_server.h"
#include "test/unit/source/temporary_folder.h"

namespace isthmus {

inline ApiTimes short_times() {
  ApiTimes times;
  times.backoff_first = std::chrono::milliseconds(20);
  times.backoff_max = std::chrono::milliseconds(200);
  times.unavailable = std::chrono::milliseconds(200);
  times.stable = std::chrono::milliseconds(300);
  return times;
}

// Applies deltas as the model would.
class Follower {
 public:
  explicit Follower(Source& source) : source_(source) {}

  // Polls until the condition holds, for at most 30 s.
  [[nodiscard]] bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < end) {
      pollfd waiting{source_.fd(), POLLIN, 0};
      ::poll(&waiting, 1, 20);
      apply_deltas();
      if (condition()) {
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] bool until_synced() {
    return until([this] { return source_.synced(); });
  }
  void apply_deltas() {
    for (ObjectDelta& delta : source_.poll()) {
      ++deltas;
      if (delta.value) {
        objects.insert_or_assign(delta.key, *std::move(delta.value));
        locations[delta.key] = delta.provenance.text();
      } else {
        ++removals;
        objects.erase(delta.key);
      }
    }
  }
  template <typename T>
  [[nodiscard]] const T* find(ObjectKind kind, const std::string& cluster, const std::string& ns,
                              const std::string& name) const {
    const auto at = objects.find({kind, cluster, ns, name});
    return at == objects.end() ? nullptr : std::get_if<T>(&at->second);
  }
  [[nodiscard]] bool has(ObjectKind kind, const std::string& ns, const std::string& name) const {
    return objects.contains({kind, "east", ns, name});
  }
  [[nodiscard]] HubState state(const std::string& resource) const {
    for (const HubState& state : source_.states()) {
      if (state.name == resource) {
        return state;
      }
    }
    ADD_FAILURE() << "no state of " << resource;
    return {};
  }

  std::map<ObjectKey, ObjectValue> objects;
  std::map<ObjectKey, std::string> locations;
  std::size_t deltas = 0, removals = 0;

 private:
  Source& source_;
};

// Objects as an API server returns them.
inline nlohmann::json service_json(const std::string& ns, const std::string& name, bool global = true) {
  nlohmann::json object{{"metadata", {{"namespace", ns}, {"name", name}}},
                        {"spec", {{"ports", {{{"name", "http"}, {"port", 80}, {"protocol", "TCP"}}}}}}};
  if (global) {
    object["metadata"]["annotations"] = {{"service.cilium.io/global", "true"}};
  }
  return object;
}
inline nlohmann::json slice_json(const std::string& ns, const std::string& name, const std::string& service,
                                 const std::string& address) {
  return {{"metadata", {{"namespace", ns}, {"name", name}, {"labels", {{"kubernetes.io/service-name", service}}}}},
          {"addressType", "IPv4"},
          {"ports", {{{"name", "http"}, {"port", 8080}, {"protocol", "TCP"}}}},
          {"endpoints", {{{"addresses", {address}}, {"conditions", {{"ready", true}}}}}}};
}

}  // namespace isthmus
