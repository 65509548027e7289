// Interprets arbitrary bytes of a watch as the objects of a cluster and of a Fleet hub. Nothing may crash, the result
// does not depend on how the bytes were split, every error has a fix, and an object that was deleted or not listed
// again is removed.
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/source/kubernetes/api_text.h"
#include "control/source/kubernetes/cluster_objects.h"
#include "control/source/kubernetes/fleet_hub_objects.h"

namespace {

using namespace isthmus;

void require(bool condition) {
  if (!condition) {
    __builtin_trap();
  }
}

std::vector<std::string> frames_of(std::string_view text, std::size_t chunk) {
  JsonFrames frames(1 << 20);
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size(); at += chunk) {
    if (!frames.push(text.substr(at, chunk), [&](std::string_view frame) {
          out.emplace_back(frame);
          return true;
        })) {
      break;
    }
  }
  return out;
}

// The resource of the object's kind; the first one if there is none.
std::size_t resource_of(const ApiObjects& hub, const YamlNode& object) {
  const YamlNode* kind = object.find("kind");
  for (std::size_t i = 0; i < hub.resources().size(); ++i) {
    if (kind != nullptr && hub.resources()[i].kind == kind->text) {
      return i;
    }
  }
  return 0;
}

class Applier {
 public:
  explicit Applier(ApiObjects& hub) : hub_(hub) {
    for (std::size_t i = 0; i < hub.resources().size(); ++i) {
      list_empty(i);
    }
  }
  void list_empty(std::size_t resource) {
    hub_.list_begins(resource);
    hub_.list_ends(resource);
    take();
  }
  void event(const WatchEvent& event) {
    const std::size_t resource = resource_of(hub_, event.object);
    if (event.type == WatchEvent::Type::kDeleted) {
      hub_.removed(resource, event.object);
    } else if (event.type == WatchEvent::Type::kAdded || event.type == WatchEvent::Type::kModified) {
      hub_.put(resource, hub_.resources()[resource].versions.front(), event.object);
    }
    take();
  }
  void take() {
    std::set<ObjectKey> seen;
    for (const ObjectDelta& delta : hub_.take_deltas(now_)) {
      require(!delta.key.name.empty() && seen.insert(delta.key).second);
      if (delta.value) {
        require(!delta.provenance.location.empty());
        objects_.insert(delta.key);
      } else {
        require(objects_.erase(delta.key) == 1);
      }
    }
    for (const SourceProblem& problem : hub_.problems({})) {
      require(!problem.what.empty() && !problem.fix.empty());
    }
  }
  // Lists nothing for every resource, after which no object may remain.
  void remove_all() {
    for (std::size_t i = 0; i < hub_.resources().size(); ++i) {
      list_empty(i);
      require(hub_.counts(i).objects == 0 && hub_.counts(i).invalid.empty());
    }
    while (const auto due = hub_.due()) {
      now_ = *due;
      take();
    }
    require(objects_.empty() && hub_.problems({}).empty());
    require(hub_.reports() == nullptr || hub_.reports()->objects()->empty());
  }

 private:
  ApiObjects& hub_;
  ApiObjects::Clock::time_point now_{};
  std::set<ObjectKey> objects_;
};

// Everything is refused: what is to be written about it comes to an end.
void write_reports(ObjectReports& reports) {
  GatewayReport report;
  report.gateway = "east-1";
  for (const auto& [location, object] : *reports.objects()) {
    report.objects.push_back({location, object.generation, false, "Refused", "why"});
    report.own = location;
  }
  reports.set(std::make_shared<const GatewayReport>(report));
  ObjectReports::Clock::time_point now{};
  for (const auto pause : {std::chrono::seconds(3), std::chrono::seconds(200)}) {
    std::map<std::string, unsigned> writes;
    while (auto write = reports.next(now, {})) {
      require(!write->body.empty() && ++writes[write->location] < 100);
      reports.postpone(*write, now + pause);
      now += std::chrono::milliseconds(1);
    }
    now += pause;
  }
}

void apply_all(ApiObjects& hub, const std::vector<WatchEvent>& events) {
  Applier applier(hub);
  for (const WatchEvent& event : events) {
    applier.event(event);
  }
  if (hub.reports() != nullptr) {
    write_reports(*hub.reports());
  }
  applier.remove_all();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto frames = frames_of(text, text.size() + 1);
  require(frames == frames_of(text, 7));
  std::vector<WatchEvent> events;
  for (const std::string& frame : frames) {
    if (auto event = read_watch_event(frame)) {
      events.push_back(*std::move(event));
    }
    (void)read_list_page(frame);
    (void)status_message(frame);
  }
  for (const bool global : {true, false}) {
    ClusterObjects cluster({"east", "https://api", global});
    apply_all(cluster, events);
  }
  FleetHubObjectsOptions options;
  options.server = "https://hub";
  FleetHubObjects hub(options);
  apply_all(hub, events);
  return 0;
}
