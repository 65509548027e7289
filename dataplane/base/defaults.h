// Sizes used where a configuration names none. The option structs of every layer take them from here.
#pragma once

#include <cstdint>

namespace isthmus {

inline constexpr std::uint32_t kDefaultConnections = 262144;  // capacity of the connection table
inline constexpr std::uint32_t kDefaultFrames = 16384;        // packet buffers of each worker
inline constexpr std::uint32_t kDefaultFragmentedDatagrams = 4096;
inline constexpr unsigned kMaxWorkers = 64;
inline constexpr std::uint32_t kDefaultRingEntries = 2048;    // of each AF_XDP ring; power of two
inline constexpr std::uint32_t kDefaultKernelFlows = 262144;  // entries of flows handed down, one for each direction
inline constexpr std::uint32_t kDefaultHotPacketsPerSecond = 16;  // of a direction: its connection is handed down

}  // namespace isthmus
