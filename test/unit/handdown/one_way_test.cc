// Where one direction of a connection cannot go down, the other one does, and comes back by itself. Real maps, no
// program.
#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <span>
#include <string_view>

#include "test/unit/handdown/down_rig.h"

namespace isthmus::test {
namespace {

void can_send(DownRig& down, MemoryDevice& device, bool can) {
  device.set_kernel_egress({.interface_index = can ? kLoopback : 0});
  static_cast<void>(down.rig().engine().check_devices());
}

class OneWay : public testing::Test {
 protected:
  // XDP cannot send what leaves by the local device: replies.
  void hand_down_forward() {
    can_send(down_, down_.rig().local(), false);
    down_.hand_down(flow_);
    ASSERT_TRUE(there() && down_.holds(*there()));
    ASSERT_FALSE(back());
  }
  [[nodiscard]] std::optional<isthmus_flow> there() const { return down_.entry(DownRig::key_there(flow_)); }
  [[nodiscard]] std::optional<isthmus_flow> back() const { return down_.entry(DownRig::key_back(flow_)); }
  // XDP forwards some.
  void count(const isthmus_flow& flow, unsigned packets) {
    down_.lease(flow).packets += packets;
    down_.lease(flow).bytes += packets * 140;
  }

  DownRig down_;
  DownRig::Flow flow_ = down_.to_vip();
};

TEST_F(OneWay, WithoutAnEgressTheOtherDirectionGoesDown) {
  hand_down_forward();
  EXPECT_EQ(down_.counters().handed_down, 1u);
  EXPECT_EQ(down_.counters().handed_down_now, 1u);
  EXPECT_EQ(down_.counters().handed_down_one_way, 1u);
  EXPECT_EQ(down_.counters().hand_down_no_room, 0u);
  const FlowRecord before = down_.record(flow_);
  EXPECT_TRUE(before.forward_handed_down);
  EXPECT_FALSE(before.reply_handed_down);
  count(*there(), 100);
  static_cast<void>(down_.rig().from_underlay(down_.back(flow_)).only());
  down_.round();
  const FlowRecord after = down_.record(flow_);
  EXPECT_EQ(after.forward_packets, before.forward_packets + 100);
  EXPECT_EQ(after.reply_packets, before.reply_packets + 1);
  EXPECT_EQ(down_.counters().handed_down, 1u);
}

TEST_F(OneWay, AnIdleDirectionDoesNotComeAndGo) {
  down_.hand_down(flow_);
  ASSERT_TRUE(down_.down(flow_));
  TableDelta every_word;
  every_word.policy_defaults.emplace();
  ASSERT_TRUE(down_.rig().engine().publish(every_word).ok());
  for (unsigned look = 0; look < 12; ++look) {  // one side alone has something to send
    static_cast<void>(down_.rig().from_local(down_.there(flow_)).only());
    down_.pass(1);
    down_.round();
  }
  EXPECT_EQ(down_.counters().taken_back_cold, 1u);
  EXPECT_EQ(down_.counters().handed_down, 2u);
  static_cast<void>(down_.rig().from_underlay(down_.back(flow_)).only());
  for (unsigned look = 0; look < 2; ++look) {
    down_.round();
  }
  EXPECT_TRUE(down_.down(flow_)) << "its decision is confirmed";
}

TEST_F(OneWay, WithoutAProgramWhereItArrivesADirectionStays) {
  down_.rig().local().set_kernel_egress({.interface_index = kLoopback, .why_not = {}, .forwards = false});
  static_cast<void>(down_.rig().engine().check_devices());
  down_.hand_down(flow_);
  EXPECT_FALSE(there());
  EXPECT_TRUE(down_.down(DownRig::key_back(flow_)));
  EXPECT_FALSE(down_.record(flow_).forward_handed_down);
  EXPECT_TRUE(down_.record(flow_).reply_handed_down);
}

TEST_F(OneWay, ADecisionWithATimeLimitStaysUntilItHasNone) {
  down_.establish(flow_);
  const auto identity = [&](std::uint32_t number) {
    const EndpointEntry west{Realm{0}, flow_.west.address, ClusterId{2}, Identity{number}, kNoPeer};
    down_.rig().engine().upsert_endpoints({&west, 1});
  };
  identity(kWestIdentity + 1);  // what still comes with the old one is believed for some seconds
  static_cast<void>(down_.rig().from_underlay(down_.back(flow_)).only());
  down_.heat(flow_);
  down_.round();
  EXPECT_TRUE(down_.down(DownRig::key_there(flow_)));
  EXPECT_FALSE(back());
  identity(kWestIdentity);
  static_cast<void>(down_.rig().from_underlay(down_.back(flow_)).only());
  static_cast<void>(down_.rig().from_local(down_.there(flow_)).only());
  down_.round();
  EXPECT_TRUE(down_.down(flow_));
}

TEST_F(OneWay, TheOtherDirectionFollowsWhenItCan) {
  hand_down_forward();
  const isthmus_flow before = *there();
  can_send(down_, down_.rig().local(), true);
  down_.round();
  EXPECT_TRUE(down_.down(flow_));
  EXPECT_EQ(there()->lease, before.lease) << "which stays as it is";
  EXPECT_EQ(back()->lease, before.lease + 1);
  EXPECT_EQ(down_.counters().handed_down, 2u);
  EXPECT_EQ(down_.counters().handed_down_one_way, 0u);
}

TEST_F(OneWay, ADirectionIsTakenBackAlone) {
  down_.hand_down(flow_);
  ASSERT_TRUE(down_.down(flow_));
  const isthmus_flow before = *there();
  const FlowRecord start = down_.record(flow_);
  count(*there(), 7);
  count(*back(), 100);
  can_send(down_, down_.rig().local(), false);
  down_.round();
  EXPECT_FALSE(back());
  ASSERT_TRUE(down_.down(DownRig::key_there(flow_)));
  EXPECT_EQ(there()->lease, before.lease);
  EXPECT_EQ(down_.counters().taken_back_moved, 1u);
  EXPECT_EQ(down_.counters().handed_down_now, 1u);
  EXPECT_EQ(down_.counters().handed_down_one_way, 1u);
  const auto expect_counts = [&](unsigned there_too, unsigned back_too) {
    const FlowRecord now = down_.record(flow_);
    EXPECT_EQ(now.forward_packets, start.forward_packets + 7 + there_too);
    EXPECT_EQ(now.forward_bytes, start.forward_bytes + (7 + there_too) * 140);
    EXPECT_EQ(now.reply_packets, start.reply_packets + 100 + back_too);
    EXPECT_EQ(now.reply_bytes, start.reply_bytes + (100 + back_too) * 140);
  };
  expect_counts(0, 0);
  down_.round();
  EXPECT_FALSE(back());
  can_send(down_, down_.rig().local(), true);
  down_.round();
  ASSERT_TRUE(down_.down(flow_));
  expect_counts(0, 0);
  count(*there(), 1);
  count(*back(), 2);
  expect_counts(1, 2);
}

TEST_F(OneWay, WhatEndsTheSideThatStaysUpWithdrawsTheOther) {
  for (const std::uint8_t flag : {kFin, kRst}) {
    DownRig down;
    const auto flow = down.to_vip();
    can_send(down, down.rig().local(), false);
    down.hand_down(flow);
    const auto there = down.entry(DownRig::key_there(flow));
    ASSERT_TRUE(there && down.holds(*there));
    static_cast<void>(down.rig().from_underlay(down.back(flow, flag | kAck)));
    EXPECT_NE(down.lease(*there).valid, 1u);
    down.round();
    EXPECT_FALSE(down.entry(DownRig::key_there(flow)));
    EXPECT_EQ(down.counters().taken_back_ending, 1u);
    EXPECT_EQ(down.counters().handed_down_now, 0u);
    EXPECT_EQ(down.counters().handed_down_one_way, 0u);
  }
}

TEST_F(OneWay, AConnectionDoesNotExpireWhileXdpForwardsOneDirection) {
  hand_down_forward();
  for (unsigned turn = 0; turn < 3; ++turn) {
    count(*there(), 1);
    down_.pass(5000);
    for (unsigned i = 0; i < 4; ++i) {
      down_.pass(2);
      static_cast<void>(down_.rig().idle());
    }
    ASSERT_TRUE(down_.down(DownRig::key_there(flow_))) << turn;
    EXPECT_LT(down_.record(flow_).idle_seconds, 6000u);
  }
}

TEST_F(OneWay, AnotherDecisionForTheSideThatStaysUpLeavesTheOther) {
  hand_down_forward();
  const isthmus_flow before = *there();
  TableDelta every_word;
  every_word.policy_defaults.emplace();
  ASSERT_TRUE(down_.rig().engine().publish(every_word).ok());
  static_cast<void>(down_.rig().from_underlay(down_.back(flow_)).only());
  static_cast<void>(down_.rig().from_local(down_.there(flow_)).only());
  down_.round();
  ASSERT_TRUE(down_.down(DownRig::key_there(flow_)));
  EXPECT_EQ(there()->lease, before.lease);
  can_send(down_, down_.rig().local(), true);
  down_.round();
  EXPECT_TRUE(down_.down(flow_)) << "whatever was withdrawn of a lease that was nobody's";
}

// As the kernel does where an interface is removed, whose number another one then has.
// As what a pod's own tunnel sends, whose answers have other ports.
TEST_F(OneWay, UdpThatNobodyAnswersGoesDownAndItsAnswersFollowTheFirst) {
  const auto [client, west] = std::pair(Endpoint{down_.at().client.address, 41000}, down_.at().west);
  const auto send = [&](unsigned packets) {
    down_.pass(1);
    for (unsigned i = 0; i < packets; ++i) {
      static_cast<void>(down_.rig().from_local(udp(client, west).with_payload(100)).only());
    }
  };
  const auto answer = [&] {
    const PacketSpec packet = udp(west, client).with_payload(100);
    static_cast<void>(
        down_.rig().from_underlay(down_.rig().tunnelled(packet, down_.at().west_gateway, kWestIdentity)).only());
  };
  const auto key = [](const Endpoint& from, const Endpoint& to) {
    return key_of(
        FlowKey(from.address, to.address, Be16::of(from.port), Be16::of(to.port), IpProtocol::kUdp, Realm{0}));
  };
  send(1);
  send(17);
  send(1);
  down_.round();
  ASSERT_TRUE(down_.down(key(client, west)));
  EXPECT_FALSE(down_.entry(key(west, client)));
  EXPECT_EQ(down_.counters().handed_down_one_way, 1u);
  EXPECT_FALSE(down_.record({client, west, west}).established);
  for (unsigned i = 0; i < 4; ++i) {  // it lives by what XDP forwards
    down_.pass(20);
    count(*down_.entry(key(client, west)), 100);
    down_.round();
  }
  ASSERT_TRUE(down_.down(key(client, west)));
  EXPECT_EQ(down_.record({client, west, west}).forward_packets, 419u);
  answer();
  down_.round();
  EXPECT_TRUE(down_.down(key(client, west)));
  EXPECT_TRUE(down_.down(key(west, client)));
  EXPECT_EQ(down_.counters().handed_down_one_way, 0u);
}

TEST_F(OneWay, AnEgressWhosePlaceTheKernelHasEmptiedIsPutBack) {
  down_.hand_down(flow_);
  const std::uint32_t device = there()->device;
  for (const bool fragments : {false, true}) {
    for (const KernelFlows::NamedMap& map : down_.maps().maps(fragments)) {
      if (std::string_view(map.name) != "isthmus_devices") {
        continue;
      }
      ASSERT_EQ(bpf_map_delete_elem(map.fd, &device), 0);
      static_cast<void>(down_.rig().engine().check_devices());
      int interface_index = 0;
      EXPECT_EQ(bpf_map_lookup_elem(map.fd, &device, &interface_index), 0);
      EXPECT_EQ(interface_index, kLoopback);
    }
  }
  EXPECT_TRUE(down_.down(flow_));
}

// Something that happens to one of the flows, or to a device.
void do_at_random(DownRig& down, std::span<const DownRig::Flow> flows, std::mt19937& random) {
  const auto& flow = flows[random() % flows.size()];
  switch (random() % 8) {
    case 0:
      can_send(down, random() % 2 == 0 ? down.rig().local() : down.rig().underlay(), random() % 3 != 0);
      break;
    case 1:
      static_cast<void>(down.rig().from_underlay(down.back(flow, random() % 2 == 0 ? kRst : kFin | kAck)));
      down.establish(flow);
      break;
    case 2: {
      TableDelta every_word;
      every_word.policy_defaults.emplace();
      EXPECT_TRUE(down.rig().engine().publish(every_word).ok());
      break;
    }
    case 3:
      down.round();
      break;
    default:
      down.pass(1);
      for (unsigned i = 0; i < 3; ++i) {
        static_cast<void>(down.rig().from_local(down.there(flow)));
        static_cast<void>(down.rig().from_underlay(down.back(flow)));
      }
  }
}

// Devices come and go, connections end and come back, decisions change. Nothing is lost of pairs, entries and counts.
TEST(OneWayAtRandom, EverythingIsGivenBack) {
  constexpr std::uint16_t kFlows = 12;
  DownRig down({.entries = 32, .packets_per_second = 1, .rig = {}});
  std::mt19937 random(23);
  std::array<DownRig::Flow, kFlows> flows;
  for (std::uint16_t n = 0; n < kFlows; ++n) {
    flows[n] = {{down.at().client.address, static_cast<std::uint16_t>(42000 + n)}, down.at().west, down.at().west};
    down.establish(flows[n]);
  }
  for (unsigned step = 0; step < 3000; ++step) {
    do_at_random(down, flows, random);
    const EngineCounters now = down.counters();
    ASSERT_LE(now.handed_down_one_way, now.handed_down_now) << step;
    ASSERT_LE(now.handed_down_now, now.handed_down_capacity) << step;
  }
  for (MemoryDevice* device : {&down.rig().local(), &down.rig().underlay()}) {
    can_send(down, *device, true);
  }
  EXPECT_GT(down.counters().handed_down, 200u);
  EXPECT_GT(down.counters().taken_back_moved, 50u);
  EXPECT_GT(down.counters().taken_back_ending, 20u);
  for (const auto& flow : flows) {
    static_cast<void>(down.rig().from_local(down.there(flow, kRst)));
  }
  for (unsigned i = 0; i < 4; ++i) {
    down.round();
    static_cast<void>(down.rig().idle());
  }
  EXPECT_EQ(down.counters().handed_down_now, 0u);
  EXPECT_EQ(down.counters().handed_down_one_way, 0u);
  for (const auto& flow : flows) {
    EXPECT_FALSE(down.entry(DownRig::key_there(flow)) || down.entry(DownRig::key_back(flow)));
  }
  for (const isthmus_lease& lease : down.maps().leases()) {
    EXPECT_EQ(lease.valid, 0u);
    EXPECT_EQ(lease.packets, 0u);
  }
}

}  // namespace
}  // namespace isthmus::test
