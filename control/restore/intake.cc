#include "control/restore/intake.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

namespace isthmus {
namespace {

constexpr std::size_t kMinRetained = 10;  // as the etcd source has it
constexpr const char* kFolderHub = "file";
constexpr const char* kEtcdHub = "etcd";

// The member of the fleet that an object is of; of a profile none.
std::string member_of(const ObjectKey& key, const ObjectValue& value) {
  if (key.kind == ObjectKind::kCluster) {
    return key.name;
  }
  const auto* gateway = std::get_if<GatewayObject>(&value);
  return gateway != nullptr ? gateway->cluster : key.cluster;
}

}  // namespace

std::optional<Intake::Hub> Intake::number_of(const std::string& hub) const {
  const auto at = std::find(hubs_.begin(), hubs_.end(), hub);
  return at == hubs_.end() ? std::nullopt : std::optional(static_cast<Hub>(at - hubs_.begin()));
}

// An etcd is known by cluster: what was not in step before the restart was as old as it could be. An API server is
// known by kind; of objects made of several kinds, the oldest counts.
std::optional<Intake::Clock::time_point> Intake::seen(Hub hub, ObjectKind kind, const std::string& member) const {
  const bool etcd = hubs_[hub] == kEtcdHub;
  if (etcd && !member.empty()) {
    const auto exact = seen_.find({hub, member});
    return exact == seen_.end() ? std::nullopt : std::optional(exact->second);
  }
  if (const auto exact = seen_.find({hub, kind_text(kind)}); !etcd && exact != seen_.end()) {
    return exact->second;
  }
  std::optional<Clock::time_point> found;
  for (auto it = seen_.lower_bound({hub, {}}); it != seen_.end() && it->first.first == hub; ++it) {
    const auto at = found.value_or(it->second);
    found = etcd ? std::max(at, it->second) : std::min(at, it->second);  // the profile is our own
  }
  return found;
}

Intake::Lost Intake::restore(KeptState kept, std::chrono::system_clock::time_point wall, Clock::time_point now) {
  for (const auto& [name, time] : kept.seen) {
    const auto hub = number_of(name.first);
    // A clock that was set back since makes the age unknown, not negative.
    const auto age = std::max(wall - std::chrono::system_clock::from_time_t(time.seconds),
                              std::chrono::system_clock::duration::zero());
    if (hub) {
      const auto at = now - std::chrono::duration_cast<Clock::duration>(age);
      seen_[{*hub, name.second}] = at;
      if (time.policies) {  // they are as old as the oldest kind of them
        const auto before = policies_.try_emplace(*hub, at).first;
        before->second = std::min(before->second, at);
      }
    }
  }
  for (const auto& [part, until] : kept.holds) {
    if (const auto hub = number_of(part.hub)) {
      const auto left = std::chrono::system_clock::from_time_t(until.seconds) - wall;
      deadlines_[{*hub, part.kind, part.cluster}] =
          now + std::min<Clock::duration>(std::chrono::duration_cast<Clock::duration>(left), options_.hold_time);
    }
  }
  Lost lost;
  for (auto& [object, version] : kept.objects) {
    const auto hub = number_of(object.hub);
    if (!hub || too_old(seen(*hub, object.key.kind, member_of(object.key, version.value)), now)) {
      lost.emplace_back(std::move(object.hub), ObjectDelta{std::move(object.key), std::nullopt, {}});
      continue;
    }
    if (const auto* profile = std::get_if<ProfileObject>(&version.value)) {
      former_[{*hub, object.key}] = *profile;
    }
    quotas_.restore(*hub, {object.key, std::move(version.value), std::move(version.provenance)});
  }
  quotas_.read_profiles();
  aliases_ = read_aliases(model_, options_.aliases);  // by which it was read before
  totals_ = model_.restored();
  for (auto it = deadlines_.begin(); it != deadlines_.end();) {
    const Model::RestoredPart part = (it++)->first;
    if (totals_.count(part) == 0) {
      end_hold(part);
    }
  }
  return lost;
}

bool Intake::empties(Hub hub, const std::vector<ObjectDelta>& deltas) const {
  return hubs_[hub] == kFolderHub && deltas.size() > 1 && deltas.size() >= model_.versions_of(hub) &&
         std::none_of(deltas.begin(), deltas.end(), [](const ObjectDelta& delta) { return delta.value.has_value(); });
}

bool Intake::holds(Hub hub, const ObjectKey& key, const Answers& answers, Clock::time_point now) {
  const auto held = held_.find({hub, key});
  if (held != held_.end()) {
    return true;
  }
  // A person who removes a gateway's file means it.
  if (key.kind != ObjectKind::kGateway || hubs_[hub] == kFolderHub || !answers(key.name)) {
    return false;
  }
  held_[{hub, key}] = {now + options_.gateway_hold, Why::kAnswers};
  spdlog::warn("gateway {} is no longer in hub {}, but answers: it stays for {} s", key.name, hubs_[hub],
               std::chrono::duration_cast<std::chrono::seconds>(options_.gateway_hold).count());
  return true;
}

void Intake::keep_valid(Hub hub, ObjectDelta& delta) {
  const auto* policy = delta.value ? std::get_if<PolicyObject>(&*delta.value) : nullptr;
  if (policy == nullptr || !policy->refused) {
    outlived_.erase({hub, delta.key});
    return;
  }
  const Model::Said before = model_.said(hub, delta.key);
  if (before.value == nullptr || (!before.restored && !outlives(hub, delta.key)) ||
      std::get<PolicyObject>(*before.value).refused) {
    return;
  }
  delta.value = *before.value;
  delta.provenance = before.provenance.copy();
  outlived_.insert({hub, delta.key});
}

std::vector<ObjectDelta> Intake::take(Hub hub, std::vector<ObjectDelta> deltas, const Answers& answers,
                                      Clock::time_point now) {
  read_by_aliases(deltas);
  if (empties(hub, deltas)) {
    spdlog::warn("hub {}: all of its {} objects disappeared at once; they stay for {} s", hubs_[hub], deltas.size(),
                 std::chrono::duration_cast<std::chrono::seconds>(options_.hold_time).count());
    for (ObjectDelta& delta : deltas) {
      hold({hub, delta.key.kind, delta.key.cluster}, now);
      held_[{hub, std::move(delta.key)}] = {now + options_.hold_time, Why::kEmptied};
    }
    return {};
  }
  std::set<std::string> leaving;  // a cluster that leaves takes its gateways along
  for (const ObjectDelta& delta : deltas) {
    if (delta.key.kind == ObjectKind::kCluster && !delta.value) {
      leaving.insert(delta.key.name);
    }
  }
  std::vector<ObjectDelta> applied;
  bool profiles = false;
  for (ObjectDelta& delta : deltas) {
    if (delta.value) {
      said_any_.emplace(hub, is_of_fleet(delta.key.kind));
      if (!held_.empty()) {
        held_.erase({hub, delta.key});
      }
    } else if (const ObjectValue* value =
                   delta.key.kind == ObjectKind::kGateway ? model_.version_of(hub, delta.key) : nullptr;
               value != nullptr && leaving.count(member_of(delta.key, *value)) == 0 &&
               holds(hub, delta.key, answers, now)) {
      continue;
    }
    if (delta.key.kind == ObjectKind::kProfile && former_.count({hub, delta.key}) != 0) {
      profiles = true;
      said_[{hub, delta.key}] = std::move(delta);
      continue;
    }
    keep_valid(hub, delta);
    if (quotas_.apply(hub, delta)) {
      applied.push_back(std::move(delta));
    } else if (const Model::Said standing = model_.said(hub, delta.key); standing.restored) {
      // The hub has said something of it: what stands is not what a list may lack.
      delta.value = *standing.value;
      delta.provenance = standing.provenance.copy();
      model_.apply(hub, delta);
      applied.push_back(std::move(delta));
    }
  }
  if (profiles) {
    update_profiles(hub, applied);
  }
  if (std::any_of(applied.begin(), applied.end(),
                  [](const ObjectDelta& delta) { return delta.key.kind == ObjectKind::kProfile; })) {
    quotas_.read_profiles();
    profiles_changed_ = true;
  }
  std::vector<ObjectDelta> admitted = quotas_.admit_waiting(hub);
  applied.insert(applied.end(), std::make_move_iterator(admitted.begin()), std::make_move_iterator(admitted.end()));
  return applied;
}

void Intake::update_profiles(Hub hub, std::vector<ObjectDelta>& applied) {
  for (auto it = said_.begin(); it != said_.end();) {
    const auto former = former_.find(it->first);
    if (it->first.first != hub || former == former_.end()) {
      ++it;
      continue;
    }
    ObjectDelta delta = it->second;
    bool waits = false;  // for a cluster that is not confirmed; a profile that is removed waits for none
    for (const std::string& cluster : delta.value ? former->second.clusters : std::vector<std::string>{}) {
      bool restored = false;
      model_.visit_versions({hub, ObjectKind::kCluster, {}}, [&](const ObjectKey& key, const auto&, bool unconfirmed) {
        restored = restored || (unconfirmed && key.name == cluster);
      });
      waits = waits || restored;
      auto* profile = delta.value ? std::get_if<ProfileObject>(&*delta.value) : nullptr;
      if (restored && profile != nullptr &&
          std::find(profile->clusters.begin(), profile->clusters.end(), cluster) == profile->clusters.end()) {
        profile->clusters.push_back(cluster);
      }
    }
    if (const ObjectValue* before = model_.version_of(hub, delta.key);
        before == nullptr || !delta.value || !(*before == *delta.value) || !waits) {
      quotas_.apply(hub, delta);
      applied.push_back(std::move(delta));
    }
    if (waits) {
      ++it;
    } else {
      former_.erase(former);
      it = said_.erase(it);
    }
  }
}

KeptPart Intake::kept_part(const Model::RestoredPart& part) const {
  return {hubs_[part.source], part.kind, part.cluster};
}

Intake::Clock::time_point Intake::hold(const Model::RestoredPart& part, Clock::time_point now) {
  const auto [deadline, fresh] = deadlines_.try_emplace(part, now + options_.hold_time);
  if (fresh) {
    holds_.push_back({kept_part(part), deadline->second});
  }
  return deadline->second;
}

void Intake::end_hold(const Model::RestoredPart& part) {
  kept_until_.erase(part);
  if (deadlines_.erase(part) != 0) {
    holds_.push_back({kept_part(part), std::nullopt});
  }
}

void Intake::repeat_holds() {
  holds_.clear();
  for (const auto& [part, until] : deadlines_) {
    holds_.push_back({kept_part(part), until});
  }
}

// Those of what the hub has again: a deadline that was left would be over when something is missing again.
void Intake::end_holds() {
  std::set<Model::RestoredPart> held;
  for (const auto& [key, until] : held_) {
    held.insert({key.first, key.second.kind, key.second.cluster});
  }
  for (auto it = deadlines_.begin(); it != deadlines_.end();) {
    const Model::RestoredPart part = (it++)->first;
    if (model_.restored().count(part) == 0 && held.count(part) == 0) {
      end_hold(part);
    }
  }
}

bool Intake::retains(const Model::RestoredPart& part, std::size_t missing) {
  if (hubs_[part.source] == kFolderHub) {
    std::size_t of_half = 0;
    for (const auto& [each, count] : model_.restored()) {
      of_half += each.source == part.source && is_of_fleet(each.kind) == is_of_fleet(part.kind) ? count : 0;
    }
    return of_half > 1 && said_any_.count({part.source, is_of_fleet(part.kind)}) == 0;
  }
  return hubs_[part.source] == kEtcdHub && options_.hold_percent > 0 && options_.hold_percent < 100 &&
         missing >= kMinRetained && missing * 100 > std::size_t{options_.hold_percent} * totals_[part];
}

void Intake::forget(Hub hub, const std::vector<ObjectKey>& keys, std::vector<ObjectDelta>& removed) {
  for (const ObjectKey& key : keys) {
    profiles_changed_ = profiles_changed_ || key.kind == ObjectKind::kProfile;
    quotas_.forget(hub, key);
    removed.push_back({key, std::nullopt, {}});
  }
}

void Intake::confirm_part(const Model::RestoredPart& part, const Source& source, const Answers& answers,
                          Clock::time_point now, std::vector<ObjectDelta>& removed) {
  const bool fleet = is_of_fleet(part.kind);
  if (source.withholds(part.kind)) {
    seen_[{part.source, kind_text(part.kind)}] = now;
    return;
  }
  if (!fleet && !source.listed(part.kind, part.cluster)) {
    return;
  }
  std::vector<ObjectKey> missing;
  model_.visit_versions(part, [&](const ObjectKey& key, const ObjectValue& value, bool restored) {
    if (restored && (!fleet || source.listed(part.kind, member_of(key, value)))) {
      missing.push_back(key);
    }
  });
  if (const bool lacks = !missing.empty() && retains(part, missing.size()); lacks && now < hold(part, now)) {
    kept_until_[part] = hold(part, now);
    spdlog::warn("hub {}: {} of {} {} objects {}that were known before the restart are missing; they stay for {} s",
                 hubs_[part.source], missing.size(), totals_[part], kind_text(part.kind),
                 part.cluster.empty() ? "" : "of cluster " + part.cluster + " ",
                 std::chrono::duration_cast<std::chrono::seconds>(kept_until_[part] - now).count());
    return;
  }
  if (!missing.empty()) {
    end_hold(part);
  }
  std::erase_if(missing, [&](const ObjectKey& key) { return holds(part.source, key, answers, now); });
  forget(part.source, missing, removed);
}

std::vector<ObjectDelta> Intake::confirm(Hub hub, const Source& source, const Answers& answers, Clock::time_point now) {
  std::vector<ObjectDelta> removed;
  if (model_.restored().empty() && said_.empty()) {
    return removed;
  }
  std::vector<Model::RestoredPart> parts;
  for (const auto& [part, count] : model_.restored()) {
    if (part.source == hub && kept_until_.count(part) == 0) {
      parts.push_back(part);
    }
  }
  for (const Model::RestoredPart& part : parts) {
    confirm_part(part, source, answers, now, removed);
  }
  update_profiles(hub, removed);
  profiles_changed_ = profiles_changed_ || std::any_of(removed.begin(), removed.end(), [](const ObjectDelta& delta) {
                        return delta.key.kind == ObjectKind::kProfile;
                      });
  return removed;
}

std::vector<std::pair<Intake::Hub, ObjectDelta>> Intake::expire(const Answers& answers, Clock::time_point now) {
  std::vector<std::pair<Hub, ObjectDelta>> removed;
  std::erase_if(held_, [&](const auto& entry) {
    const auto& [key, held] = entry;
    if (now < held.until && (held.why != Why::kAnswers || answers(key.second.name))) {
      return false;
    }
    profiles_changed_ = profiles_changed_ || key.second.kind == ObjectKind::kProfile;
    removed.push_back({key.first, {key.second, std::nullopt, {}}});
    quotas_.apply(key.first, removed.back().second);
    return true;
  });
  std::vector<Model::RestoredPart> parts;
  for (const auto& [part, count] : model_.restored()) {
    parts.push_back(part);
  }
  for (const Model::RestoredPart& part : parts) {
    const auto until = kept_until_.find(part);
    const bool over = until != kept_until_.end() && now >= until->second;
    std::vector<ObjectKey> keys;
    if (over || is_of_fleet(part.kind) || too_old(seen(part.source, part.kind, part.cluster), now)) {
      model_.visit_versions(part, [&](const ObjectKey& key, const ObjectValue& value, bool restored) {
        if (restored && (over || too_old(seen(part.source, part.kind, member_of(key, value)), now))) {
          keys.push_back(key);
        }
      });
    }
    std::vector<ObjectDelta> gone;
    forget(part.source, keys, gone);
    for (ObjectDelta& delta : gone) {
      removed.emplace_back(part.source, std::move(delta));
    }
    if (over) {
      end_hold(part);
    }
  }
  end_holds();
  return removed;
}

bool Intake::policies_restored(Hub hub, Clock::time_point now) const {
  const auto at = policies_.find(hub);
  return at != policies_.end() && !too_old(at->second, now);
}

RestoredMembers Intake::restored_members(Hub hub) const {
  RestoredMembers members;
  for (const ObjectKind kind : {ObjectKind::kCluster, ObjectKind::kGateway}) {
    if (model_.restored().count({hub, kind, {}}) == 0) {
      continue;
    }
    model_.visit_versions({hub, kind, {}}, [&](const ObjectKey& key, const ObjectValue& value, bool restored) {
      if (const auto* cluster = std::get_if<ClusterObject>(&value); restored && cluster != nullptr) {
        members[key.name].id = cluster->id;
      } else if (const auto* gateway = std::get_if<GatewayObject>(&value); restored && gateway != nullptr) {
        members[gateway->cluster].gateways[key.name] = gateway->underlay;
      }
    });
  }
  return members;
}

std::vector<RestoredView> Intake::restored(Clock::time_point now) const {
  std::map<std::pair<std::string, std::string>, RestoredView> by_member;
  for (const auto& [part, count] : model_.restored()) {
    RestoredView& view = by_member[{hubs_[part.source], part.cluster}];
    view.hub = hubs_[part.source];
    view.cluster = part.cluster;
    view.objects += count;
    view.held = view.held || kept_until_.count(part) != 0;
    if (const auto at = seen(part.source, part.kind, part.cluster)) {
      view.age = std::max(view.age, std::chrono::duration_cast<std::chrono::seconds>(now - *at));
    }
  }
  std::vector<RestoredView> views;
  for (auto& [member, view] : by_member) {
    views.push_back(std::move(view));
  }
  return views;
}

std::vector<Error> Intake::problems(Clock::time_point now) const {
  std::vector<Error> problems = quotas_.problems();
  for (const RestoredView& view : restored(now)) {
    if (view.held) {
      problems.push_back({"objects that were known before the restart" +
                              (view.cluster.empty() ? std::string() : " of cluster " + view.cluster) +
                              " are missing in the hub and stay for a while",
                          "hub " + view.hub,
                          "if they should exist, see what became of them; otherwise they are removed after "
                          "hub.etcd.hold_time"});
    }
  }
  std::map<Hub, std::size_t> emptied;
  for (const auto& [key, held] : held_) {
    if (held.why == Why::kEmptied) {
      ++emptied[key.first];
    } else {
      problems.push_back(
          {"gateway " + key.second.name + " is no longer in the hub, but answers probes: it stays for a while",
           "hub " + hubs_[key.first], "see why the hub lost it, unless it was removed on purpose"});
    }
  }
  for (const auto& [hub, count] : emptied) {
    problems.push_back({"the hub became empty at once: its " + std::to_string(count) + " objects stay for a while",
                        "hub " + hubs_[hub],
                        "see that it is mounted; otherwise they are removed after hub.etcd.hold_time"});
  }
  return problems;
}

}  // namespace isthmus
