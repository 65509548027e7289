#include "control/compile/fleet.h"

#include <algorithm>
#include <set>

namespace isthmus {
namespace {

constexpr unsigned kMostClusters = 255, kMostClustersWide = 511;

unsigned most_clusters(ClusterBits bits) { return bits.shift == 15 ? kMostClustersWide : kMostClusters; }

bool names(const ProfileObject& profile, const std::string& cluster) {
  return std::find(profile.clusters.begin(), profile.clusters.end(), cluster) != profile.clusters.end();
}

// The bits that our profiles ask for, by the first of them in order of name.
ClusterBits cluster_bits(const Model& model, const std::string& cluster) {
  std::optional<ClusterBits> bits;
  model.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
    if (!bits && names(profile, cluster)) {
      bits = ClusterBits{static_cast<std::uint8_t>(profile.max_connected_clusters > kMostClusters ? 15 : 16)};
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
    add_prefixes();
    add_gateways();
    check_publishers();
    return std::move(fleet_);
  }

 private:
  struct Candidate {
    const ObjectKey* key;
    const ClusterObject* object;
    std::string place;
    bool incumbent;
  };
  struct Block {
    Prefix prefix;
    std::string cluster, place;
    int rank;  // who is asked first: 0 our own, 1 who had it before, 2 Cluster objects, 3 nodes
  };

  void problem(std::string place, std::string what, std::string remedy) {
    fleet_.problems.push_back({std::move(what), std::move(place), std::move(remedy)});
  }

  // What the engine was started with against what the hub says now.
  void check_own() {
    const Result<OwnGateway> now = find_own_gateway(model_, options_.cluster, options_.gateway);
    if (!now) {
      problem(now.error().where, now.error().what + "; this gateway goes on as it was", now.error().remedy);
      return;
    }
    if (!(*now == fleet_.own)) {
      problem("gateway " + options_.gateway,
              "the cluster id, the profile's number of clusters, or the gateway's underlay address or port has changed "
              "in the hub",
              "restart this gateway to take it over");
    }
  }

  void add_clusters() {
    std::vector<Candidate> candidates;
    model_.visit<ClusterObject>(
        ObjectKind::kCluster, [&](const ObjectKey& key, const ClusterObject& object, const Provenance& place) {
          const FleetCluster* before = previous_ == nullptr ? nullptr : previous_->find(key.name);
          candidates.push_back({&key, &object, place.text(), before != nullptr && before->id == object.id});
        });
    std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
      return rank(a.key->name, a.incumbent) < rank(b.key->name, b.incumbent);
    });
    std::map<ClusterId, const FleetCluster*> taken;
    if (previous_ != nullptr && !model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, options_.cluster})) {
      if (const FleetCluster* local = previous_->find(options_.cluster)) {
        FleetCluster& kept = fleet_.clusters[local->name] = *local;
        kept.gateways.clear();
        taken[kept.id] = &kept;
      }
    }
    for (const Candidate& c : candidates) {
      const std::string& name = c.key->name;
      const bool local = name == options_.cluster;
      const ClusterId id = local ? fleet_.own.cluster : c.object->id;
      const unsigned most = most_clusters(fleet_.own.cluster_bits);
      if (id == kNoCluster || id.value() > most) {
        problem(c.place,
                "cluster " + name + " has id " + std::to_string(id.value()) + ", which is not in 1.." +
                    std::to_string(most),
                "give it a free id in that range");
        continue;
      }
      if (const auto other = taken.find(id); other != taken.end()) {
        problem(c.place,
                "clusters " + other->second->name + " (" + other->second->place + ") and " + name +
                    " have the same id " + std::to_string(id.value()) + "; " + name + " is left out",
                "give " + name + " an id of its own");
        continue;
      }
      FleetCluster& cluster = fleet_.clusters[name];
      cluster.name = name;
      cluster.id = id;
      cluster.local = cluster.linked = local;
      cluster.place = c.place;
      taken[id] = &cluster;
    }
  }

  [[nodiscard]] int rank(const std::string& cluster, bool incumbent) const {
    return cluster == options_.cluster ? 0 : incumbent ? 1 : 2;
  }

  void add_links() {
    bool any = false;
    model_.visit<ProfileObject>(
        ObjectKind::kProfile, [&](const ObjectKey& key, const ProfileObject& profile, const Provenance& place) {
          const bool ours = names(profile, options_.cluster);
          any = any || ours;
          for (const std::string& name : profile.clusters) {
            const auto cluster = fleet_.clusters.find(name);
            if (cluster != fleet_.clusters.end()) {
              cluster->second.linked = cluster->second.linked || ours;
            } else if (!model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, name})) {
              problem(place.text(), "profile " + key.name + " names cluster " + name + ", which has no Cluster object",
                      "add the Cluster object or take the name out");
            }
          }
          const unsigned most = most_clusters(fleet_.own.cluster_bits);
          if (ours && (profile.max_connected_clusters > kMostClusters) != (most > kMostClusters)) {
            problem(place.text(),
                    "profile " + key.name + " counts up to " + std::to_string(profile.max_connected_clusters) +
                        " clusters, this gateway up to " + std::to_string(most) +
                        ": identities would be read as another cluster's",
                    "use one maxConnectedClusters in all profiles, then restart the gateways");
          }
        });
    if (!any) {
      problem("cluster " + options_.cluster, "no CrossClusterNetworkProfile names this cluster: nothing crosses",
              "add a profile that lists it with the clusters it may reach");
    }
  }

  [[nodiscard]] bool had(const std::string& cluster, const Prefix& prefix) const {
    const FleetCluster* before = previous_ == nullptr ? nullptr : previous_->find(cluster);
    return before != nullptr && std::any_of(before->prefixes.begin(), before->prefixes.end(),
                                            [&](const Prefix& p) { return p.contains(prefix); });
  }

  void add_prefixes() {
    std::vector<Block> blocks;
    const auto add = [&](const std::string& cluster, const std::vector<Prefix>& prefixes, const std::string& place,
                         int rank_when_new) {
      if (fleet_.clusters.count(cluster) != 0) {
        for (const Prefix& prefix : prefixes) {
          const int rank = cluster == options_.cluster ? 0 : had(cluster, prefix) ? 1 : rank_when_new;
          blocks.push_back({prefix, cluster, place, rank});
        }
      }
    };
    model_.visit<ClusterObject>(ObjectKind::kCluster,
                                [&](const ObjectKey& key, const ClusterObject& object, const Provenance& place) {
                                  add(key.name, object.pod_prefixes, place.text(), 2);
                                  add(key.name, object.node_prefixes, place.text(), 2);
                                });
    model_.visit<NodeObject>(ObjectKind::kNode,
                             [&](const ObjectKey& key, const NodeObject& node, const Provenance& place) {
                               add(key.cluster, node.pod_prefixes, place.text(), 3);
                             });
    std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.rank < b.rank; });
    Accepted accepted;
    for (const auto& [name, cluster] : fleet_.clusters) {
      for (const Prefix& prefix : cluster.prefixes) {  // of an own cluster carried over
        accepted.emplace(prefix, Block{prefix, name, cluster.place, 0});
      }
    }
    for (const Block& block : blocks) {
      accept(accepted, block);
    }
    for (auto& [name, cluster] : fleet_.clusters) {
      cluster.prefixes.clear();
    }
    for (const auto& [prefix, block] : accepted) {
      fleet_.clusters[block.cluster].prefixes.push_back(prefix);
      fleet_.ranges.push_back({prefix, block.cluster});
    }
  }

  // Disjoint, so that the order by address is also the order by last address.
  using Accepted = std::map<Prefix, Block>;

  void accept(Accepted& accepted, const Block& block) {
    auto first = accepted.upper_bound(Prefix(block.prefix.address(), 128));
    if (first != accepted.begin() && std::prev(first)->first.contains(block.prefix.address())) {
      --first;
    }
    // All that meet the block: one that contains it, or those inside it.
    auto last = first;
    while (last != accepted.end() && (last->first.contains(block.prefix) || block.prefix.contains(last->first))) {
      if (last->second.cluster != block.cluster) {
        const Block& other = last->second;
        problem(block.place,
                "prefix " + block.prefix.to_string() + " of cluster " + block.cluster + " overlaps " +
                    other.prefix.to_string() + " of cluster " + other.cluster + " (" + other.place +
                    ") and is left out",
                "give the clusters prefixes that do not overlap");
        return;
      }
      if (last->first.contains(block.prefix)) {
        return;
      }
      ++last;
    }
    accepted.erase(first, last);
    accepted.emplace(block.prefix, block);
  }

  void add_gateways() {
    struct Wanted {
      const ObjectKey* key;
      const GatewayObject* object;
      std::string place;
      int rank;
    };
    std::vector<Wanted> all;
    model_.visit<GatewayObject>(
        ObjectKind::kGateway, [&](const ObjectKey& key, const GatewayObject& object, const Provenance& place) {
          const bool before =
              previous_ != nullptr && previous_->gateway_at(tunnel_end(object)) == std::optional("gateway " + key.name);
          const int order = key.name == options_.gateway ? 0 : before ? 1 : 2;
          all.push_back({&key, &object, place.text(), order});
        });
    std::stable_sort(all.begin(), all.end(), [](const Wanted& a, const Wanted& b) { return a.rank < b.rank; });
    for (const Wanted& w : all) {
      if (w.key->name != options_.gateway) {
        GatewayObject object = *w.object;
        object.underlay = tunnel_end(object);
        add_gateway(w.key->name, object, w.place);
      }
    }
    if (const auto own = fleet_.clusters.find(options_.cluster); own != fleet_.clusters.end()) {
      own->second.gateways.push_back({options_.gateway, fleet_.own.underlay, fleet_.own.port, {}});
    }
    for (auto& [name, cluster] : fleet_.clusters) {
      std::sort(cluster.gateways.begin(), cluster.gateways.end(),
                [](const FleetGateway& a, const FleetGateway& b) { return a.name < b.name; });
      if (cluster.gateways.empty() && cluster.linked) {
        problem(cluster.place, "cluster " + name + " has no usable gateway: it cannot be reached",
                "add a Gateway object with spec.cluster " + name);
      }
    }
  }

  [[nodiscard]] IpAddress tunnel_end(const GatewayObject& object) const {
    const auto ours = [&](const IpAddress& address) { return address.family() == fleet_.own.underlay.family(); };
    const auto other = std::find_if(object.more.begin(), object.more.end(), ours);
    return ours(object.underlay) || other == object.more.end() ? object.underlay : *other;
  }

  void add_gateway(const std::string& name, const GatewayObject& object, const std::string& place) {
    const std::string address = object.underlay.to_string();
    const auto cluster = fleet_.clusters.find(object.cluster);
    if (cluster == fleet_.clusters.end()) {
      problem(place, "gateway " + name + " belongs to cluster " + object.cluster + ", which is not usable",
              "add the Cluster object or mend it, or correct spec.cluster");
      return;
    }
    if (object.underlay.family() != fleet_.own.underlay.family()) {
      problem(place,
              "gateway " + name + " has the underlay address " + address + ", of another family than ours (" +
                  fleet_.own.underlay.to_string() + ")",
              "give the gateways of linked clusters underlay addresses of one family");
      return;
    }
    const std::optional<std::string> other = object.underlay == fleet_.own.underlay
                                                 ? std::optional("gateway " + options_.gateway + " (this one)")
                                                 : fleet_.gateway_at(object.underlay);
    if (other) {
      problem(place,
              "gateway " + name + " and " + *other + " have the same underlay address " + address + "; " + name +
                  " is left out",
              "give each gateway an address of its own");
      return;
    }
    if (const std::optional<std::string> pods = pods_at(object.underlay)) {
      problem(place,
              "gateway " + name + " has the underlay address " + address + " inside " + *pods +
                  ": its tunnel would lead into the tunnel",
              "give it an address of the underlay, outside every cluster's podCIDRs");
      return;
    }
    cluster->second.gateways.push_back({name, object.underlay, object.port, place});
  }

  [[nodiscard]] std::optional<std::string> pods_at(const IpAddress& address) const {
    std::optional<std::string> found;
    model_.visit<ClusterObject>(ObjectKind::kCluster,
                                [&](const ObjectKey& key, const ClusterObject& object, const auto&) {
                                  for (const Prefix& prefix : object.pod_prefixes) {
                                    if (prefix.contains(address)) {
                                      found = "pod prefix " + prefix.to_string() + " of cluster " + key.name;
                                    }
                                  }
                                });
    return found;
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
    return Error{"the Gateway object of this gateway says cluster " + own->cluster + ", the configuration " + cluster,
                 own.provenance->text(), "make the two agree"};
  }
  const ClusterBits bits = cluster_bits(model, cluster);
  if (own_cluster->id == kNoCluster || own_cluster->id.value() > most_clusters(bits)) {
    return Error{"our own cluster " + cluster + " has id " + std::to_string(own_cluster->id.value()) +
                     ", which is not in 1.." + std::to_string(most_clusters(bits)),
                 own_cluster.provenance->text(), "give it a free id in that range"};
  }
  return OwnGateway{own_cluster->id, bits, own->underlay, own->port};
}

}  // namespace isthmus
