// Keeps the MACs of the next hops in use resolved and fresh, by way of the kernel's neighbour table.
//
// The engine sends past the kernel, so the kernel never sees these neighbours used and would let them rot. A watched
// entry that is missing, failed or stale is therefore marked used (RTM_NEWNEIGH with NTF_USE), upon which the kernel
// itself asks by ARP or ND: at once when we learn of it, then again with growing pauses. Nothing is left behind (which
// is why NTF_EXT_MANAGED is not used: such entries outlive their maker).
// Owner: Kernel. Thread: control. Failure: a neighbour that cannot be asked for stays unresolved and is tried again.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/kernel/links.h"
#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

class NeighbourWatch {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Both must outlive the watch. `links` names the interfaces and is kept up to date by the owner.
  NeighbourWatch(NetlinkRequests& requests, const Links& links) : requests_(requests), links_(links) {}

  // For one that is watched already and unresolved this asks again soon.
  void watch(const std::string& interface, const IpAddress& address, Time now);
  void unwatch(const std::string& interface, const IpAddress& address);
  [[nodiscard]] std::optional<MacAddress> mac(const std::string& interface, const IpAddress& address) const;

  // A notification: RTM_NEWNEIGH or RTM_DELNEIGH.
  void apply(const nlmsghdr* message, Time now);
  void link_changed(const LinkState& link, Time now);
  // Reads the whole neighbour table (after lost notifications).
  void reload(Time now);
  // Has the kernel ask for those that are due.
  void maintain(Time now);
  [[nodiscard]] Time next_due() const;  // Time::max(): nothing to do

  // The last state of those that changed, and of new ones.
  [[nodiscard]] std::vector<NeighbourChange> take_changes();
  [[nodiscard]] bool has_changes() const { return !dirty_.empty(); }

 private:
  using Key = std::pair<std::string, IpAddress>;
  struct Entry {
    std::optional<MacAddress> mac;
    bool fresh = false;  // nothing to ask now; the kernel will tell when it goes stale
    bool told = false;   // take_changes() has returned it before, as `reported`
    std::optional<MacAddress> reported;
    Time due = Time::max(), asked = Time::min();
    std::chrono::seconds pause{1};
  };

  // As a neighbour message shows it. `lladdr` absent or state not valid: unresolved.
  void update(const Key& key, Entry& entry, std::uint16_t state, std::optional<MacAddress> lladdr, Time now);
  void set_due(const Key& key, Entry& entry, Time due);
  void read_state(const Key& key, Entry& entry, int interface_index, Time now);
  void ask(const Key& key);

  NetlinkRequests& requests_;
  const Links& links_;
  std::map<Key, Entry> entries_;
  std::set<std::pair<Time, Key>> schedule_;
  std::set<Key> dirty_;
};

}  // namespace isthmus
