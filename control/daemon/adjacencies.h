// The next hops of this gateway: finds the neighbour of each, has the kernel keep it resolved, tells the engine.
//
// A neighbour is watched while something refers to it: the route to a peer, a local route, or a packet (the engine
// asked). Those asked for are released when they do not answer, the oldest first where there are many, and when many
// that answer are kept, those that no decision of the engine needs. Owner and thread: control only. Failure: a
// destination without a usable route is kNoAdjacency and listed as a problem.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/kernel/kernel.h"
#include "dataplane/api/engine.h"

namespace isthmus {

class Adjacencies {
 public:
  using Clock = std::chrono::steady_clock;

  // Both must outlive this. `interfaces` by device id.
  Adjacencies(Kernel& kernel, Engine& engine, DeviceId underlay, std::vector<std::string> interfaces)
      : kernel_(kernel), engine_(engine), underlay_(underlay), interfaces_(std::move(interfaces)) {}

  // The engine's tables may refer to what these three give up, until published() is called.
  // The next hop towards the underlay address of a peer, by the kernel's present routes.
  [[nodiscard]] AdjacencyId towards_peer(const IpAddress& underlay);
  // These peers are no more.
  void forget_peers(std::span<const IpAddress> underlay);
  // All next hops of local routes; replaces the earlier ones.
  void set_local(const std::set<std::pair<DeviceId, IpAddress>>& next_hops);
  [[nodiscard]] AdjacencyId next_hop(DeviceId device, const IpAddress& address) {
    return engine_.adjacency(device, address);
  }
  // A next hop whose MAC address is known: the other end of a veth pair.
  [[nodiscard]] AdjacencyId fixed(DeviceId device, const MacAddress& mac);

  // The engine has taken over the tables that refer to peers and local routes as they are now.
  void published();

  // The engine has a packet for this neighbour.
  void request(const NeighbourRequest& neighbour, Clock::time_point now);
  void changed(const NeighbourChange& change);
  // Releases neighbours that packets asked for and that do not answer, or are not needed any more.
  void expire(Clock::time_point now);

  // With a known MAC address.
  [[nodiscard]] std::set<AdjacencyId> resolved() const;
  [[nodiscard]] std::vector<Error> problems() const;

 private:
  using Neighbour = std::pair<DeviceId, IpAddress>;
  struct Watched {
    AdjacencyId adjacency;
    bool resolved = false;
    bool use_asked = false;  // the engine has been asked once whether it is in use
    Clock::time_point unresolved_since;
  };
  struct PeerRoute {
    std::optional<Neighbour> next_hop;
    std::optional<Error> problem;
  };

  [[nodiscard]] PeerRoute find_route(const IpAddress& underlay);
  Watched& watch(const Neighbour& neighbour);
  // Forgets resolved neighbours that packets asked for and no decision needs.
  void forget_idle();
  void forget_oldest_unanswered();
  void unwatch(const Neighbour& neighbour, const Watched& watched);
  void set_route(const IpAddress& underlay, PeerRoute route);
  // Something refers to it no more.
  void give_up(const Neighbour& neighbour) { given_up_.insert(neighbour); }
  [[nodiscard]] bool is_used(const Neighbour& neighbour) const;
  // Unwatches neighbours that nothing refers to any more.
  void release_unused();

  Kernel& kernel_;
  Engine& engine_;
  DeviceId underlay_;
  std::vector<std::string> interfaces_;
  std::map<IpAddress, PeerRoute> peers_;   // by underlay address
  std::set<IpAddress> without_route_;      // of these, those with a problem
  std::map<Neighbour, std::size_t> hops_;  // how many of these go through it; none is 0
  std::set<Neighbour> given_up_;           // by one that referred to it, since the last release_unused()
  std::set<Neighbour> local_, on_demand_;  // neighbours in use beside those of peers
  std::deque<Neighbour> asked_;            // of on_demand_, in order; those that have answered too
  std::optional<Neighbour> idle_cursor_;
  bool on_demand_full_ = false;
  bool unpublished_ = false;
  std::map<Neighbour, Watched> watched_;
  std::set<AdjacencyId> fixed_;
};

}  // namespace isthmus
