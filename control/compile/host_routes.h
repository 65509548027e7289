// Routes to endpoints that are in no prefix of their cluster: /32 and /128, as Cilium has them in its ip cache, merged
// where all addresses of a longer block are there.
//
// The engine needs none of these: it finds such endpoints one by one in its endpoint table. They are for what comes
// before it, the kernel's routes and the steering programs. Of other clusters only pods have one, and no more per
// cluster than admission allows prefixes; the kernel itself reaches their nodes. Of our own cluster all have one, its
// gateways' nodes too, so that what its nodes and pods send is taken. A change costs the length of an address; the list
// of a cluster is made anew when it changes. Thread: control.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/compile/fleet.h"
#include "dataplane/api/tables.h"

namespace isthmus {

class HostRoutes {
 public:
  // Takes what was published. Only endpoints outside all prefixes of the fleet are kept.
  void update(std::span<const EndpointEntry> upsert, std::span<const IpAddress> remove, const Fleet& fleet);
  // Forgets all: the fleet's prefixes have changed, and what is published is to be told again.
  void clear();
  // Brings the lists up to date. True: one has changed since the last call.
  bool settle(const Fleet& fleet);

  [[nodiscard]] const std::vector<Prefix>& of(ClusterId cluster) const;
  [[nodiscard]] const std::vector<Problem>& problems() const { return problems_; }
  [[nodiscard]] bool empty() const { return at_.empty(); }

 private:
  struct Cluster {
    std::set<Prefix> blocks;  // as few as there can be
    std::vector<Prefix> routes;
    bool changed = false;
  };
  void put(ClusterId cluster, const IpAddress& address);
  void remove(const IpAddress& address);
  // Of the blocks as many as are allowed, those that had a route before the others.
  [[nodiscard]] static std::vector<Prefix> first_of(const Cluster& cluster, std::size_t most);

  std::map<ClusterId, Cluster> clusters_;
  std::unordered_map<IpAddress, ClusterId> at_;
  std::vector<Problem> problems_;
};

}  // namespace isthmus
