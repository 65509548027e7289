// Which address belongs to which pod or node, under which identity: what goes into the endpoint table.
//
// Thread: control. An owner (a pod, an address of an ipcache, or a node) claims its addresses; of two claims of one
// address the newer counts, and a problem names both; but what a hub knows by its labels goes before what another only
// knows by its address. Entries are published only where they differ from what was published before.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/compile/fleet.h"
#include "control/compile/views.h"
#include "control/model/model.h"
#include "dataplane/api/tables.h"

namespace isthmus {

class EndpointSet {
 public:
  explicit EndpointSet(Realm realm) : realm_(realm) {}

  // Judges again what a pod (kind kPod, also for its CiliumEndpoint), an address or a node claims.
  void refresh(const ObjectKey& owner, const Model& model, const Fleet& fleet);
  // All owners, those that are gone included: after the fleet's addressing changed.
  void refresh_all(const Model& model, const Fleet& fleet);
  // Those of some clusters, whose addressing changed, came or went.
  void refresh_clusters(const std::set<std::string>& clusters, const Model& model, const Fleet& fleet);
  // CiliumIdentities of that number changed.
  void refresh_identity(Identity number, const Model& model, const Fleet& fleet);
  // What changed since the last take(), each address in one of the two.
  void take(std::vector<EndpointEntry>& upsert, std::vector<IpAddress>& remove);

  void append_problems(const Model& model, std::vector<Problem>& problems) const;
  // The owner whose claim of the address counts; null when nobody's does.
  void visit(const std::function<bool(const ObjectKey& owner, const EndpointEntry& entry)>& visit) const;
  // Calls `visit` with whose the address is, if it is anybody's.
  void find(const IpAddress& address,
            const std::function<void(const ObjectKey& owner, const EndpointEntry& entry)>& visit) const;
  [[nodiscard]] std::size_t size() const { return published_; }
  struct Known {
    std::size_t labelled = 0, unlabelled = 0;  // pods
  };
  // By cluster; one without pods may be absent.
  [[nodiscard]] const std::map<ClusterId, Known>& known() const { return known_; }
  // Whether a cluster has got its first or lost its last pod of either sort since the last call.
  [[nodiscard]] bool take_known_moved() { return std::exchange(known_moved_, false); }

 private:
  // Addresses come by the million, so this is kept small: an address object is named by the address itself and has no
  // entry in owners_ unless it has a problem.
  struct Claim {
    const ObjectKey* owner = nullptr;  // a key in owners_; of address objects, their cluster's in address_owners_
    ClusterId cluster;
    Identity identity;
  };
  struct Address {
    Claim newest;  // counts; without an owner nobody claims it
    std::unique_ptr<std::vector<Claim>> older;
    ClusterId published_cluster;
    Identity published_identity;
    bool published = false;
  };
  struct Owner {
    std::set<IpAddress> addresses;
    std::vector<Problem> problems;
  };
  using Wanted = std::map<IpAddress, Identity>;

  // Who may claim addresses, of one cluster or (null) of all.
  static void visit_owners(const Model& model, const std::string* cluster,
                           const std::function<void(const ObjectKey&)>& visit);
  // Those that have claims or problems here.
  [[nodiscard]] std::vector<ObjectKey> known_owners(const std::set<std::string>* clusters) const;
  void refresh_address(const ObjectKey& key, const Model& model, const Fleet& fleet);
  void keep_owner(const ObjectKey& owner, const Owner& state);
  // Takes out what lies where the cluster has no addresses, with a problem.
  static void judge_places(const ObjectKey& owner, const Model& model, const Fleet& fleet, Owner& state, Wanted& now);
  [[nodiscard]] Wanted wanted(const ObjectKey& owner, const Model& model, const FleetCluster& cluster, Owner& state);
  // The identity `id` that the object at `provenance` gives the owner, as it counts here.
  [[nodiscard]] Identity checked_identity(const ObjectKey& owner, Identity id, const Provenance& provenance,
                                          const FleetCluster& cluster, Owner& state);
  [[nodiscard]] bool denied(const Model& model, Identity number) const;
  void claim(const ObjectKey& owner, const IpAddress& address, ClusterId cluster, Identity identity);
  void withdraw(const ObjectKey& owner, const IpAddress& address);
  // The claim that counts becomes the newest; notes whether others contest it.
  void settle(const IpAddress& address, Address& state);
  void count(const Address& state, int change);
  [[nodiscard]] EndpointEntry entry_of(const IpAddress& address, const Claim& claim) const;
  // The object behind a claim.
  [[nodiscard]] static ObjectKey owner_of(const IpAddress& address, const Claim& claim);

  Realm realm_;
  ClusterBits bits_;
  std::map<ObjectKey, Owner> owners_;
  std::set<ObjectKey> address_owners_;  // one for each cluster, without a name
  std::set<ObjectKey> troubled_;        // owners with problems
  std::unordered_map<IpAddress, Address> addresses_;
  std::vector<IpAddress> touched_;  // since the last take(); may hold one twice
  std::set<IpAddress> contested_;
  std::set<Identity> denied_;
  std::size_t published_ = 0;
  std::map<ClusterId, Known> known_;
  bool known_moved_ = false;
};

}  // namespace isthmus
