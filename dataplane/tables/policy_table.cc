#include "dataplane/tables/policy_table.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

// Reserved identities that workloads carry and that are therefore subject to policy: health, init, the well-known ones
// and the user-reserved ones. The others (host, world, remote nodes) are not endpoints.
bool is_workload(Identity identity) noexcept {
  constexpr std::uint32_t kInit = 5, kFirstWellKnown = 100, kLastWellKnown = 115, kFirstUserReserved = 128;
  constexpr std::uint32_t kScoped = 1u << 24;
  const std::uint32_t id = identity.value();
  return id == identity::kHealth.value() || id == kInit || (id >= kFirstWellKnown && id <= kLastWellKnown) ||
         (id >= kFirstUserReserved && id < kScoped);
}

// Of an address in our cluster: pods without labels, and addresses that nothing is known of.
bool is_unknown(Identity identity) noexcept {
  constexpr std::uint32_t kScoped = 1u << 24;
  return identity == identity::kWorld || identity.value() >= kScoped;
}

// Whether the set contains an identity that an address may have without being an endpoint.
bool has_unallocated(const std::vector<Identity>& sorted) noexcept {
  if (sorted.empty() || sorted.front().value() < identity::kFirstAllocated) {
    return !sorted.empty();
  }
  const auto scoped = std::lower_bound(sorted.begin(), sorted.end(), identity::kFirstPrefix);
  return scoped != sorted.end() && *scoped < identity::local(0);
}

PolicyVerdict audited(PolicyVerdict verdict, bool audit) noexcept {
  const bool denied = verdict.outcome == PolicyOutcome::kDenied || verdict.outcome == PolicyOutcome::kDeniedByRule;
  return audit && denied ? PolicyVerdict{PolicyOutcome::kAudited, verdict.rule} : verdict;
}

}  // namespace

// Selectors -----------------------------------------------------------------------------------------------------------

const std::vector<Identity>* SelectorSets::find(SelectorId id) const noexcept {
  const std::size_t block = id.value() / kBlock;
  return block < blocks_.size() && blocks_[block] != nullptr ? (*blocks_[block])[id.value() % kBlock].get() : nullptr;
}

bool SelectorSets::holds(SelectorId id, Identity identity) const noexcept {
  if (id == kEveryPeer) {
    return true;
  }
  const std::vector<Identity>* members = find(id);
  return members != nullptr && std::binary_search(members->begin(), members->end(), identity);
}

void SelectorSets::apply(const std::vector<SelectorEntry>& upsert, const std::vector<SelectorId>& remove) {
  std::map<std::size_t, std::shared_ptr<Block>> touched;
  const auto entry_for = [&](SelectorId id) -> Members& {
    const std::size_t number = id.value() / kBlock;
    if (number >= blocks_.size()) {
      blocks_.resize(number + 1);
    }
    std::shared_ptr<Block>& block = touched[number];
    if (block == nullptr) {
      block = blocks_[number] != nullptr ? std::make_shared<Block>(*blocks_[number]) : std::make_shared<Block>();
    }
    return (*block)[id.value() % kBlock];
  };
  for (const SelectorId id : remove) {
    if (find(id) != nullptr) {
      entry_for(id) = nullptr;
    }
  }
  for (const SelectorEntry& entry : upsert) {
    entry_for(entry.id) = entry.identities;
  }
  for (auto& [number, block] : touched) {
    blocks_[number] = std::move(block);
  }
}

// One direction -------------------------------------------------------------------------------------------------------

DirectionRules::DirectionRules(const DirectionPolicy& policy) : enforced_(policy.enforced) {
  const auto order = [](const PolicyEntry& e) {  // kEveryPeer first: it is the cheapest to test
    return std::tuple(!e.deny, e.protocol, e.first_port, e.last_port, e.peers != kEveryPeer);
  };
  std::vector<PolicyEntry> entries = policy.entries;
  std::stable_sort(entries.begin(), entries.end(),
                   [&](const PolicyEntry& a, const PolicyEntry& b) { return order(a) < order(b); });
  peers_.reserve(entries.size());
  for (const PolicyEntry& e : entries) {
    const bool same = !groups_.empty() && groups_.back().deny == e.deny && groups_.back().protocol == e.protocol &&
                      groups_.back().first_port == e.first_port && groups_.back().last_port == e.last_port;
    if (!same) {
      groups_.push_back({e.first_port, e.last_port, e.protocol, e.deny, 0});
    }
    peers_.push_back({e.peers, e.rule});
    groups_.back().end = static_cast<std::uint32_t>(peers_.size());
  }
  build_classes();
}

void DirectionRules::build_classes() {
  constexpr std::uint32_t kProtocols = 256;
  std::map<std::uint32_t, std::vector<std::pair<std::uint32_t, bool>>> points;  // where groups begin and end
  for (std::uint32_t number = 0; number < groups_.size(); ++number) {
    const Group& group = groups_[number];
    const bool every_port = group.first_port == 0 && group.last_port == 0xffff;
    const std::uint32_t first = group.protocol, last = group.protocol != 0 ? group.protocol : kProtocols - 1;
    for (std::uint32_t protocol = first; protocol <= last; protocol = every_port ? last + 1 : protocol + 1) {
      points[point(protocol, group.first_port)].emplace_back(number, true);
      points[point(every_port ? last : protocol, group.last_port) + 1].emplace_back(number, false);
    }
  }
  classes_.pop_back();
  std::set<std::uint32_t> open;
  const std::size_t most = kMaxPlaces + kPlacesPerGroup * groups_.size();
  for (const auto& [start, changes] : points) {
    for (const auto& [group, begins] : changes) {
      begins ? static_cast<void>(open.insert(group)) : static_cast<void>(open.erase(group));
    }
    if (start != 0) {
      classes_.push_back({start, 0});
    }
    listed_ = listed_ && covering_.size() + open.size() <= most;
    if (listed_) {
      classes_.back().begin = static_cast<std::uint32_t>(covering_.size());
      covering_.insert(covering_.end(), open.begin(), open.end());
    }
  }
  classes_.push_back({~std::uint32_t{0}, static_cast<std::uint32_t>(covering_.size())});
}

std::uint32_t DirectionRules::class_of(PolicyL4 l4) const noexcept {
  const auto after = std::upper_bound(classes_.begin(), classes_.end(), point(l4.protocol, l4.port),
                                      [](std::uint32_t at, const Class& one) { return at < one.start; });
  return static_cast<std::uint32_t>(after - classes_.begin()) - 1;
}

PolicyVerdict DirectionRules::decide(const SelectorSets& selectors, Identity peer, PolicyL4 l4) const noexcept {
  const std::uint32_t number = listed_ ? class_of(l4) : 0;
  const std::uint32_t begin = listed_ ? classes_[number].begin : 0;
  const std::uint32_t end = listed_ ? classes_[number + 1].begin : static_cast<std::uint32_t>(groups_.size());
  for (std::uint32_t at = begin; at < end; ++at) {
    const std::uint32_t index = listed_ ? covering_[at] : at;
    const Group& group = groups_[index];
    if (!listed_ && !group.covers(l4)) {
      continue;
    }
    for (std::uint32_t i = index == 0 ? 0 : groups_[index - 1].end; i < group.end; ++i) {
      if (selectors.holds(peers_[i].selector, peer)) {
        return {group.deny ? PolicyOutcome::kDeniedByRule : PolicyOutcome::kAllowed, peers_[i].rule};
      }
    }
  }
  return {enforced_ ? PolicyOutcome::kDenied : PolicyOutcome::kAllowed, kNoRule};
}

bool DirectionRules::asks_prefixes(const SelectorSets& selectors) const noexcept {
  return std::any_of(peers_.begin(), peers_.end(), [&](const Peer& peer) {
    const std::vector<Identity>* members = selectors.find(peer.selector);
    return members != nullptr && has_unallocated(*members);
  });
}

// The table -----------------------------------------------------------------------------------------------------------

PolicyTable::PolicyTable(Realm realm) : realm_(realm), prefixes_(std::make_shared<const RangeMap>()) {
  subjects_.fill(std::make_shared<const Shard>());
}

std::shared_ptr<const PolicyTable> PolicyTable::changed(const TableDelta& delta,
                                                        std::shared_ptr<const RangeMap> prefixes) const {
  auto next = std::make_shared<PolicyTable>(*this);
  next->selectors_.apply(delta.upsert_selectors, delta.remove_selectors);
  next->change_subjects(delta);
  next->defaults_ = delta.policy_defaults.value_or(defaults_);
  next->prefixes_ = std::move(prefixes);
  if (!delta.upsert_receivers.empty() || !delta.remove_receivers.empty()) {
    next->receivers_ = (receivers_ != nullptr ? *receivers_ : ReceiverTable(realm_))
                           .changed(delta.upsert_receivers, delta.remove_receivers);
  }
  return next;
}

void PolicyTable::change_subjects(const TableDelta& delta) {
  std::map<std::size_t, Shard> touched;
  const auto shard = [&](Identity subject) -> Shard& {
    const std::size_t number = shard_of(subject);
    return touched.try_emplace(number, *subjects_[number]).first->second;
  };
  const auto find_in = [](Shard& in, Identity subject) {
    return std::lower_bound(in.begin(), in.end(), subject, [](const auto& r, Identity s) { return r->subject < s; });
  };
  for (const Identity subject : delta.remove_policies) {
    Shard& in = shard(subject);
    const auto at = find_in(in, subject);
    if (at != in.end() && (*at)->subject == subject) {
      in.erase(at);
    }
  }
  for (const auto& policy : delta.upsert_policies) {
    Shard& in = shard(policy->subject);
    const auto at = find_in(in, policy->subject);
    auto rules = std::make_shared<const SubjectRules>(*policy);
    if (at != in.end() && (*at)->subject == policy->subject) {
      *at = std::move(rules);
    } else {
      in.insert(at, std::move(rules));
    }
  }
  for (auto& [number, changed] : touched) {
    subjects_[number] = std::make_shared<const Shard>(std::move(changed));
  }
}

const SubjectRules* PolicyTable::find(Identity subject) const noexcept {
  const Shard& in = *subjects_[shard_of(subject)];
  const auto at =
      std::lower_bound(in.begin(), in.end(), subject, [](const auto& r, Identity s) { return r->subject < s; });
  return at == in.end() || (*at)->subject != subject ? nullptr : at->get();
}

PolicyVerdict PolicyTable::by_default(Identity subject, bool deny) const noexcept {
  if (is_unknown(subject)) {
    deny = true;
    if (!defaults_.deny_unknown) {
      return {};
    }
  } else if (!is_workload(subject)) {
    return {};
  }
  return audited({deny ? PolicyOutcome::kDenied : PolicyOutcome::kAllowed, kNoRule}, defaults_.audit);
}

PolicyVerdict PolicyTable::ingress(Identity subject, Identity peer, PolicyL4 l4) const noexcept {
  const SubjectRules* rules = find(subject);
  return rules == nullptr ? by_default(subject, defaults_.deny_ingress)
                          : audited(rules->ingress.decide(selectors_, peer, l4), rules->audit);
}

PolicyVerdict PolicyTable::egress(Identity subject, Identity peer, PolicyL4 l4) const noexcept {
  const SubjectRules* rules = find(subject);
  return rules == nullptr ? by_default(subject, defaults_.deny_egress)
                          : audited(rules->egress.decide(selectors_, peer, l4), rules->audit);
}

std::uint32_t PolicyTable::class_of(Identity subject, bool ingress, PolicyL4 l4) const noexcept {
  const SubjectRules* rules = find(subject);
  return rules == nullptr ? 0 : (ingress ? rules->ingress : rules->egress).class_of(l4);
}

std::vector<Identity> PolicyTable::subjects_by_prefix() const {
  std::vector<Identity> subjects;
  for (const auto& shard : subjects_) {
    for (const auto& rules : *shard) {
      if (rules->ingress.asks_prefixes(selectors_) || rules->egress.asks_prefixes(selectors_)) {
        subjects.push_back(rules->subject);
      }
    }
  }
  return subjects;
}

}  // namespace isthmus
