// Compiler: what it tells of its results.
#include "control/compile/compiler_state.h"

namespace isthmus {

std::map<std::string, std::vector<IpAddress>> Compiler::disputed_addresses() const {
  return state_->endpoints.disputed();
}

std::vector<ClusterView> Compiler::clusters() const {
  std::vector<ClusterView> views;
  for (const auto& [name, cluster] : state_->fleet.clusters) {
    ClusterView view{name,
                     cluster.id,
                     cluster.local,
                     cluster.linked,
                     cluster.native(),
                     state_->unreachable.count(cluster.id) != 0,
                     state_->ejected.count(cluster.id) != 0,
                     cluster.prefixes,
                     aliases_in_force(state_->fleet, cluster),
                     state_->host_routes.of(cluster.id),
                     {}};
    for (const FleetGateway& gateway : cluster.gateways) {
      const PeerId peer = state_->peers.id_of(name, gateway.underlay);
      view.gateways.push_back(
          {gateway.name, gateway.underlay, gateway.port, peer, state_->unreachable_peers.count(peer) != 0});
    }
    views.push_back(std::move(view));
  }
  return views;
}

const std::vector<NodeRoute>& Compiler::node_routes() const { return state_->peers.node_routes(); }
std::vector<PeerView> Compiler::peers() const { return state_->peers.views(state_->unreachable_peers); }
std::vector<PeerView> Compiler::gateways() const { return state_->peers.gateways(state_->unreachable_peers); }
std::optional<PeerView> Compiler::find_peer(PeerId id) const {
  return state_->peers.find(id, state_->unreachable_peers);
}
std::size_t Compiler::peer_count() const { return state_->peers.size(); }
std::size_t Compiler::service_count() const { return state_->services.size(); }
std::size_t Compiler::frontend_count() const { return state_->services.frontends(); }
std::size_t Compiler::ejected_count() const { return state_->services.ejected(); }
std::vector<ServiceView> Compiler::services_without_ports() const { return state_->services.views_without_ports(); }
void Compiler::visit_services(const std::function<bool(const ServiceView&)>& visit) const {
  state_->services.visit_views(visit);
}
std::vector<ServiceView> Compiler::services() const { return state_->services.views(); }

EndpointView Compiler::State::view_of(const ObjectKey& owner, const EndpointEntry& entry) const {
  const FleetCluster* cluster = fleet.find(owner.cluster);
  const IpAddress own = cluster == nullptr ? entry.address : to_own(cluster->aliases, entry.address);
  EndpointView view{entry.address, own, owner.cluster, entry.cluster, entry.identity, false, owner.ns, owner.name, {}};
  view.node = owner.kind == ObjectKind::kNode;
  if (const auto pod = model.find<PodObject>(owner)) {
    view.on_node = pod->node;
  } else if (const auto address = model.find<AddressObject>(owner)) {
    view.ns = address->ns;
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
  state_->endpoints.find(to_alias(state_->aliases, address),
                         [&](const auto& owner, const auto& entry) { found = state_->view_of(owner, entry); });
  return found;
}

std::optional<AddressForms> Compiler::forms_of(const IpAddress& at) const { return state_->fleet.forms_of(at); }
std::string Compiler::cluster_name(ClusterId id) const {
  const FleetCluster* cluster = state_->fleet.find(id);
  return cluster == nullptr ? std::string() : cluster->name;
}
std::size_t Compiler::endpoint_count() const { return state_->endpoints.size(); }
std::string Compiler::service_name(ServiceId id) const { return state_->services.name_of(id); }
std::string Compiler::peer_name(PeerId id) const { return state_->peers.name_of(id); }

std::optional<RuleName> Compiler::rule_name(RuleId id) const {
  return state_->policy.rule_names().find(id, state_->model);
}

const PolicySet& Compiler::policy() const { return state_->policy; }

}  // namespace isthmus
