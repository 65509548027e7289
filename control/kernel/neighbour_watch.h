// Keeps the MACs of the next hops in use resolved and fresh, through the kernel's neighbour table.
//
// The engine bypasses the kernel, so the kernel never sees these neighbours in use and would let them expire. A watched
// entry that is missing, failed or stale is therefore marked used (RTM_NEWNEIGH with NTF_USE), which makes the kernel
// resolve it by ARP or ND: immediately when we learn of it, then with increasing intervals. Nothing is left behind
// (which is why NTF_EXT_MANAGED is not used: such entries outlive their creator).
// Owner: Kernel. Thread: control. Failure: a neighbour that cannot be resolved stays unresolved and is retried.
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

  // If it is watched already and unresolved, resolution is retried soon.
  void watch(const std::string& interface, const IpAddress& address, Time now);
  void unwatch(const std::string& interface, const IpAddress& address);
  [[nodiscard]] std::optional<MacAddress> mac(const std::string& interface, const IpAddress& address) const;

  // A notification: RTM_NEWNEIGH or RTM_DELNEIGH.
  void apply(const nlmsghdr* message, Time now);
  void link_changed(const LinkState& link, Time now);
  // Reads the state of all watched neighbours (after lost notifications).
  void reload(Time now);
  // Has the kernel resolve those that are due.
  void maintain(Time now);
  [[nodiscard]] Time next_due() const;  // Time::max(): nothing to do

  // The latest state of those that changed, and of new ones.
  [[nodiscard]] std::vector<NeighbourChange> take_changes();
  [[nodiscard]] bool has_changes() const { return !dirty_.empty(); }

 private:
  using Key = std::pair<std::string, IpAddress>;
  struct Entry {
    std::optional<MacAddress> mac;
    bool fresh = false;         // nothing to do; the kernel notifies us when it goes stale
    bool was_reported = false;  // take_changes() has returned it before, as `reported`
    std::optional<MacAddress> reported;
    Time due = Time::max(), probed = Time::min();  // next and last solicit()
    std::chrono::seconds backoff{1};
  };

  // Applies the content of a neighbour message. No `lladdr`, or a state that is not valid: unresolved.
  void update(const Key& key, Entry& entry, std::uint16_t state, std::optional<MacAddress> lladdr, Time now);
  void set_due(const Key& key, Entry& entry, Time due);
  void read_state(const Key& key, Entry& entry, int interface_index, Time now);
  void solicit(const Key& key);

  NetlinkRequests& requests_;
  const Links& links_;
  std::map<Key, Entry> entries_;
  std::set<std::pair<Time, Key>> schedule_;
  std::set<Key> dirty_;
};

}  // namespace isthmus
