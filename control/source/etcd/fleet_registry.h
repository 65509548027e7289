// The state that spans the clusters of all hubs: cluster ids in use, the members of the profile, the gateways and their
// names, and conflicting service exports.
//
// Owner: EtcdEngine. Thread: the etcd source's. Changes of gateways and of the profile are appended to `out`.
// Of two claimants of one cluster id or one gateway name, the earlier one keeps it; who had it before a restart is
// earlier than all that are read after it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/model/objects.h"
#include "control/source/etcd/gateway_names.h"
#include "control/source/etcd/values.h"
#include "control/source/source.h"

namespace isthmus {

class FleetRegistry {
 public:
  struct Own {
    std::string cluster, gateway;  // this gateway's cluster and name, both reserved; `gateway` may be empty
    ClusterId id;
    unsigned max_connected_clusters = 255;
  };
  FleetRegistry(Own own, std::vector<ObjectDelta>& out);

  // What clusters had before the restart and have not said since. True: there is less of it than before.
  bool set_restored(RestoredMembers members);

  // Reserves the id for `cluster`. Returns an empty string on success, else the name of the cluster that owns the id.
  [[nodiscard]] std::string reserve(ClusterId id, const std::string& cluster);
  void release(ClusterId id, const std::string& cluster);

  // Adds a cluster to the profile or removes it. Members are our own cluster and every cluster whose ClusterObject is
  // published.
  void set_member(const std::string& cluster, bool member);
  // Sets the backends of the cluster's gateway Service. They become gateways while the cluster is a member.
  void set_service_gateways(const std::string& cluster, std::vector<ServiceBackend> backends);
  // Sets or removes a gateway that registered itself in the hub; it replaces a Service backend of the same address.
  void set_registered_gateway(const std::string& cluster, const std::string& name, std::optional<GatewayValue> value);
  // Sets or removes a cluster's export of `service` ("namespace/name") and checks the exports for conflicts.
  void set_export(const std::string& cluster, const std::string& service, std::optional<ServiceExportValue> value);
  // Publishes the profile even if it has not changed.
  void publish_profile();

  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  using Exports = std::map<std::string, ServiceExportValue>;  // by cluster
  // What of one cluster are gateways, as far as it is a member.
  struct Gateways {
    std::map<std::string, GatewayValue> registered;  // by name
    std::map<IpAddress, std::size_t> addresses;      // of those; how many have it
    std::map<IpAddress, ServiceBackend> backends;    // of its Service, with a tunnel port, by address
    std::vector<IpAddress> without_port;             // the others
  };

  void put_registered(const std::string& cluster, const std::string& name, const GatewayValue& value);
  // Publishes the backend at the address, or no longer: a gateway that registered itself there goes before it.
  void update_backend(const std::string& cluster, const IpAddress& address);
  void find_conflicts(const std::string& service);

  Own own_;
  std::vector<ObjectDelta>& out_;
  RestoredMembers restored_;
  std::map<ClusterId, std::string> id_owners_;
  std::set<std::string> members_;
  std::map<std::string, Gateways> gateways_;  // by cluster
  GatewayNames names_;
  std::map<std::string, Exports> exports_;  // by "namespace/name"
  std::map<std::string, std::vector<SourceProblem>> conflicts_;
};

}  // namespace isthmus
