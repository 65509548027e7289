// The path from end to end: packets in, packets out.
#include <gtest/gtest.h>

#include <set>

#include "dataplane/publish/outstanding_probes.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

class Forwarding : public ::testing::Test {
 protected:
  PathRig rig;
  const Actors& at = rig.at;

  // A packet from west's gateway, by default a reply.
  PacketSpec from_west(const Endpoint& from, const Endpoint& to, std::uint8_t flags = kSyn | kAck) const {
    return tcp(from, to, flags).in_tunnel(at.west_gateway, at.gateway, kWestIdentity);
  }
};

TEST_F(Forwarding, APodsPacketIsEncapsulatedAsInCilium) {
  const Output out = rig.from_local(tcp(at.client, at.west).with_ttl(17).with_payload(100)).only();
  EXPECT_TRUE(out.underlay);
  const Dissected& p = out.packet;
  EXPECT_TRUE(p.tunnelled);
  EXPECT_EQ(p.outer_source, at.gateway);
  EXPECT_EQ(p.outer_destination, at.west_gateway);
  EXPECT_EQ(p.outer_port, 8472);
  EXPECT_GE(p.outer_source_port, 0xc000);
  EXPECT_EQ(p.outer_ttl, 64);
  EXPECT_TRUE(p.outer_df) << "it must not be fragmented on its way";
  EXPECT_EQ(p.outer_udp_checksum, 0);
  EXPECT_EQ(p.vni, kClientIdentity);
  EXPECT_EQ(p.ttl, 17) << "entering the tunnel does not decrement the TTL";
  EXPECT_EQ(p.source, at.client.address);
  EXPECT_EQ(p.destination, at.west.address);
  EXPECT_TRUE(p.payload_is_pattern);
  EXPECT_EQ(p.destination_mac, "02:00:00:00:00:fe");
  EXPECT_EQ(p.source_mac, "02:00:00:00:00:01");
}

TEST_F(Forwarding, APacketFromTheTunnelIsDeliveredWithItsTtlDecremented) {
  const Output out = rig.from_underlay(from_west(at.west, at.client, kSyn).with_ttl(9).with_payload(64)).only();
  EXPECT_FALSE(out.underlay);
  EXPECT_FALSE(out.packet.tunnelled);
  EXPECT_EQ(out.packet.ttl, 8);
  EXPECT_EQ(out.packet.source, at.west.address);
  EXPECT_EQ(out.packet.destination, at.client.address);
  EXPECT_EQ(out.packet.destination_mac, "02:00:00:00:00:10");
  EXPECT_EQ(out.packet.source_mac, "02:00:00:00:00:11");
  EXPECT_TRUE(out.packet.payload_is_pattern);
}

TEST_F(Forwarding, BytesAreCountedByTheSideAPacketLeavesBy) {
  const PacketSpec out = tcp(at.client, at.west).with_payload(100), in = tcp(at.west, at.client).with_payload(30);
  (void)rig.from_local(out);
  EXPECT_EQ(rig.counters().fabric_bytes, out.ip_bytes().size());
  EXPECT_EQ(rig.counters().local_bytes, 0u);
  (void)rig.from_underlay(PacketSpec(in).in_tunnel(at.west_gateway, at.gateway, kWestIdentity));
  EXPECT_EQ(rig.counters().fabric_bytes, out.ip_bytes().size());
  EXPECT_EQ(rig.counters().local_bytes, in.ip_bytes().size());
}

TEST_F(Forwarding, InnerIpv6IsForwardedInBothDirections) {
  const Output out = rig.from_local(tcp(at.client6, at.west6).with_payload(33)).only();
  EXPECT_TRUE(out.packet.tunnelled);
  EXPECT_EQ(out.packet.destination, at.west6.address);
  const Output back = rig.from_underlay(from_west(at.west6, at.client6).with_ttl(5)).only();
  EXPECT_EQ(back.packet.source, at.west6.address);
  EXPECT_EQ(back.packet.ttl, 4);
}

TEST_F(Forwarding, UdpWithAndWithoutChecksumKeepsItThroughTranslation) {
  rig.set_backends(at.remote_service, 9, {backend(9, at.west, 2)}, {0}, IpProtocol::kUdp);
  for (const bool checksum : {true, false}) {
    PacketSpec spec = udp(at.client, at.remote_service).with_payload(40), reply = udp(at.west, at.client);
    spec.udp_checksum = reply.udp_checksum = checksum;
    const Output out = rig.from_local(spec).only();
    EXPECT_EQ(out.packet.destination, at.west.address);
    EXPECT_EQ(out.packet.destination_port, at.west.port);
    EXPECT_EQ(out.packet.udp_checksum != 0, checksum);
    const Output back = rig.from_underlay(reply.in_tunnel(at.west_gateway, at.gateway, kWestIdentity)).only();
    EXPECT_EQ(back.packet.source, at.remote_service.address);
    EXPECT_EQ(back.packet.udp_checksum != 0, checksum);
  }
}

TEST_F(Forwarding, EchoIsTrackedByItsIdentifier) {
  const Output out = rig.from_local(echo_request(at.client.address, at.west.address, 77).with_payload(56)).only();
  EXPECT_EQ(out.packet.icmp_type, 8);
  EXPECT_EQ(out.packet.source_port, 77);
  const Output back =
      rig.from_underlay(
             echo_reply(at.west.address, at.client.address, 77).in_tunnel(at.west_gateway, at.gateway, kWestIdentity))
          .only();
  EXPECT_EQ(back.packet.icmp_type, 0);
  EXPECT_EQ(rig.flows().size(), 1u);
  EXPECT_TRUE(rig.flows().front().established);
}

TEST_F(Forwarding, AVipIsTranslatedToItsBackendAndBack) {
  const Output out = rig.from_local(tcp(at.client, at.remote_service).with_payload(10)).only();
  EXPECT_EQ(out.packet.destination, at.west.address);
  EXPECT_EQ(out.packet.destination_port, at.west.port);
  EXPECT_EQ(out.packet.source, at.client.address) << "the source is not translated: policy and servers see the pod";
  const Output back = rig.from_underlay(from_west(at.west, at.client).with_payload(11)).only();
  EXPECT_EQ(back.packet.source, at.remote_service.address);
  EXPECT_EQ(back.packet.source_port, at.remote_service.port);
  EXPECT_EQ(back.packet.destination, at.client.address);
  const auto flows = rig.flows();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].service, ServiceId{1});
  EXPECT_EQ(flows[0].forward_packets, 1u);
  EXPECT_EQ(flows[0].reply_packets, 1u);
}

TEST_F(Forwarding, AnIpv6VipIsTranslatedToItsBackendAndBack) {
  const Output out = rig.from_local(tcp(at.client6, at.service6)).only();
  EXPECT_EQ(out.packet.destination, at.west6.address);
  const Output back = rig.from_underlay(from_west(at.west6, at.client6)).only();
  EXPECT_EQ(back.packet.source, at.service6.address);
}

TEST_F(Forwarding, ALocalBackendSeesTheTranslationAddressSoThatItsReplyReturnsToTheGateway) {
  const Output out = rig.from_local(tcp(at.client, at.local_service)).only();
  EXPECT_FALSE(out.underlay);
  EXPECT_EQ(out.packet.source, at.translation);
  EXPECT_EQ(out.packet.destination, at.local_backend.address);
  EXPECT_EQ(out.packet.destination_port, at.local_backend.port);
  EXPECT_EQ(out.packet.ttl, 63);
  const Endpoint translated{at.translation, out.packet.source_port};
  const Output back = rig.from_local(tcp(at.local_backend, translated, kSyn | kAck)).only();
  EXPECT_EQ(back.packet.source, at.local_service.address);
  EXPECT_EQ(back.packet.source_port, at.local_service.port);
  EXPECT_EQ(back.packet.destination, at.client.address);
  EXPECT_EQ(back.packet.destination_port, at.client.port);
}

TEST_F(Forwarding, TwoVipsWithOneBackendDoNotShareAReplyKey) {
  const Output first = rig.from_local(tcp(at.client, at.remote_service)).only();
  const Output second = rig.from_local(tcp(at.client, at.twin_service)).only();
  EXPECT_EQ(first.packet.destination, second.packet.destination);
  EXPECT_NE(first.packet.source_port, second.packet.source_port);
  const Endpoint other{at.client.address, second.packet.source_port};
  const Output back = rig.from_underlay(from_west(at.west, other)).only();
  EXPECT_EQ(back.packet.source, at.twin_service.address);
  EXPECT_EQ(back.packet.destination_port, at.client.port);
}

TEST_F(Forwarding, ADirectConnectionDoesNotShareTheReplyKeyOfAVipConnectionToTheSameBackend) {
  (void)rig.from_local(tcp(at.client, at.remote_service));
  const Output direct = rig.from_local(tcp(at.client, at.west)).only();
  EXPECT_NE(direct.packet.source_port, at.client.port);
  const Output back = rig.from_underlay(from_west(at.west, {at.client.address, direct.packet.source_port})).only();
  EXPECT_EQ(back.packet.source, at.west.address);
  EXPECT_EQ(back.packet.destination_port, at.client.port);
}

TEST_F(Forwarding, RepliesGoToThePeerThatTheForwardDirectionCameFrom) {
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  for (std::uint16_t port = 1; port < 40; ++port) {
    const IpAddress& gateway = port % 2 == 0 ? at.west_gateway : at.west_other;
    const Endpoint west{at.west.address, port};
    (void)rig.from_underlay(tcp(west, at.client).in_tunnel(gateway, at.gateway, kWestIdentity));
    EXPECT_EQ(rig.from_local(tcp(at.client, west, kSyn | kAck)).only().packet.outer_destination, gateway);
  }
}

TEST_F(Forwarding, AReplyThroughTheOtherGatewayOfItsClusterIsAccepted) {
  (void)rig.from_local(tcp(at.client, at.west));
  const Outcome back =
      rig.from_underlay(tcp(at.west, at.client, kSyn | kAck).in_tunnel(at.west_other, at.gateway, kWestIdentity));
  EXPECT_EQ(back.only().packet.destination, at.client.address);
}

TEST_F(Forwarding, BothGatewaysOfAClusterAreUsedAndAFlowStaysWithOne) {
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  std::set<IpAddress> used;
  for (std::uint16_t port = 1000; port < 1040; ++port) {
    const Endpoint client{at.client.address, port};
    const IpAddress first = rig.from_local(tcp(client, at.west)).only().packet.outer_destination;
    EXPECT_EQ(rig.from_local(tcp(client, at.west, kAck)).only().packet.outer_destination, first);
    used.insert(first);
  }
  EXPECT_EQ(used.size(), 2u);
}

TEST_F(Forwarding, FlowsOfAGatewayThatIsDownMoveToTheOther) {
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  std::vector<Endpoint> clients;
  for (std::uint16_t port = 2000; port < 2020; ++port) {
    clients.push_back({at.client.address, port});
    (void)rig.from_local(tcp(clients.back(), at.west));
  }
  rig.set_clusters({PathRig::kWestOther});
  for (const Endpoint& client : clients) {
    EXPECT_EQ(rig.from_local(tcp(client, at.west, kAck)).only().packet.outer_destination, at.west_other);
  }
}

TEST_F(Forwarding, EstablishedFlowsKeepTheirBackendWhenTheRingChanges) {
  const Endpoint other{Actors::ip("10.2.0.99"), 9000};
  (void)rig.from_local(tcp(at.client, at.remote_service));
  rig.set_backends(at.remote_service, 1, {backend(1, at.west, 2), backend(9, other, 2)}, {1});
  EXPECT_EQ(rig.from_local(tcp(at.client, at.remote_service, kAck)).only().packet.destination, at.west.address);
  const Endpoint fresh{at.client.address, 40001};
  EXPECT_EQ(rig.from_local(tcp(fresh, at.remote_service)).only().packet.destination, other.address);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.remote_service, kSyn)).only().packet.destination, other.address)
      << "a new SYN does not go to a draining backend";
}

TEST_F(Forwarding, AFlowWhoseBackendIsRemovedGetsAnotherBackend) {
  const Endpoint other{Actors::ip("10.2.0.99"), 9000};
  (void)rig.from_local(tcp(at.client, at.remote_service));
  rig.set_backends(at.remote_service, 1, {backend(9, other, 2)}, {0});
  EXPECT_EQ(rig.from_local(tcp(at.client, at.remote_service, kAck)).only().packet.destination, other.address);
}

TEST_F(Forwarding, MaglevSpreadsConnectionsOverAllBackends) {
  std::vector<BackendEntry> backends;
  for (std::uint16_t i = 1; i <= 4; ++i) {
    backends.push_back(backend(i, {Actors::ip(("10.2.0." + std::to_string(i)).c_str()), 80}, 2));
  }
  rig.set_backends(at.remote_service, 1, backends, {0, 1, 2, 3});
  std::set<IpAddress> seen;
  for (std::uint16_t port = 1; port <= 200; ++port) {
    seen.insert(rig.from_local(tcp({at.client.address, port}, at.remote_service)).only().packet.destination);
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST_F(Forwarding, EcnIsCopiedToTheOuterHeaderAndCongestionBackToTheInnerOne) {
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west).with_ecn(2)).only().packet.outer_tos, 2);
  PacketSpec back = from_west(at.west, at.client).with_ecn(2);
  back.tunnel->ecn = 3;
  EXPECT_EQ(rig.from_underlay(back).only().packet.ecn, 3);
  PacketSpec incapable = from_west(at.west, at.client, kAck);
  incapable.tunnel->ecn = 3;
  EXPECT_TRUE(rig.from_underlay(incapable).out.empty()) << "only its loss can tell the sender (RFC 6040 4.2)";
}

TEST_F(Forwarding, FullSizeSegmentsFitAndOneByteMoreDoesNot) {
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west).with_payload(1410)).only().packet.payload, 1410u);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west, kAck).with_payload(1411).with_df()).drops,
            (std::map<std::string, std::uint64_t>{{"oversize", 1}}));
}

TEST_F(Forwarding, UnknownLocalSourcesAreWorldOnTheWire) {
  const Endpoint node{Actors::ip("10.1.0.77"), 1};
  EXPECT_EQ(rig.from_local(tcp(node, at.west)).only().packet.vni, 2u);
}

TEST_F(Forwarding, AnIcmpErrorAboutATranslatedFlowIsTranslatedBack) {
  const Output out = rig.from_local(udp({at.client.address, 5000}, at.west).with_payload(20)).only();
  EXPECT_EQ(out.packet.destination, at.west.address);
  (void)rig.from_local(tcp(at.client, at.remote_service));
  const FrameBytes about = tcp(at.client, at.west).ip_bytes();  // as the backend's side has seen it
  const Output error = rig.from_underlay(icmp_error(at.west.address, at.client.address, 3, 3, about)
                                             .in_tunnel(at.west_gateway, at.gateway, kWestIdentity))
                           .only();
  EXPECT_EQ(error.packet.icmp_type, 3);
  EXPECT_EQ(error.packet.destination, at.client.address);
  EXPECT_EQ(error.packet.source, at.remote_service.address);
  FrameBytes quoted_frame(14, 0);
  quoted_frame[12] = 8;
  quoted_frame.insert(quoted_frame.end(), error.packet.quoted.begin(), error.packet.quoted.end());
  const Dissected quoted = dissect(quoted_frame);
  EXPECT_EQ(quoted.destination, at.remote_service.address);
  EXPECT_EQ(quoted.destination_port, at.remote_service.port);
  EXPECT_EQ(quoted.source, at.client.address);
  EXPECT_EQ(quoted.errors, std::vector<std::string>{}) << "its checksums are those of the packet that the client sent";
}

TEST_F(Forwarding, ProbesAreAnsweredByTheEngine) {
  ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, 41, false));
  const Output probe = rig.idle().only();
  EXPECT_EQ(probe.packet.vni, 4u);
  EXPECT_EQ(probe.packet.outer_destination, at.west_gateway);
  // The same probe as west would send it: source and destination swapped in both headers.
  FrameBytes request = probe.bytes;
  std::swap_ranges(request.begin() + 26, request.begin() + 30, request.begin() + 30);
  std::swap_ranges(request.begin() + 76, request.begin() + 80, request.begin() + 80);
  const Output answer = rig.raw(true, request).only();
  EXPECT_EQ(answer.packet.outer_destination, at.west_gateway);
  FrameBytes echo = answer.bytes;
  std::swap_ranges(echo.begin() + 26, echo.begin() + 30, echo.begin() + 30);
  std::swap_ranges(echo.begin() + 76, echo.begin() + 80, echo.begin() + 80);
  EXPECT_TRUE(rig.raw(true, echo).out.empty());
  const EngineEvents events = rig.engine().poll_events();
  ASSERT_EQ(events.probe_answers.size(), 1u);
  EXPECT_EQ(events.probe_answers[0].peer, PathRig::kWestGateway);
  EXPECT_EQ(events.probe_answers[0].sequence, 41u);
  EXPECT_EQ(rig.raw(true, echo).drops, (std::map<std::string, std::uint64_t>{{"probe", 1}})) << "answered already";
  EXPECT_TRUE(rig.engine().poll_events().probe_answers.empty());
}

// Offsets of a probe in its frame.
constexpr std::size_t kProbeKind = 50 + 20 + 8 + 14 + 5, kProbeFlags = kProbeKind + 2;

FrameBytes returned(const Output& probe) {
  FrameBytes bytes = probe.bytes;
  std::swap_ranges(bytes.begin() + 26, bytes.begin() + 30, bytes.begin() + 30);
  std::swap_ranges(bytes.begin() + 76, bytes.begin() + 80, bytes.begin() + 80);
  return bytes;
}

TEST_F(Forwarding, ADrainedGatewaySaysSoToThoseWhoUnderstandIt) {
  ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, 41, true));
  const FrameBytes request = returned(rig.idle().only());
  EXPECT_EQ(rig.engine().probe_said(PathRig::kWestGateway), ProbeSaid::kNothing);
  rig.engine().set_draining(true);
  const Output answer = rig.raw(true, request).only();
  EXPECT_EQ(answer.packet.errors, std::vector<std::string>{});
  EXPECT_EQ(rig.engine().probe_said(PathRig::kWestGateway), ProbeSaid::kAnother);
  EXPECT_TRUE(rig.raw(true, returned(answer)).out.empty());
  const EngineEvents events = rig.engine().poll_events();
  ASSERT_EQ(events.probe_answers.size(), 1u);
  EXPECT_EQ(events.probe_answers[0].sequence, 41u);
  EXPECT_TRUE(events.probe_answers[0].draining);

  FrameBytes older = request;  // of a version without flags
  older[kProbeFlags] = older[kProbeFlags + 1] = 0;
  EXPECT_TRUE(rig.raw(true, older).out.empty()) << "to it, this gateway looks gone";
  EXPECT_EQ(rig.engine().probe_said(PathRig::kWestGateway), ProbeSaid::kNothing);
  EXPECT_EQ(rig.engine().counters().probes_left, 2u);
  rig.engine().set_draining(false);
  EXPECT_EQ(rig.raw(true, older).only().bytes[kProbeKind], 2);
  EXPECT_EQ(rig.engine().counters().probes_answered, 1u);
}

TEST_F(Forwarding, ForgedAnswersTakeNoGatewayOutOfUse) {
  ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, 41, false));
  const FrameBytes request = returned(rig.idle().only());
  rig.engine().set_draining(true);
  const FrameBytes answer = returned(rig.raw(true, request).only());
  const std::map<std::string, std::uint64_t> refused{{"probe", 1}};
  FrameBytes other = answer;
  other[kProbeKind + 6] ^= 1;
  EXPECT_EQ(rig.raw(true, other).drops, refused) << "to a probe that was not sent";
  other = answer;
  other[79] ^= 1;
  EXPECT_EQ(rig.raw(true, other).drops, refused) << "from another address inside";
  other = answer;
  other[kProbeKind] = 4;
  EXPECT_EQ(rig.raw(true, other).drops, refused) << "of no kind";
  EXPECT_TRUE(rig.engine().poll_events().probe_answers.empty());
  EXPECT_TRUE(rig.raw(true, answer).out.empty());
  EXPECT_EQ(rig.engine().poll_events().probe_answers.size(), 1u);
  EXPECT_EQ(rig.raw(true, answer).drops, refused) << "again";
}

TEST(OutstandingProbes, AnAnswerCountsOnceAndOnlyToAProbeOfOurs) {
  OutstandingProbes probes;
  const PeerId peer{7}, other{8}, beyond{OutstandingProbes::kPeers};
  EXPECT_FALSE(probes.take(peer, 0)) << "none was sent";
  for (std::uint32_t sequence = 0xfffffff0; sequence != 20; ++sequence) {  // 36 of them, over the wrap
    probes.sent(peer, sequence);
  }
  EXPECT_FALSE(probes.take(peer, 20)) << "not sent yet";
  EXPECT_FALSE(probes.take(other, 19));
  EXPECT_FALSE(probes.take(peer, 0xfffffff3)) << "more than 32 ago";
  for (const std::uint32_t sequence : {0xfffffff4u, 0xffffffffu, 0u, 19u}) {
    EXPECT_TRUE(probes.take(peer, sequence)) << sequence;
    EXPECT_FALSE(probes.take(peer, sequence)) << sequence;
  }
  probes.sent(peer, 500);  // after a restart of the numbers
  EXPECT_FALSE(probes.take(peer, 18));
  EXPECT_TRUE(probes.take(peer, 500));
  probes.sent(beyond, 1);
  EXPECT_FALSE(probes.take(beyond, 1));
}

TEST_F(Forwarding, AProbeThatFindsTheQueueFullIsRefusedAndCounted) {
  std::uint64_t sent = 0;
  while (sent < 5000 && rig.engine().send_probe(PathRig::kWestGateway, 1, false)) {
    ++sent;
  }
  EXPECT_GE(sent, 512u);
  EXPECT_LT(sent, 5000u);
  EXPECT_EQ(rig.engine().counters().probes_refused, 1u);
  rig.idle();
  EXPECT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, 2, false));
  EXPECT_EQ(rig.engine().counters().probes_refused, 1u);
}

TEST_F(Forwarding, SteeringRulesContainPeersFleetPrefixesAndLocalSources) {
  const SteerRules& rules = rig.underlay().rules();
  EXPECT_EQ(rules.tunnel, tunnel_end(at.gateway));
  EXPECT_EQ(rules.peers.size(), 4u);
  EXPECT_EQ(rules.local_sources.size(), 2u);
  const auto covers = [&](const IpAddress& a) {
    return std::any_of(rules.fleet.begin(), rules.fleet.end(), [&](const Prefix& p) { return p.contains(a); });
  };
  EXPECT_TRUE(covers(at.west.address));
  EXPECT_TRUE(covers(at.remote_service.address));
  EXPECT_TRUE(covers(at.translation));
  EXPECT_FALSE(covers(at.client.address));
}

}  // namespace
}  // namespace isthmus::test
