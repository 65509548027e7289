#include "dataplane/publish/publisher.h"

#include <algorithm>
#include <iterator>

#include "dataplane/api/identity.h"
#include "dataplane/encap/encap.h"

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

std::shared_ptr<const PeerTable> build_peers(const std::vector<PeerEntry>& peers, const TunnelEnds& own) {
  std::vector<OuterHeader> headers;
  headers.reserve(peers.size());
  for (const PeerEntry& peer : peers) {
    headers.push_back(encap::build(peer.kind, own.address(peer.underlay.family()), peer.underlay, peer.udp_port));
  }
  return std::make_shared<const PeerTable>(peers, headers);
}

Publisher::Publisher(SharedState& shared) : shared_(shared) {}

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
  const bool new_peers = apply_peers(delta, moved) || next->peers == nullptr;
  const bool new_clusters = apply_clusters(delta, moved, everything) || next->clusters == nullptr;
  if (new_peers) {
    std::vector<PeerEntry> peers;
    for (const auto& [id, peer] : peers_) {
      peers.push_back(peer);
    }
    next->peers = build_peers(peers, shared_.options.tunnel);
  }
  if (new_peers || new_clusters) {
    next->clusters = std::make_shared<const ClusterTable>(clusters_, *next->peers, shared_.options.realm);
  }
  if (delta.hosts) {
    hosts_ = *delta.hosts;
  }
  if (delta.local_routes || next->routes == nullptr) {
    everything = everything || (delta.local_routes && *delta.local_routes != routes_);
    routes_ = delta.local_routes.value_or(routes_);
    next->routes = std::make_shared<const LocalRoutes>(routes_, shared_.options.realm);
  }
  apply_frontends(delta, *next, moved);
  apply_policy(delta, *next, moved, everything);

  // First publish the data, then increment the words: admission reads in the opposite order.
  shared_.snapshot.store(next.get(), std::memory_order_release);
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

bool Publisher::apply_peers(const TableDelta& delta, std::vector<EpochIndex>& moved) {
  bool changed = false;
  const auto move = [&](PeerId id, ClusterId cluster) {
    changed = true;
    moved.push_back(EpochTable::of_peer(id));
    moved.push_back(EpochTable::of_gateways(cluster));  // one that is listed may have come
    if (cluster == shared_.options.cluster) {
      moved.push_back(EpochTable::of_own_peers());
    }
  };
  for (const PeerEntry& peer : delta.upsert_peers) {
    const auto [at, added] = peers_.try_emplace(peer.id, peer);
    if (!added && at->second == peer) {
      continue;
    }
    move(peer.id, at->second.cluster);
    at->second = peer;
    move(peer.id, peer.cluster);
  }
  for (const PeerId id : delta.remove_peers) {
    if (const auto at = peers_.find(id); at != peers_.end()) {
      move(id, at->second.cluster);
      peers_.erase(at);
    }
  }
  return changed;
}

// A gateway that ceases or begins to be live changes its own word; one that returns gets new flows, and the replies to
// what still comes from it, and ends refusals for want of a gateway. Prefixes and links affect any address, so their
// change increments every word; they change only with the fleet's layout.
bool Publisher::apply_clusters(const TableDelta& delta, std::vector<EpochIndex>& moved, bool& everything) {
  if (!delta.clusters || *delta.clusters == clusters_) {
    return false;
  }
  for (const ClusterEntry& before : clusters_) {
    const auto after = std::find_if(delta.clusters->begin(), delta.clusters->end(),
                                    [&](const ClusterEntry& c) { return c.id == before.id; });
    if (after == delta.clusters->end() || after->prefixes != before.prefixes || after->linked != before.linked) {
      everything = true;
      continue;
    }
    if (after->gateways != before.gateways) {
      moved.push_back(EpochTable::of_gateways(before.id));
    }
    const auto move_others = [&](const std::vector<PeerId>& gateways, const std::vector<PeerId>& than) {
      for (const PeerId gateway : gateways) {
        if (std::find(than.begin(), than.end(), gateway) == than.end()) {
          moved.push_back(EpochTable::of_peer(gateway));
        }
      }
    };
    move_others(before.gateways, after->gateways);
    move_others(after->gateways, before.gateways);
  }
  everything = everything || delta.clusters->size() != clusters_.size();
  clusters_ = *delta.clusters;
  return true;
}

void Publisher::count_backends(const FrontendEntry& frontend, int by, std::set<std::size_t>& shards) {
  const FrontendKey& key = frontend.key;
  for (const BackendEntry& backend : frontend.backends->backends) {
    const std::size_t number = Snapshot::shard_of(address_hash(key.realm, backend.address));
    auto& keys = backends_[number];
    const auto at = keys.try_emplace({key.realm, backend.address, key.protocol, backend.port}, 0).first;
    if (by > 0 ? at->second++ == 0 : --at->second == 0) {
      shards.insert(number);
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
  const auto find_in = [](std::vector<Frontend>& shard, const FrontendKey& key) {
    return std::find_if(shard.begin(), shard.end(), [&](const Frontend& f) { return f.key == key; });
  };
  for (const FrontendKey& key : delta.remove_frontends) {
    std::vector<Frontend>& shard = shard_for(key);
    if (const auto at = find_in(shard, key); at != shard.end()) {
      moved.push_back(EpochTable::of_service(at->service));
      moved.push_back(EpochTable::of_endpoint(key.realm, key.vip));
      count_backends(*at, -1, backend_shards);
      vips_.erase(vips_.find(key.vip));
      shard.erase(at);
    }
  }
  for (const FrontendEntry& entry : delta.upsert_frontends) {
    std::vector<Frontend>& shard = shard_for(entry.key);
    count_backends(entry, 1, backend_shards);  // before the old ones are counted out: most stay
    if (const auto at = find_in(shard, entry.key); at != shard.end()) {
      moved.push_back(EpochTable::of_service(at->service));
      count_backends(*at, -1, backend_shards);
      *at = Frontend(entry);
    } else {
      shard.emplace_back(entry);
      vips_.insert(entry.key.vip);
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
// are affected; when the defaults change, every identity without a policy. Source validation too asks whether the
// labels of a cluster are unknown, which rarely changes.
void Publisher::apply_policy(const TableDelta& delta, Snapshot& next, std::vector<EpochIndex>& moved,
                             bool& everything) {
  const bool changes = !delta.upsert_selectors.empty() || !delta.remove_selectors.empty() ||
                       !delta.upsert_policies.empty() || !delta.remove_policies.empty() || delta.policy_defaults ||
                       delta.cidr_identities;
  if (next.policy == nullptr) {
    next.policy = std::make_shared<const PolicyTable>();
  }
  if (changes) {
    next.policy = next.policy->changed(delta, shared_.options.realm);
  }
  const auto move = [&](Identity subject) { moved.push_back(EpochTable::of_policy_subject(subject)); };
  for (const auto& policy : delta.upsert_policies) {
    move(policy->subject);
  }
  std::for_each(delta.remove_policies.begin(), delta.remove_policies.end(), move);
  std::for_each(delta.affected_subjects.begin(), delta.affected_subjects.end(), move);
  if (delta.cidr_identities) {
    const std::vector<Identity> subjects = next.policy->subjects_by_prefix();
    std::for_each(subjects.begin(), subjects.end(), move);
    std::vector<CidrIdentity> without_labels;
    std::copy_if(delta.cidr_identities->begin(), delta.cidr_identities->end(), std::back_inserter(without_labels),
                 [](const CidrIdentity& c) { return identity::is_unlabelled_prefix(c.identity); });
    everything = everything || without_labels != cidrs_without_labels_;
    cidrs_without_labels_ = std::move(without_labels);
  }
  everything = everything || delta.policy_defaults.has_value();
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
  SteerRules rules;
  rules.tunnel = shared_.options.tunnel;
  for (const auto& [id, peer] : peers_) {
    if (peer.cluster != shared_.options.cluster || !peer.gateway) {  // our own gateways do not send to us
      rules.peers.push_back(peer.underlay);
    }
  }
  for (const ClusterEntry& cluster : clusters_) {
    auto& into = cluster.local ? rules.local_sources : rules.fleet;
    into.insert(into.end(), cluster.prefixes.begin(), cluster.prefixes.end());
  }
  rules.local_sources.insert(rules.local_sources.end(), hosts_.local.begin(), hosts_.local.end());
  rules.fleet.insert(rules.fleet.end(), hosts_.fleet.begin(), hosts_.fleet.end());
  for (const LocalRoute& route : routes_) {
    if (route.native) {
      rules.local_sources.push_back(route.prefix);
      rules.native.push_back(route.prefix);
    }
  }
  for (auto vip = vips_.begin(); vip != vips_.end(); vip = vips_.upper_bound(*vip)) {
    rules.fleet.emplace_back(*vip, std::uint8_t{128});
  }
  for (const auto& address : {shared_.options.translation_ipv4, shared_.options.translation_ipv6}) {
    if (address) {
      rules.fleet.emplace_back(*address, std::uint8_t{128});
    }
  }
  return rules;
}

void Publisher::reclaim() {
  const auto first_in_use = std::find_if(retired_.begin(), retired_.end(),
                                         [&](const auto& r) { return !shared_.quiescence.passed(r.second); });
  retired_.erase(retired_.begin(), first_in_use);
}

}  // namespace isthmus
