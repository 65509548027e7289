// ICMP errors: those that pass must prove themselves, those that the gateway originates are limited.
#include <gtest/gtest.h>

#include "dataplane/base/rate_limit.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

TEST(IcmpErrors, AreRateLimitedByKindAndSourcePrefix) {
  PathRig::Options options;
  options.engine.icmp_errors_per_second = 12;  // of which each prefix has 3
  PathRig rig(options);
  std::size_t answers = 0;
  for (int i = 0; i < 1000; ++i) {
    answers += rig.from_local(tcp(at.client, at.empty_service)).out.size();
  }
  EXPECT_GE(answers, 3u);
  EXPECT_LT(answers, 500u);
  const Outcome too_big = rig.from_local(tcp(at.client, at.west).with_payload(1430).with_df());
  EXPECT_EQ(too_big.only().packet.icmp_rest, 1450u) << "another kind has a limit of its own";
  const Endpoint neighbour{Actors::ip("10.1.7.10"), 1};
  EXPECT_EQ(rig.from_local(tcp(neighbour, at.empty_service)).out.size(), 1u) << "another prefix has a share of its own";
}

// A peer that makes errors from all its prefixes leaves others' path MTU discovery alone.
TEST(IcmpErrors, AreRateLimitedByPeer) {
  PathRig::Options options;
  options.engine.icmp_errors_per_second = 12;
  options.local_mtu = Bytes{1300};
  PathRig rig(options);
  const auto too_big = [&](const Endpoint& source, const IpAddress& peer, std::uint32_t vni) {
    return rig.from_underlay(tcp(source, at.client, kAck).with_payload(1350).with_df().in_tunnel(peer, at.gateway, vni))
        .out.size();
  };
  std::size_t answers = 0;
  for (std::uint32_t n = 0; n < 250; ++n) {
    answers += too_big({IpAddress::ipv4(Be32::of(0x0a020001 + (n << 8))), 9000}, at.west_gateway, kWestIdentity);
  }
  EXPECT_GE(answers, 12u);
  EXPECT_LT(answers, 200u);
  EXPECT_EQ(too_big(at.north, at.north_gateway, kNorthIdentity), 1u);
}

// What a trace shows of the gateway: its own address in the cluster, which the other cluster's gateway accepts.
TEST(IcmpErrors, AboutAUsedUpTtlComeFromTheGatewaysOwnAddress) {
  struct Row {
    const char* description;
    bool underlay;
    PacketSpec packet;
    IpAddress to;
    std::uint8_t type;
  };
  const Row rows[] = {
      {"from west", true, from_west(udp(at.west, at.client).with_payload(32).with_ttl(1)), at.west.address, 11},
      {"from west, IPv6", true, from_west(udp(at.west6, at.client6).with_payload(32).with_ttl(1)), at.west6.address, 3},
      {"an echo", true, from_west(echo_request(at.west.address, at.client.address, 7).with_ttl(1)), at.west.address,
       11},
      {"to a backend of this cluster", false, tcp(at.client, at.local_service).with_ttl(1), at.client.address, 11},
      {"a SYN whose segments are longer than the path carries", true,
       from_west(tcp(at.west, at.client).with_options({2, 4, 0x22, 0xf0}).with_ttl(1)), at.west.address, 11},
  };
  for (const Row& row : rows) {
    PathRig rig;
    const Outcome outcome = row.underlay ? rig.from_underlay(row.packet) : rig.from_local(row.packet);
    const Output error = outcome.only();
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"ttl_exceeded", 1}})) << row.description;
    EXPECT_EQ(error.underlay, row.underlay) << row.description;
    EXPECT_EQ(error.packet.source, row.to.is_ipv4() ? at.translation : at.translation6) << row.description;
    EXPECT_EQ(error.packet.destination, row.to) << row.description;
    EXPECT_EQ(error.packet.icmp_type, row.type) << row.description;
    EXPECT_EQ(error.packet.icmp_code, 0) << row.description;
    EXPECT_EQ(error.packet.quoted, row.packet.ip_bytes()) << row.description << ": quoted as it came";
  }
}

TEST(IcmpErrors, AboutAUsedUpTtlAreNotSentWithoutAnAddressOfTheFamily) {
  PathRig::Options options;
  options.translation6 = false;
  PathRig rig(options);
  EXPECT_TRUE(rig.from_underlay(from_west(udp(at.west6, at.client6).with_ttl(1))).out.empty());
  EXPECT_EQ(rig.from_underlay(from_west(udp(at.west, at.client).with_ttl(1))).out.size(), 1u) << "the other family";
}

TEST(IcmpErrors, AboutAUsedUpTtlAreLimited) {
  PathRig::Options options;
  options.engine.icmp_errors_per_second = 12;  // of which each prefix has 3
  PathRig rig(options);
  std::size_t errors = 0;
  for (std::uint16_t port = 1; port <= 1000; ++port) {
    errors += rig.from_underlay(from_west(udp({at.west.address, port}, at.client).with_ttl(1))).out.size();
  }
  EXPECT_GE(errors, 3u);
  EXPECT_LT(errors, 500u);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west).with_payload(1430).with_df()).only().packet.icmp_type, 3)
      << "another kind has a limit of its own";
}

// A trace from here: what a router of the other cluster, or its gateway, says of a probe reaches the prober.
TEST(IcmpErrors, AboutAUsedUpTtlFromTheOtherClusterPass) {
  PathRig rig;
  ASSERT_EQ(rig.from_local(udp(at.client, at.west).with_ttl(2)).out.size(), 1u);
  const FrameBytes about = udp(at.client, at.west).with_ttl(1).ip_bytes();
  const Output error = rig.from_underlay(icmp_error(Actors::ip("10.2.255.1"), at.client.address, 11, 0, about)
                                             .in_tunnel(at.west_gateway, at.gateway, 6))
                           .only();
  EXPECT_FALSE(error.underlay);
  EXPECT_EQ(error.packet.source, Actors::ip("10.2.255.1"));
  EXPECT_EQ(error.packet.destination, at.client.address);
}

TEST(RateLimits, LoseNoFractionOfAnEvent) {
  RateLimit limit(1000);
  std::uint64_t now = 10'000'000'000, taken = 0;
  while (limit.take(now)) {
  }
  for (unsigned i = 0; i < 100'000; ++i, now += 1500) {  // each step earns 1.5 thousandths
    taken += limit.take(now) ? 1 : 0;
  }
  EXPECT_EQ(taken, 149u) << "149.9985 ms have passed";
}

TEST(RateLimits, AllowNothingAtZeroAndASecondsWorthAtOnce) {
  RateLimit none(0), five(5), most(0xffffffff);
  EXPECT_TRUE(most.take(5'000'000'000)) << "more than one in a nanosecond is no limit of none";
  EXPECT_FALSE(none.take(5'000'000'000));
  unsigned taken = 0;
  while (five.take(5'000'000'000)) {
    ++taken;
  }
  EXPECT_EQ(taken, 5u);
}

// An ICMP error proves itself: it is for the host that it quotes, and comes from the cluster that sends it.
TEST(IcmpErrors, MustBeForTheHostTheyQuoteAndComeFromTheirSendersCluster) {
  struct Report {
    const char* description;
    IpAddress from, to;
    std::uint8_t code;
    std::uint16_t mtu;
    const char* drop;  // nullptr: it is passed on
  };
  const Report rows[] = {
      {"a node of west reports", Actors::ip("10.2.9.9"), at.client.address, 3, 0, nullptr},
      {"for another host of this cluster", Actors::ip("10.2.9.9"), Actors::ip("10.1.0.77"), 3, 0, "icmp_invalid"},
      {"for a host outside the fleet", Actors::ip("10.2.9.9"), Actors::ip("198.18.0.1"), 3, 0, "icmp_invalid"},
      {"from a host of north", at.north.address, at.client.address, 3, 0, "source_outside_cluster"},
      {"from a host outside the fleet", Actors::ip("198.18.0.1"), at.client.address, 3, 0, "source_outside_cluster"},
      {"an MTU of 0", Actors::ip("10.2.9.9"), at.client.address, 4, 0, "icmp_invalid"},
      {"an MTU of 68", Actors::ip("10.2.9.9"), at.client.address, 4, 68, "icmp_invalid"},
      {"an MTU of 1400", Actors::ip("10.2.9.9"), at.client.address, 4, 1400, nullptr},
  };
  for (const Report& row : rows) {
    PathRig rig;
    ASSERT_EQ(rig.from_local(tcp(at.client, at.west)).out.size(), 1u);
    const FrameBytes about = tcp(at.client, at.west).ip_bytes();
    const Outcome outcome =
        rig.from_underlay(from_west(icmp_error(row.from, row.to, 3, row.code, about).with_mtu(row.mtu)));
    if (row.drop == nullptr) {
      EXPECT_EQ(outcome.out.size(), 1u) << row.description << outcome.text();
    } else {
      EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{row.drop, 1}})) << row.description;
      EXPECT_TRUE(outcome.out.empty()) << row.description;
    }
  }
}

TEST(IcmpErrors, OverIpv6NameNoLessThanTheMinimumMtu) {
  constexpr std::uint8_t kPacketTooBig = 2;
  for (const auto& [mtu, passes] : {std::pair<std::uint16_t, bool>{1279, false}, {1280, true}}) {
    PathRig rig;
    ASSERT_EQ(rig.from_local(tcp(at.client6, at.west6)).out.size(), 1u);
    const FrameBytes about = tcp(at.client6, at.west6).ip_bytes();
    PacketSpec error = icmp_error(at.west6.address, at.client6.address, kPacketTooBig, 0, about).with_mtu(mtu);
    const Outcome outcome = rig.from_underlay(from_west(error));
    EXPECT_EQ(outcome.out.size(), passes ? 1u : 0u) << mtu << outcome.text();
    EXPECT_EQ(outcome.drops.contains("icmp_invalid"), !passes) << mtu << outcome.text();
  }
}

TEST(IcmpErrors, FromTheLocalSideComeFromThisCluster) {
  for (const auto& [from, passes] : {std::pair{Actors::ip("10.1.9.9"), true}, {Actors::ip("198.18.0.1"), false}}) {
    PathRig rig;
    ASSERT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client))).out.size(), 1u);
    const FrameBytes about = tcp(at.west, at.client).ip_bytes();
    const Outcome outcome = rig.from_local(icmp_error(from, at.west.address, 3, 3, about));
    EXPECT_EQ(outcome.out.size(), passes ? 1u : 0u) << outcome.text();
    EXPECT_EQ(outcome.drops.contains("foreign_source"), !passes) << outcome.text();
  }
}

// Those of IPv6 quote much.
TEST(IcmpErrors, OverIpv6FitTheWayBack) {
  for (const std::uint32_t mtu : {1500u, 1330u, 1300u, 1280u}) {
    for (const bool learned : {false, true}) {
      PathRig::Options options;
      options.underlay_mtu = Bytes{learned ? 1500 : mtu};
      PathRig rig(options);
      if (learned) {
        TableDelta delta;
        delta.path_mtus = {{PathRig::kWestGateway, Bytes{mtu}}};
        ASSERT_TRUE(rig.engine().publish(delta).ok());
      }
      const PacketSpec spec =
          rig.tunnelled(udp(at.west6, at.client6).with_payload(1180).with_ttl(1), at.west_gateway, kWestIdentity);
      const Outcome outcome = rig.from_underlay(spec);
      ASSERT_EQ(outcome.out.size(), 1u) << mtu << outcome.text();
      EXPECT_LE(outcome.out.front().bytes.size() - 14, mtu);
      EXPECT_GT(outcome.out.front().bytes.size(), std::min(mtu, 1300u) - 50) << "as much as fits";
    }
  }
}

}  // namespace
}  // namespace isthmus::test
