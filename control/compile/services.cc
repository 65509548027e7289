#include "control/compile/services.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "control/compile/listing.h"
#include "control/compile/remedies.h"

namespace isthmus {
namespace {

constexpr std::size_t kMaxInRing = 65535;

const char* protocol_text(IpProtocol protocol) {
  return protocol == IpProtocol::kTcp ? "TCP" : protocol == IpProtocol::kUdp ? "UDP" : "SCTP";
}

std::string port_text(const ServicePort& port) {
  const std::string number = std::to_string(port.port.value()) + "/" + protocol_text(port.protocol);
  return port.name.empty() ? number : port.name + " (" + number + ")";
}

std::string claim_command(const ServiceSet::Inputs& in, const std::string& cluster, const ServiceName& service) {
  return vip_command(in.options, in.fleet, cluster, service, in.fleet.own.underlay.family());
}

// False when the Namespace is annotated clustermesh.cilium.io/global with anything but "true".
bool namespace_is_global(const Model& model, const std::string& cluster, const std::string& name) {
  const auto object = model.find<NamespaceObject>({ObjectKind::kNamespace, cluster, {}, name});
  if (!object) {
    return true;
  }
  const auto annotation = object->annotations.find("clustermesh.cilium.io/global");
  if (annotation == object->annotations.end()) {
    return true;
  }
  return absl::AsciiStrToLower(annotation->second) == "true";
}

// A problem that does not depend on the family is found once per family.
void remove_duplicates(std::vector<Problem>& problems) {
  std::vector<Problem> unique;
  for (Problem& problem : problems) {
    if (std::none_of(unique.begin(), unique.end(), [&](const Problem& p) { return p.text() == problem.text(); })) {
      unique.push_back(std::move(problem));
    }
  }
  problems = std::move(unique);
}

bool is_same_ring(const std::vector<MaglevBackend>& a, const std::vector<MaglevBackend>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const MaglevBackend& x, const MaglevBackend& y) {
    return x.address == y.address && x.port == y.port && x.weight == y.weight;
  });
}

BackendState state_of(const Candidate& candidate, bool selected) {
  if (candidate.unreachable) {
    return BackendState::kUnreachable;
  }
  if (candidate.fitness == Fitness::kEjected) {
    return BackendState::kEjected;
  }
  return selected || candidate.fitness == Fitness::kActive ? BackendState::kActive : BackendState::kDraining;
}

}  // namespace

std::vector<ServiceSet::Definition> ServiceSet::definitions(const ServiceName& name, const Inputs& inputs,
                                                            std::vector<ServiceMember>& members) {
  std::vector<Definition> found;
  members.clear();
  for (const std::string& cluster_name : inputs.model.clusters_of(name)) {
    const FleetCluster* cluster = inputs.fleet.find(cluster_name);
    const auto object = inputs.model.find<ServiceObject>({ObjectKind::kService, cluster_name, name.ns, name.name});
    if (!object || cluster == nullptr || !cluster->linked) {
      continue;
    }
    const bool global = object->global && namespace_is_global(inputs.model, cluster_name, name.ns);
    members.push_back({cluster_name, global, global && object->shared});
    if (global) {
      found.push_back({cluster, object});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Definition& a, const Definition& b) {
    const auto age = [](const Definition& d) {
      return d.object->created == 0 ? std::numeric_limits<std::int64_t>::max() : d.object->created;
    };
    return age(a) < age(b);
  });
  return found;
}

std::vector<ServicePort> ServiceSet::merge_ports(const std::vector<Definition>& definitions, Service& service) {
  std::vector<ServicePort> ports;
  std::vector<const Definition*> from;
  for (const Definition& definition : definitions) {
    for (const ServicePort& port : definition.object->ports) {
      const auto clash = std::find_if(ports.begin(), ports.end(), [&](const ServicePort& p) {
        return (p.port == port.port && p.protocol == port.protocol) || (p.name == port.name && !(p == port));
      });
      if (clash == ports.end()) {
        ports.push_back(port);
        from.push_back(&definition);
      } else if (!(*clash == port)) {
        const Definition& older = *from[static_cast<std::size_t>(clash - ports.begin())];
        service.problems.push_back(
            {"service " + service.view.name.text() + ": cluster " + definition.cluster->name + " defines port " +
                 port_text(port) + ", cluster " + older.cluster->name + " (" + older.object.provenance.text() +
                 ") port " + port_text(*clash) + "; the older Service takes precedence",
             definition.object.provenance.text(), "give the port the same name, number and protocol in all clusters"});
      }
    }
  }
  return ports;
}

std::vector<Candidate> ServiceSet::collect(Service& service, const ServicePort& port, Family family,
                                           const std::vector<Definition>& definitions, const Inputs& inputs) const {
  std::vector<Candidate> candidates;
  for (const Definition& definition : definitions) {
    const FleetCluster& cluster = *definition.cluster;
    if ((!cluster.local && !definition.object->shared) || inputs.ejected.count(cluster.id) != 0) {
      continue;
    }
    const auto slices = inputs.model.slices_of(cluster.name, service.view.name);
    OutOfPrefix out_of_prefix;
    const ClusterWay way{inputs.unreachable.count(cluster.id) != 0,
                         !cluster.native() && inputs.draining.count(cluster.id) != 0,
                         cluster.by_nodes(inputs.options.direct_return)};
    append_candidates(slices, port, family, inputs.fleet, inputs.endpoints, cluster, way, place_, candidates,
                      out_of_prefix);
    service.addresses.insert(out_of_prefix.left_out.begin(), out_of_prefix.left_out.end());
    service.addresses.insert(out_of_prefix.published.begin(), out_of_prefix.published.end());
    if (const std::set<IpAddress>& left_out = out_of_prefix.left_out; !left_out.empty()) {
      service.problems.push_back(
          {std::to_string(left_out.size()) + " backends of service " + service.view.name.text() + " in cluster " +
               cluster.name + " lie outside that cluster's prefixes, at none of its endpoints, and are left out: " +
               left_out.begin()->to_string() + (left_out.size() > 1 ? " and others" : ""),
           slices.front().provenance.text(), "correct the EndpointSlice, or add the prefix to the Cluster object"});
    }
    const bool offered = std::any_of(slices.begin(), slices.end(), [&](const auto& slice) {
      return slice->endpoints.empty() || !matching_ports(*slice, port).empty();
    });
    if (!slices.empty() && !offered) {
      service.problems.push_back({"no EndpointSlice of service " + service.view.name.text() + " in cluster " +
                                      cluster.name + " offers port " + port_text(port) + " by name and protocol",
                                  slices.front().provenance.text(),
                                  "use the same port name in all clusters; the number may differ"});
    }
  }
  return candidates;
}

void ServiceSet::compile_port(Service& service, const ServicePort& port, Family family,
                              const std::vector<Definition>& definitions, const Inputs& inputs, PortState& state,
                              std::set<BackendPlace>& used) {
  std::vector<Candidate> candidates = collect(service, port, family, definitions, inputs);
  for (const Candidate& c : candidates) {
    if (c.ready) {
      service.starting.see({c.address, c.port, port.protocol}, c.cluster->id, inputs.news);
    }
  }
  mark_outliers(service, port.protocol, family, candidates);
  const ServiceRules& rules = service.rules;
  const std::size_t selected = select_backends(
      candidates, service.view.affinity, rules.internal_local ? Reach::kCluster : Reach::kFleet, rules.distribution);
  if (selected > kMaxInRing) {
    service.problems.push_back({"service " + service.view.name.text() + " has " + std::to_string(selected) +
                                    " backends for port " + port_text(port) + "; only the first " +
                                    std::to_string(kMaxInRing) + " take new flows",
                                definitions.front().object.provenance.text(), "split the service"});
  }
  std::vector<unsigned> levels;
  const std::span<const Candidate> chosen(candidates.data(), std::min(selected, kMaxInRing));
  std::vector<MaglevBackend> in_ring = weigh(service, port.protocol, chosen, &levels);
  auto set = std::make_shared<BackendSet>();
  state.view.backends.clear();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    const BackendPlace key{c.address, c.port, port.protocol};
    const BackendId id = id_of(service, key);
    used.insert(key);
    // The ring is of the fleet's addresses, as elsewhere; packets to our own pods have their own.
    const IpAddress address = c.cluster->local ? to_own(c.cluster->aliases, c.address) : c.address;
    set->backends.push_back({id, address, c.port, c.cluster->id});
    state.view.backends.push_back({c.cluster->name, c.address, c.port, id, state_of(c, i < selected), c.weight, 0,
                                   i < levels.size() ? levels[i] * 100 / service.starting.full_level() : 100,
                                   service.outliers.ejected_until(id)});
  }
  const bool ring_unchanged = state.set && is_same_ring(in_ring, state.in_ring);
  set->ring = ring_unchanged ? state.set->ring : maglev_ring(in_ring, ring_slots_);
  for (const std::uint16_t index : set->ring) {
    ++state.view.backends[index].slots;
  }
  state.view.port = port;
  state.view.family = family;
  state.view.ring_slots = static_cast<std::uint32_t>(set->ring.size());
  state.in_ring = std::move(in_ring);
  if (!ring_unchanged || !(state.set->backends == set->backends)) {
    state.set = std::move(set);
  }
  compile_fabric_ring(service, port, std::move(candidates), state);
}

std::vector<MaglevBackend> ServiceSet::weigh(const Service& service, IpProtocol protocol,
                                             std::span<const Candidate> candidates, std::vector<unsigned>* levels) {
  std::vector<MaglevBackend> ring;
  std::vector<unsigned> of;
  for (const Candidate& c : candidates) {
    ring.push_back({c.address, c.port, protocol, c.weight});
    of.push_back(service.starting.level({c.address, c.port, protocol}));
  }
  if (SlowStart::lower(ring, of, service.starting.full_level()) && levels != nullptr) {
    *levels = std::move(of);
  }
  return ring;
}

// The same backends, in the same order, with a ring of those that clients of other clusters get.
void ServiceSet::compile_fabric_ring(const Service& service, const ServicePort& port, std::vector<Candidate> candidates,
                                     PortState& state) const {
  const ServiceRules& rules = service.rules;
  if (!rules.internal_local && !rules.external_local) {
    state.from_fabric = nullptr;
    return;
  }
  std::map<std::pair<IpAddress, L4Port>, std::uint16_t> numbers;
  for (const Candidate& c : candidates) {
    numbers.emplace(std::pair(c.address, c.port), static_cast<std::uint16_t>(std::min(numbers.size(), kMaxInRing)));
  }
  const std::size_t selected =
      std::min(select_backends(candidates, service.view.affinity, rules.external_local ? Reach::kNode : Reach::kFleet,
                               TrafficDistribution::kAny),
               kMaxInRing);
  std::vector<MaglevBackend> in_ring = weigh(service, port.protocol, {candidates.data(), selected}, nullptr);
  const bool unchanged = state.from_fabric != nullptr && state.from_fabric->backends == state.set->backends &&
                         is_same_ring(in_ring, state.in_fabric_ring);
  if (unchanged) {
    return;
  }
  auto set = std::make_shared<BackendSet>();
  set->backends = state.set->backends;
  set->ring = maglev_ring(in_ring, ring_slots_);
  for (std::uint16_t& index : set->ring) {
    index = numbers.at({candidates[index].address, candidates[index].port});
  }
  state.from_fabric = std::move(set);
  state.in_fabric_ring = std::move(in_ring);
}

void ServiceSet::publish(Service& service, TableDelta& delta) const {
  std::map<FrontendKey, FrontendEntry> current;
  for (const IpAddress& vip : service.view.vips) {
    for (const auto& [key, state] : service.ports) {
      const auto& [port, protocol, family] = key;
      if (family == vip.family()) {
        const FrontendKey frontend{realm_, vip, protocol, port};
        current[frontend] = {frontend,
                             service.view.id,
                             service.view.client_ip_affinity,
                             Seconds{service.view.affinity_seconds},
                             state.set,
                             state.from_fabric,
                             service.sources,
                             service.outliers.on()};
      }
    }
  }
  for (const auto& [key, entry] : service.frontends) {
    if (current.count(key) == 0) {
      delta.remove_frontends.push_back(key);
    }
  }
  for (const auto& [key, entry] : current) {
    const auto before = service.frontends.find(key);
    if (before == service.frontends.end() || before->second.backends != entry.backends ||
        before->second.client_affinity != entry.client_affinity ||
        before->second.affinity_timeout != entry.affinity_timeout || before->second.sources != entry.sources ||
        before->second.from_fabric != entry.from_fabric || before->second.watched != entry.watched) {
      delta.upsert_frontends.push_back(entry);
    }
  }
  service.frontends = std::move(current);
}

void ServiceSet::release(Service& service, const std::set<BackendPlace>& used) {
  for (auto it = service.backend_ids.begin(); it != service.backend_ids.end();) {
    if (used.count(it->first) == 0) {
      backend_ids_.release(it->second);
      it = service.backend_ids.erase(it);
    } else {
      ++it;
    }
  }
}

void ServiceSet::update_users(const ServiceName& name, const std::set<IpAddress>& before,
                              const std::set<IpAddress>& now) {
  for (const IpAddress& address : before) {
    if (now.count(address) == 0) {
      users_.erase({address, name});
    }
  }
  for (const IpAddress& address : now) {
    if (before.count(address) == 0) {
      users_.emplace(address, name);
    }
  }
}

void ServiceSet::append_users(const Prefix& prefix, std::set<ServiceName>& services) const {
  for (auto at = users_.lower_bound({prefix.address(), {}}); at != users_.end() && prefix.contains(at->first); ++at) {
    services.insert(at->second);
  }
}

void ServiceSet::remove(const ServiceName& name, TableDelta& delta) {
  const auto it = services_.find(name);
  if (it == services_.end()) {
    return;
  }
  for (const auto& [key, entry] : it->second.frontends) {
    delta.remove_frontends.push_back(key);
  }
  release(it->second, {});
  update_users(name, it->second.addresses, {});
  service_ids_.release(it->second.view.id);
  by_id_.erase(it->second.view.id);
  rises_.erase(name);
  invalid_.erase(name);
  services_.erase(it);
}

void ServiceSet::name_ignored(const std::vector<Definition>& definitions, Service& service) {
  for (const Definition& definition : definitions) {
    if (!definition.object->ignored.empty()) {
      std::string names;
      for (const std::string& ignored : definition.object->ignored) {
        names += (names.empty() ? "" : ", ") + ignored;
      }
      service.problems.push_back({"service " + service.view.name.text() + " of cluster " + definition.cluster->name +
                                      " asks for what a global service does not do: " + names,
                                  definition.object.provenance.text(),
                                  "remove it from the Service if it is not needed inside the cluster"});
    }
  }
}

void ServiceSet::take_rules(const std::vector<Definition>& definitions, Service& service) {
  const auto own =
      std::find_if(definitions.begin(), definitions.end(), [](const Definition& d) { return d.cluster->local; });
  service.view.affinity = own == definitions.end() ? ServiceAffinity::kNone : own->object->affinity;
  const ServiceObject& ours = *(own == definitions.end() ? definitions.front() : *own).object;
  service.view.client_ip_affinity = ours.client_ip_affinity;
  service.view.affinity_seconds = ours.affinity_seconds;
  service.rules = *ours.rules;
  const SourceRanges sources{service.rules.source_ranges, service.rules.ranges_denied};
  if (sources.prefixes.empty()) {
    service.sources = nullptr;
  } else if (service.sources == nullptr || *service.sources != sources) {
    service.sources = std::make_shared<const SourceRanges>(sources);
  }
}

bool ServiceSet::refresh(const ServiceName& name, const Inputs& inputs, TableDelta& delta) {
  std::vector<ServiceMember> members;
  const std::vector<Definition> found = definitions(name, inputs, members);
  if (found.empty()) {
    const bool was = services_.count(name) != 0;
    remove(name, delta);
    return was;
  }
  const auto [it, inserted] = services_.try_emplace(name);
  Service& service = it->second;
  if (inserted) {
    service.view.name = name;
    service.view.id = service_ids_.allocate();
    by_id_[service.view.id] = name;
  }
  service.problems.clear();
  service.view.members = std::move(members);
  take_rules(found, service);
  std::vector<IpAddress> vips = inputs.claims.vips_of(name);
  const bool renamed = inserted || vips != service.view.vips;
  service.view.vips = std::move(vips);
  if (service.view.vips.empty()) {
    service.problems.push_back({"service " + name.text() + " is global but no cluster claims a VIP for it",
                                found.front().object.provenance.text(),
                                "claim one: " + claim_command(inputs, found.front().cluster->name, name) +
                                    ", a ServiceImport with ips, or the annotation isthmus.io/vip"});
  }
  name_ignored(found, service);

  begin_shares(inputs, service);
  const std::set<IpAddress> before = std::exchange(service.addresses, {});
  std::map<PortKey, PortState> ports;
  std::set<BackendPlace> used;
  for (const ServicePort& port : merge_ports(found, service)) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      if (std::any_of(service.view.vips.begin(), service.view.vips.end(),
                      [&](const IpAddress& vip) { return vip.family() == family; })) {
        const PortKey key{port.port, port.protocol, family};
        PortState& state = ports[key] = std::move(service.ports[key]);
        compile_port(service, port, family, found, inputs, state, used);
      }
    }
  }
  service.ports = std::move(ports);
  end_shares(name, inputs, service);
  for (const BackendPlace& key : used) {
    service.addresses.insert(std::get<IpAddress>(key));
  }
  update_users(name, before, service.addresses);
  release(service, used);
  publish(service, delta);
  remove_duplicates(service.problems);
  if (service.problems.empty()) {
    invalid_.erase(name);
  } else {
    invalid_.insert(name);
  }
  return renamed;
}

std::set<ServiceName> ServiceSet::move_to(OwnPlace place) {
  std::set<ServiceName> names;
  if (place == place_) {
    return names;
  }
  place_ = std::move(place);
  for (const auto& [name, service] : services_) {
    if (service.rules.external_local || service.rules.distribution != TrafficDistribution::kAny) {
      names.insert(name);
    }
  }
  return names;
}

}  // namespace isthmus
