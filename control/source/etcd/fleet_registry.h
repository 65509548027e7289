// What the clusters of the hubs have in common: which numbers they hold, who is a member, where their gateways are, and
// which exported Services disagree.
//
// Owner: EtcdSource's engine. Thread: its. Changes of gateways and of the profile are appended to `out`.
// A number, and a gateway's name, belongs to whom had it first.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/model/objects.h"
#include "control/source/etcd/values.h"

namespace isthmus {

class FleetRegistry {
 public:
  struct Own {
    std::string cluster, gateway;  // names that are taken; the gateway's may be empty
    ClusterId id;
    unsigned max_connected_clusters = 255;
  };
  FleetRegistry(Own own, std::vector<ObjectDelta>& out);

  // Empty when `cluster` holds the id now; else who holds it.
  [[nodiscard]] std::string reserve(ClusterId id, const std::string& cluster);
  void release(ClusterId id, const std::string& cluster);

  // The profile's members are our own cluster and those whose Cluster is published.
  void set_member(const std::string& cluster, bool member);
  // The backends of the cluster's gateway Service; of these, the member clusters' are published.
  void set_service_gateways(const std::string& cluster, std::vector<ServiceBackend> backends);
  void set_registered_gateway(const std::string& cluster, const std::string& name, std::optional<GatewayValue> value);
  void set_export(const std::string& cluster, const std::string& service, std::optional<ServiceExportValue> value);
  // Publishes the profile as it stands, changed or not.
  void publish_profile();

  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  struct Gateway {
    GatewayObject object;
    std::string place;
    friend bool operator==(const Gateway&, const Gateway&) = default;
  };
  using Exports = std::map<std::string, ServiceExportValue>;  // by cluster

  void publish_gateways();
  [[nodiscard]] std::map<std::string, Gateway> wanted_gateways();
  void find_conflicts(const std::string& service);

  Own own_;
  std::vector<ObjectDelta>& out_;
  std::map<ClusterId, std::string> holders_;
  std::set<std::string> members_;
  std::map<std::string, std::vector<ServiceBackend>> service_gateways_;
  std::map<std::string, std::map<std::string, GatewayValue>> registered_;
  std::map<std::string, Gateway> published_;  // by name
  std::vector<SourceProblem> gateway_problems_;
  std::map<std::string, Exports> exports_;  // by "namespace/name"
  std::map<std::string, std::vector<SourceProblem>> conflicts_;
};

}  // namespace isthmus
