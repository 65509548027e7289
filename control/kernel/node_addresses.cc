#include "control/kernel/node_addresses.h"

#include <linux/if_addr.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "control/kernel/route_entry.h"

namespace isthmus {
namespace {

std::string interface_of(const Links& links, int index) {
  const LinkState* link = links.by_index(index);
  return link == nullptr ? "interface " + std::to_string(index) : link->interface;
}

Result<std::vector<NodeAddress>> list_addresses(NetlinkRequests& requests, const Links& links) {
  NetlinkMessage message(RTM_GETADDR, 0);
  message.header<ifaddrmsg>().ifa_family = AF_UNSPEC;
  std::vector<NodeAddress> addresses;
  const auto failed = requests.dump(
      message, [&addresses] { addresses.clear(); },
      [&](const nlmsghdr* reply) {
        const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(reply));
        const NetlinkAttributes attributes(reply, sizeof(*header));
        // On a point-to-point interface IFA_ADDRESS is the other end.
        const auto local = attributes.address(IFA_LOCAL);
        if (const auto address = local ? local : attributes.address(IFA_ADDRESS)) {
          const bool network = attributes.address(IFA_ADDRESS) == address;  // and no other end
          addresses.push_back({*address, interface_of(links, static_cast<int>(header->ifa_index)), false,
                               network ? header->ifa_prefixlen : std::uint8_t{128}});
        }
      });
  if (failed) {
    return Error{"cannot list the node's addresses: " + failed->text, "netlink", "run as root or with CAP_NET_ADMIN"};
  }
  return addresses;
}

}  // namespace

Result<std::vector<NodeAddress>> query_node_addresses(NetlinkRequests& requests, const Links& links) {
  auto addresses = list_addresses(requests, links);
  if (!addresses) {
    return addresses;
  }
  for (const Family family : kFamilies) {
    std::set<std::pair<IpAddress, int>> routers;
    const auto failed = visit_routers(
        requests, family, [&] { routers.clear(); },
        [&](const IpAddress& address, int interface) { routers.emplace(address, interface); });
    if (failed) {
      return *failed;
    }
    for (const auto& [address, interface] : routers) {
      addresses->push_back({address, interface_of(links, interface), true});
    }
  }
  std::sort(addresses->begin(), addresses->end());
  addresses->erase(std::unique(addresses->begin(), addresses->end()), addresses->end());
  return addresses;
}

}  // namespace isthmus
