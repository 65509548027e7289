#include "control/source/etcd/fleet_registry.h"

#include <algorithm>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/etcd/export_conflicts.h"
#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

constexpr const char* kProfileName = "clustermesh";
constexpr std::size_t kMaxProblems = 100;

struct TunnelPort {
  EncapsulationKind kind = EncapsulationKind::kVxlan;
  L4Port port;
};

// The first UDP port with the name of an encapsulation, else the only UDP port, which is VXLAN unless it is another
// encapsulation's default.
std::optional<TunnelPort> tunnel_port(const std::vector<ServicePort>& ports) {
  std::vector<L4Port> udp;
  for (const ServicePort& port : ports) {
    if (port.protocol != IpProtocol::kUdp) {
      continue;
    }
    if (const auto kind = encapsulation_named(port.name); kind && *kind != EncapsulationKind::kNone) {
      return TunnelPort{*kind, port.port};
    }
    udp.push_back(port.port);
  }
  if (udp.size() != 1) {
    return std::nullopt;
  }
  const auto known = encapsulations();
  const auto kind = std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.default_port == udp[0]; });
  return TunnelPort{kind == known.end() ? EncapsulationKind::kVxlan : kind->kind, udp.front()};
}

std::string location_of(const std::string& cluster, const std::string& what) {
  return "cluster " + cluster + ": " + what;
}

std::string dashed(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '.' || c == ':'; }, '-');
  return text;
}

}  // namespace

FleetRegistry::FleetRegistry(Own own, std::vector<ObjectDelta>& out) : own_(std::move(own)), out_(out) {
  if (own_.id != kNoCluster) {
    id_owners_[own_.id] = own_.cluster;
  }
}

bool FleetRegistry::set_restored(RestoredMembers members) {
  std::swap(restored_, members);
  const bool fewer = std::any_of(members.begin(), members.end(), [&](const auto& before) {
    const auto now = restored_.find(before.first);
    return now == restored_.end() || !(now->second == before.second);
  });
  if (fewer) {
    publish_gateways();
  }
  return fewer;
}

bool FleetRegistry::is_known_of_another(const std::string& gateway, const std::string& cluster) const {
  return std::any_of(restored_.begin(), restored_.end(), [&](const auto& member) {
    return member.first != cluster && member.second.gateways.contains(gateway);
  });
}

// Published, or before the restart.
bool FleetRegistry::had_name(const std::string& gateway, const std::string& cluster, const IpAddress& underlay) const {
  if (const auto restored = restored_.find(cluster); restored != restored_.end()) {
    const auto had = restored->second.gateways.find(gateway);
    if (had != restored->second.gateways.end() && had->second == underlay) {
      return true;
    }
  }
  const auto now = published_.find(gateway);
  return now != published_.end() && now->second.object.cluster == cluster && now->second.object.underlay == underlay;
}

std::string FleetRegistry::reserve(ClusterId id, const std::string& cluster) {
  for (auto& [name, had] : restored_) {
    if (had.id == id && name != cluster) {
      return name;
    }
    if (name == cluster && had.id != id) {
      had.id = kNoCluster;  // it says another one itself
    }
  }
  const auto [owner, fresh] = id_owners_.try_emplace(id, cluster);
  return fresh || owner->second == cluster ? "" : owner->second;
}

void FleetRegistry::release(ClusterId id, const std::string& cluster) {
  if (const auto owner = id_owners_.find(id); owner != id_owners_.end() && owner->second == cluster) {
    id_owners_.erase(owner);
  }
  if (const auto had = restored_.find(cluster); had != restored_.end() && had->second.id == id) {
    had->second.id = kNoCluster;
  }
}

void FleetRegistry::set_member(const std::string& cluster, bool member) {
  const bool changed = member ? members_.insert(cluster).second : members_.erase(cluster) > 0;
  if (!changed) {
    return;
  }
  if (member) {
    publish_profile();
    publish_gateways();
  } else {
    publish_gateways();
    publish_profile();
  }
}

void FleetRegistry::publish_profile() {
  ProfileObject profile{{own_.cluster}, own_.max_connected_clusters};
  profile.clusters.insert(profile.clusters.end(), members_.begin(), members_.end());
  out_.push_back({{ObjectKind::kProfile, {}, {}, kProfileName}, std::move(profile), {"clustermesh", 0}});
}

void FleetRegistry::set_service_gateways(const std::string& cluster, std::vector<ServiceBackend> backends) {
  if (backends.empty()) {
    service_gateways_.erase(cluster);
  } else {
    service_gateways_[cluster] = std::move(backends);
  }
  publish_gateways();
}

void FleetRegistry::set_registered_gateway(const std::string& cluster, const std::string& name,
                                           std::optional<GatewayValue> value) {
  if (value) {
    registered_[cluster][name] = std::move(*value);
  } else {
    registered_[cluster].erase(name);
  }
  publish_gateways();
}

// The gateways of all members by name. Registered gateways take precedence over Service backends of the same address; a
// published gateway keeps its name, and a newcomer whose name is taken gets "<cluster>-<name>".
std::map<std::string, FleetRegistry::Gateway> FleetRegistry::desired_gateways() {
  struct Candidate {
    std::string name;
    Gateway gateway;
  };
  std::vector<Candidate> candidates;
  std::set<IpAddress> taken;  // of the member at hand: between members the compiler decides, which knows who was first
  gateway_problems_.clear();
  for (const std::string& cluster : members_) {
    for (const auto& [name, value] : registered_[cluster]) {
      const std::string location = location_of(cluster, "gateways/" + name);
      candidates.push_back({name,
                            {{cluster,
                              value.underlay.front(),
                              value.port,
                              {value.underlay.begin() + 1, value.underlay.end()},
                              value.encapsulation},
                             location}});
    }
  }
  for (const std::string& cluster : members_) {
    taken.clear();
    for (const auto& [name, value] : registered_[cluster]) {
      taken.insert(value.underlay.begin(), value.underlay.end());
    }
    const auto backends = service_gateways_.find(cluster);
    for (std::size_t i = 0; backends != service_gateways_.end() && i < backends->second.size(); ++i) {
      const ServiceBackend& backend = backends->second[i];
      const std::string address = backend.address.to_string(), location = location_of(cluster, "gateway service");
      const auto port = tunnel_port(backend.ports);
      if (!port) {
        gateway_problems_.push_back(problem_at(
            location,
            "the gateway at " + address + " has no UDP port named as an encapsulation and not exactly one UDP port",
            "name the tunnel port of the gateway Service vxlan or geneve"));
      } else if (taken.insert(backend.address).second) {
        candidates.push_back({is_label(backend.hostname) ? backend.hostname : cluster + "-" + dashed(address),
                              {{cluster, backend.address, port->port, {}, port->kind}, location}});
      }
    }
  }
  std::map<std::string, Gateway> desired;
  for (const bool incumbents : {true, false}) {
    for (const Candidate& c : candidates) {
      const std::string full = c.gateway.object.cluster + "-" + c.name;
      const auto has_name = [&](const std::string& name) {
        return had_name(name, c.gateway.object.cluster, c.gateway.object.underlay);
      };
      const bool incumbent = has_name(c.name) || has_name(full);
      if (incumbent == incumbents) {
        const bool free = c.name != own_.gateway && !desired.contains(c.name) &&
                          !is_known_of_another(c.name, c.gateway.object.cluster);
        desired.emplace(has_name(c.name) || (!has_name(full) && free) ? c.name : full, c.gateway);
      }
    }
  }
  return desired;
}

void FleetRegistry::publish_gateways() {
  std::map<std::string, Gateway> desired = desired_gateways();
  for (const auto& [name, gateway] : published_) {
    if (!desired.contains(name)) {
      out_.push_back({{ObjectKind::kGateway, {}, {}, name}, std::nullopt, {gateway.location, 0}});
    }
  }
  for (const auto& [name, gateway] : desired) {
    const auto before = published_.find(name);
    if (before == published_.end() || !(before->second == gateway)) {
      out_.push_back({{ObjectKind::kGateway, {}, {}, name}, gateway.object, {gateway.location, 0}});
    }
  }
  published_ = std::move(desired);
}

void FleetRegistry::set_export(const std::string& cluster, const std::string& service,
                               std::optional<ServiceExportValue> value) {
  if (value) {
    exports_[service][cluster] = std::move(*value);
  } else if (const auto found = exports_.find(service); found != exports_.end()) {
    found->second.erase(cluster);
    if (found->second.empty()) {
      exports_.erase(found);
    }
  }
  find_conflicts(service);
}

void FleetRegistry::find_conflicts(const std::string& service) {
  std::vector<SourceProblem> found;
  if (const auto exports = exports_.find(service); exports != exports_.end()) {
    found = export_conflicts(service, exports->second);
  }
  if (found.empty()) {
    conflicts_.erase(service);
  } else {
    conflicts_[service] = std::move(found);
  }
}

std::vector<SourceProblem> FleetRegistry::problems() const {
  std::vector<SourceProblem> problems = gateway_problems_;
  for (const auto& [service, list] : conflicts_) {
    if (problems.size() >= kMaxProblems) {
      break;
    }
    problems.insert(problems.end(), list.begin(), list.end());
  }
  return problems;
}

}  // namespace isthmus
