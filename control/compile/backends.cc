#include "control/compile/backends.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <tuple>

#include "control/compile/views.h"

namespace isthmus {
namespace {

std::optional<Fitness> fitness_of(const SliceEndpoint& endpoint, std::uint16_t weight) {
  if (endpoint.terminating) {
    return !endpoint.serving ? std::nullopt : std::optional(weight > 0 ? Fitness::kTerminating : Fitness::kDrained);
  }
  if (!endpoint.ready) {
    return std::nullopt;
  }
  return weight > 0 ? Fitness::kActive : Fitness::kDrained;
}

bool lists(const Rare<std::vector<std::string>>& names, const std::string& name) {
  return !name.empty() && std::find(names->begin(), names->end(), name) != names->end();
}

void set_nearness(const SliceEndpoint& endpoint, const OwnPlace& place, Candidate& candidate) {
  const auto same = [](const std::string& a, const std::string& b) { return !a.empty() && a == b; };
  candidate.on_our_node = same(endpoint.node, place.node);
  candidate.hinted = !endpoint.for_zones->empty();
  candidate.for_our_node = endpoint.for_nodes->empty() ? candidate.on_our_node : lists(endpoint.for_nodes, place.node);
  candidate.for_our_zone = candidate.hinted ? lists(endpoint.for_zones, place.zone) : same(endpoint.zone, place.zone);
}

// SCTP is not answered in a VIP's name (DirectReturn).
bool is_at_node(const EndpointSet& endpoints, const IpAddress& address, IpProtocol protocol) {
  return protocol != IpProtocol::kSctp && endpoints.node_at(address) != kNoPeer;
}

// What makes backends preferred, of those that could take new flows. Null: nothing.
bool Candidate::*preference(std::span<const Candidate> candidates, TrafficDistribution distribution) {
  const auto any = [&](bool Candidate::*is) {
    return std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) { return c.*is; });
  };
  const bool all_hinted = std::all_of(candidates.begin(), candidates.end(),
                                      [](const Candidate& c) { return c.hinted || !c.cluster->local; });
  if (distribution == TrafficDistribution::kNode && any(&Candidate::for_our_node)) {
    return &Candidate::for_our_node;
  }
  const bool by_zone =
      distribution != TrafficDistribution::kAny && (distribution != TrafficDistribution::kHints || all_hinted);
  return by_zone && any(&Candidate::for_our_zone) ? &Candidate::for_our_zone : nullptr;
}

}  // namespace

OwnPlace find_place(const Model& model, const Fleet& fleet, const EndpointSet& endpoints) {
  std::optional<ObjectKey> key;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    if (const IpAddress* ours = fleet.own.address(family); ours != nullptr) {
      endpoints.find(*ours, [&](const ObjectKey& owner, const EndpointEntry&) {
        key = owner.kind == ObjectKind::kNode ? owner : key;
      });
    }
  }
  if (!key) {
    return {};
  }
  const auto node = model.find<NodeObject>(*key);
  return node ? OwnPlace{key->name, *node->zone} : OwnPlace{};
}

std::vector<L4Port> matching_ports(const SliceObject& slice, const ServicePort& port) {
  std::vector<L4Port> named, all;
  for (const ServicePort& offered : slice.ports) {
    if (offered.protocol == port.protocol) {
      all.push_back(offered.port);
      if (offered.name == port.name) {
        named.push_back(offered.port);
      }
    }
  }
  return named.empty() && port.name.empty() && all.size() == 1 ? all : named;
}

void append_candidates(const std::vector<Model::Found<SliceObject>>& slices, const ServicePort& port, Family family,
                       const Fleet& fleet, const EndpointSet& endpoints, const FleetCluster& cluster, ClusterWay way,
                       const OwnPlace& place, std::vector<Candidate>& candidates, OutOfPrefix& out_of_prefix) {
  std::map<std::pair<IpAddress, L4Port>, Candidate> found;
  for (const auto& slice : slices) {
    for (const L4Port number : matching_ports(*slice, port)) {
      for (const SliceEndpoint& endpoint : slice->endpoints) {
        auto fitness = fitness_of(endpoint, slice->weight);
        if (!fitness || endpoint.addresses.empty() || endpoint.addresses.front().family() != family) {
          continue;
        }
        const IpAddress& address = endpoint.addresses.front();  // the API: further addresses are the same pod's
        if (const FleetCluster* at = fleet.owner(address); at != &cluster) {
          const bool published = at == nullptr && endpoints.cluster_at(address) == cluster.id;
          (published ? out_of_prefix.published : out_of_prefix.left_out).insert(address);
          if (!published) {
            continue;
          }
        }
        if (way.draining) {
          fitness = std::max(*fitness, Fitness::kLeft);
        }
        Candidate candidate{address,
                            number,
                            &cluster,
                            *fitness,
                            slice->weight,
                            way.unreachable || (way.by_nodes && !is_at_node(endpoints, address, port.protocol)),
                            endpoint.ready && !endpoint.terminating};
        if (cluster.local) {
          set_nearness(endpoint, place, candidate);
        }
        const auto [it, inserted] = found.try_emplace({address, number}, candidate);
        if (!inserted && *fitness < it->second.fitness) {
          it->second = candidate;
        }
      }
    }
  }
  for (const auto& [key, candidate] : found) {
    candidates.push_back(candidate);
  }
}

std::size_t select_backends(std::vector<Candidate>& candidates, ServiceAffinity affinity, Reach reach,
                            TrafficDistribution distribution) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.address, a.port) < std::tie(b.address, b.port);
  });
  for (const Fitness fitness : {Fitness::kActive, Fitness::kLeft, Fitness::kEjected, Fitness::kTerminating}) {
    const auto fit = [&](const Candidate& c) {
      return !c.unreachable && c.fitness == fitness && (reach == Reach::kFleet || c.cluster->local);
    };
    const bool only_node = reach == Reach::kNode && std::any_of(candidates.begin(), candidates.end(),
                                                                [&](auto& c) { return fit(c) && c.on_our_node; });
    const auto usable = [&](const Candidate& c) { return fit(c) && (!only_node || c.on_our_node); };
    bool local = false, remote = false;
    for (const Candidate& c : candidates) {
      local = local || (usable(c) && c.cluster->local);
      remote = remote || (usable(c) && !c.cluster->local);
    }
    if (!local && !remote) {
      continue;
    }
    const bool only_local = affinity == ServiceAffinity::kLocal && local;
    const bool only_remote = affinity == ServiceAffinity::kRemote && remote;
    const auto chosen = std::stable_partition(candidates.begin(), candidates.end(), [&](const Candidate& c) {
      return usable(c) && !(only_local && !c.cluster->local) && !(only_remote && c.cluster->local);
    });
    bool Candidate::*const preferred = preference({candidates.begin(), chosen}, distribution);
    const auto end = std::stable_partition(candidates.begin(), chosen,
                                           [&](const Candidate& c) { return preferred == nullptr || c.*preferred; });
    return static_cast<std::size_t>(end - candidates.begin());
  }
  return 0;
}

const char* to_text(BackendState state) {
  switch (state) {
    case BackendState::kActive:
      return "active";
    case BackendState::kDraining:
      return "draining";
    case BackendState::kEjected:
      return "ejected";
    case BackendState::kUnreachable:
      return "unreachable";
  }
  return "";
}

const char* to_text(ServiceAffinity affinity) {
  switch (affinity) {
    case ServiceAffinity::kLocal:
      return "local";
    case ServiceAffinity::kRemote:
      return "remote";
    case ServiceAffinity::kNone:
      return "none";
  }
  return "";
}

}  // namespace isthmus
