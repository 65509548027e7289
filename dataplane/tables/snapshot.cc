#include "dataplane/tables/snapshot.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <string>

#include "dataplane/api/maglev.h"
#include "dataplane/net/address_hash.h"

namespace isthmus {

const PeerRecord PeerTable::kNone{};
const ClusterRecord ClusterTable::kNone{};

PeerTable::PeerTable() : shards_{shard_with({})} {}

// The record in a block that no other table has.
PeerRecord& PeerTable::change(PeerId id) {
  const std::size_t number = id.value() / kBlock;
  if (number >= blocks_.size()) {
    static const auto kEmpty = std::make_shared<Block>();
    blocks_.resize(number + 1, kEmpty);
  }
  std::shared_ptr<Block>& block = blocks_[number];
  if (block.use_count() != 1) {
    block = std::make_shared<Block>(*block);
  }
  return (*block)[id.value() % kBlock];
}

PeerTable::Shard PeerTable::shard_with(const std::vector<Slot>& slots) {
  const std::size_t size = std::bit_ceil(slots.size() * 2 + 2);
  Shard shard{std::make_shared<Slot[]>(size), size - 1, slots.size()};
  for (const Slot& slot : slots) {
    std::size_t at = address_hash(Realm{}, slot.underlay) & shard.mask;
    while (shard.slots[static_cast<std::ptrdiff_t>(at)].id != kNoPeer) {
      at = (at + 1) & shard.mask;
    }
    shard.slots[static_cast<std::ptrdiff_t>(at)] = slot;
  }
  return shard;
}

std::vector<PeerTable::Slot> PeerTable::slots_of(const Shard& shard) {
  std::vector<Slot> slots;
  slots.reserve(shard.used + 1);
  std::copy_if(shard.slots.get(), shard.slots.get() + shard.mask + 1, std::back_inserter(slots),
               [](const Slot& slot) { return slot.id != kNoPeer; });
  return slots;
}

void PeerTable::add_to_index(const Slot& slot) {
  Shard& shard = shards_[shard_of(address_hash(Realm{}, slot.underlay))];
  std::vector<Slot> slots = slots_of(shard);
  slots.push_back(slot);
  shard = shard_with(slots);
}

void PeerTable::drop_from_index(const IpAddress& underlay, PeerId id) {
  Shard& shard = shards_[shard_of(address_hash(Realm{}, underlay))];
  std::vector<Slot> slots = slots_of(shard);
  std::erase_if(slots, [&](const Slot& slot) { return slot.id == id; });
  shard = shard_with(slots);
}

void PeerTable::double_shards() {
  std::vector<Slot> slots;
  for (const Shard& shard : shards_) {
    const std::vector<Slot> its = slots_of(shard);
    slots.insert(slots.end(), its.begin(), its.end());
  }
  shards_.resize(shards_.size() * 2);
  std::vector<std::vector<Slot>> by_shard(shards_.size());
  for (const Slot& slot : slots) {
    by_shard[shard_of(address_hash(Realm{}, slot.underlay))].push_back(slot);
  }
  std::transform(by_shard.begin(), by_shard.end(), shards_.begin(), shard_with);
}

void PeerTable::set(const PeerEntry& peer, const OuterHeader& header) {
  erase(peer.id);
  while (known_ >= kPerShard * shards_.size()) {
    double_shards();
  }
  PeerRecord& record = change(peer.id);
  record.header = header;
  record.underlay = peer.underlay;
  record.cluster = peer.cluster;
  record.adjacency = peer.adjacency;
  record.gateway = peer.gateway;
  record.from_kind = peer.from_kind;
  count_ = std::max(count_, static_cast<std::uint32_t>(blocks_.size() * kBlock));
  ++known_;
  add_to_index({peer.underlay, peer.id});
}

void PeerTable::erase(PeerId id) {
  if (!(*this)[id].known()) {
    return;
  }
  drop_from_index((*this)[id].underlay, id);
  change(id) = PeerRecord{};
  --known_;
}

void ClusterTable::set(const ClusterEntry& cluster, const PeerTable& peers) {
  auto record = std::make_shared<ClusterRecord>();
  record->local = cluster.local;
  record->linked = cluster.linked;
  record->left = cluster.left;
  std::vector<MaglevBackend> ends;
  for (const PeerId id : cluster.gateways) {
    if (peers[id].known()) {
      record->gateways.push_back(id);
      ends.push_back({peers[id].underlay, L4Port{0}, IpProtocol::kUdp, kMaglevDefaultWeight});
    }
  }
  record->ring = maglev_ring(ends, kMaglevPeerSlots);
  if (cluster.id.value() >= records_.size()) {
    records_.resize(std::size_t{cluster.id.value()} + 1);
  }
  records_[cluster.id.value()] = std::move(record);
}

void ClusterTable::erase(ClusterId id) {
  if (id.value() < records_.size()) {
    records_[id.value()].reset();
  }
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
