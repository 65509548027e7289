// The section `devices`, and what DPDK is given for the devices that it has.
#include <utility>

#include "config/load/field_kinds.h"
#include "config/load/fields.h"
#include "config/model/dpdk_name.h"

namespace isthmus {
namespace {

using namespace config_field;

constexpr std::uint64_t kLongestHeartbeat = 3'600'000;  // an hour

bool is_dpdk_name(std::string_view text) { return dpdk_name_kind(text).has_value(); }

ConfigField local_mtu() {
  ConfigField field{
      "devices.local.mtu",
      "auto, or number, 1280 to " + std::to_string(kMaxLongPacket.value()),
      false,
      {},
      {},
      "MTU of the local device. `auto`: the underlay's, or where that is less the 3506 bytes that XDP programs "
      "forward, or with `kernel_forwarding: off` on both devices or `engine.kernel_flows: 0` the 3826 that a packet "
      "buffer holds (before Linux 6.6 lost in native mode); less the tunnel's 50 bytes, or 70 where the gateway has "
      "an IPv6 underlay address. Packets of more than 3506 bytes are forwarded by the engine, those of more than 3826 "
      "on Linux 6.6 or later. Beside a DPDK device 3634 take the place of 3826. Of a DPDK device: what it is set to; "
      "`auto`: as it is."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (node.kind == YamlNode::Kind::kScalar && node.text == "auto") {
      config.local.mtu.reset();
    } else if (const auto value =
                   read_number(node, "devices.local.mtu", 1280, kMaxLongPacket.value(), errors, "auto, or a number")) {
      config.local.mtu = static_cast<std::uint32_t>(*value);
    }
  };
  field.show = [](const GatewayConfig& config) {
    return config.local.mtu ? std::to_string(*config.local.mtu) : std::string("auto");
  };
  return field;
}

ConfigField underlay_mtu() {
  const std::string most = std::to_string(kMaxDpdkPacket.value());
  ConfigField field{
      "devices.underlay.mtu",
      "auto, or number, 1280 to " + most,
      false,
      {},
      {},
      "MTU that a DPDK device, and its interface in the kernel, are set to. `auto`: as it is. Without `dpdk` "
      "the gateway follows the interface's."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    if (node.kind == YamlNode::Kind::kScalar && node.text == "auto") {
      config.underlay_mtu.reset();
    } else if (const auto value = read_number(node, "devices.underlay.mtu", 1280, kMaxDpdkPacket.value(), errors,
                                              "auto, or a number")) {
      config.underlay_mtu = static_cast<std::uint32_t>(*value);
    }
  };
  field.show = [](const GatewayConfig& config) {
    return config.underlay_mtu ? std::to_string(*config.underlay_mtu) : std::string("auto");
  };
  return field;
}

// A row that only AF_XDP has: a DPDK device shows none.
template <DeviceConfig& (*Device)(GatewayConfig&)>
ConfigField af_xdp_only(ConfigField field) {
  field.show = [show = field.show](const GatewayConfig& config) {
    return member<DeviceConfig>(Device, config).dpdk.empty() ? show(config) : std::string();
  };
  return field;
}

// The settings of a device of either side. `Device` returns that device of a configuration.
template <DeviceConfig& (*Device)(GatewayConfig&)>
void add_device_settings(const std::string& section, std::vector<ConfigField>& fields) {
  fields.push_back(af_xdp_only<Device>(choice<XdpMode>(
      section + ".xdp", [](GatewayConfig& c) -> XdpMode& { return Device(c).xdp; },
      {{"auto", XdpMode::kAuto}, {"native", XdpMode::kNative}, {"generic", XdpMode::kGeneric}},
      "XDP in the driver (`native`) or the kernel's generic form. `auto`: native where the driver supports it.")));
  fields.push_back(af_xdp_only<Device>(choice<ZeroCopy>(
      section + ".zero_copy", [](GatewayConfig& c) -> ZeroCopy& { return Device(c).zero_copy; },
      {{"auto", ZeroCopy::kAuto}, {"off", ZeroCopy::kOff}, {"require", ZeroCopy::kRequire}},
      "AF_XDP without copying. `auto`: where the driver supports it; `require`: fail otherwise.")));
  fields.push_back(af_xdp_only<Device>(choice<KernelForwarding>(
      section + ".kernel_forwarding", [](GatewayConfig& c) -> KernelForwarding& { return Device(c).kernel_forwarding; },
      {{"auto", KernelForwarding::kAuto}, {"on", KernelForwarding::kOn}, {"off", KernelForwarding::kOff}},
      "The XDP program forwards packets of settled flows itself. `auto`: unless AF_XDP works without copying. Flows "
      "that leave by a device which does not send what XDP redirects to it stay with the engine (on a veth, its "
      "other end needs GRO: `ethtool -K PEER gro on`). `isthmus status` says in its column MODE which it is, and "
      "why.")));
  fields.push_back(af_xdp_only<Device>(number<std::uint32_t>(
      section + ".busy_poll_us", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).busy_poll_us; }, 0, 10000,
      "Microseconds of busy polling in the kernel per wake-up; 0 is off.")));
  fields.push_back(af_xdp_only<Device>(number<std::uint32_t>(
      section + ".busy_poll_budget", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).busy_poll_budget; }, 8,
      1024, "Packets that the driver handles in one busy poll.")));
  fields.push_back(power_of_two(
      section + ".ring_entries", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).ring_entries; }, 64, 32768,
      "Entries of each ring of a queue, and buffers posted for receiving: more absorb a longer burst, fewer "
      "stay in the caches."));
  fields.push_back(af_xdp_only<Device>(duration<std::uint32_t>(
      section + ".heartbeat_timeout", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).heartbeat_timeout_ms; },
      200, kLongestHeartbeat,
      "The XDP program considers the engine down after this time without a heartbeat, of which an idle worker has "
      "one in 100 ms.")));
  fields.push_back(af_xdp_only<Device>(choice<EngineDownPolicy>(
      section + ".on_engine_down", [](GatewayConfig& c) -> EngineDownPolicy& { return Device(c).on_engine_down; },
      {{"drop", EngineDownPolicy::kDrop}, {"pass", EngineDownPolicy::kPass}},
      "Fleet traffic while the engine is down, but for settled flows during `engine.kernel_flow_hold`: `drop` it, "
      "or `pass` it to the kernel, which may route it around the tunnel. All other packets pass in either case.")));
}

DeviceConfig& underlay_of(GatewayConfig& config) { return config.underlay; }
DeviceConfig& local_of(GatewayConfig& config) { return config.local.device; }

}  // namespace

void add_device_fields(std::vector<ConfigField>& fields) {
  constexpr auto kInterface = "an interface name of 1 to 15 characters";
  constexpr auto kDpdk = "a PCI address, devargs of DPDK's, an interface name";
  ConfigField interface = name(
      "devices.underlay.interface", [](GatewayConfig& c) -> std::string& { return c.underlay.interface; },
      is_interface_name, kInterface,
      "The interface towards the other gateways. Beside `dpdk`: the one that is made for the kernel, by which it goes "
      "on using the NIC, `dpdk0` unless it is named.");
  fields.push_back(required(std::move(interface), "devices.underlay.dpdk"));
  fields.push_back(name(
      "devices.underlay.dpdk", [](GatewayConfig& c) -> std::string& { return c.underlay.dpdk; }, is_dpdk_name, kDpdk,
      "The NIC is DPDK's (package isthmus-dpdk), and not used by AF_XDP: its PCI address, as `0000:00:05.0`, bound to "
      "vfio-pci; a device of another bus, or one of DPDK's software devices, as `net_memif0,role=client`; or, of a NIC "
      "whose driver shares it with DPDK (mlx5, mlx4, mana), its name. The keys that only AF_XDP has are errors beside "
      "it. A DPDK device cannot be handed over to another process."));
  fields.push_back(underlay_mtu());
  add_device_settings<underlay_of>("devices.underlay", fields);
  interface = name(
      "devices.local.interface", [](GatewayConfig& c) -> std::string& { return c.local.device.interface; },
      is_interface_name, kInterface,
      "The interface towards this cluster. Where it is the underlay's, one device serves both sides, with the "
      "underlay's settings. Beside `dpdk`: as `devices.underlay.interface`, `dpdk1` unless it is named.");
  fields.push_back(required(std::move(interface), "devices.local.dpdk"));
  fields.push_back(name(
      "devices.local.dpdk", [](GatewayConfig& c) -> std::string& { return c.local.device.dpdk; }, is_dpdk_name, kDpdk,
      "As `devices.underlay.dpdk`. Where it is the same, one device serves both sides."));
  fields.push_back(boolean(
      "devices.local.veth", [](GatewayConfig& c) -> bool& { return c.local.veth; },
      "Create or adopt a veth pair: `interface` (at most 14 characters) is the kernel's end and carries the routes; "
      "the engine's end has an `x` appended."));
  fields.push_back(local_mtu());
  fields.push_back(choice<LocalDelivery>(
      "devices.local.delivery", [](GatewayConfig& c) -> LocalDelivery& { return c.local.delivery; },
      {{"route", LocalDelivery::kRoute}, {"tunnel", LocalDelivery::kTunnel}},
      "How pods of this cluster are reached: `route`, as the kernel's routes say; `tunnel`, in their node's tunnel "
      "with the identity in it, as Cilium's nodes send, and the nodes' tunnels are accepted. `tunnel` needs the "
      "nodes' addresses and pod CIDRs in the hub, and a host without an overlay of its own on that port."));
  add_device_settings<local_of>("devices.local", fields);
}

void add_dpdk_fields(std::vector<ConfigField>& fields) {
  fields.push_back(number<std::uint32_t>(
      "engine.dpdk.memory_mb", [](GatewayConfig& c) -> std::uint32_t& { return c.dpdk_memory.megabytes; }, 16, 65536,
      "MiB that DPDK takes for its rings and descriptors, where there is a DPDK device. Packet buffers are beside it, "
      "`engine.frames` of 4 KiB for each worker."));
  fields.push_back(choice<DpdkPages>(
      "engine.dpdk.huge_pages", [](GatewayConfig& c) -> DpdkPages& { return c.dpdk_memory.pages; },
      {{"auto", DpdkPages::kAuto}, {"required", DpdkPages::kHuge}, {"none", DpdkPages::kOrdinary}},
      "Pages of that memory. `auto`: huge ones if any are free; `required`: the gateway does not start without. NICs "
      "need "
      "them, software devices do not. `isthmus doctor` says how many to reserve, and how."));
  fields.push_back(choice<DpdkIommu>(
      "engine.dpdk.iommu", [](GatewayConfig& c) -> DpdkIommu& { return c.dpdk_iommu; },
      {{"required", DpdkIommu::kRequired}, {"none", DpdkIommu::kNone}},
      "A NIC that no IOMMU keeps in bounds can read and write all of this machine's memory. `required`: the gateway "
      "does "
      "not start with one; `none`: it may, as on most virtual machines, whose NICs their hypervisor keeps in bounds."));
}

}  // namespace isthmus
