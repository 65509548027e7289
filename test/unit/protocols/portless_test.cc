// Protocols without ports: GRE, ESP, AH, and numbers that nobody knows. One connection for each protocol between two
// addresses; policy by identity, never by a port.
#include <gtest/gtest.h>

#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

using Drops = std::map<std::string, std::uint64_t>;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint8_t kGre = 47, kEsp = 50, kAh = 51, kDccp = 33, kUdpLite = 136;
constexpr std::uint8_t kSome[] = {2, 4, kDccp, 41, kGre, kEsp, 59, 89, 103, 115, 135, kUdpLite, 253, 255};
const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

class Portless : public ::testing::Test {
 protected:
  Portless() {
    set_boot_clock(Nanoseconds{1000 * kSecond});
    rig = std::make_unique<PathRig>();
  }
  void publish(PolicyDelta& policies) {
    policies.select(1, {kWestIdentity}).select(2, {kNorthIdentity});
    ASSERT_TRUE(rig->engine().publish(policies.delta).ok());
  }
  std::unique_ptr<PathRig> rig;
};

TEST_F(Portless, EachProtocolIsAConnectionBetweenTwoAddresses) {
  for (const auto& [client, server] : {std::pair{at.client, at.west}, {at.client6, at.west6}}) {
    for (const std::uint8_t protocol : kSome) {
      SCOPED_TRACE(unsigned{protocol});
      const Output out = rig->from_local(portless(client.address, server.address, protocol).with_payload(5)).only();
      EXPECT_EQ(out.packet.vni, kClientIdentity);
      EXPECT_EQ(unsigned(out.packet.protocol), unsigned{protocol});
      EXPECT_TRUE(out.packet.payload_is_pattern);
      EXPECT_EQ(rig->from_local(portless(client.address, server.address, protocol)).out.size(), 1u);
      const Output back = rig->from_underlay(from_west(portless(server.address, client.address, protocol))).only();
      EXPECT_FALSE(back.underlay);
    }
  }
  const auto flows = rig->flows();
  EXPECT_EQ(flows.size(), 2 * std::size(kSome));
  for (const FlowRecord& flow : flows) {
    EXPECT_EQ(flow.client_port.value() | flow.frontend_port.value() | flow.backend_port.value(), 0u);
    EXPECT_EQ(flow.forward_packets, 2u);
    EXPECT_EQ(flow.reply_packets, 1u);
    EXPECT_TRUE(flow.established);
  }
}

TEST_F(Portless, NoneIsSoShortThatItCannotBeForwarded) {
  for (std::size_t bytes = 0; bytes < 9; ++bytes) {
    PacketSpec packet = portless(at.client.address, at.west.address, kGre);
    FrameBytes ip = packet.with_payload(1).ip_bytes();
    ip.resize(20 + bytes);
    ip[3] = static_cast<std::uint8_t>(ip.size());
    ip[10] = ip[11] = 0;
    unsigned sum = 0;
    for (std::size_t i = 0; i < 20; i += 2) {
      sum += static_cast<unsigned>(ip[i] << 8 | ip[i + 1]);
    }
    sum = ~((sum & 0xffff) + (sum >> 16));
    ip[10] = static_cast<std::uint8_t>(sum >> 8), ip[11] = static_cast<std::uint8_t>(sum);
    packet.raw = ip;
    ASSERT_TRUE(rig->local().inject(packet.bytes()));
    rig->engine().run_round(WorkerId{0});
    const auto sent = rig->underlay().take();
    ASSERT_TRUE(sent.has_value()) << bytes;
    EXPECT_EQ(FrameBytes(sent->begin() + 64, sent->end()), ip);
  }
}

TEST_F(Portless, NoRuleWithAPortMatchesThemWhateverItsPorts) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity,
                   enforced({allow(1, kTcpNumber), allow(1, kUdpNumber), allow(1, 132), allow(1, kIcmpNumber)}));
  publish(policies);
  for (const std::uint8_t protocol : kSome) {
    EXPECT_EQ(rig->from_underlay(from_west(portless(at.west.address, at.client.address, protocol))).drops,
              (Drops{{"policy_denied", 1}}))
        << unsigned{protocol};
  }
  EXPECT_TRUE(rig->flows().empty());
}

TEST_F(Portless, ARuleWithoutPortsAllowsThemByIdentityAndADenyOfItDeniesThem) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced({allow(1), deny(2)})).egress(kClientIdentity, enforced({allow(1)}));
  publish(policies);
  for (const std::uint8_t protocol : kSome) {
    SCOPED_TRACE(unsigned{protocol});
    EXPECT_EQ(rig->from_underlay(from_west(portless(at.west.address, at.client.address, protocol))).out.size(), 1u);
    EXPECT_EQ(rig->from_local(portless(at.client.address, at.west.address, protocol)).out.size(), 1u);
    const PacketSpec north =
        portless(at.north.address, at.client.address, protocol).in_tunnel(at.north_gateway, at.gateway, kNorthIdentity);
    EXPECT_EQ(rig->from_underlay(north).drops, (Drops{{"policy_deny", 1}}));
    EXPECT_EQ(rig->from_local(portless(at.client.address, at.north.address, protocol)).drops,
              (Drops{{"policy_denied", 1}}));
  }
}

TEST_F(Portless, AVipIsNoFrontendForThem) {
  for (const std::uint8_t protocol : kSome) {
    EXPECT_EQ(rig->from_local(portless(at.client.address, at.remote_service.address, protocol)).drops,
              (Drops{{"no_frontend", 1}}));
  }
}

TEST_F(Portless, SourcesAreValidatedAsOfAnyPacket) {
  EXPECT_EQ(rig->from_local(portless(at.north.address, at.west.address, kGre)).drops, (Drops{{"foreign_source", 1}}));
  EXPECT_EQ(rig->from_underlay(from_west(portless(at.north.address, at.client.address, kEsp))).drops,
            (Drops{{"source_outside_cluster", 1}}));
}

TEST_F(Portless, AnErrorAboutOneFindsItsConnectionOrPassesByPolicy) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced({allow(1), deny(2)})).egress(kClientIdentity, enforced({allow(1)}));
  publish(policies);
  const auto about = [](const Endpoint& to) {
    return portless(at.client.address, to.address, kGre).with_payload(8).ip_bytes();
  };
  const PacketSpec error = from_west(icmp_error(at.west.address, at.client.address, 3, 2, about(at.west)));
  PacketSpec denied = icmp_error(at.north.address, at.client.address, 3, 2, about(at.north));
  EXPECT_EQ(rig->from_underlay(denied.in_tunnel(at.north_gateway, at.gateway, kNorthIdentity)).drops,
            (Drops{{"policy_deny", 1}}));
  const Outcome stray = rig->from_underlay(error);
  const FrameBytes sent = about(at.west);
  EXPECT_EQ(stray.only().packet.quoted, FrameBytes(sent.begin(), sent.begin() + 28)) << "its headers";
  EXPECT_EQ(stray.counted.count("worker.icmp_stray"), 1u);
  ASSERT_EQ(rig->from_local(portless(at.client.address, at.west.address, kGre)).out.size(), 1u);
  const Outcome known = rig->from_underlay(error);
  EXPECT_EQ(known.only().packet.quoted, sent);
  EXPECT_EQ(known.counted.count("worker.icmp_stray"), 0u);
}

TEST_F(Portless, FragmentsFollowTheirFirstOne) {
  const auto part = [](std::uint16_t where) {
    return portless(at.client.address, at.west.address, kEsp).with_payload(40).as_fragment(where);
  };
  EXPECT_TRUE(rig->from_local(part(6)).out.empty()) << "it waits";
  EXPECT_EQ(rig->from_local(part(0x2000)).out.size(), 2u);
  EXPECT_EQ(rig->flows().size(), 1u);
}

TEST_F(Portless, ConnectionsExpireAnsweredOrNot) {
  ASSERT_EQ(rig->from_local(portless(at.client.address, at.west.address, kGre)).out.size(), 1u);
  ASSERT_EQ(rig->flows().size(), 1u);
  EXPECT_EQ(rig->flows().front().expires_in_seconds, FlowTimeouts{}.half_open.value());
  ASSERT_EQ(rig->from_underlay(from_west(portless(at.west.address, at.client.address, kGre))).out.size(), 1u);
  EXPECT_EQ(rig->flows().front().expires_in_seconds, FlowTimeouts{}.other.value());
  set_boot_clock(Nanoseconds{(1000 + FlowTimeouts{}.other.value() + 1) * kSecond});
  for (int round = 0; round < 200'000 && !rig->flows().empty(); ++round) {
    rig->idle(64);
  }
  EXPECT_TRUE(rig->flows().empty());
}

// A cluster with alias addresses: east's 10.1.0.0/16 is 10.101.0.0/16 to others.
class AliasedPortless : public Portless {
 protected:
  AliasedPortless() {
    TableDelta delta;
    delta.aliases = {{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")},
                     {*Prefix::parse("fd00:1::/48"), *Prefix::parse("fd00:101::/48")}};
    delta.changed_clusters = {
        {ClusterId{1}, true, true, {*Prefix::parse("10.101.0.0/16"), *Prefix::parse("fd00:101::/48")}, {}}};
    EXPECT_TRUE(rig->engine().publish(delta).ok());
    for (const char* address : {"10.101.0.10", "fd00:101::10"}) {
      const EndpointEntry entry{Realm{0}, Actors::ip(address), ClusterId{1}, Identity{kClientIdentity}, kNoPeer};
      rig->engine().upsert_endpoints({&entry, 1});
    }
  }
};

TEST_F(AliasedPortless, OnlyTheAddressesAreTranslated) {
  for (const std::uint8_t protocol : {kGre, kEsp, std::uint8_t{253}}) {
    const PacketSpec packet = portless(at.client.address, at.west.address, protocol).with_payload(9);
    const Output out = rig->from_local(packet).only();
    EXPECT_EQ(out.packet.source, Actors::ip("10.101.0.10"));
    const FrameBytes sent(out.bytes.begin() + 64 + 20, out.bytes.end()), was = packet.ip_bytes();
    EXPECT_EQ(sent, FrameBytes(was.begin() + 20, was.end()));
  }
}

TEST_F(AliasedPortless, ChecksumsOverThePseudoHeaderFollow) {
  for (const std::uint8_t protocol : {kDccp, kUdpLite}) {
    PacketSpec packet = portless(at.client.address, at.west.address, protocol);
    FrameBytes ip = packet.ip_bytes();
    ip[26] = 0x12, ip[27] = 0x34;
    packet.raw = ip;
    const Output out = rig->from_local(packet).only();
    // 10.1 became 10.101: the complement of the sum is less by 100.
    EXPECT_EQ(out.bytes[64 + 26] << 8 | out.bytes[64 + 27], 0x1234 - 100) << unsigned{protocol};
  }
}

TEST_F(AliasedPortless, AhIsRefusedWhereTheAddressesItCoversWouldChange) {
  EXPECT_EQ(rig->from_local(portless(at.client.address, at.west.address, kAh)).drops, (Drops{{"untranslatable", 1}}));
  const PacketSpec behind_ah =
      tcp(at.client6, at.west6).with_extension(kAh, FrameBytes{0, 4, 0, 0, 0, 0, 0, 1, 0, 0,  0,  1,
                                                               1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  EXPECT_EQ(rig->from_local(behind_ah).drops, (Drops{{"untranslatable", 1}}));
  PathRig plain;
  EXPECT_EQ(plain.from_local(portless(at.client.address, at.west.address, kAh)).out.size(), 1u);
  EXPECT_EQ(plain.from_local(behind_ah).out.size(), 1u);
}

}  // namespace
}  // namespace isthmus::test
