// The reverse-path filter (RFC 3704) of an interface. Thread: control.
#pragma once

#include <string>

#include "dataplane/api/types.h"

namespace isthmus {

// With several gateways in a cluster, a packet arrives by one and goes on to a pod behind another's node; a strict
// filter drops it there without a word, because that node's route back leads into its own gateway. Sets the filter of a
// strict interface to loose; the kernel applies the higher one of "all" and of the interface, and loose is the highest.
// True: it was strict before. Error: it stays strict.
[[nodiscard]] Result<bool> loosen_reverse_path(const std::string& interface);
// The command by which an operator does the same.
[[nodiscard]] std::string loosen_reverse_path_command(std::string interface);

}  // namespace isthmus
