#include "control/source/kubernetes/object_reports.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/kubernetes/api_text.h"

namespace isthmus {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr const char* kPartly = "PartlyRefused";
constexpr const char* kUnrefused = "in use; no gateway refuses any of it";
constexpr std::size_t kAlike = 16;
constexpr std::size_t kSeveral = 3;          // objects that are answered 403 in a row: it is the right that is missing
constexpr auto kBetweenWrites = seconds(2);  // to one object: several changes are one write
constexpr auto kTextPace = seconds(30);      // where nothing but a message or the number of problems has changed
constexpr auto kEntryStep = milliseconds(250);  // from gateway to gateway, so that the later see the earlier's entries
constexpr auto kNextWriter = seconds(5);        // after which the next gateway writes what the one before has not
constexpr auto kLaterWriter = seconds(1);       // the same, behind the first
constexpr unsigned kFirstWriters = 12;
constexpr auto kGoneFor = seconds(60);       // a gateway, before its entry is removed
constexpr auto kRemovalAgain = seconds(15);  // where it stands there still, or again; ever longer
constexpr int kRemovalGrowth = 8;
constexpr auto kLongestRemoval = std::chrono::hours(12);
constexpr auto kSilent = minutes(15);       // a gateway that has not said anything of an object's version since
constexpr auto kRestless = minutes(10);     // a summary that changes again within is written ever later
constexpr auto kSummaryPause = minutes(5);  // at most so
// Servers keep Events for an hour, in leases that they share for a minute more.
constexpr auto kEventAgain = minutes(61) + seconds(10);
constexpr auto kEventCheck = minutes(3);  // of one that another gateway has written, by the first of them
constexpr unsigned kEventChecks = 20;     // times that, at most, by the later ones

bool is_policy(ObjectKind kind) {
  return kind != ObjectKind::kCluster && kind != ObjectKind::kGateway && kind != ObjectKind::kProfile;
}

std::int64_t number_of(const std::string& text) {
  std::int64_t number = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

seconds turn_of_writer(unsigned rank) {
  const unsigned first = std::min(rank, kFirstWriters);
  return kNextWriter * first + kLaterWriter * (rank - first);
}

}  // namespace

void ObjectReports::read_status(const YamlNode& object, Seen& seen) {
  YamlErrors ignored;
  const auto condition_of = [&](const YamlMap& map, std::string_view type) -> std::optional<ApiCondition> {
    for (const YamlNode& node : map.list("conditions")) {
      const YamlMap item(&node, "", node.line, ignored);
      if (item.text("type") == type) {
        return ApiCondition{item.text("status"), item.text("reason"), item.text("message"),
                            item.text("lastTransitionTime"), item.text("observedGeneration")};
      }
    }
    return std::nullopt;
  };
  const YamlMap status = YamlMap(&object, "", object.line, ignored).map("status");
  seen.summary = condition_of(status, kAcceptedCondition);
  seen.ready = condition_of(status, kReadyCondition);
  seen.version = status.text("version");
  seen.workers = status.text("workers");
  seen.problems = status.text("problems");
  seen.entries.clear();
  std::size_t index = 0;
  for (const YamlNode& node : status.list("gateways")) {
    const YamlMap item(&node, "", node.line, ignored);
    seen.entries[item.text("name")] = {index++, condition_of(item, kAcceptedCondition)};
  }
}

void ObjectReports::put(ApiObjectName name, const ObjectKey& key, const YamlNode& object) {
  name.name = key.name;
  name.ns = metadata_text(object, "namespace");
  name.uid = metadata_text(object, "uid");
  const auto known = seen_.find(name.location);
  if (known != seen_.end() && known->second.name.uid != name.uid) {
    seen_.erase(known);  // another one of that name
  }
  Seen& seen = seen_[name.location];
  ReportableObject now{key, number_of(metadata_text(object, "generation"))};
  objects_changed_ = objects_changed_ || !(seen.object == now) || seen.name.uid != name.uid;
  seen.name = std::move(name);
  seen.object = std::move(now);
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

void ObjectReports::set(std::shared_ptr<const GatewayReport> report) {
  report_ = std::move(report);
  reported_.clear();
  for (const ObjectReport& each : report_->objects) {
    reported_[each.location] = &each;
  }
  const auto& gateways = report_->gateways;
  place_ = static_cast<std::size_t>(std::distance(gateways.begin(), gateways.lower_bound(report_->gateway)));
}

std::optional<ApiWrite> ObjectReports::next(Clock::time_point now, WallClock::time_point wall) {
  if (report_ == nullptr) {
    return std::nullopt;
  }
  struct Turn {
    const std::string& last;
    std::optional<ApiWrite> first = {}, after = {};  // the first of all, and the first behind the last
  } statuses{last_status_}, events{last_event_};
  for (const ObjectReport& report : report_->objects) {
    const auto at = seen_.find(report.location);
    if (at == seen_.end() || now < at->second.not_before) {
      continue;
    }
    Turn& turn = is_policy(at->second.object.key.kind) ? events : statuses;
    std::optional<ApiWrite>& place = report.location > turn.last ? turn.after : turn.first;
    if (!place) {
      place = next_of(at->second, report, now, wall);
    }
  }
  for (Turn* turn : {event_next_ ? &events : &statuses, event_next_ ? &statuses : &events}) {
    for (std::optional<ApiWrite>* write : {&turn->after, &turn->first}) {
      if (*write) {
        return std::move(*write);
      }
    }
  }
  return std::nullopt;
}

std::optional<ApiWrite> ObjectReports::next_of(Seen& seen, const ObjectReport& report, Clock::time_point now,
                                               WallClock::time_point wall) const {
  if (seen.version_known != seen.object.generation) {
    seen.version_known = seen.object.generation;
    seen.version_since = now;
  }
  std::optional<ApiWrite> write;
  if (is_policy(seen.object.key.kind)) {
    const bool due = report.generation == seen.object.generation &&
                     (now >= seen.event_again || seen.event != event_name(seen.name, report));
    if (due) {
      write = event_write(seen.name, report_->gateway, report, wall);
    }
  } else {
    const Entry own = entry_of(seen, report, wall);
    write = entry(seen, own, now, wall);
    if (!write) {
      write = removal(seen, own, now);
    }
    // Not while its own entry is to be another one, nor of a version that it has not seen.
    const bool settled = own.difference != Difference::kMore && report.generation == seen.object.generation;
    if (!write && settled) {
      write = summary(seen, now, wall);
    }
  }
  return write && !is_refused(*write, now) ? std::move(write) : std::nullopt;
}

bool ObjectReports::is_refused(const ApiWrite& write, Clock::time_point now) const {
  const auto at = refused_.find({write.right, write.ns});
  return at != refused_.end() && now < at->second;
}

ObjectReports::Difference ObjectReports::difference(const std::optional<ApiCondition>& have, const ApiCondition& want) {
  if (!have || have->status != want.status || have->reason != want.reason || have->generation != want.generation) {
    return Difference::kMore;
  }
  return have->message == want.message ? Difference::kNone : Difference::kText;
}

GatewayStatus ObjectReports::own_status(const Seen& seen, const ObjectReport& report,
                                        WallClock::time_point wall) const {
  const std::string status = report_->ready ? "True" : "False";
  return {{status, report_->ready_reason, cut_message(report_->ready_message), since_of(seen.ready, status, wall),
           std::to_string(report.generation)},
          report_->version,
          report_->workers,
          report_->problems};
}

ObjectReports::Entry ObjectReports::entry_of(const Seen& seen, const ObjectReport& report,
                                             WallClock::time_point wall) const {
  const auto at = seen.entries.find(report_->gateway);
  const std::optional<ApiCondition> have = at == seen.entries.end() ? std::nullopt : at->second.accepted;
  const bool own = report_->own == report.location;
  if (!own && report.accepted && report.reason != kPartly) {
    return {};
  }
  const std::string status = report.accepted ? "True" : "False";
  if (!own && at == seen.entries.end()) {
    const auto alike = std::count_if(seen.entries.begin(), seen.entries.end(), [&](const auto& each) {
      const auto& [gateway, stands] = each;
      return report_->gateways.contains(gateway) && stands.accepted && stands.accepted->status == status &&
             stands.accepted->reason == report.reason;
    });
    if (static_cast<std::size_t>(alike) >= kAlike) {
      return {};
    }
  }
  Entry want;
  want.accepted = {status, report.reason, cut_message(report.message), since_of(have, status, wall),
                   std::to_string(report.generation)};
  want.difference = difference(have, *want.accepted);
  if (own) {
    want.own = own_status(seen, report, wall);
    const bool other =
        seen.version != want.own->version || seen.workers != std::to_string(want.own->workers) || seen.problems.empty();
    const bool number = seen.problems != std::to_string(want.own->problems);
    want.difference = std::max({want.difference, difference(seen.ready, want.own->ready),
                                other    ? Difference::kMore
                                : number ? Difference::kText
                                         : Difference::kNone});
  }
  return want;
}

std::optional<ApiWrite> ObjectReports::entry(Seen& seen, const Entry& want, Clock::time_point now,
                                             WallClock::time_point wall) const {
  if (want.difference == Difference::kNone) {
    seen.entry_differs.reset();
    return std::nullopt;
  }
  seen.entry_differs = seen.entry_differs.value_or(now);
  const bool in_turn =
      want.own || seen.entries.contains(report_->gateway) || now - *seen.entry_differs >= kEntryStep * rank(seen);
  if (!in_turn || (want.difference == Difference::kText && now - seen.entry_written < kTextPace)) {
    return std::nullopt;
  }
  return entry_write(seen.name, report_->gateway, *want.accepted, want.own, wall);
}

bool ObjectReports::is_superfluous(const std::string& gateway, const Entry& own) const {
  return gateway == report_->gateway ? !own.accepted : !report_->gateways.contains(gateway);
}

std::optional<ApiWrite> ObjectReports::removal(Seen& seen, const Entry& own, Clock::time_point now) const {
  std::erase_if(seen.removals, [&](const auto& each) {
    return !is_superfluous(each.first, own) || (!seen.entries.contains(each.first) && now >= each.second.due);
  });
  for (const auto& [gateway, stands] : seen.entries) {
    if (!is_superfluous(gateway, own)) {
      continue;
    }
    const bool at_once = gateway == report_->gateway;
    const Removal begun{at_once ? now : now + kGoneFor + turn_of_writer(rank(seen)), kRemovalAgain};
    const Removal& removal = seen.removals.try_emplace(gateway, begun).first->second;
    if (now >= removal.due) {
      return removal.attempts == 0 ? removal_write(seen.name, gateway)
                                   : removal_at_write(seen.name, gateway, stands.index);
    }
  }
  return std::nullopt;
}

// What one refuses, the whole is not. What a gateway has said of an older version counts while it may still say
// something of this one.
ApiCondition ObjectReports::summary_of(const Seen& seen, Clock::time_point now) const {
  ApiCondition out{"True", kAcceptedCondition, kUnrefused, {}, {}};
  std::int64_t oldest = seen.object.generation;
  bool refused = false, partly = false;
  for (const auto& [gateway, stands] : seen.entries) {
    if (!stands.accepted || (gateway != report_->gateway && !report_->gateways.contains(gateway))) {
      continue;
    }
    const ApiCondition& condition = *stands.accepted;
    const std::int64_t version = number_of(condition.generation);
    if (version < seen.object.generation && now - seen.version_since >= kSilent) {
      continue;
    }
    oldest = std::min(oldest, version);
    const bool is_refused = condition.status != "True", is_partly = condition.reason == kPartly;
    if ((is_refused && !refused) || (is_partly && !refused && !partly)) {
      out.status = is_refused ? "False" : "True";
      out.reason = condition.reason;
      out.message = cut_message("gateway " + gateway + ": " + condition.message);
    }
    refused = refused || is_refused;
    partly = partly || is_partly;
  }
  out.generation = std::to_string(oldest);
  return out;
}

// How many gateways come before this one at that object. All of them count from the same one, another for each object.
unsigned ObjectReports::rank(const Seen& seen) const {
  const std::size_t all = std::max<std::size_t>(report_->gateways.size(), 1);
  const std::size_t first = hash_of_text(seen.name.uid) % all;
  return static_cast<unsigned>((place_ + all - first) % all);
}

std::optional<ApiWrite> ObjectReports::summary(Seen& seen, Clock::time_point now, WallClock::time_point wall) const {
  ApiCondition want = summary_of(seen, now);
  const Difference differs = difference(seen.summary, want);
  if (differs == Difference::kNone) {
    seen.summary_differs.reset();
    return std::nullopt;
  }
  seen.summary_differs = seen.summary_differs.value_or(now);
  const seconds pause = std::max(seen.summary_pause, differs == Difference::kText ? kTextPace : seconds(0));
  if (now - *seen.summary_differs < turn_of_writer(rank(seen)) || now - seen.summary_written < pause) {
    return std::nullopt;
  }
  want.since = since_of(seen.summary, want.status, wall);
  return summary_write(seen.name, want);
}

ObjectReports::Seen* ObjectReports::answered(const ApiWrite& write) {
  const bool event = write.what == ApiWrite::What::kEvent;
  (event ? last_event_ : last_status_) = write.location;
  event_next_ = event_next_ && !event;
  const auto at = seen_.find(write.location);
  return at == seen_.end() ? nullptr : &at->second;
}

void ObjectReports::written(const ApiWrite& write, const YamlNode* now_is, Clock::time_point now) {
  refused_.erase({write.right, write.ns});
  denied_.erase({write.right, write.ns});
  Seen* seen = answered(write);
  if (seen == nullptr) {
    return;
  }
  if (write.what == ApiWrite::What::kEvent) {
    seen->event = write.event;
    seen->event_again = now + kEventAgain;
    return;
  }
  if (now_is != nullptr && metadata_text(*now_is, "uid") == seen->name.uid) {
    read_status(*now_is, *seen);
  }
  if (write.what == ApiWrite::What::kEntry) {
    seen->entry_written = now;
  } else if (write.what == ApiWrite::What::kSummary) {
    const bool restless = now - seen->summary_written < kRestless;
    seen->summary_pause =
        restless ? std::min<seconds>(std::max(seen->summary_pause * 2, kBetweenWrites), kSummaryPause) : seconds(0);
    seen->summary_written = now;
  } else if (const auto removal = seen->removals.find(write.gateway); removal != seen->removals.end()) {
    ++removal->second.attempts;
    removal->second.due = now + removal->second.pause;
    removal->second.pause = std::min<seconds>(removal->second.pause * kRemovalGrowth, kLongestRemoval);
  }
  seen->not_before = now + kBetweenWrites;
}

void ObjectReports::exists(const ApiWrite& write, Clock::time_point now) {
  if (Seen* seen = answered(write)) {
    seen->event = write.event;
    seen->event_again = now + kEventCheck * std::min(1 + rank(*seen), kEventChecks);
  }
}

void ObjectReports::postpone(const ApiWrite& write, Clock::time_point until) {
  Seen* seen = answered(write);
  if (seen != nullptr) {
    seen->not_before = until;
  }
  event_next_ = write.what != ApiWrite::What::kEvent;
}

void ObjectReports::refuse(const ApiWrite& write, Clock::time_point until) {
  refused_[{write.right, write.ns}] = until;
  postpone(write, until);
}

void ObjectReports::deny(const ApiWrite& write, Clock::time_point until) {
  std::set<std::string>& objects = denied_[{write.right, write.ns}];
  if (objects.size() < kSeveral) {
    objects.insert(write.location);
  }
  objects.size() < kSeveral ? postpone(write, until) : refuse(write, until);
}

bool ObjectReports::wants(const std::string& location) const {
  const auto at = seen_.find(location);
  const auto report = reported_.find(location);
  if (at == seen_.end() || report == reported_.end()) {
    return false;
  }
  const Seen& seen = at->second;
  if (is_policy(seen.object.key.kind)) {
    return true;
  }
  const Entry own = entry_of(seen, *report->second, {});
  return own.difference != Difference::kNone ||
         difference(seen.summary, summary_of(seen, Clock::time_point::max())) != Difference::kNone ||
         std::any_of(seen.entries.begin(), seen.entries.end(),
                     [&](const auto& each) { return is_superfluous(each.first, own); });
}

}  // namespace isthmus
