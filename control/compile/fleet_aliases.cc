// Which aliases of the fleet's clusters are in force.
#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "control/compile/fleet.h"
#include "control/compile/prefix_claims.h"
#include "control/compile/remedies.h"
#include "control/model/aliases.h"

namespace isthmus {
namespace {

// The prefixes of clusters that have an address in common with this one.
std::vector<std::pair<Prefix, std::string>> overlapping(const Fleet& fleet, const Prefix& prefix) {
  std::vector<std::pair<Prefix, std::string>> found;
  auto at = fleet.ranges.lower_bound(prefix);
  if (at != fleet.ranges.begin() && std::prev(at)->first.contains(prefix)) {
    --at;
  }
  for (; at != fleet.ranges.end() && at->first.address() <= prefix.last(); ++at) {
    found.emplace_back(*at);
  }
  return found;
}

// What of the pair the cluster has been admitted with.
AliasPrefixes in_force(const Fleet& fleet, const FleetCluster& cluster, const AliasPrefix& pair) {
  const auto ranges = overlapping(fleet, pair.alias);
  const bool shared =
      std::any_of(ranges.begin(), ranges.end(), [&](const auto& range) { return range.second != cluster.name; });
  if (!cluster.has_pod_prefixes(pair.alias.family())) {  // each pod claims its own address
    const bool free = !shared && fleet.admission.refuse_pods(cluster.name, pair.alias).empty();
    return free ? AliasPrefixes{pair} : AliasPrefixes{};
  }
  if (!shared) {
    return ranges.empty() ? AliasPrefixes{} : AliasPrefixes{pair};
  }
  AliasPrefixes parts;
  for (const auto& [prefix, holder] : ranges) {
    if (holder == cluster.name && pair.alias.contains(prefix)) {
      parts.push_back({to_own(AliasPrefixes{pair}, prefix), prefix});
    }
  }
  return parts;
}

// Of an alias that is not in force.
std::string why_not(const Fleet& fleet, const FleetCluster& cluster, const Prefix& alias) {
  for (const auto& [prefix, holder] : overlapping(fleet, alias)) {
    if (holder != cluster.name) {
      return ", of which cluster " + holder + " has " + prefix.to_string();
    }
  }
  const std::string refused = fleet.admission.refuse_pods(cluster.name, alias);
  return refused.empty() ? ", of which it has nothing" : ", " + refused;
}

// Gateways of a cluster with an alias refuse what others have without one of what its own pods are called. Ours say so
// where they do; the others' cannot be asked.
void append_meetings(const CompilerOptions& options, const Fleet& fleet, const FleetCluster& cluster,
                     const AliasPrefix& pair, std::vector<Problem>& problems) {
  for (const auto& [prefix, holder] : overlapping(fleet, pair.own)) {
    if (holder != cluster.name) {
      problems.push_back(
          {"cluster " + holder + " has " + prefix.to_string() + " without an alias, and pods of cluster " +
               cluster.name + " have addresses of " + pair.own.to_string() + " there: they cannot reach each other",
           fleet.find(holder)->where,
           "give cluster " + holder + " an alias, too: " + alias_command(options, holder, prefix.family()) +
               ", or aliasCIDRs of a profile"});
    }
  }
}

}  // namespace

AliasPrefixes aliases_in_force(const Fleet& fleet, const FleetCluster& cluster) {
  AliasPrefixes out;
  for (const AliasPrefix& pair : cluster.aliases) {
    const AliasPrefixes parts = in_force(fleet, cluster, pair);
    out.insert(out.end(), parts.begin(), parts.end());
  }
  return out;
}

void append_alias_problems(const CompilerOptions& options, const Fleet& fleet, PrefixClaims& prefixes,
                           std::vector<Problem>& problems) {
  for (const auto& [name, cluster] : fleet.clusters) {
    if (!cluster.local && !cluster.linked) {
      continue;
    }
    for (const AliasPrefix& pair : cluster.aliases) {
      if (cluster.local && !fleet.admission.under_alias(pair.alias).empty()) {
        continue;  // named already, with what it overlaps (own_aliases.cc)
      }
      const bool used = !in_force(fleet, cluster, pair).empty();
      if (!used && prefixes.refused_in(pair.alias, name)) {
        continue;  // named already, as a prefix
      }
      if (!used) {
        problems.push_back({"cluster " + name + " has the alias " + pair.alias.to_string() + " for " +
                                pair.own.to_string() + why_not(fleet, cluster, pair.alias) + ": it is not used",
                            cluster.where,
                            "give the cluster's podCIDRs and aliasCIDRs (of a profile's member, or admission.aliases) "
                            "as its Cluster has them, by an alias that nobody else has"});
      } else if (!cluster.local) {
        append_meetings(options, fleet, cluster, pair, problems);
      }
    }
  }
}

// Of the clusters that call addresses alike, ours means its own.
AliasPrefixes policy_own_forms(const Fleet& fleet) {
  struct Form {
    AliasPrefix pair;
    const FleetCluster* cluster;
  };
  std::vector<Form> forms;
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const AliasPrefix& pair : cluster.aliases) {
      forms.push_back({pair, &cluster});
    }
  }
  std::sort(forms.begin(), forms.end(), [](const Form& a, const Form& b) { return a.pair.own < b.pair.own; });
  AliasPrefixes out;
  for (auto from = forms.begin(), to = from; from != forms.end(); from = to) {
    to = std::find_if(from, forms.end(), [&](const Form& form) { return !from->pair.own.contains(form.pair.own); });
    const bool shared = std::any_of(from, to, [&](const Form& form) { return form.cluster != from->cluster; });
    for (auto form = from; form != to; ++form) {
      if ((!shared || form->cluster->local) && overlapping(fleet, form->pair.own).empty()) {
        out.push_back(form->pair);
      }
    }
  }
  return out;
}

}  // namespace isthmus
