// Offloads and queue counts of an interface, through the ethtool ioctl. Thread: control. Each call opens a socket.
#pragma once

#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// Disables the offloads by which the kernel passes on frames with incomplete checksums or longer than the MTU
// (checksum, TSO, GSO); then verifies. Error: an offload stays enabled.
[[nodiscard]] Status disable_offloads(const std::string& interface);
// Those of the above that are enabled, by ethtool's names; must be empty for the local device.
[[nodiscard]] Result<std::vector<std::string>> enabled_offloads(const std::string& interface);

// Generic receive offload, without which a veth discards what an XDP program redirects to its peer (since Linux 5.13;
// no error where the kernel is older: the probe of the device finds out).
[[nodiscard]] Status enable_gro(const std::string& interface);

struct QueueCounts {
  unsigned rx = 0, tx = 0;
  unsigned max_rx = 0, max_tx = 0;
};
[[nodiscard]] Result<QueueCounts> queue_counts(const std::string& interface);
[[nodiscard]] Status set_queue_counts(const std::string& interface, unsigned rx, unsigned tx);

}  // namespace isthmus
