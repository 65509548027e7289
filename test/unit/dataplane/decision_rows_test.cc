// What the slow path decides, as rows.
#include "test/unit/dataplane/decision_rows.h"

namespace isthmus::test {
namespace {

using namespace rows;

const std::vector<Row>& decisions() {
  static const std::vector<Row> all{
      // Answers of connections that this gateway does not know.
      {"a backend's SYN-ACK without its connection", nothing, true, from_west(tcp(at.west, at.client, kSynAck)), "",
       tunnelled({{"misses", 1}, {"drop midstream", 1}})},
      {"a backend's data without its connection", nothing, true, from_west(tcp(at.west, at.client, kAck)), "",
       tunnelled({{"misses", 1}, {"drop midstream", 1}})},
      {"a backend's data over UDP",
       [](PathRig& rig) {
         frontend(rig, {Actors::ip("10.200.0.20"), 53}, IpProtocol::kUdp, 20, {backend(20, at.west, 2)});
       },
       true, from_west(udp(at.west, at.client)), "", tunnelled({{"misses", 1}, {"drop midstream", 1}})},
      // Its client's packets come through another gateway of ours.
      {"a local backend's SYN-ACK", nothing, false, tcp(at.local_backend, at.west, kSynAck),
       tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"its data, where it may send nothing by itself",
       [](PathRig& rig) {
         PolicyDelta policy;
         policy.egress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       false, tcp(at.local_backend, at.west, kAck), "", local({{"misses", 1}, {"drop policy_denied", 1}})},
      {"its data over UDP, where it may send nothing by itself",
       [](PathRig& rig) {
         frontend(rig, {Actors::ip("10.200.0.20"), 53}, IpProtocol::kUdp, 20, {backend(20, at.local_backend, 1)});
         PolicyDelta policy;
         policy.egress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       false, udp(at.local_backend, at.west), "", local({{"misses", 1}, {"drop policy_denied", 1}})},
      {"its data, after it has lost the right to send by itself",
       [](PathRig& rig) {
         send(rig, false, tcp(at.local_backend, at.west, kAck));
         PolicyDelta policy;
         policy.egress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       false, tcp(at.local_backend, at.west, kAck), "", local({{"hits", 1}, {"drop policy_denied", 1}})},
      {"its own SYN after such data, where its clients may no longer open anything",
       [](PathRig& rig) {
         send(rig, false, tcp(at.local_backend, at.west, kAck));
         PolicyDelta policy;
         policy.ingress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       false, tcp(at.local_backend, at.west), tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity),
       to_fabric(local({{"hits", 1}, {"created", 1}}))},
      {"its answer through a node",
       [](PathRig& rig) { node(rig); }, true,
       tcp(at.local_backend, at.west, kSynAck).in_tunnel(kNodeAddress, at.gateway, kLocalBackendIdentity),
       tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity),
       to_fabric(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"what it sends to a VIP is a request",
       [](PathRig& rig) {
         frontend(rig, {Actors::ip("10.200.0.20"), 53}, IpProtocol::kUdp, 20, {backend(20, at.local_backend, 1)});
         frontend(rig, {Actors::ip("10.200.0.21"), 53}, IpProtocol::kUdp, 21, {backend(21, at.west, 2)});
       },
       false, udp(at.local_backend, {Actors::ip("10.200.0.21"), 53}),
       tunnel(sent(at.local_backend, at.west, 17), kLocalBackendIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"what a member of a service sends to another one, each by its backend's port",
       [](PathRig& rig) {
         frontend(rig, {Actors::ip("10.200.0.20"), 53}, IpProtocol::kUdp, 20,
                  {backend(20, at.local_backend, 1), backend(21, at.west, 2)});
       },
       false, udp(at.local_backend, at.west), tunnel(sent(at.local_backend, at.west, 17), kLocalBackendIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"what it gets from another one",
       [](PathRig& rig) {
         frontend(rig, {Actors::ip("10.200.0.20"), 53}, IpProtocol::kUdp, 20,
                  {backend(20, at.local_backend, 1), backend(21, at.west, 2)});
       },
       true, from_west(udp(at.west, at.local_backend)), sent(at.west, at.local_backend, 17),
       to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"its data, where its clients may open nothing",
       [](PathRig& rig) {
         PolicyDelta policy;
         policy.ingress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       false, tcp(at.local_backend, at.west, kAck), "", local({{"misses", 1}, {"drop policy_denied", 1}})},
      {"the client's next packet after it",
       [](PathRig& rig) { send(rig, false, tcp(at.local_backend, at.west, kAck)); }, true,
       from_west(tcp(at.west, at.local_backend, kAck)), sent(at.west, at.local_backend),
       to_local(tunnelled({{"hits", 1}, {"revalidations", 1}}))},
      {"its next packet after that one, which came from another gateway than the one chosen",
       [](PathRig& rig) {
         rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
         const Outcome first = rig.from_local(tcp(at.local_backend, at.west, kAck));
         ASSERT_EQ(first.out.size(), 1u);
         EXPECT_EQ(first.out.front().packet.text(),
                   tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity, at.west_other));
         send(rig, true, from_west(tcp(at.west, at.local_backend, kAck)));
       },
       false, tcp(at.local_backend, at.west, kAck), tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity),
       to_fabric(local({{"hits", 1}, {"revalidations", 1}}))},
      {"a local backend's data to a pod of its own cluster", nothing, false, tcp(at.local_backend, at.client, kAck), "",
       local({{"misses", 1}, {"drop midstream", 1}})},
      {"a local backend's reset passes and opens nothing", nothing, false, tcp(at.local_backend, at.west, kRst | kAck),
       tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity), to_fabric(local({{"misses", 1}}))},
      {"its second reset",
       [](PathRig& rig) { send(rig, false, tcp(at.local_backend, at.west, kRst | kAck)); }, false,
       tcp(at.local_backend, at.west, kRst | kAck), tunnel(sent(at.local_backend, at.west), kLocalBackendIdentity),
       to_fabric(local({{"misses", 1}}))},
      {"a local pod's reset passes and opens nothing", nothing, false, tcp(at.client, at.west, kRst),
       tunnel(sent(at.client, at.west), kClientIdentity), to_fabric(local({{"misses", 1}}))},
      {"its reset where it may send nothing",
       [](PathRig& rig) {
         PolicyDelta policy;
         policy.egress(kClientIdentity, enforced());
         publish(rig, policy);
       },
       false, tcp(at.client, at.west, kRst), "", local({{"misses", 1}, {"drop policy_denied", 1}})},
      {"its reset of an unknown connection to a service", nothing, false, tcp(at.client, at.remote_service, kRst), "",
       local({{"misses", 1}, {"drop midstream", 1}})},
      {"its reset to a pod of its own cluster", nothing, false, tcp(at.client, at.local_backend, kRst), "",
       local({{"misses", 1}, {"drop midstream", 1}})},
      {"a backend's SYN opens a connection of its own", nothing, true, from_west(tcp(at.west, at.client, kSyn)),
       sent(at.west, at.client), to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"a backend's data from another port", nothing, true, from_west(tcp({at.west.address, 9001}, at.client, kAck)),
       sent({at.west.address, 9001}, at.client), to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"the data of a pod that is no backend any more",
       [](PathRig& rig) {
         rig.remove_service(at.remote_service);
         rig.remove_service(at.twin_service);
       },
       true, from_west(tcp(at.west, at.client, kAck)), sent(at.west, at.client),
       to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"a SYN that is a reset too", nothing, true, from_west(tcp(at.west, at.client, kSyn | kRst)), "",
       tunnelled({{"misses", 1}, {"drop midstream", 1}})},
      {"a SYN that is a FIN too", nothing, true, from_west(tcp(kStranger, at.client, kSyn | kFin)), "",
       tunnelled({{"misses", 1}, {"drop midstream", 1}})},
      {"a SYN that is a reset too, on a connection that one end has closed",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.remote_service));
         send(rig, true, from_west(tcp(at.west, at.client, kSynAck)));
         send(rig, false, tcp(at.client, at.remote_service, kAck));
         send(rig, true, from_west(tcp(at.west, at.client, kFin | kAck)));
       },
       false, tcp(at.client, at.remote_service, kSyn | kRst), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"hits", 1}, {"revalidations", 1}}))},
      {"a reset without a connection", nothing, true, from_west(tcp(kStranger, at.client, kRst)), "",
       tunnelled({{"misses", 1}, {"drop midstream", 1}})},
      // Peers.
      {"a reply after the forward direction has moved to another gateway",
       [](PathRig& rig) {
         rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
         send(rig, true, from_west(tcp(at.west, at.client)));
         send(rig, false, tcp(at.client, at.west, kSynAck));
         send(rig, true, from_west(tcp(at.west, at.client, kAck), at.west_other));
       },
       false, tcp(at.client, at.west, kAck), tunnel(sent(at.client, at.west), kClientIdentity, at.west_other),
       to_fabric(local({{"hits", 1}, {"revalidations", 1}}))},
      {"the first reply, decided with the packet that opened the connection",
       [](PathRig& rig) { send(rig, false, tcp(at.client, at.remote_service)); }, true,
       from_west(tcp(at.west, at.client, kSynAck)), sent(at.remote_service, at.client),
       to_local(tunnelled({{"hits", 1}}))},
      {"a flow whose node was given to another cluster",
       [](PathRig& rig) {
         node(rig);
         send(rig, true, from_node(tcp(at.client, at.west)));
         node(rig, 3);
       },
       true, from_node(tcp(at.client, at.west, kAck)), "", tunnelled({{"hits", 1}, {"drop vni_cluster", 1}})},
      {"between two of our own, through a node, after the destination's policy has changed",
       [](PathRig& rig) {
         node(rig);
         send(rig, true, from_node(tcp(at.client, at.local_service)));
         PolicyDelta policy;
         policy.ingress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       true, from_node(tcp(at.client, at.local_service, kAck)), "",
       tunnelled({{"hits", 1}, {"drop policy_denied", 1}})},
      // Unpublished sources.
      {"a source whose cluster's labels are no longer unknown",
       [](PathRig& rig) {
         PolicyDelta unlabelled;
         unlabelled.prefix("10.2.0.0/16", identity::kUnlabelledPrefixScope << identity::kScopeShift | 9);
         publish(rig, unlabelled);
         send(rig, true, from_west(tcp(kStranger, at.client)));
         PolicyDelta labelled;
         labelled.prefix("10.2.0.0/16", identity::kPrefixScope << identity::kScopeShift | 9);
         publish(rig, labelled);
       },
       true, from_west(tcp(kStranger, at.client, kAck)), "", tunnelled({{"hits", 1}, {"drop unknown_source", 1}}), 0},
      {"a reserved identity of an unpublished source, without a hold time", nothing, true,
       from_west(tcp(kStranger, at.client), at.west_gateway, 5), "",
       tunnelled({{"misses", 1}, {"drop unknown_source", 1}}), 0},
      {"world from an unpublished source, without a hold time", nothing, true,
       from_west(tcp(kStranger, at.client), at.west_gateway, 2), sent(kStranger, at.client),
       to_local(tunnelled({{"misses", 1}, {"created", 1}})), 0},
      // Echo.
      {"a request with the identifier of an answered request the other way, 0",
       [](PathRig& rig) {
         send(rig, false, echo_request(at.client.address, at.west.address, 0));
         send(rig, true, from_west(echo_reply(at.west.address, at.client.address, 0)));
       },
       true, from_west(echo_request(at.west.address, at.client.address, 0)),
       sent({at.west.address, 0}, {at.client.address, 0}, 1), to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"an echo reply with identifier 0 where only requests are allowed",
       [](PathRig& rig) { allow_only_icmp_type(rig, kClientIdentity, 8); }, true,
       from_west(echo_reply(at.west.address, at.client.address, 0)), "",
       tunnelled({{"misses", 1}, {"drop policy_denied", 1}})},
      {"an echo request with identifier 0 where only requests are allowed",
       [](PathRig& rig) { allow_only_icmp_type(rig, kClientIdentity, 8); }, true,
       from_west(echo_request(at.west.address, at.client.address, 0)),
       sent({at.west.address, 0}, {at.client.address, 0}, 1), to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"the reply to an echo request with identifier 65535",
       [](PathRig& rig) { send(rig, false, echo_request(at.client.address, at.west.address, 65535)); }, true,
       from_west(echo_reply(at.west.address, at.client.address, 65535)),
       sent({at.west.address, 65535}, {at.client.address, 0}, 1), to_local(tunnelled({{"hits", 1}}))},
      // Addresses that become VIPs, and cease to be.
      {"a direct connection to an address that has become a VIP",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.west));
         frontend(rig, at.west, IpProtocol::kTcp, 30, {backend(30, kOtherBackend, 2)});
       },
       false, tcp(at.client, at.west, kAck), tunnel(sent(at.client, kOtherBackend), kClientIdentity),
       to_fabric(local({{"hits", 1}, {"created", 1}}))},
      {"the reply of such a connection",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.west));
         send(rig, true, from_west(tcp(at.west, at.client, kSynAck)));
         frontend(rig, at.west, IpProtocol::kTcp, 30, {backend(30, kOtherBackend, 2)});
       },
       true, from_west(tcp(at.west, at.client, kAck)), "", tunnelled({{"hits", 1}, {"drop no_frontend", 1}})},
      {"a direct connection to an address that has become a VIP on another port",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.west));
         frontend(rig, {at.west.address, 1}, IpProtocol::kTcp, 30, {backend(30, kOtherBackend, 2)});
       },
       false, tcp(at.client, at.west, kAck), "", local({{"hits", 1}, {"drop no_frontend", 1}})},
      {"a connection to a service that is gone and has returned",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.remote_service));
         rig.remove_service(at.remote_service);
         EXPECT_EQ(rig.from_local(tcp(at.client, at.remote_service, kAck)).drops, (Counts{{"no_frontend", 1}}));
         rig.set_backends(at.remote_service, 41, {backend(1, at.west, 2)}, {0});
       },
       false, tcp(at.client, at.remote_service, kAck), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"hits", 1}, {"revalidations", 1}}))},
      // Refusals that stand, and that end.
      {"the second packet of a refused flow",
       [](PathRig& rig) {
         PolicyDelta policy;
         policy.egress(kClientIdentity, enforced());
         publish(rig, policy);
         EXPECT_TRUE(rig.from_local(tcp(at.client, at.west)).out.empty());
       },
       false, tcp(at.client, at.west), "", local({{"misses", 1}, {"drop policy_denied", 1}})},
      {"a refused flow that policy has come to allow",
       [](PathRig& rig) {
         PolicyDelta policy;
         policy.egress(kClientIdentity, enforced());
         publish(rig, policy);
         EXPECT_TRUE(rig.from_local(tcp(at.client, at.west)).out.empty());
         PolicyDelta none;
         none.without(kClientIdentity);
         publish(rig, none);
       },
       false, tcp(at.client, at.west), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a refused flow to a cluster that has got a gateway",
       [](PathRig& rig) {
         rig.set_clusters({});
         EXPECT_TRUE(rig.from_local(tcp(at.client, at.west)).out.empty());
         rig.set_clusters({PathRig::kWestGateway});
       },
       false, tcp(at.client, at.west), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a refused flow to a VIP that has got a service on this port",
       [](PathRig& rig) {
         EXPECT_TRUE(rig.from_local(tcp(at.client, {at.remote_service.address, 81})).out.empty());
         rig.set_backends({at.remote_service.address, 81}, 7, {backend(1, at.west, 2)}, {0});
       },
       false, tcp(at.client, {at.remote_service.address, 81}), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a refused flow of a source that has been published",
       [](PathRig& rig) {
         EXPECT_TRUE(rig.from_underlay(from_west(tcp(kStranger, at.client))).out.empty());
         endpoint(rig, kStranger.address, 2, kWestIdentity);
       },
       true, from_west(tcp(kStranger, at.client)), sent(kStranger, at.client),
       to_local(tunnelled({{"misses", 1}, {"created", 1}})), 0},
      {"another origin than that of a refused packet",
       [](PathRig& rig) {
         EXPECT_TRUE(
             rig.from_underlay(from_west(tcp(at.west, at.client), at.west_gateway, kWestIdentity + 1)).out.empty());
       },
       true, from_west(tcp(at.west, at.client)), sent(at.west, at.client),
       to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"a SYN after a refused packet in mid-stream",
       [](PathRig& rig) { EXPECT_TRUE(rig.from_underlay(from_west(tcp(at.west, at.client, kAck))).out.empty()); }, true,
       from_west(tcp(at.west, at.client)), sent(at.west, at.client),
       to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      {"a SYN after a refused one that is a FIN too",
       [](PathRig& rig) { EXPECT_TRUE(rig.from_local(tcp(at.client, at.west, kSyn | kFin)).out.empty()); }, false,
       tcp(at.client, at.west), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a refused SYN to a service without backends, answered each time",
       [](PathRig& rig) { EXPECT_EQ(rig.from_local(tcp(at.client, at.empty_service)).out.size(), 1u); }, false,
       tcp(at.client, at.empty_service), sent({at.empty_service.address, 0}, {at.client.address, 0}, 1),
       local({{"misses", 1}, {"icmp", 1}, {"tx", 1}, {"drop no_live_backend", 1}})},
  };
  return all;
}

TEST(DecisionRows, EachPacketHasItsOutcomeAndMovesOnlyItsCounters) { run_rows(decisions()); }

TEST(DecisionRows, AGatewayThatReturnsGetsNewFlowsOnly) {
  PathRig rig;
  rig.set_clusters({PathRig::kWestOther});
  std::vector<Endpoint> clients;
  for (std::uint16_t port = 3000; port < 3020; ++port) {
    clients.push_back({at.client.address, port});
    send(rig, false, tcp(clients.back(), at.west));
  }
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  invalidate_all(rig);
  const std::uint64_t before = rig.counters().revalidations;
  for (const Endpoint& client : clients) {
    EXPECT_EQ(rig.from_local(tcp(client, at.west, kAck)).only().packet.outer_destination, at.west_other);
  }
  EXPECT_EQ(rig.counters().revalidations - before, clients.size());
}

TEST(DecisionRows, OfABurstThatOpensAConnectionOnePacketIsDecided) {
  PathRig rig;
  constexpr unsigned kBurst = 16;
  for (unsigned i = 0; i < kBurst; ++i) {
    ASSERT_TRUE(rig.local().inject(udp(at.client, at.west).bytes()));
  }
  EXPECT_EQ(rig.idle().out.size(), kBurst);
  const EngineCounters counters = rig.counters();
  EXPECT_EQ(counters.connections.created, 1u);
  EXPECT_EQ(counters.revalidations, 0u);
  EXPECT_EQ(counters.misses, kBurst);
}

TEST(DecisionRows, EveryRefusedPacketIsReportedLikeTheFirst) {
  PathRig rig;
  PolicyDelta policy;
  policy.select(1, {kWestIdentity}).egress(kClientIdentity, enforced({deny(1)}));
  publish(rig, policy);
  std::vector<FlowEvent> events;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rig.from_local(tcp(at.client, at.west)).drops, (Counts{{"policy_deny", 1}}));
  }
  rig.engine().poll_flow_events(events);
  ASSERT_EQ(events.size(), 3u);
  for (const FlowEvent& event : events) {
    EXPECT_EQ(event.verdict, FlowVerdict::kDropped);
    EXPECT_EQ(event.source_identity.value(), kClientIdentity);
    EXPECT_EQ(event.destination_identity.value(), kWestIdentity);
    EXPECT_EQ(event.egress.rule, RuleId{1});
  }
}

TEST(DecisionRows, AFlowEventNamesTheServiceByItsAddress) {
  PathRig rig;
  send(rig, false, tcp(at.client, at.remote_service));
  send(rig, true, from_west(tcp(at.west, at.client, kSynAck)));
  rig.remove_service(at.remote_service);
  rig.set_backends(at.remote_service, 77, {backend(1, at.west, 2)}, {0});  // as after a restart: another number
  send(rig, false, tcp(at.client, at.remote_service, kAck));
  send(rig, true, from_west(tcp(at.west, at.client, kAck)));
  std::vector<FlowEvent> events;
  rig.engine().poll_flow_events(events);
  events.clear();
  send(rig, false, tcp(at.client, at.remote_service, kFin | kAck));
  send(rig, true, from_west(tcp(at.west, at.client, kFin | kAck)));
  rig.engine().poll_flow_events(events);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].service, ServiceId{77});
  EXPECT_EQ(events[1].service, ServiceId{77});
}

}  // namespace
}  // namespace isthmus::test
