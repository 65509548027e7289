// The topology of the I/O benchmarks, in a network namespace that lives as long as its process:
//
//   pump → g0 === u0 [forwarder] d0 === s0 → sink
//
// One queue each, IPv6 off, neighbours static, so that there are no frames but those of the benchmark.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
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

// Moves the calling thread into a new namespace and builds the topology there: the links, and addresses for forwarding
// without a tunnel.
[[nodiscard]] Status build_links();
[[nodiscard]] Status build_rig();
// Sets the kernel up to do a gateway's work: destination NAT (nftables), then a VXLAN device.
[[nodiscard]] Status build_kernel_gateway();
// Runs shell commands, up to the first that fails; `needs`: what they need, for its error.
[[nodiscard]] Status run_commands(std::initializer_list<const char*> commands, const char* needs);
// A valid UDP frame of `length` bytes from kSources to kDestinations, without a UDP checksum.
[[nodiscard]] std::vector<std::uint8_t> bench_frame(unsigned length);

}  // namespace isthmus::perf
