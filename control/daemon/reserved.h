// The addresses that no member of the fleet may claim: this node's, its routers' and the hubs' (control/admission).
// Thread: control.
#pragma once

#include <string_view>
#include <vector>

#include "control/admission/rules.h"
#include "control/kernel/types.h"
#include "control/source/source.h"

namespace isthmus {

// Of a hub whose server is known by a name, nothing: where the name leads is the resolver's to say.
[[nodiscard]] std::vector<ReservedAddress> reserved_addresses(const std::vector<NodeAddress>& node,
                                                              const std::vector<HubState>& hubs);
// The address in a URL ("https://[2001:db8::1]:2379") or endpoint ("192.0.2.1:2379"); none: it has a name.
[[nodiscard]] std::optional<IpAddress> server_address(std::string_view server);

}  // namespace isthmus
