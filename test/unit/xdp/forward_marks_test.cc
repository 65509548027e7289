// What isthmus_forward does with DSCP, ECN and hop limits: as the engine, or nothing. The engine's side of the same
// cells is in test/unit/dataplane/encapsulation_forwarding_test.cc and test/unit/protocols/marks_test.cc.
#include <gtest/gtest.h>

#include <string>

#include "test/support/ecn_cells.h"
#include "test/unit/xdp/forward_rig.h"

namespace isthmus::test {
namespace {

constexpr std::uint8_t kCongestion = 3;

class ForwardMarks : public ForwardRig {
 protected:
  // As arriving(), with this traffic class outside.
  static FrameBytes marked(const PacketSpec& packet, Way in, std::uint8_t outer) {
    FrameBytes bytes = arriving(packet, in);
    if (!tunnelled(in)) {
      return bytes;
    }
    if (over_ipv6(in)) {
      bytes[14] = static_cast<std::uint8_t>(0x60 | outer >> 4), bytes[15] = static_cast<std::uint8_t>(outer << 4);
    } else {
      bytes[15] = outer;  // nobody checks the outer header's checksum
    }
    return bytes;
  }
};

// By inner and outer mark: forwarded with the inner one as it is, or left to the engine as it came.
TEST_F(ForwardMarks, EveryCellOfRfc6040IsForwardedAsItIsOrLeftToTheEngine) {
  unsigned forwarded = 0, left = 0;
  for (const Way in : kWays) {
    for (const Way out : {Way::kLocal, Way::kVxlan4, Way::kVxlan6, Way::kGeneve4, Way::kGeneve6}) {
      for (const bool ipv6 : {false, true}) {
        PacketSpec before = inside({.ipv6 = ipv6});
        hand_down(before, decision(before, translated(before), in, out));
        for (std::uint8_t inner = 0; inner < 4; ++inner) {
          for (std::uint8_t outer = 0; outer < 4; ++outer) {
            SCOPED_TRACE("in " + std::to_string(static_cast<int>(in)) + " out " +
                         std::to_string(static_cast<int>(out)) + (ipv6 ? " IPv6 " : " IPv4 ") + std::to_string(inner) +
                         " under " + std::to_string(outer));
            before.ecn = inner;
            const FrameBytes frame = marked(before, in, outer);
            if (tunnelled(in) && (outer == kCongestion || kEcnMerged[inner][outer] != inner)) {
              EXPECT_TRUE(goes_up(in, frame));
              ++left;
              continue;
            }
            const SteeredLeg::Run ran = run(in, frame);
            ASSERT_EQ(ran.action, static_cast<unsigned>(XDP_REDIRECT));
            expect_sent(ran, translated(before), out);
            ++forwarded;
          }
        }
      }
    }
  }
  EXPECT_EQ(left, 4u * 5 * 2 * 5) << "the cells with congestion outside, and the one that changes the mark without";
  EXPECT_EQ(forwarded, 6u * 5 * 2 * 16 - left);
}

TEST_F(ForwardMarks, TheOuterDscpIsZeroAndTheInnerOneStaysAsItIs) {
  for (const Way in : kWays) {
    for (const Way out : kWays) {
      for (const bool ipv6 : {false, true}) {
        PacketSpec before = inside({.ipv6 = ipv6});
        hand_down(before, decision(before, translated(before), in, out));
        for (const std::uint8_t traffic_class : FrameBytes{0x00, 0xb8, 0xba, 0xe1, 0xfc, 0xff}) {
          before.ecn = traffic_class;
          for (const std::uint8_t outer : FrameBytes{0x00, 0xb8, 0xfe}) {
            const SteeredLeg::Run ran = run(in, marked(before, in, outer));
            ASSERT_EQ(ran.action, static_cast<unsigned>(XDP_REDIRECT));
            const Dissected sent = dissect(ran.frame);
            EXPECT_TRUE(sent.errors.empty());
            EXPECT_EQ(sent.traffic_class, traffic_class);
            if (tunnelled(out)) {
              EXPECT_EQ(sent.outer_tos, traffic_class & 3);
              EXPECT_EQ(sent.outer_ttl, 64);
            }
          }
        }
      }
    }
  }
}

// A decision that takes a hop leaves a packet without one to the engine, which tells its sender.
TEST_F(ForwardMarks, HopLimitsAreTakenOrLeftAsTheDecisionSays) {
  for (const Way in : kWays) {
    for (const bool ipv6 : {false, true}) {
      PacketSpec before = inside({.ipv6 = ipv6});
      hand_down(before, decision(before, translated(before), in, Way::kLocal));
      for (const std::uint8_t hops : FrameBytes{0, 1}) {
        EXPECT_TRUE(goes_up(in, arriving(PacketSpec(before).with_ttl(hops), in)));
      }
      for (const std::uint8_t hops : FrameBytes{2, 64, 255}) {
        EXPECT_EQ(dissect(run(in, arriving(PacketSpec(before).with_ttl(hops), in)).frame).ttl, hops - 1);
      }
      const PacketSpec same = translated(before).with_ttl(before.ttl);
      hand_down(before, decision(before, same, in, Way::kVxlan4));
      for (const std::uint8_t hops : FrameBytes{0, 1, 2, 255}) {
        EXPECT_EQ(dissect(run(in, arriving(PacketSpec(before).with_ttl(hops), in)).frame).ttl, hops);
      }
    }
  }
}

// No header in front of L4, and no protocol but TCP and UDP: the engine has them.
TEST_F(ForwardMarks, WhatIsNotPlainIsLeftToTheEngine) {
  for (const Way in : kWays) {
    PacketSpec before = inside({.ipv6 = true});
    hand_down(before, decision(before, translated(before), in, Way::kVxlan4));
    for (const std::uint8_t type : FrameBytes{0, 43, 60}) {
      EXPECT_TRUE(goes_up(in, arriving(PacketSpec(before).with_extension(type, {0, 0, 1, 0, 0, 0, 0, 0}), in)));
    }
    PacketSpec ipv4 = inside({});
    hand_down(ipv4, decision(ipv4, translated(ipv4), in, Way::kVxlan4));
    EXPECT_TRUE(goes_up(in, arriving(PacketSpec(ipv4).with_ip_options({1, 1, 1, 0}), in)));
    for (const std::uint8_t protocol : FrameBytes{47, 50, 132, 253}) {
      PacketSpec other = ipv4;
      other.protocol = static_cast<IpProtocol>(protocol);
      EXPECT_TRUE(goes_up(in, arriving(other, in)));
    }
  }
}

}  // namespace
}  // namespace isthmus::test
