// Which pods stand behind a port of a global service, and which of them take new flows. Pure functions.
//
// A candidate is active (ready, not terminating, weight above 0), or drains: it keeps its flows and takes no new ones.
// Terminating pods that still serve take new flows only when no active one is left (KEP-1669). Pods that neither are
// ready nor serve while they terminate do not stand at all.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "control/compile/fleet.h"
#include "control/model/model.h"

namespace isthmus {

enum class Fitness : std::uint8_t { kActive, kTerminating, kDrained };

struct Candidate {
  IpAddress address;
  L4Port port;
  const FleetCluster* cluster = nullptr;
  Fitness fitness = Fitness::kActive;
  std::uint16_t weight = 0;
  bool silent = false;  // no gateway of its cluster answers
};

// The ports a slice offers for a Service port: those of its protocol and name. An unnamed Service port takes an unnamed
// one, or else the only one of its protocol.
[[nodiscard]] std::vector<L4Port> matching_ports(const SliceObject& slice, const ServicePort& port);

// The candidates of one cluster for a port and family, one per address and L4 port (of several, the fittest), appended.
// Addresses outside the cluster's prefixes are left out and collected in `strays`.
void append_candidates(const std::vector<Model::Found<SliceObject>>& slices, const ServicePort& port, Family family,
                       const Fleet& fleet, const FleetCluster& cluster, bool silent, std::vector<Candidate>& candidates,
                       std::set<IpAddress>& strays);

// Puts those that take new flows first, both parts by address and port; returns how many these are. `affinity` is our
// own cluster's: local or remote ones alone, while there are any that could take flows.
[[nodiscard]] std::size_t choose(std::vector<Candidate>& candidates, ServiceAffinity affinity);

}  // namespace isthmus
