// ICMP errors about packets whose connection another gateway of the cluster has: they pass where the packet that they
// quote would, from whom it was sent to or a node; of what is quoted nothing passes but headers.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "test/unit/dataplane/policy_builder.h"
#include "test/unit/dataplane/stray_rig.h"

namespace isthmus::test {
namespace {

using Rig = StrayRig;

const AliasPrefixes kAliases = {{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")},
                                {*Prefix::parse("fd00:1::/48"), *Prefix::parse("fd00:101::/48")}};

void set_aliases(PathRig& rig) {
  TableDelta delta;
  delta.aliases = kAliases;
  delta.changed_clusters = {
      {ClusterId{1}, true, true, {*Prefix::parse("10.101.0.0/16"), *Prefix::parse("fd00:101::/48")}, {}}};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  for (const auto& [endpoint, identity] : {std::pair{at.client, kClientIdentity},
                                           {at.client6, kClientIdentity},
                                           {at.local_backend, kLocalBackendIdentity},
                                           {Endpoint{kRouter}, identity::kHost.value()},
                                           {Endpoint{kRouter6}, identity::kHost.value()}}) {
    const EndpointEntry entry{Realm{0}, to_alias(kAliases, endpoint.address), ClusterId{1}, Identity{identity},
                              kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
  }
}
// What passes of a packet that is quoted: its IP header and eight bytes.
FrameBytes headers_of(const PacketSpec& about) {
  const FrameBytes ip = about.ip_bytes();
  return {ip.begin(), ip.begin() + (ip[0] >> 4 == 4 ? 28 : 48)};
}
// The one packet that has come out, as the error that it is, counted, and of no connection.
Dissected passed(PathRig& rig, const Outcome& outcome, bool underlay) {
  const Output out = outcome.only();
  EXPECT_EQ(out.underlay, underlay) << outcome.text();
  EXPECT_EQ(rig.counters().icmp_stray, 1u);
  EXPECT_EQ(rig.counters().connections.now, 0u);
  return out.packet;
}

TEST(StrayErrors, FromTheOtherClusterReachWhoeverHasSent) {
  for (const auto& [from, to, reporter] :
       {std::tuple{at.client, at.west, kWestRouter}, {at.client6, at.west6, kWestRouter6}}) {
    for (const PacketSpec& about : {tcp(from, to, kAck).with_payload(500), udp(from, to).with_payload(500),
                                    echo_request(from.address, to.address, 9).with_payload(500)}) {
      Rig rig;
      const Dissected error = passed(rig, rig.from_underlay(from_west(too_big(reporter, about))), false);
      EXPECT_EQ(error.source, reporter);
      EXPECT_EQ(error.destination, from.address);
      EXPECT_EQ(error.quoted, headers_of(about));
    }
  }
}

TEST(StrayErrors, FromThisClusterLeaveInATunnelToTheOther) {
  for (const auto& [from, to, reporter] : {std::tuple{at.west, at.client, kRouter}, {at.west6, at.client6, kRouter6}}) {
    Rig rig;
    const PacketSpec about = tcp(from, to, kAck).with_payload(500);
    const Dissected error = passed(rig, rig.from_local(too_big(reporter, about)), true);
    EXPECT_EQ(error.outer_destination, at.west_gateway);
    EXPECT_EQ(error.source, reporter);
    EXPECT_EQ(error.destination, from.address);
    EXPECT_EQ(error.quoted, headers_of(about));
  }
}

TEST(StrayErrors, OfAClusterWithAliasesAreTranslatedWithWhatTheyQuote) {
  for (const auto& [own, west, west_router, router] :
       {std::tuple{at.client, at.west, kWestRouter, kRouter}, {at.client6, at.west6, kWestRouter6, kRouter6}}) {
    const Endpoint alias{to_alias(kAliases, own.address), own.port};
    {
      Rig rig;
      set_aliases(rig);
      const PacketSpec sent = tcp(alias, west, kAck).with_payload(500);
      const Dissected error = passed(rig, rig.from_underlay(from_west(too_big(west_router, sent))), false);
      EXPECT_EQ(error.destination, own.address);
      EXPECT_EQ(error.quoted, headers_of(tcp(own, west, kAck).with_payload(500))) << "its checksums, too";
    }
    Rig rig;
    set_aliases(rig);
    const PacketSpec received = udp(west, own).with_payload(500);
    const Dissected error = passed(rig, rig.from_local(too_big(router, received)), true);
    EXPECT_EQ(error.source, to_alias(kAliases, router));
    EXPECT_EQ(error.quoted, headers_of(udp(west, alias).with_payload(500)));
  }
  Rig rig;
  set_aliases(rig);
  expect_drop("alias_mismatch", rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.west, kAck)))));
  const Endpoint alias{to_alias(kAliases, at.client.address), at.client.port};
  expect_drop("alias_mismatch", rig.from_local(too_big(kRouter, tcp(at.west, alias, kAck))));
  expect_drop("alias_mismatch", rig.from_local(too_big(to_alias(kAliases, kRouter), tcp(at.west, at.client, kAck))));
  expect_drop("source_outside_cluster", rig.from_underlay(from_west(too_big(kRouter, tcp(alias, at.west, kAck)))));
  expect_drop("icmp_reporter", rig.from_local(too_big(at.local_backend.address, tcp(at.west, at.client, kAck))));
  const Dissected of_itself = rig.from_local(too_big(at.client.address, tcp(at.west, at.client, kAck))).only().packet;
  EXPECT_EQ(of_itself.source, alias.address);
  EXPECT_EQ(of_itself.quoted, headers_of(tcp(at.west, alias, kAck)));
}

// What policy says of the packet that is quoted, or of the one that it answers.
// Of a cluster of which some pods have aliases and others, and nodes, have none.
TEST(StrayErrors, OfANodeWithAnAliasAboutWhatHasNoneDoNotShowItsOwnAddress) {
  for (const auto& [west, plain, router] : {std::tuple{at.west, Endpoint{Actors::ip("10.9.0.10"), 5000}, kRouter},
                                            {at.west6, Endpoint{Actors::ip("fd00:9::10"), 5000}, kRouter6}}) {
    Rig rig;
    TableDelta delta;
    delta.aliases = kAliases;
    std::vector<Prefix> prefixes = {*Prefix::parse("10.9.0.0/16"), *Prefix::parse("fd00:9::/48")};
    for (const auto& pair : kAliases) {
      prefixes.push_back(pair.alias);
    }
    delta.changed_clusters = {{ClusterId{1}, true, true, prefixes, {}}};
    ASSERT_TRUE(rig.engine().publish(delta).ok());
    const EndpointEntry entry{Realm{0}, to_alias(kAliases, router), ClusterId{1}, identity::kHost, kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
    expect_drop("alias_mismatch", rig.from_local(too_big(router, udp(west, plain).with_payload(90))));
    EXPECT_EQ(rig.from_local(too_big(plain.address, udp(west, plain).with_payload(90))).out.size(), 1u);
  }
}

TEST(StrayErrors, PassAsPolicyLetsPassWhatTheyQuote) {
  struct Row {
    const char* description;
    std::uint16_t port;  // of the client, to which west may send; or not
    bool passes;
  };
  for (const Row& row : {Row{"the client is called", 8080, true}, {"it may not be", 8081, false}}) {
    SCOPED_TRACE(row.description);
    Rig rig;
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
    Rig rig;
    PacketSpec error = row.error;
    expect_drop(row.drop, rig.from_underlay(error.in_tunnel(row.peer, at.gateway, row.vni)));
  }
  Rig rig;
  expect_drop("foreign_source", rig.from_local(too_big(Actors::ip("198.18.0.1"), tcp(at.west, at.client, kAck))));
  expect_drop("foreign_source", rig.from_local(too_big(kRouter, tcp(at.west, at.north, kAck))));
  expect_drop("unsupported_icmp", rig.from_local(too_big(kRouter, tcp(at.client, at.local_backend, kAck))));
}

// An answer of a service is quoted with the VIP as its source: the ring tells of the backend that has sent it.
TEST(StrayErrors, ToAVipGoToTheBackendOfTheClient) {
  Rig rig;
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
    EXPECT_EQ(error.quoted, headers_of(answer));
  }
  EXPECT_EQ(rig.counters().icmp_stray, 20u);
}

TEST(StrayErrors, AboutWhatWasTranslatedByAConnectionAreNotGuessed) {
  Rig rig;
  expect_drop("unsupported_icmp", rig.from_local(too_big(kRouter, tcp(at.local_service, at.client, kAck))));
  expect_drop("unsupported_icmp", rig.from_local(too_big(kRouter, tcp({at.translation, 5000}, at.local_backend))));
  expect_drop("unsupported_icmp",
              rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.remote_service)))));
}

// At the other cluster, only one of the gateways may know what the client has called the backend.
TEST(StrayErrors, AboutABackendGoToAllGatewaysOfItsClient) {
  Rig rig;
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  const PacketSpec to_backend = tcp(at.west, at.local_backend, kAck).with_payload(500);
  const Outcome outcome = rig.from_local(too_big(kRouter, to_backend));
  ASSERT_EQ(outcome.out.size(), 2u) << outcome.text();
  EXPECT_EQ(outcome.counted.at("worker.icmp_copied"), 1u);
  EXPECT_NE(outcome.out[0].packet.outer_destination, outcome.out[1].packet.outer_destination);
  for (const Output& out : outcome.out) {
    EXPECT_EQ(out.packet.destination, at.west.address);
    EXPECT_EQ(out.packet.quoted, headers_of(to_backend));
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
  Rig rig(options);
  expect_drop("midstream", rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.west, kAck)))));
  EXPECT_EQ(rig.from_underlay(from_west(too_big(kWestRouter, udp(at.client, at.west)))).out.size(), 1u);
}

void expect_passed(bool passes, const Outcome& outcome) {
  if (passes) {
    EXPECT_EQ(outcome.out.size(), 1u) << outcome.text();
  } else {
    expect_drop("icmp_reporter", outcome);
  }
}

// A pod reports of what was sent to it; a node, or the end of a tunnel, of what it would have forwarded.
TEST(StrayErrors, AreBelievedOfWhoWasSentThePacketOrOfNodes) {
  const Endpoint fresh{Actors::ip("10.1.7.7"), 7};  // of no endpoint that is published
  struct Row {
    const char* description;
    IpAddress reporter;
    bool passes;
  };
  const Row local[] = {{"the pod itself", at.client.address, true},
                       {"its node", kRouter, true},
                       {"another pod", at.local_backend.address, false},
                       {"what may be a pod", fresh.address, false},
                       {"what may be a pod that was given our address", at.translation, false}};
  for (const Row& row : local) {
    SCOPED_TRACE(row.description);
    Rig rig;
    const Outcome outcome = rig.from_local(too_big(row.reporter, udp(at.west, at.client)));
    expect_passed(row.passes, outcome);
  }
  const IpAddress tunnel_end = Actors::ip("10.2.8.8");
  const Row remote[] = {{"the pod itself", at.west.address, true},
                        {"its node", kWestRouter, true},
                        {"a tunnel end", tunnel_end, true},
                        {"what may be a pod", Actors::ip("10.2.7.7"), false}};
  for (const Row& row : remote) {
    SCOPED_TRACE(row.description);
    Rig rig;
    TableDelta delta;
    const AdjacencyId hop = rig.engine().adjacency(DeviceId{0}, Actors::ip("192.0.2.254"));
    delta.upsert_peers.push_back({PeerId{9}, ClusterId{2}, tunnel_end, L4Port{8472}, hop, true});
    ASSERT_TRUE(rig.engine().publish(delta).ok());
    const Outcome outcome = rig.from_underlay(from_west(too_big(row.reporter, udp(at.client, at.west))));
    expect_passed(row.passes, outcome);
  }
  Rig rig;
  EXPECT_EQ(rig.from_local(too_big(fresh.address, udp(at.west, fresh))).out.size(), 1u) << "of itself";
  expect_drop("icmp_reporter", rig.from_local(too_big(at.local_backend.address, tcp(at.remote_service, at.client))));
  EXPECT_EQ(rig.from_local(too_big(at.client.address, tcp(at.remote_service, at.client))).only().packet.quoted.size(),
            28u)
      << "of a service's answer";
}

TEST(StrayErrors, OfAPodCarryItsIdentity) {
  const PacketSpec error = too_big(at.west.address, udp(at.client, at.west));
  const auto sent = [&](std::uint32_t vni) {
    Rig rig;
    return rig.from_underlay(PacketSpec(error).in_tunnel(at.west_gateway, at.gateway, vni));
  };
  EXPECT_EQ(sent(kWestIdentity).out.size(), 1u);
  expect_drop("identity_mismatch", sent(kWestIdentity + 1));
}

// A pod that may neither send nor receive cannot make itself heard, whatever it quotes.
TEST(StrayErrors, OfAPodWithoutAnyRightDoNotPass) {
  const PacketSpec quotes[] = {udp(at.west, at.local_backend), udp(at.west, at.client), udp(at.north, at.client),
                               tcp(at.remote_service, at.local_backend), tcp(at.remote_service, at.client)};
  for (const PacketSpec& quote : quotes) {
    Rig rig;
    PolicyDelta policies;
    policies.ingress(kLocalBackendIdentity, enforced({})).egress(kLocalBackendIdentity, enforced({}));
    ASSERT_TRUE(rig.engine().publish(policies.delta).ok());
    const Outcome outcome = rig.from_local(too_big(at.local_backend.address, PacketSpec(quote).with_payload(400)));
    const bool of_itself = quote.destination == at.local_backend.address;
    expect_drop(of_itself ? "policy_denied" : "icmp_reporter", outcome);
  }
}

// The error of a connection that is known passes with all that it quotes: not where its sender may send no more.
TEST(StrayErrors, OfAConnectionThatBeganWithAnAnswerPassAsItsPacketsDo) {
  Rig rig;
  PolicyDelta first;
  first.select(1, {kWestIdentity});
  first.ingress(kLocalBackendIdentity, enforced({allow(1)})).egress(kLocalBackendIdentity, enforced({allow(1)}));
  ASSERT_TRUE(rig.engine().publish(first.delta).ok());
  ASSERT_EQ(rig.from_local(tcp(at.local_backend, at.west, kSyn | kAck)).out.size(), 1u);
  const PacketSpec error = too_big(at.local_backend.address, tcp(at.west, at.local_backend, kAck).with_payload(400));
  ASSERT_EQ(rig.from_local(error).out.size(), 1u);
  PolicyDelta then;
  then.egress(kLocalBackendIdentity, enforced({})).ingress(kLocalBackendIdentity, enforced({allow(1)}));
  ASSERT_TRUE(rig.engine().publish(then.delta).ok());
  expect_drop("policy_denied", rig.from_local(tcp(at.local_backend, at.west, kAck).with_payload(100)));
  expect_drop("policy_denied", rig.from_local(error));
}

// Options, extension headers and data may hold anything.
TEST(StrayErrors, PassWithNothingButHeaders) {
  const FrameBytes text{'S', 'E', 'C', 'R', 'E', 'T'};
  const auto with_text = [&](FrameBytes start) {
    start.insert(start.end(), text.begin(), text.end());
    return start;
  };
  const FrameBytes option = with_text({30, 8});                       // of IPv4, of no known type
  const FrameBytes extension = with_text(with_text({0, 1, 62, 12}));  // of IPv6, the same
  struct Kind {
    std::uint8_t type, code;
    std::uint16_t word, kept;  // the second half of the second word
  };
  for (const auto& [from, to] : {std::pair{at.west, at.client}, {at.west6, at.client6}}) {
    const bool v4 = from.address.is_ipv4();
    const Kind kinds[] = {{std::uint8_t(v4 ? 3 : 2), std::uint8_t(v4 ? 4 : 0), 1300, 1300},
                          {std::uint8_t(v4 ? 3 : 1), std::uint8_t(v4 ? 3 : 4), 0x5345, 0},
                          {std::uint8_t(v4 ? 11 : 3), 0, 0x5345, 0}};
    const PacketSpec abouts[] = {tcp(from, to, kAck).with_payload(99), udp(from, to).with_payload(99),
                                 sctp(from, to).with_payload(99),
                                 echo_request(from.address, to.address, 77).with_payload(99),
                                 portless(from.address, to.address, 47).with_payload(99)};
    for (const Kind& kind : kinds) {
      for (const PacketSpec& about : abouts) {
        PacketSpec odd = about;
        v4 ? odd.with_ip_options(option) : odd.with_extension(60, extension);
        FrameBytes quote = odd.ip_bytes();
        quote.resize(128 + 40, 0);  // and behind the quote, what RFC 4884 has there
        quote.insert(quote.end(), text.begin(), text.end());
        PacketSpec error = icmp_error(to.address, from.address, kind.type, kind.code, quote).with_mtu(kind.word);
        v4 ? error.with_ip_options(option) : error.with_extension(60, extension);
        Rig rig;
        const Output out = rig.from_local(error).only();
        EXPECT_EQ(out.packet.quoted, headers_of(about)) << out.packet.text();
        EXPECT_TRUE(out.packet.between.empty());
        EXPECT_EQ(out.packet.icmp_rest, kind.kept);
        EXPECT_EQ(std::search(out.bytes.begin(), out.bytes.end(), text.begin(), text.end()), out.bytes.end());
      }
    }
  }
}

TEST(StrayErrors, AboutTheFirstFragmentPassWithoutItsHeader) {
  const PacketSpec whole = udp(at.west6, at.client6).with_payload(64);
  Rig rig;
  const Outcome outcome = rig.from_local(too_big(at.client6.address, PacketSpec(whole).as_fragment(0x2000)));
  EXPECT_EQ(outcome.only().packet.quoted, headers_of(whole));
}

TEST(StrayErrors, ThatAreCorruptGetNoGoodChecksum) {
  for (const auto& [from, to] : {std::pair{at.west, at.client}, {at.west6, at.client6}}) {
    PacketSpec error = too_big(to.address, udp(from, to).with_payload(99));
    FrameBytes ip = error.ip_bytes();
    ip.back() ^= 1;
    error.raw = ip;
    Rig rig;
    expect_drop("icmp_invalid", rig.from_local(error));
    EXPECT_EQ(rig.counters().icmp_stray, 0u);
  }
}

TEST(StrayErrors, LeaveNoConnectionAndNoEventOfOne) {
  Rig rig;
  ASSERT_EQ(rig.from_underlay(from_west(too_big(kWestRouter, tcp(at.client, at.west, kAck)))).out.size(), 1u);
  std::vector<FlowEvent> events;
  rig.engine().poll_flow_events(events);
  EXPECT_TRUE(events.empty());
  EXPECT_TRUE(rig.flows().empty());
}

}  // namespace
}  // namespace isthmus::test
