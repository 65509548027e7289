#include "control/policy/selectors.h"

#include <algorithm>

#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

template <typename T>
void erase_first(std::vector<T>& list, const T& value) {
  if (const auto at = std::find(list.begin(), list.end(), value); at != list.end()) {
    *at = list.back();
    list.pop_back();
  }
}

}  // namespace

bool PeerSelector::matches(const KnownIdentity& identity) const {
  const auto by_label = [&](const LabelSelector& selector) { return selects(selector, identity); };
  const auto by_prefix = [&](const CidrBlock& block) { return block.contains(*identity.prefix); };
  return std::any_of(labels.begin(), labels.end(), by_label) ||
         (identity.prefix && std::any_of(cidrs.begin(), cidrs.end(), by_prefix));
}

SelectorId SelectorTable::acquire(const PeerSelector& peers, const IdentityIndex& identities, const CidrTable& cidrs) {
  const auto [it, inserted] = by_peers_.try_emplace(peers);
  if (!inserted) {
    ++selectors_.at(it->second).references;
    return it->second;
  }
  const SelectorId id = it->second = numbers_.allocate();
  std::vector<Identity> members;
  for (const LabelSelector& selector : peers.labels) {
    identities.visit_matching(selector, [&](Identity number, const KnownIdentity&) { members.push_back(number); });
  }
  for (const CidrBlock& block : peers.cidrs) {
    cidrs.visit_within(block, [&](const Prefix&, Identity number) {
      members.push_back(number);
      if (const Identity pods = identity::unlabelled_at(number, number); identities.find(pods) != nullptr) {
        members.push_back(pods);
      }
    });
  }
  std::sort(members.begin(), members.end());
  members.erase(std::unique(members.begin(), members.end()), members.end());
  for (const Identity number : members) {
    memberships_[number].push_back(id);
  }
  selectors_[id] = {&it->first, 1, 0, std::make_shared<std::vector<Identity>>(std::move(members)), false, false};
  index(id, it->first);
  touched_.insert(id);
  return id;
}

SelectorId SelectorTable::acquire_list() {
  const SelectorId id = numbers_.allocate();
  selectors_[id] = {nullptr, 1, 0, std::make_shared<std::vector<Identity>>(), false, false};
  touched_.insert(id);
  return id;
}

void SelectorTable::set_member(SelectorId list, Identity number, bool member) {
  Selector& selector = selectors_.at(list);
  if (std::binary_search(selector.members->begin(), selector.members->end(), number) != member) {
    edit(list, selector, number, member);
  }
}

void SelectorTable::watch(SelectorId id, bool on) {
  auto& watched = selectors_.at(id).watched;
  watched += on ? 1 : -1;
}

void SelectorTable::release(SelectorId id) {
  const auto at = selectors_.find(id);
  Selector& selector = at->second;
  if (--selector.references != 0) {
    return;
  }
  if (selector.peers != nullptr) {
    for (const Identity number : *selector.members) {
      const auto of = memberships_.find(number);
      erase_first(of->second, id);
      if (of->second.empty()) {
        memberships_.erase(of);
      }
    }
    unindex(id, *selector.peers);
    by_peers_.erase(by_peers_.find(*selector.peers));
  }
  if (selector.published) {
    removed_.insert(id);
  }
  touched_.erase(id);
  selectors_.erase(at);
  numbers_.release(id);
}

void SelectorTable::index(SelectorId id, const PeerSelector& peers) {
  for (const LabelSelector& selector : peers.labels) {
    by_label_.add(selector, id);
  }
  for (const CidrBlock& block : peers.cidrs) {
    by_prefix_[block.prefix].push_back(id);
  }
}

void SelectorTable::unindex(SelectorId id, const PeerSelector& peers) {
  for (const LabelSelector& selector : peers.labels) {
    by_label_.remove(selector, id);
  }
  for (const CidrBlock& block : peers.cidrs) {
    const auto at = by_prefix_.find(block.prefix);
    erase_first(at->second, id);
    if (at->second.empty()) {
      by_prefix_.erase(at);
    }
  }
}

void SelectorTable::identity_changed(Identity number, const KnownIdentity* now) {
  std::vector<SelectorId> candidates;
  if (const auto of = memberships_.find(number); of != memberships_.end()) {
    candidates = of->second;
  }
  if (now != nullptr) {
    by_label_.candidates(now->labels, candidates);
    for (int length = now->prefix ? now->prefix->length() : -1; length >= 0; --length) {
      const Prefix wider(now->prefix->address(), static_cast<std::uint8_t>(length));
      if (const auto at = by_prefix_.find(wider); at != by_prefix_.end()) {
        candidates.insert(candidates.end(), at->second.begin(), at->second.end());
      }
    }
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  for (const SelectorId id : candidates) {
    Selector& selector = selectors_.at(id);
    const bool was = std::binary_search(selector.members->begin(), selector.members->end(), number);
    const bool is = now != nullptr && selector.peers->matches(*now);
    if (was != is) {
      change(id, selector, number, is);
    }
  }
}

void SelectorTable::change(SelectorId id, Selector& selector, Identity number, bool enters) {
  edit(id, selector, number, enters);
  if (enters) {
    memberships_[number].push_back(id);
  } else {
    const auto of = memberships_.find(number);
    erase_first(of->second, id);
    if (of->second.empty()) {
      memberships_.erase(of);
    }
  }
  if (selector.watched != 0) {
    moves_.emplace(id, number);
  }
}

void SelectorTable::edit(SelectorId id, Selector& selector, Identity number, bool enters) {
  if (selector.shared) {
    selector.members = std::make_shared<std::vector<Identity>>(*selector.members);
    selector.shared = false;
  }
  auto& members = *selector.members;
  const auto at = std::lower_bound(members.begin(), members.end(), number);
  if (enters) {
    members.insert(at, number);
  } else {
    members.erase(at);
  }
  touched_.insert(id);
}

const std::vector<Identity>* SelectorTable::members(SelectorId id) const {
  const auto at = selectors_.find(id);
  return at == selectors_.end() ? nullptr : at->second.members.get();
}

void SelectorTable::take_changes(TableDelta& delta, std::set<SelectorId>& changed) {
  for (const SelectorId id : touched_) {
    Selector& selector = selectors_.at(id);
    if (selector.published || removed_.contains(id)) {  // the latter: of another selector
      changed.insert(id);
    }
    selector.published = selector.shared = true;
    delta.upsert_selectors.push_back({id, selector.members});
    removed_.erase(id);
  }
  touched_.clear();
  delta.remove_selectors.insert(delta.remove_selectors.end(), removed_.begin(), removed_.end());
  removed_.clear();
}

}  // namespace isthmus
