// Packets that are too long: IPv4 packets that may be fragmented, and IPv6 packets whose tunnel packets must be.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/fragments.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

unsigned word(const FrameBytes& bytes, std::size_t place) {
  return static_cast<unsigned>(bytes[place] << 8 | bytes[place + 1]);
}

// What leaves put together again, as a host does it (RFC 791 section 3.2); empty, where it does not fit. Each piece
// must be within the MTU and have a good header.
FrameBytes put_together(const std::vector<Output>& out, std::size_t mtu) {
  FrameBytes whole;
  std::size_t end = 0, total = 0;
  for (const Output& each : out) {
    const std::size_t start = each.packet.tunnelled ? 64 : 14;
    const FrameBytes ip(each.bytes.begin() + static_cast<std::ptrdiff_t>(start), each.bytes.end());
    const std::size_t bytes = word(ip, 2), header = (ip[0] & 15) * 4u, offset = (word(ip, 6) & 0x1fff) * 8u;
    EXPECT_LE(bytes, mtu);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < header; i += 2) {
      sum += word(ip, i);
    }
    EXPECT_EQ((sum & 0xffff) + (sum >> 16), 0xffffu) << "header checksum";
    if (offset == 0) {
      whole.insert(whole.begin(), ip.begin(), ip.begin() + static_cast<std::ptrdiff_t>(header));
    }
    EXPECT_EQ(offset, end) << "in order, without a gap";
    whole.insert(whole.end(), ip.begin() + static_cast<std::ptrdiff_t>(header),
                 ip.begin() + static_cast<std::ptrdiff_t>(bytes));
    end = offset + bytes - header;
    total += (word(ip, 6) & 0x2000) == 0 ? 1 : 0;
  }
  EXPECT_EQ(total, 1u) << "one last fragment";
  return whole;
}

// The L4 part of an IP packet, its addresses, and what is behind.
FrameBytes behind(const FrameBytes& ip) { return {ip.begin() + 12, ip.end()}; }

TEST(Fragmentation, SplitsWhatIsTooLongForTheTunnelAndMayBeSplit) {
  for (const PacketSpec& spec : {udp(at.client, at.west).with_payload(3000), tcp(at.client, at.west).with_payload(2900),
                                 echo_request(at.client.address, at.west.address, 7).with_payload(2000)}) {
    PathRig rig;
    const Outcome outcome = rig.from_local(spec);
    EXPECT_EQ(outcome.counted.at("worker.packets_fragmented"), 1u);
    EXPECT_EQ(outcome.counted.at("worker.fragments_made"), outcome.out.size());
    EXPECT_TRUE(outcome.drops.empty());
    for (const Output& each : outcome.out) {
      EXPECT_TRUE(each.underlay && each.packet.outer_df);
    }
    EXPECT_EQ(behind(put_together(outcome.out, 1450)), behind(spec.ip_bytes()));
  }
}

TEST(Fragmentation, SplitsAfterTheTranslation) {
  PathRig rig;
  const PacketSpec spec = tcp(at.client, at.remote_service).with_payload(2000);
  const FrameBytes whole = put_together(rig.from_local(spec).out, 1450);
  EXPECT_EQ(behind(whole), behind(tcp(at.client, at.west).with_payload(2000).ip_bytes())) << "with its checksum";
}

TEST(Fragmentation, SplitsForTheLocalDeviceToo) {
  PathRig::Options options;
  options.local_mtu = Bytes{1301};  // no multiple of eight
  PathRig rig(options);
  const PacketSpec spec = udp(at.west, at.client).with_payload(1400);
  const Outcome outcome = rig.from_underlay(from_west(spec));
  EXPECT_EQ(outcome.out.size(), 2u);
  EXPECT_FALSE(outcome.out.front().underlay);
  EXPECT_EQ(behind(put_together(outcome.out, 1301)), behind(spec.ip_bytes()));
}

TEST(Fragmentation, SplitsPacketsOfSettledFlowsAndCountsEachOnce) {
  PathRig rig;
  ASSERT_EQ(rig.from_local(udp(at.client, at.west)).out.size(), 1u);
  const PacketSpec spec = udp(at.client, at.west).with_payload(2000);
  EXPECT_EQ(behind(put_together(rig.from_local(spec).out, 1450)), behind(spec.ip_bytes()));
  ASSERT_EQ(rig.flows().size(), 1u);
  EXPECT_EQ(rig.flows()[0].forward_packets, 2u);
  EXPECT_EQ(rig.flows()[0].forward_bytes, 28u + 2028u);
}

TEST(Fragmentation, OverAnIpv6UnderlayEachPieceHasAChecksumOfItsOwn) {
  PathRig::Options options;
  options.underlay = Family::kIpv6;
  PathRig rig(options);
  const Outcome outcome = rig.from_local(udp(at.client, at.west).with_payload(2000));
  EXPECT_EQ(outcome.out.size(), 2u);
  for (const Output& each : outcome.out) {  // whose lengths and outer checksums the rig has verified
    EXPECT_LE(each.bytes.size(), 1514u);
  }
}

TEST(Fragmentation, CopiesTheOptionsThatAreForEveryFragment) {
  PathRig rig;
  FrameBytes ip = udp(at.client, at.west).with_payload(2000).ip_bytes();
  // Router alert, which is copied, and a no-operation; then record route, which is not.
  const FrameBytes options{0x94, 4, 0, 0, 1, 7, 7, 4, 0, 0, 0, 0};
  ip.insert(ip.begin() + 20, options.begin(), options.end());
  ip[0] = 0x48;
  const auto put16 = [&](std::size_t place, std::size_t value) {
    ip[place] = static_cast<std::uint8_t>(value >> 8), ip[place + 1] = static_cast<std::uint8_t>(value);
  };
  put16(2, ip.size()), put16(10, 0);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 32; i += 2) {
    sum += word(ip, i);
  }
  put16(10, ~((sum & 0xffff) + (sum >> 16)));
  PacketSpec spec = udp(at.client, at.west);
  spec.raw = ip;
  const Outcome outcome = rig.from_local(spec);
  ASSERT_EQ(outcome.out.size(), 2u) << outcome.text();
  EXPECT_EQ(outcome.out[0].bytes[64], 0x48);
  EXPECT_EQ(outcome.out[1].bytes[64], 0x46);
  EXPECT_EQ(FrameBytes(outcome.out[1].bytes.begin() + 84, outcome.out[1].bytes.begin() + 88),
            (FrameBytes{0x94, 4, 0, 0}));
}

TEST(Fragmentation, IsNotForWhatMustNotBeSplit) {
  PathRig rig;
  const Output error = rig.from_local(udp(at.client, at.west).with_payload(2000).with_df()).only();
  EXPECT_EQ(error.packet.icmp_rest, 1450u);
  EXPECT_EQ(rig.from_local(udp(at.client6, at.west6).with_payload(2000)).only().packet.icmp_type, 2);
  EXPECT_EQ(rig.counters().packets_fragmented, 0u);
}

class NarrowTunnel : public ::testing::TestWithParam<Family> {
 protected:
  NarrowTunnel() : rig_(options()) {
    TableDelta delta;
    delta.path_mtus = {{PathRig::kWestGateway, Bytes{kOuter}}};
    EXPECT_TRUE(rig_.engine().publish(delta).ok());
  }
  static PathRig::Options options() {
    PathRig::Options options;
    options.underlay = GetParam();
    return options;
  }
  static constexpr std::size_t kOuter = 1300, kLongest = 1280 - 48;
  PathRig rig_;
};

TEST_P(NarrowTunnel, IsFragmentedForIpv6PacketsThatEveryLinkMustCarry) {
  for (std::uint64_t i = 1; i <= 2; ++i) {  // of a new connection, and of a settled one
    const Outcome outcome = rig_.from_local(udp(at.client6, at.west6).with_payload(kLongest));
    ASSERT_EQ(outcome.out.size(), 2u) << outcome.text();
    std::vector<FrameBytes> fragments;
    for (const Output& each : outcome.out) {
      EXPECT_TRUE(each.underlay && !each.packet.outer_df && each.packet.fragment);
      EXPECT_LE(each.bytes.size(), 14 + kOuter);
      fragments.push_back(inner_ip(each.bytes));
    }
    const Dissected whole = joined(fragments);
    EXPECT_TRUE(whole.errors.empty() && whole.tunnelled) << whole.text();
    EXPECT_EQ(whole.payload, kLongest);
    EXPECT_TRUE(whole.payload_is_pattern);
    EXPECT_EQ(rig_.counters().tunnels_fragmented, i);
    EXPECT_EQ(rig_.counters().fragments_made, 2 * i);
    EXPECT_EQ(rig_.counters().encapsulated, i);
  }
}

TEST_P(NarrowTunnel, TellsAnIpv6SenderNoLessThanItTakes) {
  EXPECT_EQ(rig_.from_local(udp(at.client6, at.west6).with_payload(kLongest + 1)).only().packet.icmp_rest, 1280u);
  EXPECT_EQ(rig_.from_local(udp(at.client6, at.west6).with_payload(1100)).out.size(), 1u);
  EXPECT_EQ(rig_.counters().tunnels_fragmented, 0u);
}

INSTANTIATE_TEST_SUITE_P(Underlays, NarrowTunnel, ::testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& row) { return row.param == Family::kIpv4 ? "Ipv4" : "Ipv6"; });

}  // namespace
}  // namespace isthmus::test
