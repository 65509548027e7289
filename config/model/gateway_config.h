// The configuration of one gateway, as values with their defaults. Read by config/load, explained in config/schema.
// Plain values; durations in the unit of their name. What the engine or a device takes as it is has its type and its
// default in dataplane/api; defaults that parts of control have too are in defaults.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/model/admission_rules.h"
#include "config/model/defaults.h"
#include "config/model/outlier_ejection.h"
#include "config/model/policy_enforcement.h"
#include "dataplane/api/devices.h"
#include "dataplane/api/encapsulation.h"
#include "dataplane/api/engine.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Fleet traffic while the engine is down; all other traffic passes in either case.
enum class EngineDownPolicy : std::uint8_t { kDrop, kPass };
// Which form of endpoints counts where a ClusterMesh hub has both.
enum class EtcdEndpoints : std::uint8_t { kServices, kSlices };
// How answers of services come back to our cluster's clients: translated here; past us, from the backend's node.
enum class DirectReturn : std::uint8_t { kNone, kGeneve };
// How this cluster's pods are reached: by the kernel's routes, or in the tunnels of their nodes.
enum class LocalDelivery : std::uint8_t { kRoute, kTunnel };
enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError };

[[nodiscard]] constexpr std::uint64_t in_ms(Seconds time) { return std::uint64_t{1000} * time.value(); }

// Whether a NIC may be DPDK's that no IOMMU keeps from the memory of this machine.
enum class DpdkIommu : std::uint8_t { kRequired, kNone };

struct DeviceConfig {
  std::string interface;  // of a DPDK device: the kernel's twin of it
  std::string dpdk;       // empty: the interface is used by AF_XDP
  XdpMode xdp = AfXdpOptions{}.mode;
  ZeroCopy zero_copy = AfXdpOptions{}.zero_copy;
  KernelForwarding kernel_forwarding = AfXdpOptions{}.kernel_forwarding;
  std::uint32_t busy_poll_us = AfXdpOptions{}.busy_poll_us, busy_poll_budget = AfXdpOptions{}.busy_poll_budget;
  std::uint32_t ring_entries = AfXdpOptions{}.ring_entries;
  std::uint32_t heartbeat_timeout_ms = AfXdpOptions{}.heartbeat_timeout_ms;
  EngineDownPolicy on_engine_down =
      AfXdpOptions{}.fleet_traffic_on_engine_down_drops ? EngineDownPolicy::kDrop : EngineDownPolicy::kPass;
};

struct LocalDeviceConfig {
  DeviceConfig device;
  bool veth = false;                 // create or adopt a veth pair: `interface` is the kernel's end
  std::optional<std::uint32_t> mtu;  // absent: underlay MTU less the tunnel overhead; of a DPDK device, as it is
  LocalDelivery delivery = LocalDelivery::kRoute;
};

// A ClusterMesh: etcd client configurations, as Cilium's agents have them.
struct EtcdHubConfig {
  std::optional<std::string> clusters;     // folder: one file per remote cluster, named as the cluster
  std::optional<std::string> kvstoremesh;  // file: the one hub that mirrors all clusters
  std::optional<std::string> register_at;  // file: the hub of this cluster, with rights to write
  std::string gateway_service{kDefaultGatewayService};
  EtcdEndpoints endpoints = EtcdEndpoints::kServices;
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;  // of nodes without a gateway
  unsigned max_clusters = kDefaultMaxClusters;
  unsigned hold_percent = kDefaultEtcdHoldPercent;
  unsigned reads_per_second = kDefaultEtcdReadsPerSecond;
  std::uint64_t hold_time_ms = kDefaultEtcdHoldMs;

  [[nodiscard]] bool used() const { return clusters || kvstoremesh; }
};

// Kubernetes API servers: paths of kubeconfig files, or "in-cluster".
struct KubernetesHubConfig {
  std::optional<std::string> cluster;  // of this cluster
  std::optional<std::string> fleet;    // the Fleet hub's
  bool namespaces_global = true;       // namespaces without the annotation
};

struct GatewayConfig {
  std::string file;  // where it was read

  std::string name, cluster;
  std::uint16_t cluster_id = 0;  // 0: taken from the Cluster object

  std::vector<int> cores;
  unsigned workers = EngineOptions{}.workers;
  IdlePolicy idle = EngineOptions{}.idle;
  WorkerHandoff worker_handoff = EngineOptions{}.worker_handoff;
  std::uint32_t frames = EngineOptions{}.frames;
  std::uint32_t connections = EngineOptions{}.connections, half_open_limit = EngineOptions{}.half_open_limit;
  MidstreamPolicy midstream = EngineOptions{}.midstream;
  std::uint64_t timeout_tcp_ms = in_ms(FlowTimeouts{}.tcp), timeout_tcp_syn_ms = in_ms(FlowTimeouts{}.tcp_syn);
  std::uint64_t timeout_tcp_closing_ms = in_ms(FlowTimeouts{}.tcp_closing);
  std::uint64_t timeout_other_ms = in_ms(FlowTimeouts{}.other), timeout_half_open_ms = in_ms(FlowTimeouts{}.half_open);
  DpdkMemory dpdk_memory;
  DpdkIommu dpdk_iommu = DpdkIommu::kRequired;
  std::uint32_t kernel_flows = kDefaultKernelFlows, kernel_flow_rate = kDefaultHotPacketsPerSecond;
  std::uint32_t kernel_flow_hold_ms = AfXdpOptions{}.kernel_forwarding_hold_ms;
  std::uint32_t fragments = EngineOptions{}.fragments;
  std::uint64_t fragment_timeout_ms = in_ms(EngineOptions{}.fragment_timeout);
  std::uint32_t icmp_errors_per_second = EngineOptions{}.icmp_errors_per_second;
  std::uint32_t echo_answers_per_second = EngineOptions{}.echo_answers_per_second;
  std::uint64_t unknown_endpoint_hold_ms = in_ms(EngineOptions{}.unknown_endpoint_hold);
  std::uint64_t identity_grace_ms = in_ms(EngineOptions{}.identity_grace);

  DeviceConfig underlay;
  std::optional<std::uint32_t> underlay_mtu;  // of a DPDK device; absent: as it is
  LocalDeviceConfig local;

  std::optional<IpAddress> translation_ipv4, translation_ipv6;
  std::uint16_t translation_first = EngineOptions{}.translation_first;
  std::uint16_t translation_last = EngineOptions{}.translation_last;

  std::optional<std::string> hub_file;  // folder
  EtcdHubConfig etcd;
  KubernetesHubConfig kubernetes;
  std::uint64_t hub_wait_ms = 15'000;

  AdmissionRules admission;

  PolicyEnforcement policy_enforcement = PolicyEnforcement::kDefault;
  bool policy_audit = false;
  UntilListed policy_until_listed = UntilListed::kDeny;
  SelectorScope policy_scope = SelectorScope::kAgents;

  std::uint64_t health_interval_ms = kDefaultHealthIntervalMs, health_hold_ms = kDefaultHealthHoldMs;
  std::uint64_t health_path_mtu_ms = kDefaultPathMtuIntervalMs;  // 0: not probed
  unsigned health_misses = kDefaultHealthMisses, health_recover = kDefaultHealthRecover;

  std::uint64_t slow_start_ms = 0;  // 0: none
  unsigned outlier_failures = OutlierEjection{}.failures, outlier_max_percent = OutlierEjection{}.max_percent;
  std::uint64_t outlier_time_ms = OutlierEjection{}.seconds * std::uint64_t{1000};
  DirectReturn direct_return = DirectReturn::kNone;

  std::optional<std::string> dns_file;
  std::string dns_domain = "clusterset.local";

  std::uint32_t observe_flows = kDefaultFlowsKept;
  std::uint32_t observe_rate = EngineOptions{}.flow_events_per_second;

  bool metrics_enabled = true;
  IpAddress metrics_address = IpAddress::ipv4(Be32::of(0x7f000001));
  std::uint16_t metrics_port = 9979;

  std::string admin_socket;  // default /run/isthmus/<name>.sock
  std::string admin_group = "root";
  std::string state_directory = EngineOptions{}.state_directory;
  std::string last_known_directory{kDefaultLastKnownDirectory};
  std::uint64_t last_known_age_ms = kDefaultLastKnownAgeMs;  // 0: nothing is kept
  std::uint64_t handover_wait_ms = 0;                        // 0: a signal ends the gateway
  LogLevel log_level = LogLevel::kInfo;

  [[nodiscard]] bool uses_dpdk() const { return !underlay.dpdk.empty() || !local.device.dpdk.empty(); }
  [[nodiscard]] bool uses_af_xdp() const {
    return underlay.dpdk.empty() || (!one_device() && local.device.dpdk.empty());
  }
  [[nodiscard]] bool one_device() const { return !local.veth && local.device.interface == underlay.interface; }
};

}  // namespace isthmus
