#include "dataplane/tables/frontends.h"

#include <bit>
#include <utility>

namespace isthmus {
namespace {

std::size_t slots_for(std::size_t entries) { return std::bit_ceil(2 * entries + 1); }

constexpr std::uint32_t kNotListed = 0, kListed = 1;

// A range of IPv6 that contains the place of all IPv4 addresses, as ::/0 does, does not mean them.
std::vector<RangeMap::Item> items_of(const SourceRanges& sources, Realm realm) {
  const Prefix ipv4 = *Prefix::parse("0.0.0.0/0");
  std::vector<RangeMap::Item> items{{realm, ipv4, kNotListed}};
  for (const Prefix& prefix : sources.prefixes) {
    items.push_back({realm, prefix, kListed});
  }
  return items;
}

}  // namespace

// Backends of one frontend --------------------------------------------------------------------------------------------

BackendIndex::BackendIndex(const BackendSet& set)
    : slots_(slots_for(set.backends.size())), on_ring_(set.backends.size() / 64 + 1) {
  for (std::size_t number = 0; number < set.backends.size(); ++number) {
    const BackendEntry& backend = set.backends[number];
    std::size_t slot = home(backend.address, backend.port);
    while (slots_[slot] != 0) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    slots_[slot] = static_cast<std::uint32_t>(number) + 1;
  }
  for (const std::uint16_t number : set.ring) {
    on_ring_[number / 64] |= std::uint64_t{1} << number % 64;
  }
  for (const std::uint64_t word : on_ring_) {
    accepting_ += static_cast<std::size_t>(std::popcount(word));
  }
}

std::size_t BackendIndex::home(const IpAddress& address, L4Port port) const noexcept {
  return static_cast<std::size_t>(address_hash(Realm{}, address) + port.value()) & (slots_.size() - 1);
}

const BackendEntry* BackendIndex::find(const BackendSet& set, const IpAddress& address, L4Port port) const noexcept {
  for (std::size_t slot = home(address, port); slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
    const BackendEntry& backend = set.backends[slots_[slot] - 1];
    if (backend.address == address && backend.port == port) {
      return &backend;
    }
  }
  return nullptr;
}

std::shared_ptr<const RangeMap> SourceMaps::of(const std::shared_ptr<const SourceRanges>& sources, Realm realm) {
  if (sources == nullptr) {
    return nullptr;
  }
  std::weak_ptr<const RangeMap>& kept = maps_[{sources.get(), realm}];
  std::shared_ptr<const RangeMap> map = kept.lock();
  if (map == nullptr) {
    map = std::make_shared<const RangeMap>(items_of(*sources, realm));
    kept = map;
    std::erase_if(maps_, [](const auto& each) { return each.second.expired(); });
  }
  return map;
}

Frontend::Frontend(const FrontendEntry& entry, SourceMaps& maps)
    : FrontendEntry(entry),
      index(std::make_shared<const BackendIndex>(*entry.backends)),
      source_map(maps.of(entry.sources, entry.key.realm)) {
  if (from_fabric != nullptr) {
    fabric_index = std::make_shared<const BackendIndex>(*from_fabric);
  }
}

bool Frontend::is_listed(const IpAddress& address) const noexcept {
  return source_map->find(key.realm, address) == kListed;
}

// Frontends -----------------------------------------------------------------------------------------------------------

FrontendShard::FrontendShard(std::vector<Frontend> frontends)
    : frontends_(std::move(frontends)), by_key_(slots_for(frontends_.size())), by_vip_(slots_for(frontends_.size())) {
  const std::size_t mask = by_key_.size() - 1;
  for (std::size_t number = 0; number < frontends_.size(); ++number) {
    const FrontendKey& key = frontends_[number].key;
    const std::uint64_t hash = address_hash(key.realm, key.vip);
    const bool known = has_vip(key.realm, key.vip, hash);
    std::size_t slot = home(hash, key.protocol, key.port);
    while (by_key_[slot] != 0) {
      slot = (slot + 1) & mask;
    }
    by_key_[slot] = static_cast<std::uint32_t>(number) + 1;
    for (slot = (hash >> 8) & mask; !known && by_vip_[slot] != 0;) {
      slot = (slot + 1) & mask;
    }
    by_vip_[slot] = known ? by_vip_[slot] : static_cast<std::uint32_t>(number) + 1;
  }
}

const Frontend* FrontendShard::find(const FrontendKey& key, std::uint64_t hash) const noexcept {
  if (by_key_.empty()) {
    return nullptr;
  }
  const std::size_t mask = by_key_.size() - 1;
  for (std::size_t slot = home(hash, key.protocol, key.port); by_key_[slot] != 0; slot = (slot + 1) & mask) {
    const Frontend& frontend = frontends_[by_key_[slot] - 1];
    if (frontend.key == key) {
      return &frontend;
    }
  }
  return nullptr;
}

bool FrontendShard::has_vip(Realm realm, const IpAddress& vip, std::uint64_t hash) const noexcept {
  if (by_vip_.empty()) {
    return false;
  }
  const std::size_t mask = by_vip_.size() - 1;
  for (std::size_t slot = (hash >> 8) & mask; by_vip_[slot] != 0; slot = (slot + 1) & mask) {
    const FrontendKey& key = frontends_[by_vip_[slot] - 1].key;
    if (key.vip == vip && key.realm == realm) {
      return true;
    }
  }
  return false;
}

// Backends of all services --------------------------------------------------------------------------------------------

BackendKeys::BackendKeys(const std::vector<BackendKey>& keys) : slots_(keys.empty() ? 0 : slots_for(keys.size())) {
  for (const BackendKey& key : keys) {
    std::size_t slot = home(address_hash(key.realm, key.address), key.port);
    while (!slots_[slot].address.is_unspecified()) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    slots_[slot] = key;
  }
}

bool BackendKeys::contains(const BackendKey& key, std::uint64_t hash) const noexcept {
  if (slots_.empty()) {
    return false;
  }
  for (std::size_t slot = home(hash, key.port); !slots_[slot].address.is_unspecified();
       slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot] == key) {
      return true;
    }
  }
  return false;
}

}  // namespace isthmus
