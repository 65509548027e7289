// The node's interfaces, as last reported by the kernel.
// Owner: Kernel. Thread: control.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// A link as parsed from one netlink message, with the details that only the local device needs.
struct LinkDetails {
  LinkState state;
  int peer_index = 0;                     // IFLA_LINK: the peer of a veth; 0: none
  bool peer_elsewhere = false;            // the peer is in another network namespace
  unsigned rx_queues = 0, tx_queues = 0;  // as allocated
  bool no_arp = false, multicast = false;
  bool removed = false;  // the message is RTM_DELLINK
};
// Precondition: `message` is RTM_NEWLINK or RTM_DELLINK.
[[nodiscard]] LinkDetails parse_link(const nlmsghdr* message);
// Empty: there is no interface of that name.
[[nodiscard]] Result<std::optional<LinkDetails>> query_link(NetlinkRequests& requests, const std::string& interface);

class Links {
 public:
  // Reads all links; returns those that changed since the last call.
  [[nodiscard]] Result<std::vector<LinkState>> reload(NetlinkRequests& requests);
  // Applies a notification. Returns the link's new state if a relevant part of it changed (state, MTU, MAC, name, XDP
  // program).
  [[nodiscard]] std::optional<LinkState> apply(const nlmsghdr* message);

  [[nodiscard]] const LinkState* by_index(int index) const;
  [[nodiscard]] const LinkState* by_name(const std::string& interface) const;

 private:
  std::map<int, LinkState> by_index_;
};

}  // namespace isthmus
