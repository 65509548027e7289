// Builds and parses UDP frames that carry a sequence number and the time they were sent, in either family, plain or in
// a VXLAN tunnel. Pure functions; host byte order except in the frames.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus::perf {

struct TrafficShape {
  IpAddress source, destination;  // of the same family; connection n adds n / 50,000 to the source
  L4Port destination_port{7000};
  std::uint32_t connections = 1;   // differ by source port, then by source address
  std::uint32_t frame_bytes = 60;  // of the inner Ethernet frame; raised to what headers and stamp need
  MacAddress source_mac, destination_mac;
  std::optional<IpAddress> tunnel_from, tunnel_to;  // IPv4; both or none
  std::uint32_t vni = 0;
};

struct Stamp {
  std::uint64_t sequence = 0;
  std::uint64_t sent_ns = 0;  // CLOCK_REALTIME in captures; the pump program writes CLOCK_MONOTONIC
};

inline constexpr std::uint32_t kTrafficPorts = 50'000, kTrafficFirstPort = 10'000;
inline constexpr std::uint32_t kStampBytes = 20;

// Shortest frame of a shape's family that holds a stamp.
[[nodiscard]] std::uint32_t min_frame_bytes(Family family);
[[nodiscard]] std::vector<std::uint8_t> stamped_frame(const TrafficShape& shape, std::uint32_t connection,
                                                      const Stamp& stamp);

struct ReadFrame {
  Stamp stamp;
  IpAddress source;
  std::uint16_t source_port = 0;
  bool tunnelled = false;
  bool checksum_ok = false;
};
// Empty if the frame carries no stamp.
[[nodiscard]] std::optional<ReadFrame> read_stamped(std::span<const std::uint8_t> frame);

}  // namespace isthmus::perf
