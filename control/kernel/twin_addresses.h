// The twin of a NIC stands in for its kernel interface, where that is still there (bifurcated drivers, and those of
// DPDK's that work by a kernel interface): it takes over addresses, routes and static neighbours, and gives them back.
//
// What was taken over is not written down anywhere. The twin is persistent, so the kernel itself has it, after a crash
// too, together with what a routing daemon or an operator has changed since; and after a reboot, when a file would be
// wrong, there is neither. Which NIC it belongs to stands in the twin's alias (`ip link show`: "isthmus twin of eth0"),
// the settings of the NIC that are changed meanwhile are kept as those of the twin. Both calls can be repeated after a
// crash at any point. Thread: control. Failure: an error that says what and where; all is where it was.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/kernel/host_state.h"
#include "control/kernel/netlink.h"
#include "control/kernel/types.h"

namespace isthmus {

// What a twin has, to be put at one that is made anew.
struct TwinState {
  std::string nic;
  HostState host;
  std::vector<std::optional<std::string>> settings;  // of the kernel for the interface
};

struct TakenOver {
  TwinState state;
  std::vector<Error> problems;  // of what goes on nevertheless: packets that the kernel handles twice
};

// From `nic` to `twin`, which is up. The NIC stays up, without addresses, and the kernel's stack gets nothing of what
// it receives.
[[nodiscard]] Result<TakenOver> take_over_addresses(NetlinkRequests& requests, const std::string& nic,
                                                    const std::string& twin);
// Of one that stands in for a NIC; else an error.
[[nodiscard]] Result<TwinState> read_twin(NetlinkRequests& requests, const std::string& twin);
// At a twin that was removed and made again.
[[nodiscard]] Status put_at_new_twin(NetlinkRequests& requests, const TwinState& state, const std::string& twin);
// All that the twin has now goes to its NIC; its alias is removed. Not an error where it stands in for none. Where the
// NIC is gone, everything stays.
[[nodiscard]] Status give_back_addresses(NetlinkRequests& requests, const std::string& twin);

// Those that stand in for a NIC; of an earlier process too.
[[nodiscard]] Result<std::vector<StandingTwin>> standing_twins(NetlinkRequests& requests);

}  // namespace isthmus
