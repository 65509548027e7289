// Tunnel ends with their numbers: the gateways of all clusters but ourselves, and the nodes of other clusters (which
// may send to us). One per cluster and underlay address; a node that is a gateway counts as the gateway. Thread:
// control.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/compiler.h"
#include "control/compile/fleet.h"
#include "control/compile/id_pool.h"
#include "control/model/model.h"

namespace isthmus {

class PeerTable {
 public:
  // Brings the table up to fleet and nodes and writes what changed. `ask_again`: also where the next hop is known.
  // True when anything changed.
  bool update(const Model& model, const Fleet& fleet, const Compiler::NextHop& next_hop, bool ask_again,
              TableDelta& delta);

  [[nodiscard]] PeerId id_of(const std::string& cluster, const IpAddress& underlay) const;  // kNoPeer: none
  [[nodiscard]] std::vector<PeerView> views(const std::set<PeerId>& silent) const;          // by id
  [[nodiscard]] bool has_route(PeerId id) const;
  [[nodiscard]] std::string name_of(PeerId id) const;
  [[nodiscard]] const std::vector<Problem>& problems() const { return problems_; }

 private:
  using Key = std::pair<std::string, IpAddress>;  // cluster, underlay
  struct Wanted {
    ClusterId cluster;
    L4Port port;
    bool gateway = false;
    std::string name, place;
  };
  struct Known {
    PeerEntry entry;
    std::string name;
  };

  std::map<Key, Wanted> wanted(const Model& model, const Fleet& fleet);
  void add_nodes(const Model& model, const Fleet& fleet, std::map<Key, Wanted>& wanted);
  void check_routes(const Fleet& fleet);

  std::map<Key, Known> peers_;
  std::map<PeerId, Key> by_id_;
  IdPool<PeerId> ids_{1024};
  std::vector<Problem> problems_;
};

}  // namespace isthmus
