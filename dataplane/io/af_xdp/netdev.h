// Properties of a network interface, read by ioctl. Control thread, in the interface's network namespace.
#pragma once

#include <string>

#include "dataplane/base/result.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct NetdevFacts {
  int index = 0;
  MacAddress mac;
  unsigned mtu = 0;
  unsigned rx_queues = 1;  // active, not merely allocated
  unsigned tx_queues = 1;
  bool up = false;       // administratively
  bool running = false;  // up, and with a carrier
};
[[nodiscard]] Result<NetdevFacts> netdev_facts(const std::string& interface);

}  // namespace isthmus
