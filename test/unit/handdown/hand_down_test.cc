// Settled flows are handed down and taken back, and what XDP has counted is not lost. Real maps, no program.
#include <gtest/gtest.h>

#include "dataplane/slowpath/decision.h"
#include "test/unit/dataplane/policy_builder.h"
#include "test/unit/handdown/down_rig.h"

namespace isthmus::test {
namespace {

std::uint32_t wire4(const IpAddress& address) { return address.as_ipv4().wire(); }
std::uint32_t first4(const std::uint8_t* bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

TEST(HandDown, AHotFlowToAVipIsForwardedByItsDecisions) {
  DownRig down;
  const auto flow = down.to_vip();
  down.establish(flow);
  down.round();
  EXPECT_FALSE(down.entry(DownRig::key_there(flow))) << "four packets do not make a flow hot";
  down.heat(flow);
  down.round();
  const auto there = down.entry(DownRig::key_there(flow)), back = down.entry(DownRig::key_back(flow));
  ASSERT_TRUE(there && back);
  EXPECT_TRUE(down.holds(*there) && down.holds(*back));

  EXPECT_EQ(there->flags, ISTHMUS_REWRITE_DESTINATION | ISTHMUS_ENCAPSULATE);
  EXPECT_EQ(first4(there->source), wire4(flow.client.address));
  EXPECT_EQ(first4(there->destination), wire4(flow.west.address));
  EXPECT_EQ(there->source_port, Be16::of(flow.client.port).wire());
  EXPECT_EQ(there->destination_port, Be16::of(flow.west.port).wire());
  EXPECT_EQ(there->vni_word, Be32::of(kClientIdentity << 8).wire());
  EXPECT_EQ(there->from, 0);
  EXPECT_EQ(there->device, 0);
  EXPECT_EQ(there->mtu, 1450);
  EXPECT_EQ(there->lease + 1, back->lease);

  EXPECT_EQ(back->flags, ISTHMUS_REWRITE_SOURCE | ISTHMUS_DECREMENT_TTL | ISTHMUS_FROM_TUNNEL);
  EXPECT_EQ(first4(back->source), wire4(flow.target.address));
  EXPECT_EQ(back->source_port, Be16::of(flow.target.port).wire());
  EXPECT_EQ(back->from_vni, Be32::of(kWestIdentity << 8).wire());
  EXPECT_EQ(back->tunnel, 0);
  EXPECT_EQ(back->device, 1);

  EXPECT_EQ(there->tunnel, back->from) << "one end, one record";
  const isthmus_tunnel& tunnel = down.maps().tunnels()[there->tunnel];
  EXPECT_EQ(first4(tunnel.address), wire4(down.at().west_gateway));
  EXPECT_EQ(tunnel.size, 64);
  EXPECT_EQ(tunnel.from_port, Be16::of(8472).wire());
  const std::uint8_t local_hop[] = {2, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0x11};
  const isthmus_hop& hop = down.maps().hops()[back->next_hop];
  EXPECT_EQ(std::memcmp(hop.addresses, local_hop, sizeof local_hop), 0);
  EXPECT_EQ(hop.resolved, 1u);
  EXPECT_EQ(down.counters().handed_down, 2u) << "directions";
  EXPECT_EQ(down.counters().handed_down_now, 1u);
  EXPECT_EQ(down.counters().handed_down_one_way, 0u);
  EXPECT_TRUE(down.record(flow).forward_handed_down && down.record(flow).reply_handed_down);
}

TEST(HandDown, AnIpv6FlowHasItsAddresses) {
  DownRig down;
  const DownRig::Flow flow{down.at().client6, down.at().service6, down.at().west6};
  down.hand_down(flow);
  ASSERT_TRUE(down.down(flow));
  const auto back = down.entry(DownRig::key_back(flow));
  EXPECT_EQ(std::memcmp(back->source, flow.target.address.bytes().data(), 16), 0);
  EXPECT_EQ(std::memcmp(back->destination, flow.client.address.bytes().data(), 16), 0);
}

TEST(HandDown, WhatIsNotSettledBothWaysStays) {
  DownRig down;
  const auto flow = down.direct();
  static_cast<void>(down.rig().from_local(down.there(flow, kSyn)).only());
  static_cast<void>(down.rig().from_local(down.there(flow)).only());
  down.heat(flow);
  down.round();
  EXPECT_FALSE(down.entry(DownRig::key_there(flow)));
  EXPECT_EQ(down.counters().handed_down, 0u);
}

// Its datagrams have options, which XDP does not read, and the next one may ask for another service.
TEST(HandDown, WhatADsrOptionHasOpenedStays) {
  Connection connection{};
  for (DirectionLine& line : connection.lines) {
    line.key.protocol = IpProtocol::kTcp;
    line.seen = mark::kSeen | mark::kSettled;
  }
  connection.shared.state = ConnectionShared::kOpened;
  EXPECT_TRUE(may_go_down(connection, Direction::kForward) && may_go_down(connection, Direction::kReply));
  connection.shared.set_user_flags(kDsrFlag);
  EXPECT_FALSE(may_go_down(connection, Direction::kForward) || may_go_down(connection, Direction::kReply));
}

TEST(HandDown, AMovedWordSendsPacketsUpAndTheNextPacketStampsTheLeaseAnew) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  ASSERT_TRUE(down.down(flow));
  TableDelta every_word;
  every_word.policy_defaults.emplace();
  ASSERT_TRUE(down.rig().engine().publish(every_word).ok());
  EXPECT_FALSE(down.down(DownRig::key_there(flow)));
  EXPECT_FALSE(down.down(DownRig::key_back(flow)));
  static_cast<void>(down.rig().from_local(down.there(flow)).only());
  EXPECT_TRUE(down.down(DownRig::key_there(flow))) << "decided alike";
  EXPECT_FALSE(down.down(DownRig::key_back(flow)));
  EXPECT_EQ(down.counters().handed_down, 2u) << "without a round of the thread";
}

TEST(HandDown, ARecheckStampsTheLeaseToo) {
  DownRig down;
  const auto flow = down.to_vip();
  down.hand_down(flow);
  ASSERT_TRUE(down.down(flow));
  const Endpoint other{Actors::ip("10.2.0.99"), 9999};  // the addresses of the flow are not changed
  down.rig().set_backends(flow.target, 1, {backend(1, flow.west, 2), backend(9, other, 2)}, {0, 1});
  ASSERT_FALSE(down.down(flow));
  static_cast<void>(down.rig().from_local(down.there(flow)).only());
  static_cast<void>(down.rig().from_underlay(down.back(flow)).only());
  EXPECT_TRUE(down.down(flow));
}

TEST(HandDown, AnotherDecisionWithdrawsAndIsHandedDownItself) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const auto before = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(before && down.holds(*before));
  down.rig().set_clusters({PathRig::kWestOther});  // the gateway that it goes to is not live
  ASSERT_EQ(down.rig().from_local(down.there(flow)).only().packet.outer_destination, down.at().west_other);
  EXPECT_NE(down.lease(*before).valid, 1u);
  static_cast<void>(down.rig().from_underlay(
      down.rig().tunnelled(tcp(flow.west, flow.client, kData), down.at().west_other, kWestIdentity)));
  down.round();
  const auto after = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(after);
  EXPECT_TRUE(down.holds(*after));
  EXPECT_EQ(first4(down.maps().tunnels()[after->tunnel].address), wire4(down.at().west_other));
  EXPECT_EQ(down.counters().taken_back_redecided, 2u);
  EXPECT_EQ(down.counters().handed_down, 4u);
}

TEST(HandDown, ADenialIsInForceFromTheWordOn) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  ASSERT_TRUE(down.down(flow));
  TableDelta delta;
  delta.remove_peers = {PathRig::kWestGateway};
  ASSERT_TRUE(down.rig().engine().publish(delta).ok());
  EXPECT_FALSE(down.down(DownRig::key_there(flow)));
  EXPECT_FALSE(down.down(DownRig::key_back(flow)));
}

// The engine would decide as before, but the kernel has the packets of such a source.
TEST(HandDown, WhatComesFromASourceThatIsNotTakenAnyMoreIsNotForwarded) {
  DownRig down;
  Engine& engine = down.rig().engine();
  const Endpoint host{Actors::ip("172.16.0.9"), 41000};
  const DownRig::Flow flow{host, down.at().west, down.at().west};
  const auto publish = [&](bool takes) {
    TableDelta delta;
    const Prefix alone{host.address, 128};
    const AdjacencyId hop = engine.adjacency(DeviceId{1}, Actors::ip("169.254.0.1"));
    delta.local_routes = {{alone, DeviceId{1}, hop}, {*Prefix::parse("10.1.0.0/16"), DeviceId{1}, hop}};
    delta.hosts.emplace();
    if (takes) {
      delta.hosts->local = {alone};
    }
    ASSERT_TRUE(engine.publish(delta).ok());
    EXPECT_EQ(down.rig().local().rules().local_sources.contains(alone), takes);
  };
  publish(true);
  const EndpointEntry endpoint{Realm{0}, host.address, ClusterId{1}, Identity{kClientIdentity}, kNoPeer};
  engine.upsert_endpoints({&endpoint, 1});
  down.hand_down(flow);
  ASSERT_TRUE(down.down(flow));
  publish(false);
  EXPECT_FALSE(down.down(DownRig::key_there(flow)));
  static_cast<void>(down.rig().from_local(down.there(flow)).only());  // from a ring
  EXPECT_TRUE(down.down(DownRig::key_there(flow)));
  down.pass(2);
  static_cast<void>(engine.check_devices());
  EXPECT_FALSE(down.down(DownRig::key_there(flow)));
  down.pass(2);
  static_cast<void>(down.rig().from_local(down.there(flow)).only());
  static_cast<void>(engine.check_devices());
  EXPECT_TRUE(down.down(DownRig::key_there(flow))) << "once is enough";
}

TEST(HandDown, FinAndResetWithdrawBothDirections) {
  for (const std::uint8_t flag : {kFin, kRst}) {
    DownRig down;
    const auto flow = down.to_vip();
    down.hand_down(flow);
    const auto there = down.entry(DownRig::key_there(flow)), back = down.entry(DownRig::key_back(flow));
    ASSERT_TRUE(there && back && down.down(flow));
    static_cast<void>(down.rig().from_underlay(down.back(flow, flag | kAck)));
    EXPECT_NE(down.lease(*there).valid, 1u);
    EXPECT_NE(down.lease(*back).valid, 1u);
    down.round();
    EXPECT_FALSE(down.entry(DownRig::key_there(flow)));
    EXPECT_FALSE(down.entry(DownRig::key_back(flow)));
    EXPECT_EQ(down.counters().taken_back_ending, 2u);
    EXPECT_EQ(down.counters().handed_down_now, 0u);
    EXPECT_FALSE(down.record(flow).forward_handed_down || down.record(flow).reply_handed_down);
  }
}

TEST(HandDown, WhatXdpHasCountedIsShownAtOnceAndKept) {
  DownRig down;
  const auto flow = down.to_vip();
  down.hand_down(flow);
  const auto there = down.entry(DownRig::key_there(flow)), back = down.entry(DownRig::key_back(flow));
  ASSERT_TRUE(there && back);
  const FlowRecord before = down.record(flow);
  down.lease(*there).packets += 1000;
  down.lease(*there).bytes += 140'000;
  down.lease(*back).packets += 500;
  down.lease(*back).bytes += 70'000;
  const auto expect_all = [&] {
    const FlowRecord now = down.record(flow);
    EXPECT_EQ(now.forward_packets, before.forward_packets + 1000);
    EXPECT_EQ(now.forward_bytes, before.forward_bytes + 140'000);
    EXPECT_EQ(now.reply_bytes, before.reply_bytes + 70'000);
    return now.reply_packets - before.reply_packets;
  };
  EXPECT_EQ(expect_all(), 500u);
  static_cast<void>(down.rig().from_underlay(down.back(flow, kRst)));
  down.round();
  EXPECT_FALSE(down.record(flow).forward_handed_down || down.record(flow).reply_handed_down);
  const FlowRecord now = down.record(flow);
  EXPECT_EQ(now.forward_packets, before.forward_packets + 1000);
  EXPECT_EQ(now.reply_packets, before.reply_packets + 501) << "the reset has been counted by the worker";
  down.round();
  EXPECT_EQ(down.lease(*there).packets, 0u) << "for the next one";
}

TEST(HandDown, WhatXdpHasCountedGoesOnWhereAFlowIsHandedDownAgain) {
  DownRig down;
  const auto flow = down.direct();
  down.hand_down(flow);
  const FlowRecord at_first = down.record(flow);
  down.lease(*down.entry(DownRig::key_there(flow))).packets += 1000;
  down.rig().set_clusters({PathRig::kWestOther});
  static_cast<void>(down.rig().from_local(down.there(flow)).only());
  static_cast<void>(down.rig().from_underlay(
      down.rig().tunnelled(tcp(flow.west, flow.client, kData), down.at().west_other, kWestIdentity)));
  down.round();
  const auto after = down.entry(DownRig::key_there(flow));
  ASSERT_TRUE(after && down.holds(*after));
  ASSERT_EQ(down.counters().handed_down, 4u);
  EXPECT_EQ(down.record(flow).forward_packets, at_first.forward_packets + 1001);
  down.lease(*after).packets += 10;
  EXPECT_EQ(down.record(flow).forward_packets, at_first.forward_packets + 1011);
}

}  // namespace
}  // namespace isthmus::test
