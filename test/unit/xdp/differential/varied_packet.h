// Packets of an open flow at random: most as they are in a settled flow, the others odd in one or several ways.
// Plain values.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "test/unit/xdp/differential/open_flow.h"

namespace isthmus::test {

// Where a packet must go whose decision is handed down and holds.
enum class Expected : std::uint8_t {
  kForwarded,  // by the kernel: the plain case
  kEither,
  kUp,  // to the engine, which learns from it
};

struct VariedPacket {
  BuiltFrame frame;
  DeviceId device;  // it arrives on
  Expected expected = Expected::kForwarded;
  bool damaged = false;  // its bytes may be those of another flow, or none
  std::string what;      // its oddities; empty: plain
  // Checksums that become zero by what the decision adds to them, which is a case of its own for UDP.
  std::uint16_t ip_corner = 0, l4_corner = 0;
};

[[nodiscard]] VariedPacket vary(RandomFleet& fleet, const FlowDirection& direction, Dice& dice);
// The names of all oddities.
[[nodiscard]] std::span<const std::string> oddity_names();

}  // namespace isthmus::test
