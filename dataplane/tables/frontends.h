// The services of a snapshot: frontends by VIP, the backends of each, and the backends of all services together.
//
// Hash tables with open addressing, at most half full. Built by the publisher (control thread), immutable afterwards,
// part of a snapshot; read by workers at a decision, without allocating. The address_hash() that callers pass in
// chooses the shard with its low bits and the place in the shard with others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/api/tables.h"
#include "dataplane/base/prefetch.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/tables/range_map.h"

namespace isthmus {

// The backends of one frontend by address and port, and which of them accept new connections.
class BackendIndex {
 public:
  explicit BackendIndex(const BackendSet& set);

  // nullptr: not in the set, which is the one that the index was built from.
  [[nodiscard]] const BackendEntry* find(const BackendSet& set, const IpAddress& address, L4Port port) const noexcept;
  // How many backends are on the ring.
  [[nodiscard]] std::size_t accepting() const noexcept { return accepting_; }
  // Whether the backend is on the ring; a draining one is not.
  [[nodiscard]] bool accepts_new(const BackendSet& set, const BackendEntry& backend) const noexcept {
    const auto number = static_cast<std::size_t>(&backend - set.backends.data());
    return (on_ring_[number / 64] >> number % 64 & 1) != 0;
  }

 private:
  [[nodiscard]] std::size_t home(const IpAddress& address, L4Port port) const noexcept;
  std::vector<std::uint32_t> slots_;  // number of the backend + 1; 0: empty
  std::vector<std::uint64_t> on_ring_;
  std::size_t accepting_ = 0;
};

// The source ranges of services as they are looked up, one for all frontends and all changes of a service, whose list
// may be long. Owner: the publisher. Thread: control.
class SourceMaps {
 public:
  // Null for null.
  [[nodiscard]] std::shared_ptr<const RangeMap> of(const std::shared_ptr<const SourceRanges>& sources, Realm realm);

 private:
  // By ranges that live as long as their map: a frontend has both.
  std::map<std::pair<const SourceRanges*, Realm>, std::weak_ptr<const RangeMap>> maps_;
};

struct Frontend : FrontendEntry {
  Frontend(const FrontendEntry& entry, SourceMaps& maps);

  [[nodiscard]] const BackendSet& backends_for(Side client) const noexcept {
    return client == Side::kFabric && from_fabric != nullptr ? *from_fabric : *backends;
  }
  // Of backends_for().
  [[nodiscard]] const BackendIndex& index_for(Side client) const noexcept {
    return client == Side::kFabric && from_fabric != nullptr ? *fabric_index : *index;
  }
  // Whether it serves a client that has one of these two addresses.
  [[nodiscard]] bool serves(const IpAddress& address, const IpAddress& other) const noexcept {
    return source_map == nullptr || (is_listed(address) || is_listed(other)) != sources->denied;
  }
  // Whether its new connections may be opened as others were.
  [[nodiscard]] bool has_patterns() const noexcept { return source_map == nullptr && !client_affinity; }

  std::shared_ptr<const BackendIndex> index, fabric_index;

 private:
  [[nodiscard]] bool is_listed(const IpAddress& address) const noexcept;
  std::shared_ptr<const RangeMap> source_map;  // the addresses in `sources`
};

// The frontends whose VIPs belong to one shard.
class FrontendShard {
 public:
  FrontendShard() = default;
  // One frontend per key, in any order.
  explicit FrontendShard(std::vector<Frontend> frontends);

  // `hash`: address_hash() of the VIP.
  [[nodiscard]] const Frontend* find(const FrontendKey& key, std::uint64_t hash) const noexcept;
  // Whether there is a frontend at this address, on any port.
  [[nodiscard]] bool has_vip(Realm realm, const IpAddress& vip, std::uint64_t hash) const noexcept;
  [[nodiscard]] const std::vector<Frontend>& frontends() const noexcept { return frontends_; }
  void prefetch(std::uint64_t hash, IpProtocol protocol, L4Port port) const noexcept {
    if (!by_key_.empty()) {
      prefetch_line(&by_key_[home(hash, protocol, port)]);
    }
  }

 private:
  [[nodiscard]] std::size_t home(std::uint64_t hash, IpProtocol protocol, L4Port port) const noexcept {
    const std::uint64_t rest = std::uint64_t{port.value()} << 8 | static_cast<std::uint8_t>(protocol);
    return static_cast<std::size_t>(((hash >> 8 ^ rest) * 0x9e3779b97f4a7c15ULL) >> 32) & (by_key_.size() - 1);
  }
  std::vector<Frontend> frontends_;
  std::vector<std::uint32_t> by_key_;  // number of the frontend + 1; 0: empty
  std::vector<std::uint32_t> by_vip_;  // the same, for one frontend of each VIP
};

struct BackendKey {
  Realm realm;
  IpAddress address;
  IpProtocol protocol = IpProtocol::kTcp;
  L4Port port;
  friend auto operator<=>(const BackendKey&, const BackendKey&) = default;
};

// The backends of all services whose addresses belong to one shard.
class BackendKeys {
 public:
  BackendKeys() = default;
  explicit BackendKeys(const std::vector<BackendKey>& keys);
  // `hash`: address_hash() of the address.
  [[nodiscard]] bool contains(const BackendKey& key, std::uint64_t hash) const noexcept;

 private:
  [[nodiscard]] std::size_t home(std::uint64_t hash, L4Port port) const noexcept {
    return static_cast<std::size_t>(((hash >> 8 ^ port.value()) * 0x9e3779b97f4a7c15ULL) >> 32) & (slots_.size() - 1);
  }
  std::vector<BackendKey> slots_;  // an unspecified address: empty
};

}  // namespace isthmus
