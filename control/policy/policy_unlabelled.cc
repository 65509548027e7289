// Endpoints without labels: the identities that represent them, and the rules that cannot be applied to them.
#include <algorithm>
#include <utility>

#include "control/policy/policy_set.h"
#include "control/policy/policy_text.h"
#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

KnownIdentity pods_of(const std::string& cluster) {
  return {{{std::string(kClusterLabel), "k8s", cluster}}, false, true, std::nullopt};
}

// Whether the selectors might select some unlabelled pods of the cluster, but do not select all of them.
bool needs_unknown_labels(const std::vector<LabelSelector>& selectors, const std::string& cluster) {
  const KnownIdentity pods = pods_of(cluster);
  return std::none_of(selectors.begin(), selectors.end(), [&](const auto& each) { return selects(each, pods); }) &&
         std::any_of(selectors.begin(), selectors.end(), [&](const auto& each) { return may_select(each, pods); });
}

}  // namespace

// Sets two identities of a prefix: for addresses that are not endpoints, and, inside a cluster, for unlabelled pods.
void PolicySet::set_prefix_identity(Identity number, const Prefix& prefix) {
  KnownIdentity known = identity_of(prefix);
  const Identity pods = identity::unlabelled_at(number, number);
  set_identity(number, known);
  if (known.labels.front().key == kClusterLabel) {
    known.unlabelled = true;
    set_identity(pods, std::move(known));
  } else {
    erase_identity(pods);
  }
}

void PolicySet::set_cluster_identities(const PolicyClusters& before) {
  for (const auto& cluster : before.clusters) {
    const bool stays = std::any_of(clusters_.clusters.begin(), clusters_.clusters.end(),
                                   [&](const auto& now) { return now.id == cluster.id; });
    if (!stays) {
      erase_identity(identity::unlabelled(cluster.id));
    }
  }
  for (const auto& cluster : clusters_.clusters) {
    set_identity(identity::unlabelled(cluster.id), pods_of(cluster.name));
  }
}

void PolicySet::set_unlabelled(const UnlabelledClusters& now) {
  if (now.some == unlabelled_.some && now.all == unlabelled_.all) {
    return;
  }
  const UnlabelledClusters before = std::exchange(unlabelled_, now);
  every_cidr_changed_ = every_cidr_changed_ || before.all != now.all;
  if (before.some != now.some) {
    for (const auto& [id, spec] : specs_) {
      find_unapplied_rules(id);
    }
  }
}

// In a cluster without any labels every address may be a pod: the identity for unlabelled pods is used.
Identity PolicySet::identity_of(const Prefix& prefix, Identity own) const {
  const std::string* cluster = cluster_of(prefix);
  if (cluster != nullptr && unlabelled_.all.contains(*cluster)) {
    return identity::unlabelled_at(own, own);
  }
  return own;
}

std::vector<CidrIdentity> PolicySet::cidr_identities() const {
  std::vector<CidrIdentity> list = cidrs_.list();
  for (CidrIdentity& each : list) {
    each.identity = unlabelled_.all.empty() ? each.identity : identity_of(each.prefix, each.identity);
  }
  return list;
}

void PolicySet::emit_cidrs(TableDelta& delta) {
  const std::set<Prefix> changed = std::exchange(changed_cidrs_, {});
  if (std::exchange(every_cidr_changed_, false)) {
    delta.cidr_identities = cidr_identities();
    return;
  }
  for (const Prefix& prefix : changed) {
    if (const auto own = cidrs_.find(prefix)) {
      delta.upsert_cidrs.push_back({prefix, identity_of(prefix, *own)});
    } else {
      delta.remove_cidrs.push_back(prefix);
    }
  }
}

Identity PolicySet::identity_at(const IpAddress& address, bool unlabelled) const {
  const auto found = cidrs_.find(address);
  if (!found) {
    return identity::kWorld;
  }
  return unlabelled ? identity::unlabelled_at(*found, *found)
                    : identity_of(Prefix(address, address.is_ipv4() ? 32 : 128), *found);
}

// Collects the rules of a spec that depend on labels which are unknown for some endpoints.
void PolicySet::find_unapplied_rules(SpecId id) {
  CompiledSpec& spec = specs_.at(id);
  spec.unapplied.clear();
  unapplied_.erase(id);
  if (settings_.enforcement == PolicyEnforcement::kNever) {
    return;
  }
  for (const CompiledSpec::Rule& rule : spec.rules) {
    if (rule.peers == kEveryPeer || rule.matches_nothing) {
      continue;
    }
    std::string clusters;
    for (const std::string& cluster : unlabelled_.some) {
      if (needs_unknown_labels(selectors_.peers(rule.peers).labels, cluster)) {
        clusters += (clusters.empty() ? "" : ", ") + cluster;
      }
    }
    if (!clusters.empty()) {
      const Provenance& provenance = spec.provenance;
      spec.unapplied.push_back(
          {policy_text(spec.policy) + " has a rule for " + peers_text(rule.text) +
               ", which might select endpoints published without labels, of " + clusters +
               ": the rule is not applied to them",
           Provenance{provenance.location, provenance.line == 0 ? 0 : provenance.line + rule.text.line}.text(),
           "select them by cluster alone, or by CIDR, or use a hub that publishes their "
           "identities"});
    }
  }
  if (!spec.unapplied.empty()) {
    unapplied_.insert(id);
  }
}

std::map<ObjectKey, std::size_t> PolicySet::unapplied() const {
  std::map<ObjectKey, std::size_t> out;
  for (const SpecId id : unapplied_) {
    const CompiledSpec& spec = specs_.at(id);
    out[spec.policy] += spec.unapplied.size();
  }
  return out;
}

}  // namespace isthmus
