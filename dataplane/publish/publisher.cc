#include "dataplane/publish/publisher.h"

#include <algorithm>
#include <iterator>

#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

// Deltas come from our own compiler, so an inconsistent one is an internal error.
constexpr const char* kCompilerError =
    "the previous tables stay in force; this is an internal error of isthmus: report it with the output of "
    "'isthmus status -o json' and 'isthmus policy', and restart the gateway to compile all tables again";

std::string text_of(const FrontendKey& key) {
  return key.vip.to_string() + " port " + std::to_string(key.port.value());
}

}  // namespace

Publisher::Publisher(SharedState& shared)
    : shared_(shared), cluster_prefixes_(shared.options.realm), cidrs_(shared.options.realm) {
  for (const auto& address : {shared_.options.translation_ipv4, shared_.options.translation_ipv6}) {
    if (address) {
      steer_.count(SteerLedger::List::kFleet, {*address, 128}, 1);
    }
  }
}

Publisher::~Publisher() { shared_.snapshot.store(nullptr, std::memory_order_release); }

Status Publisher::check(const TableDelta& delta) const {
  for (const PeerEntry& peer : delta.upsert_peers) {
    if (peer.id == kNoPeer || peer.cluster == kNoCluster || peer.kind == EncapsulationKind::kNone) {
      return Error{"peer with id 0, without a cluster, or without a tunnel", peer.underlay.to_string(), kCompilerError};
    }
    if (peer.underlay.is_unspecified() || shared_.options.tunnel.address(peer.underlay.family()).is_unspecified()) {
      return Error{"peer at an underlay address of a family in which this gateway has none", peer.underlay.to_string(),
                   "give both gateways an underlayAddress of the same family"};
    }
  }
  for (const FrontendEntry& frontend : delta.upsert_frontends) {
    const BackendSet* set = frontend.backends.get();
    if (set == nullptr || frontend.service == kNoService) {
      return Error{"frontend without a service or a backend set", text_of(frontend.key), kCompilerError};
    }
    const bool inside = std::all_of(set->ring.begin(), set->ring.end(),
                                    [&](std::uint16_t index) { return index < set->backends.size(); });
    if (!inside) {
      return Error{"Maglev ring refers to a backend that does not exist", text_of(frontend.key), kCompilerError};
    }
  }
  return check_policy(delta);
}

// Rejects entries with an undefined selector: they would match no peer, which fails open for a deny entry.
Status Publisher::check_policy(const TableDelta& delta) const {
  std::set<SelectorId> upserted;
  for (const SelectorEntry& selector : delta.upsert_selectors) {
    if (selector.identities == nullptr || selector.id == kEveryPeer || selector.id.value() > SelectorSets::kMaxId) {
      return Error{"selector without identities, or with an id that is not 1 to 1048576",
                   "selector " + std::to_string(selector.id.value()), kCompilerError};
    }
    upserted.insert(selector.id);
  }
  const std::set<SelectorId> removed(delta.remove_selectors.begin(), delta.remove_selectors.end());
  const auto exists = [&](SelectorId id) {
    return id == kEveryPeer || upserted.contains(id) ||
           (current_ && !removed.contains(id) && current_->policy->selectors().find(id) != nullptr);
  };
  for (const auto& policy : delta.upsert_policies) {
    if (policy == nullptr) {
      return Error{"policy without a subject", "policy", kCompilerError};
    }
    for (const DirectionPolicy* direction : {&policy->ingress, &policy->egress}) {
      for (const PolicyEntry& entry : direction->entries) {
        if (!exists(entry.peers)) {
          return Error{
              "policy entry refers to selector " + std::to_string(entry.peers.value()) + ", which does not exist",
              std::string(direction == &policy->ingress ? "ingress" : "egress") + " of identity " +
                  std::to_string(policy->subject.value()),
              kCompilerError};
        }
      }
    }
  }
  return Ok{};
}

Status Publisher::apply(const TableDelta& delta) {
  reclaim();
  if (auto status = check(delta); !status) {
    return status;
  }
  auto next = current_ ? std::make_unique<Snapshot>(*current_) : std::make_unique<Snapshot>();
  if (!current_) {
    const auto empty = std::make_shared<const FrontendShard>();
    next->frontends.fill(empty);
    next->backends.fill(std::make_shared<const BackendKeys>());
  }
  next->number = next->number == 0xffffffff ? 1 : next->number + 1;
  std::vector<EpochIndex> moved;
  bool everything = false;
  const std::set<PeerId> new_peers = apply_peers(delta, *next, moved);
  apply_path_mtus(delta, new_peers, *next, moved);
  apply_clusters(delta, new_peers, *next, moved, everything);
  if (delta.aliases) {
    apply_aliases(*delta.aliases, *next, everything);
  }
  if (delta.hosts) {
    apply_hosts(*delta.hosts);
  }
  apply_routes(delta, *next, everything);
  apply_frontends(delta, *next, moved);
  apply_policy(delta, *next, moved, everything);
  follow_steer(*next);

  // First publish the data, then increment the words: admission reads in the opposite order.
  shared_.snapshot.store(next.get(), std::memory_order_release);
  shared_.peers_moved(*next, new_peers);
  if (everything) {
    shared_.flows->epochs().bump_all();
  } else {
    for (const EpochIndex index : moved) {
      shared_.flows->epochs().bump(index);
    }
  }
  if (current_) {
    retired_.emplace_back(std::move(current_), shared_.quiescence.advance());
  }
  current_ = std::move(next);
  return Ok{};
}

// What becomes a backend, or is one no longer, changes its address's word: whether a load balancer may send to it
// depends on that.
void Publisher::count_backends(const FrontendEntry& frontend, int by, const AliasTable& aliases,
                               std::set<std::size_t>& shards, std::vector<EpochIndex>& moved) {
  const FrontendKey& key = frontend.key;
  for (const BackendEntry& backend : frontend.backends->backends) {
    const std::size_t number = Snapshot::shard_of(address_hash(key.realm, backend.address));
    auto& keys = backends_[number];
    const auto at = keys.try_emplace({key.realm, backend.address, key.protocol, backend.port}, 0).first;
    if (by > 0 ? at->second++ == 0 : --at->second == 0) {
      shards.insert(number);
      moved.push_back(EpochTable::of_endpoint(key.realm, aliases.to_alias(backend.address)));
    }
    if (at->second == 0) {
      keys.erase(at);
    }
  }
}

// A frontend that comes or goes changes the VIP's own word too: direct connections to the address, and refusals there,
// depend on it.
void Publisher::apply_frontends(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved) {
  std::map<std::size_t, std::vector<Frontend>> touched;
  std::set<std::size_t> backend_shards;
  const auto shard_for = [&](const FrontendKey& key) -> std::vector<Frontend>& {
    const std::size_t number = Snapshot::shard_of(address_hash(key.realm, key.vip));
    const auto [at, fresh] = touched.try_emplace(number);
    if (fresh) {
      at->second = next.frontends[number]->frontends();
    }
    return at->second;
  };
  const auto count = [&](const FrontendEntry& frontend, int by) {
    count_backends(frontend, by, next.aliases, backend_shards, moved);
  };
  const auto find_in = [](std::vector<Frontend>& shard, const FrontendKey& key) {
    return std::find_if(shard.begin(), shard.end(), [&](const Frontend& f) { return f.key == key; });
  };
  for (const FrontendKey& key : delta.remove_frontends) {
    std::vector<Frontend>& shard = shard_for(key);
    if (const auto at = find_in(shard, key); at != shard.end()) {
      moved.push_back(EpochTable::of_service(at->service));
      moved.push_back(EpochTable::of_endpoint(key.realm, key.vip));
      count(*at, -1);
      steer_.count(SteerLedger::List::kFleet, {key.vip, 128}, -1);
      shard.erase(at);
    }
  }
  for (const FrontendEntry& entry : delta.upsert_frontends) {
    std::vector<Frontend>& shard = shard_for(entry.key);
    count(entry, 1);  // before the old ones are counted out: most stay
    if (const auto at = find_in(shard, entry.key); at != shard.end()) {
      moved.push_back(EpochTable::of_service(at->service));
      count(*at, -1);
      *at = Frontend(entry, source_maps_);
    } else {
      shard.emplace_back(entry, source_maps_);
      steer_.count(SteerLedger::List::kFleet, {entry.key.vip, 128}, 1);
      moved.push_back(EpochTable::of_endpoint(entry.key.realm, entry.key.vip));
    }
    moved.push_back(EpochTable::of_service(entry.service));
  }
  for (auto& [number, shard] : touched) {
    next.frontends[number] = std::make_shared<const FrontendShard>(std::move(shard));
  }
  for (const std::size_t number : backend_shards) {
    std::vector<BackendKey> keys;
    std::transform(backends_[number].begin(), backends_[number].end(), std::back_inserter(keys),
                   [](const auto& entry) { return entry.first; });
    next.backends[number] = std::make_shared<const BackendKeys>(keys);
  }
}

// Verdicts depend on the subject's word. When identities of prefixes change, the subjects that select such identities
// are affected; when the defaults change, every identity without a policy. Who receives as another identity is affected
// by its address's word. Source validation too asks whether the
// labels of a cluster are unknown, which rarely changes.
void Publisher::apply_policy(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved,
                             bool& everything) {
  const bool cidrs = delta.cidr_identities || !delta.upsert_cidrs.empty() || !delta.remove_cidrs.empty();
  const bool changes = !delta.upsert_selectors.empty() || !delta.remove_selectors.empty() ||
                       !delta.upsert_policies.empty() || !delta.remove_policies.empty() ||
                       !delta.upsert_receivers.empty() || !delta.remove_receivers.empty() || delta.policy_defaults ||
                       cidrs;
  everything = apply_cidrs(delta) || everything || delta.policy_defaults;
  if (next.policy == nullptr) {
    next.policy = std::make_shared<const PolicyTable>(shared_.options.realm);
  }
  if (changes) {
    next.policy = next.policy->changed(delta, cidrs_.map());
  }
  const auto move = [&](Identity subject) { moved.push_back(EpochTable::of_policy_subject(subject)); };
  for (const auto& policy : delta.upsert_policies) {
    move(policy->subject);
  }
  std::for_each(delta.remove_policies.begin(), delta.remove_policies.end(), move);
  std::for_each(delta.affected_subjects.begin(), delta.affected_subjects.end(), move);
  for (const std::vector<Receiver>* receivers : {&delta.upsert_receivers, &delta.remove_receivers}) {
    for (const Receiver& receiver : *receivers) {
      moved.push_back(EpochTable::of_endpoint(shared_.options.realm, receiver.address));
    }
  }
  if (cidrs) {
    const std::vector<Identity> subjects = next.policy->subjects_by_prefix();
    std::for_each(subjects.begin(), subjects.end(), move);
  }
}

// True: what stands for endpoints without labels has changed.
bool Publisher::apply_cidrs(const TableDelta& delta) {
  bool unlabelled = false;
  const auto is_unlabelled = [](std::uint32_t value) {
    return value != RangeMap::kMiss && identity::is_unlabelled_prefix(Identity{value});
  };
  const auto remove = [&](const Prefix& prefix) {
    const std::uint32_t before = cidrs_.value_of(prefix);
    unlabelled = unlabelled || is_unlabelled(before);
    cidrs_.erase(prefix, before);
  };
  const auto upsert = [&](const CidrIdentity& cidr) {
    const std::uint32_t before = cidrs_.value_of(cidr.prefix), now = cidr.identity.value();
    unlabelled = unlabelled || (before != now && (is_unlabelled(before) || is_unlabelled(now)));
    cidrs_.set(cidr.prefix, now);
  };
  if (delta.cidr_identities) {
    std::set<Prefix> listed;
    for (const CidrIdentity& cidr : *delta.cidr_identities) {
      listed.insert(cidr.prefix);
    }
    std::vector<Prefix> gone;
    for (const auto& [prefix, value] : cidrs_.all()) {
      if (!listed.contains(prefix)) {
        gone.push_back(prefix);
      }
    }
    std::for_each(gone.begin(), gone.end(), remove);
    std::for_each(delta.cidr_identities->begin(), delta.cidr_identities->end(), upsert);
  }
  std::for_each(delta.remove_cidrs.begin(), delta.remove_cidrs.end(), remove);
  std::for_each(delta.upsert_cidrs.begin(), delta.upsert_cidrs.end(), upsert);
  return unlabelled;
}

void Publisher::upsert_endpoints(std::span<const EndpointEntry> endpoints, Seconds now) {
  const Seconds grace_until{now.value() + shared_.options.identity_grace.value()};
  EpochTable& epochs = shared_.flows->epochs();
  for (const EndpointEntry& endpoint : endpoints) {
    switch (shared_.endpoints.upsert(endpoint, grace_until)) {
      case EndpointUpdate::kChanged:
        epochs.bump(EpochTable::of_endpoint(endpoint.realm, endpoint.address));
        break;
      case EndpointUpdate::kFull:
        ++endpoints_refused_;
        break;
      case EndpointUpdate::kUnchanged:
        break;
    }
  }
}

void Publisher::remove_endpoints(Realm realm, std::span<const IpAddress> addresses) {
  EpochTable& epochs = shared_.flows->epochs();
  for (const IpAddress& address : addresses) {
    if (shared_.endpoints.remove(realm, address)) {
      epochs.bump(EpochTable::of_endpoint(realm, address));
    }
  }
}

SteerRules Publisher::steer_rules() const {
  SteerRules rules = steer_.rules();
  rules.tunnel = shared_.options.tunnel;
  return rules;
}

// A device may have been added since the last snapshot.
void Publisher::follow_steer(Snapshot& next) {
  SteerChange change = steer_.take_change();
  if (shared_.shares_with_host != 0) {
    if (next.host == nullptr) {
      host_rules_.replace(steer_rules());
    } else {
      host_rules_.change(change);
    }
    next.host = host_rules_.rules();
  }
  if (untaken_.empty()) {
    untaken_ = std::move(change);
  } else {
    untaken_.append(change);
  }
}

void Publisher::reclaim() {
  const auto first_in_use = std::find_if(retired_.begin(), retired_.end(),
                                         [&](const auto& r) { return !shared_.quiescence.passed(r.second); });
  retired_.erase(retired_.begin(), first_in_use);
}

}  // namespace isthmus
