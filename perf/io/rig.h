// The bench of the I/O benchmarks, in a network namespace of the process's own that goes with it:
//
//   pump → g0 === u0 [forwarder] d0 === s0 → sink
//
// One queue each, IPv6 off, neighbours static, so that only benchmark frames move.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus::perf {

inline constexpr const char* kInterfacePump = "g0";
inline constexpr const char* kInterfaceIn = "u0";
inline constexpr const char* kInterfaceOut = "d0";
inline constexpr const char* kInterfaceSink = "s0";
inline constexpr const char* kSources = "10.1.0.0/16";
inline constexpr const char* kDestinations = "10.2.0.0/16";
// Destination and source MAC of a forwarded frame: s0's and d0's.
inline constexpr std::array<std::uint8_t, 12> kForwardedAddresses = {2, 0, 0, 0, 2, 1, 2, 0, 0, 0, 2, 2};
inline constexpr unsigned kSourcePortOffset = 34;

// Moves the process into its own namespace and builds the bench there.
[[nodiscard]] Status build_rig();
// What the kernel needs to do a gateway's work: the frames' destination becomes another (nftables), behind a VXLAN
// device.
[[nodiscard]] Status build_kernel_gateway();
// A UDP frame of `length` bytes from a source to a destination, correct but for an absent UDP checksum.
[[nodiscard]] std::vector<std::uint8_t> bench_frame(unsigned length);

}  // namespace isthmus::perf
