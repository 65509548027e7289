// The place of an ICMP echo identifier in a FlowKey, which has ports: a request has its identifier as source port and
// the number after it as destination port, a reply the two exchanged. So the reverse of a request's key is the key of
// its reply, and no request has the key of a reply, whatever the identifier. Plain values.
#pragma once

#include <cstdint>

#include "dataplane/base/types.h"

namespace isthmus {

struct EchoPorts {
  Be16 source, destination;
};

[[nodiscard]] inline EchoPorts echo_ports(Be16 identifier, bool request) noexcept {
  const Be16 after = Be16::of(static_cast<std::uint16_t>(identifier.host() + 1));
  return request ? EchoPorts{identifier, after} : EchoPorts{after, identifier};
}
[[nodiscard]] inline bool is_echo_request(Be16 source, Be16 destination) noexcept {
  return destination.host() == static_cast<std::uint16_t>(source.host() + 1);
}
[[nodiscard]] inline Be16 echo_identifier(Be16 source, Be16 destination) noexcept {
  return is_echo_request(source, destination) ? source : destination;
}

}  // namespace isthmus
