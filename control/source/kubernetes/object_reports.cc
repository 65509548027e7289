#include "control/source/kubernetes/object_reports.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/kubernetes/api_text.h"

namespace isthmus {
namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr const char *kAccepted = "Accepted", *kReady = "Ready";
constexpr const char *kPartly = "PartlyRefused", *kManager = "isthmus";
constexpr std::size_t kMaxMessage = 1024;    // of an Event's note, too
constexpr auto kBetweenWrites = seconds(2);  // to one object: several changes are one write
constexpr auto kProblemsPace = seconds(30);  // where nothing but the number of problems has changed
constexpr auto kNextWriter = seconds(5);     // after which the next gateway writes what the one before has not
constexpr unsigned kMaxRank = 12;
constexpr auto kGoneFor = seconds(60);                  // a gateway, before its entry is removed
constexpr auto kEventAgain = std::chrono::minutes(55);  // servers keep Events for an hour

std::string time_text(ObjectReports::WallClock::time_point time, const char* fraction) {
  const std::time_t now = ObjectReports::WallClock::to_time_t(time);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::string text(32, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc));
  return text + fraction + "Z";
}

std::string cut(std::string text, std::size_t most) {
  if (text.size() > most) {
    constexpr std::string_view kCut = "...";
    std::size_t end = most - kCut.size();
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
      --end;  // not within a character
    }
    text.resize(end);
    text += kCut;
  }
  return text;
}

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

bool is_policy(ObjectKind kind) {
  return kind != ObjectKind::kCluster && kind != ObjectKind::kGateway && kind != ObjectKind::kProfile;
}

std::string group_of(const std::string& version) { return version.substr(0, version.find('/')); }

std::string manager_of(const std::string& gateway) { return std::string(kManager) + "-gateway-" + gateway; }

// FNV-1a: the same in every gateway, so that all of them give an Event the same name.
std::string name_of_event(const std::string& object, const std::string& about) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : about) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string name = object.substr(0, 230);
  name.resize(name.find_last_not_of(".-") + 1);  // a label ends with a letter or digit
  name += '.';
  for (int shift = 60; shift >= 0; shift -= 4) {
    name += kDigits[(hash >> static_cast<unsigned>(shift)) & 0xf];
  }
  return name;
}

ApiWrite status_write(ApiWrite::What what, const ApiObjectName& name, const std::string& manager, json status,
                      const std::string& object_name, const std::string& uid) {
  ApiWrite write;
  write.what = what;
  write.location = name.location;
  write.method = "PATCH";
  write.target = name.path + "/status?fieldManager=" + percent_encoded(manager) + "&force=true";
  write.content_type = "application/apply-patch+yaml";
  write.body = dump({{"apiVersion", name.version},
                     {"kind", name.kind},
                     {"metadata", {{"name", object_name}, {"uid", uid}}},
                     {"status", std::move(status)}});
  write.right = "patch on " + name.plural + "/status of " + group_of(name.version);
  return write;
}

template <typename Condition>
json condition_json(const char* type, const Condition& condition) {
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

template <typename Condition>
bool same(const std::optional<Condition>& have, const Condition& want) {
  return have && have->status == want.status && have->reason == want.reason && have->message == want.message &&
         have->generation == want.generation;
}

// The time since when it is as wanted.
template <typename Condition>
std::string since(const std::optional<Condition>& have, const std::string& status,
                  ObjectReports::WallClock::time_point wall) {
  return have && have->status == status && !have->since.empty() ? have->since : time_text(wall, "");
}

}  // namespace

void ObjectReports::read_status(const YamlNode& object, Seen& seen) {
  YamlErrors ignored;
  const auto condition_of = [&](const YamlMap& map, std::string_view type) -> std::optional<Condition> {
    for (const YamlNode& node : map.list("conditions")) {
      const YamlMap item(&node, "", node.line, ignored);
      if (item.text("type") == type) {
        return Condition{item.text("status"), item.text("reason"), item.text("message"),
                         item.text("lastTransitionTime"), item.text("observedGeneration")};
      }
    }
    return std::nullopt;
  };
  const YamlMap status = YamlMap(&object, "", object.line, ignored).map("status");
  seen.summary = condition_of(status, kAccepted);
  seen.ready = condition_of(status, kReady);
  seen.version = status.text("version");
  seen.workers = status.text("workers");
  seen.problems = status.text("problems");
  seen.entries.clear();
  for (const YamlNode& node : status.list("gateways")) {
    const YamlMap item(&node, "", node.line, ignored);
    seen.entries[item.text("name")] = condition_of(item, kAccepted);
  }
}

void ObjectReports::put(const ApiObjectName& name, const ObjectKey& key, const YamlNode& object) {
  const std::string& uid = metadata_text(object, "uid");
  const auto known = seen_.find(name.location);
  if (known != seen_.end() && known->second.uid != uid) {
    seen_.erase(known);  // another one of that name
  }
  Seen& seen = seen_[name.location];
  ReportableObject now{key, 0};
  const std::string& generation = metadata_text(object, "generation");
  (void)std::from_chars(generation.data(), generation.data() + generation.size(), now.generation);
  objects_changed_ = objects_changed_ || !(seen.object == now) || seen.uid != uid;
  seen.name = name;
  seen.object = std::move(now);
  seen.ns = metadata_text(object, "namespace");
  seen.uid = uid;
  read_status(object, seen);
}

void ObjectReports::erase(const std::string& location) {
  objects_changed_ = seen_.erase(location) > 0 || objects_changed_;
}

std::shared_ptr<const ReportableObjects> ObjectReports::objects() {
  if (std::exchange(objects_changed_, false)) {
    auto objects = std::make_shared<ReportableObjects>();
    for (const auto& [location, seen] : seen_) {
      objects->emplace_hint(objects->end(), location, seen.object);
    }
    objects_ = std::move(objects);
  }
  return objects_;
}

void ObjectReports::set(std::shared_ptr<const GatewayReport> report) { report_ = std::move(report); }

std::optional<ApiWrite> ObjectReports::next(Clock::time_point now, WallClock::time_point wall) {
  if (report_ == nullptr) {
    return std::nullopt;
  }
  std::optional<ApiWrite> first, after;  // Events: the first of all, and the first behind the last
  for (const ObjectReport& report : report_->objects) {
    const auto at = seen_.find(report.location);
    if (at == seen_.end() || now < at->second.not_before) {
      continue;
    }
    const bool policy = is_policy(at->second.object.key.kind), behind = report.location > last_event_;
    if (policy && (behind ? after.has_value() : first.has_value())) {
      continue;
    }
    auto write = next_of(at->second, report, now, wall);
    if (write && !policy) {
      return write;
    }
    if (write) {
      (behind ? after : first) = std::move(write);
    }
  }
  return after ? after : first;
}

std::optional<ApiWrite> ObjectReports::next_of(Seen& seen, const ObjectReport& report, Clock::time_point now,
                                               WallClock::time_point wall) const {
  if (is_policy(seen.object.key.kind)) {
    return event(seen, report, now, wall);
  }
  for (auto write : {entry(seen, report, now, wall), summary(seen, now, wall), removal(seen, now)}) {
    if (write && !is_refused(*write, now)) {
      return write;
    }
  }
  return std::nullopt;
}

bool ObjectReports::is_refused(const ApiWrite& write, Clock::time_point now) const {
  const auto at = refused_.find({write.right, write.ns});
  return at != refused_.end() && now < at->second;
}

std::optional<ApiWrite> ObjectReports::entry(const Seen& seen, const ObjectReport& report, Clock::time_point now,
                                             WallClock::time_point wall) const {
  const auto at = seen.entries.find(report_->gateway);
  const std::optional<Condition> have = at == seen.entries.end() ? std::nullopt : at->second;
  Condition want{report.accepted ? "True" : "False",
                 report.reason,
                 cut(report.message, kMaxMessage),
                 {},
                 std::to_string(report.generation)};
  want.since = since(have, want.status, wall);
  const bool own = report_->own == report.location;
  Condition ready{report_->ready ? "True" : "False",
                  report_->ready_reason,
                  cut(report_->ready_message, kMaxMessage),
                  {},
                  std::to_string(report.generation)};
  ready.since = since(seen.ready, ready.status, wall);
  const bool parameters = own && (!same(seen.ready, ready) || seen.version != report_->version ||
                                  seen.workers != std::to_string(report_->workers));
  const bool problems = own && seen.problems != std::to_string(report_->problems) &&
                        (seen.problems.empty() || now - seen.written >= kProblemsPace);
  if (same(have, want) && !parameters && !problems) {
    return std::nullopt;
  }
  json status{{"gateways", json::array({{{"name", report_->gateway},
                                         {"conditions", json::array({condition_json(kAccepted, want)})}}})}};
  if (own) {
    status["conditions"] = json::array({condition_json(kReady, ready)});
    status["version"] = report_->version;
    status["workers"] = report_->workers;
    status["problems"] = report_->problems;
    status["lastChange"] = time_text(wall, "");
  }
  return status_write(ApiWrite::What::kEntry, seen.name, manager_of(report_->gateway), std::move(status),
                      seen.object.key.name, seen.uid);
}

// What one refuses, the whole is not.
ObjectReports::Condition ObjectReports::summary_of(const Seen& seen) {
  Condition out{"True", kAccepted, "in use by every gateway that follows this API server", {}, {}};
  std::int64_t oldest = seen.object.generation;
  bool refused = false, partly = false;
  for (const auto& [gateway, condition] : seen.entries) {
    if (!condition) {
      continue;
    }
    std::int64_t generation = 0;
    const std::string& text = condition->generation;
    (void)std::from_chars(text.data(), text.data() + text.size(), generation);
    oldest = std::min(oldest, generation);
    const bool is_refused = condition->status != "True", is_partly = condition->reason == kPartly;
    if ((is_refused && !refused) || (is_partly && !refused && !partly)) {
      out.status = is_refused ? "False" : "True";
      out.reason = condition->reason;
      out.message = cut("gateway " + gateway + ": " + condition->message, kMaxMessage);
    }
    refused = refused || is_refused;
    partly = partly || is_partly;
  }
  out.generation = std::to_string(oldest);
  return out;
}

unsigned ObjectReports::rank(const Seen& seen) const {
  unsigned rank = 0;
  for (const auto& [gateway, condition] : seen.entries) {
    if (gateway >= report_->gateway || rank == kMaxRank) {
      break;
    }
    rank += report_->gateways.count(gateway) != 0 ? 1 : 0;
  }
  return rank;
}

std::optional<ApiWrite> ObjectReports::summary(Seen& seen, Clock::time_point now, WallClock::time_point wall) const {
  Condition want = summary_of(seen);
  if (seen.entries.empty() || same(seen.summary, want)) {
    seen.differs_since.reset();
    return std::nullopt;
  }
  seen.differs_since = seen.differs_since.value_or(now);
  if (now - *seen.differs_since < kNextWriter * rank(seen)) {
    return std::nullopt;
  }
  want.since = since(seen.summary, want.status, wall);
  return status_write(ApiWrite::What::kSummary, seen.name, kManager,
                      {{"conditions", json::array({condition_json(kAccepted, want)})}}, seen.object.key.name, seen.uid);
}

std::optional<ApiWrite> ObjectReports::removal(Seen& seen, Clock::time_point now) const {
  std::erase_if(seen.unknown_since, [&](const auto& each) {
    return !seen.entries.contains(each.first) || report_->gateways.contains(each.first);
  });
  for (const auto& [gateway, condition] : seen.entries) {
    if (report_->gateways.contains(gateway)) {
      continue;
    }
    const auto first = seen.unknown_since.try_emplace(gateway, now).first->second;
    if (now - first >= kGoneFor + kNextWriter * rank(seen)) {
      ApiWrite write = status_write(ApiWrite::What::kRemoval, seen.name, manager_of(gateway), json::object(),
                                    seen.object.key.name, seen.uid);
      write.gateway = gateway;
      return write;
    }
  }
  return std::nullopt;
}

// Of one generation and reason there is one Event, whichever gateway writes it: the server refuses a second one of the
// name.
std::optional<ApiWrite> ObjectReports::event(const Seen& seen, const ObjectReport& report, Clock::time_point now,
                                             WallClock::time_point wall) const {
  const std::string note = cut(report.message, kMaxMessage);
  const std::string name = name_of_event(
      seen.object.key.name, seen.uid + '\n' + std::to_string(report.generation) + '\n' + report.reason + '\n' + note);
  const bool written = seen.event == name && now - seen.event_written < kEventAgain;
  if (written || report.generation != seen.object.generation) {
    return std::nullopt;
  }
  const std::string ns = seen.ns.empty() ? "default" : seen.ns;
  json regarding{
      {"apiVersion", seen.name.version}, {"kind", seen.name.kind}, {"name", seen.object.key.name}, {"uid", seen.uid}};
  if (!seen.ns.empty()) {
    regarding["namespace"] = seen.ns;
  }
  ApiWrite write;
  write.what = ApiWrite::What::kEvent;
  write.location = seen.name.location;
  write.ns = ns;
  write.method = "POST";
  write.target = "/apis/events.k8s.io/v1/namespaces/" + ns + "/events";
  write.content_type = "application/json";
  write.body = dump({{"apiVersion", "events.k8s.io/v1"},
                     {"kind", "Event"},
                     {"metadata", {{"name", name}, {"namespace", ns}}},
                     {"eventTime", time_text(wall, ".000000")},
                     {"reportingController", "isthmus.io/gateway"},
                     {"reportingInstance", report_->gateway},
                     {"action", "Enforce"},
                     {"reason", report.reason},
                     {"type", "Warning"},
                     {"regarding", std::move(regarding)},
                     {"note", note}});
  write.right = "create on events of events.k8s.io";
  return is_refused(write, now) ? std::nullopt : std::optional(std::move(write));
}

void ObjectReports::written(const ApiWrite& write, const YamlNode* now_is, Clock::time_point now) {
  refused_.erase({write.right, write.ns});
  const auto at = seen_.find(write.location);
  if (at == seen_.end()) {
    return;
  }
  Seen& seen = at->second;
  if (write.what == ApiWrite::What::kEvent) {
    seen.event = json::parse(write.body)["metadata"]["name"].get<std::string>();
    seen.event_written = now;
    last_event_ = write.location;
    return;
  }
  if (now_is != nullptr && metadata_text(*now_is, "uid") == seen.uid) {
    read_status(*now_is, seen);
  }
  if (write.what == ApiWrite::What::kEntry) {
    seen.written = now;
  }
  seen.not_before = now + kBetweenWrites;
}

void ObjectReports::postpone(const ApiWrite& write, Clock::time_point until) {
  if (const auto at = seen_.find(write.location); at != seen_.end()) {
    at->second.not_before = until;
  }
}

}  // namespace isthmus
