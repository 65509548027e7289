// Endpoints that are known without labels: the identities that stand for them, and the rules that cannot tell them.
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

// Whether any of these may choose some pods of the cluster and none chooses all of them.
bool is_blind(const std::vector<LabelSelector>& selectors, const std::string& cluster) {
  const KnownIdentity pods = pods_of(cluster);
  return std::none_of(selectors.begin(), selectors.end(), [&](const auto& each) { return chooses(each, pods); }) &&
         std::any_of(selectors.begin(), selectors.end(), [&](const auto& each) { return may_choose(each, pods); });
}

}  // namespace

// Of addresses there that are no endpoint, and of the pods without labels that a cluster has there.
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
  cidrs_moved_ = cidrs_moved_ || before.all != now.all;
  if (before.some != now.some) {
    for (const auto& [id, spec] : specs_) {
      judge_unlabelled(id);
    }
  }
}

// Where any address may be a pod, the prefix is one of pods.
Identity PolicySet::identity_of(const Prefix& prefix, Identity own) const {
  for (const auto& cluster : clusters_.clusters) {
    if (unlabelled_.all.contains(cluster.name) &&
        std::any_of(cluster.prefixes.begin(), cluster.prefixes.end(),
                    [&](const Prefix& each) { return each.contains(prefix); })) {
      return identity::unlabelled_at(own, own);
    }
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

Identity PolicySet::identity_at(const IpAddress& address, bool unlabelled) const {
  const auto found = cidrs_.find(address);
  if (!found) {
    return identity::kWorld;
  }
  return unlabelled ? identity::unlabelled_at(*found, *found)
                    : identity_of(Prefix(address, address.is_ipv4() ? 32 : 128), *found);
}

// Which of its rules go by labels that endpoints may have of which none are known.
void PolicySet::judge_unlabelled(SpecId id) {
  CompiledSpec& spec = specs_.at(id);
  spec.unapplied.clear();
  unapplied_.erase(id);
  if (settings_.enforcement == PolicyEnforcement::kNever) {
    return;
  }
  for (const CompiledSpec::Rule& rule : spec.rules) {
    if (rule.peers == kEveryPeer || rule.nobody) {
      continue;
    }
    std::string clusters;
    for (const std::string& cluster : unlabelled_.some) {
      if (is_blind(selectors_.choice(rule.peers).labels, cluster)) {
        clusters += (clusters.empty() ? "" : ", ") + cluster;
      }
    }
    if (!clusters.empty()) {
      const Provenance& place = spec.provenance;
      spec.unapplied.push_back(
          {policy_text(spec.policy) + " has a rule for " + peers_text(rule.text) +
               ", which could mean endpoints that are known without labels, of " + clusters +
               ": the rule is not applied to them",
           Provenance{place.place, place.line == 0 ? 0 : place.line + rule.text.line}.text(),
           "choose them by their cluster alone, by the entity cluster-mesh or by CIDR, or follow a hub that publishes "
           "their identities"});
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
