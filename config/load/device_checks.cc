#include "config/load/device_checks.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "config/model/dpdk_name.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

// The engine's end of the pair is named as the interface, with an x appended.
constexpr std::size_t kVethLength = 14;

unsigned line_of_key(const YamlNode& root, const std::string& path) {
  const YamlNode* node = find_path(root, path);
  return node == nullptr ? std::max(root.line, 1U) : node->line;
}

// A key that only AF_XDP has, and what is so with DPDK.
struct AfXdpKey {
  std::string_view key, instead;
};
constexpr std::array kAfXdpKeys = {
    AfXdpKey{"xdp", "DPDK's driver has the NIC, and no XDP program is on it"},
    AfXdpKey{"zero_copy", "packets of a DPDK device are never copied where its driver can do without"},
    AfXdpKey{"kernel_forwarding", "all packets of a DPDK device are the engine's"},
    AfXdpKey{"busy_poll_us", "the workers poll a DPDK device themselves"},
    AfXdpKey{"busy_poll_budget", "the workers poll a DPDK device themselves"},
    AfXdpKey{"heartbeat_timeout", "no XDP program watches the engine"},
    AfXdpKey{"on_engine_down", "nothing arrives at a DPDK device while the engine is down"},
};

// One device that DPDK has, or none: its section's keys, and its interface's name.
void check_dpdk_device(const YamlNode& root, const std::string& section, DeviceConfig& device,
                       std::string_view default_twin, YamlErrors& errors) {
  if (device.dpdk.empty()) {
    return;
  }
  for (const AfXdpKey& row : kAfXdpKeys) {
    const std::string key = section + "." + std::string(row.key);
    if (find_path(root, key) != nullptr) {
      errors.push_back({line_of_key(root, key), key + " is set beside " + section + ".dpdk",
                        "leave it out: " + std::string(row.instead)});
    }
  }
  if (device.interface.empty()) {
    device.interface = default_twin;
  } else if (device.interface == device.dpdk) {
    errors.push_back(
        {line_of_key(root, section + ".interface"),
         section + ".interface is the NIC itself, " + shown(device.interface),
         "name the interface that is made for the kernel otherwise, or leave it out for " + std::string(default_twin)});
  }
}

bool same_dpdk_device(const std::string& a, const std::string& b) {
  const bool arguments = (a + b).find(',') != std::string::npos;
  return a == b || (!arguments && !pci_address_of(a).empty() && pci_address_of(a) == pci_address_of(b));
}

void check_veth(const YamlNode& root, const GatewayConfig& config, YamlErrors& errors) {
  if (!config.local.device.dpdk.empty()) {
    errors.push_back({line_of_key(root, "devices.local.veth"), "devices.local.veth is set beside devices.local.dpdk",
                      "keep one of the two: a local device is a veth pair, or a NIC that DPDK has"});
    return;
  }
  const std::string& name = config.local.device.interface;
  const unsigned line = line_of_key(root, "devices.local.interface");
  if (name.size() > kVethLength) {
    errors.push_back({line, "devices.local.interface is " + shown(name) + ", too long for a veth pair",
                      "write at most 14 characters: the engine's end has an x appended"});
  }
  if (config.underlay.interface == name || config.underlay.interface == name + "x") {
    errors.push_back({line, "devices.local.interface names a veth pair after the underlay device",
                      "give the pair a name of its own, or leave out veth to use one device for both sides"});
  }
}

// A local device that is the underlay's by one of its two names has both.
void join_local_device(const YamlNode& root, GatewayConfig& config, YamlErrors& errors) {
  DeviceConfig& local = config.local.device;
  const DeviceConfig& underlay = config.underlay;
  const bool named = find_path(root, "devices.local.interface") != nullptr;
  if (!local.dpdk.empty() && same_dpdk_device(local.dpdk, underlay.dpdk)) {
    if (named && local.interface != underlay.interface) {
      errors.push_back({line_of_key(root, "devices.local.interface"),
                        "devices.local.interface is " + shown(local.interface) +
                            ", but its DPDK device is the underlay's, whose interface is " + shown(underlay.interface),
                        "leave it out: one device has one interface"});
    }
    local.interface = underlay.interface;
  } else if (!local.dpdk.empty() && local.interface == underlay.interface) {
    errors.push_back({line_of_key(root, named ? "devices.local.interface" : "devices.underlay.interface"),
                      "both devices have the interface " + shown(local.interface) + ", but devices.local.dpdk is not " +
                          (underlay.dpdk.empty() ? "the underlay's" : shown(underlay.dpdk)),
                      "give each device an interface of its own, or leave out devices.local.dpdk for one device"});
  }
}

void check_mtus(const YamlNode& root, const GatewayConfig& config, YamlErrors& errors) {
  if (config.underlay.dpdk.empty() && config.underlay_mtu) {
    errors.push_back({line_of_key(root, "devices.underlay.mtu"),
                      "devices.underlay.mtu is set without devices.underlay.dpdk",
                      "leave it out: the gateway follows the interface's own, as ip link sets it"});
  }
  if (!config.local.device.dpdk.empty() && config.local.mtu.value_or(0) > kMaxDpdkPacket.value()) {
    errors.push_back({line_of_key(root, "devices.local.mtu"),
                      "devices.local.mtu is " + std::to_string(*config.local.mtu) + ", more than a DPDK device carries",
                      "write at most " + std::to_string(kMaxDpdkPacket.value())});
  }
}

void check_hand_over(const YamlNode& root, const GatewayConfig& config, YamlErrors& errors) {
  if (config.uses_dpdk() && config.handover_wait_ms != 0) {
    errors.push_back({line_of_key(root, "handover.wait"),
                      "handover.wait is set, but a DPDK device cannot be handed over to another process",
                      "leave it out: a restart keeps the connections, by the file in state.directory"});
  }
}

// One device has one set of settings, which are the underlay's.
void share_underlay(const YamlNode& root, GatewayConfig& config, YamlErrors& errors) {
  const YamlNode* section = find_path(root, "devices.local");
  for (std::size_t i = 0; section != nullptr && i < section->keys.size(); ++i) {
    const YamlKey& key = section->keys[i];
    if (key.text != "interface" && key.text != "veth" && key.text != "delivery" && key.text != "dpdk") {
      errors.push_back({key.line, "devices.local." + key.text.substr(0, 60) + " is set for the underlay's own device",
                        key.text == "mtu" && config.underlay.dpdk.empty()
                            ? "leave it out: a device for both sides has no such setting"
                            : "one device has one set of settings: move it to devices.underlay"});
    }
  }
  config.local.device = config.underlay;
}

}  // namespace

void check_devices(const YamlNode& root, GatewayConfig& config, YamlErrors& errors) {
  check_hand_over(root, config, errors);
  check_mtus(root, config, errors);
  check_dpdk_device(root, "devices.underlay", config.underlay, kDefaultUnderlayTwin, errors);
  if (config.local.device.interface.empty() && config.local.device.dpdk.empty()) {
    return;  // which is an error already
  }
  if (config.local.veth) {
    check_veth(root, config, errors);
    return;
  }
  if (!same_dpdk_device(config.local.device.dpdk, config.underlay.dpdk)) {
    check_dpdk_device(root, "devices.local", config.local.device, kDefaultLocalTwin, errors);
  }
  join_local_device(root, config, errors);
  if (config.one_device()) {
    share_underlay(root, config, errors);
  }
}

}  // namespace isthmus
