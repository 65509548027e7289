// The prefixes that policies and clusters have, and their identities.
#include <iterator>

#include "control/policy/policy_set.h"
#include "dataplane/api/identity.h"

namespace isthmus {

// Costs what has an identity inside these prefixes.
void PolicySet::update_ranges(const std::vector<PolicyRange>& ranges) {
  for (const PolicyRange& range : ranges) {
    const bool had = clusters_.ranges.contains(range.prefix);
    if (range.cluster.empty()) {
      clusters_.ranges.erase(range.prefix);
    } else {
      clusters_.ranges[range.prefix] = range.cluster;
    }
    if (!had && !range.cluster.empty()) {
      acquire_prefix(range.prefix);
    } else if (had && range.cluster.empty()) {
      release_prefix(range.prefix);
    }
  }
  for (const PolicyRange& range : ranges) {
    cidrs_.visit_within({range.prefix, {}}, [&](const Prefix& prefix, Identity number) {
      set_prefix_identity(number, prefix);
      changed_cidrs_.insert(prefix);
    });
  }
}

const std::string* PolicySet::cluster_of(const Prefix& prefix) const {
  const auto after = clusters_.ranges.upper_bound(Prefix(prefix.address(), 128));
  return after == clusters_.ranges.begin() || !std::prev(after)->first.contains(prefix) ? nullptr
                                                                                        : &std::prev(after)->second;
}

KnownIdentity PolicySet::identity_of(const Prefix& prefix) const {
  KnownIdentity known;
  known.prefix = prefix;
  if (const std::string* cluster = cluster_of(prefix)) {
    known.labels.push_back({std::string(kClusterLabel), "k8s", *cluster});
    return known;
  }
  known.labels.push_back({"world", "reserved", {}});
  known.labels.push_back({prefix.family() == Family::kIpv4 ? "world-ipv4" : "world-ipv6", "reserved", {}});
  return known;
}

void PolicySet::acquire_prefix(const Prefix& prefix) {
  const CidrTable::Acquired acquired = cidrs_.acquire(prefix);
  if (acquired.created) {
    changed_cidrs_.insert(prefix);
    set_prefix_identity(acquired.identity, prefix);
  }
}

void PolicySet::release_prefix(const Prefix& prefix) {
  if (const auto released = cidrs_.release(prefix)) {
    changed_cidrs_.insert(prefix);
    erase_identity(*released);
    erase_identity(identity::unlabelled_at(*released, *released));
  }
}

}  // namespace isthmus
