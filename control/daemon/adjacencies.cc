#include "control/daemon/adjacencies.h"

#include <algorithm>
#include <utility>

namespace isthmus {
namespace {

// Bounds for neighbours on a device's link that packets ask for: how many, how many of them may be unresolved (the
// kernel's neighbour table is small: gc_thresh3, 1024 by default), and how long one may stay so. From half of the first
// on, those in use are told from those that are not, some at a time.
constexpr std::size_t kMaxOnDemand = 32768, kMaxUnanswered = 512, kIdleChecks = 1024;
constexpr auto kResolveTimeout = std::chrono::seconds(10);
// How long the engine keeps a next hop of its own that nobody asked for.
constexpr Seconds kUnclaimed{30};

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
  set_route(underlay, std::move(route));
  unpublished_ = true;
  return adjacency;
}

void Adjacencies::forget_peers(std::span<const IpAddress> underlay) {
  for (const IpAddress& address : underlay) {
    set_route(address, {});
    peers_.erase(address);
  }
  unpublished_ = true;
}

void Adjacencies::set_route(const IpAddress& underlay, PeerRoute route) {
  PeerRoute& now = peers_[underlay];
  if (route.next_hop) {
    ++hops_[*route.next_hop];
  }
  if (now.next_hop) {
    give_up(*now.next_hop);
    if (--hops_.at(*now.next_hop) == 0) {
      hops_.erase(*now.next_hop);
    }
  }
  if (route.problem) {
    without_route_.insert(underlay);
  } else {
    without_route_.erase(underlay);
  }
  now = std::move(route);
}

bool Adjacencies::is_used(const Neighbour& neighbour) const {
  return hops_.contains(neighbour) || local_.contains(neighbour) || on_demand_.contains(neighbour);
}

void Adjacencies::set_local(const std::set<std::pair<DeviceId, IpAddress>>& next_hops) {
  std::for_each(local_.begin(), local_.end(), [&](const Neighbour& neighbour) { give_up(neighbour); });
  local_ = next_hops;
  for (const Neighbour& neighbour : local_) {
    watch(neighbour);
  }
  unpublished_ = true;
}

void Adjacencies::published() {
  if (unpublished_) {
    unpublished_ = false;
    release_unused();
  }
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
  asked_.push_back(key);
  if (asked_.size() > kMaxUnanswered) {
    forget_oldest_unanswered();
  }
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

void Adjacencies::forget_oldest_unanswered() {
  const Neighbour oldest = asked_.front();
  asked_.pop_front();
  const auto found = watched_.find(oldest);
  if (found == watched_.end() || found->second.resolved || on_demand_.erase(oldest) == 0) {
    return;
  }
  if (unpublished_ || is_used(oldest)) {
    give_up(oldest);
    return;
  }
  unwatch(oldest, found->second);
  watched_.erase(found);
}

void Adjacencies::unwatch(const Neighbour& neighbour, const Watched& watched) {
  kernel_.unwatch_neighbour(interfaces_[neighbour.first.value()], neighbour.second);
  engine_.release_adjacency(watched.adjacency);
}

void Adjacencies::forget_idle() {
  auto at = idle_cursor_ ? on_demand_.upper_bound(*idle_cursor_) : on_demand_.begin();
  for (std::size_t checked = 0; checked < kIdleChecks && at != on_demand_.end(); ++checked) {
    idle_cursor_ = *at;
    Watched& watched = watched_.at(*at);
    const bool used = engine_.take_adjacency_used(watched.adjacency);
    const bool idle = watched.use_asked && watched.resolved && !used;
    watched.use_asked = true;
    if (idle) {
      give_up(*at);
    }
    at = idle ? on_demand_.erase(at) : std::next(at);
  }
  if (at == on_demand_.end()) {
    idle_cursor_.reset();
  }
}

void Adjacencies::expire(Clock::time_point now) {
  engine_.age_adjacencies(kUnclaimed);
  std::erase_if(on_demand_, [&](const Neighbour& neighbour) {
    const auto found = watched_.find(neighbour);
    const bool expired =
        found == watched_.end() || (!found->second.resolved && now - found->second.unresolved_since > kResolveTimeout);
    if (expired) {
      give_up(neighbour);
    }
    return expired;
  });
  if (on_demand_.size() >= kMaxOnDemand / 2) {
    forget_idle();
  }
  std::erase_if(asked_, [&](const Neighbour& neighbour) { return on_demand_.count(neighbour) == 0; });
  on_demand_full_ = on_demand_.size() >= kMaxOnDemand;
  release_unused();
}

std::set<AdjacencyId> Adjacencies::resolved() const {
  std::set<AdjacencyId> ids = fixed_;
  for (const auto& [neighbour, watched] : watched_) {
    if (watched.resolved) {
      ids.insert(watched.adjacency);
    }
  }
  return ids;
}

std::vector<Error> Adjacencies::problems() const {
  std::vector<Error> problems;
  for (const IpAddress& underlay : without_route_) {
    problems.push_back(*peers_.at(underlay).problem);
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
  const std::string& interface = interfaces_[neighbour.first.value()];
  if (entry->second.adjacency == kNoAdjacency) {  // new, or the engine's table was full
    entry->second.adjacency = engine_.adjacency(neighbour.first, neighbour.second);
    engine_.set_adjacency(entry->second.adjacency, kernel_.neighbour(interface, neighbour.second));
  }
  if (fresh) {
    entry->second.unresolved_since = Clock::now();
    kernel_.watch_neighbour(interface, neighbour.second);
  }
  return entry->second;
}

void Adjacencies::release_unused() {
  if (unpublished_) {
    return;
  }
  for (const Neighbour& neighbour : std::exchange(given_up_, {})) {
    const auto found = watched_.find(neighbour);
    if (found != watched_.end() && !is_used(neighbour)) {
      unwatch(neighbour, found->second);
      watched_.erase(found);
    }
  }
}

}  // namespace isthmus
