#include "control/policy/named_ports.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <iterator>

#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

// Of a pod or ipcache address, sorted.
std::vector<IpAddress> addresses_of(const ObjectKey& key, const Model& model) {
  std::vector<IpAddress> out;
  if (const auto address = model.find<AddressObject>(key)) {
    out.push_back(address->prefix.address());
  }
  if (const auto pod = model.find<PodObject>(key)) {
    out = pod->addresses;
    const ObjectKey endpoint_key{ObjectKind::kCiliumEndpoint, key.cluster, key.ns, key.name};
    if (const auto endpoint = model.find<CiliumEndpointObject>(endpoint_key)) {
      out.insert(out.end(), endpoint->addresses.begin(), endpoint->addresses.end());
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// Reserved identities, and those of prefixes, are no pods' own.
bool may_receive(Identity identity) {
  return identity.value() >= identity::kFirstAllocated &&
         (identity < identity::kFirstPrefix || identity::is_local(identity));
}

}  // namespace

void NamedPorts::refresh(const ObjectKey& pod, const Model& model, const LocalIdentities& local) {
  Pod now;
  const auto read = [&](Identity identity, const std::vector<ServicePort>& ports) {
    now = {identity, {}};
    for (const ServicePort& port : ports) {
      now.ports.push_back(
          {{absl::AsciiStrToLower(port.name), static_cast<std::uint8_t>(port.protocol)}, port.port.value()});
    }
    std::sort(now.ports.begin(), now.ports.end());
    now.ports.erase(std::unique(now.ports.begin(), now.ports.end()), now.ports.end());
  };
  if (const auto object = model.find<PodObject>(pod); object && !object->named_ports->empty()) {
    const auto endpoint =
        model.find<CiliumEndpointObject>({ObjectKind::kCiliumEndpoint, pod.cluster, pod.ns, pod.name});
    if (const auto number = local.find(pod)) {
      read(*number, *object->named_ports);
      now.local = true;
    } else if (endpoint) {
      read(endpoint->identity, *object->named_ports);
    }
  } else if (const auto address = model.find<AddressObject>(pod);
             address && !address->named_ports->empty() && address->prefix.length128() == 128) {
    read(address->identity, *address->named_ports);
  }
  if (!may_receive(now.identity)) {
    now = {};
  }
  if (placed_.contains(pod)) {  // its addresses may be others
    dirty_.insert(pod);
  }
  const auto before = pods_.find(pod);
  if (before == pods_.end() ? now.ports.empty() : before->second == now) {
    return;
  }
  dirty_.insert(pod);
  if (now.ports.empty()) {
    pods_.erase(before);
  } else {
    pods_[pod] = std::move(now);
  }
}

void NamedPorts::set_clusters(std::map<std::string, ClusterId> ids, unsigned shift) {
  if (ids == clusters_ && shift == shift_) {
    return;
  }
  clusters_ = std::move(ids);
  shift_ = shift;
  for (const auto& [key, pod] : pods_) {
    dirty_.insert(key);
  }
}

bool NamedPorts::is_own(const ObjectKey& key, const Pod& pod) const {
  const auto cluster = clusters_.find(key.cluster);
  return pod.local || (cluster != clusters_.end() && pod.identity.value() >> shift_ == cluster->second.value());
}

void NamedPorts::use(const std::string& name, std::uint8_t protocol) {
  if (used_[{name, protocol}]++ == 0) {
    switched_.insert({name, protocol});
  }
}

void NamedPorts::disuse(const std::string& name, std::uint8_t protocol) {
  const auto at = used_.find({name, protocol});
  if (--at->second == 0) {
    used_.erase(at);
    switched_.insert({name, protocol});
  }
}

NamedPorts::Changes NamedPorts::settle(const Model& model, TableDelta& delta) {
  if (const std::set<Name> switched = std::exchange(switched_, {}); !switched.empty()) {
    for (const auto& [key, pod] : pods_) {
      if (std::any_of(pod.ports.begin(), pod.ports.end(), [&](const auto& p) { return switched.contains(p.first); })) {
        dirty_.insert(key);
      }
    }
  }
  Changes changes;
  Before before;
  for (const ObjectKey& key : std::exchange(dirty_, {})) {
    place(key, model, changes, before);
  }
  for (const auto& [where, was] : before) {
    const auto now = receiver_at(where.first, where.second);
    if (now && now != was) {
      delta.upsert_receivers.push_back({where.first, where.second, *now});
    } else if (!now && was) {
      delta.remove_receivers.push_back({where.first, where.second, *was});
    }
  }
  return changes;
}

void NamedPorts::place(const ObjectKey& key, const Model& model, Changes& changes, Before& before) {
  const auto touch = [&](const IpAddress& address, Identity identity) -> auto& {
    before.try_emplace({address, identity}, receiver_at(address, identity));
    return places_[{address, identity}];
  };
  const auto pod = pods_.find(key);
  const Ports used = pod == pods_.end() || !is_own(key, pod->second) ? Ports{} : used_of(pod->second.ports);
  std::vector<IpAddress> addresses = used.empty() ? std::vector<IpAddress>() : addresses_of(key, model);
  const auto old = placed_.find(key);
  std::optional<Placed> left;
  if (old != placed_.end()) {
    const auto& group = old->second.group->first;
    if (pod != pods_.end() && group.first == pod->second.identity && group.second == used &&
        old->second.addresses == addresses) {
      return;
    }
    left = old->second;
    placed_.erase(old);
    for (const IpAddress& address : left->addresses) {
      auto& there = touch(address, left->group->first.first);
      there.erase(key);
      if (there.empty()) {
        places_.erase({address, left->group->first.first});
      }
    }
  }
  if (!used.empty()) {
    const Groups::iterator group = join(pod->second.identity, used, changes);
    for (const IpAddress& address : addresses) {
      touch(address, pod->second.identity)[key] = group->second.number;
    }
    placed_[key] = {group, std::move(addresses)};
  }
  if (left) {
    leave(left->group, changes);
  }
}

NamedPorts::Groups::iterator NamedPorts::join(Identity identity, const Ports& ports, Changes& changes) {
  const auto [group, added] = groups_.try_emplace({identity, ports});
  if (added) {
    group->second.number = identity::receiver(pool_.allocate().value());
    by_number_[group->second.number] = group;
    changes.added.insert(group->second.number);
  }
  ++group->second.pods;
  return group;
}

void NamedPorts::leave(Groups::iterator group, Changes& changes) {
  if (--group->second.pods != 0) {
    return;
  }
  const Identity number = group->second.number;
  if (changes.added.erase(number) == 0) {
    changes.removed.try_emplace(number, group->first.second);
  }
  by_number_.erase(number);
  pool_.release(Identity{identity::local_number(number)});
  groups_.erase(group);
}

NamedPorts::Ports NamedPorts::used_of(const Ports& ports) const {
  Ports used;
  std::copy_if(ports.begin(), ports.end(), std::back_inserter(used),
               [&](const auto& port) { return used_.contains(port.first); });
  return used;
}

const NamedPorts::Ports* NamedPorts::ports_of(Identity receiver) const {
  const auto at = by_number_.find(receiver);
  return at == by_number_.end() ? nullptr : &at->second->first.second;
}

std::vector<std::uint16_t> NamedPorts::numbers(const std::string& name, std::uint8_t protocol, Identity of) const {
  std::vector<std::uint16_t> found;
  if (const auto at = by_number_.find(of); at != by_number_.end()) {
    for (const auto& [port, number] : at->second->first.second) {
      if (port == Name{name, protocol}) {
        found.push_back(number);
      }
    }
  }
  return found;
}

std::vector<Identity> NamedPorts::receivers(const std::string& name, std::uint8_t protocol) const {
  std::vector<Identity> found;
  for (const auto& [receiver, group] : by_number_) {
    if (!numbers(name, protocol, receiver).empty()) {
      found.push_back(receiver);
    }
  }
  return found;
}

std::set<Identity> NamedPorts::receivers_of(Identity identity) const {
  std::set<Identity> found;
  for (auto at = groups_.lower_bound({identity, {}}); at != groups_.end() && at->first.first == identity; ++at) {
    found.insert(at->second.number);
  }
  return found;
}

std::optional<Identity> NamedPorts::receiver_at(const IpAddress& address, Identity identity) const {
  const auto at = places_.find({address, identity});
  return at == places_.end() ? std::nullopt : std::optional(at->second.begin()->second);
}

}  // namespace isthmus
