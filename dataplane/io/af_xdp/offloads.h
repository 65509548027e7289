// Receive offloads that change what an XDP program sees. Control thread, in the interface's network namespace.
//
// - rx-vlan-hw-parse (and rx-vlan-stag-hw-parse) moves a frame's VLAN tag out of the frame: steer would take it for an
// untagged one.
// - rx-lro merges packets in the device; in front of a generic program, which runs behind GRO, all kinds of GRO do too:
//   what was merged does not fit a chunk, and the socket drops it.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/result.h"

namespace isthmus {

struct ReceiveOffloads {
  std::vector<std::string> disabled;  // by this call
  std::vector<std::string> fixed;     // still enabled: the driver does not let us
};
// Disables those that are enabled; by the kernel's names, which `ethtool -K` takes too. `generic`: the program runs in
// generic mode.
[[nodiscard]] Result<ReceiveOffloads> disable_receive_offloads(const std::string& interface, bool generic);
// The names of those that it would disable. Needs no rights.
[[nodiscard]] Result<std::vector<std::string>> enabled_receive_offloads(const std::string& interface, bool generic);

}  // namespace isthmus
