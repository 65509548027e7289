// The values of a ClusterMesh hub, each from (key, text) to an object or a refusal. Pure functions.
//
// Thread: any. `tail` is the key without its prefix ("shop/cart", "10.1.2.3"). Failure: an error says what is wrong
// with the value and what to do; its place is left to the caller, who knows the whole key. Unknown fields are ignored,
// null is absence, and a field of another type than Cilium writes refuses the value, as Cilium's own readers do.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/model/objects.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Whose values are read.
struct EtcdValueContext {
  std::string cluster;
  ClusterId id;
  unsigned max_connected_clusters = 255;  // 255 or 511: how identities carry the cluster
  // True for 1..255 and for identities of this cluster.
  [[nodiscard]] bool owns(std::uint32_t identity) const;
};

struct ClusterConfigValue {
  enum class Slices : std::uint8_t { kNone, kBesideServices, kOnly };
  ClusterId id;
  bool synced_canaries = false, cached = false;
  std::optional<bool> service_exports;  // absent: the cluster knows of none
  Slices slices = Slices::kNone;
  friend bool operator==(const ClusterConfigValue&, const ClusterConfigValue&) = default;
};
// Whether the id is free is not judged here.
[[nodiscard]] Result<ClusterConfigValue> decode_cluster_config(unsigned max_connected_clusters, std::string_view value);

// `tail`: the node's name.
[[nodiscard]] Result<NodeObject> decode_node(const EtcdValueContext& context, std::string_view tail,
                                             std::string_view value);
// `tail`: the address, or the prefix.
[[nodiscard]] Result<AddressObject> decode_address(const EtcdValueContext& context, std::string_view tail,
                                                   std::string_view value);
// `tail`: the number.
[[nodiscard]] Result<IdentityObject> decode_identity(const EtcdValueContext& context, std::string_view tail,
                                                     std::string_view value);

// A backend as a gateway's address: what a gateways' Service says about them.
struct ServiceBackend {
  IpAddress address;
  std::string hostname;
  std::vector<ServicePort> ports;
};
struct ServiceValue {
  bool shared = true;
  std::string name_space, name;
  ServiceObject object;
  std::vector<SliceObject> slices;  // one for each distinct set of ports; `service` is left empty
  std::vector<ServiceBackend> backends;
  std::string derived_from;  // the exported Service that Cilium derived this one from; empty for an ordinary one
  std::vector<std::string> unreadable_vips;
};
// `tail`: "<namespace>/<name>".
[[nodiscard]] Result<ServiceValue> decode_service(const EtcdValueContext& context, std::string_view tail,
                                                  std::string_view value);

struct ServiceExportValue {
  std::string name_space, name;
  ServiceObject object;  // created: when it was exported
  bool headless = false;
  std::vector<std::string> app_protocols;  // of object.ports, in the same order
  std::map<std::string, std::string> annotations;
  std::int64_t affinity_seconds = 0;
  std::string internal_traffic_policy, traffic_distribution;
  std::vector<std::string> ip_families;
  friend bool operator==(const ServiceExportValue&, const ServiceExportValue&) = default;
};
[[nodiscard]] Result<ServiceExportValue> decode_service_export(const EtcdValueContext& context, std::string_view tail,
                                                               std::string_view value);

struct EndpointSliceValue {
  std::string name_space, name;
  SliceObject object;  // `service`: of the label kubernetes.io/service-name
  std::string derived_from;
};
// A zstd frame around protobuf; a frame of more than 16 MiB is refused.
[[nodiscard]] Result<EndpointSliceValue> decode_endpoint_slice(const EtcdValueContext& context, std::string_view tail,
                                                               std::string_view value);

// A gateway that registered itself. `tail`: its name.
struct GatewayValue {
  std::string name, zone;
  std::vector<IpAddress> underlay;
  L4Port port{8472};
  std::vector<std::string> encapsulations;
  friend bool operator==(const GatewayValue&, const GatewayValue&) = default;
};
[[nodiscard]] Result<GatewayValue> decode_gateway(const EtcdValueContext& context, std::string_view tail,
                                                  std::string_view value);
[[nodiscard]] std::string encode_gateway(const std::string& cluster, const GatewayValue& gateway);

}  // namespace isthmus
