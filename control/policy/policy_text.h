// Formats rules for listings and traces. Pure. Thread: any.
#pragma once

#include <string>

#include "control/model/policy_objects.h"

namespace isthmus {

// "pods app=web of namespace shop", "entities world", "10.0.0.0/8 except 10.1.0.0/16", "everyone".
[[nodiscard]] std::string peers_text(const PolicyRule& rule);
// "tcp 80, udp 53-60, tcp http, icmp type 8", "every port".
[[nodiscard]] std::string ports_text(const PolicyRule& rule);
[[nodiscard]] std::string protocol_text(std::uint8_t protocol);

}  // namespace isthmus
