#include "control/compile/compiler.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "control/compile/compiler_state.h"

namespace isthmus {

FleetChange Compiler::State::update_fleet(const ModelChanges& changes, bool first) {
  if (first) {
    fleet_builder.seed();
    claims.set_incumbents(options.incumbents.vips);
    endpoints.set_incumbents(options.incumbents);
  }
  if (first || changes.fleet || reserved_changed || fleet_builder.changes_layout(changes.clusters)) {
    return fleet_builder.rebuild();
  }
  if (changes.clusters.empty() && changes.nodes.empty()) {
    return {};
  }
  return fleet_builder.update(changes.clusters, changes.nodes);
}

std::set<ServiceName> Compiler::State::services_of(const FleetChange& change, bool first) const {
  std::set<ServiceName> dirty;
  if (first || change.links || !change.clusters.empty()) {
    dirty = services.names();
    dirty.merge(model.service_names());
    return dirty;
  }
  for (const Prefix& prefix : change.moved) {
    claims.append_claimants(prefix, dirty);
    services.append_users(prefix, dirty);
  }
  return dirty;
}

// Whether a backend of a cluster that is reached by its nodes is used depends on the node.
void Compiler::State::update_nodes(const ModelChanges& changes, const FleetChange& fleet_change,
                                   const CompileResult& result) {
  std::vector<IpAddress> ends = result.lost_peers;
  for (const PeerEntry& peer : result.delta.upsert_peers) {
    ends.push_back(peer.underlay);
  }
  endpoints.touch(nodes.update(fleet_change, changes.nodes, ends));
}

void Compiler::State::update_endpoints(const ModelChanges& changes, bool first, const FleetChange& fleet_change,
                                       std::set<ServiceName>& dirty, CompileResult& result) {
  if (first) {
    endpoints.refresh_all(model, fleet);
  } else {
    std::set<std::string> clusters_changed = fleet_change.clusters;
    clusters_changed.insert(fleet_change.unprefixed.begin(), fleet_change.unprefixed.end());
    if (!clusters_changed.empty()) {
      endpoints.refresh_clusters(clusters_changed, model, fleet);
    }
    if (fleet_change.rules) {
      endpoints.refresh_ruled(model, fleet);
    }
    endpoints.refresh_addresses(fleet_change.moved, model, fleet);
    for (const Identity number : changes.identities) {
      endpoints.refresh_identity(number, model, fleet);
    }
    for (const ObjectKey& owner : changes.endpoints) {
      endpoints.refresh(owner, model, fleet);
    }
    for (const ObjectKey& owner : changes.nodes) {
      endpoints.refresh(owner, model, fleet);
    }
  }
  update_nodes(changes, fleet_change, result);
  for (const IpAddress& moved : endpoints.take_changes(nodes, result.upsert, result.remove)) {
    services.append_users(Prefix(moved, 128), dirty);
  }
}

void Compiler::State::update_host_routes(const FleetChange& fleet_change, bool first, std::set<ServiceName>& dirty,
                                         CompileResult& result) {
  const bool layout = first || fleet_change.links || !fleet_change.clusters.empty();
  std::vector<EndpointEntry> placed;  // whose place in the fleet may be another, and perhaps nothing else of them
  if (layout || !fleet_change.unprefixed.empty()) {
    endpoints.visit([&](const ObjectKey&, const EndpointEntry& entry) {
      if (fleet.owner(entry.address) == nullptr) {
        placed.push_back(entry);
      }
      return true;
    });
    host_routes.clear();
  } else {
    for (const Prefix& prefix : fleet_change.moved) {
      endpoints.visit_inside(prefix, [&](const ObjectKey&, const EndpointEntry& entry) { placed.push_back(entry); });
    }
    host_routes.update(result.upsert, result.remove, fleet);
  }
  host_routes.update(placed, {}, fleet);
  // Whether a backend in no prefix is used depends on the endpoint there.
  const auto append_users = [&](const IpAddress& address) {
    if (fleet.owner(address) == nullptr) {
      services.append_users(Prefix(address, 128), dirty);
    }
  };
  for (const EndpointEntry& entry : result.upsert) {
    append_users(entry.address);
  }
  for (const IpAddress& address : result.remove) {
    append_users(address);
  }
  if (host_routes.settle(fleet) || layout) {
    HostPrefixes hosts;
    for (const auto& [name, cluster] : fleet.clusters) {
      const std::vector<Prefix>& its = host_routes.of(cluster.id);
      if (cluster.local || cluster.linked) {
        auto& into = cluster.local ? hosts.local : hosts.fleet;
        std::transform(its.begin(), its.end(), std::back_inserter(into),
                       [&of = cluster](const Prefix& p) { return of.local ? to_own(of.aliases, p) : p; });
      }
    }
    result.delta.hosts = std::move(hosts);
  }
}

bool Compiler::State::is_usable(PeerId gateway) const {
  return gateway != kNoPeer && unreachable_peers.count(gateway) == 0 && peers.has_route(gateway);
}

bool Compiler::State::is_unreachable(const FleetCluster& cluster) const {
  return !cluster.local && !cluster.native() && !nodes.has(cluster.name) &&
         std::none_of(cluster.gateways.begin(), cluster.gateways.end(),
                      [&](const FleetGateway& g) { return is_usable(peers.id_of(cluster.name, g.underlay)); });
}

void Compiler::State::update_reachability(std::set<ServiceName>& dirty) {
  std::set<ClusterId> next_unreachable, next_ejected;
  for (const auto& [name, cluster] : fleet.clusters) {
    if (draining.count(cluster.id) != desired_draining.count(cluster.id)) {
      dirty.merge(services.members_of(name));
    }
    if (!is_unreachable(cluster)) {
      if (unreachable.count(cluster.id) != 0) {
        dirty.merge(services.members_of(name));
      }
      continue;
    }
    next_unreachable.insert(cluster.id);
    if (desired_ejected.count(cluster.id) != 0) {
      next_ejected.insert(cluster.id);
    }
    if (unreachable.count(cluster.id) == 0 || ejected.count(cluster.id) != next_ejected.count(cluster.id)) {
      dirty.merge(services.members_of(name));
    }
  }
  unreachable = std::move(next_unreachable);
  ejected = std::move(next_ejected);
  draining = desired_draining;
}

void Compiler::State::update_clusters(TableDelta& delta) {
  std::vector<ClusterEntry> now;
  for (const auto& [name, cluster] : fleet.clusters) {
    ClusterEntry entry{cluster.id, cluster.local, cluster.linked, cluster.prefixes, {}};
    for (const FleetGateway& gateway : cluster.gateways) {
      const PeerId peer = peers.id_of(name, gateway.underlay);
      if (is_usable(peer)) {
        entry.gateways.push_back(peer);
      } else if (left_peers.count(peer) != 0) {
        entry.left.push_back(peer);
      }
    }
    std::sort(entry.gateways.begin(), entry.gateways.end());
    std::sort(entry.left.begin(), entry.left.end());
    now.push_back(std::move(entry));
  }
  std::sort(now.begin(), now.end(), [](const ClusterEntry& a, const ClusterEntry& b) { return a.id < b.id; });
  if (now != clusters) {
    clusters = std::move(now);
    delta.clusters = clusters;
  }
}

void Compiler::State::update_prefixes(const std::set<std::string>& names, CompileResult& result) {
  for (const std::string& name : names) {
    const FleetCluster* cluster = fleet.find(name);
    const auto entry = std::find_if(clusters.begin(), clusters.end(), [&](const ClusterEntry& each) {
      return cluster != nullptr && each.id == cluster->id;
    });
    if (entry != clusters.end() && entry->prefixes != cluster->prefixes) {
      entry->prefixes = cluster->prefixes;
      result.delta.changed_clusters.push_back(*entry);
      result.local_routes_changed = result.local_routes_changed || cluster->local || cluster->native();
    }
  }
}

std::set<ClusterId> Compiler::State::clusters_away(SlowStart::Time now) {
  constexpr SlowStart::Time kLongest{kSilenceSpan.value()};
  was_unreachable.insert(unreachable.begin(), unreachable.end());
  for (const ClusterId cluster : std::exchange(was_unreachable, unreachable)) {
    out_of_reach[cluster] = now;
  }
  std::set<ClusterId> away = unreachable;
  std::erase_if(out_of_reach, [&](const auto& each) { return now - each.second > kLongest; });
  for (const auto& [cluster, at] : out_of_reach) {
    away.insert(cluster);
  }
  return away;
}

void Compiler::State::update_services(const std::set<ServiceName>& dirty, CompileResult& result) {
  std::set<ServiceName> all = claims.refresh(dirty, model, fleet, options);
  all.insert(dirty.begin(), dirty.end());
  all.merge(services.move_to(find_place(model, fleet, endpoints)));
  const std::chrono::nanoseconds time = options.clock();
  const auto now = std::chrono::floor<SlowStart::Time>(time);
  all.merge(services.note(std::exchange(openings, {}), std::exchange(openings_lost, false), clusters_away(now), now));
  all.merge(services.rising_at(now));
  const ServiceSet::Inputs inputs{model,       fleet,   options,  endpoints, claims,
                                  unreachable, ejected, draining, now,       listed};
  for (const ServiceName& name : all) {
    result.names_changed = services.refresh(name, inputs, result.delta) || result.names_changed;
  }
  listed = model.listed().all;
  if (const auto next = services.next_rise()) {
    result.again_after = std::max(*next - time, std::chrono::nanoseconds(0));
  }
  result.ejections = services.take_ejections();
  // A VIP that moved from one service to another is in both lists.
  std::set<FrontendKey> upserted;
  for (const FrontendEntry& frontend : result.delta.upsert_frontends) {
    upserted.insert(frontend.key);
  }
  std::erase_if(result.delta.remove_frontends, [&](const FrontendKey& key) { return upserted.contains(key); });
}

void Compiler::State::compile(const ModelChanges& changes, CompileResult& result) {
  const bool first = !started;
  started = true;
  const FleetChange fleet_change = update_fleet(changes, first);
  std::set<ServiceName> dirty = services_of(fleet_change, first);
  dirty.insert(changes.services.begin(), changes.services.end());
  const bool all_peers = fleet_change.gateways || resolve_next_hops;
  const bool reachability_changed = all_peers || std::exchange(unreachability_reported, false);
  if (all_peers) {
    result.gateways_changed =
        peers.update(model, fleet, next_hop, std::exchange(resolve_next_hops, false), result.delta);
  } else if (!changes.nodes.empty()) {
    peers.update_nodes(changes.nodes, model, fleet, next_hop, result.delta);
  }
  result.lost_peers = peers.take_lost();
  result.local_routes_changed = peers.take_node_routes_changed() || fleet_change.rebuilt;
  if (const FleetCluster* own = fleet.find(fleet.own.cluster)) {
    if (AliasPrefixes now = aliases_in_force(fleet, *own); now != aliases) {
      aliases = std::move(now);
      result.delta.aliases = aliases;
    }
  }
  if (first || fleet_change.rebuilt) {
    const std::set<std::string> turned = nodes.set_clusters(options.direct_return);
    endpoints.touch_clusters(turned);
    for (const std::string& name : turned) {  // backends at no node have a way now, or none any more
      dirty.merge(services.members_of(name));
    }
  }
  // Costs a pass over the fleet, which is too much for every endpoint or node.
  if (reachability_changed) {
    update_reachability(dirty);
    update_clusters(result.delta);
  } else if (!fleet_change.addressed.empty()) {
    update_prefixes(fleet_change.addressed, result);
  }
  update_endpoints(changes, first, fleet_change, dirty, result);
  update_host_routes(fleet_change, first, dirty, result);
  update_services(dirty, result);
  endpoints.end_incumbents(model.listed());  // of what has been compiled by now
  claims.end_incumbents(model.listed());
  result.disputes_changed = endpoints.take_disputes_changed();
  if (endpoints.take_pod_presence_changed() || fleet_change.rebuilt) {
    unlabelled = unlabelled_clusters();
  }
  if (fleet_change.rebuilt || !fleet_change.moved.empty()) {
    policy.set_own_forms(policy_own_forms(fleet));
  }
  policy.update(changes, first, model, fleet_change.rebuilt ? std::optional(policy_clusters(fleet)) : std::nullopt,
                fleet_change.rebuilt ? std::vector<PolicyRange>() : policy_ranges(fleet_change.moved, fleet),
                unlabelled, local_identities, result.delta);
  reserved_changed = false;
}

UnlabelledClusters Compiler::State::unlabelled_clusters() const {
  UnlabelledClusters out;
  for (const auto& [name, cluster] : fleet.clusters) {
    if (cluster.local) {
      continue;
    }
    const auto at = endpoints.pod_counts().find(cluster.id);
    const EndpointSet::PodCounts pods = at == endpoints.pod_counts().end() ? EndpointSet::PodCounts{} : at->second;
    if (pods.unlabelled != 0) {
      out.some.insert(name);
    }
    if (pods.labelled == 0) {
      out.all.insert(name);
    }
  }
  return out;
}

std::optional<Problem> Compiler::State::unknown_pods_problem() const {
  const auto at = endpoints.pod_counts().find(fleet.own.cluster);
  if (!policy.denies_unknown() || at == endpoints.pod_counts().end() || at->second.unlabelled == 0) {
    return std::nullopt;
  }
  return Problem{"the labels of " + std::to_string(at->second.unlabelled) + " endpoints of cluster " + options.cluster +
                     " are not known, so that no policy selects them: packets from and to them are denied",
                 "policy", "see isthmus endpoints; publish their Pods, or CiliumEndpoints with an identity"};
}

std::vector<Problem> Compiler::State::problems() const {
  std::vector<Problem> problems = fleet.problems;
  peers.append_problems(model, problems);
  nodes.append_problems(problems);
  claims.append_problems(fleet, options, problems);
  services.append_problems(problems);
  endpoints.append_problems(model, problems);
  problems.insert(problems.end(), host_routes.problems().begin(), host_routes.problems().end());
  policy.append_problems(problems);
  if (const auto unknown = unknown_pods_problem()) {
    problems.push_back(*unknown);
  }
  return problems;
}

Compiler::Compiler(CompilerOptions options, const Model& model, NextHop next_hop)
    : state_(std::make_unique<State>(std::move(options), model, std::move(next_hop))) {}
Compiler::~Compiler() = default;

CompileResult Compiler::compile(const ModelChanges& changes) {
  CompileResult result;
  State& s = *state_;
  bool ready = s.started;
  if (!ready) {
    const Result<OwnGateway> own = find_own_gateway(s.model, s.options.cluster, s.options.gateway);
    ready = own.ok();
    if (ready) {
      s.fleet.own = *own;
    } else {
      result.problems.push_back(own.error());
    }
  }
  if (ready) {
    s.compile(changes, result);
    result.problems = s.problems();
  }
  const std::vector<Problem> model_problems = s.model.problems();
  result.problems.insert(result.problems.end(), model_problems.begin(), model_problems.end());
  return result;
}

void Compiler::set_reachability(Reachability reachability) {
  state_->unreachable_peers = {reachability.down_peers.begin(), reachability.down_peers.end()};
  state_->left_peers = {reachability.left_peers.begin(), reachability.left_peers.end()};
  state_->desired_ejected = {reachability.ejected_clusters.begin(), reachability.ejected_clusters.end()};
  state_->desired_draining = {reachability.draining_clusters.begin(), reachability.draining_clusters.end()};
  state_->unreachability_reported = true;
}

void Compiler::note_openings(std::vector<OpeningOutcome> openings, bool lost) {
  auto& heard = state_->openings;
  heard.insert(heard.end(), openings.begin(), openings.end());
  state_->openings_lost = state_->openings_lost || lost;
}

bool Compiler::set_reserved(std::vector<ReservedAddress> reserved) {
  if (reserved == state_->options.reserved) {
    return false;
  }
  state_->options.reserved = std::move(reserved);
  state_->reserved_changed = true;
  return true;
}

void Compiler::refresh_next_hops() { state_->resolve_next_hops = true; }

}  // namespace isthmus
