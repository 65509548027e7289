#include "control/compile/prefix_claims.h"

#include <algorithm>
#include <iterator>

namespace isthmus {

void PrefixClaims::problem(std::string where, std::string what, std::string fix) {
  fleet_.problems.push_back({std::move(what), std::move(where), std::move(fix)});
}

bool PrefixClaims::had_prefix(const std::string& cluster, const Prefix& prefix) const {
  const FleetCluster* old = previous_ == nullptr ? nullptr : previous_->find(cluster);
  if (old == nullptr) {
    return false;
  }
  const auto after = std::upper_bound(old->prefixes.begin(), old->prefixes.end(), Prefix(prefix.address(), 128));
  return after != old->prefixes.begin() && std::prev(after)->contains(prefix);
}

bool PrefixClaims::admit(const Claim& claim) {
  std::string why = claim.pods ? fleet_.admission.refuse_pods(claim.cluster, claim.prefix)
                               : fleet_.admission.refuse_nodes(claim.cluster, claim.prefix);
  if (why.empty()) {
    why = tunnel_end_inside(claim);
  }
  if (why.empty()) {
    why = fleet_.admission.takes_reserved(claim.cluster, claim.prefix, claim.pods);
    if (why.empty()) {
      why = fleet_.admission.takes_network(claim.cluster, claim.prefix);
    }
    if (!why.empty() && claim.rank == 1) {  // what a cluster has had is not taken from it
      problem(claim.where,
              "prefix " + claim.prefix.to_string() + " of cluster " + claim.cluster + ", " + why +
                  ", stays: it was there before",
              "give this node another address, or the cluster other prefixes; a restart of this gateway refuses it");
      return true;
    }
  }
  if (why.empty()) {
    return true;
  }
  const auto [refused, first] = refused_.try_emplace({claim.cluster, why});
  if (first) {
    refused->second = {claim.prefix.to_string(), claim.where};
  } else {
    ++refused->second.more;
  }
  return false;
}

std::string PrefixClaims::tunnel_end_inside(const Claim& claim) const {
  const IpAddress last = claim.prefix.last();
  for (auto end = std::lower_bound(ends_.begin(), ends_.end(), TunnelEnd{claim.prefix.address(), {}, {}, false});
       end != ends_.end() && end->address <= last; ++end) {
    if (end->cluster == claim.cluster || claim.rank == 0) {
      continue;
    }
    const FleetCluster *its = fleet_.find(end->cluster), *own = fleet_.find(claim.cluster);
    const bool stands = claim.rank == 1 || (!end->incumbent && (its == nullptr || own->id < its->id));
    if (!stands) {
      return "which includes the underlay address " + end->address.to_string() + " of gateway " + end->gateway +
             " of cluster " + end->cluster;
    }
  }
  return {};
}

void PrefixClaims::find_tunnel_ends() {
  model_.visit<GatewayObject>(
      ObjectKind::kGateway, [&](const ObjectKey& key, const GatewayObject& object, const Provenance&) {
        const bool own = key.name == options_.gateway;
        const FleetCluster* cluster = fleet_.find(object.cluster);
        if (!own && (cluster == nullptr || !cluster->linked)) {
          return;  // nobody's tunnel ends there
        }
        const IpAddress address = own ? fleet_.own.underlay : tunnel_end(fleet_.own, object);
        if (fleet_.own.address(address.family()) == nullptr) {
          return;
        }
        const bool incumbent =
            own || (previous_ != nullptr && previous_->gateway_at(address) == std::optional("gateway " + key.name));
        ends_.push_back({address, key.name, object.cluster, incumbent});
      });
  std::sort(ends_.begin(), ends_.end());
}

void PrefixClaims::report_refused() {
  for (const auto& [claimant, refused] : refused_) {
    const std::string more = refused.more == 0 ? "" : " and " + std::to_string(refused.more) + " more";
    problem(refused.where,
            "prefix " + refused.first + more + " of cluster " + claimant.first + ", " + claimant.second +
                (refused.more == 0 ? ", is refused" : ", are refused"),
            "claim only prefixes of the cluster's own pods and nodes, or allow it in the profile or under `admission` "
            "in the configuration");
  }
}

void PrefixClaims::settle() {
  find_tunnel_ends();
  std::vector<Claim> claims;
  const auto add = [&](const std::string& cluster, const std::vector<Prefix>& prefixes, const std::string& where,
                       int rank_when_new, bool pods) {
    if (const auto its = fleet_.clusters.find(cluster); its != fleet_.clusters.end()) {
      for (const Prefix& prefix : prefixes) {
        bool& named = prefix.family() == Family::kIpv4 ? its->second.pods_ipv4 : its->second.pods_ipv6;
        named = named || pods;
        const int rank = cluster == options_.cluster ? 0 : had_prefix(cluster, prefix) ? 1 : rank_when_new;
        if (const Claim claim{prefix, cluster, where, rank, pods}; admit(claim)) {
          claims.push_back(claim);
        }
      }
    }
  };
  model_.visit<ClusterObject>(ObjectKind::kCluster,
                              [&](const ObjectKey& key, const ClusterObject& object, const Provenance& provenance) {
                                add(key.name, object.pod_prefixes, provenance.text(), 2, true);
                                add(key.name, object.node_prefixes, provenance.text(), 2, false);
                              });
  model_.visit<NodeObject>(ObjectKind::kNode,
                           [&](const ObjectKey& key, const NodeObject& node, const Provenance& provenance) {
                             add(key.cluster, node.pod_prefixes, provenance.text(), 3, true);
                           });
  // Where no node has a CIDR for pods, what is allowed to the cluster by name says where they are.
  for (const auto& [name, cluster] : fleet_.clusters) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      const std::vector<Prefix>* allowed = fleet_.admission.pods_of(name);
      if (allowed != nullptr && !cluster.has_pod_prefixes(family)) {
        std::vector<Prefix> prefixes = *allowed;
        std::erase_if(prefixes, [&](const Prefix& prefix) { return prefix.family() != family; });
        add(name, prefixes, cluster.where, 2, true);
      }
    }
  }
  // Between new claims of one kind the lower cluster id: what every gateway of the fleet sees alike.
  const auto order = [&](const Claim& claim) { return std::pair(claim.rank, fleet_.clusters.at(claim.cluster).id); };
  std::stable_sort(claims.begin(), claims.end(), [&](const Claim& a, const Claim& b) { return order(a) < order(b); });
  Accepted accepted;
  for (const auto& [name, cluster] : fleet_.clusters) {
    for (const Prefix& prefix : cluster.prefixes) {  // of our own cluster, carried over from the previous fleet
      accepted.emplace(prefix, Claim{prefix, name, cluster.where, 0});
    }
  }
  for (const Claim& claim : claims) {
    if (accept(accepted, claim) && claim.pods) {
      accept(pods_, claim);
    }
  }
  for (auto& [name, cluster] : fleet_.clusters) {
    cluster.prefixes.clear();
  }
  limit(accepted);
  report_refused();
  for (const auto& [prefix, claim] : accepted) {
    fleet_.clusters[claim.cluster].prefixes.push_back(prefix);
    fleet_.ranges.push_back({prefix, claim.cluster});
  }
}

void PrefixClaims::limit(Accepted& accepted) {
  std::map<std::string, std::vector<const Claim*>> by_cluster;
  for (const auto& [prefix, claim] : accepted) {
    by_cluster[claim.cluster].push_back(&claim);
  }
  const std::size_t most = fleet_.admission.prefixes_per_cluster();
  for (auto& [name, claims] : by_cluster) {
    if (claims.size() <= most || name == options_.cluster) {
      continue;
    }
    std::stable_sort(claims.begin(), claims.end(), [](const Claim* a, const Claim* b) { return a->rank < b->rank; });
    problem(claims[most]->where,
            "cluster " + name + " has " + std::to_string(claims.size()) + " prefixes, of which " +
                std::to_string(most) + " are used; " + claims[most]->prefix.to_string() + " is the first that is not",
            "give its nodes prefixes that merge, or allow more (admission.prefixes_per_cluster)");
    for (std::size_t i = most; i < claims.size(); ++i) {
      accepted.erase(Prefix(claims[i]->prefix));
    }
  }
}

bool PrefixClaims::accept(Accepted& accepted, const Claim& claim) {
  auto first = accepted.upper_bound(Prefix(claim.prefix.address(), 128));
  if (first != accepted.begin() && std::prev(first)->first.contains(claim.prefix.address())) {
    --first;
  }
  // Visits every overlapping prefix: one that contains the claim, or those inside it.
  auto last = first;
  while (last != accepted.end() && (last->first.contains(claim.prefix) || claim.prefix.contains(last->first))) {
    if (last->second.cluster != claim.cluster) {
      const Claim& other = last->second;
      problem(claim.where,
              "prefix " + claim.prefix.to_string() + " of cluster " + claim.cluster + " overlaps " +
                  other.prefix.to_string() + " of cluster " + other.cluster + " (" + other.where + ") and is left out",
              "give the clusters prefixes that do not overlap");
      return false;
    }
    if (last->first.contains(claim.prefix)) {
      return true;
    }
    ++last;
  }
  Claim merged = claim;  // of what it takes in, the cluster had something before
  for (auto inside = first; inside != last; ++inside) {
    merged.rank = std::min(merged.rank, inside->second.rank);
  }
  accepted.erase(first, last);
  accepted.emplace(claim.prefix, std::move(merged));
  return true;
}

std::optional<std::string> PrefixClaims::pods_at(const IpAddress& address) const {
  const auto after = pods_.upper_bound(Prefix(address, 128));
  if (after == pods_.begin() || !std::prev(after)->first.contains(address)) {
    return std::nullopt;
  }
  const Claim& claim = std::prev(after)->second;
  return "pod prefix " + claim.prefix.to_string() + " of cluster " + claim.cluster;
}

}  // namespace isthmus
