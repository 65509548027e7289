// Which pod or node owns each address, and with which identity: the contents of the endpoint table.
//
// An owner (a pod, an ipcache address, or a node) claims its addresses. Where several owners of one cluster claim one
// address, the newest claim wins and a problem names both; but a claim with an identity takes precedence over an
// ipcache address without one. Of several clusters, who had it keeps it, before a restart too; of new ones the first by
// name; before all our own. Only entries that differ from what was published are published again. Thread: control.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/endpoint_nodes.h"
#include "control/compile/fleet.h"
#include "control/compile/incumbents.h"
#include "control/compile/views.h"
#include "control/model/model.h"
#include "control/policy/local_identities.h"
#include "dataplane/api/tables.h"

namespace isthmus {

// There are millions of these, so it is kept small: an address object is identified by the address itself and has an
// entry in owners_ only when it has a problem.
struct EndpointClaim {
  const ObjectKey* owner =
      nullptr;  // a key in owners_; for address objects, the key of their cluster in address_owners_
  ClusterId cluster;
  Identity identity;
};
struct EndpointAddress {
  EndpointClaim newest;  // the one in effect; owner is null when the address is unclaimed
  std::unique_ptr<std::vector<EndpointClaim>> older;
  ClusterId published_cluster;
  Identity published_identity;
  PeerId published_node = kNoPeer;
  bool published = false;
};

class EndpointSet {
 public:
  // `local` gets the pods of our cluster that have no CiliumEndpoint.
  EndpointSet(Realm realm, LocalIdentities& local) : realm_(realm), local_(local) {}

  // Who had which addresses that several clusters say, before a restart: each keeps it from when it says it again.
  void set_incumbents(const Incumbents& incumbents);
  // Ends that for what these clusters do not say: their hubs have said all that they have.
  void end_incumbents(const Model::Listed& listed);
  // Those that clusters other than ours have of several that say them: at most kMaxDisputed of each, the first ones.
  static constexpr std::size_t kMaxDisputed = 4096;
  [[nodiscard]] std::map<std::string, std::vector<IpAddress>> disputed() const;
  // True when disputed() may have changed since the last call.
  [[nodiscard]] bool take_disputes_changed() { return std::exchange(disputes_changed_, false); }

  // Re-evaluates the claims of one owner: a pod (kind kPod, also when its CiliumEndpoint changed), address or node.
  void refresh(const ObjectKey& owner, const Model& model, const Fleet& fleet);
  // Re-evaluates all owners, including those no longer in the model.
  void refresh_all(const Model& model, const Fleet& fleet);
  // Re-evaluates the owners of clusters whose id or prefixes changed, or that appeared or disappeared.
  void refresh_clusters(const std::set<std::string>& clusters, const Model& model, const Fleet& fleet);
  // Re-evaluates what other rules of admission may decide otherwise although it is in no prefix: nodes, and what was
  // left out.
  void refresh_ruled(const Model& model, const Fleet& fleet);
  // Re-evaluates the owners of addresses inside these prefixes, which may be another cluster's than before.
  void refresh_addresses(const std::vector<Prefix>& prefixes, const Model& model, const Fleet& fleet);
  // Re-evaluates the owners with this identity, after its CiliumIdentity objects changed.
  void refresh_identity(Identity number, const Model& model, const Fleet& fleet);
  // These may be at other nodes than before.
  void touch(std::span<const IpAddress> addresses) {
    touched_.insert(touched_.end(), addresses.begin(), addresses.end());
  }
  void touch_clusters(const std::set<std::string>& clusters);
  // Appends what changed since the last call, each address to one of the two lists. `nodes` says where they are.
  // Returns those that have another node than before.
  std::vector<IpAddress> take_changes(EndpointNodes& nodes, std::vector<EndpointEntry>& upsert,
                                      std::vector<IpAddress>& remove);
  // The node, as published, at which the address is reached; kNoPeer: by a gateway, or there is no such endpoint.
  [[nodiscard]] PeerId node_at(const IpAddress& address) const;

  void append_problems(const Model& model, std::vector<Problem>& problems) const;
  // Visits every endpoint with its owner, in no order, until `visit` returns false.
  void visit(const std::function<bool(const ObjectKey& owner, const EndpointEntry& entry)>& visit) const;
  // The same of those inside the prefix, in order of address.
  void visit_inside(const Prefix& prefix,
                    const std::function<void(const ObjectKey& owner, const EndpointEntry& entry)>& visit) const;
  // The cluster that has a pod or a node at the address; kNoCluster: none.
  [[nodiscard]] ClusterId cluster_at(const IpAddress& address) const;
  // Calls `visit` with the owner of the address, if it has one.
  void find(const IpAddress& address,
            const std::function<void(const ObjectKey& owner, const EndpointEntry& entry)>& visit) const;
  [[nodiscard]] std::size_t size() const { return published_; }
  struct PodCounts {
    std::size_t labelled = 0, unlabelled = 0;
  };
  // By cluster; a cluster without pods may be absent.
  [[nodiscard]] const std::map<ClusterId, PodCounts>& pod_counts() const { return pod_counts_; }
  // True when one of these counts became zero or nonzero since the last call.
  [[nodiscard]] bool take_pod_presence_changed() { return std::exchange(pod_presence_changed_, false); }

 private:
  using Claim = EndpointClaim;
  using Address = EndpointAddress;
  struct Owner {
    std::set<IpAddress> addresses;
    std::vector<IpAddress> misplaced;
    std::vector<Problem> problems;
  };
  using Desired = std::map<IpAddress, Identity>;

  // Visits all objects that may claim addresses, of one cluster or (null) of all.
  static void visit_owners(const Model& model, const std::string* cluster,
                           const std::function<void(const ObjectKey&)>& visit);
  // Owners that have claims or problems now, of these clusters or (null) of all.
  [[nodiscard]] std::vector<ObjectKey> current_owners(const std::set<std::string>* clusters) const;
  void refresh_address(const ObjectKey& key, const Model& model, const Fleet& fleet);
  // Replaces what misplaced_ has of the owner.
  void set_misplaced(const ObjectKey& owner, const std::vector<IpAddress>& before, const std::vector<IpAddress>& now);
  // Indexes the owner's problems; erases it when it has neither addresses nor problems.
  void update_owner(const ObjectKey& owner, const Owner& state);
  // Removes addresses outside the prefixes of the owner's cluster, with a problem for each.
  static void validate_locations(const ObjectKey& owner, const Model& model, const Fleet& fleet, Owner& state,
                                 Desired& now);
  [[nodiscard]] Desired desired(const ObjectKey& owner, const Model& model, const FleetCluster& cluster, Owner& state);
  // The identity to use for the identity `id` that the object at `provenance` states.
  [[nodiscard]] Identity checked_identity(const ObjectKey& owner, Identity id, const ProvenanceView& provenance,
                                          const FleetCluster& cluster, Owner& state);
  [[nodiscard]] Identity pod_identity(const ObjectKey& owner, const Model& model, const FleetCluster& cluster,
                                      Owner& state);
  [[nodiscard]] bool denied(const Model& model, Identity number) const;
  void claim(const ObjectKey& owner, const IpAddress& address, ClusterId cluster, Identity identity);
  // Of claims of several clusters that are new together, the lowest goes first: what every gateway sees alike.
  [[nodiscard]] std::pair<bool, const std::string&> order(const Claim& claim) const;
  // Whether another cluster's claim goes before the one in effect.
  [[nodiscard]] bool goes_before(const Claim& claim, const IpAddress& address, const Address& state) const;
  // Whether the cluster had it before a restart, and has not been published with it since.
  [[nodiscard]] bool is_incumbent(const IpAddress& address, const std::string& cluster) const;
  // Of clusters with more than kMaxDisputed: those beyond have no standing after a restart.
  void list_unkept(const Model& model, std::vector<Problem>& problems) const;
  void note_dispute(const IpAddress& address, const Address& state);
  void withdraw(const ObjectKey& owner, const IpAddress& address);
  // Puts the claim in effect into `newest` and records whether another claim conflicts with it.
  void resolve(const IpAddress& address, Address& state);
  // Where the claim in effect says that it is.
  [[nodiscard]] static PeerId node_of(const IpAddress& address, const Claim& claim, EndpointNodes& nodes);
  void count(const Address& state, int change);
  [[nodiscard]] EndpointEntry entry_of(const IpAddress& address, const Address& state) const;
  // The object behind a claim.
  [[nodiscard]] static ObjectKey owner_of(const IpAddress& address, const Claim& claim);

  Realm realm_;
  LocalIdentities& local_;
  ClusterBits bits_;
  ClusterId own_;  // our cluster
  std::map<ObjectKey, Owner> owners_;
  std::set<ObjectKey> address_owners_;  // one key per cluster, with an empty name
  std::set<ObjectKey> invalid_;         // owners with problems
  absl::btree_map<IpAddress, Address> addresses_;
  std::set<std::pair<IpAddress, ObjectKey>> misplaced_;  // left out because of where they lie, with their owners
  std::vector<IpAddress> touched_;                       // since the last take_changes(); may contain duplicates
  std::set<IpAddress> contested_;
  std::map<IpAddress, ClusterId> disputed_;                      // that several clusters say; who has them
  std::map<ClusterId, absl::btree_set<IpAddress>> disputed_of_;  // the same, by who has them
  std::map<IpAddress, std::string> incumbents_;  // clusters that have not said the address since the restart
  std::vector<IpAddress> returned_;              // that they have said again since the last take_changes()
  bool disputes_changed_ = false;
  std::set<Identity> denied_;
  std::size_t published_ = 0;
  std::map<ClusterId, PodCounts> pod_counts_;
  bool pod_presence_changed_ = false;
};

}  // namespace isthmus
