// What the kernel says an interface can do with XDP: the "netdev" family of generic netlink (Linux 6.3, Documentation/
// netlink/specs/netdev.yaml). Control thread.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/base/result.h"

namespace isthmus {

// Bits of enum netdev_xdp_act.
namespace xdp_feature {
inline constexpr std::uint64_t kBasic = 1, kRedirect = 2, kTransmit = 4, kZeroCopy = 8, kTransmitFragments = 64;
}  // namespace xdp_feature

// Of an interface in this network namespace, at this moment: a veth's depend on its other end. nullopt: the kernel does
// not tell.
[[nodiscard]] std::optional<std::uint64_t> xdp_features(int interface_index);

}  // namespace isthmus
