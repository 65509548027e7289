// Which address belongs to which pod or node, under which identity: what goes into the endpoint table.
//
// Thread: control. An owner (a pod, an address of an ipcache, or a node) claims its addresses; of two claims of one
// address the newer counts, and a problem names both. Entries are published only where they differ from what was
// published before.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
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

 private:
  struct Claim {
    const ObjectKey* owner;  // key in owners_
    std::uint64_t sequence;  // when it was first made
    EndpointEntry entry;
  };
  struct Address {
    std::vector<Claim> claims;  // the newest counts
    std::optional<EndpointEntry> published;
  };
  struct Owner {
    std::set<IpAddress> addresses;
    std::vector<Problem> problems;
  };
  using Wanted = std::map<IpAddress, Identity>;

  [[nodiscard]] Wanted wanted(const ObjectKey& owner, const Model& model, const FleetCluster& cluster, Owner& state);
  // The identity `id` that the object at `provenance` gives the owner, as it counts here.
  [[nodiscard]] Identity checked_identity(const ObjectKey& owner, Identity id, const Provenance& provenance,
                                          const FleetCluster& cluster, Owner& state);
  // Who may claim addresses, of one cluster or (null) of all.
  static void add_owners(const Model& model, const std::string* cluster, std::set<ObjectKey>& owners);
  [[nodiscard]] bool denied(const Model& model, Identity number) const;
  void claim(const ObjectKey& owner, const IpAddress& address, ClusterId cluster, Identity identity);
  void withdraw(const ObjectKey& owner, const IpAddress& address);

  Realm realm_;
  ClusterBits bits_;
  std::map<ObjectKey, Owner> owners_;
  std::set<ObjectKey> troubled_;  // owners with problems
  std::unordered_map<IpAddress, Address> addresses_;
  std::set<IpAddress> touched_, contested_;
  std::set<Identity> denied_;
  std::uint64_t sequence_ = 0;
  std::size_t published_ = 0;
};

}  // namespace isthmus
