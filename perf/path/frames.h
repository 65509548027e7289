// Frames for benchmarks: 60-byte TCP packets, plain or in a tunnel, with whole checksums.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus::perf {

struct Flow {
  IpAddress source, destination;  // IPv4
  std::uint16_t source_port = 0, destination_port = 0;
};

inline constexpr std::uint8_t kSyn = 0x02, kAck = 0x10;

// Ethernet, IPv4, TCP: 60 bytes.
[[nodiscard]] std::vector<std::uint8_t> tcp_frame(const Flow& flow, std::uint8_t flags);
// The same inside VXLAN: 110 bytes.
[[nodiscard]] std::vector<std::uint8_t> tunnel_frame(const Flow& flow, std::uint8_t flags, const IpAddress& from,
                                                     const IpAddress& to, std::uint32_t vni);

}  // namespace isthmus::perf
