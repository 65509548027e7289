#include "control/compile/prefix_claims.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "control/compile/listing.h"

namespace isthmus {
namespace {

// Of prefixes beyond a limit, until no others are: what one change may cost. Where limits of a prefix or so interlock,
// so that what one cluster is cut lets another one in and back, the turns end anywhere, and a rebuild elsewhere.
constexpr int kMaxTurns = 8;

// Stands in for an object that claims what is allowed to a cluster by name: no Cluster object has a cluster.
ObjectKey allowance_of(const std::string& cluster, Family family) {
  return {ObjectKind::kCluster, cluster, {}, family == Family::kIpv4 ? "IPv4" : "IPv6"};
}
bool is_allowance(const ObjectKey& key) { return key.kind == ObjectKind::kCluster && !key.cluster.empty(); }
// The cluster for which an object, or an allowance, claims.
const std::string& claimant_of(const ObjectKey& key) { return key.cluster.empty() ? key.name : key.cluster; }

}  // namespace

void PrefixClaims::rebuild(Fleet& fleet, const Fleet* previous) {
  entries_.clear();
  by_object_.clear();
  for (auto* names : {&touched_, &left_out_, &kept_, &staying_, &lost_, &fresh_, &cut_}) {
    names->clear();
  }
  accepted_.clear();
  over_.clear();
  waiting_.clear();
  refused_.clear();
  too_many_.clear();
  changed_ends_.clear();
  named_.clear();
  turned_clusters_.clear();
  fleet_ = &fleet;
  previous_ = previous;
  gateways_touched_ = false;
  find_tunnel_ends();
  for (const auto& [name, cluster] : fleet.clusters) {
    if (cluster.where.empty()) {  // of our own cluster without an object, carried over from the previous fleet
      for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        named_[name].of(family) += cluster.has_pod_prefixes(family) ? 1 : 0;
      }
      for (const Prefix& prefix : cluster.prefixes) {
        entries_[prefix].push_back({name, {{nullptr, false, true}}});
        touched_.emplace(prefix, name);
      }
    }
  }
  model_.visit<ClusterObject>(ObjectKind::kCluster,
                              [&](const ObjectKey& key, const ClusterObject& object, const auto&) {
                                add(key, key.name, object.pod_prefixes, true);
                                add(key, key.name, object.node_prefixes, false);
                              });
  model_.visit<NodeObject>(ObjectKind::kNode, [&](const ObjectKey& key, const NodeObject& node, const auto&) {
    add(key, key.cluster, node.pod_prefixes, true);
  });
  for (auto& [name, cluster] : fleet.clusters) {
    allow_by_name(cluster);
  }
  keep_what_stood();
  decide();
  for (auto& [name, cluster] : fleet.clusters) {
    cluster.prefixes.clear();
  }
  fleet.ranges.clear();
  std::set<std::string> addressed;
  std::vector<Prefix> moved;
  settle(addressed, moved);
}

std::vector<Prefix> PrefixClaims::update(Fleet& fleet, const std::set<ObjectKey>& objects,
                                         const std::vector<IpAddress>& addresses, std::set<std::string>& addressed) {
  fleet_ = &fleet;
  previous_ = &fleet;
  gateways_touched_ = false;
  std::set<std::string> changed;
  for (const ObjectKey& key : objects) {
    if (replace(key)) {
      changed.insert(claimant_of(key));
    }
  }
  turned_clusters_.clear();
  for (const std::string& name : changed) {
    if (const auto cluster = fleet.clusters.find(name); cluster != fleet.clusters.end()) {
      const std::pair before(cluster->second.pods_ipv4, cluster->second.pods_ipv6);
      allow_by_name(cluster->second);
      if (before != std::pair(cluster->second.pods_ipv4, cluster->second.pods_ipv6)) {
        turned_clusters_.insert(name);
      }
    }
  }
  for (const Name& name : std::exchange(lost_, {})) {
    if (find(name) != nullptr) {
      touched_.insert(name);
    }
  }
  changed_ends_.insert(changed_ends_.end(), addresses.begin(), addresses.end());
  for (const IpAddress& address : std::exchange(changed_ends_, {})) {
    entries_.around(Prefix(address, 128), [&](const Prefix& prefix, Entries& entries) {
      for (const Entry& entry : entries) {
        touched_.emplace(prefix, entry.cluster);
      }
      return true;
    });
  }
  keep_what_stood();
  decide();
  std::vector<Prefix> moved;
  settle(addressed, moved);
  return moved;
}

void PrefixClaims::add(const ObjectKey& object, const std::string& cluster, const std::vector<Prefix>& prefixes,
                       bool pods) {
  if (prefixes.empty() || fleet_->clusters.count(cluster) == 0) {
    return;
  }
  const auto at = by_object_.try_emplace(object).first;
  at->second.insert(at->second.end(), prefixes.begin(), prefixes.end());
  for (const Prefix& prefix : prefixes) {
    Entries& entries = entries_[prefix];
    auto entry = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.cluster == cluster; });
    if (entry == entries.end()) {
      entry = entries.insert(entry, Entry{cluster, {}});
    }
    entry->claims.push_back({&at->first, pods, object.kind == ObjectKind::kCluster});
    named_[cluster].of(prefix.family()) += pods && !is_allowance(object) ? 1 : 0;
    touched_.emplace(prefix, cluster);
  }
}

// Where no node has a CIDR for pods, what is allowed to the cluster by name says where they are.
void PrefixClaims::allow_by_name(FleetCluster& cluster) {
  const std::vector<Prefix>* allowed = fleet_->admission.pods_of(cluster.name);
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const bool named = named_[cluster.name].of(family) != 0;
    std::vector<Prefix> prefixes;
    if (allowed != nullptr && !named) {
      std::copy_if(allowed->begin(), allowed->end(), std::back_inserter(prefixes),
                   [&](const Prefix& prefix) { return prefix.family() == family; });
    }
    (family == Family::kIpv4 ? cluster.pods_ipv4 : cluster.pods_ipv6) = named || !prefixes.empty();
    const ObjectKey key = allowance_of(cluster.name, family);
    const auto at = by_object_.find(key);
    if (prefixes != (at == by_object_.end() ? std::vector<Prefix>{} : at->second)) {
      withdraw(key);
      add(key, cluster.name, prefixes, true);
    }
  }
}

// What an object claims now in place of what it claimed. False: that is the same.
bool PrefixClaims::replace(const ObjectKey& object) {
  const auto node = model_.find<NodeObject>(object);
  const auto cluster = model_.find<ClusterObject>(object);
  const std::vector<Prefix> pods = node ? node->pod_prefixes : cluster ? cluster->pod_prefixes : std::vector<Prefix>{};
  const std::vector<Prefix> nodes = cluster ? cluster->node_prefixes : std::vector<Prefix>{};
  std::vector<Prefix> now = pods;
  now.insert(now.end(), nodes.begin(), nodes.end());
  const auto at = by_object_.find(object);
  if (!cluster && now == (at == by_object_.end() ? std::vector<Prefix>{} : at->second)) {
    return false;
  }
  withdraw(object);
  add(object, claimant_of(object), pods, true);
  add(object, claimant_of(object), nodes, false);
  return true;
}

void PrefixClaims::withdraw(const ObjectKey& object) {
  const auto at = by_object_.find(object);
  if (at == by_object_.end()) {
    return;
  }
  for (const Prefix& prefix : at->second) {
    const Name name{prefix, claimant_of(object)};
    Entry& entry = *find(name);
    std::erase_if(entry.claims, [&](const Claim& claim) {
      if (claim.by != &at->first) {
        return false;
      }
      list_refusal(prefix, entry, claim, false);
      named_[name.second].of(prefix.family()) -= claim.pods && !is_allowance(object) ? 1 : 0;
      return true;
    });
    touched_.insert(name);
  }
  by_object_.erase(at);
}

bool PrefixClaims::grown_around(const Name& name) {
  return !entries_.around(name.first, [&](const Prefix& prefix, Entries& entries) {
    return prefix == name.first || std::none_of(entries.begin(), entries.end(), [&](const Entry& entry) {
             return entry.cluster == name.second && !entry.claims.empty();
           });
  });
}

// Of clusters whose claims have changed: what they had, where they now claim more around it.
void PrefixClaims::keep_what_stood() {
  std::set<Name> stood = kept_;
  for (const auto& [prefix, cluster] : touched_) {
    const std::vector<Prefix>& had = had_of(cluster);
    if (cluster == options_.cluster) {
      continue;
    }
    for (auto at = std::lower_bound(had.begin(), had.end(), prefix); at != had.end() && prefix.contains(*at); ++at) {
      stood.emplace(*at, cluster);
    }
  }
  for (const Name& name : stood) {
    const std::vector<Prefix>& had = had_of(name.second);
    const bool keep = fleet_->clusters.count(name.second) != 0 &&
                      std::binary_search(had.begin(), had.end(), name.first) && grown_around(name);
    Entry* entry = find(name);
    if ((entry != nullptr && entry->kept) == keep) {
      continue;
    }
    if (entry == nullptr) {
      Entries& entries = entries_[name.first];
      entry = &*entries.insert(entries.end(), Entry{name.second, {}});
    }
    entry->kept = keep;
    touched_.insert(name);
    if (keep) {
      kept_.insert(name);
    } else {
      kept_.erase(name);
    }
  }
}

void PrefixClaims::decide() {
  for (const Name& name : touched_) {
    Entry& entry = *find(name);
    set_accepted(name.first, entry, false);
    enqueue(name.first, entry);
    enqueue_waiting(name.second);
  }
  std::set<Name> before;  // cut in the turn before
  for (int turn = 0;; ++turn) {
    do {
      run_queue();
      apply_limits();
    } while (!queue_.empty());
    std::set<Name> cut = take_cut();
    if (cut.empty() || cut == before || turn == kMaxTurns - 1) {
      break;  // what is in waiting_ stays so until its cluster changes
    }
    for (const Name& name : cut) {
      enqueue_waiting(name.second);
    }
    before = std::move(cut);
  }
  for (const Name& name : std::exchange(touched_, {})) {
    forget_if_empty(name);
  }
}

void PrefixClaims::run_queue() {
  while (!queue_.empty()) {
    const auto [order, name] = *queue_.begin();
    queue_.erase(queue_.begin());
    decide_one(name, order);
  }
}

void PrefixClaims::decide_one(const Name& name, const Order& order) {
  Entry& entry = *find(name);
  entry.queued = false;
  std::vector<Name> later;  // accepted, and to give way
  const bool free = entries_.overlapping(name.first, [&](const Prefix& prefix, Entries& entries) {
    for (const Entry& other : entries) {
      if (other.accepted && other.cluster != entry.cluster) {
        if (order_of(prefix, other) < order) {
          return false;
        }
        later.emplace_back(prefix, other.cluster);
      }
    }
    return true;
  });
  if (!free) {
    left_out_.insert(name);
    if (std::get<0>(order) == 1) {
      lost_.insert(name);
    }
    return;
  }
  set_accepted(name.first, entry, true);
  for (const Name& other : later) {
    set_accepted(other.first, *find(other), false);
  }
}

void PrefixClaims::enqueue(const Prefix& prefix, Entry& entry) {
  if (entry.queued) {
    return;
  }
  admit(prefix, entry);
  if (entry.admitted) {
    entry.queued = true;
    queue_.insert({order_of(prefix, entry), {prefix, entry.cluster}});
  } else {
    left_out_.erase({prefix, entry.cluster});
  }
}

void PrefixClaims::enqueue_refused_at(const Prefix& prefix) {
  entries_.overlapping(prefix, [&](const Prefix& at, Entries& entries) {
    for (Entry& entry : entries) {
      if (!entry.accepted) {
        enqueue(at, entry);
      }
    }
    return true;
  });
}

void PrefixClaims::set_accepted(const Prefix& prefix, Entry& entry, bool accepted) {
  if (entry.accepted == accepted) {
    return;
  }
  turned_.try_emplace({prefix, entry.cluster}, entry.accepted);
  fresh_.emplace(prefix, entry.cluster);
  entry.accepted = accepted;
  if (accepted) {
    left_out_.erase({prefix, entry.cluster});
  } else {
    enqueue_refused_at(prefix);
  }
}

// Adds the prefixes that have come or gone, and the clusters of what is accepted now or is no longer. What a cluster
// has lost is decided once more, as new: what it would be refused, or nobody claims, is not listed as what stands.
void PrefixClaims::settle(std::set<std::string>& clusters, std::vector<Prefix>& moved) {
  settle_once(clusters, moved);
  if (lost_.empty()) {
    return;
  }
  previous_ = fleet_;
  for (const Name& name : std::exchange(lost_, {})) {
    if (find(name) != nullptr) {
      touched_.insert(name);
    }
  }
  decide();
  settle_once(clusters, moved);
}

void PrefixClaims::settle_once(std::set<std::string>& clusters, std::vector<Prefix>& moved) {
  for (const auto& [name, before] : std::exchange(turned_, {})) {
    const Entry* entry = find(name);
    const bool now = entry != nullptr && entry->accepted;
    if (before && !now && entry != nullptr) {
      lost_.insert(name);
    }
    clusters.insert(name.second);
    gateways_touched_ = gateways_touched_ || ((before || now) && has_tunnel_end(name.first));
  }
  std::vector<Name> come;
  for (const std::string& name : clusters) {
    const auto cluster = fleet_->clusters.find(name);
    if (cluster == fleet_->clusters.end()) {
      continue;
    }
    std::vector<Prefix> now = used_of(name);
    const std::vector<Prefix>& before = cluster->second.prefixes;
    std::vector<Prefix> gone;
    std::set_difference(before.begin(), before.end(), now.begin(), now.end(), std::back_inserter(gone));
    for (const Prefix& prefix : gone) {
      fleet_->ranges.erase(prefix);
      moved.push_back(prefix);
      if (const Entry* entry = find({prefix, name}); entry != nullptr && entry->over) {
        lost_.emplace(prefix, name);
      }
    }
    for (const Prefix& prefix : now) {
      if (!std::binary_search(before.begin(), before.end(), prefix)) {
        come.emplace_back(prefix, name);
        moved.push_back(prefix);
      }
    }
    cluster->second.prefixes = std::move(now);
  }
  for (const auto& [prefix, cluster] : come) {
    fleet_->ranges[prefix] = cluster;
  }
  for (const Name& name : std::set<Name>(kept_)) {  // what is not in use any more does not stand
    const std::vector<Prefix>& now = fleet_->clusters.at(name.second).prefixes;
    if (!std::binary_search(now.begin(), now.end(), name.first)) {
      find(name)->kept = false;
      kept_.erase(name);
      lost_.insert(name);
    }
  }
}

PrefixClaims::Entry* PrefixClaims::find(const Name& name) {
  Entries* entries = entries_.find(name.first);
  if (entries == nullptr) {
    return nullptr;
  }
  const auto at =
      std::find_if(entries->begin(), entries->end(), [&](const Entry& entry) { return entry.cluster == name.second; });
  return at == entries->end() ? nullptr : &*at;
}

void PrefixClaims::forget_if_empty(const Name& name) {
  Entries* entries = entries_.find(name.first);
  if (entries == nullptr) {
    return;
  }
  std::erase_if(*entries, [&](const Entry& entry) {
    return entry.cluster == name.second && entry.claims.empty() && !entry.kept;
  });
  if (find(name) == nullptr) {
    left_out_.erase(name);
    staying_.erase(name);
  }
  if (entries->empty()) {
    entries_.erase(name.first);
  }
}

const std::vector<Prefix>& PrefixClaims::had_of(const std::string& cluster) const {
  static const std::vector<Prefix> none;
  const FleetCluster* old = previous_ == nullptr ? nullptr : previous_->find(cluster);
  return old == nullptr ? none : old->prefixes;
}

bool PrefixClaims::had(const std::string& cluster, const Prefix& prefix) const {
  const std::vector<Prefix>& old = had_of(cluster);
  const auto after = std::upper_bound(old.begin(), old.end(), Prefix(prefix.address(), 128));
  return after != old.begin() && std::prev(after)->contains(prefix);
}

int PrefixClaims::rank_of(const Prefix& prefix, const Entry& entry, const Claim& claim) const {
  return entry.cluster == options_.cluster ? 0 : had(entry.cluster, prefix) ? 1 : claim.from_cluster ? 2 : 3;
}

int PrefixClaims::rank_of(const Prefix& prefix, const Entry& entry) const {
  int rank = entry.cluster == options_.cluster ? 0 : had(entry.cluster, prefix) ? 1 : 3;
  for (const Claim& claim : entry.claims) {
    rank = claim.refused.empty() && claim.from_cluster ? std::min(rank, 2) : rank;
  }
  return rank;
}

bool PrefixClaims::takes_in_several(const Prefix& prefix, const Entry& entry) {
  const std::string* first = nullptr;
  return !entries_.inside(prefix, [&](const Prefix&, const Entries& entries) {
    for (const Entry& other : entries) {
      if (other.cluster == entry.cluster || other.claims.empty()) {
        continue;
      }
      if (first != nullptr && *first != other.cluster) {
        return false;
      }
      first = &other.cluster;
    }
    return true;
  });
}

PrefixClaims::Order PrefixClaims::order_of(const Prefix& prefix, const Entry& entry) {
  constexpr int kOver = 4;
  const int rank = entry.over ? kOver : rank_of(prefix, entry);
  return {rank, !entry.over && rank > 1 && takes_in_several(prefix, entry), fleet_->clusters.at(entry.cluster).id};
}

std::optional<std::string> PrefixClaims::pods_at(const IpAddress& address) {
  std::optional<std::string> found;
  entries_.around(Prefix(address, 128), [&](const Prefix& prefix, const Entries& entries) {
    for (const Entry& entry : entries) {
      if (entry.accepted && entry.pods && !entry.over) {
        found = "pod prefix " + prefix.to_string() + alias_note(*fleet_, entry.cluster, prefix) + " of cluster " +
                entry.cluster;
      }
    }
    return !found;
  });
  return found;
}

}  // namespace isthmus
