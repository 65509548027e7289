#include "control/source/kubernetes/api_write.h"

#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/source/kubernetes/api_text.h"

namespace isthmus {
namespace {

using nlohmann::json;
using WallTime = std::chrono::system_clock::time_point;

constexpr const char* kManager = "isthmus";
constexpr std::size_t kMaxMessage = 1024;

std::string time_text(WallTime time, const char* fraction) {
  const std::time_t now = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::string text(32, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc));
  return text + fraction + "Z";
}

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string manager_of(const std::string& gateway) { return std::string(kManager) + "-gateway-" + gateway; }

ApiWrite status_write(ApiWrite::What what, const ApiObjectName& name, const std::string& manager) {
  ApiWrite write;
  write.what = what;
  write.location = name.location;
  write.about = name.kind + " " + name.name;
  write.method = "PATCH";
  write.target = name.path + "/status?fieldManager=" + percent_encoded(manager);
  write.right = "patch on " + name.plural + "/status of " + name.version.substr(0, name.version.find('/'));
  return write;
}

ApiWrite status_apply(ApiWrite::What what, const ApiObjectName& name, const std::string& manager, json status) {
  ApiWrite write = status_write(what, name, manager);
  write.target += "&force=true";
  write.content_type = "application/apply-patch+yaml";
  write.body = dump({{"apiVersion", name.version},
                     {"kind", name.kind},
                     {"metadata", {{"name", name.name}, {"uid", name.uid}}},
                     {"status", std::move(status)}});
  return write;
}

json condition_json(const char* type, const ApiCondition& condition) {
  json out{{"type", type},
           {"status", condition.status},
           {"reason", condition.reason},
           {"message", condition.message},
           {"lastTransitionTime", condition.since}};
  std::int64_t generation = 0;
  const std::string& text = condition.generation;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), generation);
  if (error == std::errc{} && end == text.data() + text.size()) {
    out["observedGeneration"] = generation;
  }
  return out;
}

}  // namespace

std::string cut_message(std::string text) {
  if (text.size() > kMaxMessage) {
    constexpr std::string_view kCut = "...";
    std::size_t end = kMaxMessage - kCut.size();
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
      --end;  // not within a character
    }
    text.resize(end);
    text += kCut;
  }
  return text;
}

std::uint64_t hash_of_text(const std::string& text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

std::string since_of(const std::optional<ApiCondition>& have, const std::string& status, WallTime wall) {
  return have && have->status == status && !have->since.empty() ? have->since : time_text(wall, "");
}

ApiWrite entry_write(const ApiObjectName& name, const std::string& gateway, const ApiCondition& accepted,
                     const std::optional<GatewayStatus>& own, WallTime wall) {
  json status{
      {"gateways", json::array({{{"name", gateway},
                                 {"conditions", json::array({condition_json(kAcceptedCondition, accepted)})}}})}};
  if (own) {
    status["conditions"] = json::array({condition_json(kReadyCondition, own->ready)});
    status["version"] = own->version;
    status["workers"] = own->workers;
    status["problems"] = own->problems;
    status["lastChange"] = time_text(wall, "");
  }
  return status_apply(ApiWrite::What::kEntry, name, manager_of(gateway), std::move(status));
}

ApiWrite summary_write(const ApiObjectName& name, const ApiCondition& accepted) {
  return status_apply(ApiWrite::What::kSummary, name, kManager,
                      {{"conditions", json::array({condition_json(kAcceptedCondition, accepted)})}});
}

ApiWrite removal_write(const ApiObjectName& name, const std::string& gateway) {
  ApiWrite write = status_apply(ApiWrite::What::kRemoval, name, manager_of(gateway), json::object());
  write.gateway = gateway;
  return write;
}

ApiWrite removal_at_write(const ApiObjectName& name, const std::string& gateway, std::size_t index) {
  ApiWrite write = status_write(ApiWrite::What::kRemoval, name, kManager);
  const std::string at = "/status/gateways/" + std::to_string(index);
  write.content_type = "application/json-patch+json";
  write.body = dump(json::array({{{"op", "test"}, {"path", "/metadata/uid"}, {"value", name.uid}},
                                 {{"op", "test"}, {"path", at + "/name"}, {"value", gateway}},
                                 {{"op", "remove"}, {"path", at}}}));
  write.gateway = gateway;
  return write;
}

std::string event_name(const ApiObjectName& name, const ObjectReport& report) {
  const std::uint64_t hash = hash_of_text(name.uid + '\n' + std::to_string(report.generation) + '\n' + report.reason +
                                          '\n' + cut_message(report.message));
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = name.name.substr(0, 230);
  text.resize(text.find_last_not_of(".-") + 1);  // a label ends with a letter or digit
  text += '.';
  for (int shift = 60; shift >= 0; shift -= 4) {
    text += kDigits[(hash >> static_cast<unsigned>(shift)) & 0xf];
  }
  return text;
}

ApiWrite event_write(const ApiObjectName& name, const std::string& gateway, const ObjectReport& report, WallTime wall) {
  const std::string note = cut_message(report.message), ns = name.ns.empty() ? "default" : name.ns;
  json regarding{{"apiVersion", name.version}, {"kind", name.kind}, {"name", name.name}, {"uid", name.uid}};
  if (!name.ns.empty()) {
    regarding["namespace"] = name.ns;
  }
  ApiWrite write;
  write.what = ApiWrite::What::kEvent;
  write.location = name.location;
  write.about = name.kind + " " + (name.ns.empty() ? "" : name.ns + "/") + name.name;
  write.ns = ns;
  write.event = event_name(name, report);
  write.method = "POST";
  write.target = "/apis/events.k8s.io/v1/namespaces/" + ns + "/events";
  write.content_type = "application/json";
  write.body = dump({{"apiVersion", "events.k8s.io/v1"},
                     {"kind", "Event"},
                     {"metadata", {{"name", write.event}, {"namespace", ns}}},
                     {"eventTime", time_text(wall, ".000000")},
                     {"reportingController", "isthmus.io/gateway"},
                     {"reportingInstance", gateway},
                     {"action", "Enforce"},
                     {"reason", report.reason},
                     {"type", "Warning"},
                     {"regarding", std::move(regarding)},
                     {"note", note}});
  write.right = "create on events of events.k8s.io";
  return write;
}

}  // namespace isthmus
