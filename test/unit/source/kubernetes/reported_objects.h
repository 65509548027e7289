// Objects as a server keeps them, and gateways that write about them, in a time that tests let pass.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/yaml/json.h"
#include "control/source/kubernetes/object_reports.h"

namespace isthmus {

// The Clusters of a server, with server-side apply and JSON patches as far as their statuses go.
class ReportedObjects {
 public:
  using json = nlohmann::json;
  static std::string url(const std::string& name) { return "https://api/apis/isthmus.io/v1alpha1/clusters/" + name; }

  void add(const std::string& name, json status = json::object()) {
    objects_[name] = {{"metadata", {{"name", name}, {"uid", "uid-" + name}, {"generation", 3}}},
                      {"status", std::move(status)}};
  }
  void apply(const ApiWrite& write) {
    json& object = objects_.at(write.location.substr(write.location.rfind('/') + 1));
    const json body = json::parse(write.body);
    if (body.is_array()) {
      object = object.patch(body);
      return;
    }
    for (const auto& [list, key] : {std::pair{"gateways", "name"}, std::pair{"conditions", "type"}}) {
      json kept = json::array();
      const json wanted = body["status"].value(list, json::array());
      for (const json& item : object["status"].value(list, json::array())) {
        const bool replaced = std::any_of(wanted.begin(), wanted.end(),
                                          [&, key = key](const json& other) { return other[key] == item[key]; });
        const bool dropped = write.what == ApiWrite::What::kRemoval && item[key] == write.gateway &&
                             !owned_elsewhere_.contains(write.gateway);
        if (!replaced && !dropped) {
          kept.push_back(item);
        }
      }
      kept.insert(kept.end(), wanted.begin(), wanted.end());
      object["status"][list] = std::move(kept);
    }
  }
  // That gateway's entries belong to another manager, too, as those of a restored backup do.
  void own_elsewhere(const std::string& gateway) { owned_elsewhere_.insert(gateway); }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, object] : objects_) {
      names.push_back(name);
    }
    return names;
  }
  [[nodiscard]] const json& object(const std::string& name) const { return objects_.at(name); }
  [[nodiscard]] json entries(const std::string& name) const {
    return objects_.at(name)["status"].value("gateways", json::array());
  }
  // The condition Accepted; null: none.
  [[nodiscard]] json accepted(const std::string& name) const {
    for (const json& condition : objects_.at(name)["status"].value("conditions", json::array())) {
      if (condition["type"] == "Accepted") {
        return condition;
      }
    }
    return {};
  }

 private:
  std::map<std::string, json> objects_;
  std::set<std::string> owned_elsewhere_;
};

class ReportingGateway {
 public:
  ReportingGateway(std::string name, ReportedObjects& objects, std::set<std::string> gateways)
      : name_(std::move(name)), objects_(objects), gateways_(std::move(gateways)) {
    see();
  }
  // Has heard of all objects as they are.
  void see() {
    for (const std::string& name : objects_.names()) {
      see(name);
    }
  }
  void see(const std::string& name) {
    reports.put({ReportedObjects::url(name), "/apis/isthmus.io/v1alpha1/clusters/" + name, "isthmus.io/v1alpha1",
                 "Cluster", "clusters"},
                {ObjectKind::kCluster, {}, {}, name}, std::get<YamlNode>(parse_json(objects_.object(name).dump())));
  }
  // Of all objects; `each` completes what is said of one in use.
  void say_each(const std::function<void(const std::string&, ObjectReport&)>& each) {
    GatewayReport report;
    report.gateway = name_;
    report.gateways = gateways_;
    for (const std::string& name : objects_.names()) {
      report.objects.push_back({ReportedObjects::url(name), 3, true, "Accepted", "in use"});
      each(name, report.objects.back());
    }
    reports.set(std::make_shared<const GatewayReport>(report));
  }
  void say(bool accepted, const std::string& reason, const std::string& message) {
    say_each([&](const std::string&, ObjectReport& report) {
      report.accepted = accepted;
      report.reason = reason;
      report.message = message;
    });
  }
  void accept() { say(true, "Accepted", "in use"); }
  void refuse() { say(false, "Refused", "the id is taken"); }
  std::optional<ApiWrite> next() { return reports.next(now, wall); }
  // Does what is due, if anything is; the object's name, or nothing.
  std::string step() {
    const auto write = next();
    if (!write) {
      return {};
    }
    const std::string name = write->location.substr(write->location.rfind('/') + 1);
    objects_.apply(*write);
    const auto tree = std::get<YamlNode>(parse_json(objects_.object(name).dump()));
    reports.written(*write, &tree, now);
    ++writes[write->what];
    return name;
  }
  void pass(std::chrono::milliseconds time) {
    now += time;
    wall += time;
  }
  // As many requests as a gateway sends in that time.
  void run(
      std::chrono::seconds time, const std::function<void()>& before_each = [] {}) {
    constexpr auto kPace = std::chrono::milliseconds(200);
    for (const auto end = now + time; now < end; pass(kPace)) {
      before_each();
      (void)step();
    }
  }

  ObjectReports reports;
  ObjectReports::Clock::time_point now{std::chrono::hours(1)};
  ObjectReports::WallClock::time_point wall{std::chrono::seconds(1'800'000'000)};
  std::map<ApiWrite::What, int> writes;

 private:
  std::string name_;
  ReportedObjects& objects_;
  std::set<std::string> gateways_;
};

}  // namespace isthmus
