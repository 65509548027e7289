// What the two IP headers of a tunnel packet say to routers: DSCP, ECN and hop limits, in tunnels of every kind, and
// without one. ECN in tunnels by RFC 6040: every cell of its tables, also where XDP forwards, is in
// encapsulation_forwarding_test.cc and forward_program_test.cc.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

using Kind = EncapsulationKind;
const Actors at;

// Traffic classes with every ECN field, and DSCPs of several kinds: none, expedited forwarding, class selector, all.
constexpr std::uint8_t kClasses[] = {0x00, 0x01, 0x02, 0x03, 0xb8, 0xba, 0xe0, 0xe1, 0xfc, 0xfe, 0xff};

template <typename Check>
void in_every_fabric(Check check) {
  for (const Kind kind : {Kind::kVxlan, Kind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      for (const bool v4 : {true, false}) {
        SCOPED_TRACE(std::string(encapsulation_info(kind).name) + " over IPv" +
                     std::to_string(static_cast<unsigned>(underlay)) + (v4 ? ", inner IPv4" : ", inner IPv6"));
        PathRig::Options options;
        options.kind = kind;
        options.underlay = underlay;
        PathRig rig(options);
        check(rig, v4 ? at.client : at.client6, v4 ? at.west : at.west6);
      }
    }
  }
}

// RFC 2983's pipe model: the underlay's class is its own, the pods' theirs.
TEST(Marks, TheOuterDscpIsZeroAndTheInnerOneStaysAsItIs) {
  in_every_fabric([](PathRig& rig, const Endpoint& client, const Endpoint& server) {
    for (const std::uint8_t traffic_class : kClasses) {
      const Output out = rig.from_local(tcp(client, server, kAck).with_ecn(traffic_class)).only();
      EXPECT_EQ(out.packet.outer_tos, traffic_class & 3);
      EXPECT_EQ(out.packet.traffic_class, traffic_class);
      for (const std::uint8_t outer : FrameBytes{0x00, 0xb8, 0xfc}) {
        PacketSpec in =
            rig.tunnelled(tcp(server, client, kAck).with_ecn(traffic_class), rig.at.west_gateway, kWestIdentity);
        in.tunnel->ecn = outer;
        EXPECT_EQ(rig.from_underlay(in).only().packet.traffic_class, traffic_class);
      }
    }
  });
}

TEST(Marks, TheUnderlaysCongestionChangesNothingButTheEcnField) {
  in_every_fabric([](PathRig& rig, const Endpoint& client, const Endpoint& server) {
    ASSERT_EQ(rig.from_local(tcp(client, server)).out.size(), 1u);
    for (const std::uint8_t traffic_class : kClasses) {
      PacketSpec in =
          rig.tunnelled(tcp(server, client, kAck).with_ecn(traffic_class), rig.at.west_gateway, kWestIdentity);
      in.tunnel->ecn = 0xbb;  // CE, in a class of the underlay's
      const Outcome outcome = rig.from_underlay(in);
      if ((traffic_class & 3) == 0) {
        EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"ecn_not_capable", 1}}));
      } else {
        EXPECT_EQ(outcome.only().packet.traffic_class, traffic_class | 3);
      }
    }
  });
}

// Between pods of our own cluster, without a tunnel.
TEST(Marks, WithoutATunnelTheTrafficClassStaysAsItIs) {
  PathRig rig;
  rig.set_backends(at.local_service, 2, {backend(20, at.local_backend, 1)}, {0});
  for (const std::uint8_t traffic_class : kClasses) {
    const Output out = rig.from_local(tcp(at.client, at.local_service).with_ecn(traffic_class)).only();
    EXPECT_FALSE(out.packet.tunnelled);
    EXPECT_EQ(out.packet.traffic_class, traffic_class);
  }
}

// North is a cluster with native routing.
TEST(Marks, NativeRoutingLeavesTheTrafficClassAsItIsBothWays) {
  PathRig rig;
  TableDelta delta;
  delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, AdjacencyId{2}},
                        {*Prefix::parse("10.3.0.0/16"), DeviceId{0}, AdjacencyId{1}, kNoPeer, true}};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  for (const std::uint8_t traffic_class : kClasses) {
    const Output out = rig.from_local(tcp(at.client, at.north).with_ecn(traffic_class)).only();
    EXPECT_FALSE(out.packet.tunnelled);
    EXPECT_EQ(out.packet.traffic_class, traffic_class);
    const Output in = rig.from_underlay(tcp(at.north, at.client, kSyn | kAck).with_ecn(traffic_class)).only();
    EXPECT_EQ(in.packet.traffic_class, traffic_class);
  }
}

TEST(Marks, EnteringATunnelTakesNoHopAndLeavingItTakesOneWhateverTheOuterHeaderHadLeft) {
  in_every_fabric([](PathRig& rig, const Endpoint& client, const Endpoint& server) {
    for (const std::uint8_t hops : FrameBytes{1, 2, 64, 255}) {
      const Output out = rig.from_local(tcp(client, server, kAck).with_ttl(hops)).only();
      EXPECT_EQ(out.packet.ttl, hops);
      EXPECT_EQ(out.packet.outer_ttl, 64);
      const Outcome in = rig.from_underlay(
          rig.tunnelled(tcp(server, client, kAck).with_ttl(hops), rig.at.west_gateway, kWestIdentity));
      if (hops == 1) {
        EXPECT_EQ(in.drops, (std::map<std::string, std::uint64_t>{{"ttl_exceeded", 1}}));
      } else {
        EXPECT_EQ(in.only().packet.ttl, hops - 1);
      }
    }
  });
}

}  // namespace
}  // namespace isthmus::test
