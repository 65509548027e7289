// Flow events of the path: one for the first packet of each direction, none for the packets that follow, one for every
// dropped packet, and exact counts even if a flood exceeds the budget.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "dataplane/net/headers.h"
#include "dataplane/originate/output.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

std::vector<FlowEvent> events(PathRig& rig) {
  std::vector<FlowEvent> events;
  rig.engine().poll_flow_events(events);
  return events;
}

// The only event. Fails the test and returns an empty one if there is not exactly one.
FlowEvent only_event(PathRig& rig) {
  const auto all = events(rig);
  EXPECT_EQ(all.size(), 1u);
  return all.size() == 1 ? all.front() : FlowEvent{};
}

std::string reason(PathRig& rig, const FlowEvent& event) {
  return std::string(rig.counters().drops.at(event.drop_reason).name);
}

TEST(FlowEvent, OnlyTheFirstPacketsOfBothDirectionsAreReported) {
  PathRig rig;
  (void)rig.from_local(tcp(at.client, at.west).with_flags(net::Tcp::kSyn));
  const FlowEvent opened = only_event(rig);
  EXPECT_EQ(opened.verdict, FlowVerdict::kForwarded);
  EXPECT_EQ(opened.trace, TraceReason::kNew);
  EXPECT_EQ(opened.direction, TrafficDirection::kEgress);
  EXPECT_EQ(opened.from, Side::kLocal);
  EXPECT_EQ(opened.to, Side::kFabric);
  EXPECT_EQ(opened.received.source, at.client.address);
  EXPECT_EQ(opened.received.source_port.value(), at.client.port);
  EXPECT_EQ(opened.received.destination, at.west.address);
  EXPECT_EQ(opened.received.destination_port.value(), at.west.port);
  EXPECT_EQ(opened.tcp_flags, net::Tcp::kSyn);
  EXPECT_EQ(opened.source_identity.value(), kClientIdentity);
  EXPECT_EQ(opened.source_cluster, ClusterId{1});
  EXPECT_EQ(opened.destination_cluster, ClusterId{2});
  EXPECT_EQ(opened.peer, PathRig::kWestGateway);

  (void)rig.from_underlay(from_west(tcp(at.west, at.client).with_flags(net::Tcp::kSyn | net::Tcp::kAck)));
  const FlowEvent answered = only_event(rig);
  EXPECT_EQ(answered.trace, TraceReason::kReply);
  EXPECT_EQ(answered.direction, TrafficDirection::kEgress);
  EXPECT_EQ(answered.received.source, at.west.address);
  EXPECT_EQ(answered.source_identity.value(), kWestIdentity);
  EXPECT_EQ(answered.vni.value(), kWestIdentity);

  for (int i = 0; i < 3; ++i) {
    (void)rig.from_local(tcp(at.client, at.west).with_flags(net::Tcp::kAck));
    (void)rig.from_underlay(from_west(tcp(at.west, at.client).with_flags(net::Tcp::kAck)));
  }
  EXPECT_TRUE(events(rig).empty());
}

TEST(FlowEvent, TheFirstFinAndRstOfADirectionAreReported) {
  PathRig rig;
  (void)rig.from_local(tcp(at.client, at.remote_service, kSyn));
  const Endpoint client = at.client;
  (void)rig.from_underlay(from_west(tcp(at.west, client, kSyn | kAck)));
  (void)rig.from_local(tcp(client, at.remote_service, kAck));
  (void)events(rig);

  constexpr std::uint8_t kFinAck = net::Tcp::kFin | kAck;
  (void)rig.from_local(tcp(client, at.remote_service, kFinAck));
  const FlowEvent closing = only_event(rig);
  EXPECT_EQ(closing.verdict, FlowVerdict::kForwarded);
  EXPECT_EQ(closing.trace, TraceReason::kEstablished);
  EXPECT_EQ(closing.tcp_flags, kFinAck);
  EXPECT_EQ(closing.direction, TrafficDirection::kEgress);
  EXPECT_EQ(closing.to, Side::kFabric);
  EXPECT_EQ(closing.peer, PathRig::kWestGateway);
  EXPECT_EQ(closing.received.destination, at.remote_service.address);
  EXPECT_EQ(closing.translated.destination, at.west.address);
  EXPECT_EQ(closing.translated.destination_port.value(), at.west.port);
  EXPECT_NE(closing.service, kNoService);
  EXPECT_EQ(closing.source_identity.value(), kClientIdentity);

  (void)rig.from_local(tcp(client, at.remote_service, kFinAck));  // retransmitted
  EXPECT_TRUE(events(rig).empty());
  (void)rig.from_underlay(from_west(tcp(at.west, client, kFinAck)));
  const FlowEvent answer = only_event(rig);
  EXPECT_EQ(answer.trace, TraceReason::kReply);
  EXPECT_EQ(answer.tcp_flags, kFinAck);
  EXPECT_EQ(answer.source_identity.value(), kWestIdentity);
  (void)rig.from_underlay(from_west(tcp(at.west, client, net::Tcp::kRst)));
  EXPECT_EQ(only_event(rig).tcp_flags, net::Tcp::kRst);
}

TEST(FlowEvent, AClosingPacketIsReportedAlsoWhenItsDecisionIsRevalidated) {
  PathRig rig;
  (void)rig.from_local(tcp(at.client, at.west, kSyn));
  (void)rig.from_underlay(from_west(tcp(at.west, at.client, kSyn | kAck)));
  (void)events(rig);
  rig.set_clusters({PathRig::kWestGateway}, false);
  rig.set_clusters({PathRig::kWestGateway}, true);  // invalidates every decision
  const std::uint64_t before = rig.counters().revalidations;
  (void)rig.from_local(tcp(at.client, at.west, net::Tcp::kRst));
  EXPECT_GT(rig.counters().revalidations, before);
  EXPECT_EQ(only_event(rig).tcp_flags, net::Tcp::kRst);
}

TEST(FlowEvent, TranslationIsReportedWithItsService) {
  PathRig rig;
  (void)rig.from_local(tcp(at.client, at.local_service));
  const FlowEvent event = only_event(rig);
  EXPECT_EQ(event.received.destination, at.local_service.address);
  EXPECT_EQ(event.received.destination_port.value(), at.local_service.port);
  EXPECT_EQ(event.translated.destination, at.local_backend.address);
  EXPECT_EQ(event.translated.destination_port.value(), at.local_backend.port);
  EXPECT_EQ(event.translated.source, at.translation);
  EXPECT_NE(event.service, kNoService);
  EXPECT_EQ(event.to, Side::kLocal);
}

TEST(FlowEvent, EchoIsReportedByTypeWithoutPorts) {
  PathRig rig;
  (void)rig.from_local(echo_request(at.client.address, at.west.address, 77));
  const FlowEvent event = only_event(rig);
  EXPECT_EQ(event.protocol, IpProtocol::kIcmp);
  EXPECT_EQ(event.icmp_type, net::icmp4::kEchoRequest);
  EXPECT_EQ(event.received.source_port.value(), 0);
  EXPECT_EQ(event.received.destination_port.value(), 0);
}

TEST(FlowEvent, ADropIsReportedOnceWithItsReason) {
  struct Row {
    const char* reason;
    bool underlay;
    PacketSpec packet;
    IpAddress source, destination;  // of the event
  };
  const PacketSpec routed = sctp(at.client6, at.west6).with_extension(43, {0, 2, 0, 1, 0, 0,  0,  0,  1,  2,  3,  4,
                                                                           5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  PacketSpec bad_tunnel = from_west(tcp(at.west, at.client));
  bad_tunnel.tunnel->flags = 0x88000000;
  const IpAddress unknown_peer = Actors::ip("192.0.2.99");
  const Row rows[] = {
      // Dropped by admission.
      {"no_live_backend", false, tcp(at.client, at.empty_service), at.client.address, at.empty_service.address},
      {"not_linked", false, tcp(at.client, at.south), at.client.address, at.south.address},
      {"foreign_source", false, tcp(at.north, at.west), at.north.address, at.west.address},
      // Dropped before they were parsed: as much as can be read, of the inner packet if there is one.
      {"fragment_invalid", false, udp(at.client, at.west).with_payload(3).as_fragment(0x2000), at.client.address,
       at.west.address},
      {"fragment_invalid", true, from_west(udp(at.west, at.client).with_payload(3).as_fragment(0x2000)),
       at.west.address, at.client.address},
      {"unsupported_l4", false, portless(at.client.address, at.west.address, 58), at.client.address, at.west.address},
      {"source_route", false, routed, at.client6.address, at.west6.address},
      // Dropped because of the outer header, which is reported.
      {"tunnel_header", true, bad_tunnel, at.west_gateway, at.gateway},
      {"unknown_peer", true, tcp(at.west, at.client).in_tunnel(unknown_peer, at.gateway, kWestIdentity), unknown_peer,
       at.gateway},
      // Dropped after admission.
      {"ttl_exceeded", true, from_west(tcp(at.west, at.client).with_ttl(1)), at.west.address, at.client.address},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.reason);
    PathRig rig;
    const Outcome outcome = row.underlay ? rig.from_underlay(row.packet) : rig.from_local(row.packet);
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{row.reason, 1}}));
    auto all = events(rig);
    std::erase_if(all, [](const FlowEvent& e) { return e.verdict != FlowVerdict::kDropped; });
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(reason(rig, all.front()), row.reason);
    EXPECT_EQ(all.front().received.source, row.source);
    EXPECT_EQ(all.front().received.destination, row.destination);
    EXPECT_EQ(all.front().from, row.underlay ? Side::kFabric : Side::kLocal);
  }
}

// The events of dropped packets, each of which must have this reason.
std::vector<FlowEvent> dropped(PathRig& rig, const std::string& expected) {
  auto all = events(rig);
  std::erase_if(all, [](const FlowEvent& e) { return e.verdict != FlowVerdict::kDropped; });
  for (const FlowEvent& event : all) {
    EXPECT_EQ(reason(rig, event), expected);
  }
  return all;
}

std::uint64_t drops_of(PathRig& rig, const std::string& name) {
  for (const DropCount& drop : rig.counters().drops) {
    if (drop.name == name) {
      return drop.packets;
    }
  }
  return 0;
}

TEST(FlowEvent, APacketWithAnUnresolvedNextHopIsReportedAtOnceOrAfterWaiting) {
  PathRig::Options options;
  options.local_routes_on_link = true;
  PathRig rig(options);
  (void)rig.from_underlay(from_west(tcp(at.west, at.client)));
  EXPECT_TRUE(dropped(rig, "none yet").empty()) << "one packet may wait";
  (void)rig.from_underlay(from_west(tcp(at.west, at.client, kAck)));
  const auto second = dropped(rig, "neighbour_unresolved");
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second.front().received.source, at.west.address);
  EXPECT_EQ(second.front().source_identity.value(), kWestIdentity);
  EXPECT_EQ(second.front().direction, TrafficDirection::kIngress);
  EXPECT_EQ(second.front().tcp_flags, kAck);

  std::vector<FlowEvent> first;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (first.empty() && std::chrono::steady_clock::now() < deadline) {
    (void)rig.idle();
    first = dropped(rig, "neighbour_unresolved");
  }
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first.front().received.source, at.west.address);
  EXPECT_EQ(first.front().received.destination, at.client.address);
  EXPECT_EQ(first.front().received.destination_port.value(), at.client.port);
  EXPECT_EQ(first.front().bytes, tcp(at.west, at.client).ip_bytes().size());
  EXPECT_EQ(drops_of(rig, "neighbour_unresolved"), 2u);
}

TEST(FlowEvent, APacketDroppedOnAFullTransmitRingIsReportedWithItsInnerHeaders) {
  PathRig rig;
  (void)rig.from_local(tcp(at.client, at.west));
  (void)events(rig);
  const FrameBytes frame = tcp(at.client, at.west, kAck).bytes();
  std::uint64_t reported = 0;
  for (std::uint32_t i = 0; i < 3 * MemoryDevice::kLaneFrames; ++i) {  // nothing is taken from the device
    if (!rig.local().inject(frame)) {
      rig.engine().run_round(WorkerId{0});
      EXPECT_TRUE(rig.local().inject(frame));
    }
    rig.engine().run_round(WorkerId{0});
    for (const FlowEvent& event : dropped(rig, "tx_full")) {
      ++reported;
      EXPECT_EQ(event.received.source, at.client.address);
      EXPECT_EQ(event.received.destination, at.west.address);
      EXPECT_EQ(event.received.destination_port.value(), at.west.port);
      EXPECT_EQ(event.to, Side::kFabric);
      EXPECT_EQ(event.peer, PathRig::kWestGateway);
      EXPECT_EQ(event.vni.value(), kClientIdentity);
      EXPECT_EQ(event.tcp_flags, kAck);
    }
  }
  EXPECT_GT(reported, 0u);
  const auto count = rig.counters().flow_events[static_cast<std::size_t>(FlowVerdict::kDropped)];
  EXPECT_EQ(reported, count.reported);
  EXPECT_EQ(count.reported + count.sampled_out + count.lost, drops_of(rig, "tx_full"));
}

TEST(FlowEvent, PolicyVerdictsAndTheirRulesAreReported) {
  constexpr std::uint32_t kWest = 1, kNorth = 2;
  PathRig rig;
  PolicyDelta policies;
  policies.select(kWest, {kWestIdentity}).select(kNorth, {kNorthIdentity});
  policies.egress(kClientIdentity, enforced({allow(kWest), deny(kNorth)}));
  policies.ingress(kLocalBackendIdentity, enforced()).audit(kLocalBackendIdentity);
  ASSERT_TRUE(rig.engine().publish(policies.delta).ok());

  (void)rig.from_local(tcp(at.client, at.west));
  const FlowEvent allowed = only_event(rig);
  EXPECT_EQ(allowed.verdict, FlowVerdict::kForwarded);
  EXPECT_EQ(allowed.egress.outcome, PolicyOutcome::kAllowed);
  EXPECT_EQ(allowed.egress.rule, RuleId{kWest});
  EXPECT_EQ(allowed.ingress.outcome, PolicyOutcome::kNotApplicable);
  EXPECT_EQ(allowed.destination_identity.value(), kWestIdentity);

  (void)rig.from_local(tcp(at.client, at.north));
  const FlowEvent denied = only_event(rig);
  EXPECT_EQ(denied.verdict, FlowVerdict::kDropped);
  EXPECT_EQ(reason(rig, denied), "policy_deny");
  EXPECT_EQ(denied.egress.outcome, PolicyOutcome::kDeniedByRule);
  EXPECT_EQ(denied.egress.rule, RuleId{kNorth});
  EXPECT_EQ(denied.destination_identity.value(), kNorthIdentity);

  (void)rig.from_underlay(from_west(tcp(at.west, {at.local_backend.address, 5})));
  const FlowEvent audited = only_event(rig);
  EXPECT_EQ(audited.verdict, FlowVerdict::kAudited);
  EXPECT_EQ(audited.direction, TrafficDirection::kIngress);
  EXPECT_EQ(audited.ingress.outcome, PolicyOutcome::kAudited);
}

TEST(FlowEvent, AnIcmpErrorIsReportedOnlyWhenItIsDropped) {
  PathRig rig;
  (void)rig.from_local(udp(at.client, at.west));
  EXPECT_EQ(events(rig).size(), 1u);
  const FrameBytes about = udp(at.client, at.west).ip_bytes();
  (void)rig.from_underlay(from_west(icmp_error(at.west.address, at.client.address, 3, 3, about)));
  EXPECT_TRUE(events(rig).empty());
  const FrameBytes unknown = udp({at.client.address, 9}, at.remote_service).ip_bytes();
  (void)rig.from_underlay(from_west(icmp_error(at.west.address, at.client.address, 3, 3, unknown)));
  const FlowEvent event = only_event(rig);
  EXPECT_EQ(reason(rig, event), "unsupported_icmp");
  EXPECT_EQ(event.protocol, IpProtocol::kIcmp);
  EXPECT_EQ(event.icmp_type, 3);
}

// An error that no connection here is the cause of opens none.
TEST(FlowEvent, AnAuditedErrorWithoutAConnectionIsNoNewConnection) {
  PathRig rig;
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced()).ingress(kClientIdentity, enforced()).audit(kClientIdentity);
  ASSERT_TRUE(rig.engine().publish(policies.delta).ok());
  const FrameBytes sent = udp(at.client, at.west).ip_bytes();
  EXPECT_EQ(rig.from_underlay(from_west(icmp_error(at.west.address, at.client.address, 3, 3, sent))).out.size(), 1u);
  EXPECT_TRUE(events(rig).empty()) << "as the answer to what was sent";

  const FrameBytes answer = tcp(at.remote_service, at.client).ip_bytes();
  EXPECT_EQ(rig.from_local(icmp_error(at.client.address, at.remote_service.address, 3, 3, answer)).out.size(), 1u);
  const FlowEvent audited = only_event(rig);
  EXPECT_EQ(audited.verdict, FlowVerdict::kAudited);
  EXPECT_NE(audited.trace, TraceReason::kNew);
  EXPECT_EQ(audited.protocol, IpProtocol::kIcmp);
  EXPECT_EQ(rig.counters().icmp_stray, 2u);
  EXPECT_EQ(rig.counters().connections.created, 0u);
}

TEST(FlowEvent, AnUnreadableFrameIsReportedWithoutAddresses) {
  PathRig rig;
  (void)rig.raw(false, FrameBytes(10, 0xff));
  const FlowEvent malformed = only_event(rig);
  EXPECT_EQ(reason(rig, malformed), "malformed");
  EXPECT_TRUE(malformed.received.source.is_unspecified());
  FrameBytes arp(60, 0);
  arp[12] = 0x08, arp[13] = 0x06;
  (void)rig.raw(false, arp);
  EXPECT_EQ(reason(rig, only_event(rig)), "unsupported_l2");
}

TEST(FlowEvent, AFloodOfDropsIsCountedExactlyAndNewConnectionsAreStillReported) {
  PathRig::Options options;
  options.engine.flow_events_per_second = 50;
  PathRig rig(options);
  constexpr std::uint64_t kFlood = 20'000;
  std::vector<FlowEvent> reported;
  for (std::uint64_t i = 0; i < kFlood; ++i) {
    (void)rig.from_local(tcp(at.client, at.south));
    if (i == kFlood / 2) {
      (void)rig.from_local(tcp(at.client, at.west));
    }
    rig.engine().poll_flow_events(reported);
  }
  const EngineCounters counters = rig.counters();
  const FlowEventCount& drops = counters.flow_events[static_cast<std::size_t>(FlowVerdict::kDropped)];
  std::uint64_t dropped = 0, bytes = 0;
  for (const DropCount& drop : counters.drops) {
    dropped += drop.packets;
    bytes += drop.bytes;
    EXPECT_EQ(drop.bytes, drop.egress_bytes) << drop.name;
  }
  EXPECT_EQ(dropped, kFlood);
  EXPECT_EQ(bytes, kFlood * tcp(at.client, at.south).bytes().size());
  EXPECT_EQ(drops.reported + drops.sampled_out + drops.lost, kFlood);
  EXPECT_GE(drops.reported, 50u);
  EXPECT_GT(drops.sampled_out, 0u);
  EXPECT_EQ(std::count_if(reported.begin(), reported.end(),
                          [](const FlowEvent& e) { return e.verdict == FlowVerdict::kForwarded; }),
            1);
}

TEST(FlowEvent, AFullQueueLosesEventsAndCountsThem) {
  PathRig::Options options;
  options.engine.flow_events_per_second = 1'000'000;
  PathRig rig(options);
  constexpr std::uint64_t kMany = 5'000;  // more than the queue holds; none are taken
  for (std::uint64_t i = 0; i < kMany; ++i) {
    (void)rig.from_local(tcp(at.client, at.south));
  }
  const auto count = rig.counters().flow_events[static_cast<std::size_t>(FlowVerdict::kDropped)];
  EXPECT_EQ(count.reported + count.lost, kMany);
  EXPECT_GT(count.lost, 0u);
  EXPECT_EQ(events(rig).size(), count.reported);
}

}  // namespace
}  // namespace isthmus::test
