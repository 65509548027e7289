#include "control/compile/compiler.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "control/compile/claims.h"
#include "control/compile/endpoints.h"
#include "control/compile/fleet.h"
#include "control/compile/peers.h"
#include "control/compile/services.h"

namespace isthmus {
namespace {

// Whose addresses are whose, which endpoints are judged by: the clusters that came, went, or have other addresses.
std::set<std::string> moved_addressing(const Fleet& before, const Fleet& now) {
  std::set<std::string> moved;
  const auto add_missing = [&](const Fleet& of, const Fleet& in) {
    for (const auto& [name, cluster] : of.clusters) {
      const FleetCluster* other = in.find(name);
      if (other == nullptr || other->id != cluster.id || other->prefixes != cluster.prefixes) {
        moved.insert(name);
      }
    }
  };
  add_missing(before, now);
  add_missing(now, before);
  return moved;
}

// Precondition: no addressing has moved.
bool same_links(const Fleet& a, const Fleet& b) {
  return std::equal(a.clusters.begin(), a.clusters.end(), b.clusters.begin(), b.clusters.end(),
                    [](const auto& x, const auto& y) { return x.second.linked == y.second.linked; });
}

PolicyClusters policy_clusters(const Fleet& fleet) {
  PolicyClusters out;
  out.shift = fleet.own.cluster_bits.shift;
  for (const auto& [name, cluster] : fleet.clusters) {
    out.clusters.push_back({name, cluster.id, cluster.prefixes});
  }
  return out;
}

}  // namespace

struct Compiler::State {
  State(CompilerOptions o, const Model& m, NextHop n)
      : options(std::move(o)),
        model(m),
        next_hop(std::move(n)),
        endpoints(options.realm),
        services(options.realm, options.ring_slots),
        policy(options.cluster, options.policy) {}

  const CompilerOptions options;
  const Model& model;
  const NextHop next_hop;
  Fleet fleet;
  bool started = false;  // fleet.own is known
  bool ask_again = false;
  bool silence_told = false;  // since the last compile()
  std::set<PeerId> silent_peers;
  std::set<ClusterId> silent, held_out;  // clusters, as the tables have them
  std::set<ClusterId> wanted_held_out;
  PeerTable peers;
  EndpointSet endpoints;
  VipClaims claims;
  ServiceSet services;
  PolicySet policy;
  UnlabelledClusters unlabelled;
  std::vector<ClusterEntry> clusters;

  void compile(const ModelChanges& changes, CompileResult& result);
  std::set<ServiceName> update_fleet(const ModelChanges& changes, bool first, std::set<std::string>& moved);
  void update_endpoints(const ModelChanges& changes, bool first, const std::set<std::string>& moved,
                        CompileResult& result);
  void update_silence(std::set<ServiceName>& dirty);
  void update_clusters(TableDelta& delta);
  void update_services(const std::set<ServiceName>& dirty, CompileResult& result);
  // May be chosen for new flows: it has not fallen silent, and there is a way to it.
  [[nodiscard]] bool is_usable(PeerId gateway) const;
  [[nodiscard]] bool is_silent(const FleetCluster& cluster) const;
  [[nodiscard]] UnlabelledClusters unlabelled_clusters() const;
  [[nodiscard]] std::vector<Problem> problems() const;
  [[nodiscard]] EndpointView view_of(const ObjectKey& owner, const EndpointEntry& entry) const;
};

// Returns the services that must be compiled because of the fleet itself.
// `moved`: the clusters whose addressing has.
std::set<ServiceName> Compiler::State::update_fleet(const ModelChanges& changes, bool first,
                                                    std::set<std::string>& moved) {
  if (!first && !changes.fleet && changes.nodes.empty()) {
    return {};
  }
  Fleet next = build_fleet(model, options, fleet.own, first ? nullptr : &fleet);
  moved = moved_addressing(fleet, next);
  const bool all = first || !moved.empty() || !same_links(fleet, next);
  fleet = std::move(next);
  std::set<ServiceName> dirty;
  if (all) {
    dirty = services.names();
    dirty.merge(model.service_names());
    return dirty;
  }
  for (const auto& [name, cluster] : fleet.clusters) {
    for (const FleetGateway& gateway : cluster.gateways) {
      if (const ServiceName* holder = claims.holder(gateway.underlay)) {
        dirty.insert(*holder);  // a gateway came up on its VIP
      }
    }
  }
  return dirty;
}

void Compiler::State::update_endpoints(const ModelChanges& changes, bool first, const std::set<std::string>& moved,
                                       CompileResult& result) {
  if (first) {
    endpoints.refresh_all(model, fleet);
  } else {
    if (!moved.empty()) {
      endpoints.refresh_clusters(moved, model, fleet);
    }
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
  endpoints.take(result.upsert, result.remove);
}

bool Compiler::State::is_usable(PeerId gateway) const {
  return gateway != kNoPeer && silent_peers.count(gateway) == 0 && peers.has_route(gateway);
}

bool Compiler::State::is_silent(const FleetCluster& cluster) const {
  return !cluster.local && std::none_of(cluster.gateways.begin(), cluster.gateways.end(), [&](const FleetGateway& g) {
    return is_usable(peers.id_of(cluster.name, g.underlay));
  });
}

void Compiler::State::update_silence(std::set<ServiceName>& dirty) {
  std::set<ClusterId> now_silent, now_held_out;
  for (const auto& [name, cluster] : fleet.clusters) {
    if (!is_silent(cluster)) {
      if (silent.count(cluster.id) != 0) {
        dirty.merge(services.members_of(name));
      }
      continue;
    }
    now_silent.insert(cluster.id);
    if (wanted_held_out.count(cluster.id) != 0) {
      now_held_out.insert(cluster.id);
    }
    if (silent.count(cluster.id) == 0 || held_out.count(cluster.id) != now_held_out.count(cluster.id)) {
      dirty.merge(services.members_of(name));
    }
  }
  silent = std::move(now_silent);
  held_out = std::move(now_held_out);
}

void Compiler::State::update_clusters(TableDelta& delta) {
  std::vector<ClusterEntry> now;
  for (const auto& [name, cluster] : fleet.clusters) {
    ClusterEntry entry{cluster.id, cluster.local, cluster.linked, cluster.prefixes, {}};
    for (const FleetGateway& gateway : cluster.gateways) {
      const PeerId peer = peers.id_of(name, gateway.underlay);
      if (is_usable(peer)) {
        entry.gateways.push_back(peer);
      }
    }
    std::sort(entry.gateways.begin(), entry.gateways.end());
    now.push_back(std::move(entry));
  }
  std::sort(now.begin(), now.end(), [](const ClusterEntry& a, const ClusterEntry& b) { return a.id < b.id; });
  if (now != clusters) {
    clusters = std::move(now);
    delta.clusters = clusters;
  }
}

void Compiler::State::update_services(const std::set<ServiceName>& dirty, CompileResult& result) {
  std::set<ServiceName> all = claims.refresh(dirty, model, fleet, options.own_addresses);
  all.insert(dirty.begin(), dirty.end());
  const ServiceSet::Inputs inputs{model, fleet, claims, silent, held_out};
  for (const ServiceName& name : all) {
    result.names_changed = services.refresh(name, inputs, result.delta) || result.names_changed;
  }
  // A VIP that went from one service to another is in both lists.
  std::set<FrontendKey> upserted;
  for (const FrontendEntry& frontend : result.delta.upsert_frontends) {
    upserted.insert(frontend.key);
  }
  auto& removed = result.delta.remove_frontends;
  removed.erase(
      std::remove_if(removed.begin(), removed.end(), [&](const FrontendKey& key) { return upserted.count(key) != 0; }),
      removed.end());
}

void Compiler::State::compile(const ModelChanges& changes, CompileResult& result) {
  const bool first = !started;
  started = true;
  const bool fleet_changed = first || changes.fleet || !changes.nodes.empty();
  std::set<std::string> moved;
  std::set<ServiceName> dirty = update_fleet(changes, first, moved);
  dirty.insert(changes.services.begin(), changes.services.end());
  const bool reach_changed = fleet_changed || ask_again || std::exchange(silence_told, false);
  if (fleet_changed || ask_again) {
    result.peers_changed = peers.update(model, fleet, next_hop, std::exchange(ask_again, false), result.delta);
  }
  // Of the size of the fleet, and so not for each of a thousand endpoints a second.
  if (reach_changed) {
    update_silence(dirty);
    update_clusters(result.delta);
  }
  update_endpoints(changes, first, moved, result);
  update_services(dirty, result);
  if (endpoints.take_known_moved() || fleet_changed) {
    unlabelled = unlabelled_clusters();
  }
  policy.update(changes, first, model, fleet_changed ? std::optional(policy_clusters(fleet)) : std::nullopt, unlabelled,
                result.delta);
}

UnlabelledClusters Compiler::State::unlabelled_clusters() const {
  UnlabelledClusters out;
  for (const auto& [name, cluster] : fleet.clusters) {
    if (cluster.local) {
      continue;
    }
    const auto at = endpoints.known().find(cluster.id);
    const EndpointSet::Known known = at == endpoints.known().end() ? EndpointSet::Known{} : at->second;
    if (known.unlabelled != 0) {
      out.some.insert(name);
    }
    if (known.labelled == 0) {
      out.all.insert(name);
    }
  }
  return out;
}

std::vector<Problem> Compiler::State::problems() const {
  std::vector<Problem> problems = fleet.problems;
  problems.insert(problems.end(), peers.problems().begin(), peers.problems().end());
  claims.append_problems(problems);
  services.append_problems(problems);
  endpoints.append_problems(model, problems);
  policy.append_problems(problems);
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

void Compiler::set_silence(Silence silence) {
  state_->silent_peers = {silence.peers.begin(), silence.peers.end()};
  state_->wanted_held_out = {silence.held_out.begin(), silence.held_out.end()};
  state_->silence_told = true;
}

void Compiler::refresh_next_hops() { state_->ask_again = true; }

std::vector<ClusterView> Compiler::clusters() const {
  std::vector<ClusterView> views;
  for (const auto& [name, cluster] : state_->fleet.clusters) {
    ClusterView view{name,
                     cluster.id,
                     cluster.local,
                     cluster.linked,
                     state_->silent.count(cluster.id) != 0,
                     state_->held_out.count(cluster.id) != 0,
                     cluster.prefixes,
                     {}};
    for (const FleetGateway& gateway : cluster.gateways) {
      const PeerId peer = state_->peers.id_of(name, gateway.underlay);
      view.gateways.push_back(
          {gateway.name, gateway.underlay, gateway.port, peer, state_->silent_peers.count(peer) != 0});
    }
    views.push_back(std::move(view));
  }
  return views;
}

std::vector<PeerView> Compiler::peers() const { return state_->peers.views(state_->silent_peers); }

std::vector<ServiceView> Compiler::services() const { return state_->services.views(); }

EndpointView Compiler::State::view_of(const ObjectKey& owner, const EndpointEntry& entry) const {
  EndpointView view{entry.address,
                    owner.cluster,
                    entry.cluster,
                    entry.identity,
                    owner.kind == ObjectKind::kNode,
                    owner.name_space,
                    owner.name,
                    {}};
  if (const auto pod = model.find<PodObject>(owner)) {
    view.on_node = pod->node;
  } else if (const auto address = model.find<AddressObject>(owner)) {
    view.name_space = address->name_space;
    view.name = address->pod;
    view.on_node = address->node ? address->node->to_string() : "";
  }
  return view;
}

void Compiler::visit_endpoints(const std::function<bool(const EndpointView&)>& visit) const {
  state_->endpoints.visit(
      [&](const ObjectKey& owner, const EndpointEntry& entry) { return visit(state_->view_of(owner, entry)); });
}

std::optional<EndpointView> Compiler::find_endpoint(const IpAddress& address) const {
  std::optional<EndpointView> found;
  state_->endpoints.find(
      address, [&](const ObjectKey& owner, const EndpointEntry& entry) { found = state_->view_of(owner, entry); });
  return found;
}

std::string Compiler::cluster_name(ClusterId id) const {
  for (const auto& [name, cluster] : state_->fleet.clusters) {
    if (cluster.id == id) {
      return name;
    }
  }
  return {};
}

std::size_t Compiler::endpoint_count() const { return state_->endpoints.size(); }
std::string Compiler::service_name(ServiceId id) const { return state_->services.name_of(id); }
std::string Compiler::peer_name(PeerId id) const { return state_->peers.name_of(id); }

std::optional<RuleName> Compiler::rule_name(RuleId id) const {
  return state_->policy.rule_names().find(id, state_->model);
}

const PolicySet& Compiler::policy() const { return state_->policy; }

}  // namespace isthmus
