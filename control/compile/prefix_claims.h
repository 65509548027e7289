// The prefixes that clusters claim for their pods and nodes: what is admitted (control/admission), and who has what.
//
// In a conflict our own cluster wins, then whichever had the prefix in the previous fleet, then Cluster objects before
// nodes. A prefix of pods never covers the tunnel end of another cluster, unless it was there before that. Part of
// build_fleet(). Thread: control.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/compiler.h"
#include "control/compile/fleet.h"
#include "control/model/model.h"

namespace isthmus {

class PrefixClaims {
 public:
  // All outlive it; `previous` may be null.
  PrefixClaims(const Model& model, const CompilerOptions& options, const Fleet* previous, Fleet& fleet)
      : model_(model), options_(options), previous_(previous), fleet_(fleet) {}

  // Fills in `ranges` and the clusters' prefixes, and reports what is left out.
  void settle();
  // The prefix of pods that contains the address, for messages.
  [[nodiscard]] std::optional<std::string> pods_at(const IpAddress& address) const;

 private:
  struct Claim {
    Prefix prefix;
    std::string cluster, where;
    int rank;  // lowest wins: 0 our own, 1 had it in the previous fleet, 2 from a Cluster object, 3 from a Node
    bool pods = false;
  };
  // The end of a tunnel, where packets must not be tunnelled to themselves.
  struct TunnelEnd {
    IpAddress address;
    std::string gateway, cluster;
    bool incumbent;  // in the previous fleet, or our own
    friend bool operator<(const TunnelEnd& a, const TunnelEnd& b) { return a.address < b.address; }
  };
  // By prefix. Disjoint, so sorting by first address also sorts by last address.
  using Accepted = std::map<Prefix, Claim>;
  // Claims of one cluster that are refused for one reason.
  struct Refused {
    std::string first, where;
    std::size_t more = 0;
  };

  [[nodiscard]] bool had_prefix(const std::string& cluster, const Prefix& prefix) const;
  // Whether the claim may be made at all. Reports what may not, by cluster and reason.
  [[nodiscard]] bool admit(const Claim& claim);
  // Of another cluster's gateway, unless the prefix stood before the gateway came; where both are new, the lower
  // cluster id stands, so that all gateways decide alike.
  [[nodiscard]] std::string tunnel_end_inside(const Claim& claim) const;
  void find_tunnel_ends();
  void report_refused();
  // Of each cluster as many as the limit allows, those that it had before the others.
  void limit(Accepted& accepted);
  // False: it is left out.
  bool accept(Accepted& accepted, const Claim& claim);
  void problem(std::string where, std::string what, std::string fix);

  const Model& model_;
  const CompilerOptions& options_;
  const Fleet* previous_;
  Fleet& fleet_;
  std::vector<TunnelEnd> ends_;                                     // by address
  std::map<std::pair<std::string, std::string>, Refused> refused_;  // by cluster and reason
  Accepted pods_;                                                   // of all clusters
};

}  // namespace isthmus
