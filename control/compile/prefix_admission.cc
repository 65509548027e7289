// What of the prefixes that clusters claim is admitted, and the list of what is not, or is left out.
#include <algorithm>
#include <iterator>
#include <map>

#include "control/compile/listing.h"
#include "control/compile/prefix_claims.h"
#include "control/compile/remedies.h"

namespace isthmus {

std::string alias_note(const Fleet& fleet, const std::string& cluster, const Prefix& prefix) {
  const FleetCluster* const of = fleet.find(cluster);
  for (const AliasPrefix& pair : of == nullptr ? AliasPrefixes{} : of->aliases) {
    if (pair.alias.family() == prefix.family() && pair.alias.contains(prefix)) {
      return " (alias of " + to_own(AliasPrefixes{pair}, prefix).to_string() + ")";
    }
  }
  return {};
}

void PrefixClaims::find_tunnel_ends() {
  ends_.clear();
  model_.visit<GatewayObject>(
      ObjectKind::kGateway, [&](const ObjectKey& key, const GatewayObject& object, const auto&) {
        const bool own = key.name == options_.gateway;
        const FleetCluster* cluster = fleet_->find(object.cluster);
        if (!own && (cluster == nullptr || !cluster->linked)) {
          return;  // nobody's tunnel ends there
        }
        const IpAddress address = own ? fleet_->own.underlay : tunnel_end(fleet_->own, object);
        if (fleet_->own.address(address.family()) == nullptr) {
          return;
        }
        const bool incumbent =
            own || (previous_ != nullptr && previous_->gateway_at(address) == std::optional("gateway " + key.name));
        ends_.push_back({address, key.name, object.cluster, incumbent});
      });
  std::sort(ends_.begin(), ends_.end());
}

bool PrefixClaims::settle_tunnel_ends(const Fleet& fleet) {
  std::map<IpAddress, std::string> standing;
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      standing.emplace(gateway.underlay, gateway.name);
    }
  }
  for (TunnelEnd& end : ends_) {
    const auto at = standing.find(end.address);
    const bool now = end.gateway == options_.gateway || (at != standing.end() && at->second == end.gateway);
    if (now != end.incumbent) {
      end.incumbent = now;
      changed_ends_.push_back(end.address);
    }
  }
  return !changed_ends_.empty();
}

bool PrefixClaims::has_tunnel_end(const Prefix& prefix) const {
  const auto end = std::lower_bound(ends_.begin(), ends_.end(), TunnelEnd{prefix.address(), {}, {}, false});
  return end != ends_.end() && prefix.contains(end->address);
}

void PrefixClaims::admit(const Prefix& prefix, Entry& entry) {
  entry.stays.clear();
  entry.admitted = entry.kept;
  entry.pods = false;  // of what is kept it is not known, and no gateway is left out because of it
  for (Claim& claim : entry.claims) {
    list_refusal(prefix, entry, claim, false);
    claim.refused = claim.by == nullptr ? "" : refusal(prefix, entry, claim, rank_of(prefix, entry, claim));
    list_refusal(prefix, entry, claim, true);
    entry.admitted = entry.admitted || claim.refused.empty();
    entry.pods = entry.pods || (claim.pods && claim.refused.empty());
  }
  if (entry.stays.empty()) {
    staying_.erase({prefix, entry.cluster});
  } else {
    staying_.emplace(prefix, entry.cluster);
  }
}

std::string PrefixClaims::refusal(const Prefix& prefix, Entry& entry, const Claim& claim, int rank) {
  const Admission& admission = fleet_->admission;
  std::string why =
      claim.pods ? admission.refuse_pods(entry.cluster, prefix) : admission.refuse_nodes(entry.cluster, prefix);
  if (why.empty()) {
    why = tunnel_end_inside(prefix, entry, rank);
  }
  if (why.empty()) {
    why = admission.takes_reserved(entry.cluster, prefix, claim.pods);
    if (why.empty()) {
      why = admission.takes_network(entry.cluster, prefix);
    }
    if (!why.empty() && rank == 1) {  // what a cluster has had is not taken from it
      entry.stays = std::exchange(why, {});
    }
  }
  return why;
}

std::string PrefixClaims::tunnel_end_inside(const Prefix& prefix, const Entry& entry, int rank) const {
  const IpAddress last = prefix.last();
  for (auto end = std::lower_bound(ends_.begin(), ends_.end(), TunnelEnd{prefix.address(), {}, {}, false});
       end != ends_.end() && end->address <= last; ++end) {
    if (end->cluster == entry.cluster || rank == 0 ||
        (end->gateway != options_.gateway && !fleet_->admission.refuse_gateway(end->cluster, end->address).empty())) {
      continue;
    }
    const FleetCluster *its = fleet_->find(end->cluster), *own = fleet_->find(entry.cluster);
    const bool stands = rank == 1 || (!end->incumbent && (its == nullptr || own->id < its->id));
    if (!stands) {
      return "which includes the underlay address " + end->address.to_string() + " of gateway " + end->gateway +
             " of cluster " + end->cluster;
    }
  }
  return {};
}

void PrefixClaims::list_refusal(const Prefix& prefix, const Entry& entry, const Claim& claim, bool listed) {
  if (claim.refused.empty()) {
    return;
  }
  const std::pair<std::string, std::string> of{entry.cluster, claim.refused};
  auto& claims = refused_[of];
  if (listed) {
    claims.emplace(prefix, claim.by);
    return;
  }
  const auto [first, last] = claims.equal_range(prefix);
  const auto at = std::find_if(first, last, [&](const auto& each) { return each.second == claim.by; });
  if (at != last) {
    claims.erase(at);
  }
  if (claims.empty()) {
    refused_.erase(of);
  }
}

std::string PrefixClaims::where(const ObjectKey* object) const {
  if (object == nullptr) {
    return {};
  }
  if (const auto node = model_.find<NodeObject>(*object)) {
    return node.provenance.text();
  }
  // What is allowed to a cluster by name has no object of its own.
  const auto cluster = model_.find<ClusterObject>(
      object->cluster.empty() ? *object : ObjectKey{ObjectKind::kCluster, {}, {}, object->cluster});
  return cluster ? cluster.provenance.text() : std::string();
}

std::string PrefixClaims::where(const Entry& entry) const {
  if (entry.claims.empty()) {
    const FleetCluster* cluster = fleet_ == nullptr ? nullptr : fleet_->find(entry.cluster);
    return cluster == nullptr ? std::string() : cluster->where;
  }
  // Of several the first by kind and name, whichever came first.
  const auto best = std::min_element(entry.claims.begin(), entry.claims.end(), [](const Claim& x, const Claim& y) {
    return x.by != nullptr && y.by != nullptr && *x.by < *y.by;
  });
  return where(best->by);
}

void PrefixClaims::list_overlap(const Fleet& fleet, const Name& name, std::vector<Problem>& problems) {
  const Entry& entry = *find(name);
  const auto note = [&](const Entry& of, const Prefix& prefix) { return alias_note(fleet, of.cluster, prefix); };
  entries_.overlapping(name.first, [&](const Prefix& prefix, const Entries& entries) {
    const auto other = std::find_if(entries.begin(), entries.end(),
                                    [&](const Entry& each) { return each.accepted && each.cluster != entry.cluster; });
    if (other == entries.end()) {
      return true;
    }
    const std::string own = note(entry, name.first), others = note(*other, prefix);
    const std::string& mover = own.empty() && !others.empty() ? other->cluster : entry.cluster;
    const std::string first = own.empty() && others.empty()
                                  ? "give the clusters prefixes that do not overlap, or each of them an alias: "
                                  : "give cluster " + mover + " another alias, which nothing else uses: ";
    problems.push_back(
        {"prefix " + name.first.to_string() + own + " of cluster " + entry.cluster + " overlaps " + prefix.to_string() +
             others + " of cluster " + other->cluster + " (" + where(*other) + ") and is left out",
         where(entry), first + alias_command(options_, mover, name.first.family()) + ", or aliasCIDRs of a profile"});
    return false;
  });
}

bool PrefixClaims::refused_in(const Prefix& prefix, const std::string& cluster) {
  const auto none_refused = [&](const Prefix&, const Entries& entries) {
    return std::none_of(entries.begin(), entries.end(), [&](const Entry& each) {
      return each.cluster == cluster && std::any_of(each.claims.begin(), each.claims.end(),
                                                    [](const Claim& claim) { return !claim.refused.empty(); });
    });
  };
  const Entries* const whole = entries_.find(prefix);
  return (whole != nullptr && !none_refused(prefix, *whole)) || !entries_.inside(prefix, none_refused);
}

void PrefixClaims::append_problems(const Fleet& fleet, std::vector<Problem>& problems) {
  list_problems(left_out_, "prefixes that overlap those of other clusters", problems,
                [&](const Name& name, auto& list) { list_overlap(fleet, name, list); });
  list_problems(staying_, "prefixes that stay although new ones would be refused", problems,
                [&](const Name& name, auto& list) {
                  const Entry& entry = *find(name);
                  list.push_back({"prefix " + name.first.to_string() + " of cluster " + entry.cluster + ", " +
                                      entry.stays + ", stays: it was there before",
                                  where(entry),
                                  "give this node another address, or the cluster other prefixes; a restart of this "
                                  "gateway refuses it"});
                });
  list_problems(too_many_, "clusters with too many prefixes", problems,
                [](const auto& of, auto& list) { list.push_back(of.second); });
  list_problems(refused_, "reasons to refuse prefixes", problems, [&](const auto& of, auto& list) {
    const auto& [claimant, claims] = of;
    const auto same = claims.equal_range(claims.begin()->first);
    const auto first =
        std::min_element(same.first, same.second, [](const auto& a, const auto& b) { return *a.second < *b.second; });
    const std::string more = claims.size() == 1 ? "" : " and " + std::to_string(claims.size() - 1) + " more";
    list.push_back({"prefix " + first->first.to_string() + alias_note(fleet, claimant.first, first->first) + more +
                        " of cluster " + claimant.first + ", " + claimant.second +
                        (claims.size() == 1 ? ", is refused" : ", are refused"),
                    where(first->second),
                    "claim only prefixes of the cluster's own pods and nodes, or of aliases that nothing else uses (" +
                        alias_command(options_, claimant.first, first->first.family()) +
                        "), or allow it in the profile or under `admission` in the "
                        "configuration"});
  });
}

}  // namespace isthmus
