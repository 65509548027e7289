// The publisher's peers, clusters and routes.
#include <algorithm>
#include <utility>

#include "dataplane/encap/encap.h"
#include "dataplane/publish/publisher.h"

namespace isthmus {
namespace {

// Where the underlay may not fragment what goes to a gateway, the path's MTU is learned, and nobody has to reassemble.
// A node's CNI sends without DF too, and its kernel reassembles.
OuterHeader header_to(const PeerEntry& peer, const TunnelEnds& own) {
  OuterHeader header = encap::build(peer.kind, own.address(peer.underlay.family()), peer.underlay, peer.udp_port);
  if (peer.gateway) {
    encap::forbid_fragments(header);
  }
  return header;
}

// Appends the words of all addresses in the prefixes. False, and nothing is appended: they are too many.
bool append_addresses(const std::vector<Prefix>& prefixes, Realm realm, std::vector<EpochIndex>& moved) {
  constexpr unsigned kMostBits = 12;
  std::size_t count = 0;
  for (const Prefix& prefix : prefixes) {
    const unsigned bits = 128U - prefix.length128();
    count += bits > kMostBits ? std::size_t{2} << kMostBits : std::size_t{1} << bits;
  }
  if (count > std::size_t{1} << kMostBits) {
    return false;
  }
  for (const Prefix& prefix : prefixes) {
    IpAddress::ByteArray bytes = prefix.address().bytes();
    for (std::size_t left = std::size_t{1} << (128U - prefix.length128()); left > 0; --left) {
      moved.push_back(EpochTable::of_endpoint(realm, IpAddress(bytes)));
      for (std::size_t at = bytes.size(); at-- > 0 && ++bytes[at] == 0;) {
      }
    }
  }
  return true;
}

}  // namespace

std::shared_ptr<const PeerTable> build_peers(const std::vector<PeerEntry>& peers, const TunnelEnds& own) {
  auto table = std::make_shared<PeerTable>();
  for (const PeerEntry& peer : peers) {
    table->set(peer, header_to(peer, own));
  }
  return table;
}

// A load balancer may speak in the name of what is nobody's address.
AdjacencyId Publisher::claim_next_hop(DeviceId device, const IpAddress& address) {
  const bool known = shared_.adjacencies.knows(address);
  const AdjacencyId claimed = shared_.adjacencies.claim(device, address);
  if (!known) {
    shared_.flows->epochs().bump(EpochTable::of_endpoint(shared_.options.realm, address));
  }
  return claimed;
}

// Ids that are removed go first: their addresses may be those of others now.
std::set<PeerId> Publisher::apply_peers(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved) {
  std::set<PeerId> changed;
  const auto move = [&](const PeerEntry& peer, int by) {
    changed.insert(peer.id);
    moved.push_back(EpochTable::of_peer(peer.id));
    moved.push_back(EpochTable::of_gateways(peer.cluster));  // one that is listed may have come
    // What was nobody's address is a tunnel end's, or no longer: a load balancer speaks in its name, or for it.
    moved.push_back(EpochTable::of_endpoint(shared_.options.realm, peer.underlay));
    const bool own = peer.cluster == shared_.options.cluster;
    if (own) {
      moved.push_back(EpochTable::of_own_peers());
    }
    if (!own || !peer.gateway) {  // our own gateways do not send to us
      steer_.count_peer(peer.underlay, by);
    }
  };
  for (const PeerEntry& peer : delta.upsert_peers) {
    const auto [at, added] = peers_.try_emplace(peer.id, peer);
    if (!added && at->second == peer) {
      continue;
    }
    if (!added) {
      move(at->second, -1);
      if (at->second.underlay != peer.underlay) {
        path_mtus_.erase(peer.id);
      }
    }
    at->second = peer;
    move(peer, 1);
  }
  for (const PeerId id : delta.remove_peers) {
    if (const auto at = peers_.find(id); at != peers_.end()) {
      move(at->second, -1);
      peers_.erase(at);
      path_mtus_.erase(id);
    }
  }
  if (!changed.empty() || next.peers == nullptr) {
    auto table = next.peers ? std::make_shared<PeerTable>(*next.peers) : std::make_shared<PeerTable>();
    for (const PeerId id : changed) {
      table->erase(id);
    }
    for (const PeerId id : changed) {
      if (const auto at = peers_.find(id); at != peers_.end()) {
        table->set(at->second, header_to(at->second, shared_.options.tunnel));
      }
    }
    next.peers = std::move(table);
  }
  return changed;
}

// Decisions that lead to the peer depend on its word, and so does what XDP has of them.
void Publisher::apply_path_mtus(const TableDelta& delta, const std::set<PeerId>& new_peers, Snapshot& next,
                                std::vector<EpochIndex>& moved) {
  std::set<PeerId> changed;
  for (const PathMtu& path : delta.path_mtus) {
    const auto peer = peers_.find(path.peer);
    const auto known = path_mtus_.find(path.peer);
    if (peer == peers_.end() || path.mtu == (known == path_mtus_.end() ? Bytes{0} : known->second.mtu)) {
      continue;
    }
    path_mtus_.insert_or_assign(path.peer, path);
    changed.insert(path.peer);
    moved.push_back(EpochTable::of_peer(path.peer));
    if (peer->second.cluster == shared_.options.cluster) {
      moved.push_back(EpochTable::of_own_peers());
    }
  }
  for (const PeerId id : new_peers) {  // whose records are new
    if (path_mtus_.contains(id)) {
      changed.insert(id);
    }
  }
  if (changed.empty()) {
    return;
  }
  auto table = std::make_shared<PeerTable>(*next.peers);
  for (const PeerId id : changed) {
    table->set_path_mtu(id, static_cast<std::uint16_t>(std::min<std::uint32_t>(path_mtus_[id].mtu.value(), 0xffff)));
  }
  next.peers = std::move(table);
}

// A gateway that ceases or begins to be live changes its own word; one that returns gets new flows, and the replies to
// what still comes from it, and ends what is refused, or stays with a silent one, for want of a gateway. Links affect
// any address, so their change increments every word.
void Publisher::move_cluster(const ClusterEntry& before, const ClusterEntry& after, std::vector<EpochIndex>& moved,
                             bool& everything) {
  if (after.linked != before.linked) {
    everything = true;
    return;
  }
  if (after.gateways != before.gateways) {
    moved.push_back(EpochTable::of_gateways(before.id));
  }
  const auto move_others = [&](const std::vector<PeerId>& gateways, const std::vector<PeerId>& than) {
    for (const PeerId gateway : gateways) {
      if (std::find(than.begin(), than.end(), gateway) == than.end()) {
        moved.push_back(EpochTable::of_peer(gateway));
      }
    }
  };
  move_others(before.gateways, after.gateways);
  move_others(after.gateways, before.gateways);
  move_others(before.left, after.left);
  move_others(after.left, before.left);
}

void Publisher::move_prefixes(const ClusterEntry* before, const ClusterEntry* now, std::vector<Prefix>& changed) {
  const auto sorted = [](const ClusterEntry* cluster) {
    std::vector<Prefix> prefixes = cluster == nullptr ? std::vector<Prefix>() : cluster->prefixes;
    std::sort(prefixes.begin(), prefixes.end());
    prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
    return prefixes;
  };
  const std::vector<Prefix> had = sorted(before), has = sorted(now);
  const auto list_of = [](const ClusterEntry& cluster) {
    return cluster.local ? SteerLedger::List::kLocalSources : SteerLedger::List::kFleet;
  };
  const bool moves = before != nullptr && now != nullptr && before->local != now->local;
  for (const Prefix& prefix : had) {
    const bool stays = std::binary_search(has.begin(), has.end(), prefix);
    if (!stays) {
      cluster_prefixes_.erase(prefix, before->id.value());
      changed.push_back(prefix);
    }
    if (!stays || moves) {
      steer_.count(list_of(*before), prefix, -1);
    }
  }
  for (const Prefix& prefix : has) {
    const bool stood = std::binary_search(had.begin(), had.end(), prefix);
    if (!stood) {
      cluster_prefixes_.set(prefix, now->id.value());
      changed.push_back(prefix);
    }
    if (!stood || moves) {
      steer_.count(list_of(*now), prefix, 1);
    }
  }
}

// Null: it is gone.
std::map<ClusterId, const ClusterEntry*> Publisher::changed_clusters(const TableDelta& delta) const {
  std::map<ClusterId, const ClusterEntry*> changed;
  const auto add_changed = [&](const std::vector<ClusterEntry>& entries) {
    for (const ClusterEntry& entry : entries) {
      const auto at = clusters_.find(entry.id);
      if (at == clusters_.end() || !(at->second == entry)) {
        changed[entry.id] = &entry;
      }
    }
  };
  add_changed(delta.changed_clusters);
  if (delta.clusters) {
    add_changed(*delta.clusters);
    std::set<ClusterId> listed;
    for (const ClusterEntry& entry : *delta.clusters) {
      listed.insert(entry.id);
    }
    for (const auto& [id, entry] : clusters_) {
      if (!listed.contains(id)) {
        changed[id] = nullptr;
      }
    }
  }
  return changed;
}

void Publisher::apply_clusters(const TableDelta& delta, const std::set<PeerId>& new_peers, Snapshot& next,
                               std::vector<EpochIndex>& moved, bool& everything) {
  std::set<ClusterId> records;  // to be made anew
  for (const auto& [id, cluster] : clusters_) {
    if (std::any_of(cluster.gateways.begin(), cluster.gateways.end(),
                    [&](PeerId gateway) { return new_peers.contains(gateway); })) {
      records.insert(id);
    }
  }
  const std::map<ClusterId, const ClusterEntry*> changed = changed_clusters(delta);
  std::vector<Prefix> prefixes;  // that have come or gone
  // What goes first: another cluster may have its prefix now.
  for (const auto& [id, entry] : changed) {
    records.insert(id);
    if (const auto at = clusters_.find(id); at == clusters_.end()) {
      everything = true;
    } else if (entry == nullptr) {
      everything = true;
      move_prefixes(&at->second, nullptr, prefixes);
      clusters_.erase(at);
    }
  }
  for (const auto& [id, entry] : changed) {
    if (entry != nullptr) {
      const auto [at, added] = clusters_.try_emplace(id, *entry);
      if (!added) {
        move_cluster(at->second, *entry, moved, everything);
      }
      move_prefixes(added ? nullptr : &at->second, entry, prefixes);
      at->second = *entry;
    }
  }
  everything = !append_addresses(prefixes, shared_.options.realm, moved) || everything;
  if (!records.empty() || next.clusters == nullptr) {
    next.clusters = cluster_table(records, next);
  }
}

// That of `next`, with these records as they are now.
std::shared_ptr<const ClusterTable> Publisher::cluster_table(const std::set<ClusterId>& records, const Snapshot& next) {
  auto table = next.clusters ? std::make_shared<ClusterTable>(*next.clusters) : std::make_shared<ClusterTable>();
  for (const ClusterId id : records) {
    if (const auto at = clusters_.find(id); at != clusters_.end()) {
      table->set(at->second, *next.peers);
    } else {
      table->erase(id);
    }
  }
  table->set_prefixes(cluster_prefixes_.map());
  return table;
}

// What our own cluster sends has its own addresses, what it calls itself is an address of the fleet. Every address may
// be another now.
void Publisher::apply_aliases(const AliasPrefixes& aliases, Snapshot& next, bool& everything) {
  const auto count = [&](const AliasPrefixes& of, int by) {
    for (const AliasPrefix& prefix : of) {
      steer_.count(SteerLedger::List::kLocalSources, prefix.own, by);
      steer_.count(SteerLedger::List::kFleet, prefix.alias, by);
    }
  };
  if (aliases != aliases_) {
    everything = true;
    count(aliases, 1);
    count(aliases_, -1);
    aliases_ = aliases;
    next.aliases = AliasTable(aliases);
  }
}

void Publisher::apply_hosts(const HostPrefixes& hosts) {
  const auto count = [&](const HostPrefixes& of, int by) {
    for (const Prefix& prefix : of.local) {
      steer_.count(SteerLedger::List::kLocalSources, prefix, by);
    }
    for (const Prefix& prefix : of.fleet) {
      steer_.count(SteerLedger::List::kFleet, prefix, by);
    }
  };
  count(hosts, 1);
  count(hosts_, -1);
  hosts_ = hosts;
}

void Publisher::move_words_of(const std::vector<Prefix>& prefixes) {
  std::vector<EpochIndex> moved;
  if (!append_addresses(prefixes, shared_.options.realm, moved)) {
    shared_.flows->epochs().bump_all();
  }
  for (const EpochIndex index : moved) {
    shared_.flows->epochs().bump(index);
  }
}

void Publisher::apply_routes(const TableDelta& delta, Snapshot& next, bool& everything) {
  if (!delta.local_routes && next.routes != nullptr) {
    return;
  }
  const auto count = [&](const std::vector<LocalRoute>& routes, int by) {
    for (const LocalRoute& route : routes) {
      if (route.native) {
        steer_.count(SteerLedger::List::kLocalSources, route.prefix, by);
        steer_.count(SteerLedger::List::kNative, route.prefix, by);
      }
    }
  };
  if (delta.local_routes && *delta.local_routes != routes_) {
    everything = true;
    count(*delta.local_routes, 1);
    count(routes_, -1);
    routes_ = *delta.local_routes;
  }
  next.routes = std::make_shared<const LocalRoutes>(routes_, shared_.options.realm);
}

}  // namespace isthmus
