// Every drop reason, reached through the path: only its counter increases, and nothing is sent out.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "dataplane/path/context.h"
#include "dataplane/publish/publisher.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }
Endpoint other(const Endpoint& e, const char* address) { return {Actors::ip(address), e.port}; }

struct Row {
  const char* description;
  const char* reason;
  bool underlay;
  std::function<PacketSpec()> packet;
  void (*damage)(FrameBytes& frame) = nullptr;  // what a PacketSpec cannot describe
};

const Row kRows[] = {
    {"a truncated TCP header", "malformed", false, [] { return tcp(at.client, at.west); },
     [](FrameBytes& frame) {
       frame[46] = 0xf0;  // data offset beyond the packet
     }},
    {"a fragmented ICMP error", "ip_fragment", true,
     [] {
       return from_west(icmp_error(at.west.address, at.client.address, 3, 3, udp(at.client, at.west).ip_bytes())
                            .as_fragment(0x2000));
     }},
    {"a fragment of 33 bytes that is not the last", "fragment_invalid", false,
     [] { return udp(at.client, at.west).with_payload(25).as_fragment(0x2000); }},
    {"an inner one of a fragmented TCP header", "fragment_invalid", true,
     [] { return from_west(tcp(at.west, at.client).with_payload(12).as_fragment(0x2000)); },
     [](FrameBytes& frame) {
       frame[14 + 36 + 14 + 20 + 12] = 0x90;  // data offset beyond the fragment
     }},
    {"ICMPv6 over IPv4", "unsupported_l4", false, [] { return portless(at.client.address, at.west.address, 58); }},
    {"an IPv6 extension header over IPv4", "unsupported_l4", false,
     [] { return portless(at.client.address, at.west.address, 44); }},
    {"an ICMP message that is no echo", "unsupported_icmp", false,
     [] {
       PacketSpec p = echo_request(at.client.address, at.west.address, 1);
       p.icmp_type = 13;
       return p;
     }},
    {"an ICMP error about a service's packet of an unknown connection", "unsupported_icmp", true,
     [] {
       return from_west(
           icmp_error(at.west.address, at.client.address, 3, 3, udp(at.client, at.remote_service).ip_bytes()));
     }},
    {"a pod's ICMP error about a packet to another one", "icmp_reporter", false,
     [] { return icmp_error(at.local_backend.address, at.west.address, 3, 3, udp(at.west, at.client).ip_bytes()); }},
    {"VXLAN flags with reserved bits", "tunnel_header", true,
     [] {
       PacketSpec p = from_west(tcp(at.west, at.client));
       p.tunnel->flags = 0x88000000;
       return p;
     }},
    {"the reserved byte behind the VNI", "tunnel_header", true,
     [] {
       PacketSpec p = from_west(tcp(at.west, at.client));
       p.tunnel->low_byte = 1;
       return p;
     }},
    {"a tunnel packet from an unknown peer", "unknown_peer", true,
     [] { return tcp(at.west, at.client).in_tunnel(Actors::ip("192.0.2.99"), at.gateway, kWestIdentity); }},
    {"VNI 1", "vni_host", true, [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, 1); }},
    {"VNI 0", "vni_scoped", true, [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, 0); }},
    {"an aggregate identity that only policy maps use", "vni_scoped", true,
     [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, 11); }},
    {"an unassigned reserved identity", "vni_scoped", true,
     [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, 99); }},
    {"an identity without cluster bits", "vni_scoped", true,
     [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, 300); }},
    {"a scoped identity truncated to 24 bits", "vni_scoped", true,
     [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, 0x0200'0123 & 0xff'ffff); }},
    {"west's gateway sends an identity of north", "vni_cluster", true,
     [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, kNorthIdentity); }},
    {"west's gateway with a source of north", "source_outside_cluster", true,
     [] { return from_west(tcp(at.north, at.client)); }},
    {"an identity other than the endpoint's", "identity_mismatch", true,
     [] { return tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, kWestIdentity + 1); }},
    {"a local packet with a remote source", "foreign_source", false, [] { return tcp(at.north, at.west); }},
    {"source and destination equal", "martian", false, [] { return tcp(at.client, at.client); }},
    {"a multicast destination", "martian", false, [] { return udp(at.client, other(at.west, "224.0.0.1")); }},
    {"a pod that sends to the tunnel port", "tunnel_in_tunnel", false,
     [] {
       return udp(at.client, {at.west.address, 8472});
     }},
    {"to a cluster that is not linked", "not_linked", false, [] { return tcp(at.client, at.south); }},
    {"from a cluster that is not linked", "not_linked", true,
     [] { return tcp(at.south, at.client).in_tunnel(at.south_gateway, at.gateway, 4 << 16 | 1); }},
    {"a VIP on another port", "no_frontend", false,
     [] {
       return tcp(at.client, {at.remote_service.address, 81});
     }},
    {"a VIP on UDP", "no_frontend", false, [] { return udp(at.client, at.remote_service); }},
    {"an address in no cluster", "no_route", false, [] { return tcp(at.client, other(at.west, "10.9.0.1")); }},
    {"a cluster without a live gateway", "no_live_gateway", false,
     [] { return tcp(at.client, other(at.west, "10.5.0.1")); }},
    {"the translation address without a connection", "no_mapping", false,
     [] {
       return tcp(at.local_backend, {at.translation, 33333}, kAck);
     }},
    {"a tunnel packet between two other clusters", "transit", true,
     [] { return tcp(at.north, at.west).in_tunnel(at.north_gateway, at.gateway, kNorthIdentity); }},
    {"a VIP of ours with a backend of a third cluster", "transit", true,
     [] { return tcp(at.north, at.remote_service).in_tunnel(at.north_gateway, at.gateway, kNorthIdentity); }},
    {"a tunnel packet from the local side", "tunnel_in_tunnel", false,
     [] { return from_west(tcp(at.west, at.client)); }},
    {"a probe from the local side", "tunnel_in_tunnel", false,
     [] {
       return udp({at.west_gateway, 4239}, {at.gateway, 4239}).in_tunnel(at.west_gateway, at.gateway, 4);
     }},
    {"an IPv4-mapped IPv6 source", "martian", false, [] { return tcp(at.client6, at.west6); },
     [](FrameBytes& frame) {
       const std::uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 10};
       std::copy(std::begin(mapped), std::end(mapped), frame.begin() + 14 + 8);
     }},
    {"congestion on a packet without ECN", "ecn_not_capable", true,
     [] {
       PacketSpec p = from_west(tcp(at.west, at.client));
       p.tunnel->ecn = 3;
       return p;
     }},
    {"congestion on an IPv6 packet without ECN", "ecn_not_capable", true,
     [] {
       PacketSpec p = from_west(tcp(at.west6, at.client6));
       p.tunnel->ecn = 3;
       return p;
     }},
    {"TTL 1", "ttl_exceeded", true, [] { return from_west(tcp(at.west, at.client).with_ttl(1)); }},
    {"hop limit 1", "ttl_exceeded", true, [] { return from_west(tcp(at.west6, at.client6).with_ttl(1)); }},
    {"too long for the tunnel, with DF", "oversize", false,
     [] { return tcp(at.client, at.west).with_payload(1430).with_df(); }},
    {"VNI 4 without a probe", "probe", true,
     [] {
       return udp({at.west_gateway, 4239}, {at.gateway, 4239})
           .with_payload(12)
           .in_tunnel(at.west_gateway, at.gateway, 4);
     }},
};

TEST(Drops, EachRowIncreasesOnlyItsOwnCounter) {
  for (const Row& row : kRows) {
    PathRig rig;
    const PacketSpec packet = row.packet();
    FrameBytes bytes = packet.bytes();
    if (row.damage != nullptr) {
      row.damage(bytes);
    }
    const Outcome outcome = rig.raw(row.underlay, bytes);
    const std::map<std::string, std::uint64_t> expected{{row.reason, 1}};
    EXPECT_EQ(outcome.drops, expected) << row.description << "\n" << packet.scapy() << "\n" << outcome.text();
    const std::string reason = row.reason;
    const bool after_admission = reason == "ttl_exceeded" || reason == "oversize";
    EXPECT_EQ(outcome.out.size(), after_admission ? 1u : 0u) << row.description << "\n" << outcome.text();
    EXPECT_EQ(rig.flows().empty(), !after_admission) << row.description;
  }
}

TEST(Drops, AFrameThatIsNotIpIsUnsupported) {
  PathRig rig;
  FrameBytes arp(60, 0);
  arp[12] = 0x08, arp[13] = 0x06;
  EXPECT_EQ(rig.raw(false, arp).drops, (std::map<std::string, std::uint64_t>{{"unsupported_l2", 1}}));
}

TEST(Drops, AFrameTruncatedAnywhereIsDroppedOnce) {
  PathRig rig;
  for (const FrameBytes& whole :
       {from_west(tcp(at.west, at.client).with_payload(20)).bytes(),
        from_west(udp(at.west6, at.client6).with_payload(20)).bytes(),
        from_west(icmp_error(at.west.address, at.client.address, 3, 3, udp(at.client, at.west).ip_bytes())).bytes()}) {
    for (std::size_t length = 0; length < whole.size(); ++length) {
      const Outcome outcome =
          rig.raw(true, FrameBytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
      EXPECT_TRUE(outcome.out.empty()) << length;
      EXPECT_EQ(outcome.drops.size(), 1u) << length;
    }
  }
}

TEST(Drops, AnUnknownSourceIsAcceptedForTheConfiguredTimeOnly) {
  PathRig::Options options;
  options.engine.unknown_endpoint_hold = Seconds{0};
  PathRig without_hold(options);
  const Endpoint fresh{Actors::ip("10.2.0.200"), 1};
  EXPECT_EQ(without_hold.from_underlay(from_west(tcp(fresh, at.client))).drops,
            (std::map<std::string, std::uint64_t>{{"unknown_source", 1}}));
  options.engine.unknown_endpoint_hold = Seconds{3600};
  PathRig with_hold(options);
  EXPECT_EQ(with_hold.from_underlay(from_west(tcp(fresh, at.client))).out.size(), 1u);
}

TEST(Drops, AnEstablishedFlowOfAnUnknownSourceEndsAfterTheHoldTime) {
  PathRig::Options options;
  options.engine.unknown_endpoint_hold = Seconds{1};
  PathRig rig(options);
  const Endpoint fresh{Actors::ip("10.2.0.200"), 1};
  EXPECT_EQ(rig.from_underlay(from_west(tcp(fresh, at.client))).out.size(), 1u);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  Outcome last;
  while (last.drops.empty() && std::chrono::steady_clock::now() < deadline) {
    last = rig.from_underlay(from_west(tcp(fresh, at.client, kAck)));
  }
  EXPECT_EQ(last.drops, (std::map<std::string, std::uint64_t>{{"unknown_source", 1}}));
}

TEST(Drops, ThePreviousIdentityIsAcceptedOnlyDuringTheGracePeriod) {
  for (const bool grace : {true, false}) {
    PathRig::Options options;
    options.engine.identity_grace = Seconds{grace ? 3600u : 0u};
    PathRig rig(options);
    const EndpointEntry changed{Realm{0}, at.west.address, ClusterId{2}, Identity{kWestIdentity + 7}, kNoPeer};
    rig.engine().upsert_endpoints({&changed, 1});
    const Outcome old_identity = rig.from_underlay(from_west(tcp(at.west, at.client)));
    if (grace) {
      EXPECT_EQ(old_identity.out.size(), 1u);
    } else {
      EXPECT_EQ(old_identity.drops, (std::map<std::string, std::uint64_t>{{"identity_mismatch", 1}}));
    }
  }
}

TEST(Drops, AnIdentityChangeReachesEstablishedFlows) {
  PathRig::Options options;
  options.engine.identity_grace = Seconds{0};
  PathRig rig(options);
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client))).out.size(), 1u);
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client, kAck))).out.size(), 1u);
  const EndpointEntry changed{Realm{0}, at.west.address, ClusterId{2}, Identity{kWestIdentity + 7}, kNoPeer};
  rig.engine().upsert_endpoints({&changed, 1});
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client, kAck))).drops,
            (std::map<std::string, std::uint64_t>{{"identity_mismatch", 1}}));
}

TEST(Drops, AConnectionEndsWhenItsSourceEndpointIsRemoved) {
  PathRig rig;
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client))).out.size(), 1u);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west, kSyn | kAck)).out.size(), 1u);
  rig.engine().remove_endpoints(Realm{0}, {&at.west.address, 1});
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client, kAck))).drops,
            (std::map<std::string, std::uint64_t>{{"source_removed", 1}}));
  rig.engine().remove_endpoints(Realm{0}, {&at.client.address, 1});
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west, kAck)).drops,
            (std::map<std::string, std::uint64_t>{{"source_removed", 1}}));
}

TEST(Drops, UnlinkingAClusterStopsItsEstablishedFlows) {
  PathRig rig;
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west)).out.size(), 1u);
  rig.set_clusters({PathRig::kWestGateway}, false);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west, kAck)).drops,
            (std::map<std::string, std::uint64_t>{{"not_linked", 1}}));
}

TEST(Drops, MidstreamTcpFollowsItsPolicy) {
  PathRig::Options options;
  options.engine.midstream = MidstreamPolicy::kDrop;
  PathRig dropping(options);
  EXPECT_EQ(dropping.from_local(tcp(at.client, at.west, kAck)).drops,
            (std::map<std::string, std::uint64_t>{{"midstream", 1}}));
  PathRig loose;
  EXPECT_EQ(loose.from_local(tcp(at.client, at.west, kAck)).out.size(), 1u);
}

TEST(Drops, NoBackendIsAnsweredWithPortUnreachableAsInCilium) {
  PathRig rig;
  const Outcome outcome = rig.from_local(tcp(at.client, at.empty_service).with_payload(100));
  EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"no_live_backend", 1}}));
  const Output error = outcome.only();
  EXPECT_FALSE(error.underlay);
  EXPECT_EQ(error.packet.icmp_type, 3);
  EXPECT_EQ(error.packet.icmp_code, 3);
  EXPECT_EQ(error.packet.ttl, 64);
  EXPECT_EQ(error.packet.source, at.empty_service.address);
  EXPECT_EQ(error.packet.destination, at.client.address);
  EXPECT_EQ(error.packet.quoted.size(), 64u);
}

TEST(Drops, AnOversizePacketFromEitherSideIsAnsweredWithTheMtu) {
  PathRig rig;
  const Outcome v4 = rig.from_local(tcp(at.client, at.remote_service).with_payload(1440).with_df());
  EXPECT_EQ(v4.drops, (std::map<std::string, std::uint64_t>{{"oversize", 1}}));
  EXPECT_EQ(v4.only().packet.icmp_code, 4);
  EXPECT_EQ(v4.only().packet.icmp_rest, 1450u);
  EXPECT_EQ(v4.only().packet.source, at.remote_service.address) << "the address that the sender used";

  const Outcome v6 = rig.from_local(tcp(at.client6, at.west6).with_payload(1440));
  EXPECT_EQ(v6.only().packet.icmp_type, 2);
  EXPECT_EQ(v6.only().packet.icmp_rest, 1450u);

  PathRig::Options narrow;
  narrow.local_mtu = Bytes{1000};
  PathRig narrow_rig(narrow);
  const Outcome back = narrow_rig.from_underlay(from_west(tcp(at.west, at.client).with_payload(1200).with_df()));
  EXPECT_TRUE(back.only().underlay);
  EXPECT_EQ(back.only().packet.outer_destination, at.west_gateway);
  EXPECT_EQ(back.only().packet.vni, 6u);
  EXPECT_EQ(back.only().packet.icmp_rest, 1000u);
}

TEST(Drops, ASynReopensAClosingConnectionOnceItsSenderIsValidated) {
  for (const std::uint8_t end : {kRst, kFin}) {
    PathRig rig;
    ASSERT_EQ(rig.from_local(tcp(at.client, at.west)).out.size(), 1u);
    ASSERT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client, kSyn | kAck))).out.size(), 1u);
    ASSERT_EQ(rig.from_local(tcp(at.client, at.west, kAck)).out.size(), 1u);
    ASSERT_EQ(rig.from_local(tcp(at.client, at.west, end | kAck)).out.size(), 1u);
    const PacketSpec forged = tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, kWestIdentity + 1);
    EXPECT_EQ(rig.from_underlay(forged).drops, (std::map<std::string, std::uint64_t>{{"identity_mismatch", 1}}));
    ASSERT_EQ(rig.flows().size(), 1u) << "an unvalidated SYN removes nothing";
    EXPECT_EQ(rig.from_local(tcp(at.client, at.west)).out.size(), 1u);
    ASSERT_EQ(rig.flows().size(), 1u);
    EXPECT_EQ(rig.flows()[0].forward_packets, 1u) << "a new connection, not the old one";
    EXPECT_FALSE(rig.flows()[0].closing);
  }
}

TEST(Drops, AResetOpensNoConnection) {
  PathRig rig;
  const PacketSpec reset = tcp(at.west, at.client, kRst).in_tunnel(at.west_gateway, at.gateway, kWestIdentity);
  EXPECT_EQ(rig.from_underlay(reset).drops, (std::map<std::string, std::uint64_t>{{"midstream", 1}}));
  EXPECT_TRUE(rig.flows().empty());
}

TEST(Drops, ALocalBackendNeedsATranslationAddressOfItsFamily) {
  const Endpoint backend6{at.client6.address, 8080};
  const Endpoint client{Actors::ip("fd00:1::99"), 4};
  for (const bool configured : {true, false}) {
    PathRig::Options options;
    options.translation6 = configured;
    PathRig rig(options);
    rig.set_backends(at.service6, 5, {backend(4, backend6, 1)}, {0});
    const Outcome outcome = rig.from_local(tcp(client, at.service6));
    if (configured) {
      EXPECT_EQ(outcome.only().packet.source, at.translation6);
    } else {
      EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"no_translation_address", 1}}));
    }
  }
}

TEST(Drops, AFrameWithoutHeadroomIsNotEncapsulated) {
  // A packet forwarded from tunnel to tunnel reuses the space of the header it came with, so a received frame never
  // lacks headroom. Therefore push_tunnel() is called directly, with a frame at the start of its chunk.
  PathRig::Options options;
  FramePool::Options memory;
  memory.chunks = 4;
  memory.chunk_bytes = 2048;
  memory.pages = FramePages::kOrdinary;
  auto pool = FramePool::create(memory);
  ASSERT_TRUE(pool);
  SharedState shared(EngineOptions{}, 1);
  FlowTable::Options table;
  table.keep_state = false;
  table.connections = 64;
  auto flows = FlowTable::open(table, shared.quiescence);
  ASSERT_TRUE(flows);
  shared.flows = std::move(*flows);
  shared.adjacencies.set_device(DeviceId{0}, MacAddress{}, Bytes{1500});
  Mailbox mailbox;
  FlowEventQueue flow_events(1);
  PathContext context(shared, WorkerId{0}, **pool, mailbox, flow_events);
  Snapshot snapshot;
  PeerEntry peer{PeerId{1}, ClusterId{2}, at.west_gateway, L4Port{8472}, AdjacencyId{1}, true};
  snapshot.peers = build_peers({peer}, tunnel_end(at.gateway));
  context.snapshot = &snapshot;
  Frame frame;
  frame.chunk = (*pool)->allocate();
  frame.data = (*pool)->chunk_start(frame.chunk);
  const auto drop =
      push_tunnel(context.output, frame, frame.data + 14, 40, Family::kIpv4, PeerId{1}, Vni{5}, std::uint16_t{0});
  EXPECT_EQ(drop, DropReason::kHeadroom);
}

TEST(Drops, AFullTransmitRingDropsPackets) {
  PathRig rig;
  (void)rig.from_local(tcp(at.client, at.west));
  const FrameBytes frame = tcp(at.client, at.west, kAck).bytes();
  for (std::uint32_t i = 0; i < 3 * MemoryDevice::kLaneFrames; ++i) {
    if (!rig.local().inject(frame)) {
      rig.engine().run_round(WorkerId{0});
      EXPECT_TRUE(rig.local().inject(frame));
    }
    rig.engine().run_round(WorkerId{0});
  }
  std::uint64_t full = 0;
  for (const DropCount& drop : rig.counters().drops) {
    full += drop.name == "tx_full" ? drop.packets : 0;
  }
  EXPECT_GT(full, 0u);
}

TEST(Drops, AConnectionWithoutAFreeTranslationPortIsDropped) {
  PathRig::Options options;
  options.engine.translation_first = 40000;
  options.engine.translation_last = 40003;
  PathRig rig(options);
  for (std::uint16_t i = 0; i < 4; ++i) {
    EXPECT_EQ(
        rig.from_local(tcp({at.client.address, static_cast<std::uint16_t>(50000 + i)}, at.local_service)).out.size(),
        1u);
  }
  EXPECT_EQ(rig.from_local(tcp({at.client.address, 51000}, at.local_service)).drops,
            (std::map<std::string, std::uint64_t>{{"translation_exhausted", 1}}));
}

TEST(Drops, ANewConnectionIsDroppedWhenTheTableIsFull) {
  PathRig::Options options;
  options.engine.connections = 64;
  options.engine.half_open_limit = 64;
  PathRig rig(options);
  Outcome last;
  for (std::uint16_t i = 0; i < 400 && last.drops.empty(); ++i) {
    const Endpoint client{at.client.address, static_cast<std::uint16_t>(1000 + i)};
    last = rig.from_local(tcp(client, at.west));
  }
  EXPECT_EQ(last.drops, (std::map<std::string, std::uint64_t>{{"table_full", 1}}));
}

TEST(Drops, OnePacketWaitsForAnUnresolvedNeighbour) {
  PathRig::Options options;
  options.local_routes_on_link = true;
  PathRig rig(options);
  EXPECT_TRUE(rig.from_underlay(from_west(tcp(at.west, at.client))).out.empty());
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client, kAck))).drops,
            (std::map<std::string, std::uint64_t>{{"neighbour_unresolved", 1}}));
  const EngineEvents events = rig.engine().poll_events();
  ASSERT_EQ(events.neighbours.size(), 1u);
  EXPECT_EQ(events.neighbours[0].address, at.client.address);
  const AdjacencyId hop = rig.engine().adjacency(events.neighbours[0].device, events.neighbours[0].address);
  rig.engine().set_adjacency(hop, MacAddress::parse("02:00:00:00:00:99"));
  const Output waited = rig.idle().only();
  EXPECT_EQ(waited.packet.destination_mac, "02:00:00:00:00:99");
}

}  // namespace
}  // namespace isthmus::test
