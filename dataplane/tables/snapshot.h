// A snapshot: the tables that workers need at admission and encapsulation, as a tree of shared immutable parts.
//
// Built by the Publisher (control thread), read by workers inside a read section through one pointer, freed when every
// worker has passed a quiescent point after the swap. A new snapshot shares every part that did not change.
// Lookups are lock-free and do not allocate.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/api/tables.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/packet/origin.h"
#include "dataplane/packet/outer_header.h"
#include "dataplane/tables/alias_table.h"
#include "dataplane/tables/frontends.h"
#include "dataplane/tables/host_rules.h"
#include "dataplane/tables/policy_table.h"
#include "dataplane/tables/range_map.h"

namespace isthmus {

struct PeerRecord {
  OuterHeader header;  // prebuilt outer header towards the peer
  IpAddress underlay;
  ClusterId cluster;  // kNoCluster: unused id
  AdjacencyId adjacency;
  bool gateway = false;
  EncapsulationKind from_kind = EncapsulationKind::kVxlan;  // of the packets that it sends
  std::uint16_t path_mtu = 0;                               // PathMtu::mtu
  [[nodiscard]] bool known() const noexcept { return cluster != kNoCluster; }
  // The longest packet that its tunnel carries, over a device of that MTU.
  [[nodiscard]] std::uint16_t inner_mtu(Bytes device) const noexcept {
    constexpr std::uint32_t kLongest = 0xffff;
    const std::uint32_t most = std::min(kLongest, device.value());
    const std::uint32_t outer = path_mtu != 0 ? std::min<std::uint32_t>(most, path_mtu) : most;
    return static_cast<std::uint16_t>(outer - header.overhead);
  }
};

// Records in blocks and an index in shards, which a copy shares until set() or erase() change them: both are for
// control, before the table is published, and cost one block and one shard.
class PeerTable {
 public:
  PeerTable();
  void set(const PeerEntry& peer, const OuterHeader& header);
  void erase(PeerId id);
  // Of a known peer.
  void set_path_mtu(PeerId id, std::uint16_t mtu) { change(id).path_mtu = mtu; }

  // The peer with this underlay address, or kNoPeer. Usually one or two probes.
  [[nodiscard]] PeerId find(const IpAddress& underlay) const noexcept {
    const std::uint64_t hash = address_hash(Realm{}, underlay);
    const Shard& shard = shards_[shard_of(hash)];
    for (std::size_t at = hash & shard.mask;; at = (at + 1) & shard.mask) {
      const Slot& slot = shard.slots[static_cast<std::ptrdiff_t>(at)];
      if (slot.id == kNoPeer || slot.underlay == underlay) {
        return slot.id;
      }
    }
  }
  // Accepts any id; for an unused one the record is not known().
  [[nodiscard]] const PeerRecord& operator[](PeerId id) const noexcept {
    return id.value() < count_ ? (*blocks_[id.value() / kBlock])[id.value() % kBlock] : kNone;
  }

 private:
  static const PeerRecord kNone;
  static constexpr std::size_t kBlock = 64, kPerShard = 64;
  using Block = std::array<PeerRecord, kBlock>;
  struct Slot {
    IpAddress underlay;
    PeerId id;
  };
  struct Shard {  // open addressing, at most half full
    std::shared_ptr<Slot[]> slots;
    std::size_t mask = 0, used = 0;
  };
  [[nodiscard]] std::size_t shard_of(std::uint64_t hash) const noexcept { return hash >> 40 & (shards_.size() - 1); }
  [[nodiscard]] PeerRecord& change(PeerId id);
  [[nodiscard]] static Shard shard_with(const std::vector<Slot>& slots);
  [[nodiscard]] static std::vector<Slot> slots_of(const Shard& shard);
  void add_to_index(const Slot& slot);
  void drop_from_index(const IpAddress& underlay, PeerId id);
  void double_shards();

  std::uint32_t count_ = 0;  // of records that there may be
  std::size_t known_ = 0;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::vector<Shard> shards_;  // a power of two
};

struct ClusterRecord {
  bool local = false;
  bool linked = false;
  std::vector<PeerId> gateways;  // live gateways
  std::vector<PeerId> left;      // drained ones
  MaglevRing ring;               // Maglev ring over `gateways`; empty when there are none
};

// A copy shares the records; set() and what follows are for control, before the table is published.
class ClusterTable {
 public:
  void set(const ClusterEntry& cluster, const PeerTable& peers);
  void erase(ClusterId id);
  void set_prefixes(std::shared_ptr<const RangeMap> prefixes) { prefixes_ = std::move(prefixes); }

  // Of an unknown cluster: not local, not linked, without gateways.
  [[nodiscard]] const ClusterRecord& operator[](ClusterId id) const noexcept {
    const ClusterRecord* record = id.value() < records_.size() ? records_[id.value()].get() : nullptr;
    return record != nullptr ? *record : kNone;
  }
  // The cluster whose prefixes contain the address, or kNoCluster.
  [[nodiscard]] ClusterId cluster_of(Realm realm, const IpAddress& address) const noexcept {
    const std::uint32_t value = prefixes_->find(realm, address);
    return value == RangeMap::kMiss ? kNoCluster : ClusterId{static_cast<std::uint16_t>(value)};
  }
  // The live gateway of `cluster` that owns the connection with this symmetric hash, or kNoPeer.
  [[nodiscard]] PeerId owner(ClusterId cluster, std::uint32_t symmetric_hash) const noexcept {
    const ClusterRecord& record = (*this)[cluster];
    return record.ring.empty() ? kNoPeer : record.gateways[record.ring[symmetric_hash % record.ring.size()]];
  }

 private:
  static const ClusterRecord kNone;
  std::vector<std::shared_ptr<const ClusterRecord>> records_;  // by id
  std::shared_ptr<const RangeMap> prefixes_ = std::make_shared<const RangeMap>();
};

class LocalRoutes {
 public:
  LocalRoutes() = default;
  LocalRoutes(std::vector<LocalRoute> routes, Realm realm);
  // The route towards an address of this cluster, or nullptr.
  [[nodiscard]] const LocalRoute* find(Realm realm, const IpAddress& address) const noexcept {
    const std::uint32_t value = map_.find(realm, address);
    return value == RangeMap::kMiss ? nullptr : &routes_[value];
  }
  // Whether any of them leads to another cluster, without a tunnel.
  [[nodiscard]] bool has_native() const noexcept { return native_; }

 private:
  std::vector<LocalRoute> routes_;
  RangeMap map_;
  bool native_ = false;
};

struct Snapshot {
  static constexpr std::size_t kShards = 256;
  std::uint32_t number = 1;  // that no other snapshot of the process has had lately; never 0
  std::shared_ptr<const PeerTable> peers;
  std::shared_ptr<const ClusterTable> clusters;
  std::shared_ptr<const LocalRoutes> routes;
  AliasTable aliases;
  std::shared_ptr<const PolicyTable> policy;
  std::array<std::shared_ptr<const FrontendShard>, kShards> frontends;  // by VIP
  std::array<std::shared_ptr<const BackendKeys>, kShards> backends;     // of all services, by address
  std::shared_ptr<const HostRules> host;  // nullptr: no device of the engine shares_with_host()

  // Whether a packet comes from another cluster, by a tunnel: not from one of our own nodes.
  [[nodiscard]] bool is_outside(Origin origin, ClusterId own) const noexcept {
    return origin.side() == Side::kFabric && (*peers)[origin.peer()].cluster != own;
  }
  // `hash`: address_hash() of realm and address.
  [[nodiscard]] static std::size_t shard_of(std::uint64_t hash) noexcept { return hash % kShards; }
  [[nodiscard]] const FrontendShard& shard(std::uint64_t hash) const noexcept { return *frontends[shard_of(hash)]; }
  // kNoService: no service has this frontend.
  [[nodiscard]] ServiceId service_of(const FrontendKey& key) const noexcept {
    const std::uint64_t hash = address_hash(key.realm, key.vip);
    const auto* frontend = shard(hash).find(key, hash);
    return frontend != nullptr ? frontend->service : kNoService;
  }
  // Whether a service has this backend.
  [[nodiscard]] bool is_backend(const BackendKey& key) const noexcept {
    const std::uint64_t hash = address_hash(key.realm, key.address);
    return backends[shard_of(hash)]->contains(key, hash);
  }
};

}  // namespace isthmus
