// By which aliases the intake reads what hubs say, and what becomes of it when they change.
#include <initializer_list>
#include <set>

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
  std::vector<std::pair<Hub, ObjectDelta>> renamed;
  if (!std::exchange(profiles_changed_, false)) {
    return renamed;
  }
  const ClusterAliases before = std::exchange(aliases_, read_aliases(model_, options_.aliases));
  std::set<std::string> clusters;
  for (const ClusterAliases* each : std::initializer_list<const ClusterAliases*>{&before, &aliases_}) {
    for (const auto& [cluster, aliases] : *each) {
      clusters.insert(cluster);
    }
  }
  for (const std::string& cluster : clusters) {
    const AliasPrefixes &had = aliases_of(before, cluster), &has = aliases_of(aliases_, cluster);
    if (had != has) {
      quotas_.rename(cluster, had, has);
      rename(cluster, had, has, renamed);
    }
  }
  return renamed;
}

void Intake::rename(const std::string& cluster, const AliasPrefixes& before, const AliasPrefixes& now,
                    std::vector<std::pair<Hub, ObjectDelta>>& renamed) {
  struct Version {
    Hub hub;
    ObjectDelta delta;
    bool restored;
  };
  std::vector<Version> versions;
  model_.visit_all_versions(
      [&](Hub hub, const ObjectKey& key, const ObjectValue& value, const ProvenanceView& provenance, bool restored) {
        if (has_aliases(key.kind) && aliased_cluster(key) == cluster) {
          versions.push_back({hub, {key, value, provenance.copy()}, restored});
        }
      });
  for (Version& version : versions) {
    const ObjectKey key = version.delta.key;
    ObjectDelta delta = to_alias(now, to_own(before, std::move(version.delta)));
    if (version.restored) {
      quotas_.forget(version.hub, key);
      quotas_.restore(version.hub, delta);
    } else {
      if (key != delta.key) {
        quotas_.apply(version.hub, {key, std::nullopt, {}});
      }
      quotas_.apply(version.hub, delta);
    }
    if (key != delta.key) {
      renamed.emplace_back(version.hub, ObjectDelta{key, std::nullopt, {}});
    }
    renamed.emplace_back(version.hub, std::move(delta));
  }
}

}  // namespace isthmus
