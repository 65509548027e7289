// Which clusters and gateways there are, who is linked with us, and whose each address is: the part of the tables that
// everything else is judged by. Plain values, built afresh when a fleet object changed.
// Thread: control. What clashes is left out with a problem; who had a number or prefix before keeps it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/compile/compiler.h"
#include "control/model/model.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct FleetGateway {
  std::string name;
  IpAddress underlay;
  L4Port port;
  std::string place;  // where its object stands
};

struct FleetCluster {
  std::string name;
  ClusterId id;
  bool local = false, linked = false;
  std::vector<Prefix> prefixes;        // pods and nodes, outermost only, sorted; disjoint from other clusters'
  std::vector<FleetGateway> gateways;  // by name; ours among them
  std::string place;
};

struct Fleet {
  std::map<std::string, FleetCluster> clusters;  // by name; those that are fit for use
  OwnGateway own;
  std::vector<Problem> problems;

  [[nodiscard]] const FleetCluster* find(const std::string& name) const;
  [[nodiscard]] const FleetCluster* find(ClusterId id) const;
  // Whose address it is by prefix, or nobody's (null).
  [[nodiscard]] const FleetCluster* owner(const IpAddress& address) const;
  // The gateway with that underlay address, as "gateway west-1", or nothing.
  [[nodiscard]] std::optional<std::string> gateway_at(const IpAddress& address) const;

  struct Range {
    Prefix prefix;
    std::string cluster;
  };
  std::vector<Range> ranges;  // of all clusters, by address; disjoint
};

// `own` is what the engine was started with; `previous` the fleet as it was (null at first). An own cluster or gateway
// whose object went missing, or moved what cannot move under a running engine, stays as it was.
[[nodiscard]] Fleet build_fleet(const Model& model, const CompilerOptions& options, const OwnGateway& own,
                                const Fleet* previous);

}  // namespace isthmus
