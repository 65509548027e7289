#include "dataplane/io/af_xdp/netdev.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/io/unique_fd.h"

namespace isthmus {

Result<NetdevFacts> netdev_facts(const std::string& interface) {
  const auto failed = [&](const char* what) {
    return Error{std::string(what) + ": " + std::strerror(errno), interface, "see `ip link show`"};
  };
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid() || interface.size() >= IFNAMSIZ) {
    return failed("cannot read its properties");
  }
  ifreq request{};
  std::memcpy(request.ifr_name, interface.data(), interface.size());
  NetdevFacts facts;
  if (ioctl(socket.get(), SIOCGIFINDEX, &request) != 0) {
    return failed("cannot find it");
  }
  facts.index = request.ifr_ifindex;
  if (ioctl(socket.get(), SIOCGIFMTU, &request) != 0) {
    return failed("cannot read its MTU");
  }
  facts.mtu = static_cast<unsigned>(request.ifr_mtu);
  if (ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0) {
    return failed("cannot read its MAC address");
  }
  std::memcpy(facts.mac.bytes.data(), request.ifr_hwaddr.sa_data, facts.mac.bytes.size());
  if (ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) {
    return failed("cannot read its flags");
  }
  facts.up = (request.ifr_flags & IFF_UP) != 0;
  facts.running = facts.up && (request.ifr_flags & IFF_RUNNING) != 0;
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(socket.get(), SIOCETHTOOL, &request) == 0) {
    facts.rx_queues = std::max(1u, channels.rx_count + channels.combined_count);
    facts.tx_queues = std::max(1u, channels.tx_count + channels.combined_count);
  } else if (errno != EOPNOTSUPP) {
    return failed("cannot read its number of queues");
  }  // otherwise the driver has one queue
  return facts;
}

}  // namespace isthmus
