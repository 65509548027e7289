#include "xdp/loader/steer_maps.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/base/strong.h"

namespace isthmus {
namespace {

// Length of ::ffff:0:0/96, before the IPv4 address in its 128-bit form.
constexpr std::uint32_t kMappedPrefixBytes = 12;

[[nodiscard]] isthmus_address address_key(const IpAddress& address, Family family) {
  isthmus_address key{};
  const bool ipv4 = family == Family::kIpv4;
  key.family = Be16::of(ipv4 ? ISTHMUS_IPV4 : ISTHMUS_IPV6).wire();
  const std::size_t skipped = ipv4 ? kMappedPrefixBytes : 0;
  std::memcpy(key.bytes, address.bytes().data() + skipped, sizeof key.bytes - skipped);
  return key;
}

[[nodiscard]] MapSet<isthmus_lpm_key>::Keys prefix_keys(const std::set<Prefix>& prefixes) {
  MapSet<isthmus_lpm_key>::Keys keys;
  for (const Prefix& prefix : prefixes) {
    const std::uint32_t skipped = prefix.family() == Family::kIpv4 ? 8 * kMappedPrefixBytes : 0;
    keys.insert(
        {ISTHMUS_LPM_FIXED_BITS + prefix.length128() - skipped, address_key(prefix.address(), prefix.family())});
  }
  return keys;
}

[[nodiscard]] MapSet<isthmus_address>::Keys address_keys(const std::set<IpAddress>& addresses) {
  MapSet<isthmus_address>::Keys keys;
  for (const IpAddress& address : addresses) {
    keys.insert(address_key(address, address.family()));
  }
  return keys;
}

[[nodiscard]] Error map_failure(const char* what, int error) {
  const bool full = error == ENOSPC || error == E2BIG;
  return Error{std::string("cannot change the steer program's ") + what + ": " + std::strerror(error), "xdp steer",
               full ? "there are too many; announce fewer, larger prefixes" : "check CAP_BPF and the memory limit"};
}

// Sets the tunnel part of the configuration.
[[nodiscard]] Status set_tunnel(const TunnelEnds& ends, isthmus_steer_config& config) {
  const bool ipv4 = !ends.ipv4.is_unspecified();
  if ((ipv4 && !ends.ipv4.is_ipv4()) || (ends.ipv6.is_ipv4() && !ends.ipv6.is_unspecified())) {
    return Error{"tunnel addresses " + ends.ipv4.to_string() + " and " + ends.ipv6.to_string() +
                     " are not one of IPv4 and one of IPv6",
                 "xdp steer", "correct the gateway's underlay addresses"};
  }
  std::vector<std::uint16_t> ports;
  for (const L4Port port : ends.ports) {
    if (port != L4Port{0}) {
      ports.push_back(Be16::of(port.value()).wire());
    }
  }
  if (ports.size() > ISTHMUS_TUNNEL_PORTS) {
    return Error{"tunnels on " + std::to_string(ports.size()) + " ports", "xdp steer",
                 "at most " + std::to_string(ISTHMUS_TUNNEL_PORTS) + " are supported; use one kind of encapsulation"};
  }
  ports.resize(ISTHMUS_TUNNEL_PORTS, 0);
  std::copy(ports.begin(), ports.end(), config.tunnel_ports);
  config.tunnel_ipv4 = ipv4 ? ends.ipv4.as_ipv4().wire() : 0;
  std::memset(config.tunnel_ipv6, 0, sizeof config.tunnel_ipv6);
  if (!ends.ipv6.is_unspecified()) {
    std::memcpy(config.tunnel_ipv6, ends.ipv6.bytes().data(), sizeof config.tunnel_ipv6);
  }
  return Ok{};
}

}  // namespace

template <typename Key>
Status MapSet<Key>::add_missing(const Keys& desired, Keys& added) {
  const std::uint32_t value = 1;
  for (const Key& key : desired) {
    if (current_.contains(key)) {
      continue;
    }
    if (bpf_map_update_elem(map_, &key, &value, BPF_ANY) != 0) {
      return map_failure(what_, errno);
    }
    current_.insert(key);
    added.insert(key);
  }
  return Ok{};
}

template <typename Key>
Status MapSet<Key>::remove(const Keys& keys) {
  Status status = Ok{};
  for (const Key& key : keys) {
    if (bpf_map_delete_elem(map_, &key) == 0 || errno == ENOENT) {
      current_.erase(key);
    } else {
      status = map_failure(what_, errno);
    }
  }
  return status;
}

template <typename Key>
Status MapSet<Key>::remove_others(const Keys& desired) {
  for (auto it = current_.begin(); it != current_.end();) {
    if (desired.contains(*it)) {
      ++it;
      continue;
    }
    if (bpf_map_delete_elem(map_, &*it) != 0 && errno != ENOENT) {
      return map_failure(what_, errno);
    }
    it = current_.erase(it);
  }
  return Ok{};
}

SteerMaps::SteerMaps(const Fds& fds, const isthmus_steer_config& base)
    : config_map_(fds.config),
      config_(base),
      peers_(fds.peers, "peers"),
      fleet_(fds.fleet, "fleet prefixes"),
      local_(fds.local, "local sources"),
      native_(fds.native, "prefixes with native routing") {
  config_.rules_version = 1;
}

Status SteerMaps::start() { return write_config(); }

Status SteerMaps::apply(const SteerRules& rules) { return end_change(replace(rules)); }

Status SteerMaps::change(const SteerChange& change) { return end_change(add_and_remove(change)); }

Status SteerMaps::end_change(Status status) {
  ++config_.rules_version;
  Status written = write_config();
  return status ? written : status;
}

Status SteerMaps::replace(const SteerRules& rules) {
  isthmus_steer_config changed = config_;
  if (auto status = set_tunnel(rules.tunnel, changed); !status) {
    return status;
  }
  const Desired desired = keys_of(rules);
  if (Status added = add_missing(desired); !added) {
    return added;
  }
  if (Status written = set_config(changed, !rules.native.empty()); !written) {
    return written;
  }
  Status removed = peers_.remove_others(desired.peers);
  removed = removed ? fleet_.remove_others(desired.fleet) : removed;
  removed = removed ? native_.remove_others(desired.native) : removed;
  return removed ? local_.remove_others(desired.local) : removed;
}

Status SteerMaps::add_and_remove(const SteerChange& change) {
  if (Status added = add_missing(keys_of(change.added)); !added) {
    return added;
  }
  const Desired gone = keys_of(change.removed);
  if (Status written = set_config(config_, native_.size() > gone.native.size()); !written) {
    return written;
  }
  Status removed = peers_.remove(gone.peers);
  removed = removed ? fleet_.remove(gone.fleet) : removed;
  removed = removed ? native_.remove(gone.native) : removed;
  return removed ? local_.remove(gone.local) : removed;
}

SteerMaps::Desired SteerMaps::keys_of(const SteerRules& rules) {
  return {address_keys(rules.peers), prefix_keys(rules.fleet), prefix_keys(rules.local_sources),
          prefix_keys(rules.native)};
}

// Nothing is written where nothing changes.
Status SteerMaps::set_config(isthmus_steer_config config, bool native) {
  constexpr std::uint64_t kHasNative = ISTHMUS_HAS_NATIVE;
  config.flags = native ? config.flags | kHasNative : config.flags & ~kHasNative;
  if (std::memcmp(&config, &config_, sizeof config) == 0) {
    return Ok{};
  }
  const isthmus_steer_config before = std::exchange(config_, config);
  Status written = write_config();
  config_ = written ? config_ : before;
  return written;
}

// Local sources are added before the fleet prefixes that need them, and removed after them.
Status SteerMaps::add_missing(const Desired& desired) {
  Desired added;
  Status status = local_.add_missing(desired.local, added.local);
  status = status ? native_.add_missing(desired.native, added.native) : status;
  status = status ? fleet_.add_missing(desired.fleet, added.fleet) : status;
  status = status ? peers_.add_missing(desired.peers, added.peers) : status;
  if (!status) {
    static_cast<void>(peers_.remove(added.peers));
    static_cast<void>(fleet_.remove(added.fleet));
    static_cast<void>(native_.remove(added.native));
    static_cast<void>(local_.remove(added.local));
  }
  return status;
}

Status SteerMaps::set_mac(const MacAddress& mac) {
  std::memcpy(config_.device_mac, mac.bytes.data(), sizeof config_.device_mac);
  return write_config();
}

Status SteerMaps::set_role(bool underlay, Realm realm) {
  constexpr std::uint64_t kUnderlay = ISTHMUS_UNDERLAY;
  config_.realm = realm.value();
  config_.flags = (config_.flags & ~kUnderlay) | (underlay ? kUnderlay : 0) | ISTHMUS_FORWARDS;
  return write_config();
}

Status SteerMaps::write_config() {
  const std::uint32_t only = 0;
  if (bpf_map_update_elem(config_map_, &only, &config_, BPF_ANY) != 0) {
    return map_failure("configuration", errno);
  }
  return Ok{};
}

}  // namespace isthmus
