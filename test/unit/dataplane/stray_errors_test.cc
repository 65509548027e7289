// ICMP errors about packets whose connection another gateway of the cluster has: they pass where the packet that they
// quote would, and nothing passes because it is quoted.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

using Drops = std::map<std::string, std::uint64_t>;

const Actors at;
const IpAddress kWestRouter = Actors::ip("10.2.9.9"), kRouter = Actors::ip("10.1.9.9");
const IpAddress kWestRouter6 = Actors::ip("fd00:2::99"), kRouter6 = Actors::ip("fd00:1::99");
const AliasPrefixes kAliases = {{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")},
                                {*Prefix::parse("fd00:1::/48"), *Prefix::parse("fd00:101::/48")}};
constexpr std::uint32_t kRemoteNode = 6;

PacketSpec too_big(const IpAddress& from, const PacketSpec& about) {
  const Dissected quoted = dissect(about.bytes());
  const bool v4 = from.is_ipv4();
  return icmp_error(from, quoted.source, v4 ? 3 : 2, v4 ? 4 : 0, about.ip_bytes()).with_mtu(1300);
}
PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kRemoteNode); }

void set_aliases(PathRig& rig) {
  TableDelta delta;
  delta.aliases = kAliases;
  delta.changed_clusters = {
      {ClusterId{1}, true, true, {*Prefix::parse("10.101.0.0/16"), *Prefix::parse("fd00:101::/48")}, {}}};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  for (const auto& [endpoint, identity] : {std::pair{at.client, kClientIdentity},
                                           {at.client6, kClientIdentity},
                                           {at.local_backend, kLocalBackendIdentity}}) {
    const EndpointEntry entry{Realm{0}, to_alias(kAliases, endpoint.address), ClusterId{1}, Identity{identity},
                              kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
  }
}
// The one packet that has come out, as the error that it is, counted, and of no connection.
Dissected passed(PathRig& rig, const Outcome& outcome, bool underlay) {
  const Output out = outcome.only();
  EXPECT_EQ(out.underlay, underlay) << outcome.text();
  EXPECT_EQ(rig.counters().icmp_stray, 1u);
  EXPECT_EQ(rig.counters().connections.now, 0u);
  return out.packet;
}
void expect_drop(const char* reason, const Outcome& outcome) {
  EXPECT_EQ(outcome.drops, (Drops{{reason, 1}})) << outcome.text();
  EXPECT_TRUE(outcome.out.empty()) << outcome.text();
}

TEST(StrayErrors, FromTheOtherClusterReachWhoeverHasSent) {
  for (const auto& [from, to, reporter] :
       {std::tuple{at.client, at.west, kWestRouter}, {at.client6, at.west6, kWestRouter6}}) {
    for (const PacketSpec& about : {tcp(from, to, kAck).with_payload(500), udp(from, to).with_payload(500),
                                    echo_request(from.address, to.address, 9).with_payload(500)}) {
      PathRig rig;
      const Dissected error = passed(rig, rig.from_underlay(from_west(too_big(reporter, about))), false);
      EXPECT_EQ(error.source, reporter);
      EXPECT_EQ(error.destination, from.address);
      EXPECT_EQ(error.quoted, about.ip_bytes());
    }
  }
}

TEST(StrayErrors, FromThisClusterLeaveInATunnelToTheOther) {
  for (const auto& [from, to, reporter] : {std::tuple{at.west, at.client, kRouter}, {at.west6, at.client6, kRouter6}}) {
    PathRig rig;
    const PacketSpec about = tcp(from, to, kAck).with_payload(500);
    const Dissected error = passed(rig, rig.from_local(too_big(reporter, about)), true);
    EXPECT_EQ(error.outer_destination, at.west_gateway);
    EXPECT_EQ(error.source, reporter);
    EXPECT_EQ(error.destination, from.address);
    EXPECT_EQ(error.quoted, about.ip_bytes());
  }
}

TEST(StrayErrors, OfAClusterWithAliasesAreTranslatedWithWhatTheyQuote) {
  for (const auto& [own, west, west_router, router] :
       {std::tuple{at.client, at.west, kWestRouter, kRouter}, {at.client6, at.west6, kWestRouter6, kRouter6}}) {
    const Endpoint alias{to_alias(kAliases, own.address), own.port};
    {
      PathRig rig;
      set_aliases(rig);
      const PacketSpec sent = tcp(alias, west, kAck).with_payload(500);
      const Dissected error = passed(rig, rig.from_underlay(from_west(too_big(west_router, sent))), false);
      EXPECT_EQ(error.destination, own.address);
      EXPECT_EQ(error.quoted, tcp(own, west, kAck).with_payload(500).ip_bytes()) << "its checksums, too";
    }
    PathRig rig;
    set_aliases(rig);
    const PacketSpec received = udp(west, own).with_payload(500);
    const Dissected error = passed(rig, rig.from_local(too_big(router, received)), true);
    EXPECT_EQ(error.source, to_alias(kAliases, router));
    EXPECT_EQ(error.quoted, udp(west, alias).with_payload(500).ip_bytes());
  }
  PathRig rig;
  set_aliases(rig);
  expect_drop("alias_mismatch", rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.west, kAck)))));
  const Endpoint alias{to_alias(kAliases, at.client.address), at.client.port};
  expect_drop("alias_mismatch", rig.from_local(too_big(kRouter, tcp(at.west, alias, kAck))));
}

// What policy says of the packet that is quoted, or of the one that it answers.
TEST(StrayErrors, PassAsPolicyLetsPassWhatTheyQuote) {
  struct Row {
    const char* description;
    std::uint16_t port;  // of the client, to which west may send; or not
    bool passes;
  };
  for (const Row& row : {Row{"the client is called", 8080, true}, {"it may not be", 8081, false}}) {
    SCOPED_TRACE(row.description);
    PathRig rig;
    PolicyDelta policies;
    policies.select(1, {kWestIdentity}).select(2, {kNorthIdentity});
    policies.ingress(kClientIdentity, enforced({allow(1, kTcpNumber, 8080, 8080)}));
    policies.egress(kClientIdentity, enforced({allow(2)}));
    ASSERT_TRUE(rig.engine().publish(policies.delta).ok());
    const Endpoint client{at.client.address, row.port};
    for (const Outcome& outcome : {rig.from_underlay(from_west(too_big(kWestRouter, tcp(client, at.west, kAck)))),
                                   rig.from_local(too_big(kRouter, tcp(at.west, client, kAck)))}) {
      if (row.passes) {
        EXPECT_EQ(outcome.out.size(), 1u) << outcome.text();
      } else {
        expect_drop("policy_denied", outcome);
      }
    }
  }
}

TEST(StrayErrors, MustComeFromWhereThePacketWasSentTo) {
  struct Row {
    const char* drop;
    PacketSpec error;
    IpAddress peer;
    std::uint32_t vni = kRemoteNode;
  };
  const PacketSpec sent = tcp(at.client, at.west, kAck);
  const std::vector<Row> rows = {
      {"source_outside_cluster", too_big(at.north.address, sent), at.west_gateway},
      {"source_outside_cluster", too_big(Actors::ip("198.18.0.1"), sent), at.west_gateway},
      {"source_outside_cluster", too_big(kWestRouter, sent), at.north_gateway},
      {"source_outside_cluster", too_big(at.north.address, sent), at.north_gateway},
      {"source_outside_cluster", too_big(kWestRouter, tcp(at.client, at.local_backend, kAck)), at.west_gateway},
      {"unknown_peer", too_big(kWestRouter, sent), Actors::ip("192.0.2.99")},
      {"vni_cluster", too_big(kWestRouter, sent), at.west_gateway, kNorthIdentity},
      {"not_linked", too_big(at.south.address, tcp(at.client, at.south, kAck)), at.south_gateway},
      {"transit", too_big(kWestRouter, tcp(at.north, at.west, kAck)), at.west_gateway},
      {"no_route", too_big(kWestRouter, tcp({Actors::ip("198.18.0.1"), 1}, at.west, kAck)), at.west_gateway},
      {"tunnel_in_tunnel", too_big(kWestRouter, udp(at.client, {at.west.address, 8472})), at.west_gateway},
      {"icmp_invalid", too_big(kWestRouter, sent).with_mtu(68), at.west_gateway},
  };
  for (const Row& row : rows) {
    PathRig rig;
    PacketSpec error = row.error;
    expect_drop(row.drop, rig.from_underlay(error.in_tunnel(row.peer, at.gateway, row.vni)));
  }
  PathRig rig;
  expect_drop("foreign_source", rig.from_local(too_big(Actors::ip("198.18.0.1"), tcp(at.west, at.client, kAck))));
  expect_drop("foreign_source", rig.from_local(too_big(kRouter, tcp(at.west, at.north, kAck))));
  expect_drop("unsupported_icmp", rig.from_local(too_big(kRouter, tcp(at.client, at.local_backend, kAck))));
}

// An answer of a service is quoted with the VIP as its source: the ring tells of the backend that has sent it.
TEST(StrayErrors, ToAVipGoToTheBackendOfTheClient) {
  PathRig rig;
  rig.set_backends(at.remote_service, 1,
                   {backend(1, at.west, 2), backend(5, {Actors::ip("10.2.0.11"), 9001}, 2),
                    backend(6, {Actors::ip("10.2.0.12"), 9002}, 2)},
                   {0, 1, 2});
  for (std::uint16_t port = 4000; port < 4020; ++port) {
    const Endpoint client{at.client.address, port};
    const PacketSpec about = tcp(at.remote_service, client, kAck).with_payload(500);
    const Dissected error = rig.from_local(too_big(kRouter, about)).only().packet;
    const Dissected opened = rig.from_local(tcp(client, at.remote_service)).only().packet;
    EXPECT_EQ(error.destination, opened.destination);
    const PacketSpec answer = tcp({opened.destination, opened.destination_port}, client, kAck).with_payload(500);
    EXPECT_EQ(error.quoted, answer.ip_bytes());
  }
  EXPECT_EQ(rig.counters().icmp_stray, 20u);
}

TEST(StrayErrors, AboutWhatWasTranslatedByAConnectionAreNotGuessed) {
  PathRig rig;
  expect_drop("unsupported_icmp", rig.from_local(too_big(kRouter, tcp(at.local_service, at.client, kAck))));
  expect_drop("unsupported_icmp", rig.from_local(too_big(kRouter, tcp({at.translation, 5000}, at.local_backend))));
  expect_drop("unsupported_icmp",
              rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.remote_service)))));
}

// At the other cluster, only one of the gateways may know what the client has called the backend.
TEST(StrayErrors, AboutABackendGoToAllGatewaysOfItsClient) {
  PathRig rig;
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  const PacketSpec to_backend = tcp(at.west, at.local_backend, kAck).with_payload(500);
  const Outcome outcome = rig.from_local(too_big(kRouter, to_backend));
  ASSERT_EQ(outcome.out.size(), 2u) << outcome.text();
  EXPECT_EQ(outcome.counted.at("worker.icmp_copied"), 1u);
  EXPECT_NE(outcome.out[0].packet.outer_destination, outcome.out[1].packet.outer_destination);
  for (const Output& out : outcome.out) {
    EXPECT_EQ(out.packet.destination, at.west.address);
    EXPECT_EQ(out.packet.quoted, to_backend.ip_bytes());
  }
  const PacketSpec direct = tcp(at.west, {at.local_backend.address, 8081}, kAck).with_payload(500);
  EXPECT_EQ(rig.from_local(too_big(kRouter, direct)).out.size(), 1u) << "no service has that port";
  ASSERT_EQ(rig.from_underlay(from_west(tcp(at.west, at.local_backend))).out.size(), 1u);
  EXPECT_EQ(rig.from_local(too_big(kRouter, to_backend)).only().packet.outer_destination, at.west_gateway)
      << "its connection is known here";
}

TEST(StrayErrors, OfTcpPassOnlyWhereItsPacketsMayComeInMidStream) {
  PathRig::Options options;
  options.engine.midstream = MidstreamPolicy::kDrop;
  PathRig rig(options);
  expect_drop("midstream", rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.west, kAck)))));
  EXPECT_EQ(rig.from_underlay(from_west(too_big(kWestRouter, udp(at.client, at.west)))).out.size(), 1u);
}

TEST(StrayErrors, AreLimitedBySender) {
  PathRig::Options options;
  options.engine.icmp_errors_per_second = 12;  // of which each prefix has 3
  PathRig rig(options);
  std::size_t out = 0;
  for (std::uint16_t port = 1; port <= 1000; ++port) {
    const Outcome outcome = rig.from_underlay(from_west(too_big(kWestRouter, udp({at.client.address, port}, at.west))));
    out += outcome.out.size();
    EXPECT_EQ(outcome.out.empty(), outcome.drops == (Drops{{"icmp_limited", 1}})) << outcome.text();
  }
  EXPECT_GE(out, 3u);
  EXPECT_LT(out, 500u);
  const PacketSpec other = too_big(at.north.address, udp(at.client, at.north));
  EXPECT_EQ(rig.from_underlay(PacketSpec(other).in_tunnel(at.north_gateway, at.gateway, kRemoteNode)).out.size(), 1u)
      << "another peer has a share of its own";
}

TEST(StrayErrors, LeaveNoConnectionAndNoEventOfOne) {
  PathRig rig;
  ASSERT_EQ(rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.west, kAck)))).out.size(), 1u);
  std::vector<FlowEvent> events;
  rig.engine().poll_flow_events(events);
  EXPECT_TRUE(events.empty());
  EXPECT_TRUE(rig.flows().empty());
}

}  // namespace
}  // namespace isthmus::test
