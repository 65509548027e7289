#include "dataplane/api/device_facts.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "dataplane/io/af_xdp/netdev.h"
#include "dataplane/io/af_xdp/offloads.h"
#include "dataplane/io/unique_fd.h"
#include "xdp/loader/xdp_attachment.h"
#include "xdp/loader/xdp_features.h"

namespace isthmus {
namespace {

template <typename Command>
[[nodiscard]] std::optional<Command> ask_ethtool(const std::string& interface, std::uint32_t number) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  Command command{};
  command.cmd = number;
  std::memcpy(request.ifr_name, interface.data(), std::min(interface.size(), sizeof request.ifr_name - 1));
  request.ifr_data = reinterpret_cast<char*>(&command);
  return socket.valid() && ioctl(socket.get(), SIOCETHTOOL, &request) == 0 ? std::optional(command) : std::nullopt;
}

[[nodiscard]] std::optional<XdpAbilities> abilities_of(int interface_index) {
  const auto bits = xdp_features(interface_index);
  if (!bits) {
    return std::nullopt;
  }
  const auto has = [&](std::uint64_t bit) { return (*bits & bit) != 0; };
  return XdpAbilities{has(xdp_feature::kBasic), has(xdp_feature::kZeroCopy), has(xdp_feature::kTransmit)};
}

[[nodiscard]] std::optional<XdpOnInterface> program_of(const Interface& interface) {
  const auto found = attached_program(interface);
  if (!found || !*found) {
    return std::nullopt;
  }
  const AttachedProgram& program = **found;
  return XdpOnInterface{program.id, program.name, program.fd.valid(), program.is_steer(), program.native};
}

}  // namespace

Result<DeviceFacts> device_facts(const std::string& interface) {
  const auto netdev = netdev_facts(interface);
  if (!netdev) {
    return netdev.error();
  }
  DeviceFacts facts;
  facts.rx_queues = netdev->rx_queues;
  facts.tx_queues = netdev->tx_queues;
  facts.most_queues = std::min(facts.rx_queues, facts.tx_queues);
  if (const auto channels = ask_ethtool<ethtool_channels>(interface, ETHTOOL_GCHANNELS)) {
    const unsigned apart = std::min(channels->max_rx, channels->max_tx);
    facts.most_queues = std::max({facts.most_queues, channels->max_combined, apart});
  }
  if (const auto driver = ask_ethtool<ethtool_drvinfo>(interface, ETHTOOL_GDRVINFO)) {
    facts.driver.assign(driver->driver, strnlen(driver->driver, sizeof driver->driver));
    facts.bus.assign(driver->bus_info, strnlen(driver->bus_info, sizeof driver->bus_info));
  }
  facts.abilities = abilities_of(netdev->index);
  facts.program = program_of({interface, netdev->index});
  if (auto always = enabled_receive_offloads(interface, false)) {
    facts.offloads = *std::move(always);
  }
  if (auto generic = enabled_receive_offloads(interface, true)) {
    std::copy_if(generic->begin(), generic->end(), std::back_inserter(facts.generic_offloads), [&](const auto& name) {
      return std::find(facts.offloads.begin(), facts.offloads.end(), name) == facts.offloads.end();
    });
  }
  return facts;
}

}  // namespace isthmus
