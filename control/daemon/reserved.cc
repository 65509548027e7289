#include "control/daemon/reserved.h"

#include <algorithm>
#include <string>

#include "config/model/special_prefixes.h"

namespace isthmus {

std::optional<IpAddress> server_address(std::string_view server) {
  if (const std::size_t scheme = server.find("://"); scheme != std::string_view::npos) {
    server.remove_prefix(scheme + 3);
  }
  server = server.substr(0, server.find('/'));
  if (const auto alone = IpAddress::parse(std::string(server))) {
    return alone;  // IPv6 without a port
  }
  if (!server.empty() && server.front() == '[') {
    return IpAddress::parse(std::string(server.substr(1, server.find(']') - 1)));
  }
  return IpAddress::parse(std::string(server.substr(0, server.find(':'))));
}

std::vector<ReservedAddress> reserved_addresses(const std::vector<NodeAddress>& node,
                                                const std::vector<HubState>& hubs) {
  std::vector<ReservedAddress> reserved;
  for (const NodeAddress& address : node) {
    if (!is_special(address.address)) {  // nobody can claim these anyway, and each pod's interface has one
      reserved.push_back(
          {address.address,
           std::string(address.router ? "a router" : "an address") + " of this node (" + address.interface + ")",
           address.router});
      if (const Prefix network(address.address, address.length); network.address() != network.last()) {
        reserved.push_back({network.address(), "a network of this node (" + address.interface + ")", true, network});
      }
    }
  }
  for (const HubState& hub : hubs) {
    std::vector<std::string> servers = hub.servers;
    servers.push_back(hub.server);
    for (const std::string& server : servers) {
      if (const auto address = server_address(server)) {
        reserved.push_back({*address, "the server of a hub (" + hub.hub + ")", true});
      }
    }
  }
  std::sort(reserved.begin(), reserved.end());
  reserved.erase(std::unique(reserved.begin(), reserved.end()), reserved.end());
  return reserved;
}

}  // namespace isthmus
