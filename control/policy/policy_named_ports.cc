// Ports by name. Pods that have some that rules name receive for identities of their own, with these ports. A name in
// an ingress rule is the subject's. In an egress rule, each number that it has at some destination is an entry of its
// own, for the peers that have it: a list that rules with equal peers share, and that changes by the receivers that
// come, go, enter the peers or leave them. What is no endpoint has no named ports.
#include <algorithm>
#include <map>
#include <utility>

#include "control/policy/policy_set.h"
#include "dataplane/api/identity.h"

namespace isthmus {

// Hosts and the world: identities that addresses have without being endpoints.
bool PolicySet::is_address(Identity number) const {
  const KnownIdentity* known = identities_.find(number);
  return known != nullptr &&
         (known->prefix || std::any_of(known->labels.begin(), known->labels.end(), [](const auto& l) {
            return l.source == "reserved" && l.key != "health" && l.key != "init" && l.key != "ingress";
          }));
}

bool PolicySet::is_destination(SelectorId of, Identity number) const {
  const std::vector<Identity>* members = of == kEveryPeer ? nullptr : selectors_.members(of);
  return (of == kEveryPeer || (members != nullptr && std::binary_search(members->begin(), members->end(), number))) &&
         !is_address(number);
}

void PolicySet::add_named(SpecId user) {
  for (CompiledSpec::Rule& rule : specs_.at(user).rules) {
    for (const PolicyPort& port : rule.text.ports) {
      if (!rule.text.egress || rule.matches_nothing || port.name.empty()) {
        continue;
      }
      const NamedKey key{{port.name, port.protocol}, rule.peers};
      const auto [at, added] = named_peers_.try_emplace(key);
      NamedUse& use = at->second;
      if (added) {
        fill_named(key, use);
      }
      ++use.users[user];
      for (const auto& [number, set] : use.peers.sets) {
        users_[set].insert(user);
      }
      rule.named.push_back(&use.peers);
    }
  }
}

void PolicySet::fill_named(const NamedKey& key, NamedUse& use) {
  const auto& [name, of] = key;
  use.peers.protocol = name.second;
  if (of != kEveryPeer) {
    selectors_.watch(of, true);
  }
  Emptied none;
  for (const Identity number :
       of == kEveryPeer ? named_ports_.receivers(name.first, name.second) : *selectors_.members(of)) {
    for (const std::uint16_t l4_port : named_ports_.numbers(name.first, name.second, number)) {
      set_destination(use, l4_port, number, is_destination(of, number), none);
    }
  }
}

void PolicySet::remove_named(SpecId user) {
  for (const CompiledSpec::Rule& rule : specs_.at(user).rules) {
    if (rule.named.empty()) {
      continue;
    }
    for (const PolicyPort& port : rule.text.ports) {
      const auto at =
          port.name.empty() ? named_peers_.end() : named_peers_.find({{port.name, port.protocol}, rule.peers});
      if (at == named_peers_.end() || --at->second.users.at(user) != 0) {
        continue;
      }
      at->second.users.erase(user);
      for (const auto& [number, set] : at->second.peers.sets) {
        remove_user(set, user);
      }
      if (at->second.users.empty()) {
        for (const auto& [number, set] : at->second.peers.sets) {
          selectors_.release(set);
        }
        if (rule.peers != kEveryPeer) {
          selectors_.watch(rule.peers, false);
        }
        named_peers_.erase(at);
      }
    }
  }
}

// The entries of the subjects change.
void PolicySet::users_changed(const NamedUse& use) {
  for (const auto& [user, ports] : use.users) {
    const auto& selected = specs_.at(user).selected;
    dirty_.insert(selected.begin(), selected.end());
  }
}

void PolicySet::set_destination(NamedUse& use, std::uint16_t l4_port, Identity number, bool member, Emptied& emptied) {
  auto at = use.peers.sets.find(l4_port);
  if (at == use.peers.sets.end()) {
    if (!member) {
      return;
    }
    at = use.peers.sets.emplace(l4_port, selectors_.acquire_list()).first;
    for (const auto& [user, ports] : use.users) {
      users_[at->second].insert(user);
    }
    users_changed(use);
  }
  selectors_.set_member(at->second, number, member);
  if (selectors_.members(at->second)->empty()) {
    emptied.emplace(&use, l4_port);
  }
}

// Of a receiver that has these ports, or had them; `now`: what it has, null: nothing.
void PolicySet::set_destinations(SelectorId of, Identity number, const NamedPorts::Ports& ports,
                                 const NamedPorts::Ports* now, Emptied& emptied) {
  const bool there = now != nullptr && is_destination(of, number);
  for (const auto& port : ports) {
    if (const auto use = named_peers_.find({port.first, of}); use != named_peers_.end()) {
      const bool member = there && std::binary_search(now->begin(), now->end(), port);
      set_destination(use->second, port.second, number, member, emptied);
    }
  }
}

void PolicySet::remove_emptied(const Emptied& emptied) {
  for (const auto& [use, l4_port] : emptied) {
    const auto at = use->peers.sets.find(l4_port);
    if (!selectors_.members(at->second)->empty()) {
      continue;
    }
    users_.erase(at->second);
    selectors_.release(at->second);
    use->peers.sets.erase(at);
    users_changed(*use);
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
  for (const auto& [number, ports] : receivers.removed) {  // first: some may be in use again, for others
    erase_identity(number);
    if (subjects_.contains(number)) {
      dirty_.insert(number);
    }
  }
  for (const Identity number : receivers.added) {
    if (const KnownIdentity* known = identities_.find(named_ports_.identity_of(number))) {
      set_identity(number, KnownIdentity(*known));
    } else {
      select_subject(number, nullptr);
    }
  }
  SelectorTable::Moves moves = selectors_.take_moves();
  for (const auto& [number, ports] : receivers.removed) {
    moves.emplace(kEveryPeer, number);
  }
  for (const Identity number : receivers.added) {
    moves.emplace(kEveryPeer, number);
  }
  Emptied emptied;
  for (const auto& [of, number] : moves) {
    const NamedPorts::Ports* now = named_ports_.ports_of(number);
    if (const auto before = receivers.removed.find(number); before != receivers.removed.end()) {
      set_destinations(of, number, before->second, now, emptied);
    }
    if (now != nullptr) {
      set_destinations(of, number, *now, now, emptied);
    }
  }
  remove_emptied(emptied);
}

}  // namespace isthmus
