#include "control/restore/member_quotas.h"

#include <algorithm>
#include <iterator>

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

MemberQuotas::Size MemberQuotas::size_of(const ObjectKey& key, const ObjectValue& value) {
  const auto* gateway = std::get_if<GatewayObject>(&value);
  return {gateway != nullptr ? gateway->cluster : key.cluster, object_bytes(key, value)};
}

MemberQuotas::Size MemberQuotas::standing(Hub hub, const ObjectKey& key) const {
  if (key.cluster == own_ || (key.cluster.empty() && key.kind != ObjectKind::kGateway)) {
    return {};  // not limited, whatever it says
  }
  const ObjectValue* value = model_.version_of(hub, key);
  return value == nullptr ? Size{} : size_of(key, *value);
}

bool MemberQuotas::fits(ObjectKind kind, const Size& before, const Size& now) const {
  const auto used = used_.find(now.member);
  const Use use = used == used_.end() ? Use{} : used->second;
  const MemberLimits& limits = limits_of(now.member);
  const std::size_t had = before.member == now.member ? before.bytes : 0;
  const bool room = had != 0 || ((!is_endpoint(kind) || use.endpoints < limits.endpoints) &&
                                 (!is_service(kind) || use.services < limits.services) &&
                                 (kind != ObjectKind::kGateway || use.gateways < limits.gateways));
  return room && (now.bytes <= had || use.bytes - had + now.bytes <= limits.megabytes * kMebibyte);
}

void MemberQuotas::add(ObjectKind kind, const Size& size, bool more) {
  if (size.bytes == 0 || !is_limited(size.member)) {
    return;
  }
  Use& use = used_[size.member];
  const auto change = [more](std::size_t& of, std::size_t by) { of = more ? of + by : of - by; };
  change(use.bytes, size.bytes);
  change(use.endpoints, is_endpoint(kind) ? 1 : 0);
  change(use.services, is_service(kind) ? 1 : 0);
  change(use.gateways, kind == ObjectKind::kGateway ? 1 : 0);
}

void MemberQuotas::count(ObjectKind kind, const Size& before, const Size& now) {
  add(kind, now, true);
  add(kind, before, false);
  if (now.member != before.member || now.bytes < before.bytes) {
    for (auto& [of, waiting] : waiting_) {
      waiting.try_again = waiting.try_again || of.second == before.member;
    }
  }
}

void MemberQuotas::wait(Hub hub, const ObjectDelta& delta) {
  stop_waiting(hub, delta.key);
  const auto [member, bytes] = size_of(delta.key, *delta.value);
  Waiting& waiting = waiting_[{hub, member}];
  const MemberLimits& limits = limits_of(member);
  if (waiting.deltas.size() >= std::size_t{limits.endpoints} + limits.services + limits.gateways ||
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
  // The key of a gateway does not say whose it is.
  const bool any = key.kind == ObjectKind::kGateway;
  for (auto of = waiting_.lower_bound({hub, any ? std::string() : key.cluster});
       of != waiting_.end() && of->first.first == hub && (any || of->first.second == key.cluster);) {
    Waiting& waiting = of->second;
    if (const auto at = waiting.deltas.find(key); at != waiting.deltas.end()) {
      waiting.bytes -= object_bytes(key, *at->second.value);
      waiting.deltas.erase(at);
    }
    waiting.lost.erase(key);
    of = waiting.empty() ? waiting_.erase(of) : std::next(of);
  }
}

bool MemberQuotas::apply(Hub hub, const ObjectDelta& delta) {
  const Size before = standing(hub, delta.key), now = delta.value ? size_of(delta.key, *delta.value) : Size{};
  if (delta.value && is_limited(now.member) && !fits(delta.key.kind, before, now)) {
    wait(hub, delta);
    return false;
  }
  if (!waiting_.empty()) {
    stop_waiting(hub, delta.key);
  }
  model_.apply(hub, delta);
  count(delta.key.kind, before, now);
  return true;
}

void MemberQuotas::restore(Hub hub, const ObjectDelta& delta) {
  const Size before = standing(hub, delta.key);
  model_.restore(hub, delta);
  count(delta.key.kind, before, standing(hub, delta.key));
}

void MemberQuotas::forget(Hub hub, const ObjectKey& key) {
  const Size before = standing(hub, key);
  model_.forget(hub, key);
  count(key.kind, before, standing(hub, key));
}

void MemberQuotas::rename(const std::string& cluster, const AliasPrefixes& before, const AliasPrefixes& now) {
  for (auto& [of, waiting] : waiting_) {
    if (of.second != cluster) {
      continue;
    }
    for (auto& [key, delta] : std::exchange(waiting.deltas, {})) {
      ObjectDelta renamed = to_alias(now, to_own(before, std::move(delta)));
      waiting.deltas.emplace(renamed.key, std::move(renamed));
    }
  }
}

// Of each kind in order of key, up to the first that does not fit.
std::vector<ObjectDelta> MemberQuotas::admit_waiting(Hub hub) {
  std::vector<ObjectDelta> fitting;
  for (auto of = waiting_.lower_bound({hub, {}}); of != waiting_.end() && of->first.first == hub;) {
    if (!std::exchange(of->second.try_again, false)) {
      ++of;
      continue;
    }
    auto& deltas = of->second.deltas;
    for (auto at = deltas.begin(); at != deltas.end();) {
      const ObjectKind kind = at->first.kind;
      const Size before = standing(hub, at->first), now = size_of(at->first, *at->second.value);
      if (!fits(kind, before, now)) {
        at = deltas.lower_bound(ObjectKey{static_cast<ObjectKind>(static_cast<unsigned>(kind) + 1), {}, {}, {}});
        continue;
      }
      of->second.bytes -= now.bytes;
      model_.apply(hub, at->second);
      count(kind, before, now);
      fitting.push_back(std::move(at->second));
      at = deltas.erase(at);
    }
    of = waiting_.lower_bound({hub, {}});  // a gateway that goes to another cluster makes room in its former one
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
      if (member.endpoints || member.services || member.megabytes || member.gateways) {
        const MemberLimits said{
            member.endpoints.value_or(limits_.endpoints), member.services.value_or(limits_.services),
            member.megabytes.value_or(limits_.megabytes), member.gateways.value_or(limits_.gateways)};
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
            " services and slices, " + std::to_string(use.gateways) + " of " + std::to_string(limits.gateways) +
            " gateways, " + std::to_string(use.bytes / kMebibyte) + " of " + std::to_string(limits.megabytes) + " MiB";
    what += lost == 0 ? "" : "; " + std::to_string(lost) + " of them can come in after a restart only";
    problems.push_back(
        {std::move(what), "cluster " + of.second,
         "see what fills its hub, or allow more (admission.endpoints_per_cluster, services_per_cluster, "
         "gateways_per_cluster, megabytes_per_cluster; endpoints, services, gateways, megabytes of its entry in the "
         "profile's members)"});
  }
  return problems;
}

}  // namespace isthmus
