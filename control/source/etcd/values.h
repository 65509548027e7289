// Decodes the values of a ClusterMesh hub, from key and text to an object or an error. Pure functions.
//
// Thread: any. `suffix`: the key without its prefix ("shop/cart", "10.1.2.3"). Failure: the error says what is wrong
// with the value and how to fix it; the caller, which has the full key, adds the source location. Unknown fields are
// ignored, null counts as absent, and a field of another type than Cilium writes is an error, as for Cilium's own
// readers.
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

// The cluster whose values are decoded.
struct EtcdValueContext {
  std::string cluster;
  ClusterId id;
  unsigned max_connected_clusters = 255;  // 255 or 511: which bits of an identity hold the cluster id
  // True for 1..255 and for identities of this cluster.
  [[nodiscard]] bool owns(std::uint32_t identity) const;
};

struct ClusterConfigValue {
  enum class Slices : std::uint8_t { kNone, kBesideServices, kOnly };
  ClusterId id;
  bool synced_canaries = false, cached = false;
  std::optional<bool> service_exports;  // absent: the cluster does not support exports
  Slices slices = Slices::kNone;
  friend bool operator==(const ClusterConfigValue&, const ClusterConfigValue&) = default;
};
// Does not check whether the id is free.
[[nodiscard]] Result<ClusterConfigValue> decode_cluster_config(unsigned max_connected_clusters, std::string_view value);

// `suffix`: the node's name.
[[nodiscard]] Result<NodeObject> decode_node(const EtcdValueContext& context, std::string_view suffix,
                                             std::string_view value);
// `suffix`: the address or prefix.
[[nodiscard]] Result<AddressObject> decode_address(const EtcdValueContext& context, std::string_view suffix,
                                                   std::string_view value);
// `suffix`: the number.
[[nodiscard]] Result<IdentityObject> decode_identity(const EtcdValueContext& context, std::string_view suffix,
                                                     std::string_view value);

// A backend of a Service, as needed for the gateway Service.
struct ServiceBackend {
  IpAddress address;
  std::string hostname;
  std::vector<ServicePort> ports;
};
struct ServiceValue {
  bool shared = true;
  std::string ns, name;
  ServiceObject object;
  std::vector<SliceObject> slices;  // one for each distinct set of ports; `service` is left empty
  std::vector<ServiceBackend> backends;
  std::string derived_from;  // the exported Service that Cilium derived this one from; empty for an ordinary one
  std::vector<std::string> unreadable_vips;
};
// `suffix`: "<namespace>/<name>".
[[nodiscard]] Result<ServiceValue> decode_service(const EtcdValueContext& context, std::string_view suffix,
                                                  std::string_view value);

struct ServiceExportValue {
  std::string ns, name;
  ServiceObject object;  // `created`: the time of the export
  bool headless = false;
  std::vector<std::string> app_protocols;  // of object.ports, in the same order
  std::map<std::string, std::string> annotations;
  std::int64_t affinity_seconds = 0;
  std::string internal_traffic_policy, traffic_distribution;
  std::vector<std::string> ip_families;
  friend bool operator==(const ServiceExportValue&, const ServiceExportValue&) = default;
};
[[nodiscard]] Result<ServiceExportValue> decode_service_export(const EtcdValueContext& context, std::string_view suffix,
                                                               std::string_view value);

struct EndpointSliceValue {
  std::string ns, name;
  SliceObject object;  // `service`: from the label kubernetes.io/service-name
  std::string derived_from;
};
// `value`: a zstd frame around a protobuf message, at most 16 MiB when decompressed.
[[nodiscard]] Result<EndpointSliceValue> decode_endpoint_slice(const EtcdValueContext& context, std::string_view suffix,
                                                               std::string_view value);

// A gateway that registered itself. `suffix`: its name.
struct GatewayValue {
  std::string name, zone;
  std::vector<IpAddress> underlay;
  L4Port port{8472};
  std::vector<std::string> encapsulations;                      // by name, in order of preference
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;  // decoded: the first that we know
  friend bool operator==(const GatewayValue&, const GatewayValue&) = default;
};
[[nodiscard]] Result<GatewayValue> decode_gateway(const EtcdValueContext& context, std::string_view suffix,
                                                  std::string_view value);
[[nodiscard]] std::string encode_gateway(const std::string& cluster, const GatewayValue& gateway);

}  // namespace isthmus
