// The configuration of one gateway, as values with their defaults. Read by config/load, explained in config/schema.
// Plain values; durations in their unit by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

struct DeviceConfig {
  std::string interface;
  std::string xdp = "auto";        // auto | native | generic
  std::string zero_copy = "auto";  // auto | off | require
  std::uint32_t busy_poll_us = 0, busy_poll_budget = 64;
  std::uint32_t ring_entries = 2048;
  std::uint32_t beat_timeout_ms = 1000;
  std::string when_gone = "drop";  // drop | pass: fleet traffic while the engine is gone
};

struct LocalDeviceConfig {
  DeviceConfig device;
  bool veth = false;                 // make or adopt a veth pair: `interface` is the kernel's end
  std::optional<std::uint32_t> mtu;  // absent: underlay MTU less the tunnel overhead
};

// A ClusterMesh: etcd client configurations, as Cilium's agents have them.
struct EtcdHubConfig {
  std::optional<std::string> clusters;     // folder: one file per remote cluster, named as the cluster
  std::optional<std::string> kvstoremesh;  // file: the one hub that mirrors all clusters
  std::optional<std::string> register_at;  // file: the hub of this cluster, with rights to write
  std::string gateway_service = "kube-system/isthmus-gateway";
  std::string endpoints = "services";  // services | slices
  unsigned most_clusters = 255;        // 255 or 511
  unsigned hold_percent = 50;
  unsigned reads_per_second = 20;
  std::uint64_t hold_time_ms = 600'000;

  [[nodiscard]] bool used() const { return clusters || kvstoremesh; }
};

// Kubernetes API servers: paths of kubeconfig files, or "in-cluster".
struct KubernetesHubConfig {
  std::optional<std::string> cluster;  // of this cluster
  std::optional<std::string> fleet;    // the Fleet hub's
  bool namespaces_global = true;       // those that do not say
};

struct GatewayConfig {
  std::string file;  // where it was read

  std::string name, cluster;
  std::uint16_t cluster_id = 0;  // 0: as the Cluster object says

  std::vector<int> cores;
  unsigned workers = 1;
  std::string idle = "sleep";  // sleep | spin
  std::uint32_t frames = 16384;
  std::uint32_t connections = 262144, unreplied = 0;
  std::string midstream = "adopt";  // adopt | drop
  std::uint64_t unknown_endpoint_hold_ms = 10000, identity_grace_ms = 5000;

  DeviceConfig underlay;
  LocalDeviceConfig local;

  std::optional<IpAddress> translation_ipv4, translation_ipv6;
  std::uint16_t translation_first = 32768, translation_last = 65535;

  std::optional<std::string> hub_file;  // folder
  EtcdHubConfig etcd;
  KubernetesHubConfig kubernetes;
  std::uint64_t hub_wait_ms = 15'000;

  std::string policy_enforcement = "default";  // default | always | never
  bool policy_audit = false;

  std::uint64_t health_interval_ms = 150, health_hold_ms = 10000;
  unsigned health_misses = 4, health_recover = 5;

  std::optional<std::string> dns_file;
  std::string dns_domain = "clusterset.local";

  std::uint32_t observe_flows = 4095;
  std::uint32_t observe_rate = 10000;

  bool metrics_enabled = true;
  IpAddress metrics_address = IpAddress::ipv4(Be32::of(0x7f000001));
  std::uint16_t metrics_port = 9962;

  std::string admin_socket;  // default /run/isthmus/<name>.sock
  std::string admin_group = "root";
  std::string state_directory = "/dev/shm";
  std::string log_level = "info";
};

}  // namespace isthmus
