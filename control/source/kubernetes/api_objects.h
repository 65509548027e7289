// Interprets the resources of an API server: API objects in, deltas out. Pure: works on trees, not on connections.
// Owner and thread: ApiSource's thread. Nothing throws. An invalid object keeps its last valid version.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/yaml/tree.h"
#include "control/model/objects.h"
#include "control/source/kubernetes/object_reports.h"
#include "control/source/kubernetes/reflector.h"

namespace isthmus {

class ApiObjects {
 public:
  using Clock = std::chrono::steady_clock;
  using WallClock = std::chrono::system_clock;

  virtual ~ApiObjects() = default;
  // The resources to watch; constant.
  [[nodiscard]] virtual const std::vector<ApiResource>& resources() const = 0;

  // As in ReflectorSink.
  virtual void list_begins(std::size_t resource) = 0;
  virtual void list_ends(std::size_t resource) = 0;
  virtual void put(std::size_t resource, const std::string& version, const YamlNode& object) = 0;
  virtual void removed(std::size_t resource, const YamlNode& object) = 0;
  virtual void unavailable(std::size_t resource) = 0;

  // Changes since the last call, removals first.
  [[nodiscard]] virtual std::vector<ObjectDelta> take_deltas(Clock::time_point now) = 0;
  // When take_deltas() has work to do without new events; nothing: no such work is scheduled.
  [[nodiscard]] virtual std::optional<Clock::time_point> due() const { return std::nullopt; }
  [[nodiscard]] virtual std::vector<SourceProblem> problems(WallClock::time_point now) const = 0;

  struct Counts {
    std::uint64_t objects = 0, rejected = 0;
    std::set<std::string> invalid;  // "namespace/name" of the objects whose current version is invalid
  };
  [[nodiscard]] virtual const Counts& counts(std::size_t resource) const = 0;
  // Of those that a gateway tells the server what it makes of them; null: there are none.
  [[nodiscard]] virtual ObjectReports* reports() { return nullptr; }
  // Rejected objects since the last call, a line each.
  [[nodiscard]] std::vector<std::string> take_log() { return std::exchange(log_, {}); }

 protected:
  void log(std::string line) {
    if (log_.size() < kMaxLogLines) {
      log_.push_back(std::move(line));
    }
  }

 private:
  static constexpr std::size_t kMaxLogLines = 1000;
  std::vector<std::string> log_;
};

// "namespace/name" or "name", from an object's metadata; empty when it has no name.
[[nodiscard]] std::string object_name(const YamlNode& object);
// "https://host:6443/api/v1/namespaces/shop/services/cart"
[[nodiscard]] std::string object_url(const std::string& server, const ApiResource& resource, const std::string& version,
                                     const YamlNode& object);

}  // namespace isthmus
