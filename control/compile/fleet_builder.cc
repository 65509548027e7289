#include "control/compile/fleet_builder.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "control/compile/cluster_ids.h"
#include "control/model/aliases.h"

namespace isthmus {
namespace {

Problem problem(std::string where, std::string what, std::string fix) {
  return {std::move(what), std::move(where), std::move(fix)};
}

Prefix as_prefix(const Prefix& prefix) { return prefix; }
Prefix as_prefix(const IpAddress& address) { return {address, 128}; }

// The keys that one of the two has alone, or with another value.
template <typename Map>
void append_moved(const Map& before, const Map& now, std::vector<Prefix>& moved) {
  const auto append = [&](const Map& of, const Map& in, bool equal_too) {
    for (const auto& [key, value] : of) {
      const auto at = in.find(key);
      if (at == in.end() || (equal_too && at->second != value)) {
        moved.push_back(as_prefix(key));
      }
    }
  };
  append(before, now, true);
  append(now, before, false);
}

std::vector<ReservedAddress> reserved_by(const ObjectKey& key, const NodeObject& node) {
  std::vector<ReservedAddress> reserved;
  for (const IpAddress& address : node.addresses) {
    reserved.push_back({address, "an address of node " + key.name + " of this cluster"});
  }
  return reserved;
}

}  // namespace

struct FleetBuilder::Candidate {
  const ObjectKey* key;
  const ClusterObject* object;
  std::string where;
  bool incumbent;  // has the id that it had
  ClusterId had;   // its id in the previous fleet; kNoCluster: it was not there
  int rank;        // the lowest is settled first
};

void FleetBuilder::seed() {
  seeded_ = true;
  for (const auto& [name, had] : options_.incumbents.clusters) {
    FleetCluster& cluster = fleet_.clusters[name];
    cluster.name = name;
    cluster.id = had.id;
    cluster.prefixes = had.prefixes;
    for (const Prefix& prefix : had.prefixes) {
      fleet_.ranges.emplace(prefix, name);
    }
    for (const auto& [gateway, underlay] : had.gateways) {
      FleetGateway& kept = cluster.gateways.emplace_back();
      kept.name = gateway;
      kept.underlay = underlay;
      fleet_.tunnel_ends.emplace(underlay, gateway);
    }
  }
}

FleetChange FleetBuilder::rebuild() {
  Fleet previous;
  std::swap(previous, fleet_);
  fleet_.own = previous.own;
  layout_problems_.clear();
  check_own();
  add_clusters(previous);
  add_links();
  check_publishers();
  set_admission();
  if (std::exchange(seeded_, false)) {
    drop_what_takes_ours(previous);
  }
  check_aliases();
  prefixes_.rebuild(fleet_, &previous);
  index_unprefixed();
  FleetChange settled;
  settle_gateways(previous.tunnel_ends, settled);
  list_problems();
  return difference(previous, fleet_);
}

// What stands is judged against other members, also after a restart. Over what this node needs it is new after one: the
// node may be another, and a route that catches its own traffic is not made.
void FleetBuilder::drop_what_takes_ours(Fleet& kept) const {
  for (auto& [name, cluster] : kept.clusters) {
    std::erase_if(cluster.prefixes, [&, &of = name](const Prefix& prefix) {
      const bool takes = !fleet_.admission.takes_reserved(of, prefix, true).empty() ||
                         !fleet_.admission.takes_network(of, prefix).empty();
      if (takes) {
        kept.ranges.erase(prefix);
      }
      return takes;
    });
  }
}

bool FleetBuilder::changes_layout(const std::set<ObjectKey>& clusters) const {
  return std::any_of(clusters.begin(), clusters.end(), [&](const ObjectKey& key) {
    const auto now = model_.find<ClusterObject>(key);
    const auto built = built_.find(key.name);
    return !now || built == built_.end() || built->second != Layout{now->id, now->encapsulation, now.provenance.text()};
  });
}

FleetChange FleetBuilder::update(const std::set<ObjectKey>& clusters, const std::set<ObjectKey>& nodes) {
  FleetChange change;
  const std::vector<IpAddress> reserved = update_reserved(nodes);
  std::set<ObjectKey> claimants = clusters;
  claimants.insert(nodes.begin(), nodes.end());
  change.moved = prefixes_.update(fleet_, claimants, reserved, change.addressed);
  std::transform(reserved.begin(), reserved.end(), std::back_inserter(change.moved),
                 [](const IpAddress& address) { return Prefix(address, 128); });
  change.unprefixed = prefixes_.turned_clusters();
  if (!change.unprefixed.empty()) {
    index_unprefixed();
  }
  if (prefixes_.gateways_touched() || !reserved.empty()) {
    const std::map<IpAddress, std::string> before = fleet_.tunnel_ends;
    settle_gateways(before, change);
    append_moved(before, fleet_.tunnel_ends, change.moved);
    change.gateways = true;
  }
  list_problems();
  return change;
}

// Compares what the engine was started with to what the hub says now.
void FleetBuilder::check_own() {
  const Result<OwnGateway> now = find_own_gateway(model_, options_.cluster, options_.gateway);
  if (!now) {
    layout_problems_.push_back(problem(now.error().where,
                                       now.error().what + "; this gateway keeps the parameters it was started with",
                                       now.error().fix));
    return;
  }
  if (!(*now == fleet_.own)) {
    layout_problems_.push_back(problem(
        "gateway " + options_.gateway,
        "the cluster's id or encapsulation, the profile's number of clusters, or the gateway's underlay address, "
        "port or encapsulation has changed in the hub",
        "restart this gateway to apply the change"));
  }
}

void FleetBuilder::add_clusters(const Fleet& previous) {
  std::vector<Candidate> candidates;
  built_.clear();
  model_.visit<ClusterObject>(
      ObjectKind::kCluster, [&](const ObjectKey& key, const ClusterObject& object, const ProvenanceView& provenance) {
        built_[key.name] = {object.id, object.encapsulation, provenance.text()};
        const FleetCluster* old = previous.find(key.name);
        const ClusterId had = old == nullptr ? kNoCluster : old->id;
        const bool incumbent = had != kNoCluster && had == object.id;
        const int rank = key.name == options_.cluster ? 0 : incumbent ? 1 : had != kNoCluster ? 2 : 3;
        candidates.push_back({&key, &object, provenance.text(), incumbent, had, rank});
      });
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.rank < b.rank; });
  const ClusterAliases aliases = read_aliases(model_, options_.admission.aliases);
  std::map<ClusterId, const FleetCluster*> taken;
  if (!model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, options_.cluster})) {
    if (const FleetCluster* local = previous.find(options_.cluster)) {
      FleetCluster& kept = fleet_.clusters[local->name] = *local;
      kept.gateways.clear();
      kept.where.clear();
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
      layout_problems_.push_back(std::move(wrong));
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
    cluster.aliases = aliases_of(aliases, c.key->name);
    taken[id] = &cluster;
  }
}

// Nothing in `what`: the cluster can have the id.
Problem FleetBuilder::wrong_id(const Candidate& c, ClusterId id, const std::map<ClusterId, const FleetCluster*>& taken,
                               const std::vector<Candidate>& candidates) const {
  const std::string& name = c.key->name;
  const unsigned max_id = max_clusters(fleet_.own.cluster_bits);
  if (id == kNoCluster || id.value() > max_id) {
    return {
        "cluster " + name + " has id " + std::to_string(id.value()) + ", which is not in 1.." + std::to_string(max_id),
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

void FleetBuilder::add_links() {
  bool any = false;
  model_.visit<ProfileObject>(
      ObjectKind::kProfile, [&](const ObjectKey& key, const ProfileObject& profile, const ProvenanceView& provenance) {
        const bool ours = names_cluster(profile, options_.cluster);
        any = any || (ours && !claims_aliases(profile));
        for (const std::string& name : profile.clusters) {
          const auto cluster = fleet_.clusters.find(name);
          if (cluster != fleet_.clusters.end()) {
            cluster->second.linked = cluster->second.linked || ours;
          } else if (!model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, name})) {
            layout_problems_.push_back(problem(
                provenance.text(), "profile " + key.name + " names cluster " + name + ", which has no Cluster object",
                "add the Cluster object, or remove the name from the profile"));
          }
        }
        const unsigned max_id = max_clusters(fleet_.own.cluster_bits);
        if (links_clusters(profile) && (profile.max_connected_clusters > kMaxClusters) != (max_id > kMaxClusters)) {
          layout_problems_.push_back(
              problem(provenance.text(),
                      "profile " + key.name + " has maxConnectedClusters " +
                          std::to_string(profile.max_connected_clusters) + ", this gateway was started with " +
                          std::to_string(max_id) + ": identities would be attributed to the wrong cluster",
                      "set the same maxConnectedClusters in all profiles, then restart the gateways"));
        }
      });
  if (!any) {
    layout_problems_.push_back(
        problem("cluster " + options_.cluster,
                "no CrossClusterNetworkProfile names this cluster: it exchanges no traffic with other clusters",
                "add a profile that lists it together with the clusters it may reach"));
  }
}

// What the configuration and the profiles allow.
void FleetBuilder::set_admission() {
  std::vector<ReservedAddress> reserved = options_.reserved;
  reserved_.clear();
  model_.visit<NodeObject>(ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const auto&) {
    if (key.cluster == options_.cluster) {
      const auto& added = reserved_[key] = reserved_by(key, node);
      reserved.insert(reserved.end(), added.begin(), added.end());
    }
  });
  fleet_.admission = Admission(options_.admission, options_.cluster, std::move(reserved));
  const ClusterAliases aliases = read_aliases(model_, options_.admission.aliases);
  // What is allowed is meant as the cluster says it, or as it is called outside.
  const auto allow_pods = [&](const std::string& cluster, std::vector<Prefix> prefixes) {
    std::vector<Prefix> parts;  // of what is allowed, those that have aliases
    for (Prefix& prefix : prefixes) {
      for (const AliasPrefix& pair : aliases_of(aliases, cluster)) {
        if (prefix != pair.own && prefix.contains(pair.own)) {
          parts.push_back(pair.alias);
        }
      }
      prefix = to_alias(aliases_of(aliases, cluster), prefix);
    }
    prefixes.insert(prefixes.end(), parts.begin(), parts.end());
    fleet_.admission.allow_pods(cluster, prefixes);
  };
  for (const AliasPrefix& own : aliases_of(aliases, options_.cluster)) {
    fleet_.admission.keep_own(own.own);
  }
  for (const auto& [cluster, prefixes] : options_.admission.pods) {
    allow_pods(cluster, prefixes);
  }
  model_.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
    if (!names_cluster(profile, options_.cluster)) {
      return;
    }
    for (const std::string& cluster : profile.clusters) {
      fleet_.admission.allow_vips(cluster, profile.vip_pools);
    }
    for (const auto& [cluster, member] : profile.members) {
      if (member.pod_prefixes && !claims_aliases(profile) && options_.admission.pods.count(cluster) == 0) {
        allow_pods(cluster, *member.pod_prefixes);
      }
      fleet_.admission.allow_vips(cluster, member.vip_pools);
    }
  });
}

void FleetBuilder::index_unprefixed() {
  fleet_.ipv4_without_prefixes = fleet_.ipv6_without_prefixes = false;
  for (const auto& [name, cluster] : fleet_.clusters) {
    fleet_.ipv4_without_prefixes = fleet_.ipv4_without_prefixes || !cluster.pods_ipv4;
    fleet_.ipv6_without_prefixes = fleet_.ipv6_without_prefixes || !cluster.pods_ipv6;
  }
}

// Returns the addresses that are or were one of our nodes'.
std::vector<IpAddress> FleetBuilder::update_reserved(const std::set<ObjectKey>& nodes) {
  std::vector<IpAddress> changed;
  for (const ObjectKey& key : nodes) {
    if (key.cluster != options_.cluster) {
      continue;
    }
    const auto node = model_.find<NodeObject>(key);
    std::vector<ReservedAddress> now = node ? reserved_by(key, *node) : std::vector<ReservedAddress>{};
    const auto at = reserved_.try_emplace(key).first;
    if (at->second != now) {
      for (const ReservedAddress& each : at->second) {
        fleet_.admission.release(each);
        changed.push_back(each.address);
      }
      for (const ReservedAddress& each : now) {
        fleet_.admission.reserve(each);
        changed.push_back(each.address);
      }
      at->second = std::move(now);
    }
    if (at->second.empty()) {
      reserved_.erase(at);
    }
  }
  return changed;
}

// What was refused for the sake of a gateway that has no place in the fleet any more is decided again, and once more
// the gateways where that has taken one's address.
void FleetBuilder::settle_gateways(const std::map<IpAddress, std::string>& before, FleetChange& change) {
  add_gateways(before);
  if (!prefixes_.settle_tunnel_ends(fleet_)) {
    return;
  }
  const std::vector<Prefix> moved = prefixes_.update(fleet_, {}, {}, change.addressed);
  change.moved.insert(change.moved.end(), moved.begin(), moved.end());
  if (prefixes_.gateways_touched()) {
    add_gateways(std::map(fleet_.tunnel_ends));
    (void)prefixes_.settle_tunnel_ends(fleet_);
  }
}

// `before`: the gateways that have a place in the fleet, by address.
void FleetBuilder::add_gateways(const std::map<IpAddress, std::string>& before) {
  struct Entry {
    const ObjectKey* key;
    const GatewayObject* object;
    std::string where;
    int rank;
  };
  gateway_problems_.clear();
  fleet_.tunnel_ends.clear();
  for (auto& [name, cluster] : fleet_.clusters) {
    cluster.gateways.clear();
  }
  std::vector<Entry> entries;
  model_.visit<GatewayObject>(ObjectKind::kGateway,
                              [&](const ObjectKey& key, const GatewayObject& object, const ProvenanceView& provenance) {
                                const auto at = before.find(tunnel_end(fleet_.own, object));
                                const bool incumbent = at != before.end() && at->second == key.name;
                                const int order = key.name == options_.gateway ? 0 : incumbent ? 1 : 2;
                                entries.push_back({&key, &object, provenance.text(), order});
                              });
  // Between new ones the lower cluster id: what every gateway of the fleet sees alike.
  const auto order = [&](const Entry& entry) {
    const FleetCluster* cluster = fleet_.find(entry.object->cluster);
    return std::pair(entry.rank, cluster == nullptr ? kNoCluster : cluster->id);
  };
  std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) { return order(a) < order(b); });
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
    fleet_.tunnel_ends.emplace(fleet_.own.underlay, options_.gateway);
  }
  for (auto& [name, cluster] : fleet_.clusters) {
    std::sort(cluster.gateways.begin(), cluster.gateways.end(),
              [](const FleetGateway& a, const FleetGateway& b) { return a.name < b.name; });
    if (cluster.gateways.empty() && cluster.linked && !cluster.native() && !cluster.by_nodes(options_.direct_return)) {
      gateway_problems_.push_back(problem(cluster.where,
                                          "cluster " + name + " has no usable gateway: it cannot be reached",
                                          "add a Gateway object with spec.cluster " + name));
    }
  }
}

void FleetBuilder::add_gateway(const std::string& name, const GatewayObject& object, const std::string& where) {
  const std::string address = object.underlay.to_string();
  const auto cluster = fleet_.clusters.find(object.cluster);
  if (cluster == fleet_.clusters.end()) {
    gateway_problems_.push_back(
        problem(where, "gateway " + name + " belongs to cluster " + object.cluster + ", which is missing or invalid",
                "add or fix the Cluster object, or correct spec.cluster"));
    return;
  }
  if (fleet_.own.address(object.underlay.family()) == nullptr) {
    gateway_problems_.push_back(problem(where,
                                        "gateway " + name + " has the underlay address " + address +
                                            ", which is of another address family than ours (" +
                                            fleet_.own.underlay.to_string() + ")",
                                        "give the gateways of linked clusters underlay addresses of the same family"));
    return;
  }
  if (const std::string why = fleet_.admission.refuse_gateway(object.cluster, object.underlay); !why.empty()) {
    gateway_problems_.push_back(
        problem(where, "gateway " + name + " has the underlay address " + address + ", " + why + ", and is left out",
                "give it an address of its own node, outside the VIP pools"));
    return;
  }
  const std::optional<std::string> other = fleet_.own.is_ours(object.underlay)
                                               ? std::optional("gateway " + options_.gateway + " (this one)")
                                               : fleet_.gateway_at(object.underlay);
  if (other) {
    gateway_problems_.push_back(problem(where,
                                        "gateway " + name + " and " + *other + " have the same underlay address " +
                                            address + "; " + name + " is left out",
                                        "give each gateway a unique underlay address"));
    return;
  }
  if (const std::optional<std::string> pods = prefixes_.pods_at(object.underlay)) {
    gateway_problems_.push_back(problem(where,
                                        "gateway " + name + " has the underlay address " + address + " inside " +
                                            *pods + ": packets to this tunnel end would themselves be tunnelled",
                                        "give it an underlay address outside the podCIDRs of every cluster"));
    return;
  }
  cluster->second.gateways.push_back({name, object.underlay, object.port, where, object.encapsulation});
  fleet_.tunnel_ends.emplace(object.underlay, name);
}

void FleetBuilder::check_publishers() {
  for (const auto& [cluster, objects] : model_.publishers()) {
    if (!model_.find<ClusterObject>({ObjectKind::kCluster, {}, {}, cluster}) && cluster != options_.cluster) {
      layout_problems_.push_back(problem(
          "cluster " + cluster,
          std::to_string(objects) + " objects are published for cluster " + cluster + ", which has no Cluster object",
          "add the Cluster object, or correct the folder's name"));
    }
  }
}

void FleetBuilder::list_problems() {
  fleet_.problems = layout_problems_;
  prefixes_.append_problems(fleet_, fleet_.problems);
  append_alias_problems(options_, fleet_, prefixes_, fleet_.problems);
  fleet_.problems.insert(fleet_.problems.end(), gateway_problems_.begin(), gateway_problems_.end());
}

FleetChange FleetBuilder::difference(const Fleet& before, const Fleet& now) {
  FleetChange change;
  change.rebuilt = change.gateways = true;
  const bool other_rules = !(before.admission == now.admission);
  change.links = change.rules = other_rules;
  for (const auto& [of, in] : {std::pair(&before, &now), std::pair(&now, &before)}) {
    for (const auto& [name, cluster] : of->clusters) {
      const FleetCluster* other = in->find(name);
      if (other == nullptr || other->id != cluster.id) {
        change.clusters.insert(name);
      } else if (other->linked != cluster.linked) {
        change.links = true;
      }
      if (other != nullptr && (other->pods_ipv4 != cluster.pods_ipv4 || other->pods_ipv6 != cluster.pods_ipv6 ||
                               (other_rules && !(cluster.pods_ipv4 && cluster.pods_ipv6)))) {
        change.unprefixed.insert(name);
      }
    }
  }
  append_moved(before.ranges, now.ranges, change.moved);
  append_moved(before.tunnel_ends, now.tunnel_ends, change.moved);
  return change;
}

}  // namespace isthmus
