#include "control/compile/fleet.h"

#include <algorithm>
#include <set>

#include "control/compile/prefix_claims.h"

namespace isthmus {
namespace {

constexpr unsigned kMaxClusters = 255, kMaxClustersWide = 511;

unsigned max_clusters(ClusterBits bits) { return bits.shift == 15 ? kMaxClustersWide : kMaxClusters; }

bool names(const ProfileObject& profile, const std::string& cluster) {
  return std::find(profile.clusters.begin(), profile.clusters.end(), cluster) != profile.clusters.end();
}

// The identity layout for the maxConnectedClusters of our profiles; where they differ, the first by name decides.
ClusterBits cluster_bits(const Model& model, const std::string& cluster) {
  std::optional<ClusterBits> bits;
  model.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
    if (!bits && names(profile, cluster)) {
      bits = ClusterBits{static_cast<std::uint8_t>(profile.max_connected_clusters > kMaxClusters ? 15 : 16)};
    }
  });
  return bits.value_or(ClusterBits{});
}

class Builder {
 public:
  Builder(const Model& model, const CompilerOptions& options, const OwnGateway& own, const Fleet* previous)
      : model_(model), options_(options), previous_(previous) {
    fleet_.own = own;
  }

  Fleet build() {
    check_own();
    add_clusters();
    add_links();
    set_admission();
    prefixes_.settle();
    add_gateways();
    check_publishers();
    index_ends();
    return std::move(fleet_);
  }

 private:
  struct Candidate {
    const ObjectKey* key;
    const ClusterObject* object;
    std::string where;
    bool incumbent;  // has the id that it had
    ClusterId had;   // its id in the previous fleet; kNoCluster: it was not there
  };
  void problem(std::string where, std::string what, std::string fix) {
    fleet_.problems.push_back({std::move(what), std::move(where), std::move(fix)});
  }

  // Compares what the engine was started with to what the hub says now.
  void check_own() {
    const Result<OwnGateway> now = find_own_gateway(model_, options_.cluster, options_.gateway);
    if (!now) {
      problem(now.error().where, now.error().what + "; this gateway keeps the parameters it was started with",
              now.error().fix);
      return;
    }
    if (!(*now == fleet_.own)) {
      problem("gateway " + options_.gateway,
              "the cluster's id or encapsulation, the profile's number of clusters, or the gateway's underlay address, "
              "port or encapsulation has changed in the hub",
              "restart this gateway to apply the change");
    }
  }

  void add_clusters() {
    std::vector<Candidate> candidates;
    model_.visit<ClusterObject>(
        ObjectKind::kCluster, [&](const ObjectKey& key, const ClusterObject& object, const Provenance& provenance) {
          const FleetCluster* old = previous_ == nullptr ? nullptr : previous_->find(key.name);
          const ClusterId had = old == nullptr ? kNoCluster : old->id;
          candidates.push_back({&key, &object, provenance.text(), had != kNoCluster && had == object.id, had});
        });
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](const Candidate& a, const Candidate& b) { return rank(a) < rank(b); });
    std::map<ClusterId, const FleetCluster*> taken;
    if (previous_ != nullptr && !model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, options_.cluster})) {
      if (const FleetCluster* local = previous_->find(options_.cluster)) {
        FleetCluster& kept = fleet_.clusters[local->name] = *local;
        kept.gateways.clear();
        taken[kept.id] = &kept;
      }
    }
    for (const Candidate& c : candidates) {
      const bool local = c.key->name == options_.cluster;
      ClusterId id = local ? fleet_.own.cluster : c.object->id;
      if (Problem wrong = wrong_id(c, id, taken, candidates); !wrong.what.empty()) {
        id = taken.count(c.had) == 0 ? c.had : kNoCluster;  // it keeps the one it had
        wrong.what += id == kNoCluster ? "; " + c.key->name + " is left out"
                                       : "; " + c.key->name + " stays with its id " + std::to_string(id.value());
        fleet_.problems.push_back(std::move(wrong));
        if (id == kNoCluster) {
          continue;
        }
      }
      FleetCluster& cluster = fleet_.clusters[c.key->name];
      cluster.name = c.key->name;
      cluster.id = id;
      cluster.local = cluster.linked = local;
      cluster.where = c.where;
      cluster.encapsulation = local ? fleet_.own.cluster_encapsulation : c.object->encapsulation;
      taken[id] = &cluster;
    }
  }

  // Nothing in `what`: the cluster can have the id.
  Problem wrong_id(const Candidate& c, ClusterId id, const std::map<ClusterId, const FleetCluster*>& taken,
                   const std::vector<Candidate>& candidates) const {
    const std::string& name = c.key->name;
    const unsigned max_id = max_clusters(fleet_.own.cluster_bits);
    if (id == kNoCluster || id.value() > max_id) {
      return {"cluster " + name + " has id " + std::to_string(id.value()) + ", which is not in 1.." +
                  std::to_string(max_id),
              c.where, "give it a free id in that range"};
    }
    const auto taken_by = [&](const std::string& other, const std::string& where) -> Problem {
      return {"clusters " + other + " (" + where + ") and " + name + " have the same id " + std::to_string(id.value()),
              c.where, "give " + name + " a unique id"};
    };
    if (const auto other = taken.find(id); other != taken.end()) {
      return taken_by(other->second->name, other->second->where);
    }
    // Who had the id and is not yet settled may have to stay with it.
    for (const Candidate& other : candidates) {
      if (other.had == id && &other != &c && fleet_.clusters.count(other.key->name) == 0) {
        return taken_by(other.key->name, other.where);
      }
    }
    return {};
  }

  [[nodiscard]] int rank(const Candidate& c) const {
    return c.key->name == options_.cluster ? 0 : c.incumbent ? 1 : c.had != kNoCluster ? 2 : 3;
  }

  void add_links() {
    bool any = false;
    model_.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey& key, const ProfileObject& profile,
                                                          const Provenance& provenance) {
      const bool ours = names(profile, options_.cluster);
      any = any || ours;
      for (const std::string& name : profile.clusters) {
        const auto cluster = fleet_.clusters.find(name);
        if (cluster != fleet_.clusters.end()) {
          cluster->second.linked = cluster->second.linked || ours;
        } else if (!model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, name})) {
          problem(provenance.text(), "profile " + key.name + " names cluster " + name + ", which has no Cluster object",
                  "add the Cluster object, or remove the name from the profile");
        }
      }
      const unsigned max_id = max_clusters(fleet_.own.cluster_bits);
      if ((profile.max_connected_clusters > kMaxClusters) != (max_id > kMaxClusters)) {
        problem(provenance.text(),
                "profile " + key.name + " has maxConnectedClusters " + std::to_string(profile.max_connected_clusters) +
                    ", this gateway was started with " + std::to_string(max_id) +
                    ": identities would be attributed to the wrong cluster",
                "set the same maxConnectedClusters in all profiles, then restart the gateways");
      }
    });
    if (!any) {
      problem("cluster " + options_.cluster,
              "no CrossClusterNetworkProfile names this cluster: it exchanges no traffic with other clusters",
              "add a profile that lists it together with the clusters it may reach");
    }
  }

  // What the configuration and the profiles allow.
  void set_admission() {
    std::vector<ReservedAddress> reserved = options_.reserved;
    model_.visit<NodeObject>(ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const auto&) {
      for (const IpAddress& address : key.cluster == options_.cluster ? node.addresses : std::vector<IpAddress>{}) {
        reserved.push_back({address, "an address of node " + key.name + " of this cluster"});
      }
    });
    fleet_.admission = Admission(options_.admission, options_.cluster, std::move(reserved));
    for (const auto& [cluster, prefixes] : options_.admission.pods) {
      fleet_.admission.allow_pods(cluster, prefixes);
    }
    model_.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
      if (!names(profile, options_.cluster)) {
        return;
      }
      for (const std::string& cluster : profile.clusters) {
        fleet_.admission.allow_vips(cluster, profile.vip_pools);
      }
      for (const auto& [cluster, member] : profile.members) {
        if (member.pod_prefixes && options_.admission.pods.count(cluster) == 0) {
          fleet_.admission.allow_pods(cluster, *member.pod_prefixes);
        }
        fleet_.admission.allow_vips(cluster, member.vip_pools);
      }
    });
  }

  void add_gateways() {
    struct Entry {
      const ObjectKey* key;
      const GatewayObject* object;
      std::string where;
      int rank;
    };
    std::vector<Entry> entries;
    model_.visit<GatewayObject>(
        ObjectKind::kGateway, [&](const ObjectKey& key, const GatewayObject& object, const Provenance& provenance) {
          const bool incumbent = previous_ != nullptr && previous_->gateway_at(tunnel_end(fleet_.own, object)) ==
                                                             std::optional("gateway " + key.name);
          const int order = key.name == options_.gateway ? 0 : incumbent ? 1 : 2;
          entries.push_back({&key, &object, provenance.text(), order});
        });
    // Between new ones the lower cluster id: what every gateway of the fleet sees alike.
    const auto order = [&](const Entry& entry) {
      const FleetCluster* cluster = fleet_.find(entry.object->cluster);
      return std::pair(entry.rank, cluster == nullptr ? kNoCluster : cluster->id);
    };
    std::stable_sort(entries.begin(), entries.end(),
                     [&](const Entry& a, const Entry& b) { return order(a) < order(b); });
    for (const Entry& entry : entries) {
      if (entry.key->name != options_.gateway) {
        GatewayObject object = *entry.object;
        object.underlay = tunnel_end(fleet_.own, object);
        add_gateway(entry.key->name, object, entry.where);
      }
    }
    if (const auto own = fleet_.clusters.find(options_.cluster); own != fleet_.clusters.end()) {
      own->second.gateways.push_back(
          {options_.gateway, fleet_.own.underlay, fleet_.own.port, {}, fleet_.own.encapsulation});
    }
    for (auto& [name, cluster] : fleet_.clusters) {
      std::sort(cluster.gateways.begin(), cluster.gateways.end(),
                [](const FleetGateway& a, const FleetGateway& b) { return a.name < b.name; });
      if (cluster.gateways.empty() && cluster.linked && !cluster.native()) {
        problem(cluster.where, "cluster " + name + " has no usable gateway: it cannot be reached",
                "add a Gateway object with spec.cluster " + name);
      }
    }
  }

  void add_gateway(const std::string& name, const GatewayObject& object, const std::string& where) {
    const std::string address = object.underlay.to_string();
    const auto cluster = fleet_.clusters.find(object.cluster);
    if (cluster == fleet_.clusters.end()) {
      problem(where, "gateway " + name + " belongs to cluster " + object.cluster + ", which is missing or invalid",
              "add or fix the Cluster object, or correct spec.cluster");
      return;
    }
    if (fleet_.own.address(object.underlay.family()) == nullptr) {
      problem(where,
              "gateway " + name + " has the underlay address " + address +
                  ", which is of another address family than ours (" + fleet_.own.underlay.to_string() + ")",
              "give the gateways of linked clusters underlay addresses of the same family");
      return;
    }
    if (const std::string why = fleet_.admission.refuse_gateway(object.cluster, object.underlay); !why.empty()) {
      problem(where, "gateway " + name + " has the underlay address " + address + ", " + why + ", and is left out",
              "give it an address of its own node, outside the VIP pools");
      return;
    }
    const std::optional<std::string> other = fleet_.own.is_ours(object.underlay)
                                                 ? std::optional("gateway " + options_.gateway + " (this one)")
                                                 : fleet_.gateway_at(object.underlay);
    if (other) {
      problem(where,
              "gateway " + name + " and " + *other + " have the same underlay address " + address + "; " + name +
                  " is left out",
              "give each gateway a unique underlay address");
      return;
    }
    if (const std::optional<std::string> pods = prefixes_.pods_at(object.underlay)) {
      problem(where,
              "gateway " + name + " has the underlay address " + address + " inside " + *pods +
                  ": packets to this tunnel end would themselves be tunnelled",
              "give it an underlay address outside the podCIDRs of every cluster");
      return;
    }
    cluster->second.gateways.push_back({name, object.underlay, object.port, where, object.encapsulation});
  }

  void index_ends() {
    for (const auto& [name, cluster] : fleet_.clusters) {
      for (const FleetGateway& gateway : cluster.gateways) {
        fleet_.tunnel_ends.push_back(gateway.underlay);
      }
      fleet_.ipv4_without_prefixes = fleet_.ipv4_without_prefixes || !cluster.pods_ipv4;
      fleet_.ipv6_without_prefixes = fleet_.ipv6_without_prefixes || !cluster.pods_ipv6;
    }
    fleet_.tunnel_ends.insert(fleet_.tunnel_ends.end(), fleet_.own.more.begin(), fleet_.own.more.end());
    std::sort(fleet_.tunnel_ends.begin(), fleet_.tunnel_ends.end());
  }

  void check_publishers() {
    for (const auto& [cluster, objects] : model_.publishers()) {
      if (!model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, cluster}) && cluster != options_.cluster) {
        problem(
            "cluster " + cluster,
            std::to_string(objects) + " objects are published for cluster " + cluster + ", which has no Cluster object",
            "add the Cluster object, or correct the folder's name");
      }
    }
  }

  const Model& model_;
  const CompilerOptions& options_;
  const Fleet* previous_;
  Fleet fleet_;
  PrefixClaims prefixes_{model_, options_, previous_, fleet_};
};

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
  auto it = std::upper_bound(ranges.begin(), ranges.end(), address,
                             [](const IpAddress& a, const Range& range) { return a < range.prefix.address(); });
  return it == ranges.begin() || !std::prev(it)->prefix.contains(address) ? nullptr : find(std::prev(it)->cluster);
}

bool Fleet::is_tunnel_end(const IpAddress& address) const {
  return std::binary_search(tunnel_ends.begin(), tunnel_ends.end(), address);
}

std::optional<std::string> Fleet::gateway_at(const IpAddress& address) const {
  for (const auto& [name, cluster] : clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      if (gateway.underlay == address) {
        return "gateway " + gateway.name;
      }
    }
  }
  return std::nullopt;
}

Fleet build_fleet(const Model& model, const CompilerOptions& options, const OwnGateway& own, const Fleet* previous) {
  return Builder(model, options, own, previous).build();
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
        own.provenance->text(), "correct spec.cluster, or gateway.cluster in the configuration"};
  }
  const ClusterBits bits = cluster_bits(model, cluster);
  if (own_cluster->id == kNoCluster || own_cluster->id.value() > max_clusters(bits)) {
    return Error{"our own cluster " + cluster + " has id " + std::to_string(own_cluster->id.value()) +
                     ", which is not in 1.." + std::to_string(max_clusters(bits)),
                 own_cluster.provenance->text(), "give it a free id in that range"};
  }
  if (std::any_of(own->more.begin(), own->more.end(), [&](const IpAddress& address) {
        return address.family() == own->underlay.family() || address.family() != own->more.front().family();
      })) {
    return Error{"the Gateway object of this gateway has several underlay addresses of one family",
                 own.provenance->text(), "keep one of IPv4 and one of IPv6"};
  }
  return OwnGateway{own_cluster->id,           bits, own->underlay, own->port, own->more, own->encapsulation,
                    own_cluster->encapsulation};
}

}  // namespace isthmus
