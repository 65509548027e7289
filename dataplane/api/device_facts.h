// What the kernel says of an interface on which an AF_XDP device may be opened. Changes nothing, needs no rights: what
// an ordinary user may not see is left out. Thread: any, in the network namespace of the interface.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.h"

namespace isthmus {

// What a driver can do with XDP (Linux 6.3 tells it).
struct XdpAbilities {
  bool native = false, zero_copy = false;
  bool transmits = false;  // what XDP redirects to it; of a veth, it depends on its other end
};

struct XdpOnInterface {
  std::uint32_t id = 0;
  std::string name;  // empty: it has none, or we may not see it
  bool visible = false, ours = false, native = false;
};

struct DeviceFacts {
  std::string driver, bus;                // by ethtool's names; empty: it tells none
  unsigned rx_queues = 1, tx_queues = 1;  // in use
  unsigned most_queues = 1;               // of either direction, that the driver could have
  std::optional<XdpAbilities> abilities;  // nullopt: the kernel does not tell
  std::optional<XdpOnInterface> program;
  // Enabled receive offloads that a device switches off: always, and with a program in generic mode only.
  std::vector<std::string> offloads, generic_offloads;
};
// Error: there is no such interface.
[[nodiscard]] Result<DeviceFacts> device_facts(const std::string& interface);

}  // namespace isthmus
