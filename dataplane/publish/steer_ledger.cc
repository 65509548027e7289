#include "dataplane/publish/steer_ledger.h"

namespace isthmus {

template <typename Key>
void SteerLedger::Wanted<Key>::count(const Key& key, int by) {
  const auto at = counts_.try_emplace(key, 0).first;
  const bool before = at->second != 0;
  at->second += by;
  const bool now = at->second != 0;
  if (!now) {
    counts_.erase(at);
  }
  if (before != now && !turned_.insert(key).second) {
    turned_.erase(key);
  }
}

template <typename Key>
std::set<Key> SteerLedger::Wanted<Key>::all() const {
  std::set<Key> keys;
  for (const auto& [key, count] : counts_) {
    keys.insert(keys.end(), key);
  }
  return keys;
}

template <typename Key>
void SteerLedger::Wanted<Key>::take(std::set<Key>& added, std::set<Key>& removed) {
  for (const Key& key : turned_) {
    auto& into = counts_.contains(key) ? added : removed;
    into.insert(into.end(), key);
  }
  turned_.clear();
}

void SteerLedger::count_peer(const IpAddress& peer, int by) { peers_.count(peer, by); }

void SteerLedger::count(List list, const Prefix& prefix, int by) { of(list).count(prefix, by); }

SteerRules SteerLedger::rules() const {
  SteerRules rules;
  rules.peers = peers_.all();
  rules.fleet = of(List::kFleet).all();
  rules.local_sources = of(List::kLocalSources).all();
  rules.native = of(List::kNative).all();
  return rules;
}

SteerChange SteerLedger::take_change() {
  SteerChange change;
  peers_.take(change.added.peers, change.removed.peers);
  of(List::kFleet).take(change.added.fleet, change.removed.fleet);
  of(List::kLocalSources).take(change.added.local_sources, change.removed.local_sources);
  of(List::kNative).take(change.added.native, change.removed.native);
  return change;
}

}  // namespace isthmus
