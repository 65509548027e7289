// The objects that hubs publish, as plain values: what every source emits and the model merges.
// Sources translate their own encodings (manifests, etcd values, Kubernetes JSON) into these and nothing else.
// Thread: control. Text is as published; addresses and numbers are validated by the source that emits them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "control/model/policy_objects.h"
#include "control/model/rare.h"
#include "dataplane/api/encapsulation.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Source location of an object, shown in every message about it. `location` is a file, key or URL; `line` is 0 when
// there is none.
struct Provenance {
  std::string location;
  unsigned line = 0;
  [[nodiscard]] std::string text() const { return line == 0 ? location : location + ":" + std::to_string(line); }
};

enum class ObjectKind : std::uint8_t {
  kCluster,
  kGateway,
  kProfile,
  kNamespace,
  kService,
  kSlice,
  kPod,
  kCiliumEndpoint,
  kIdentity,
  kAddress,
  kNode,
  kServiceImport,
  kCidrGroup,
  kNetworkPolicy,
  kCiliumPolicy,
  kClusterwidePolicy,
  kAgentConfig
};

// The name of the kind in manifests: "Service".
[[nodiscard]] const char* kind_text(ObjectKind kind);
[[nodiscard]] constexpr bool is_of_fleet(ObjectKind kind) {
  return kind == ObjectKind::kCluster || kind == ObjectKind::kGateway || kind == ObjectKind::kProfile;
}

struct ObjectKey {
  ObjectKind kind = ObjectKind::kCluster;
  std::string cluster;  // the cluster that publishes it; empty for fleet objects
  std::string ns;       // empty for cluster-scoped kinds
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

struct ClusterObject {
  ClusterId id;
  std::vector<Prefix> pod_prefixes, node_prefixes;
  // How its nodes reach its pods: their tunnels, or kNone where the underlay routes the pods' addresses.
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;
  friend bool operator==(const ClusterObject&, const ClusterObject&) = default;
};

struct GatewayObject {
  std::string cluster;
  IpAddress underlay;
  L4Port port{8472};
  std::vector<IpAddress> more{};  // further underlay addresses: one of a family that both ends have is used
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;  // in which it wants to be reached; not kNone
  friend bool operator==(const GatewayObject&, const GatewayObject&) = default;
};

// Clusters listed in one profile are linked pairwise; clusters without a common profile do not exchange packets.
struct ProfileObject {
  // What one cluster may claim. Nothing said of pods: what the gateways' configuration allows.
  struct Member {
    std::optional<std::vector<Prefix>> pod_prefixes;
    std::vector<Prefix> vip_pools;
    // How much of it is used (MemberLimits). Nothing said: as the gateways are configured.
    std::optional<std::uint32_t> endpoints{}, services{}, megabytes{}, gateways{};
    AliasPrefixes aliases{};  // what its pods are called outside the cluster
    friend bool operator==(const Member&, const Member&) = default;
  };
  std::vector<std::string> clusters;
  unsigned max_connected_clusters = 255;    // 255 or 511
  std::vector<Prefix> vip_pools{};          // of all its clusters
  std::map<std::string, Member> members{};  // by cluster
  friend bool operator==(const ProfileObject&, const ProfileObject&) = default;
};

struct NamespaceObject {
  std::map<std::string, std::string> labels, annotations;
  friend bool operator==(const NamespaceObject&, const NamespaceObject&) = default;
};

enum class ServiceAffinity : std::uint8_t { kNone, kLocal, kRemote };

struct ServicePort {
  std::string name;  // empty when the Service has one unnamed port
  IpProtocol protocol = IpProtocol::kTcp;
  L4Port port;
  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

// spec.trafficDistribution (PreferClose is PreferSameZone) and service.kubernetes.io/topology-mode: which backends take
// new connections, as long as one of them can. kHints: those that are hinted at for our zone.
enum class TrafficDistribution : std::uint8_t { kAny, kHints, kZone, kNode };

// What few Services ask for, of how their VIPs behave at the gateways of their own cluster.
struct ServiceRules {
  std::vector<Prefix> source_ranges;  // loadBalancerSourceRanges
  bool ranges_denied = false;         // service.cilium.io/src-ranges-policy: deny
  bool internal_local = false;        // internalTrafficPolicy: Local
  bool external_local = false;        // externalTrafficPolicy: Local
  TrafficDistribution distribution = TrafficDistribution::kAny;
  std::uint32_t slow_start = kAsConfigured;  // isthmus.io/slow-start, in seconds; 0: none
  // isthmus.io/outlier-ejection: as OutlierEjection.
  std::uint32_t outlier_failures = kAsConfigured, outlier_seconds = kAsConfigured, outlier_percent = kAsConfigured;
  static constexpr std::uint32_t kAsConfigured = 0xffffffff;
  friend bool operator==(const ServiceRules&, const ServiceRules&) = default;
};

struct ServiceObject {
  bool global = false;
  bool shared = true;
  ServiceAffinity affinity = ServiceAffinity::kNone;
  bool client_ip_affinity = false;
  std::vector<ServicePort> ports;
  std::vector<IpAddress> claimed_vips;  // annotation isthmus.io/vip
  Rare<std::map<std::string, std::string>> selector, labels;
  std::int64_t created = 0;            // creationTimestamp, seconds since 1970; 0 when absent
  std::vector<std::string> ignored{};  // what it asks for and does not get: "spec.trafficDistribution: PreferClose"
  Rare<ServiceRules> rules{};
  std::uint32_t affinity_seconds = 10800;  // sessionAffinityConfig, with client_ip_affinity
  friend bool operator==(const ServiceObject&, const ServiceObject&) = default;
};

struct SliceEndpoint {
  std::vector<IpAddress> addresses;
  bool ready = true, serving = true, terminating = false;
  std::string node, zone;
  Rare<std::vector<std::string>> for_zones{}, for_nodes{};  // hints: whose clients it is for
  friend bool operator==(const SliceEndpoint&, const SliceEndpoint&) = default;
};

struct SliceObject {
  std::string service;
  std::vector<ServicePort> ports;
  std::vector<SliceEndpoint> endpoints;
  std::uint16_t weight = 100;  // annotation service.cilium.io/weight; 0: draining
  friend bool operator==(const SliceObject&, const SliceObject&) = default;
};

// A Pod. Its identity comes from the CiliumEndpoint of the same name, if there is one.
struct PodObject {
  std::vector<IpAddress> addresses;
  std::string node;
  bool host_network = false;
  std::map<std::string, std::string> labels;
  Rare<std::vector<ServicePort>> named_ports;  // of its containers
  friend bool operator==(const PodObject&, const PodObject&) = default;
};

struct CiliumEndpointObject {
  std::vector<IpAddress> addresses;
  Identity identity;
  std::optional<IpAddress> node;
  friend bool operator==(const CiliumEndpointObject&, const CiliumEndpointObject&) = default;
};

struct IdentityObject {
  Identity id;
  std::map<std::string, std::string> labels;
  friend bool operator==(const IdentityObject&, const IdentityObject&) = default;
};

// An ipcache entry: an address or prefix of a cluster with its identity; the Pod need not be known. The object's name
// is the canonical text of the address, or of the prefix with its length.
struct AddressObject {
  Prefix prefix;
  Identity identity;
  std::optional<IpAddress> node;
  std::string ns, pod;  // of the pod, if it is a pod's address
  Rare<std::vector<ServicePort>> named_ports;
  friend bool operator==(const AddressObject&, const AddressObject&) = default;
};

struct NodeObject {
  std::vector<IpAddress> addresses;  // underlay
  std::vector<Prefix> pod_prefixes;
  // Addresses within the pod prefixes: CiliumInternalIP, Cilium's health endpoint, Cilium's ingress.
  std::vector<IpAddress> inner{}, health{};
  Rare<std::vector<IpAddress>> ingress{};
  Rare<std::string> zone{};  // label topology.kubernetes.io/zone
  friend bool operator==(const NodeObject&, const NodeObject&) = default;
};

struct ServiceImportObject {
  std::vector<IpAddress> ips;
  std::vector<ServicePort> ports;
  std::int64_t created = 0;
  friend bool operator==(const ServiceImportObject&, const ServiceImportObject&) = default;
};

// What the agents of a cluster are configured to do, of what matters here: ConfigMap kube-system/cilium-config.
struct AgentConfigObject {
  std::optional<bool> default_local_cluster;  // policy-default-local-cluster
  friend bool operator==(const AgentConfigObject&, const AgentConfigObject&) = default;
};

using ObjectValue = std::variant<ClusterObject, GatewayObject, ProfileObject, NamespaceObject, ServiceObject,
                                 SliceObject, PodObject, CiliumEndpointObject, IdentityObject, AddressObject,
                                 NodeObject, ServiceImportObject, CidrGroupObject, PolicyObject, AgentConfigObject>;
// Every object takes as much as the largest kind; entries of ip caches are those there are by the million.
static_assert(sizeof(ObjectValue) <= 128);

// One change of desired state. No value: the object was removed.
struct ObjectDelta {
  ObjectKey key;
  std::optional<ObjectValue> value;
  Provenance provenance;
};

// What applies of an object that is refused, at the end of its problem.
inline constexpr std::string_view kPreviousApplies = "; the previous version stays in force";
inline constexpr std::string_view kPolicyIsClosed = "; what the policy selects is closed but for its other rules";

// Something an operator should fix. It stays listed until its source location reads without error.
struct SourceProblem {
  // Not an aggregate: GCC 12 warns of uninitialized members when nested braces are moved into a vector (its bug
  // 105562).
  SourceProblem(Provenance at, std::string problem, std::string how_to_fix, std::optional<ObjectKey> of = {})
      : provenance(std::move(at)), what(std::move(problem)), fix(std::move(how_to_fix)), object(std::move(of)) {}

  Provenance provenance;
  std::string what, fix;
  std::optional<ObjectKey> object;  // the object rejected because of it, if known
};

}  // namespace isthmus
