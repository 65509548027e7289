// isthmus_forward (xdp/forward.bpf.c): what is forwarded, how it looks then, and what is left as it came.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <string>
#include <vector>

#include "dataplane/encap/encap.h"
#include "test/unit/xdp/forward_rig.h"
#include "xdp/loader/steer_program.h"

namespace isthmus::test {
namespace {

static_assert(encap::Vxlan::kPlain.mask == ISTHMUS_VXLAN_MASK && encap::Vxlan::kPlain.value == ISTHMUS_VXLAN_VALUE);
static_assert(encap::Geneve::kPlain.mask == ISTHMUS_GENEVE_MASK && encap::Geneve::kPlain.value == ISTHMUS_GENEVE_VALUE);

class ForwardProgramTest : public ForwardRig {};

TEST_F(ForwardProgramTest, PacketsGoEveryWayInAndOut) {
  for (const Way in : kWays) {
    for (const Way out : kWays) {
      for (int each = 0; each < 16; ++each) {
        SCOPED_TRACE("in " + std::to_string(static_cast<int>(in)) + " out " + std::to_string(static_cast<int>(out)) +
                     " packet " + std::to_string(each));
        const bool rewritten = (each & 4) != 0;
        PacketSpec before = inside({.ipv6 = (each & 1) != 0, .udp = (each & 2) != 0});
        before.ecn = (each & 8) != 0 ? 2 : 0;
        const PacketSpec after = rewritten ? translated(before) : before;
        hand_down(before, decision(before, after, in, out));
        FrameBytes frame = arriving(before, in);
        frame.insert(frame.end(), each % 3, 0xee);
        const SteeredLeg::Run ran = run(in, frame);
        ASSERT_EQ(ran.action, static_cast<unsigned>(XDP_REDIRECT)) << "also to where it came from";
        expect_sent(ran, after, out);
        EXPECT_EQ(lease().packets, 1u);
        EXPECT_EQ(lease().bytes, before.ip_bytes().size());
        if (testing::Test::HasFailure()) {
          return;
        }
      }
    }
  }
}

TEST_F(ForwardProgramTest, AShortFrameIsPaddedWithZerosWhateverItWasPaddedWith) {
  for (const Way in : kWays) {
    for (const bool udp : {false, true}) {
      for (std::uint16_t payload = 0; payload < 21; ++payload) {
        SCOPED_TRACE("in " + std::to_string(static_cast<int>(in)) + (udp ? " UDP " : " TCP ") +
                     std::to_string(payload));
        const PacketSpec before = inside({.udp = udp}).with_payload(payload), after = translated(before);
        hand_down(before, decision(before, after, in, Way::kLocal));
        FrameBytes frame = arriving(before, in);
        frame.resize(std::max<std::size_t>(frame.size(), kShortestFrame), 0xee);
        const SteeredLeg::Run ran = run(in, frame);
        ASSERT_EQ(ran.action, static_cast<unsigned>(XDP_REDIRECT));
        expect_sent(ran, after, Way::kLocal);
        EXPECT_EQ(lease().bytes, before.ip_bytes().size());
      }
    }
  }
}

TEST_F(ForwardProgramTest, AWithdrawnDecisionIsUsedForNoMorePacket) {
  const PacketSpec before = inside({});
  const FrameBytes frame = arriving(before, Way::kLocal);
  const isthmus_flow flow = decision(before, translated(before), Way::kLocal, Way::kVxlan4);
  hand_down(before, flow);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  lease().valid = 0;
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  lease().valid = 1;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  ++flows_->epochs()[kEpoch];
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  lease().sum += 2;  // the word counts twice in this flow
  EXPECT_FALSE(goes_up(Way::kLocal, frame)) << "stamped again";
  ++flows_->epochs()[0];
  EXPECT_TRUE(goes_up(Way::kLocal, frame)) << "index 0 counts as any other";
  lease().sum += 4;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  const isthmus_flow_key key = key_of(before);
  flows_->erase({&key, 1});
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
}

TEST_F(ForwardProgramTest, WhatIsNotPlainGoesUpAsItCame) {
  for (const Way in : kWays) {
    for (const bool ipv6 : {false, true}) {
      SCOPED_TRACE("in " + std::to_string(static_cast<int>(in)) + (ipv6 ? " IPv6" : " IPv4"));
      const PacketSpec before = inside({.ipv6 = ipv6});
      hand_down(before, decision(before, translated(before), in, Way::kVxlan4));
      ASSERT_FALSE(goes_up(in, arriving(before, in)));
      for (const std::uint8_t flag : {kSyn, kFin, kRst}) {
        PacketSpec opens = before;
        EXPECT_TRUE(goes_up(in, arriving(opens.with_flags(flag | kAck), in))) << int{flag};
      }
      PacketSpec other = before;
      EXPECT_TRUE(goes_up(in, arriving(other.with_ttl(1), in)));
      EXPECT_FALSE(goes_up(in, arriving(other.with_ttl(2), in)));
      const std::size_t headers = before.ip_bytes().size() - before.payload;
      EXPECT_FALSE(goes_up(in, arriving(other.with_payload(kMtu - headers), in)));
      EXPECT_TRUE(goes_up(in, arriving(other.with_payload(kMtu - headers + 1), in)));
      other = before;
      if (!ipv6) {
        EXPECT_TRUE(goes_up(in, arriving(other.as_fragment(8), in)));
      }
      FrameBytes elsewhere = arriving(before, in);
      elsewhere[5] ^= 1;
      EXPECT_TRUE(goes_up(in, elsewhere)) << "another MAC address";
      PacketSpec datagram = inside({.ipv6 = ipv6, .udp = true});
      hand_down(datagram, decision(datagram, translated(datagram), in, Way::kVxlan6));
      EXPECT_FALSE(goes_up(in, arriving(datagram, in)));
      EXPECT_TRUE(goes_up(in, arriving(datagram.without_udp_checksum(), in))) << "all of it would have to be summed up";
    }
  }
}

TEST_F(ForwardProgramTest, UdpWithoutAChecksumStaysWithoutOne) {
  const PacketSpec before = inside({.udp = true}).without_udp_checksum();
  const PacketSpec after = translated(before);
  for (const Way in : {Way::kLocal, Way::kVxlan4, Way::kGeneve4}) {
    hand_down(before, decision(before, after, in, Way::kVxlan4));
    expect_sent(run(in, arriving(before, in)), after, Way::kVxlan4);
  }
}

TEST_F(ForwardProgramTest, APacketMustComeFromWhereTheDecisionSays) {
  for (const Way in : kWays) {
    SCOPED_TRACE(static_cast<int>(in));
    const PacketSpec before = inside({});
    const isthmus_flow flow = decision(before, translated(before), in, Way::kLocal);
    hand_down(before, flow);
    for (const Way way : kWays) {
      EXPECT_EQ(goes_up(way, arriving(before, way)), way != in) << static_cast<int>(way);
    }
    if (!tunnelled(in)) {
      continue;
    }
    const auto changed = [&](auto change) {
      PacketSpec packet = before;
      packet.in_tunnel(peer(in, false), gateway(in), kVni);
      packet.tunnel->kind = kind_of(in);
      packet.tunnel->port = port_of(in);
      packet.tunnel->flags = in >= Way::kGeneve4 ? 0x6558 : 0x08000000;
      change(*packet.tunnel);
      FrameBytes bytes = packet.bytes();
      std::copy(kOwnMac.bytes.begin(), kOwnMac.bytes.end(), bytes.begin());
      return bytes;
    };
    using Tunnel = PacketSpec::Tunnel;
    EXPECT_FALSE(goes_up(in, changed([](Tunnel&) {})));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.vni ^= 1; })));
    EXPECT_TRUE(goes_up(in, changed([&](Tunnel& t) { t.from = peer(in, true); })));
    EXPECT_TRUE(goes_up(in, changed([&](Tunnel& t) { t.to = peer(in, true); })));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.port ^= 1; })));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.flags ^= 0x80000000; })));
    EXPECT_EQ(goes_up(in, changed([](Tunnel& t) { t.low_byte = 7; })), kind_of(in) == EncapsulationKind::kVxlan);
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.ecn = 3; })));
    EXPECT_FALSE(goes_up(in, changed([](Tunnel& t) { t.ecn = 2; })));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.padding = 2; })) == over_ipv6(in));
    if (over_ipv6(in)) {
      EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.udp_checksum = false; })));
      FrameBytes corrupt = arriving(before, in);
      corrupt[14 + 40 + 8 + 4] ^= 0x40;  // the VNI
      hand_down(before, [&] {
        isthmus_flow other = flow;
        other.from_vni ^= 0x40;
        return other;
      }());
      EXPECT_TRUE(goes_up(in, corrupt)) << "its checksum does not hold";
    }
    if (in == Way::kGeneve4 || in == Way::kGeneve6) {
      EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.options = FrameBytes(8, 0); })));
    }
  }
}

TEST_F(ForwardProgramTest, WhatCannotBeSentGoesUp) {
  const PacketSpec before = inside({});
  const isthmus_flow good = decision(before, translated(before), Way::kLocal, Way::kVxlan4);
  const FrameBytes frame = arriving(before, Way::kLocal);
  hand_down(before, good);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  flows_->hops()[kHop].resolved = 0;
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  flows_->hops()[kHop].resolved = 1;
  flows_->tunnels()[good.tunnel].size = 0;
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  flows_->tunnels()[good.tunnel].size = 64;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  isthmus_flow flow = good;
  flow.device = 5;  // without an interface
  hand_down(before, flow);
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  flow = good;
  flow.tunnel = 999;  // never written
  hand_down(before, flow);
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
}

TEST_F(ForwardProgramTest, PacketsCutOffAnywhereDoNoHarm) {
  for (const Way in : kWays) {
    for (int each = 0; each < 4; ++each) {
      const PacketSpec before = inside({.ipv6 = (each & 1) != 0, .udp = (each & 2) != 0});
      hand_down(before, decision(before, translated(before), in, Way::kVxlan6));
      const FrameBytes whole = arriving(before, in);
      for (std::size_t length = 14; length < whole.size(); ++length) {
        EXPECT_TRUE(goes_up(in, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)})) << length;
      }
      EXPECT_FALSE(goes_up(in, whole));
    }
  }
}

TEST_F(ForwardProgramTest, RandomBytesInTheHeadersDoNoHarm) {
  std::uint32_t random = 1;
  for (const Way in : kWays) {
    const PacketSpec before = inside({.ipv6 = in == Way::kVxlan4, .udp = in == Way::kGeneve6});
    hand_down(before, decision(before, translated(before), in, Way::kVxlan4));
    const FrameBytes whole = arriving(before, in);
    for (int i = 0; i < 3000; ++i) {
      FrameBytes frame = whole;
      for (int changes = 0; changes < 2; ++changes) {
        random = random * 1664525 + 1013904223;
        frame[(random >> 16) % frame.size()] ^= static_cast<std::uint8_t>(random >> 8);
      }
      const SteeredLeg::Run ran = run(in, frame);
      ASSERT_TRUE(ran.action == XDP_PASS || ran.action == XDP_DROP || ran.action == XDP_REDIRECT) << ran.action;
      ASSERT_TRUE(ran.action == XDP_REDIRECT || ran.frame == frame);
    }
  }
}

TEST_F(ForwardProgramTest, SettledFlowsGoOnForATimeWithoutTheEngine) {
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  const FrameBytes frame = arriving(before, Way::kLocal);
  settings_.heartbeat_timeout_ms = 1000;
  settings_.orphan_timeout_ms = 3'600'000;
  load(local_, false);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  const auto run_at_age = [&](std::uint64_t seconds) {
    local_.program->heartbeats()[0].nanoseconds -= seconds * 1'000'000'000;
    const SteeredLeg::Run ran = local_.run(frame);
    local_.program->heartbeats()[0].nanoseconds += seconds * 1'000'000'000;
    return ran.frame != frame;
  };
  EXPECT_TRUE(run_at_age(0));
  EXPECT_TRUE(run_at_age(5)) << "the engine counts as down, but the flow was handed down";
  local_.program->heartbeats()[0].nanoseconds |= ISTHMUS_NOT_POLLED;
  EXPECT_TRUE(run_at_age(5)) << "the engine has ended";
  local_.program->heartbeats()[0].nanoseconds = 0;
  EXPECT_EQ(local_.run(frame).frame, frame) << "there was none";
  settings_.orphan_timeout_ms = 0;
  load(local_, false);
  EXPECT_FALSE(goes_up(Way::kLocal, frame)) << "while the engine lives";
  EXPECT_FALSE(run_at_age(5));
}

TEST_F(ForwardProgramTest, NothingIsForwardedBeforeTheDeviceHasJoined) {
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  auto loaded = SteerProgram::load(settings_);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  local_.program = *std::move(loaded);
  ASSERT_TRUE(local_.program->apply(rules()).ok());
  EXPECT_TRUE(goes_up(Way::kLocal, arriving(before, Way::kLocal)));
  ASSERT_TRUE(local_.program->join(false, Realm{}).ok());
  EXPECT_FALSE(goes_up(Way::kLocal, arriving(before, Way::kLocal)));
}

TEST_F(ForwardProgramTest, WhatTheRulesLeaveToTheKernelIsNotForwarded) {
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  const FrameBytes frame = arriving(before, Way::kLocal);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  SteerRules others = rules();
  others.fleet = {*Prefix::parse("10.99.0.0/16")};
  ASSERT_TRUE(local_.program->apply(others).ok());
  lease().valid = 0;  // the engine withdraws; the classification gets the packet
  EXPECT_EQ(run(Way::kLocal, frame).action, static_cast<unsigned>(XDP_PASS));
  ASSERT_TRUE(local_.program->apply(rules()).ok());
  lease().valid = 1;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
}

TEST_F(ForwardProgramTest, TheMultiBufferVariantForwardsWhatIsInOneBuffer) {
  settings_.fragments = true;
  load(local_, false);
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  EXPECT_FALSE(goes_up(Way::kLocal, arriving(before, Way::kLocal)));
  PacketSpec large = before;
  isthmus_flow flow = decision(before, translated(before), Way::kLocal, Way::kVxlan4);
  flow.mtu = 9000;
  hand_down(before, flow);
  EXPECT_TRUE(goes_up(Way::kLocal, arriving(large.with_payload(8000), Way::kLocal)));
}

TEST_F(ForwardProgramTest, WhatIsForwardedIsCounted) {
  const PacketSpec before = inside({});
  const std::uint64_t bytes = before.ip_bytes().size();
  const auto counters = [&] {
    const auto map = map_of_program(underlay_.program->program(), ISTHMUS_COUNTERS_MAP);
    std::vector<isthmus_steer_counters> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    const std::uint32_t only = 0;
    EXPECT_EQ(bpf_map_lookup_elem(map->get(), &only, per_cpu.data()), 0);
    isthmus_steer_counters sum{};
    for (const auto& c : per_cpu) {
#define ISTHMUS_STEER_COUNTER(field, ...) sum.field += c.field;
#include "dataplane/stats/counters.def"
    }
    return sum;
  };
  hand_down(before, decision(before, before, Way::kVxlan4, Way::kLocal));
  run(Way::kVxlan4, arriving(before, Way::kVxlan4));
  hand_down(before, decision(before, before, Way::kVxlan4, Way::kGeneve4));
  run(Way::kVxlan4, arriving(before, Way::kVxlan4));
  EXPECT_TRUE(goes_up(Way::kGeneve4, arriving(before, Way::kGeneve4)));
  lease().valid = 0;
  EXPECT_TRUE(goes_up(Way::kVxlan4, arriving(before, Way::kVxlan4)));
  EXPECT_EQ(counters().forwarded, 2u);
  EXPECT_EQ(counters().forwarded_decapsulated, 2u);
  EXPECT_EQ(counters().forwarded_encapsulated, 1u);
  EXPECT_EQ(counters().forwarded_fabric_bytes, bytes);
  EXPECT_EQ(counters().forwarded_local_bytes, bytes);
  EXPECT_EQ(counters().flow_unusual, 1u);
  EXPECT_EQ(counters().flow_withdrawn, 1u);
}

}  // namespace
}  // namespace isthmus::test
