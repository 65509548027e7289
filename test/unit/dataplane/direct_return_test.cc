// Backends behind Cilium nodes with Geneve, which answer clients of ours themselves: the node gets the client's source
// and Cilium's DSR option, and replies are not seen here, or come in the VIP's name.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "test/support/fragments.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/dsr_option.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

constexpr PeerId kOwnNode{9}, kWestNode{10}, kWestOtherNode{11};
constexpr std::uint32_t kOverhead = 50, kOption = 12;  // over IPv4

PathRig::Options asked(bool direct = true) {
  PathRig::Options options;
  options.kind = EncapsulationKind::kGeneve;
  options.engine.direct_return = direct;
  return options;
}

// West is a cluster of Cilium nodes, without a gateway: its pods are at kWestNode. A part of our own cluster's, the
// backend among them, is at kOwnNode.
struct Fleet {
  explicit Fleet(const PathRig::Options& options = asked(), EncapsulationKind nodes = EncapsulationKind::kGeneve)
      : rig(options), at(rig.at) {
    const bool v4 = options.underlay == Family::kIpv4;
    own_node = Actors::ip(v4 ? "192.0.2.50" : "2001:db8::50");
    west_node = Actors::ip(v4 ? "192.0.2.60" : "2001:db8::60");
    const auto west_other_node = Actors::ip(v4 ? "192.0.2.61" : "2001:db8::61");
    TableDelta delta;
    const auto node = [&](PeerId id, std::uint16_t cluster, const IpAddress& address) {
      delta.upsert_peers.push_back({id, ClusterId{cluster}, address, encapsulation_info(nodes).default_port,
                                    AdjacencyId{1}, false, nodes, options.kind});
    };
    node(kOwnNode, 1, own_node);
    node(kWestNode, 2, west_node);
    node(kWestOtherNode, 2, west_other_node);
    delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, AdjacencyId{2}},
                          {*Prefix::parse("fd00:1::/48"), DeviceId{1}, AdjacencyId{2}},
                          {*Prefix::parse("10.1.0.20/32"), DeviceId{0}, AdjacencyId{1}, kOwnNode}};
    EXPECT_TRUE(static_cast<bool>(rig.engine().publish(delta)));
    rig.set_clusters({});
    rig.engine().upsert_endpoints(
        std::vector<EndpointEntry>{{Realm{0}, at.west.address, ClusterId{2}, Identity{kWestIdentity}, kWestNode},
                                   {Realm{0}, at.west6.address, ClusterId{2}, Identity{kWestIdentity}, kWestNode}});
    for (const Endpoint& vip : {at.remote_service, at.service6}) {
      const Endpoint& to = vip.address.is_ipv4() ? at.west : at.west6;
      rig.set_backends(vip, 20, {backend(20, to, 2)}, {0}, IpProtocol::kUdp);
    }
  }

  // What leaves for the backend at the node, with the option or without.
  void expect_sent(const Outcome& outcome, const IpAddress& node, const Endpoint& client, const Endpoint& to,
                   const FrameBytes& options) const {
    const Output out = outcome.only();
    EXPECT_TRUE(out.underlay);
    EXPECT_TRUE(out.packet.tunnelled);
    EXPECT_EQ(out.packet.outer_destination, node) << out.packet.text();
    EXPECT_EQ(out.packet.outer_options, options);
    EXPECT_EQ(out.packet.vni, kClientIdentity);
    EXPECT_EQ(out.packet.source, client.address);
    EXPECT_EQ(out.packet.source_port, client.port);
    EXPECT_EQ(out.packet.destination, to.address);
    EXPECT_EQ(out.packet.destination_port, to.port);
  }
  // The backend of the remote service, or another one, is at that node.
  void place(const Endpoint& pod, PeerId node) {
    rig.engine().upsert_endpoints(
        std::vector<EndpointEntry>{{Realm{0}, pod.address, ClusterId{2}, Identity{kWestIdentity}, node}});
  }
  // What leaves for a client of ours, which has asked for the remote service.
  void expect_to_west(const PacketSpec& spec, const FrameBytes& options) {
    expect_sent(rig.from_local(spec), west_node, at.client, at.west, options);
  }
  [[nodiscard]] FlowRecord flow() const {
    const std::vector<FlowRecord> flows = rig.flows();
    EXPECT_EQ(flows.size(), 1u);
    return flows.empty() ? FlowRecord{} : flows.front();
  }

  PathRig rig;
  Actors at;
  IpAddress own_node, west_node;
  const Endpoint second{Actors::ip("10.2.0.11"), 9000};  // another backend
};

const FrameBytes kNone;

TEST(DirectReturn, TcpHasTheOptionInItsSynsAlone) {
  for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
    PathRig::Options options = asked();
    options.underlay = underlay;
    Fleet f(options);
    for (const bool v4 : {true, false}) {
      SCOPED_TRACE(std::string(v4 ? "IPv4" : "IPv6") + (underlay == Family::kIpv4 ? " over IPv4" : " over IPv6"));
      const Endpoint client = v4 ? f.at.client : f.at.client6, to = v4 ? f.at.west : f.at.west6;
      const Endpoint vip = v4 ? f.at.remote_service : f.at.service6;
      for (unsigned again = 0; again < 2; ++again) {
        f.expect_sent(f.rig.from_local(tcp(client, vip)), f.west_node, client, to, dsr_option(vip));
      }
      for (const int flags : {kAck | 0, kAck | 0, kFin | kAck, kRst | 0}) {
        const PacketSpec later = tcp(client, vip, static_cast<std::uint8_t>(flags)).with_payload(100);
        f.expect_sent(f.rig.from_local(later), f.west_node, client, to, kNone);
      }
    }
  }
}

TEST(DirectReturn, UdpHasItInAllPackets) {
  Fleet f;
  for (const bool v4 : {true, false}) {
    const Endpoint client = v4 ? f.at.client : f.at.client6, to = v4 ? f.at.west : f.at.west6;
    const Endpoint vip = v4 ? f.at.remote_service : f.at.service6;
    for (unsigned packet = 0; packet < 3; ++packet) {
      f.expect_sent(f.rig.from_local(udp(client, vip).with_payload(33)), f.west_node, client, to, dsr_option(vip));
    }
  }
}

TEST(DirectReturn, ABackendOfOurOwnClusterSeesTheClientsAddress) {
  for (const bool direct : {true, false}) {
    Fleet f(asked(direct));
    const Output out = f.rig.from_local(tcp(f.at.client, f.at.local_service)).only();
    EXPECT_EQ(out.packet.outer_destination, f.own_node);
    EXPECT_EQ(out.packet.source, direct ? f.at.client.address : f.at.translation);
    EXPECT_EQ(out.packet.outer_options, direct ? dsr_option(f.at.local_service) : kNone);
    EXPECT_EQ(f.flow().translated_client, direct ? f.at.client.address : f.at.translation);
  }
}

TEST(DirectReturn, ClientsBehindOurNodesTunnelsToo) {
  Fleet f;
  const PacketSpec opening = f.rig.tunnelled(tcp(f.at.client, f.at.remote_service), f.own_node, kClientIdentity);
  f.expect_sent(f.rig.from_underlay(opening), f.west_node, f.at.client, f.at.west, dsr_option(f.at.remote_service));
}

// Its packets go on to the backend that they went to, whatever the ring says since.
TEST(DirectReturn, AClientThatIsBehindAnotherNodeNowKeepsItsBackend) {
  Fleet f;
  const IpAddress other_node = Actors::ip("192.0.2.51");
  const auto client_at = [&](PeerId node) {
    TableDelta delta;
    delta.upsert_peers = {{PeerId{12}, ClusterId{1}, other_node, L4Port{6081}, AdjacencyId{1}, false,
                           EncapsulationKind::kGeneve, EncapsulationKind::kGeneve}};
    delta.local_routes = {{*Prefix::parse("10.1.0.10/32"), DeviceId{0}, AdjacencyId{1}, node}};
    ASSERT_TRUE(f.rig.engine().publish(delta).ok());
  };
  client_at(kOwnNode);
  const PacketSpec opening = f.rig.tunnelled(tcp(f.at.client, f.at.remote_service), f.own_node, kClientIdentity);
  EXPECT_EQ(f.rig.from_underlay(opening).out.size(), 1u);
  f.rig.set_backends(f.at.remote_service, 1, {backend(1, f.at.west, 2), backend(2, f.second, 2)}, {1});
  client_at(PeerId{12});
  const PacketSpec answer = tcp(f.at.remote_service, f.at.client, kSyn | kAck);
  EXPECT_EQ(f.rig.from_underlay(f.rig.tunnelled(answer, f.west_node, kWestIdentity)).only().packet.outer_destination,
            other_node);
  const PacketSpec later = f.rig.tunnelled(tcp(f.at.client, f.at.remote_service, kAck), other_node, kClientIdentity);
  f.expect_sent(f.rig.from_underlay(later), f.west_node, f.at.client, f.at.west, kNone);
}

TEST(DirectReturn, NobodyElseIsAskedToAnswer) {
  const auto option = [](Fleet& f, const PacketSpec& packet) {
    return f.rig.from_local(packet).only().packet.outer_options;
  };
  {
    Fleet f(asked(false));
    EXPECT_EQ(option(f, tcp(f.at.client, f.at.remote_service)), kNone) << "not configured";
  }
  {
    Fleet f(asked(), EncapsulationKind::kVxlan);
    EXPECT_EQ(option(f, tcp(f.at.client, f.at.remote_service)), kNone) << "VXLAN has no options";
  }
  Fleet f;
  EXPECT_EQ(option(f, tcp(f.at.client, f.at.west)), kNone) << "no service";
  const PacketSpec foreign = tcp(f.at.north, f.at.local_service);
  const Outcome outcome = f.rig.from_underlay(f.rig.tunnelled(foreign, f.at.north_gateway, kNorthIdentity));
  EXPECT_EQ(outcome.only().packet.outer_options, kNone) << "a client of another cluster";
  EXPECT_EQ(option(f, tcp({f.at.local_backend.address, 5000}, f.at.local_service)), kNone) << "the client itself";
  f.rig.set_clusters({PathRig::kWestGateway});
  const Output out = f.rig.from_local(tcp({f.at.client.address, 5001}, f.at.remote_service)).only();
  EXPECT_EQ(out.packet.outer_destination, f.at.west_gateway) << "a gateway undoes the translation";
  EXPECT_EQ(out.packet.outer_options, kNone);
}

// What is opened stays with its node.
TEST(DirectReturn, AGatewayThatComesTakesNewConnections) {
  Fleet f;
  f.expect_sent(f.rig.from_local(tcp(f.at.client, f.at.remote_service)), f.west_node, f.at.client, f.at.west,
                dsr_option(f.at.remote_service));
  f.rig.set_clusters({PathRig::kWestGateway});
  f.expect_sent(f.rig.from_local(tcp(f.at.client, f.at.remote_service, kAck)), f.west_node, f.at.client, f.at.west,
                kNone);
}

TEST(DirectReturn, ANodeThatHasGoneIsNotAsked) {
  Fleet f;
  EXPECT_EQ(f.rig.from_local(udp(f.at.client, f.at.remote_service)).out.size(), 1u);
  TableDelta delta;
  delta.remove_peers = {kWestNode};
  EXPECT_TRUE(static_cast<bool>(f.rig.engine().publish(delta)));
  f.rig.set_clusters({PathRig::kWestGateway});
  const Output out = f.rig.from_local(udp(f.at.client, f.at.remote_service)).only();
  EXPECT_EQ(out.packet.outer_destination, f.at.west_gateway);
  EXPECT_EQ(out.packet.outer_options, kNone);
  EXPECT_EQ(f.rig.flows().size(), 1u);
}

TEST(DirectReturn, TheClientsPacketsAloneOpenTcp) {
  Fleet f;
  EXPECT_EQ(f.rig.from_local(tcp(f.at.client, f.at.remote_service)).out.size(), 1u);
  EXPECT_FALSE(f.flow().established);
  EXPECT_NEAR(f.flow().expires_in_seconds, 30, 2);
  EXPECT_EQ(f.rig.counters().connections.half_open, 1u);
  EXPECT_EQ(f.rig.from_local(tcp(f.at.client, f.at.remote_service, kAck)).out.size(), 1u);
  EXPECT_TRUE(f.flow().established);
  EXPECT_NEAR(f.flow().expires_in_seconds, 8000, 2);
  EXPECT_EQ(f.rig.counters().connections.half_open, 0u);
  EXPECT_EQ(f.rig.from_local(tcp(f.at.client, f.at.remote_service, kFin | kAck)).out.size(), 1u);
  EXPECT_NEAR(f.flow().expires_in_seconds, 60, 2);
  EXPECT_EQ(f.flow().backend, f.at.west.address);
  EXPECT_EQ(f.flow().backend_port.value(), f.at.west.port);
}

TEST(DirectReturn, DatagramsStayHalfOpen) {
  Fleet f;
  for (unsigned packet = 0; packet < 3; ++packet) {
    EXPECT_EQ(f.rig.from_local(udp(f.at.client, f.at.remote_service)).out.size(), 1u);
  }
  EXPECT_NEAR(f.flow().expires_in_seconds, 60, 2);
  EXPECT_EQ(f.rig.counters().connections.half_open, 1u);
}

// Where our gateway is the tunnel end of the client, the node's answers come by us.
TEST(DirectReturn, AnswersInTheVipsNamePassFromThatNodeAlone) {
  Fleet f;
  EXPECT_EQ(f.rig.from_local(tcp(f.at.client, f.at.remote_service)).out.size(), 1u);
  const PacketSpec answer = tcp(f.at.remote_service, f.at.client, kSyn | kAck);
  for (const IpAddress& other : {Actors::ip("192.0.2.61"), f.at.west_gateway, f.at.north_gateway}) {
    const bool north = other == f.at.north_gateway;
    const Outcome outcome = f.rig.from_underlay(f.rig.tunnelled(answer, other, north ? kNorthIdentity : kWestIdentity));
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"source_outside_cluster", 1}}));
  }
  EXPECT_EQ(f.rig.from_local(tcp(f.at.remote_service, f.at.client, kAck)).drops.count("foreign_source"), 1u);
  for (unsigned packet = 0; packet < 2; ++packet) {
    const Output out = f.rig.from_underlay(f.rig.tunnelled(answer, f.west_node, kWestIdentity)).only();
    EXPECT_FALSE(out.underlay);
    EXPECT_EQ(out.packet.source, f.at.remote_service.address);
    EXPECT_EQ(out.packet.source_port, f.at.remote_service.port);
    EXPECT_EQ(out.packet.destination, f.at.client.address);
    EXPECT_EQ(out.packet.ttl, 63);
  }
  f.rig.set_clusters({}, false);
  EXPECT_EQ(f.rig.from_underlay(f.rig.tunnelled(answer, f.west_node, kWestIdentity)).drops.count("not_linked"), 1u);
}

// Inner bytes of UDP with that payload are 28 more.
TEST(DirectReturn, TheOptionTakesItsShareOfTheMtu) {
  Fleet f;
  const std::size_t most = 1500 - kOverhead - kOption - 28;
  const PacketSpec datagram = udp(f.at.client, f.at.remote_service).with_df();
  f.expect_sent(f.rig.from_local(PacketSpec(datagram).with_payload(most)), f.west_node, f.at.client, f.at.west,
                dsr_option(f.at.remote_service));
  const Outcome refused = f.rig.from_local(PacketSpec(datagram).with_payload(most + 1));
  EXPECT_EQ(refused.only().packet.icmp_type, 3);
  EXPECT_EQ(refused.only().packet.icmp_rest & 0xffff, 1500 - kOverhead - kOption);
  EXPECT_EQ(f.rig.from_local(tcp(f.at.client, f.at.remote_service)).out.size(), 1u);
  const PacketSpec segment = tcp(f.at.client, f.at.remote_service, kAck).with_df().with_payload(1500 - kOverhead - 40);
  EXPECT_EQ(f.rig.from_local(segment).only().bytes.size(), 1514u) << "segments have no option";
}

TEST(DirectReturn, FragmentsHaveTheOptionEach) {
  PathRig::Options options = asked();
  options.local_mtu = Bytes{9000};
  Fleet f(options);
  const Outcome outcome = f.rig.from_local(udp(f.at.client, f.at.remote_service).with_payload(3500));
  ASSERT_EQ(outcome.out.size(), 3u) << outcome.text();
  std::vector<FrameBytes> parts;
  for (const Output& out : outcome.out) {
    EXPECT_EQ(out.packet.outer_options, dsr_option(f.at.remote_service));
    EXPECT_LE(out.bytes.size(), 1514u);
    constexpr std::ptrdiff_t kInner = 14 + kOverhead + kOption;
    parts.push_back({out.bytes.begin() + kInner, out.bytes.end()});
  }
  const Dissected whole = joined(parts);
  EXPECT_TRUE(whole.errors.empty()) << whole.text();
  EXPECT_EQ(whole.payload, 3500u);
}

// Over a tunnel that carries less than an IPv6 sender must be let send.
TEST(DirectReturn, TunnelPacketsInFragmentsHaveTheOptionOnce) {
  PathRig::Options options = asked();
  options.underlay_mtu = Bytes{1300};
  Fleet f(options);
  const Outcome outcome = f.rig.from_local(udp(f.at.client6, f.at.service6).with_payload(1280 - 48));
  ASSERT_EQ(outcome.out.size(), 2u) << outcome.text();
  std::vector<FrameBytes> parts;
  for (const Output& out : outcome.out) {
    EXPECT_LE(out.bytes.size(), 1314u);
    parts.push_back({out.bytes.begin() + 14, out.bytes.end()});
  }
  const Dissected whole = joined(parts);
  EXPECT_TRUE(whole.errors.empty()) << whole.text();
  EXPECT_EQ(whole.payload, 1280u - 48);
  EXPECT_EQ(whole.outer_options, dsr_option(f.at.service6));
}

// The node knows the connection, or its pod answers with a reset.
TEST(DirectReturn, WhatIsTakenUpInMidStreamHasNoOption) {
  Fleet f;
  f.expect_to_west(tcp(f.at.client, f.at.remote_service, kAck).with_payload(10), kNone);
  EXPECT_TRUE(f.flow().established);
  PathRig::Options options = asked();
  options.engine.midstream = MidstreamPolicy::kDrop;
  Fleet strict(options);
  const Outcome outcome = strict.rig.from_local(tcp(f.at.client, f.at.remote_service, kAck));
  EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"midstream", 1}}));
}

TEST(DirectReturn, ABackendThatIsElsewhereIsFollowed) {
  Fleet f;
  const IpAddress other = Actors::ip("192.0.2.61");
  const Endpoint later{f.at.client.address, 40001};
  EXPECT_EQ(f.rig.from_local(udp(f.at.client, f.at.remote_service)).out.size(), 1u);
  EXPECT_EQ(f.rig.from_local(tcp(f.at.client, f.at.remote_service)).out.size(), 1u);
  f.place(f.at.west, kWestOtherNode);
  f.expect_sent(f.rig.from_local(udp(f.at.client, f.at.remote_service)), other, f.at.client, f.at.west,
                dsr_option(f.at.remote_service));
  f.expect_sent(f.rig.from_local(tcp(f.at.client, f.at.remote_service)), other, f.at.client, f.at.west,
                dsr_option(f.at.remote_service));
  f.place(f.at.west, kNoPeer);
  f.expect_sent(f.rig.from_local(udp(f.at.client, f.at.remote_service)), other, f.at.client, f.at.west,
                dsr_option(f.at.remote_service));
  EXPECT_EQ(f.rig.from_local(udp(later, f.at.remote_service)).drops.count("no_live_gateway"), 1u)
      << "new ones have no way";
  EXPECT_EQ(f.rig.flows().size(), 2u);
}

// Nothing shows what the other end says: the client's own FIN or RST is enough, and nothing less.
TEST(DirectReturn, AClientMayUseItsPortAgain) {
  for (const int last : {kAck | 0, kFin | kAck, kRst | 0}) {
    Fleet f;
    f.expect_to_west(tcp(f.at.client, f.at.remote_service), dsr_option(f.at.remote_service));
    f.expect_to_west(tcp(f.at.client, f.at.remote_service, kAck), kNone);
    f.expect_to_west(tcp(f.at.client, f.at.remote_service, static_cast<std::uint8_t>(last)), kNone);
    f.expect_to_west(tcp(f.at.client, f.at.remote_service), dsr_option(f.at.remote_service));
    EXPECT_EQ(f.flow().established, last == kAck);
    EXPECT_EQ(f.rig.counters().connections.half_open, last == kAck ? 0u : 1u);
  }
}

TEST(DirectReturn, ABackendThatIsNoLongerOneIsLeft) {
  Fleet f;
  f.place(f.second, kWestOtherNode);
  f.expect_to_west(tcp(f.at.client, f.at.remote_service), dsr_option(f.at.remote_service));
  f.expect_to_west(tcp(f.at.client, f.at.remote_service, kAck), kNone);
  f.rig.set_backends(f.at.remote_service, 1, {backend(2, f.second, 2)}, {0});
  f.expect_sent(f.rig.from_local(tcp(f.at.client, f.at.remote_service, kAck)), Actors::ip("192.0.2.61"), f.at.client,
                f.second, kNone);
  EXPECT_EQ(f.rig.flows().size(), 1u);
}

TEST(DirectReturn, AnErrorOfTheClientBeginsNothing) {
  Fleet f;
  const PacketSpec request = udp(f.at.client, f.at.remote_service);
  EXPECT_EQ(f.rig.from_local(request).out.size(), 1u);
  const IpAddress backend = f.flow().backend;
  TableDelta gone;
  gone.remove_peers = {kWestNode};
  ASSERT_TRUE(f.rig.engine().publish(gone).ok());
  f.rig.set_clusters({PathRig::kWestGateway});
  const PacketSpec error = icmp_error(f.at.client.address, f.at.remote_service.address, 3, 3,
                                      udp(f.at.remote_service, f.at.client).ip_bytes());
  const Outcome outcome = f.rig.from_local(error);
  EXPECT_TRUE(outcome.out.empty());
  EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"unsupported_icmp", 1}}));
  EXPECT_EQ(f.flow().protocol, IpProtocol::kUdp);
  EXPECT_EQ(f.flow().backend, backend) << "as it was";
}

TEST(DirectReturn, PolicyIsAskedAsForAnyService) {
  constexpr std::uint32_t kOfWest = 1;
  Fleet f;
  PolicyDelta denying;
  denying.select(kOfWest, {kWestIdentity}).egress(kClientIdentity, {false, {deny(kOfWest, kTcpNumber, 9000, 9000)}});
  f.expect_to_west(tcp(f.at.client, f.at.remote_service), dsr_option(f.at.remote_service));
  ASSERT_TRUE(f.rig.engine().publish(denying.delta).ok());
  for (const int flags : {kAck | 0, kSyn | 0}) {
    const Outcome outcome = f.rig.from_local(tcp(f.at.client, f.at.remote_service, static_cast<std::uint8_t>(flags)));
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"policy_deny", 1}}));
  }
  EXPECT_EQ(f.rig.from_local(udp(f.at.client, f.at.remote_service)).out.size(), 1u) << "another protocol";
}

// A server that goes on by itself must not get by with that what the client may not ask for any more.
TEST(DirectReturn, PolicyIsAskedForAnswersThatComeByUsToo) {
  constexpr std::uint32_t kOfWest = 1;
  for (const bool of_port : {true, false}) {
    Fleet f;
    const PacketSpec answer = f.rig.tunnelled(udp(f.at.remote_service, f.at.client), f.west_node, kWestIdentity);
    EXPECT_EQ(f.rig.from_local(udp(f.at.client, f.at.remote_service)).out.size(), 1u);
    EXPECT_EQ(f.rig.from_underlay(answer).out.size(), 1u);
    PolicyDelta denying;
    denying.select(kOfWest, {kWestIdentity})
        .egress(kClientIdentity, {false, {of_port ? deny(kOfWest, kUdpNumber, 9000, 9000) : deny(kOfWest)}});
    ASSERT_TRUE(f.rig.engine().publish(denying.delta).ok());
    EXPECT_EQ(f.rig.from_underlay(answer).drops, (std::map<std::string, std::uint64_t>{{"policy_deny", 1}}));
  }
}

TEST(DirectReturn, SourceRangesAndAffinityHold) {
  Fleet f;
  f.place(f.second, kWestNode);
  FrontendEntry entry;
  entry.key = {Realm{0}, f.at.remote_service.address, IpProtocol::kTcp, L4Port{80}};
  entry.service = ServiceId{1};
  entry.client_affinity = true;
  entry.affinity_timeout = Seconds{60};
  entry.sources = std::make_shared<const SourceRanges>(SourceRanges{{*Prefix::parse("10.1.0.0/28")}, false});
  const auto choose = [&](std::uint16_t number) {
    auto set = std::make_shared<BackendSet>();
    set->backends = {backend(1, f.at.west, 2), backend(2, f.second, 2)};
    set->ring.assign(251, number);
    set->ring.back() = static_cast<std::uint16_t>(1 - number);
    entry.backends = std::move(set);
    TableDelta delta;
    delta.upsert_frontends = {entry};
    ASSERT_TRUE(f.rig.engine().publish(delta).ok());
  };
  choose(0);
  f.expect_to_west(tcp(f.at.client, f.at.remote_service), dsr_option(f.at.remote_service));
  choose(1);
  const Endpoint again{f.at.client.address, 40001};
  f.expect_sent(f.rig.from_local(tcp(again, f.at.remote_service)), f.west_node, again, f.at.west,
                dsr_option(f.at.remote_service));
  const Outcome outside = f.rig.from_local(tcp({Actors::ip("10.1.0.77"), 40000}, f.at.remote_service));
  EXPECT_EQ(outside.drops, (std::map<std::string, std::uint64_t>{{"source_range", 1}}));
}

// The node would answer the alias, and nobody translates what comes past us.
TEST(DirectReturn, ClustersWithAliasesAreAsWithout) {
  Fleet f;
  f.expect_to_west(tcp(f.at.client, f.at.remote_service), dsr_option(f.at.remote_service));
  TableDelta delta;
  delta.aliases = AliasPrefixes{{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")}};
  delta.changed_clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.101.0.0/16")}, {}}};
  ASSERT_TRUE(f.rig.engine().publish(delta).ok());
  const Outcome outcome = f.rig.from_local(tcp({f.at.client.address, 40001}, f.at.remote_service));
  EXPECT_EQ(outcome.only().packet.source, Actors::ip("10.101.0.10"));
  EXPECT_EQ(outcome.only().packet.outer_options, kNone);
}

TEST(DirectReturn, UnansweredConnectionsAreBoundedAsHalfOpen) {
  PathRig::Options options = asked();
  options.engine.half_open_limit = 64;
  Fleet f(options);
  const Endpoint lasting{f.at.client.address, 30000};
  EXPECT_EQ(f.rig.from_local(tcp(lasting, f.at.remote_service)).out.size(), 1u);
  EXPECT_EQ(f.rig.from_local(tcp(lasting, f.at.remote_service, kAck)).out.size(), 1u);
  for (std::uint16_t port = 40000; port < 40256; ++port) {
    EXPECT_EQ(f.rig.from_local(udp({f.at.client.address, port}, f.at.remote_service)).out.size(), 1u);
  }
  EXPECT_LE(f.rig.counters().connections.half_open, 64u);
  const std::vector<FlowRecord> flows = f.rig.flows();
  EXPECT_LE(flows.size(), 65u);
  EXPECT_TRUE(std::any_of(flows.begin(), flows.end(), [](const FlowRecord& flow) { return flow.established; }));
}

TEST(DirectReturn, ConnectionsOutliveTheProcess) {
  const std::string directory = ::testing::TempDir() + "direct-return-" + std::to_string(getpid());
  std::filesystem::create_directories(directory);
  PathRig::Options options = asked();
  options.state = directory;
  for (const bool restarted : {false, true}) {
    options.numbers = restarted ? 1 : 0;
    Fleet f(options);
    const Endpoint vip = f.at.remote_service;
    // The ring changes with the process: only the connection knows the first backend.
    f.rig.set_backends(vip, 1, {backend(1, f.at.west, 2), backend(2, f.second, 2)}, {restarted ? 1u : 0u});
    const PacketSpec packet = tcp(f.at.client, vip, restarted ? kAck : kSyn);
    f.expect_sent(f.rig.from_local(packet), f.west_node, f.at.client, f.at.west, restarted ? kNone : dsr_option(vip));
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace isthmus::test
