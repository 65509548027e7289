#include "control/daemon/adjacencies.h"

#include <algorithm>

namespace isthmus {
namespace {

// Bounds for neighbours on a device's link that packets ask for: how many, and how long one may stay unresolved.
constexpr std::size_t kMaxOnDemand = 65536;
constexpr auto kResolveTimeout = std::chrono::seconds(30);

}  // namespace

Adjacencies::PeerRoute Adjacencies::find_route(const IpAddress& underlay) {
  const std::string where = "peer " + underlay.to_string();
  const std::string& interface = interfaces_[underlay_.value()];
  const auto hop = kernel_.next_hop(underlay);
  if (!hop) {
    return {std::nullopt, Error{hop.error().what, where, hop.error().fix}};
  }
  if (hop->is_local) {
    return {std::nullopt, Error{"the peer's underlay address is one of this node's own", where,
                                "correct spec.underlayAddress of its Gateway object"}};
  }
  if (hop->interface != interface) {
    return {
        std::nullopt,
        Error{"the kernel's route to this peer leaves by " + hop->interface + ", not by the underlay device", where,
              "correct the route to leave by " + interface + ", or name the other interface under devices.underlay"}};
  }
  return {Neighbour{underlay_, hop->address}, std::nullopt};
}

AdjacencyId Adjacencies::towards_peer(const IpAddress& underlay) {
  PeerRoute route = find_route(underlay);
  const AdjacencyId adjacency = route.next_hop ? watch(*route.next_hop).adjacency : kNoAdjacency;
  peers_[underlay] = std::move(route);
  return adjacency;
}

void Adjacencies::keep_peers(const std::set<IpAddress>& underlay) {
  std::erase_if(peers_, [&](const auto& entry) { return underlay.count(entry.first) == 0; });
  release_unused();
}

void Adjacencies::set_local(const std::set<std::pair<DeviceId, IpAddress>>& next_hops) {
  local_ = next_hops;
  for (const Neighbour& neighbour : local_) {
    watch(neighbour);
  }
  release_unused();
}

AdjacencyId Adjacencies::fixed(DeviceId device, const MacAddress& mac) {
  const AdjacencyId adjacency = engine_.adjacency(device, IpAddress{});
  engine_.set_adjacency(adjacency, mac);
  fixed_.insert(adjacency);
  return adjacency;
}

void Adjacencies::request(const NeighbourRequest& neighbour, Clock::time_point now) {
  if (neighbour.device.value() >= interfaces_.size()) {
    return;
  }
  const Neighbour key{neighbour.device, neighbour.address};
  if (on_demand_.count(key) != 0) {
    return;
  }
  on_demand_full_ = on_demand_.size() >= kMaxOnDemand;
  if (on_demand_full_) {
    return;
  }
  on_demand_.insert(key);
  Watched& watched = watch(key);
  if (!watched.resolved) {
    watched.unresolved_since = now;
  }
}

void Adjacencies::changed(const NeighbourChange& change) {
  for (std::size_t device = 0; device < interfaces_.size(); ++device) {
    if (interfaces_[device] != change.interface) {
      continue;
    }
    const auto found = watched_.find({DeviceId{static_cast<std::uint8_t>(device)}, change.address});
    if (found != watched_.end()) {
      engine_.set_adjacency(found->second.adjacency, change.mac);
      found->second.resolved = change.mac.has_value();
      found->second.unresolved_since = Clock::now();
    }
  }
}

void Adjacencies::expire(Clock::time_point now) {
  std::erase_if(on_demand_, [&](const Neighbour& neighbour) {
    const auto found = watched_.find(neighbour);
    return found == watched_.end() ||
           (!found->second.resolved && now - found->second.unresolved_since > kResolveTimeout);
  });
  on_demand_full_ = on_demand_.size() >= kMaxOnDemand;
  release_unused();
}

bool Adjacencies::resolved(AdjacencyId id) const {
  return fixed_.count(id) != 0 || std::any_of(watched_.begin(), watched_.end(), [id](const auto& entry) {
           return entry.second.adjacency == id && entry.second.resolved;
         });
}

std::vector<Error> Adjacencies::problems() const {
  std::vector<Error> problems;
  for (const auto& [underlay, route] : peers_) {
    if (route.problem) {
      problems.push_back(*route.problem);
    }
  }
  if (on_demand_full_) {
    problems.push_back(
        {"packets go to more neighbours than are resolved on demand (" + std::to_string(kMaxOnDemand) + ")",
         interfaces_[underlay_.value()],
         "check whether this cluster's addresses are being scanned: isthmus connections"});
  }
  return problems;
}

Adjacencies::Watched& Adjacencies::watch(const Neighbour& neighbour) {
  const auto [entry, fresh] = watched_.try_emplace(neighbour);
  if (fresh) {
    entry->second.adjacency = engine_.adjacency(neighbour.first, neighbour.second);
    entry->second.unresolved_since = Clock::now();
    kernel_.watch_neighbour(interfaces_[neighbour.first.value()], neighbour.second);
  }
  return entry->second;
}

void Adjacencies::release_unused() {
  std::set<Neighbour> used = local_;
  used.insert(on_demand_.begin(), on_demand_.end());
  for (const auto& [underlay, route] : peers_) {
    if (route.next_hop) {
      used.insert(*route.next_hop);
    }
  }
  std::erase_if(watched_, [&](const auto& entry) {
    if (used.count(entry.first) != 0) {
      return false;
    }
    kernel_.unwatch_neighbour(interfaces_[entry.first.first.value()], entry.first.second);
    engine_.set_adjacency(entry.second.adjacency, std::nullopt);
    return true;
  });
}

}  // namespace isthmus
