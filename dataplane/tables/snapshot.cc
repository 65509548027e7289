#include "dataplane/tables/snapshot.h"

#include <algorithm>
#include <bit>
#include <string>

#include "dataplane/api/maglev.h"
#include "dataplane/net/address_hash.h"

namespace isthmus {

const PeerRecord PeerTable::kNone{};
const ClusterRecord ClusterTable::kNone{};

PeerTable::PeerTable(std::span<const PeerEntry> peers, std::span<const OuterHeader> headers) {
  std::uint32_t highest = 0;
  for (const PeerEntry& peer : peers) {
    highest = std::max(highest, peer.id.value());
  }
  records_.resize(std::size_t{highest} + 1);
  count_ = highest + 1;
  index_.resize(std::bit_ceil(peers.size() * 2 + 2));
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const PeerEntry& peer = peers[i];
    PeerRecord& record = records_[peer.id.value()];
    record.header = headers[i];
    record.underlay = peer.underlay;
    record.cluster = peer.cluster;
    record.adjacency = peer.adjacency;
    record.gateway = peer.gateway;
    record.from_kind = peer.from_kind;
    std::size_t slot = address_hash(Realm{}, peer.underlay) & (index_.size() - 1);
    while (index_[slot].id != kNoPeer) {
      slot = (slot + 1) & (index_.size() - 1);
    }
    index_[slot] = {peer.underlay, peer.id};
  }
}

PeerId PeerTable::find(const IpAddress& underlay) const noexcept {
  if (index_.empty()) {
    return kNoPeer;
  }
  for (std::size_t slot = address_hash(Realm{}, underlay) & (index_.size() - 1);;
       slot = (slot + 1) & (index_.size() - 1)) {
    if (index_[slot].id == kNoPeer || index_[slot].underlay == underlay) {
      return index_[slot].id;
    }
  }
}

ClusterTable::ClusterTable(const std::vector<ClusterEntry>& clusters, const PeerTable& peers, Realm realm) {
  std::vector<RangeMap::Item> items;
  for (const ClusterEntry& cluster : clusters) {
    if (cluster.id.value() >= records_.size()) {
      records_.resize(std::size_t{cluster.id.value()} + 1);
    }
    ClusterRecord& record = records_[cluster.id.value()];
    record.known = true;
    record.local = cluster.local;
    record.linked = cluster.linked;
    std::vector<MaglevBackend> ends;
    for (const PeerId id : cluster.gateways) {
      if (peers[id].known()) {
        record.gateways.push_back(id);
        ends.push_back({peers[id].underlay, L4Port{0}, IpProtocol::kUdp, kMaglevDefaultWeight});
      }
    }
    record.ring = maglev_ring(ends, kMaglevPeerSlots);
    for (const Prefix& prefix : cluster.prefixes) {
      items.push_back({realm, prefix, cluster.id.value()});
    }
  }
  prefixes_ = RangeMap(items);
}

LocalRoutes::LocalRoutes(std::vector<LocalRoute> routes, Realm realm) : routes_(std::move(routes)) {
  std::vector<RangeMap::Item> items;
  items.reserve(routes_.size());
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    items.push_back({realm, routes_[i].prefix, static_cast<std::uint32_t>(i)});
    native_ = native_ || routes_[i].native;
  }
  map_ = RangeMap(items);
}

}  // namespace isthmus
