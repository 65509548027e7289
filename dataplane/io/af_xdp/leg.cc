#include "dataplane/io/af_xdp/leg.h"

#include <utility>

#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/transmit_probe.h"

namespace isthmus {
namespace {

constexpr unsigned kMaxSingleBufferMtu = 3506;  // what native XDP takes in one buffer

// With the program that forwards settled flows, where it is wanted and this kernel takes it.
[[nodiscard]] Result<std::unique_ptr<SteerProgram>> load_steer(const AfXdpOptions& options,
                                                               SteerProgram::Settings settings,
                                                               std::optional<std::string>& no_forwarding) {
  if (options.kernel_forwarding == KernelForwarding::kOff) {
    no_forwarding = "the configuration says so";
  } else if (options.kernel_flows != nullptr) {
    settings.kernel_flows = options.kernel_flows.get();
    auto steer = SteerProgram::load(settings);
    if (steer) {
      return steer;
    }
    no_forwarding = steer.error().what;
  }
  settings.kernel_flows = nullptr;
  return SteerProgram::load(settings);
}

}  // namespace

Result<Leg> open_interface(const AfXdpOptions& options, std::optional<bool> long_packets, const SteerProgram* before) {
  auto interface = find_interface(options.interface);
  if (!interface) {
    return interface.error();
  }
  auto facts = netdev_facts(options.interface);
  if (!facts) {
    return facts.error();
  }
  if (!facts->up) {
    return Error{"the interface is down", options.interface,
                 "bring it up: `ip link set dev " + options.interface + " up`"};
  }
  const bool takes_long = long_packets.value_or(facts->mtu > kMaxAfXdpPacket.value() && SteerProgram::kernel_gathers());
  SteerProgram::Settings settings;
  settings.queues = facts->rx_queues;
  settings.heartbeat_timeout_ms = options.heartbeat_timeout_ms;
  settings.beside = options.beside && before == nullptr;
  settings.engine_down_passes = !options.fleet_traffic_on_engine_down_drops;
  settings.fragments = takes_long || facts->mtu > kMaxSingleBufferMtu;  // the MTU may be raised again
  settings.longest = takes_long ? kMaxLongPacket : kMaxAfXdpPacket;
  settings.orphan_timeout_ms = options.kernel_forwarding_hold_ms;
  if (!options.point_to_point) {
    settings.mac = facts->mac;
  }
  std::optional<std::string> no_forwarding;
  auto steer = load_steer(options, settings, no_forwarding);
  if (!steer) {
    return steer.error();
  }
  if (Status attached = (*steer)->attach(*interface, options.mode, before); !attached) {
    return attached.error();
  }
  if (options.kernel_flows != nullptr) {
    options.kernel_flows->losses().count_at(interface->index, (*steer)->counters());
  }
  Leg leg{*std::move(interface), *facts, *std::move(steer), std::move(no_forwarding)};
  leg.no_transmission = why_not_transmitting(leg.interface);
  leg.long_packets = takes_long;
  return leg;
}

}  // namespace isthmus
