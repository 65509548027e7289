// The prefixes that clusters claim for their pods and nodes: what is admitted (control/admission), and who has what.
//
// Of claims that overlap, our own cluster's go first, then those of a cluster that had the prefix before, then new
// ones: of Cluster objects before nodes; one that takes in claims of several other clusters after the others, since it
// is the mistake more likely than they are; and the lower cluster id before the higher one, which every gateway of the
// fleet sees alike. What a cluster has had stays when it claims more around it and is refused that. A prefix of pods
// never covers the tunnel end of another cluster, unless it was there before that. Where no object of a cluster claims
// pods of a family, what is allowed to it by name is its claim. What a cluster has beyond its limit is used by nobody
// and in nobody's way.
//
// A change costs its own share: what it touches is decided again, and what was refused because of it. The outcome is
// that of a rebuild() from the fleet as it was, but where very low limits interlock (kMaxTurns). Part of FleetBuilder.
// Thread: control.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "control/compile/compiler.h"
#include "control/compile/fleet.h"
#include "control/compile/prefix_map.h"
#include "control/model/model.h"

namespace isthmus {

class PrefixClaims {
 public:
  // Both outlive it.
  PrefixClaims(const Model& model, const CompilerOptions& options) : model_(model), options_(options) {}

  // Takes all claims of the model from anew. `fleet` has its clusters and its admission; of those that `previous` (may
  // be null) has, the prefixes are those that they had, which are replaced. Fills in `ranges`.
  void rebuild(Fleet& fleet, const Fleet* previous);
  // These Cluster and Node objects have changed, and what lies at these addresses may be admitted or not since the last
  // call. The clusters are those of the last rebuild().
  // Returns the prefixes that a cluster has got or lost; adds the clusters that may have to `addressed`.
  [[nodiscard]] std::vector<Prefix> update(Fleet& fleet, const std::set<ObjectKey>& objects,
                                           const std::vector<IpAddress>& addresses, std::set<std::string>& addressed);
  // The gateways of the fleet are settled: those that have a place in it stand, before later claims. True: some are
  // others than before, and the next update() decides again what that concerns.
  bool settle_tunnel_ends(const Fleet& fleet);
  // True when the last update() has changed who has pods at some gateway's address.
  [[nodiscard]] bool gateways_touched() const { return gateways_touched_; }

  // The clusters that by the last update() claim prefixes for pods of a family and did not, or the reverse.
  [[nodiscard]] const std::set<std::string>& turned_clusters() const { return turned_clusters_; }

  // The prefix of pods that contains the address, for messages.
  [[nodiscard]] std::optional<std::string> pods_at(const IpAddress& address);
  // Whether some of the prefix is what the cluster claims and is refused, and so among the problems.
  [[nodiscard]] bool refused_in(const Prefix& prefix, const std::string& cluster);
  void append_problems(const Fleet& fleet, std::vector<Problem>& problems);

 private:
  struct Claim {
    const ObjectKey* by;      // the Cluster or Node object, a key in by_object_; null: kept without an object
    bool pods, from_cluster;  // of pods, or of nodes; by a Cluster object
    std::string refused{};    // why it is not admitted
  };
  // All that one cluster claims at one prefix.
  struct Entry {
    std::string cluster;
    std::vector<Claim> claims{};
    std::string stays{};  // why it would be refused if it were new
    bool kept = false;    // the cluster had it and now claims more around it
    bool admitted = false, pods = false;
    bool accepted = false;  // no other cluster's is in its way
    bool over = false;      // beyond the limit of its cluster
    bool queued = false;
  };
  // What of pods one cluster claims by objects, by family.
  struct Named {
    std::array<std::size_t, 2> claims{};
    [[nodiscard]] std::size_t& of(Family family) { return claims[family == Family::kIpv4 ? 0 : 1]; }
  };
  using Entries = std::vector<Entry>;
  using Name = std::pair<Prefix, std::string>;  // prefix, cluster
  // The lowest goes first; see above, and what is beyond a limit last. Two of different clusters are never equal.
  using Order = std::tuple<int, bool, ClusterId>;
  // The end of a tunnel, where packets must not be tunnelled to themselves.
  struct TunnelEnd {
    IpAddress address;
    std::string gateway, cluster;
    bool incumbent;  // in the fleet, or our own
    friend bool operator<(const TunnelEnd& a, const TunnelEnd& b) { return a.address < b.address; }
  };

  void find_tunnel_ends();
  [[nodiscard]] bool has_tunnel_end(const Prefix& prefix) const;
  void add(const ObjectKey& object, const std::string& cluster, const std::vector<Prefix>& prefixes, bool pods);
  bool replace(const ObjectKey& object);
  void withdraw(const ObjectKey& object);
  void allow_by_name(FleetCluster& cluster);
  void keep_what_stood();
  [[nodiscard]] bool grown_around(const Name& name);
  void decide();
  void run_queue();
  void decide_one(const Name& name, const Order& order);
  void settle(std::set<std::string>& clusters, std::vector<Prefix>& moved);
  void settle_once(std::set<std::string>& clusters, std::vector<Prefix>& moved);
  void update_accepted(const Name& name);
  // Of clusters that have got or lost prefixes: what goes beyond their limits, and no longer does. What that lets
  // others have is in queue_ then.
  void apply_limits();
  [[nodiscard]] std::vector<Prefix> beyond_limit(const std::string& cluster);
  void set_over(const Name& name, Entry& entry);
  [[nodiscard]] std::set<Name> take_cut();
  void enqueue_waiting(const std::string& cluster);
  [[nodiscard]] std::vector<Prefix> used_of(const std::string& cluster) const;

  [[nodiscard]] Entry* find(const Name& name);
  void enqueue(const Prefix& prefix, Entry& entry);
  void enqueue_refused_at(const Prefix& prefix);
  void set_accepted(const Prefix& prefix, Entry& entry, bool accepted);
  void admit(const Prefix& prefix, Entry& entry);
  // Why the claim is not admitted: empty if it is.
  [[nodiscard]] std::string refusal(const Prefix& prefix, Entry& entry, const Claim& claim, int rank);
  // Of another cluster's gateway, unless the prefix stood before the gateway came; where both are new, the lower
  // cluster id stands, so that all gateways decide alike.
  [[nodiscard]] std::string tunnel_end_inside(const Prefix& prefix, const Entry& entry, int rank) const;
  void list_refusal(const Prefix& prefix, const Entry& entry, const Claim& claim, bool listed);
  void forget_if_empty(const Name& name);

  [[nodiscard]] bool had(const std::string& cluster, const Prefix& prefix) const;
  // 0 our own, 1 had before, 2 from a Cluster object, 3 from a Node.
  [[nodiscard]] int rank_of(const Prefix& prefix, const Entry& entry, const Claim& claim) const;
  [[nodiscard]] int rank_of(const Prefix& prefix, const Entry& entry) const;  // the lowest of its admitted claims
  // Precondition: the entry is admitted.
  [[nodiscard]] Order order_of(const Prefix& prefix, const Entry& entry);
  [[nodiscard]] bool takes_in_several(const Prefix& prefix, const Entry& entry);
  [[nodiscard]] std::string where(const ObjectKey* object) const;
  [[nodiscard]] std::string where(const Entry& entry) const;
  [[nodiscard]] const std::vector<Prefix>& had_of(const std::string& cluster) const;
  void list_overlap(const Fleet& fleet, const Name& name, std::vector<Problem>& problems);

  const Model& model_;
  const CompilerOptions& options_;
  Fleet* fleet_ = nullptr;               // during a call
  const Fleet* previous_ = nullptr;      // during a call: whose clusters had the prefixes that they had
  std::vector<TunnelEnd> ends_;          // by address
  std::vector<IpAddress> changed_ends_;  // whose place in the fleet has changed since the last update()
  bool gateways_touched_ = false;
  std::map<std::string, Named> named_;  // by cluster
  std::set<std::string> turned_clusters_;

  PrefixMap<Entries> entries_;
  std::map<ObjectKey, std::vector<Prefix>> by_object_;
  std::set<std::pair<Order, Name>> queue_;
  std::set<Name> touched_;                            // entries with other claims than before
  std::map<Name, bool> turned_;                       // accepted before, of those that were or are no longer
  std::set<Name> fresh_;                              // those of turned_ that accepted_ does not know yet
  std::map<std::string, std::set<Prefix>> accepted_;  // by cluster, without those inside others
  std::map<std::string, std::vector<Prefix>> over_;   // of those, beyond its limit; sorted
  std::set<Name> cut_;                                // that have come to be beyond it during decide()
  std::map<std::string, std::set<Prefix>> waiting_;   // by cluster, that others have since it was beyond the limit
  std::set<Name> left_out_;                           // admitted, and another cluster's is in the way
  std::set<Name> kept_, staying_;
  std::set<Name> lost_;  // no longer stand, and may not be admitted any more: to be decided again
  std::map<std::pair<std::string, std::string>, std::multimap<Prefix, const ObjectKey*>>
      refused_;                              // by cluster, reason
  std::map<std::string, Problem> too_many_;  // by cluster
};

// " (alias of 10.1.0.0/16)", where that is what the prefix of the cluster is; else empty.
[[nodiscard]] std::string alias_note(const Fleet& fleet, const std::string& cluster, const Prefix& prefix);

}  // namespace isthmus
