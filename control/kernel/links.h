// The node's interfaces as the kernel last told us.
// Owner: Kernel. Thread: control.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// A link as one netlink message shows it, with what only the local device needs to know of it.
struct LinkDetails {
  LinkState state;
  int peer_index = 0;                     // IFLA_LINK: the other end of a veth; 0: none
  bool peer_elsewhere = false;            // that end is in another network namespace
  unsigned rx_queues = 0, tx_queues = 0;  // as allocated
  bool no_arp = false, multicast = false;
  bool gone = false;  // the message says that it was removed
};
// Precondition: `message` is RTM_NEWLINK or RTM_DELLINK.
[[nodiscard]] LinkDetails parse_link(const nlmsghdr* message);
// Nothing: there is no interface of that name.
[[nodiscard]] Result<std::optional<LinkDetails>> ask_link(NetlinkRequests& requests, const std::string& interface);

class Links {
 public:
  // Reads all links; returns those that changed since the last time.
  [[nodiscard]] Result<std::vector<LinkState>> reload(NetlinkRequests& requests);
  // Takes a notification in. The link's new state if it changed in a way that matters (state, MTU, MAC, name).
  [[nodiscard]] std::optional<LinkState> apply(const nlmsghdr* message);

  [[nodiscard]] const LinkState* by_index(int index) const;
  [[nodiscard]] const LinkState* by_name(const std::string& interface) const;

 private:
  std::map<int, LinkState> by_index_;
};

}  // namespace isthmus
