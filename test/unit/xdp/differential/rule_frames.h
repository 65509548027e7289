// Frames at random for the rules by which a frame is the gateway's: of every kind that the rules tell apart, between
// addresses that they name and others, and many of them damaged. Plain values. Equal dice give equal frames.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "test/support/packet.h"
#include "test/unit/xdp/differential/dice.h"

namespace isthmus::test {

// What frames are made of.
struct RulePool {
  MacAddress mac;  // the device's
  TunnelEnds tunnel;
  std::vector<IpAddress> ends, peers;  // of packets; of tunnels, and others that are none
};

struct RuleFrame {
  FrameBytes bytes;
  std::string shape;  // and the family, before damage
  bool for_mac = true;
};

[[nodiscard]] RuleFrame random_rule_frame(const RulePool& pool, Dice& dice);
// The shapes that there are, with the family.
[[nodiscard]] std::vector<std::string> rule_frame_shapes();

}  // namespace isthmus::test
