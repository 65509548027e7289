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
  struct Gateway {
    GatewayObject object;
    std::string location;  // for provenance
    friend bool operator==(const Gateway&, const Gateway&) = default;
  };
  using Exports = std::map<std::string, ServiceExportValue>;  // by cluster

  void publish_gateways();
  [[nodiscard]] std::map<std::string, Gateway> desired_gateways();
  void find_conflicts(const std::string& service);

  Own own_;
  std::vector<ObjectDelta>& out_;
  [[nodiscard]] bool is_known_of_another(const std::string& gateway, const std::string& cluster) const;
  [[nodiscard]] bool had_name(const std::string& gateway, const std::string& cluster, const IpAddress& underlay) const;

  RestoredMembers restored_;
  std::map<ClusterId, std::string> id_owners_;
  std::set<std::string> members_;
  std::map<std::string, std::vector<ServiceBackend>> service_gateways_;
  std::map<std::string, std::map<std::string, GatewayValue>> registered_;
  std::map<std::string, Gateway> published_;  // by name
  std::vector<SourceProblem> gateway_problems_;
  std::map<std::string, Exports> exports_;  // by "namespace/name"
  std::map<std::string, std::vector<SourceProblem>> conflicts_;
};

}  // namespace isthmus
