// Defaults and bounds of settings that parts of control have options for. The configuration and those options take them
// from here; what the dataplane has options for, they take from dataplane/api.
#pragma once

#include <cstdint>
#include <string_view>

namespace isthmus {

inline constexpr std::uint64_t kDefaultHealthIntervalMs = 150, kDefaultHealthHoldMs = 10'000;
inline constexpr std::uint64_t kDefaultPathMtuIntervalMs = 10'000;
inline constexpr unsigned kDefaultHealthMisses = 4, kDefaultHealthRecover = 5;
inline constexpr unsigned kMaxHealthMisses = 16;  // send times are remembered for twice as many probes

inline constexpr std::uint64_t kMaxSlowStartMs = 3'600'000;

// As Cilium has them, where it has them.
inline constexpr std::string_view kDefaultGatewayService = "kube-system/isthmus-gateway";
inline constexpr unsigned kDefaultMaxClusters = 255;  // or 511
inline constexpr unsigned kDefaultEtcdHoldPercent = 50, kDefaultEtcdReadsPerSecond = 20;
inline constexpr std::uint64_t kDefaultEtcdHoldMs = 600'000;

// How long a gateway's registration in a hub outlives it.
inline constexpr std::uint64_t kGatewayLeaseMs = 60'000;

inline constexpr std::string_view kDefaultLastKnownDirectory = "/var/lib/isthmus";
inline constexpr std::uint64_t kDefaultLastKnownAgeMs = 24 * 3'600'000ULL;

// Interfaces that are made for the kernel, by which it uses a NIC that DPDK has.
inline constexpr std::string_view kDefaultUnderlayTwin = "dpdk0", kDefaultLocalTwin = "dpdk1";

inline constexpr std::uint32_t kDefaultFlowsKept = 4095;

}  // namespace isthmus
