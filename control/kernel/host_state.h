// What the host has at an interface: addresses, routes and static neighbours, to be put at another one.
//
// Each is kept in the kernel's own words, the message of its dump, so that what this code knows nothing of (metrics,
// encapsulations, preferences) moves with it. Thread: control. Failure: errors that name the interface and the entry;
// what is there already, or gone already, is not one.
#pragma once

#include <string>
#include <vector>

#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// A message of a dump.
class HostEntry {
 public:
  explicit HostEntry(const nlmsghdr* message)
      : bytes_(reinterpret_cast<const char*>(message), reinterpret_cast<const char*>(message) + message->nlmsg_len) {}
  [[nodiscard]] const nlmsghdr* message() const { return reinterpret_cast<const nlmsghdr*>(bytes_.data()); }
  template <typename Header>
  [[nodiscard]] const Header& header() const {
    return *static_cast<const Header*>(mnl_nlmsg_get_payload(message()));
  }

 private:
  std::vector<char> bytes_;
};

struct HostState {
  LinkState from;
  std::vector<HostEntry> addresses;  // in the order in which they are to be put
  std::vector<HostEntry> routes;     // the same
  std::vector<HostEntry> neighbours;
  [[nodiscard]] bool empty() const { return addresses.empty() && routes.empty() && neighbours.empty(); }
};

// Not: IPv6's link-local and temporary addresses, which each interface makes for itself; learnt neighbours; tables of
// the kernel's own.
[[nodiscard]] Result<HostState> read_host_state(NetlinkRequests& requests, const LinkState& interface);

// Puts all of it at `to`, which must be up; what it has already stays. Addresses that a program has given a lifetime
// last for ever there, since that program renews them at the other interface; those of router advertisements keep it.
[[nodiscard]] Status put_host_state(NetlinkRequests& requests, const HostState& state, const LinkState& to);
// Removes all of it from `from`.
[[nodiscard]] Status remove_host_state(NetlinkRequests& requests, const HostState& state, const LinkState& from);

// From one interface to the other: first it is at both, so that no address, and no connection that uses it, is ever
// gone. After an error all is where it was.
[[nodiscard]] Result<HostState> move_host_state(NetlinkRequests& requests, const LinkState& from, const LinkState& to);

}  // namespace isthmus
