// Tunnel packets that the underlay has fragmented are put together, whatever the order.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/boot_clock.h"
#include "test/support/fragments.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
const Actors at;
using Drops = std::map<std::string, std::uint64_t>;

class Assembly : public ::testing::Test {
 protected:
  Assembly() { set_boot_clock(Nanoseconds{1000 * kSecond}); }
};

FrameBytes without_ethernet(const FrameBytes& frame) { return {frame.begin() + 14, frame.end()}; }

// The outer packet of `spec`, in fragments.
std::vector<FrameBytes> outer_fragments(const PacketSpec& spec, std::size_t mtu, std::uint32_t id = 1) {
  return split(without_ethernet(spec.bytes()), mtu, id);
}

PacketSpec udp_packet(const PathRig& rig, bool v6 = false) {
  return rig.tunnelled(udp(v6 ? at.west6 : at.west, v6 ? at.client6 : at.client).with_payload(1300),
                       rig.at.west_gateway, kWestIdentity);
}

TEST_F(Assembly, MakesTunnelPacketsOfFragmentsInAnyOrder) {
  for (const EncapsulationKind kind : {EncapsulationKind::kVxlan, EncapsulationKind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      for (const bool v6 : {false, true}) {
        PathRig::Options options;
        options.kind = kind;
        options.underlay = underlay;
        PathRig rig(options);
        const std::vector<FrameBytes> all = outer_fragments(udp_packet(rig, v6), 600);
        ASSERT_EQ(all.size(), 3u);
        std::vector<std::size_t> order{0, 1, 2};
        std::uint64_t assembled = 0;
        do {
          EXPECT_TRUE(rig.raw(true, framed(all[order[0]])).out.empty());
          EXPECT_TRUE(rig.raw(true, framed(all[order[1]])).out.empty());
          EXPECT_EQ(rig.counters().fragments_waiting, 2u);
          const Outcome outcome = rig.raw(true, framed(all[order[2]]));
          const Output out = outcome.only();
          EXPECT_FALSE(out.underlay);
          EXPECT_EQ(out.packet.payload, 1300u);
          EXPECT_TRUE(out.packet.payload_is_pattern);
          EXPECT_TRUE(outcome.drops.empty());
          EXPECT_EQ(rig.counters().assembled, ++assembled);
          EXPECT_EQ(rig.counters().fragments_joined, 3 * assembled);
          EXPECT_EQ(rig.counters().decapsulated, assembled);
          EXPECT_EQ(rig.counters().fragments_waiting, 0u);
        } while (std::next_permutation(order.begin(), order.end()));
      }
    }
  }
}

// RFC 6946: it has a fragment header, and is whole.
TEST_F(Assembly, IsNotWaitedForOfAPacketThatIsAllOfItsFragments) {
  PathRig::Options options;
  options.underlay = Family::kIpv6;
  PathRig rig(options);
  const FrameBytes ip = without_ethernet(udp_packet(rig).bytes());
  for (int i = 0; i < 2; ++i) {  // of the same identification
    const Outcome outcome = rig.raw(true, framed(part_of(ip, 0, ip.size() - 40, false)));
    const Output out = outcome.only();
    EXPECT_FALSE(out.underlay);
    EXPECT_EQ(out.packet.payload, 1300u);
    EXPECT_TRUE(out.packet.payload_is_pattern);
  }
  EXPECT_EQ(rig.counters().assembled, 0u);
  EXPECT_EQ(rig.counters().decapsulated, 2u);
}

TEST_F(Assembly, IsOfFragmentsInFragmentsToo) {
  PathRig rig;
  std::vector<FrameBytes> out;
  PacketSpec spec = rig.tunnelled(udp(at.west, at.client).with_payload(3000), at.west_gateway, kWestIdentity);
  for (const FrameBytes& inner : split(spec.ip_bytes(), 1400)) {
    PacketSpec tunnelled = spec;
    tunnelled.raw = inner;
    for (const FrameBytes& outer : outer_fragments(tunnelled, 1000, static_cast<std::uint32_t>(out.size()))) {
      for (const Output& sent : rig.raw(true, framed(outer)).out) {
        out.push_back(inner_ip(sent.bytes));
      }
    }
  }
  ASSERT_EQ(out.size(), 3u);
  const Dissected whole = joined(out);
  EXPECT_TRUE(whole.errors.empty()) << whole.text();
  EXPECT_EQ(whole.payload, 3000u);
}

TEST_F(Assembly, ReportsCongestionThatAnyFragmentMet) {
  struct Marks {
    std::uint8_t first, second, expected;
    const char* drop;
  };
  for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
    for (const Marks& row :
         {Marks{2, 3, 3, nullptr}, {3, 2, 3, nullptr}, {2, 2, 2, nullptr}, {0, 3, 0, "ecn_not_capable"}}) {
      PathRig::Options options;
      options.underlay = underlay;
      PathRig rig(options);
      std::vector<FrameBytes> fragments;
      for (const std::uint8_t ecn : {row.first, row.second}) {
        PacketSpec spec = udp_packet(rig);
        spec.with_ecn(2);
        spec.tunnel->ecn = ecn;
        fragments.push_back(outer_fragments(spec, 1000).at(fragments.size()));
      }
      EXPECT_TRUE(rig.raw(true, framed(fragments[0])).out.empty());
      const Outcome outcome = rig.raw(true, framed(fragments[1]));
      if (row.drop == nullptr) {
        EXPECT_EQ(outcome.only().packet.ecn, row.expected);
      } else {
        EXPECT_EQ(outcome.drops, (Drops{{row.drop, 1}}));
      }
    }
  }
}

// What the kernel would have taken past the gateway's validation.
TEST_F(Assembly, IsNoWayAroundValidation) {
  PathRig rig;
  const PacketSpec forged =
      udp(at.north, at.client).with_payload(1300).in_tunnel(at.west_gateway, at.gateway, kNorthIdentity);
  const std::vector<FrameBytes> all = outer_fragments(forged, 1000);
  EXPECT_TRUE(rig.raw(true, framed(all[1])).drops.empty());
  EXPECT_EQ(rig.raw(true, framed(all[0])).drops, (Drops{{"vni_cluster", 1}}));
}

TEST_F(Assembly, IsOfPeersTunnelPacketsOnly) {
  PathRig rig;
  PacketSpec other = udp({at.west_gateway, 53}, {at.gateway, 53}).with_payload(1300);
  const std::vector<FrameBytes> all = split(other.ip_bytes(), 1000);
  EXPECT_TRUE(rig.raw(true, framed(all[1])).drops.empty()) << "that has no port";
  EXPECT_EQ(rig.raw(true, framed(all[0])).drops, (Drops{{"ip_fragment", 2}})) << "the one that waited goes too";
  PacketSpec stranger = udp_packet(rig);
  stranger.tunnel->from = Actors::ip("192.0.2.99");
  EXPECT_EQ(rig.raw(true, framed(outer_fragments(stranger, 1000)[0])).drops, (Drops{{"unknown_peer", 1}}));
  EXPECT_EQ(rig.counters().fragments_waiting, 0u) << "nothing is kept for who is no peer";
}

TEST_F(Assembly, EndsWhereAFrameDoes) {
  PathRig rig;
  const PacketSpec longest = rig.tunnelled(udp(at.west, at.client).with_payload(4000), at.west_gateway, kWestIdentity);
  const std::vector<FrameBytes> all = outer_fragments(longest, 1500);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(rig.raw(true, framed(all[0])).drops.empty());
  EXPECT_TRUE(rig.raw(true, framed(all[1])).drops.empty());
  EXPECT_EQ(rig.raw(true, framed(all[2])).drops, (Drops{{"fragment_too_long", 3}}));
}

TEST_F(Assembly, OfWhatOverlapsDoesNotHappen) {
  PathRig rig;
  const FrameBytes outer = without_ethernet(udp_packet(rig).bytes());
  const std::size_t total = outer.size() - 20;
  EXPECT_TRUE(rig.raw(true, framed(part_of(outer, 0, 800, true))).drops.empty());
  EXPECT_EQ(rig.raw(true, framed(part_of(outer, 792, total - 792, false))).drops, (Drops{{"fragment_overlap", 2}}));
  EXPECT_EQ(rig.raw(true, framed(part_of(outer, 800, total - 800, false))).drops, (Drops{{"fragment_overlap", 1}}));
}

TEST_F(Assembly, WaitsNoLongerThanItsTime) {
  PathRig rig;
  const std::vector<FrameBytes> all = outer_fragments(udp_packet(rig), 600);
  EXPECT_TRUE(rig.raw(true, framed(all[2])).out.empty());
  EXPECT_TRUE(rig.raw(true, framed(all[0])).out.empty());
  set_boot_clock(Nanoseconds{1003 * kSecond});
  EXPECT_EQ(rig.idle(4).drops, (Drops{{"fragment_timeout", 2}}));
  EXPECT_EQ(rig.counters().fragments_waiting, 0u);
  EXPECT_EQ(rig.counters().fragmented, 0u);
}

// A flood of first fragments takes no frame from those that come whole.
TEST_F(Assembly, KeepsNoFrames) {
  PathRig rig;
  Drops drops;
  for (std::uint32_t id = 0; id < 3000; ++id) {
    const auto all = outer_fragments(udp_packet(rig), 1000, id);
    FrameBytes first = all[0];
    first[4] = static_cast<std::uint8_t>(id >> 8), first[5] = static_cast<std::uint8_t>(id);
    for (const auto& [name, count] : rig.raw(true, framed(first)).drops) {
      drops[name] += count;
    }
  }
  EXPECT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops["fragment_limit"] + rig.counters().fragments_waiting, 3000u);
  EXPECT_GT(rig.counters().fragments_waiting, 100u);
  EXPECT_EQ(rig.from_underlay(udp_packet(rig)).out.size(), 1u);
}

// Whether its first fragment comes first or not.
TEST_F(Assembly, OfWhatIsNoTunnelPacketNothingWaits) {
  for (const bool reversed : {false, true}) {
    PathRig rig;
    const PacketSpec other = udp({at.west_gateway, 53}, {at.gateway, 53}).with_payload(1300);
    std::vector<FrameBytes> all = split(other.ip_bytes(), 1000);
    if (reversed) {
      std::reverse(all.begin(), all.end());
    }
    Drops sum;
    for (const FrameBytes& each : all) {
      for (const auto& [reason, count] : rig.raw(true, framed(each)).drops) {
        sum[reason] += count;
      }
    }
    EXPECT_EQ(sum, (Drops{{"ip_fragment", 2}})) << reversed;
    EXPECT_EQ(rig.counters().fragments_waiting, 0u);
  }
}

}  // namespace
}  // namespace isthmus::test
