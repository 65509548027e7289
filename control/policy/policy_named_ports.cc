// Ports by name. Pods that have some that rules name receive for identities of their own, with these ports. A name in
// an ingress rule is the subject's. In an egress rule, each number that it has at some destination is an entry of its
// own, for the peers that have it. What is no endpoint has no named ports.
#include <algorithm>
#include <map>
#include <utility>

#include "control/policy/policy_set.h"
#include "dataplane/api/identity.h"

namespace isthmus {

// Sets of the destinations of a rule, by the number that the name stands for there.
std::map<std::uint16_t, std::vector<Identity>> PolicySet::destinations(const CompiledSpec::Rule& rule,
                                                                       const PolicyPort& port) const {
  std::map<std::uint16_t, std::vector<Identity>> out;
  if (rule.matches_nothing) {
    return out;
  }
  const std::vector<Identity> candidates =
      rule.peers == kEveryPeer ? named_ports_.receivers(port.name, port.protocol) : *selectors_.members(rule.peers);
  for (const Identity number : candidates) {
    if (is_address(number)) {
      continue;
    }
    for (const std::uint16_t l4_port : named_ports_.numbers(port.name, port.protocol, number)) {
      out[l4_port].push_back(number);
    }
  }
  return out;
}

// Hosts and the world: identities that addresses have without being endpoints.
bool PolicySet::is_address(Identity number) const {
  const KnownIdentity* known = identities_.find(number);
  return known != nullptr &&
         (known->prefix || std::any_of(known->labels.begin(), known->labels.end(), [](const auto& l) {
            return l.source == "reserved" && l.key != "health" && l.key != "init" && l.key != "ingress";
          }));
}

// Brings the sets of a spec's named ports up to date, and marks its subjects: their entries or peers may change.
void PolicySet::refresh_named(SpecId id) {
  CompiledSpec& spec = specs_.at(id);
  for (CompiledSpec::Rule& rule : spec.rules) {
    const std::vector<CompiledSpec::NamedPeers> before = std::exchange(rule.named, {});
    for (const PolicyPort& port : rule.text.ports) {
      if (!rule.text.egress || port.name.empty()) {
        continue;
      }
      for (auto& [number, members] : destinations(rule, port)) {
        const SelectorId peers = selectors_.acquire({rule.peers, port.name, port.protocol, number}, std::move(members));
        rule.named.push_back({port.protocol, number, peers});
      }
    }
    release_named(before, id);
    for (const CompiledSpec::NamedPeers& each : rule.named) {
      users_[each.peers].insert(id);
    }
  }
  dirty_.insert(spec.selected.begin(), spec.selected.end());
}

void PolicySet::release_named(const std::vector<CompiledSpec::NamedPeers>& sets, SpecId user) {
  for (const CompiledSpec::NamedPeers& each : sets) {
    remove_user(each.peers, user);
    selectors_.release(each.peers);
  }
}

void PolicySet::remove_user(SelectorId peers, SpecId user) {
  if (const auto users = users_.find(peers); users != users_.end()) {
    users->second.erase(user);
    if (users->second.empty()) {
      users_.erase(users);
    }
  }
}

void PolicySet::use_names(const CompiledSpec& spec, bool use) {
  for (const CompiledSpec::Rule& rule : spec.rules) {
    for (const PolicyPort& port : rule.text.ports) {
      if (port.name.empty()) {
        continue;
      }
      if (use) {
        named_ports_.use(port.name, port.protocol);
      } else {
        named_ports_.disuse(port.name, port.protocol);
      }
    }
  }
}

// After all changes of identities, named ports and policies; before selectors are published.
void PolicySet::update_named(const Model& model, TableDelta& delta) {
  const NamedPorts::Changes receivers = named_ports_.settle(model, delta);
  for (const Identity number : receivers.removed) {  // first: some may be in use again, for others
    erase_identity(number);
  }
  for (const Identity number : receivers.added) {
    if (const KnownIdentity* known = identities_.find(named_ports_.identity_of(number))) {
      set_identity(number, KnownIdentity(*known));
    }
  }
  const std::set<SelectorId> changed = selectors_.touched();
  for (const SpecId id : named_egress_) {
    const CompiledSpec& spec = specs_.at(id);
    const bool affected =
        !receivers.empty() || std::any_of(spec.rules.begin(), spec.rules.end(),
                                          [&](const auto& rule) { return changed.contains(rule.peers); });
    if (affected) {
      refresh_named(id);
    }
  }
}

}  // namespace isthmus
