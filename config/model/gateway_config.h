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
  std::uint32_t busy_poll_us = 0;
  std::uint32_t ring_entries = 2048;
  std::uint32_t beat_timeout_ms = 1000;
  std::string when_gone = "drop";  // drop | pass: fleet traffic while the engine is gone
};

struct LocalDeviceConfig {
  DeviceConfig device;
  bool veth = false;                 // make or adopt a veth pair: `interface` is the kernel's end
  std::optional<std::uint32_t> mtu;  // absent: underlay MTU less the tunnel overhead
};

struct GatewayConfig {
  std::string file;  // where it was read

  std::string name, cluster;

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
