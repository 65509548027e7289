// Offloads and queue counts of an interface, by the ethtool ioctl. Thread: control. Each call opens its own socket.
#pragma once

#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// Turns off everything that lets the kernel hand on frames whose checksum is unfinished or which are longer than the
// MTU (checksum, TSO, GSO offload), and GRO; reads back what is left. Error: an offload that stays on.
[[nodiscard]] Status turn_offloads_off(const std::string& interface);
// Those of the above that are on, by ethtool's names; empty is what the local device needs.
[[nodiscard]] Result<std::vector<std::string>> offloads_on(const std::string& interface);

struct QueueCounts {
  unsigned rx = 0, tx = 0;
  unsigned max_rx = 0, max_tx = 0;
};
[[nodiscard]] Result<QueueCounts> queue_counts(const std::string& interface);
[[nodiscard]] Status set_queue_counts(const std::string& interface, unsigned rx, unsigned tx);

}  // namespace isthmus
