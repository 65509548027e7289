#include "control/source/etcd/fleet_registry.h"

#include <algorithm>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/etcd/export_conflicts.h"
#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

constexpr const char *kProfileName = "clustermesh", *kGatewayService = "gateway service";
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

FleetRegistry::FleetRegistry(Own own, std::vector<ObjectDelta>& out)
    : own_(std::move(own)), out_(out), names_(own_.gateway) {
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
  names_.set_known(restored_);
  names_.settle(out_);
  return fewer;
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
  }
  Gateways& gateways = gateways_[cluster];
  for (const auto& [name, value] : gateways.registered) {
    if (member) {
      put_registered(cluster, name, value);
    } else {
      names_.remove({cluster, false, name});
    }
  }
  for (const auto& [address, backend] : gateways.backends) {
    update_backend(cluster, address);
  }
  names_.settle(out_);
  if (!member) {
    publish_profile();
  }
}

void FleetRegistry::publish_profile() {
  ProfileObject profile{{own_.cluster}, own_.max_connected_clusters};
  profile.clusters.insert(profile.clusters.end(), members_.begin(), members_.end());
  out_.push_back({{ObjectKind::kProfile, {}, {}, kProfileName}, std::move(profile), {"clustermesh", 0}});
}

void FleetRegistry::put_registered(const std::string& cluster, const std::string& name, const GatewayValue& value) {
  GatewayNames::Gateway gateway;
  gateway.object.cluster = cluster;
  gateway.object.underlay = value.underlay.front();
  gateway.object.port = value.port;
  gateway.object.more.assign(value.underlay.begin() + 1, value.underlay.end());
  gateway.object.encapsulation = value.encapsulation;
  gateway.location = location_of(cluster, "gateways/" + name);
  names_.put({cluster, false, name}, name, std::move(gateway));
}

void FleetRegistry::update_backend(const std::string& cluster, const IpAddress& address) {
  const Gateways& gateways = gateways_[cluster];
  const auto backend = gateways.backends.find(address);
  const std::string text = address.to_string();
  const GatewayNames::Id id{cluster, true, text};
  if (backend == gateways.backends.end() || members_.count(cluster) == 0 || gateways.addresses.count(address) != 0) {
    names_.remove(id);
    return;
  }
  const std::string& hostname = backend->second.hostname;
  const TunnelPort port = *tunnel_port(backend->second.ports);
  GatewayNames::Gateway gateway;
  gateway.object.cluster = cluster;
  gateway.object.underlay = address;
  gateway.object.port = port.port;
  gateway.object.encapsulation = port.kind;
  gateway.location = location_of(cluster, kGatewayService);
  names_.put(id, is_label(hostname) ? hostname : cluster + "-" + dashed(text), std::move(gateway));
}

void FleetRegistry::set_service_gateways(const std::string& cluster, std::vector<ServiceBackend> backends) {
  Gateways& gateways = gateways_[cluster];
  const auto before = std::exchange(gateways.backends, {});
  gateways.without_port.clear();
  for (ServiceBackend& backend : backends) {
    const IpAddress address = backend.address;
    if (!tunnel_port(backend.ports)) {
      gateways.without_port.push_back(address);
    } else {
      gateways.backends.emplace(address, std::move(backend));
    }
  }
  for (const auto& [address, backend] : before) {
    update_backend(cluster, address);
  }
  for (const auto& [address, backend] : gateways.backends) {
    update_backend(cluster, address);
  }
  names_.settle(out_);
}

void FleetRegistry::set_registered_gateway(const std::string& cluster, const std::string& name,
                                           std::optional<GatewayValue> value) {
  Gateways& gateways = gateways_[cluster];
  std::set<IpAddress> touched;
  if (const auto before = gateways.registered.find(name); before != gateways.registered.end()) {
    for (const IpAddress& address : before->second.underlay) {
      touched.insert(address);
      if (const auto at = gateways.addresses.find(address); --at->second == 0) {
        gateways.addresses.erase(at);
      }
    }
    gateways.registered.erase(before);
  }
  if (value) {
    for (const IpAddress& address : value->underlay) {
      touched.insert(address);
      ++gateways.addresses[address];
    }
    const GatewayValue& now = gateways.registered[name] = std::move(*value);
    if (members_.count(cluster) != 0) {
      put_registered(cluster, name, now);
    }
  } else {
    names_.remove({cluster, false, name});
  }
  for (const IpAddress& address : touched) {
    update_backend(cluster, address);
  }
  names_.settle(out_);
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
  std::vector<SourceProblem> problems;
  const std::size_t listed = names_.append_problems(kMaxProblems, problems);
  if (const std::size_t more = names_.left_out() - listed; more != 0) {
    problems.push_back(problem_at("", std::to_string(more) + " more gateways are left out",
                                  "fix the problems listed first; they may share a cause"));
  }
  for (const std::string& cluster : members_) {
    const auto gateways = gateways_.find(cluster);
    if (gateways == gateways_.end() || gateways->second.without_port.empty()) {
      continue;
    }
    const std::vector<IpAddress>& addresses = gateways->second.without_port;
    const std::string more =
        addresses.size() == 1 ? " has" : " and " + std::to_string(addresses.size() - 1) + " more have";
    problems.push_back(problem_at(location_of(cluster, kGatewayService),
                                  "the gateway at " + addresses.front().to_string() + more +
                                      " no UDP port named as an encapsulation and not exactly one UDP port",
                                  "name the tunnel port of the gateway Service vxlan or geneve"));
  }
  std::size_t conflicts = 0;
  for (const auto& [service, list] : conflicts_) {
    conflicts += list.size();
    if (conflicts > kMaxProblems) {
      break;
    }
    problems.insert(problems.end(), list.begin(), list.end());
  }
  return problems;
}

}  // namespace isthmus
