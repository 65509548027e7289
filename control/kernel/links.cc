#include "control/kernel/links.h"

#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>

#include <cerrno>
#include <utility>

namespace isthmus {
namespace {

// A link without an operational state (loopback, tun) counts as running while it has a carrier.
bool is_running(unsigned flags, std::optional<std::uint32_t> operstate) {
  if (operstate.value_or(IF_OPER_UNKNOWN) != IF_OPER_UNKNOWN) {
    return *operstate == IF_OPER_UP;
  }
  return (flags & IFF_LOWER_UP) != 0;
}

}  // namespace

LinkDetails parse_link(const nlmsghdr* message) {
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof(*header));
  LinkDetails link;
  link.removed = message->nlmsg_type == RTM_DELLINK;
  link.state.index = header->ifi_index;
  link.state.interface = attributes.text(IFLA_IFNAME);
  link.state.mtu = Bytes{attributes.number(IFLA_MTU).value_or(0)};
  link.state.ethernet = header->ifi_type == ARPHRD_ETHER;
  link.state.mac = attributes.mac(IFLA_ADDRESS).value_or(MacAddress{});
  link.state.up = (header->ifi_flags & IFF_UP) != 0;
  link.state.running = link.state.up && is_running(header->ifi_flags, attributes.number(IFLA_OPERSTATE));
  if (const nlattr* info = attributes.get(IFLA_LINKINFO); info != nullptr) {
    link.state.kind = NetlinkAttributes(info).text(IFLA_INFO_KIND);
  }
  if (const nlattr* xdp = attributes.get(IFLA_XDP); xdp != nullptr) {
    link.state.xdp_program = NetlinkAttributes(xdp).number(IFLA_XDP_PROG_ID).value_or(0);
  }
  link.peer_index = static_cast<int>(attributes.number(IFLA_LINK).value_or(0));
  link.peer_elsewhere = attributes.get(IFLA_LINK_NETNSID) != nullptr;
  link.rx_queues = attributes.number(IFLA_NUM_RX_QUEUES).value_or(1);
  link.tx_queues = attributes.number(IFLA_NUM_TX_QUEUES).value_or(1);
  link.no_arp = (header->ifi_flags & IFF_NOARP) != 0;
  link.multicast = (header->ifi_flags & IFF_MULTICAST) != 0;
  return link;
}

Result<std::optional<LinkDetails>> query_link(NetlinkRequests& requests, const std::string& interface) {
  NetlinkMessage message(RTM_GETLINK, 0);
  message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.put(IFLA_IFNAME, interface);
  std::optional<LinkDetails> link;
  const auto failed = requests.get(message, [&link](const nlmsghdr* reply) { link = parse_link(reply); });
  if (failed && failed->code != ENODEV) {
    return Error{"cannot read the interface: " + failed->text, interface, "check the interface's name"};
  }
  return link;
}

Result<std::vector<LinkState>> Links::reload(NetlinkRequests& requests) {
  std::map<int, LinkState> current;
  NetlinkMessage message(RTM_GETLINK, 0);
  message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
  const auto failed = requests.dump(
      message, [&current] { current.clear(); },
      [&current](const nlmsghdr* reply) {
        LinkDetails link = parse_link(reply);
        current[link.state.index] = std::move(link.state);
      });
  if (failed) {
    return Error{"cannot list the interfaces: " + failed->text, "netlink", "run as root or with CAP_NET_ADMIN"};
  }
  std::vector<LinkState> changed;
  for (const auto& [index, link] : by_index_) {
    if (!current.contains(index)) {
      changed.push_back(link);
      changed.back().removed = true;
      changed.back().up = changed.back().running = false;
    }
  }
  for (const auto& [index, link] : current) {
    const auto before = by_index_.find(index);
    if (before == by_index_.end() || before->second != link) {
      changed.push_back(link);
    }
  }
  by_index_ = std::move(current);
  return changed;
}

std::optional<LinkState> Links::apply(const nlmsghdr* message) {
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  if (header->ifi_family != AF_UNSPEC) {
    return std::nullopt;  // a bridge's or IPv6's own message about a link, without the link's attributes
  }
  LinkDetails link = parse_link(message);
  const auto found = by_index_.find(link.state.index);
  if (link.removed) {
    if (found == by_index_.end()) {
      return std::nullopt;
    }
    link.state = found->second;
    link.state.removed = true;
    link.state.up = link.state.running = false;
    by_index_.erase(found);
    return link.state;
  }
  if (found != by_index_.end() && found->second == link.state) {
    return std::nullopt;
  }
  by_index_[link.state.index] = link.state;
  return link.state;
}

const LinkState* Links::by_index(int index) const {
  const auto found = by_index_.find(index);
  return found == by_index_.end() ? nullptr : &found->second;
}

const LinkState* Links::by_name(const std::string& interface) const {
  for (const auto& [index, link] : by_index_) {
    if (link.interface == interface) {
      return &link;
    }
  }
  return nullptr;
}

}  // namespace isthmus
