#include "control/compile/fleet.h"

#include <algorithm>
#include <iterator>

#include "control/compile/cluster_ids.h"

namespace isthmus {
namespace {

// The identity layout for the maxConnectedClusters of our profiles; where they differ, the first by name decides, of
// those that link clusters, if there are such.
ClusterBits cluster_bits(const Model& model, const std::string& cluster) {
  std::optional<ClusterBits> bits, of_one;
  model.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
    auto& decided = links_clusters(profile) ? bits : of_one;
    if (!decided && names_cluster(profile, cluster)) {
      decided = ClusterBits{static_cast<std::uint8_t>(profile.max_connected_clusters > kMaxClusters ? 15 : 16)};
    }
  });
  return bits.value_or(of_one.value_or(ClusterBits{}));
}

}  // namespace

const FleetCluster* Fleet::find(const std::string& name) const {
  const auto it = clusters.find(name);
  return it == clusters.end() ? nullptr : &it->second;
}

const FleetCluster* Fleet::find(ClusterId id) const {
  const auto it = std::find_if(clusters.begin(), clusters.end(), [&](const auto& c) { return c.second.id == id; });
  return it == clusters.end() ? nullptr : &it->second;
}

const FleetCluster* Fleet::owner(const IpAddress& address) const {
  const auto after = ranges.upper_bound(Prefix(address, 128));
  return after == ranges.begin() || !std::prev(after)->first.contains(address) ? nullptr
                                                                               : find(std::prev(after)->second);
}

std::optional<AddressForms> Fleet::forms_of(const IpAddress& address) const {
  const FleetCluster* local = find(own.cluster);
  const IpAddress alias = local == nullptr ? address : to_alias(local->aliases, address);
  if (alias != address) {
    return AddressForms{address, alias};
  }
  const FleetCluster* cluster = owner(address);
  const IpAddress inside = cluster == nullptr ? address : to_own(cluster->aliases, address);
  return inside == address ? std::nullopt : std::optional(AddressForms{inside, address});
}

bool Fleet::is_tunnel_end(const IpAddress& address) const {
  return tunnel_ends.count(address) != 0 || own.is_ours(address);
}

std::optional<std::string> Fleet::gateway_at(const IpAddress& address) const {
  const auto at = tunnel_ends.find(address);
  return at == tunnel_ends.end() ? std::nullopt : std::optional("gateway " + at->second);
}

IpAddress tunnel_end(const OwnGateway& own, const GatewayObject& object) {
  std::vector<IpAddress> addresses{object.underlay};
  addresses.insert(addresses.end(), object.more.begin(), object.more.end());
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const auto at = std::find_if(addresses.begin(), addresses.end(),
                                 [&](const IpAddress& address) { return address.family() == family; });
    if (at != addresses.end() && own.address(family) != nullptr) {
      return *at;
    }
  }
  return object.underlay;
}

const IpAddress* OwnGateway::address(Family family) const {
  if (underlay.family() == family) {
    return &underlay;
  }
  const auto at = std::find_if(more.begin(), more.end(), [&](const IpAddress& a) { return a.family() == family; });
  return at == more.end() ? nullptr : &*at;
}

TunnelEnds OwnGateway::tunnel_ends() const {
  TunnelEnds ends;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    if (const IpAddress* own = address(family)) {
      (family == Family::kIpv4 ? ends.ipv4 : ends.ipv6) = *own;
    }
  }
  ends.kind = encapsulation;
  for (const EncapsulationInfo& info : encapsulations()) {
    const L4Port at = info.kind == encapsulation ? port : info.default_port;
    const bool taken = info.kind != encapsulation && at == port;
    ends.ports[static_cast<std::size_t>(info.kind)] = taken ? L4Port{0} : at;
  }
  return ends;
}

Result<OwnGateway> find_own_gateway(const Model& model, const std::string& cluster, const std::string& gateway) {
  const auto own_cluster = model.find<ClusterObject>({ObjectKind::kCluster, {}, {}, cluster});
  if (!own_cluster) {
    return Error{"the hub has no Cluster object for our own cluster " + cluster, "cluster " + cluster,
                 "add one with its id and podCIDRs, or correct gateway.cluster in the configuration"};
  }
  const auto own = model.find<GatewayObject>({ObjectKind::kGateway, {}, {}, gateway});
  if (!own) {
    return Error{"the hub has no Gateway object for this gateway", "gateway " + gateway,
                 "add one with its cluster and underlayAddress, or correct gateway.name in the configuration"};
  }
  if (own->cluster != cluster) {
    return Error{
        "the Gateway object of this gateway names cluster " + own->cluster + ", the configuration names " + cluster,
        own.provenance.text(), "correct spec.cluster, or gateway.cluster in the configuration"};
  }
  const ClusterBits bits = cluster_bits(model, cluster);
  if (own_cluster->id == kNoCluster || own_cluster->id.value() > max_clusters(bits)) {
    return Error{"our own cluster " + cluster + " has id " + std::to_string(own_cluster->id.value()) +
                     ", which is not in 1.." + std::to_string(max_clusters(bits)),
                 own_cluster.provenance.text(), "give it a free id in that range"};
  }
  if (std::any_of(own->more.begin(), own->more.end(), [&](const IpAddress& address) {
        return address.family() == own->underlay.family() || address.family() != own->more.front().family();
      })) {
    return Error{"the Gateway object of this gateway has several underlay addresses of one family",
                 own.provenance.text(), "keep one of IPv4 and one of IPv6"};
  }
  return OwnGateway{own_cluster->id,           bits, own->underlay, own->port, own->more, own->encapsulation,
                    own_cluster->encapsulation};
}

PolicyClusters policy_clusters(const Fleet& fleet) {
  PolicyClusters out;
  out.shift = fleet.own.cluster_bits.shift;
  for (const auto& [name, cluster] : fleet.clusters) {
    out.clusters.push_back({name, cluster.id});
  }
  out.ranges = fleet.ranges;
  return out;
}

std::vector<PolicyRange> policy_ranges(const std::vector<Prefix>& moved, const Fleet& fleet) {
  std::vector<PolicyRange> ranges;
  for (const Prefix& prefix : moved) {
    const auto at = fleet.ranges.find(prefix);
    ranges.push_back({prefix, at == fleet.ranges.end() ? std::string() : at->second});
  }
  return ranges;
}

}  // namespace isthmus
