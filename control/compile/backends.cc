#include "control/compile/backends.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

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

}  // namespace

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
                       std::vector<Candidate>& candidates, OutOfPrefix& out_of_prefix) {
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
        const Candidate candidate{address, number, &cluster, *fitness, slice->weight, way.unreachable};
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

std::size_t select_backends(std::vector<Candidate>& candidates, ServiceAffinity affinity) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.address, a.port) < std::tie(b.address, b.port);
  });
  for (const Fitness fitness : {Fitness::kActive, Fitness::kLeft, Fitness::kTerminating}) {
    const auto usable = [&](const Candidate& c) { return !c.unreachable && c.fitness == fitness; };
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
    const auto end = std::stable_partition(candidates.begin(), candidates.end(), [&](const Candidate& c) {
      return usable(c) && !(only_local && !c.cluster->local) && !(only_remote && c.cluster->local);
    });
    return static_cast<std::size_t>(end - candidates.begin());
  }
  return 0;
}

}  // namespace isthmus
