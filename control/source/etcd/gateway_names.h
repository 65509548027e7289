// Under which names the gateways of all members are published: a name of the fleet is one gateway's.
//
// A gateway that is new gets the name that it asks for, or, where that is or was another cluster's, "<cluster>/<name>",
// which nobody can ask for; it keeps what it has got. A name that is given up stays its cluster's, so that no other
// cluster is put in its place. Who had a name before a restart is earlier than all that are read after it. Of one
// cluster's gateways that ask for the same name, the third is left out. A change costs what it changes. Owner:
// FleetRegistry. Thread: the etcd source's.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "control/model/objects.h"
#include "control/source/source.h"

namespace isthmus {

class GatewayNames {
 public:
  struct Gateway {
    GatewayObject object;
    std::string location;  // for provenance
    friend bool operator==(const Gateway&, const Gateway&) = default;
  };
  // Which gateway of a cluster: one that registered itself, by its name, or one of its Service, by address.
  using Id = std::tuple<std::string, bool, std::string>;  // cluster, of the Service, which

  // `own`: the name of this gateway, which no other one gets; may be empty.
  explicit GatewayNames(std::string own) : own_(std::move(own)) {}

  // What settle() publishes next.
  void put(const Id& id, const std::string& wanted, Gateway gateway);
  void remove(const Id& id);
  // The names that members had before the restart and have not said since.
  void set_known(const RestoredMembers& members);
  // Gives out names, and appends what is published otherwise than at the last call.
  void settle(std::vector<ObjectDelta>& out);

  [[nodiscard]] std::size_t left_out() const { return left_out_.size(); }
  // Of the first so many that are left out, ten of a cluster; returns their number.
  std::size_t append_problems(std::size_t most, std::vector<SourceProblem>& problems) const;

 private:
  struct Candidate {
    std::string wanted;
    Gateway gateway;
    std::string name{};  // empty: it has none
    [[nodiscard]] const std::string& cluster() const { return gateway.object.cluster; }
    [[nodiscard]] std::string full() const { return cluster() + "/" + wanted; }
  };
  using Known = std::map<std::string, std::pair<std::string, IpAddress>>;  // cluster and underlay, by name

  [[nodiscard]] bool had(const Candidate& candidate, const std::string& name) const;
  [[nodiscard]] bool is_free(const std::string& name, const std::string& cluster) const;
  void give(const Id& id, Candidate& candidate, const std::string& name);
  void assign(const Id& id, Candidate& candidate);
  void give_up(const std::string& name, const std::string& cluster);
  [[nodiscard]] std::string holder_of(const std::string& name) const;

  std::string own_;
  Known known_;
  std::map<Id, Candidate> candidates_;
  std::map<std::string, Id> holders_;                        // by name
  std::map<std::string, std::string> former_;                // cluster, by a name that it has given up
  std::map<std::string, std::deque<std::string>> given_up_;  // the same names by cluster, the last one at the end
  std::set<Id> fresh_;                                       // that have not been given a name yet
  std::set<Id> left_out_;                                    // that got none
  std::set<std::string> touched_;                            // names, since the last settle()
  std::map<std::string, Gateway> published_;                 // by name
};

}  // namespace isthmus
