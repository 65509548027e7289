// Settings under /proc/sys/net, of the calling thread's network namespace. Thread: control.
// Where /proc/sys is read-only, as in a container, they are written through the node's, at /host/proc/sys/net.
#pragma once

#include <optional>
#include <string>

#include "dataplane/api/types.h"

namespace isthmus {

// `name` is a path below /proc/sys/net, like "ipv4/ip_forward". Empty: this kernel has no such setting.
[[nodiscard]] std::optional<std::string> read_sysctl(const std::string& name);
// Writes only if the value differs. A setting that this kernel lacks is ignored (a node without IPv6).
[[nodiscard]] Status write_sysctl(const std::string& name, const std::string& value);

}  // namespace isthmus
