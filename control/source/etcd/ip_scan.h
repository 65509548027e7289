// A fast path for the values of addresses, in the exact form that Cilium writes. A large fleet has a million of them,
// and the general JSON parser takes six times as long. Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace isthmus {

struct IpFields {
  std::string ip, mask, host, ns, pod;
  std::uint32_t identity = 0;
};

// False if the value has any other form (escapes, another order, more fields): the general parser must decode it.
[[nodiscard]] bool scan_ip_fields(std::string_view value, IpFields& fields);

}  // namespace isthmus
