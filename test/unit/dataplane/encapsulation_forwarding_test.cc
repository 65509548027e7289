// Forwarding as rows: inner family × underlay × encapsulation × direction × service or pod × protocol. The packets that
// leave are dissected with every length and checksum, the outer UDP checksum over IPv6 included.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/ecn_cells.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

using Kind = EncapsulationKind;

struct Fabric {
  Kind kind;
  Family underlay;
};
std::string name_of(const Fabric& fabric) {
  return std::string(encapsulation_info(fabric.kind).name) + " over IPv" +
         std::to_string(static_cast<unsigned>(fabric.underlay));
}
std::vector<Fabric> fabrics() {
  std::vector<Fabric> all;
  for (const Kind kind : {Kind::kVxlan, Kind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      all.push_back({kind, underlay});
    }
  }
  return all;
}
PathRig::Options options_of(const Fabric& fabric) {
  PathRig::Options options;
  options.kind = fabric.kind;
  options.underlay = fabric.underlay;
  return options;
}

enum class L4 { kTcp, kUdp, kUdpWithoutChecksum, kEcho };
constexpr L4 kAllL4[] = {L4::kTcp, L4::kUdp, L4::kUdpWithoutChecksum, L4::kEcho};
const char* name_of(L4 l4) {
  constexpr const char* kNames[] = {"tcp", "udp", "udp without checksum", "echo"};
  return kNames[static_cast<std::size_t>(l4)];
}

// A request or its reply.
PacketSpec packet_of(L4 l4, const Endpoint& from, const Endpoint& to, bool reply) {
  switch (l4) {
    case L4::kTcp:
      return tcp(from, to, reply ? kSyn | kAck : kSyn).with_payload(33);
    case L4::kUdp:
      return udp(from, to).with_payload(33);
    case L4::kUdpWithoutChecksum:
      return udp(from, to).with_payload(33).without_udp_checksum();
    case L4::kEcho:
      break;
  }
  return reply ? echo_reply(from.address, to.address, to.port).with_payload(33)
               : echo_request(from.address, to.address, from.port).with_payload(33);
}

struct Row {
  Fabric fabric;
  Family inner;
  L4 l4;
  bool service;  // through a VIP; only TCP has one here
  [[nodiscard]] std::string text() const {
    return name_of(fabric) + ", inner IPv" + std::to_string(static_cast<unsigned>(inner)) + " " + name_of(l4) +
           (service ? " to a service" : " to a pod");
  }
};
std::vector<Row> rows() {
  std::vector<Row> all;
  for (const Fabric& fabric : fabrics()) {
    for (const Family inner : {Family::kIpv4, Family::kIpv6}) {
      for (const L4 l4 : kAllL4) {
        all.push_back({fabric, inner, l4, false});
      }
      all.push_back({fabric, inner, L4::kTcp, true});
    }
  }
  return all;
}

// Expectations on a packet in a tunnel from the gateway to west's.
void expect_to_west(const PathRig& rig, const Fabric& fabric, const Output& out) {
  EXPECT_TRUE(out.underlay);
  const Dissected& p = out.packet;
  ASSERT_TRUE(p.tunnelled) << p.text();
  EXPECT_EQ(p.outer_kind, fabric.kind);
  EXPECT_EQ(p.outer_source, rig.at.gateway);
  EXPECT_EQ(p.outer_destination, rig.at.west_gateway);
  EXPECT_EQ(p.outer_source.family(), fabric.underlay);
  EXPECT_EQ(p.outer_port, encapsulation_info(fabric.kind).default_port.value());
  EXPECT_GE(p.outer_source_port, 0xc000);
  EXPECT_EQ(p.outer_ttl, 64);
  EXPECT_EQ(p.outer_df, fabric.underlay == Family::kIpv4) << "it must not be fragmented on its way";
  EXPECT_EQ(p.destination_mac, "02:00:00:00:00:fe");
  EXPECT_EQ(p.source_mac, "02:00:00:00:00:01");
}

void expect_counted(const PathRig& rig, std::uint64_t encapsulated, std::uint64_t decapsulated) {
  EXPECT_EQ(rig.counters().encapsulated, encapsulated);
  EXPECT_EQ(rig.counters().decapsulated, decapsulated);
}

TEST(EncapsulationForwarding, APodsRequestAndItsReply) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.text());
    PathRig rig(options_of(row.fabric));
    const Actors& at = rig.at;
    const bool v4 = row.inner == Family::kIpv4;
    const Endpoint client = v4 ? at.client : at.client6, server = v4 ? at.west : at.west6;
    const Endpoint vip = v4 ? at.remote_service : at.service6, asked = row.service ? vip : server;
    for (const bool settled : {false, true}) {  // decided by the slow path, then forwarded by the fast one
      SCOPED_TRACE(settled ? "settled" : "first");
      PacketSpec request = packet_of(row.l4, client, asked, false).with_ttl(17);
      PacketSpec reply = packet_of(row.l4, server, client, true).with_ttl(9);
      if (settled && row.l4 == L4::kTcp) {
        request.flags = reply.flags = kAck;
      }
      const Output out = rig.from_local(request).only();
      expect_to_west(rig, row.fabric, out);
      EXPECT_EQ(out.packet.vni, kClientIdentity);
      EXPECT_EQ(out.packet.ttl, 17) << "entering the tunnel does not decrement the TTL";
      EXPECT_EQ(out.packet.source, client.address);
      EXPECT_EQ(out.packet.destination, server.address);
      EXPECT_EQ(out.packet.payload, 33u);

      const Output back = rig.from_underlay(rig.tunnelled(reply, at.west_gateway, kWestIdentity)).only();
      EXPECT_FALSE(back.underlay);
      EXPECT_FALSE(back.packet.tunnelled);
      EXPECT_EQ(back.packet.ttl, 8);
      EXPECT_EQ(back.packet.source, asked.address);
      EXPECT_EQ(back.packet.destination, client.address);
      EXPECT_EQ(back.packet.payload, 33u);
    }
    expect_counted(rig, 2, 2);
  }
}

TEST(EncapsulationForwarding, ARemotePodsRequestAndItsReply) {
  for (const Row& row : rows()) {
    if (row.service) {
      continue;  // senders choose the backend
    }
    SCOPED_TRACE(row.text());
    PathRig rig(options_of(row.fabric));
    const Actors& at = rig.at;
    const bool v4 = row.inner == Family::kIpv4;
    const Endpoint client = v4 ? at.west : at.west6, server = v4 ? at.client : at.client6;
    for (const bool settled : {false, true}) {
      SCOPED_TRACE(settled ? "settled" : "first");
      PacketSpec request = packet_of(row.l4, client, server, false).with_ttl(17);
      PacketSpec reply = packet_of(row.l4, server, client, true).with_ttl(9);
      if (settled && row.l4 == L4::kTcp) {
        request.flags = reply.flags = kAck;
      }
      const Output in = rig.from_underlay(rig.tunnelled(request, at.west_gateway, kWestIdentity)).only();
      EXPECT_FALSE(in.underlay);
      EXPECT_EQ(in.packet.source, client.address);
      EXPECT_EQ(in.packet.destination, server.address);
      EXPECT_EQ(in.packet.ttl, 16);
      const Output back = rig.from_local(reply).only();
      expect_to_west(rig, row.fabric, back);
      EXPECT_EQ(back.packet.vni, kClientIdentity);
      EXPECT_EQ(back.packet.source, server.address);
      EXPECT_EQ(back.packet.destination, client.address);
    }
    expect_counted(rig, 2, 2);
  }
}

TEST(EncapsulationForwarding, TheLongestPacketFitsAndALongerOneIsAnsweredWithTheMtu) {
  for (const Fabric& fabric : fabrics()) {
    SCOPED_TRACE(name_of(fabric));
    PathRig rig(options_of(fabric));
    const Actors& at = rig.at;
    const std::uint32_t mtu = 1500 - encapsulation_overhead(fabric.kind, fabric.underlay).value();
    EXPECT_EQ(mtu, fabric.underlay == Family::kIpv4 ? 1450u : 1430u);
    const Output out = rig.from_local(tcp(at.client, at.west).with_df().with_payload(mtu - 40)).only();
    EXPECT_EQ(out.bytes.size(), 1514u);
    const Outcome too_long = rig.from_local(tcp(at.client, at.west).with_df().with_payload(mtu - 39));
    EXPECT_EQ(too_long.drops, (std::map<std::string, std::uint64_t>{{"oversize", 1}}));
    const Output error = too_long.only();
    EXPECT_FALSE(error.underlay);
    EXPECT_EQ(error.packet.icmp_type, 3);
    EXPECT_EQ(error.packet.icmp_rest, mtu);
    const Outcome too_long6 = rig.from_local(tcp(at.client6, at.west6).with_payload(mtu - 59));
    EXPECT_EQ(too_long6.only().packet.icmp_type, 2);
    EXPECT_EQ(too_long6.only().packet.icmp_rest, mtu);
  }
}

TEST(EncapsulationForwarding, AnErrorToARemotePodGoesThroughItsTunnel) {
  for (const Fabric& fabric : fabrics()) {
    SCOPED_TRACE(name_of(fabric));
    PathRig::Options options = options_of(fabric);
    options.local_mtu = Bytes{1300};
    PathRig rig(options);
    const Actors& at = rig.at;
    for (const auto& [from, to] : {std::pair{at.west, at.client}, {at.west6, at.client6}}) {
      PacketSpec large = tcp(from, to).with_df().with_payload(1350);
      const Outcome outcome = rig.from_underlay(rig.tunnelled(large, at.west_gateway, kWestIdentity));
      EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"oversize", 1}}));
      const Output error = outcome.only();
      expect_to_west(rig, fabric, error);
      EXPECT_EQ(error.packet.vni, 6u) << "remote node";
      EXPECT_EQ(error.packet.destination, from.address);
      EXPECT_EQ(error.packet.icmp_rest, 1300u);
    }
  }
}

TEST(EncapsulationForwarding, EcnIsCopiedToTheOuterHeaderAndMergedBackIntoTheInnerOne) {
  for (const Fabric& fabric : fabrics()) {
    for (const bool v4 : {true, false}) {
      SCOPED_TRACE(name_of(fabric) + (v4 ? ", inner IPv4" : ", inner IPv6"));
      PathRig rig(options_of(fabric));
      const Endpoint client = v4 ? rig.at.client : rig.at.client6, server = v4 ? rig.at.west : rig.at.west6;
      for (std::uint8_t ecn = 0; ecn < 4; ++ecn) {
        const Output out = rig.from_local(tcp(client, server, kAck).with_ecn(ecn)).only();
        EXPECT_EQ(out.packet.outer_tos, ecn);
        PacketSpec in = rig.tunnelled(tcp(server, client, kAck).with_ecn(ecn), rig.at.west_gateway, kWestIdentity);
        for (std::uint8_t outer = 0; outer < 4; ++outer) {
          in.tunnel->ecn = outer;
          const Outcome back = rig.from_underlay(in);
          if (kEcnMerged[ecn][outer] == kEcnLost) {
            EXPECT_EQ(back.drops, (std::map<std::string, std::uint64_t>{{"ecn_not_capable", 1}}));
          } else {
            EXPECT_EQ(back.only().packet.ecn, kEcnMerged[ecn][outer]) << unsigned{ecn} << " under " << unsigned{outer};
          }
        }
      }
    }
  }
}

// A tunnel packet whose outer header ends before the inner packet begins; that one, in what follows, claims bytes that
// are not in the frame.
TEST(EncapsulationForwarding, AnInnerPacketBehindTheOuterOneIsMalformed) {
  for (std::uint8_t udp = 0; udp < 70; ++udp) {
    PathRig rig;
    const Actors& at = rig.at;
    FrameBytes frame = rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity).bytes();
    constexpr std::size_t kIp = 14, kUdp = kIp + 20, kInnerIp = kUdp + 8 + 8 + 14;
    frame[kIp + 2] = 0;
    frame[kIp + 3] = static_cast<std::uint8_t>(20 + udp);
    frame[kUdp + 4] = 0;
    frame[kUdp + 5] = udp;
    frame[kInnerIp + 2] = 1400 >> 8;
    frame[kInnerIp + 3] = 1400 & 0xff;
    const Outcome outcome = rig.raw(true, frame);
    EXPECT_TRUE(outcome.out.empty()) << unsigned{udp};
    EXPECT_EQ(outcome.drops.size(), 1u) << unsigned{udp};
  }
}

TEST(EncapsulationForwarding, ProbesAreSentAnsweredAndTheirAnswersReported) {
  for (const Fabric& fabric : fabrics()) {
    SCOPED_TRACE(name_of(fabric));
    PathRig rig(options_of(fabric));
    const Actors& at = rig.at;
    ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, 41, false));
    const Output probe = rig.idle().only();
    expect_to_west(rig, fabric, probe);
    EXPECT_EQ(probe.packet.vni, 4u);
    EXPECT_EQ(probe.packet.source, at.gateway);
    EXPECT_EQ(probe.packet.destination, at.west_gateway);
    EXPECT_EQ(probe.packet.destination_port, 4239);
    // What west would send: addresses swapped in both headers, which leaves every checksum as it is.
    const bool v4 = fabric.underlay == Family::kIpv4;
    const auto swapped = [&](FrameBytes frame) {
      const std::ptrdiff_t bytes = v4 ? 4 : 16, outer = v4 ? 14 + 12 : 14 + 8;
      const std::ptrdiff_t inner = outer + (v4 ? 20 : 40) + 8 + 8 + 14;
      for (const std::ptrdiff_t from : {outer, inner}) {
        std::swap_ranges(frame.begin() + from, frame.begin() + from + bytes, frame.begin() + from + bytes);
      }
      return frame;
    };
    const Output answer = rig.raw(true, swapped(probe.bytes)).only();
    expect_to_west(rig, fabric, answer);
    EXPECT_EQ(answer.packet.vni, 4u);
    EXPECT_TRUE(rig.raw(true, swapped(answer.bytes)).out.empty());
    const EngineEvents events = rig.engine().poll_events();
    ASSERT_EQ(events.probe_answers.size(), 1u);
    EXPECT_EQ(events.probe_answers[0].peer, PathRig::kWestGateway);
    EXPECT_EQ(events.probe_answers[0].sequence, 41u);
  }
}

TEST(EncapsulationForwarding, BytesBehindTheInnerPacketAreLeftOut) {
  for (const Fabric& fabric : fabrics()) {
    for (const std::size_t padding : {1u, 18u}) {
      SCOPED_TRACE(name_of(fabric));
      PathRig rig(options_of(fabric));
      PacketSpec padded =
          rig.tunnelled(tcp(rig.at.west, rig.at.client).with_payload(7), rig.at.west_gateway, kWestIdentity);
      padded.tunnel->padding = padding;
      EXPECT_EQ(rig.from_underlay(padded).only().bytes.size(), 14u + 40 + 7);
      FrameBytes ethernet_padding =
          rig.tunnelled(tcp(rig.at.west, rig.at.client, kAck), rig.at.west_gateway, kWestIdentity).bytes();
      ethernet_padding.resize(ethernet_padding.size() + padding, 0x77);
      const FrameBytes sent = rig.raw(true, ethernet_padding).only().bytes;
      EXPECT_EQ(sent.size(), kShortestFrame);
      EXPECT_TRUE(std::all_of(sent.begin() + 14 + 40, sent.end(), [](std::uint8_t byte) { return byte == 0; }));
    }
  }
}

TEST(EncapsulationForwarding, GeneveOptionsAreSkipped) {
  for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
    PathRig rig(options_of({Kind::kGeneve, underlay}));
    PacketSpec in = rig.tunnelled(tcp(rig.at.west, rig.at.client), rig.at.west_gateway, kWestIdentity);
    in.tunnel->options = {0x01, 0x02, 0x03, 0x01, 1, 2, 3, 4};
    EXPECT_EQ(rig.from_underlay(in).only().packet.source, rig.at.west.address);
  }
}

// The peer's own address and kind decide, whatever the other peers have.
TEST(EncapsulationForwarding, PeersOfBothFamiliesAndKindsSideBySide) {
  PathRig::Options options;
  PathRig rig(options);
  TableDelta delta;
  const IpAddress west6 = Actors::ip("2001:db8::2");
  delta.upsert_peers = {
      {PathRig::kWestGateway, ClusterId{2}, west6, L4Port{6081}, AdjacencyId{1}, true, Kind::kGeneve, Kind::kVxlan}};
  EXPECT_FALSE(rig.engine().publish(delta).ok()) << "the gateway has no IPv6 underlay address";

  options.engine.tunnel.ipv6 = Actors::ip("2001:db8::1");
  PathRig both(options);
  ASSERT_TRUE(both.engine().publish(delta).ok());
  const Output to_west = both.from_local(tcp(both.at.client, both.at.west)).only();
  EXPECT_EQ(to_west.packet.outer_kind, Kind::kGeneve);
  EXPECT_EQ(to_west.packet.outer_source, options.engine.tunnel.ipv6);
  EXPECT_EQ(to_west.packet.outer_destination, west6);
  const Output to_north = both.from_local(tcp(both.at.client, both.at.north)).only();
  EXPECT_EQ(to_north.packet.outer_kind, Kind::kVxlan);
  EXPECT_EQ(to_north.packet.outer_destination, both.at.north_gateway);
  // What west sends is of the kind that we announce.
  PacketSpec reply =
      tcp(both.at.west, both.at.client, kSyn | kAck).in_tunnel(west6, options.engine.tunnel.ipv6, kWestIdentity);
  EXPECT_EQ(both.from_underlay(reply).only().packet.source, both.at.west.address);
}

struct DropRow {
  const char* description;
  const char* reason;
  Fabric fabric;
  void (*change)(PacketSpec&);
};

TEST(EncapsulationForwarding, TunnelPacketsThatMustNotPassAreDroppedByName) {
  const Fabric vxlan6{Kind::kVxlan, Family::kIpv6}, geneve{Kind::kGeneve, Family::kIpv4},
      geneve6{Kind::kGeneve, Family::kIpv6};
  const DropRow rows[] = {
      {"no checksum over IPv6", "tunnel_checksum", vxlan6, [](PacketSpec& p) { p.tunnel->udp_checksum = false; }},
      {"unknown peer over IPv6", "unknown_peer", vxlan6,
       [](PacketSpec& p) { p.tunnel->from = Actors::ip("2001:db8::99"); }},
      {"reserved bits over IPv6", "tunnel_header", vxlan6, [](PacketSpec& p) { p.tunnel->flags |= 1; }},
      {"VNI of another cluster over IPv6", "vni_cluster", vxlan6,
       [](PacketSpec& p) { p.tunnel->vni = kNorthIdentity; }},
      {"control message", "tunnel_control", geneve, [](PacketSpec& p) { p.tunnel->flags |= 0x800000; }},
      {"critical option", "tunnel_option", geneve,
       [](PacketSpec& p) {
         p.tunnel->options = {0x01, 0x02, 0x80, 0};
       }},
      {"a DSR option that has been cut", "malformed", geneve6,
       [](PacketSpec& p) { p.tunnel->options = {0x01, 0x4b, 0x81, 2, 10, 0, 0, 1}; }},
      {"a DSR option with an identity beside it", "dsr_option", geneve6,
       [](PacketSpec& p) { p.tunnel->options = {0x01, 0x4b, 0x81, 2, 203, 0, 113, 1, 0, 80, 0, 0}; }},
      {"option longer than all of them", "malformed", geneve6,
       [](PacketSpec& p) {
         p.tunnel->options = {0x01, 0x02, 0x03, 1};
       }},
      {"version 1", "tunnel_header", geneve, [](PacketSpec& p) { p.tunnel->flags |= 0x40000000; }},
      {"IPv4 directly inside", "tunnel_header", geneve, [](PacketSpec& p) { p.tunnel->flags = 0x0800; }},
      {"a VXLAN header on Geneve's port", "tunnel_header", geneve, [](PacketSpec& p) { p.tunnel->flags = 0x08000000; }},
  };
  for (const DropRow& row : rows) {
    SCOPED_TRACE(row.description);
    PathRig rig(options_of(row.fabric));
    PacketSpec packet = rig.tunnelled(tcp(rig.at.west, rig.at.client), rig.at.west_gateway, kWestIdentity);
    row.change(packet);
    const Outcome outcome = rig.from_underlay(packet);
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{row.reason, 1}}));
  }
}

TEST(EncapsulationForwarding, AChangedVniOverIpv6IsNoticed) {
  PathRig rig(options_of({Kind::kVxlan, Family::kIpv6}));
  FrameBytes frame = rig.tunnelled(tcp(rig.at.west, rig.at.client), rig.at.west_gateway, kWestIdentity).bytes();
  frame[14 + 40 + 8 + 6] ^= 1;
  EXPECT_EQ(rig.raw(true, frame).drops, (std::map<std::string, std::uint64_t>{{"tunnel_checksum", 1}}));
}

TEST(EncapsulationForwarding, APacketOfAnotherKindThanThePeersIsDropped) {
  PathRig::Options options;
  options.engine.tunnel.ports = {L4Port{8472}, L4Port{6081}};
  PathRig rig(options);
  PacketSpec packet = tcp(rig.at.west, rig.at.client).in_tunnel(rig.at.west_gateway, rig.at.gateway, kWestIdentity);
  EXPECT_EQ(rig.from_underlay(PacketSpec(packet).as_geneve()).drops,
            (std::map<std::string, std::uint64_t>{{"tunnel_kind", 1}}));
  EXPECT_EQ(rig.from_underlay(packet).out.size(), 1u);
}

TEST(EncapsulationForwarding, ATunnelPacketFromTheLocalDeviceIsNotATunnelPacket) {
  for (const Fabric& fabric : fabrics()) {
    SCOPED_TRACE(name_of(fabric));
    PathRig rig(options_of(fabric));
    const PacketSpec forged = rig.tunnelled(tcp(rig.at.west, rig.at.client), rig.at.west_gateway, kWestIdentity);
    const Outcome outcome = rig.from_local(forged);
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"tunnel_in_tunnel", 1}}));
  }
}

}  // namespace
}  // namespace isthmus::test
