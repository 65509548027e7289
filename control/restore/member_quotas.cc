#include "control/restore/member_quotas.h"

#include <algorithm>

#include "control/restore/object_size.h"

namespace isthmus {
namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20, kMaxLostKeys = 10'000;

bool is_endpoint(ObjectKind kind) {
  return kind == ObjectKind::kPod || kind == ObjectKind::kAddress || kind == ObjectKind::kCiliumEndpoint ||
         kind == ObjectKind::kNode;
}

bool is_service(ObjectKind kind) {
  return kind == ObjectKind::kService || kind == ObjectKind::kSlice || kind == ObjectKind::kServiceImport;
}

std::string text_of(const ObjectKey& key) {
  return std::string(kind_text(key.kind)) + " " + (key.ns.empty() ? "" : key.ns + "/") + key.name;
}

}  // namespace

const MemberLimits& MemberQuotas::limits_of(const std::string& cluster) const {
  const auto at = by_profile_.find(cluster);
  return at == by_profile_.end() ? limits_ : at->second;
}

std::size_t MemberQuotas::bytes_of(Hub hub, const ObjectKey& key) const {
  const ObjectValue* value = model_.version_of(hub, key);
  return value == nullptr ? 0 : object_bytes(key, *value);
}

bool MemberQuotas::fits(const ObjectKey& key, std::size_t before, std::size_t now) const {
  const auto used = used_.find(key.cluster);
  const Use use = used == used_.end() ? Use{} : used->second;
  const MemberLimits& limits = limits_of(key.cluster);
  const bool room = before != 0 || ((!is_endpoint(key.kind) || use.endpoints < limits.endpoints) &&
                                    (!is_service(key.kind) || use.services < limits.services));
  return room && (now <= before || use.bytes - before + now <= limits.megabytes * kMebibyte);
}

void MemberQuotas::count(const ObjectKey& key, std::size_t before, std::size_t now) {
  if (before == now) {
    return;
  }
  Use& use = used_[key.cluster];
  use.bytes += now - before;
  const std::size_t more = static_cast<std::size_t>(now != 0) - static_cast<std::size_t>(before != 0);
  use.endpoints += is_endpoint(key.kind) ? more : 0;
  use.services += is_service(key.kind) ? more : 0;
  if (now < before) {
    for (auto& [of, waiting] : waiting_) {
      waiting.try_again = waiting.try_again || of.second == key.cluster;
    }
  }
}

void MemberQuotas::wait(Hub hub, const ObjectDelta& delta) {
  stop_waiting(hub, delta.key);
  Waiting& waiting = waiting_[{hub, delta.key.cluster}];
  const MemberLimits& limits = limits_of(delta.key.cluster);
  const std::size_t bytes = object_bytes(delta.key, *delta.value);
  if (waiting.deltas.size() >= std::size_t{limits.endpoints} + limits.services ||
      waiting.bytes + bytes > limits.megabytes * kMebibyte) {
    if (waiting.lost.size() < kMaxLostKeys) {
      waiting.lost.insert(delta.key);
    } else {
      ++waiting.more_lost;
    }
    return;
  }
  waiting.bytes += bytes;
  waiting.deltas.emplace(delta.key, delta);
}

void MemberQuotas::stop_waiting(Hub hub, const ObjectKey& key) {
  const auto of = waiting_.find({hub, key.cluster});
  if (of == waiting_.end()) {
    return;
  }
  Waiting& waiting = of->second;
  if (const auto at = waiting.deltas.find(key); at != waiting.deltas.end()) {
    waiting.bytes -= object_bytes(key, *at->second.value);
    waiting.deltas.erase(at);
  }
  waiting.lost.erase(key);
  if (waiting.empty()) {
    waiting_.erase(of);
  }
}

bool MemberQuotas::apply(Hub hub, const ObjectDelta& delta) {
  if (!is_limited(delta.key)) {
    model_.apply(hub, delta);
    return true;
  }
  const std::size_t before = bytes_of(hub, delta.key), now = delta.value ? object_bytes(delta.key, *delta.value) : 0;
  if (delta.value && !fits(delta.key, before, now)) {
    wait(hub, delta);
    return false;
  }
  if (!waiting_.empty()) {
    stop_waiting(hub, delta.key);
  }
  model_.apply(hub, delta);
  count(delta.key, before, now);
  return true;
}

void MemberQuotas::restore(Hub hub, const ObjectDelta& delta) {
  const std::size_t before = is_limited(delta.key) ? bytes_of(hub, delta.key) : 0;
  model_.restore(hub, delta);
  if (is_limited(delta.key)) {
    count(delta.key, before, bytes_of(hub, delta.key));
  }
}

void MemberQuotas::forget(Hub hub, const ObjectKey& key) {
  const std::size_t before = is_limited(key) ? bytes_of(hub, key) : 0;
  model_.forget(hub, key);
  if (is_limited(key)) {
    count(key, before, bytes_of(hub, key));
  }
}

// Of each kind in order of key, up to the first that does not fit.
std::vector<ObjectDelta> MemberQuotas::admit_waiting(Hub hub) {
  std::vector<ObjectDelta> fitting;
  for (auto of = waiting_.lower_bound({hub, {}}); of != waiting_.end() && of->first.first == hub; ++of) {
    if (!std::exchange(of->second.try_again, false)) {
      continue;
    }
    auto& deltas = of->second.deltas;
    for (auto at = deltas.begin(); at != deltas.end();) {
      const ObjectKind kind = at->first.kind;
      const std::size_t before = bytes_of(hub, at->first), now = object_bytes(at->first, *at->second.value);
      if (!fits(at->first, before, now)) {
        at = deltas.lower_bound(ObjectKey{static_cast<ObjectKind>(static_cast<unsigned>(kind) + 1), {}, {}, {}});
        continue;
      }
      of->second.bytes -= now;
      model_.apply(hub, at->second);
      count(at->first, before, now);
      fitting.push_back(std::move(at->second));
      at = deltas.erase(at);
    }
  }
  std::erase_if(waiting_, [](const auto& each) { return each.second.empty(); });
  return fitting;
}

void MemberQuotas::read_profiles() {
  std::map<std::string, MemberLimits> now;
  model_.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
    if (std::find(profile.clusters.begin(), profile.clusters.end(), own_) == profile.clusters.end()) {
      return;
    }
    for (const auto& [cluster, member] : profile.members) {
      if (member.endpoints || member.services || member.megabytes) {
        const MemberLimits said{member.endpoints.value_or(limits_.endpoints),
                                member.services.value_or(limits_.services),
                                member.megabytes.value_or(limits_.megabytes)};
        now.try_emplace(cluster, said);  // of several profiles, the first by name decides
      }
    }
  });
  if (by_profile_ != now) {
    by_profile_ = std::move(now);
    for (auto& [of, waiting] : waiting_) {
      waiting.try_again = true;
    }
  }
}

std::vector<Error> MemberQuotas::problems() const {
  std::vector<Error> problems;
  for (const auto& [of, waiting] : waiting_) {
    const MemberLimits& limits = limits_of(of.second);
    const auto at = used_.find(of.second);
    const Use use = at == used_.end() ? Use{} : at->second;
    const std::size_t lost = waiting.lost.size() + waiting.more_lost, objects = waiting.deltas.size() + lost;
    std::string what = std::to_string(objects) + " objects of cluster " + of.second + " are left out";
    what += waiting.deltas.empty() ? "" : ", first " + text_of(waiting.deltas.begin()->first);
    what += ": of it are used " + std::to_string(use.endpoints) + " of " + std::to_string(limits.endpoints) +
            " endpoints, " + std::to_string(use.services) + " of " + std::to_string(limits.services) +
            " services and slices, " + std::to_string(use.bytes / kMebibyte) + " of " +
            std::to_string(limits.megabytes) + " MiB";
    what += lost == 0 ? "" : "; " + std::to_string(lost) + " of them can come in after a restart only";
    problems.push_back(
        {std::move(what), "cluster " + of.second,
         "see what fills its hub, or allow more (admission.endpoints_per_cluster, services_per_cluster, "
         "megabytes_per_cluster; endpoints, services, megabytes of its entry in the profile's members)"});
  }
  return problems;
}

}  // namespace isthmus
