// By which aliases the intake reads what hubs say, and what becomes of it when they change.
#include <initializer_list>
#include <map>
#include <set>
#include <utility>

#include "control/restore/intake.h"

namespace isthmus {
namespace {

// The cluster whose aliases an object is read by.
const std::string& aliased_cluster(const ObjectKey& key) {
  return key.kind == ObjectKind::kCluster ? key.name : key.cluster;
}

}  // namespace

void Intake::read_by_aliases(std::vector<ObjectDelta>& deltas) const {
  for (ObjectDelta& delta : deltas) {
    if (const AliasPrefixes& aliases = aliases_of(aliases_, aliased_cluster(delta.key)); !aliases.empty()) {
      delta = to_alias(aliases, std::move(delta));
    }
  }
}

std::vector<std::pair<Intake::Hub, ObjectDelta>> Intake::take_renamed() {
  if (!std::exchange(profiles_changed_, false)) {
    return {};
  }
  const ClusterAliases before = std::exchange(aliases_, read_aliases(model_, options_.aliases));
  std::set<std::string> clusters;
  for (const ClusterAliases* each : std::initializer_list<const ClusterAliases*>{&before, &aliases_}) {
    for (const auto& [cluster, aliases] : *each) {
      clusters.insert(cluster);
    }
  }
  std::map<std::string, Aliases> changed;
  for (const std::string& cluster : clusters) {
    const Aliases aliases{aliases_of(before, cluster), aliases_of(aliases_, cluster)};
    if (aliases.had != aliases.has) {
      quotas_.rename(cluster, aliases.had, aliases.has);
      changed.emplace(cluster, aliases);
    }
  }
  return changed.empty() ? std::vector<std::pair<Hub, ObjectDelta>>{} : rename(changed);
}

// In one pass over what is known, and all that goes before all that comes: a block's new alias may be another one's
// former.
std::vector<std::pair<Intake::Hub, ObjectDelta>> Intake::rename(const std::map<std::string, Aliases>& changed) {
  struct Version {
    Hub hub;
    ObjectKey former;
    ObjectDelta delta;
    bool restored;
  };
  std::vector<Version> versions;
  model_.visit_all_versions(
      [&](Hub hub, const ObjectKey& key, const ObjectValue& value, const ProvenanceView& provenance, bool restored) {
        if (!has_aliases(key.kind)) {
          return;
        }
        if (const auto of = changed.find(aliased_cluster(key)); of != changed.end()) {
          ObjectDelta own = to_own(of->second.had, {key, value, provenance.copy()});
          versions.push_back({hub, key, to_alias(of->second.has, std::move(own)), restored});
        }
      });
  std::vector<std::pair<Hub, ObjectDelta>> renamed;
  for (const Version& version : versions) {
    if (version.restored) {
      quotas_.forget(version.hub, version.former);
    } else if (version.former != version.delta.key) {
      quotas_.apply(version.hub, {version.former, std::nullopt, {}});
    }
    if (version.former != version.delta.key) {
      renamed.emplace_back(version.hub, ObjectDelta{version.former, std::nullopt, {}});
    }
  }
  for (Version& version : versions) {
    if (version.restored) {
      quotas_.restore(version.hub, version.delta);
    } else {
      quotas_.apply(version.hub, version.delta);
    }
    renamed.emplace_back(version.hub, std::move(version.delta));
  }
  return renamed;
}

}  // namespace isthmus
