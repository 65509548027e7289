// Pings of VIPs: answered by the client's own gateway as a host would, without a connection and without a refusal that
// stands, within limits; everybody else's end as they did.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/fragments.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

using Drops = std::map<std::string, std::uint64_t>;
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kAh = 51, kDestination = 60;
constexpr std::uint16_t kId = 7;
const Actors at;

struct Ping {
  IpAddress client, vip;
  [[nodiscard]] PacketSpec request(std::size_t payload = 56) const {
    return echo_request(client, vip, kId).with_payload(payload);
  }
  [[nodiscard]] PacketSpec reply(std::size_t payload = 56) const {
    return echo_reply(vip, client, kId).with_payload(payload);
  }
};
const Ping kPings[] = {{at.client.address, at.remote_service.address}, {at.client6.address, at.service6.address}};

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

// That the only packet out is `reply`, byte for byte, by the device by which the request came, and nothing stays.
void expect_answered(PathRig& rig, const Outcome& outcome, const PacketSpec& reply, bool underlay = false) {
  const Output out = outcome.only();
  EXPECT_EQ(out.underlay, underlay);
  EXPECT_EQ(inner_ip(out.bytes), reply.ip_bytes()) << outcome.text();
  EXPECT_EQ(outcome.drops, (Drops{}));
  EXPECT_EQ(outcome.counted.at("worker.echo_answered"), 1u);
  EXPECT_TRUE(rig.flows().empty());
}

TEST(Echo, OfAVipIsAnsweredInItsName) {
  for (const Ping& ping : kPings) {
    for (const std::size_t payload : {0u, 1u, 56u, 1000u, 1402u}) {
      PathRig rig;
      for (int i = 0; i < 3; ++i) {
        const Outcome outcome = rig.from_local(ping.request(payload));
        expect_answered(rig, outcome, ping.reply(payload));
        EXPECT_EQ(outcome.out.front().packet.destination_mac, "02:00:00:00:00:01") << "whence it came";
        EXPECT_EQ(outcome.out.front().packet.source_mac, "02:00:00:00:00:02");
        EXPECT_EQ(outcome.counted.at("worker.misses"), 1u);
      }
    }
  }
}

TEST(Echo, IsAnsweredByAVipWithoutBackends) {
  PathRig rig;
  const Ping ping{at.client.address, at.empty_service.address};
  expect_answered(rig, rig.from_local(ping.request()), ping.reply());
}

TEST(Echo, ThatHasNoHopLeftHasArrived) {
  for (const Ping& ping : kPings) {
    PathRig rig;
    expect_answered(rig, rig.from_local(ping.request().with_ttl(1)), ping.reply());
  }
}

TEST(Echo, ReplyHasTheRequestsDscpAndNoEcn) {
  for (const Ping& ping : kPings) {
    PathRig rig;
    expect_answered(rig, rig.from_local(ping.request().with_ecn(0xb8 | 3)), ping.reply().with_ecn(0xb8));
  }
}

TEST(Echo, ReplyKeepsDontFragment) {
  PathRig rig;
  expect_answered(rig, rig.from_local(kPings[0].request().with_df()), kPings[0].reply().with_df());
}

// The one message whose checksum is not 0 but 0xffff.
TEST(Echo, ReplyOfNothingButZerosHasARightChecksum) {
  PathRig rig;
  FrameBytes ip = echo_request(at.client.address, at.remote_service.address, 0).ip_bytes();
  ip[20 + 7] = 0;  // the sequence number
  ip[20 + 2] = 0xf7, ip[20 + 3] = 0xff;
  const Output out = rig.raw(false, framed(ip)).only();
  EXPECT_TRUE(out.packet.errors.empty());
  EXPECT_EQ(out.bytes[14 + 20 + 2], 0xff);
  EXPECT_EQ(out.bytes[14 + 20 + 3], 0xff);
}

TEST(Echo, ReplyHasNoneOfTheRequestsOptions) {
  const FrameBytes options[] = {{7, 7, 4, 0, 0, 0, 0, 0}, {148, 4, 0, 0}, FrameBytes(40, 1)};
  for (const FrameBytes& each : options) {
    PathRig rig;
    expect_answered(rig, rig.from_local(kPings[0].request().with_ip_options(each)), kPings[0].reply());
  }
  const FrameBytes used_up{0, 2, 0, 0, 0, 0, 0, 0, 0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const std::pair<std::uint8_t, FrameBytes> headers[] = {{kHopByHop, {0, 0, 5, 2, 0, 0, 1, 0}},
                                                         {kDestination, {0, 0, 1, 4, 0, 0, 0, 0}},
                                                         {kRouting, used_up},
                                                         {kFragmentHeader, {0, 0, 0, 0, 0, 0, 0, 9}}};
  for (const auto& [type, header] : headers) {
    PathRig rig;
    expect_answered(rig, rig.from_local(kPings[1].request().with_extension(type, header)), kPings[1].reply());
  }
}

TEST(Echo, ThatIsNotToBeAnsweredIsDroppedByName) {
  struct Row {
    const char* description;
    const char* drop;
    bool underlay;
    PacketSpec packet;
  };
  const FrameBytes ah{0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const Ping &ping = kPings[0], &ping6 = kPings[1];
  const Ping foreign{at.west.address, ping.vip}, nowhere{Actors::ip("198.18.0.1"), ping.vip};
  const Ping west6{at.west6.address, ping6.vip}, group{Actors::ip("255.255.255.255"), ping.vip};
  const Row rows[] = {
      {"from another cluster's gateway", "no_frontend", true, from_west(foreign.request())},
      {"the same over IPv6", "no_frontend", true, from_west(west6.request())},
      {"from another cluster's pod, on the local side", "foreign_source", false, foreign.request()},
      {"from outside the fleet", "foreign_source", false, nowhere.request()},
      {"from everybody", "foreign_source", false, group.request()},
      {"from the VIP itself", "martian", false, Ping{ping.vip, ping.vip}.request()},
      {"by a source route", "source_route", false, ping.request().with_ip_options({131, 7, 4, 10, 1, 0, 1, 0})},
      {"with AH", "untranslatable", false, ping6.request().with_extension(kAh, ah)},
      {"a reply", "no_frontend", false, echo_reply(ping.client, ping.vip, kId)},
      {"a reply over IPv6", "no_frontend", false, echo_reply(ping6.client, ping6.vip, kId)},
      {"to an address that is no VIP", "no_route", false, Ping{ping.client, Actors::ip("10.200.0.99")}.request()},
  };
  for (const Row& row : rows) {
    PathRig rig;
    for (int i = 0; i < 2; ++i) {
      const Outcome outcome = row.underlay ? rig.from_underlay(row.packet) : rig.from_local(row.packet);
      EXPECT_TRUE(outcome.out.empty()) << row.description << outcome.text();
      EXPECT_EQ(outcome.drops, (Drops{{row.drop, 1}})) << row.description;
      EXPECT_FALSE(outcome.counted.contains("worker.echo_answered")) << row.description;
    }
    EXPECT_TRUE(rig.flows().empty()) << row.description;
  }
}

TEST(Echo, InAFrameForAGroupOrFromOneIsNotAnswered) {
  for (const std::size_t at_byte : {0u, 6u}) {
    PathRig rig;
    FrameBytes frame = kPings[0].request().bytes();
    frame[at_byte] |= 1;
    const Outcome outcome = rig.raw(false, frame);
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_EQ(outcome.drops, (Drops{{"no_frontend", 1}}));
  }
}

TEST(Echo, InFragmentsIsAnsweredFragmentByFragmentInAnyOrder) {
  constexpr std::size_t kMtu = 1400, kLong = 3000;
  for (const Ping& ping : kPings) {
    const std::vector<FrameBytes> fragments = split(ping.request(kLong).ip_bytes(), kMtu);
    ASSERT_EQ(fragments.size(), 3u);
    std::vector<std::size_t> order{0, 1, 2};
    do {
      PathRig rig;
      std::vector<FrameBytes> back;
      for (const std::size_t i : order) {
        for (const Output& out : rig.raw(false, framed(fragments[i])).out) {
          back.push_back(inner_ip(out.bytes));
        }
      }
      ASSERT_EQ(back.size(), 3u);
      EXPECT_TRUE(std::is_permutation(back.begin(), back.end(),
                                      [&] { return split(ping.reply(kLong).ip_bytes(), kMtu); }().begin()))
          << "as if the reply had been fragmented";
      const Dissected whole = joined(back);
      EXPECT_TRUE(whole.errors.empty()) << whole.text();
      EXPECT_EQ(whole.source, ping.vip);
      EXPECT_EQ(whole.payload, kLong);
      EXPECT_EQ(rig.counters().echo_answered, 3u);
      EXPECT_TRUE(rig.flows().empty());
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

// Options stand in front of each fragment's data; what IPv6 has behind the fragment header is a part of the data.
TEST(Echo, InFragmentsWithHeadersThatAreFragmentedTooIsNotAnswered) {
  PathRig rig;
  const FrameBytes options{0, 0, 1, 4, 0, 0, 0, 0};
  FrameBytes whole = kPings[1].request(2000).with_extension(kDestination, options).ip_bytes();
  whole[6] = 58;  // split() takes what follows the IPv6 header as the data of its protocol
  std::vector<FrameBytes> fragments = split(whole, 1400);
  Drops drops;
  for (FrameBytes& fragment : fragments) {
    fragment[40] = kDestination;
    for (const auto& [name, count] : rig.raw(false, framed(fragment)).drops) {
      drops[name] += count;
    }
  }
  EXPECT_EQ(drops, (Drops{{"extension_headers", fragments.size()}}));
  EXPECT_EQ(rig.counters().tx_packets, 0u);
}

TEST(Echo, IsLimitedBySourcePrefix) {
  constexpr std::uint32_t kLimit = 3;
  PathRig::Options options;
  options.engine.echo_answers_per_second = kLimit;
  for (const auto& [vip, client, neighbour] : {std::tuple{at.remote_service.address, "10.1.0.", "10.1.7.10"},
                                               {at.service6.address, "fd00:1::", "fd00:1:0:7::1"}}) {
    PathRig rig(options);
    std::uint64_t dropped = 0;
    for (int i = 0; i < 1000; ++i) {
      const Ping ping{Actors::ip((client + std::to_string(i % 200 + 1)).c_str()), vip};
      const Outcome outcome = rig.from_local(ping.request());
      const auto drop = outcome.drops.find("echo_limit");
      dropped += drop == outcome.drops.end() ? 0 : drop->second;
    }
    EXPECT_GE(rig.counters().echo_answered, kLimit);
    EXPECT_LT(rig.counters().echo_answered, 500u);
    EXPECT_EQ(rig.counters().echo_answered + dropped, 1000u) << "each is answered, or dropped by that name";
    EXPECT_EQ(rig.from_local(Ping{Actors::ip(neighbour), vip}.request()).out.size(), 1u) << "a share of its own";
  }
}

TEST(Echo, LimitLetsAFloodOfOrdinaryPingsPass) {
  PathRig rig;
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(rig.from_local(kPings[0].request()).out.size(), 1u) << i;
  }
}

TEST(Echo, IsNotAnsweredWhereThatIsTurnedOff) {
  PathRig::Options options;
  options.engine.echo_answers_per_second = 0;
  PathRig rig(options);
  for (const Ping& ping : kPings) {
    const Outcome outcome = rig.from_local(ping.request());
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_EQ(outcome.drops, (Drops{{"no_frontend", 1}}));
  }
}

// Neither an answer nor what went before it outlives its cause.
TEST(Echo, FollowsTheVipAsItComesAndGoes) {
  PathRig rig;
  const Ping ping{at.client.address, at.west.address};
  ASSERT_EQ(rig.from_local(ping.request()).only().packet.icmp_type, 8) << "a pod of another cluster";
  const Endpoint vip{at.west.address, 80};
  rig.set_backends(vip, 30, {backend(30, at.north, 3)}, {0});
  EXPECT_EQ(inner_ip(rig.from_local(ping.request()).only().bytes), ping.reply().ip_bytes());
  rig.remove_service(vip);
  EXPECT_TRUE(rig.from_local(ping.request()).only().underlay);

  const Ping other{at.client.address, Actors::ip("10.200.0.77")};
  EXPECT_EQ(rig.from_local(other.request()).drops, (Drops{{"no_route", 1}}));
  rig.set_backends({other.vip, 80}, 31, {backend(31, at.north, 3)}, {0});
  EXPECT_EQ(inner_ip(rig.from_local(other.request()).only().bytes), other.reply().ip_bytes());
}

// It says that the VIP is there, and nothing of what is behind it: policy is for that.
TEST(Echo, AsksNoPolicy) {
  PathRig rig;
  PolicyDelta policy;
  policy.egress(kClientIdentity, enforced()).ingress(kWestIdentity, enforced());
  ASSERT_TRUE(rig.engine().publish(policy.delta).ok());
  EXPECT_EQ(rig.from_local(tcp(at.client, at.remote_service)).drops, (Drops{{"policy_denied", 1}}));
  expect_answered(rig, rig.from_local(kPings[0].request()), kPings[0].reply());
}

TEST(Echo, OfAnAliasedClustersPodIsAnsweredToItsOwnAddress) {
  PathRig rig;
  const AliasPrefixes aliases = {{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")},
                                 {*Prefix::parse("fd00:1::/48"), *Prefix::parse("fd00:101::/48")}};
  TableDelta delta;
  delta.aliases = aliases;
  delta.changed_clusters = {{ClusterId{1}, true, true, {aliases[0].alias, aliases[1].alias}, {}}};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  for (const Ping& ping : kPings) {
    expect_answered(rig, rig.from_local(ping.request()), ping.reply());
    const Outcome outcome = rig.from_local(Ping{to_alias(aliases, ping.client), ping.vip}.request());
    EXPECT_EQ(outcome.drops, (Drops{{"alias_mismatch", 1}})) << "inside, an alias is nobody's source";
  }
}

TEST(Echo, FromAnOwnNodesTunnelIsAnsweredIntoIt) {
  constexpr PeerId kNode{9};
  const IpAddress node = Actors::ip("192.0.2.50");
  for (const auto kind : {EncapsulationKind::kVxlan, EncapsulationKind::kGeneve}) {
    PathRig::Options options;
    options.kind = kind;
    PathRig rig(options);
    TableDelta delta;
    delta.upsert_peers = {
        {kNode, ClusterId{1}, node, encapsulation_info(kind).default_port, AdjacencyId{1}, false, kind, kind}};
    ASSERT_TRUE(rig.engine().publish(delta).ok());
    for (const Ping& ping : kPings) {
      const Outcome outcome = rig.from_underlay(rig.tunnelled(ping.request(1000), node, kClientIdentity));
      expect_answered(rig, outcome, ping.reply(1000), true);
      EXPECT_EQ(outcome.out.front().packet.outer_destination, node);
      EXPECT_EQ(outcome.out.front().packet.vni, 6u) << "remote node: resolved by the source";
      const Ping alien{ping.client.is_ipv4() ? at.west.address : at.west6.address, ping.vip};
      EXPECT_EQ(rig.from_underlay(rig.tunnelled(alien.request(), node, kClientIdentity)).drops,
                (Drops{{"source_outside_cluster", 1}}));
    }
  }
}

// Without a tunnel, by the underlay: it has no other gateway to ask.
TEST(Echo, FromAClusterWithNativeRoutingIsAnsweredWhereItArrived) {
  PathRig rig;
  TableDelta delta;
  delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, AdjacencyId{2}},
                        {*Prefix::parse("10.3.0.0/16"), DeviceId{0}, AdjacencyId{1}, kNoPeer, true}};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  const Ping ping{at.north.address, at.remote_service.address};
  expect_answered(rig, rig.from_underlay(ping.request()), ping.reply(), true);
  EXPECT_EQ(rig.from_local(ping.request()).drops, (Drops{{"foreign_source", 1}}));
}

TEST(Echo, LongerThanTheDeviceSendsIsDropped) {
  PathRig rig;  // whose local device has 1450 bytes
  EXPECT_EQ(rig.from_local(kPings[0].request(1422)).out.size(), 1u);
  const Outcome outcome = rig.from_local(kPings[0].request(1423));
  EXPECT_TRUE(outcome.out.empty());
  EXPECT_EQ(outcome.drops, (Drops{{"oversize", 1}}));
}

}  // namespace
}  // namespace isthmus::test
