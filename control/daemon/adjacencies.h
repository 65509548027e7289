// The next hops of this gateway: which neighbour each is, kept resolved by the kernel and known to the engine.
//
// A neighbour is watched while something refers to it: the way to a peer, a local route, or a packet of late (the
// engine asked). Owner and thread: control only. Failure: what has no usable way is kNoAdjacency and listed as a
// problem.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
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

  // The next hop towards the underlay address of a peer, by the kernel's routes as they are now.
  [[nodiscard]] AdjacencyId towards_peer(const IpAddress& underlay);
  // Peers other than these are gone.
  void keep_peers(const std::set<IpAddress>& underlay);
  // The whole list of next hops that local routes name.
  void set_local(const std::set<std::pair<DeviceId, IpAddress>>& next_hops);
  [[nodiscard]] AdjacencyId next_hop(DeviceId device, const IpAddress& address) {
    return engine_.adjacency(device, address);
  }
  // A next hop that is known without asking: the other end of a veth pair.
  [[nodiscard]] AdjacencyId fixed(DeviceId device, const MacAddress& mac);

  // The engine has a packet for this neighbour.
  void wanted(const NeighbourWanted& neighbour, Clock::time_point now);
  void changed(const NeighbourChange& change);
  // Lets go of neighbours that packets asked for and nobody answered for.
  void expire(Clock::time_point now);

  [[nodiscard]] bool resolved(AdjacencyId id) const;
  [[nodiscard]] std::vector<Error> problems() const;

 private:
  using Neighbour = std::pair<DeviceId, IpAddress>;
  struct Watched {
    AdjacencyId adjacency;
    bool resolved = false;
    Clock::time_point unresolved_since;
  };
  struct Way {
    std::optional<Neighbour> next_hop;
    std::optional<Error> problem;
  };

  [[nodiscard]] Way find_way(const IpAddress& underlay);
  Watched& watch(const Neighbour& neighbour);
  // Unwatches what nothing refers to any more.
  void release_unused();

  Kernel& kernel_;
  Engine& engine_;
  DeviceId underlay_;
  std::vector<std::string> interfaces_;
  std::map<IpAddress, Way> peers_;         // by underlay address
  std::set<Neighbour> local_, on_demand_;  // who refers to a neighbour beside peers
  bool crowded_ = false;                   // on_demand_ is full
  std::map<Neighbour, Watched> watched_;
  std::set<AdjacencyId> fixed_;
};

}  // namespace isthmus
