#include "control/daemon/node.h"

#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "control/machine/dpdk_nic.h"
#include "dataplane/api/devices.h"

namespace isthmus {
namespace {

// The most that one of our tunnels adds to an IP packet. Peers are reached over a family that both ends have.
Bytes tunnel_overhead(const OwnGateway& own) {
  Bytes most{0};
  for (const EncapsulationInfo& info : encapsulations()) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      if (own.address(family) != nullptr) {
        most = std::max(most, encapsulation_overhead(info.kind, family));
      }
    }
  }
  return most;
}

struct UniqueSocket {
  UniqueSocket() = default;
  ~UniqueSocket() { ::close(fd); }
  UniqueSocket(const UniqueSocket&) = delete;
  UniqueSocket& operator=(const UniqueSocket&) = delete;
  int fd = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

Seconds rounded_up(std::uint64_t milliseconds) {
  return Seconds{static_cast<std::uint32_t>(std::min<std::uint64_t>((milliseconds + 999) / 1000, UINT32_MAX))};
}

// `point_to_point`: the engine end of our veth pair.
AfXdpOptions af_xdp_options(const Node& node, const DeviceConfig& config, const std::string& interface,
                            bool point_to_point) {
  AfXdpOptions options;
  options.beside = node.beside;
  options.kernel_flows = node.kernel_flows;
  options.no_kernel_flows = node.no_kernel_flows;
  options.kernel_forwarding_hold_ms = node.kernel_flow_hold_ms;
  options.interface = interface;
  options.mode = config.xdp;
  options.zero_copy = config.zero_copy;
  options.ring_entries = config.ring_entries;
  options.kernel_forwarding = config.kernel_forwarding;
  options.busy_poll_us = config.busy_poll_us;
  options.busy_poll_budget = config.busy_poll_budget;
  options.heartbeat_timeout_ms = config.heartbeat_timeout_ms;
  options.fleet_traffic_on_engine_down_drops = config.on_engine_down == EngineDownPolicy::kDrop;
  options.point_to_point = point_to_point;
  return options;
}

// Whether a socket of this host, the kernel's tunnel devices included, has the UDP port at any address.
bool port_in_use(L4Port port) {
  const UniqueSocket socket;
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port.value());
  return ::bind(socket.fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 && errno == EADDRINUSE;
}

// `key` names the configuration's. The interface is the kernel's twin of the device.
Result<std::unique_ptr<Device>> open_dpdk_device(Node& node, const GatewayConfig& config, const DeviceConfig& device,
                                                 std::optional<std::uint32_t> mtu, const std::string& key) {
  DpdkOptions options;
  auto devargs = dpdk_devargs(key, device.dpdk, config.dpdk_iommu);
  if (!devargs) {
    return devargs.error();
  }
  options.device = *std::move(devargs);
  options.ring_entries = device.ring_entries;
  options.mtu = mtu.value_or(0);
  options.memory = config.dpdk_memory;
  options.twin = device.interface;
  options.workers = config.cores.empty() ? config.workers : static_cast<unsigned>(config.cores.size());
  options.cores = config.cores;
  auto opened = open_dpdk(options);
  if (!opened) {
    return opened;
  }
  if (Status taken = node.twins->take_over(options.device, options.twin); !taken) {
    return taken.error();
  }
  return opened;
}

// Buffers are smaller beside a DPDK device, which has a part of each.
Status check_beside_dpdk(const Device& device) {
  if (device.has_long_packets() || device.mtu() <= kMaxDpdkPacket) {
    return Ok{};
  }
  const std::string most = std::to_string(kMaxDpdkPacket.value());
  return Error{"its MTU is " + std::to_string(device.mtu().value()) +
                   ", and beside a DPDK device a buffer holds packets of " + most + " bytes",
               device.name(), "ip link set " + device.name() + " mtu " + most};
}

// The interface by which the kernel has the device as well.
Result<DeviceId> add_device(Node& node, std::unique_ptr<Device> device, const std::string& interface) {
  auto id = node.engine->add_device(std::move(device));
  if (id) {
    node.interfaces.resize(std::max<std::size_t>(node.interfaces.size(), id->value() + std::size_t{1}));
    node.interfaces[id->value()] = interface;
  }
  return id;
}

// Opens the interface and hands it to the engine.
Result<DeviceId> add_af_xdp(Node& node, const GatewayConfig& config, const DeviceConfig& device,
                            const std::string& interface, bool point_to_point) {
  auto opened = open_af_xdp(af_xdp_options(node, device, interface, point_to_point));
  if (!opened) {
    return opened.error();
  }
  if (Status fits = config.uses_dpdk() ? check_beside_dpdk(**opened) : Status(Ok{}); !fits) {
    return fits.error();
  }
  return add_device(node, *std::move(opened), interface);
}

// Creates or adopts the veth pair, if one is configured. Returns the interface that the engine receives from.
Result<std::string> prepare_local(const GatewayConfig& config, const OwnGateway& own, Node& node, Bytes underlay_mtu) {
  if (!config.local.veth) {
    return config.local.device.interface;
  }
  const LocalDeviceOptions options = local_device_options(config, own, underlay_mtu);
  const auto created = node.kernel->make_local_device(options);
  if (!created) {
    return created.error();
  }
  node.kernel_end = created->kernel_end;
  return created->engine_end.interface;
}

bool may_hand_down(const GatewayConfig& config) {
  const auto may = [](const DeviceConfig& device) {
    return device.dpdk.empty() && device.kernel_forwarding != KernelForwarding::kOff;
  };
  return config.kernel_flows != 0 && (may(config.underlay) || may(config.local.device));
}

// The maps of flows that XDP programs forward, if any device may have some. Without them the engine forwards all.
void make_kernel_flows(const GatewayConfig& config, Node& node) {
  if (!may_hand_down(config)) {
    return;
  }
  auto flows = open_kernel_flows({.entries = std::max(config.kernel_flows, kLeastKernelFlows)});
  if (flows) {
    node.kernel_flows = *std::move(flows);
  } else {
    node.no_kernel_flows = flows.error().what;
    spdlog::warn("{}; {}", flows.error().what, flows.error().fix);
  }
  node.kernel_flow_hold_ms = config.kernel_flow_hold_ms;
}

std::vector<std::string> forwarding_interfaces(const GatewayConfig& config) {
  std::vector<std::string> interfaces;
  if (config.local.veth) {
    return interfaces;
  }
  for (const DeviceConfig* device : {&config.underlay, &config.local.device}) {
    if (device->on_engine_down == EngineDownPolicy::kDrop &&
        std::find(interfaces.begin(), interfaces.end(), device->interface) == interfaces.end()) {
      interfaces.push_back(device->interface);
    }
  }
  return interfaces;
}

}  // namespace

LocalDeviceOptions local_device_options(const GatewayConfig& config, const OwnGateway& own, Bytes underlay_mtu) {
  LocalDeviceOptions options;
  options.kernel_end = config.local.device.interface;
  options.queues = config.cores.empty() ? config.workers : static_cast<unsigned>(config.cores.size());
  const Bytes most = may_hand_down(config) ? kMaxForwardedPacket
                     : config.uses_dpdk()  ? kMaxDpdkPacket
                                           : kMaxAfXdpPacket;
  const std::uint32_t carried = std::min(underlay_mtu.value(), most.value());
  options.mtu = Bytes{config.local.mtu.value_or(carried - tunnel_overhead(own).value())};
  return options;
}

EngineOptions engine_options(const GatewayConfig& config, const OwnGateway& own) {
  EngineOptions options;
  options.name = config.name;
  options.state_directory = config.state_directory;
  options.cores = config.cores;
  options.workers = config.workers;
  options.idle = config.idle;
  options.worker_handoff = config.worker_handoff;
  options.frames = config.frames;
  options.cluster = own.cluster;
  options.cluster_bits = own.cluster_bits;
  options.tunnel = own.tunnel_ends();
  options.translation_ipv4 = config.translation_ipv4;
  options.translation_ipv6 = config.translation_ipv6;
  options.translation_first = config.translation_first;
  options.translation_last = config.translation_last;
  options.direct_return = config.direct_return == DirectReturn::kGeneve;
  options.connections = config.connections;
  options.half_open_limit = config.half_open_limit;
  options.flow_events_per_second = config.observe_rate;
  options.midstream = config.midstream;
  options.timeouts = {rounded_up(config.timeout_tcp_ms), rounded_up(config.timeout_tcp_syn_ms),
                      rounded_up(config.timeout_tcp_closing_ms), rounded_up(config.timeout_other_ms),
                      rounded_up(config.timeout_half_open_ms)};
  options.fragments = config.fragments;
  options.fragment_timeout = rounded_up(config.fragment_timeout_ms);
  options.icmp_errors_per_second = config.icmp_errors_per_second;
  options.echo_answers_per_second = config.echo_answers_per_second;
  options.unknown_endpoint_hold = rounded_up(config.unknown_endpoint_hold_ms);
  options.identity_grace = rounded_up(config.identity_grace_ms);
  return options;
}

// Tunnels of our own nodes would be taken from an overlay of this host that has the same port.
Status check_node_tunnels(const GatewayConfig& config, const OwnGateway& own) {
  if (config.local.delivery != LocalDelivery::kTunnel) {
    return Ok{};
  }
  const EncapsulationInfo& info = encapsulation_info(own.cluster_encapsulation);
  const std::string where = config.file + ": devices.local.delivery";
  if (info.kind == EncapsulationKind::kNone) {
    return Error{"delivery in the nodes' tunnels, but the Cluster object of our cluster has encapsulation none", where,
                 "write route, or correct spec.encapsulation of the Cluster object"};
  }
  if (own.tunnel_ends().port(info.kind) != info.default_port) {
    return Error{"the nodes send " + std::string(info.name) + " to port " + std::to_string(info.default_port.value()) +
                     ", but this gateway has another port for it",
                 where, "leave out spec.port of the Gateway object, or write route"};
  }
  if (port_in_use(info.default_port)) {
    return Error{"UDP port " + std::to_string(info.default_port.value()) +
                     " is in use on this host, by Cilium's overlay for example: its packets would be taken from it",
                 where, "run the gateway on a host without that overlay, or write route"};
  }
  return Ok{};
}

namespace {

// An interface that AF_XDP is to use. Error: it is not there, or has no Ethernet.
Result<LinkState> ethernet_link(Kernel& kernel, const std::string& interface) {
  auto link = kernel.link(interface);
  if (link && !link->ethernet) {
    return Error{"the interface has no Ethernet", interface,
                 "give the gateway an Ethernet interface: devices.underlay.interface, devices.local.interface"};
  }
  return link;
}

// The underlay device where DPDK has it: its MTU is known once it is open. nullptr: it is one for AF_XDP.
Result<std::unique_ptr<Device>> open_dpdk_underlay(Node& node, const GatewayConfig& config) {
  return config.underlay.dpdk.empty()
             ? std::unique_ptr<Device>()
             : open_dpdk_device(node, config, config.underlay, config.underlay_mtu, "devices.underlay.dpdk");
}

Result<DeviceId> add_local_device(Node& node, const GatewayConfig& config, const std::string& interface) {
  const DeviceConfig& device = config.local.device;
  if (device.dpdk.empty()) {
    return add_af_xdp(node, config, device, interface, config.local.veth);
  }
  auto opened = open_dpdk_device(node, config, device, config.local.mtu, "devices.local.dpdk");
  return opened ? add_device(node, *std::move(opened), interface) : Result<DeviceId>(opened.error());
}

Status make_engine(Node& node, const GatewayConfig& config, const OwnGateway& own) {
  make_kernel_flows(config, node);
  EngineOptions options = engine_options(config, own);
  options.hand_down = {.flows = node.kernel_flows, .packets_per_second = config.kernel_flow_rate};
  options.beside = node.beside;
  auto engine = Engine::create(options);
  if (!engine) {
    return engine.error();
  }
  node.engine = std::move(*engine);
  return Ok{};
}

// Makes the veth pair, where there is one, opens the devices, and gives them to the engine.
Status add_devices(Node& node, const GatewayConfig& config, const OwnGateway& own) {
  auto dpdk_underlay = open_dpdk_underlay(node, config);
  if (!dpdk_underlay) {
    return dpdk_underlay.error();
  }
  Bytes mtu{0};
  if (*dpdk_underlay != nullptr) {
    mtu = (*dpdk_underlay)->mtu();
  } else if (auto link = ethernet_link(*node.kernel, config.underlay.interface)) {
    mtu = link->mtu;
  } else {
    return link.error();
  }
  const auto local_interface = prepare_local(config, own, node, mtu);
  if (!local_interface) {
    return local_interface.error();
  }
  if (config.local.device.dpdk.empty() && !config.one_device()) {
    if (auto link = ethernet_link(*node.kernel, *local_interface); !link) {
      return link.error();
    }
  }
  if (Status made = make_engine(node, config, own); !made) {
    return made;
  }
  const auto underlay = *dpdk_underlay != nullptr
                            ? add_device(node, *std::move(dpdk_underlay), config.underlay.interface)
                            : add_af_xdp(node, config, config.underlay, config.underlay.interface, false);
  if (!underlay) {
    return underlay.error();
  }
  node.underlay = node.local = *underlay;
  if (config.one_device()) {
    return Ok{};
  }
  const auto local = add_local_device(node, config, *local_interface);
  if (!local) {
    return local.error();
  }
  node.local = *local;
  return Ok{};
}

}  // namespace

Result<Node> bring_up(const GatewayConfig& config, const OwnGateway& own, bool beside) {
  if (auto status = check_node_tunnels(config, own); !status) {
    return status.error();
  }
  Node node;
  node.beside = beside;
  auto kernel = Kernel::open();
  if (!kernel) {
    return kernel.error();
  }
  node.kernel = std::move(*kernel);
  node.twins.emplace(*node.kernel);
  if (Status given = node.twins->give_back_unused(config); !given) {
    return given.error();
  }
  if (Status added = add_devices(node, config, own); !added) {
    node.twins->give_back();
    return added.error();
  }
  node.forwarding = forwarding_interfaces(config);
  if (beside) {
    return node;
  }
  if (auto started = node.engine->start(); !started) {
    node.twins->give_back();
    return started.error();
  }
  return node;
}

}  // namespace isthmus
