// Commands that problems give as remedies, with this gateway's hub in them, to be copied. Plain functions; thread: any.
#pragma once

#include <string>

#include "control/compile/compiler.h"
#include "control/compile/fleet.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Gives the cluster an alias for blocks of that family.
[[nodiscard]] std::string alias_command(const CompilerOptions& options, const std::string& cluster, Family family);
// Claims a free VIP of that family for a service of the cluster, in the first pool that it has.
[[nodiscard]] std::string vip_command(const CompilerOptions& options, const Fleet& fleet, const std::string& cluster,
                                      const ServiceName& service, Family family);

}  // namespace isthmus
