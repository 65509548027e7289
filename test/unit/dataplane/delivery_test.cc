// Packets to and from the nodes of our own cluster in their tunnels, and to and from a cluster with native routing.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

using Kind = EncapsulationKind;

// Delivery in the tunnels of our own cluster's nodes: 10.1.5.0/24 and fd00:1:0:5::/64 are the pods of a node at
// 192.0.2.50, which is a Cilium node with Geneve.
class OwnNodes : public ::testing::Test {
 protected:
  OwnNodes() : rig_(options()) {
    TableDelta delta;
    delta.upsert_peers = {
        {kNode, ClusterId{1}, node_, L4Port{6081}, AdjacencyId{1}, false, Kind::kGeneve, Kind::kGeneve}};
    delta.local_routes.emplace();
    for (const auto& [prefix, peer] : {std::pair{"10.1.0.0/16", kNoPeer},
                                       {"fd00:1::/48", kNoPeer},
                                       {"10.1.5.0/24", kNode},
                                       {"fd00:1:0:5::/64", kNode}}) {
      delta.local_routes->push_back({*Prefix::parse(prefix), DeviceId{1}, AdjacencyId{2}, peer});
    }
    EXPECT_TRUE(rig_.engine().publish(delta).ok());
    for (const Endpoint& pod : {pod_, pod6_}) {
      const EndpointEntry entry{Realm{0}, pod.address, ClusterId{1}, Identity{kPodIdentity}, kNoPeer};
      rig_.engine().upsert_endpoints(std::span(&entry, 1));
    }
  }
  static PathRig::Options options() {
    PathRig::Options options;
    options.engine.tunnel.ports[1] = L4Port{6081};
    return options;
  }
  // From the node, as Cilium sends it.
  PacketSpec from_node(PacketSpec packet, std::uint32_t vni) const {
    return packet.in_tunnel(node_, rig_.at.gateway, vni).as_geneve();
  }
  static void expect_to_node(const OwnNodes& test, const Output& out, std::uint32_t vni) {
    EXPECT_TRUE(out.underlay);
    EXPECT_EQ(out.packet.outer_kind, Kind::kGeneve);
    EXPECT_EQ(out.packet.outer_destination, test.node_);
    EXPECT_EQ(out.packet.vni, vni);
  }

  static constexpr PeerId kNode{9};
  static constexpr std::uint32_t kPodIdentity = 1 << 16 | 500;
  const IpAddress node_ = Actors::ip("192.0.2.50");
  const Endpoint pod_{Actors::ip("10.1.5.9"), 7000}, pod6_{Actors::ip("fd00:1:0:5::9"), 7000};
  PathRig rig_;
};

TEST_F(OwnNodes, ARemotePodsPacketEntersTheNodesTunnelWithTheIdentity) {
  for (const auto& [client, pod] : {std::pair{rig_.at.west, pod_}, {rig_.at.west6, pod6_}}) {
    const PacketSpec request = tcp(client, pod).with_ttl(9).with_payload(20);
    const Output in = rig_.from_underlay(rig_.tunnelled(request, rig_.at.west_gateway, kWestIdentity)).only();
    expect_to_node(*this, in, kWestIdentity);
    EXPECT_EQ(in.packet.ttl, 8) << "so that a loop ends";
    EXPECT_EQ(in.packet.destination, pod.address);
    const Output back = rig_.from_underlay(from_node(tcp(pod, client, kSyn | kAck).with_ttl(9), kPodIdentity)).only();
    EXPECT_EQ(back.packet.outer_kind, Kind::kVxlan);
    EXPECT_EQ(back.packet.outer_destination, rig_.at.west_gateway);
    EXPECT_EQ(back.packet.vni, kPodIdentity);
    const Output more =
        rig_.from_underlay(rig_.tunnelled(tcp(client, pod, kAck), rig_.at.west_gateway, kWestIdentity)).only();
    expect_to_node(*this, more, kWestIdentity);
  }
}

TEST_F(OwnNodes, APodsPacketLeavesItsNodesTunnelForAnotherCluster) {
  const Output out = rig_.from_underlay(from_node(tcp(pod_, rig_.at.west), kPodIdentity)).only();
  EXPECT_EQ(out.packet.outer_destination, rig_.at.west_gateway);
  EXPECT_EQ(out.packet.vni, kPodIdentity);
  const PacketSpec reply = tcp(rig_.at.west, pod_, kSyn | kAck);
  expect_to_node(*this, rig_.from_underlay(rig_.tunnelled(reply, rig_.at.west_gateway, kWestIdentity)).only(),
                 kWestIdentity);
}

TEST_F(OwnNodes, AServiceWithALocalBackendIsReachedThroughTheNodesTunnelAndItsReplyReturns) {
  rig_.set_backends(rig_.at.local_service, 2, {backend(20, pod_, 1)}, {0});
  const Output out = rig_.from_local(tcp(rig_.at.client, rig_.at.local_service)).only();
  expect_to_node(*this, out, kClientIdentity);
  EXPECT_EQ(out.packet.source, rig_.at.translation);
  EXPECT_EQ(out.packet.destination, pod_.address);
  const Endpoint translated{rig_.at.translation, out.packet.source_port};
  const Output back = rig_.from_underlay(from_node(tcp(pod_, translated, kSyn | kAck), kPodIdentity)).only();
  EXPECT_FALSE(back.underlay);
  EXPECT_EQ(back.packet.source, rig_.at.local_service.address);
  EXPECT_EQ(back.packet.destination, rig_.at.client.address);
}

// The cluster is 10.101.0.0/16 and fd00:101::/48 to others.
class OwnNodesWithAliases : public OwnNodes {
 protected:
  OwnNodesWithAliases() {
    TableDelta delta;
    delta.aliases = kAliases;
    delta.changed_clusters = {
        {ClusterId{1}, true, true, {*Prefix::parse("10.101.0.0/16"), *Prefix::parse("fd00:101::/48")}, {}}};
    EXPECT_TRUE(rig_.engine().publish(delta).ok());
    for (const auto& [pod, identity] :
         {std::pair{pod_, kPodIdentity}, {pod6_, kPodIdentity}, {rig_.at.client, kClientIdentity}}) {
      const EndpointEntry entry{Realm{0}, alias_of(pod).address, ClusterId{1}, Identity{identity}, kNoPeer};
      rig_.engine().upsert_endpoints(std::span(&entry, 1));
    }
  }
  static Endpoint alias_of(const Endpoint& own) { return {to_alias(kAliases, own.address), own.port}; }
  static inline const AliasPrefixes kAliases{{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")},
                                             {*Prefix::parse("fd00:1::/48"), *Prefix::parse("fd00:101::/48")}};
};

TEST_F(OwnNodesWithAliases, TheNodesTunnelsHaveOwnAddressesAndOtherClustersAliases) {
  for (const auto& [west, pod] : {std::pair{rig_.at.west, pod_}, {rig_.at.west6, pod6_}}) {
    const PacketSpec request = tcp(west, alias_of(pod));
    const Output in = rig_.from_underlay(rig_.tunnelled(request, rig_.at.west_gateway, kWestIdentity)).only();
    expect_to_node(*this, in, kWestIdentity);
    EXPECT_EQ(in.packet.destination, pod.address);
    const Output back = rig_.from_underlay(from_node(tcp(pod, west, kSyn | kAck), kPodIdentity)).only();
    EXPECT_EQ(back.packet.outer_destination, rig_.at.west_gateway);
    EXPECT_EQ(back.packet.source, alias_of(pod).address);
    const Output out = rig_.from_underlay(from_node(udp(pod, west), kPodIdentity)).only();
    EXPECT_EQ(out.packet.source, alias_of(pod).address);
    EXPECT_EQ(out.packet.vni, kPodIdentity);
    const PacketSpec answer = udp(west, alias_of(pod));
    const Output answered = rig_.from_underlay(rig_.tunnelled(answer, rig_.at.west_gateway, kWestIdentity)).only();
    expect_to_node(*this, answered, kWestIdentity);
    EXPECT_EQ(answered.packet.destination, pod.address);
  }
}

TEST_F(OwnNodesWithAliases, AServicesAnswerToTheTranslationAddressReturns) {
  rig_.set_backends(rig_.at.local_service, 2, {backend(20, pod_, 1)}, {0});
  const Output out = rig_.from_local(tcp(rig_.at.client, rig_.at.local_service)).only();
  expect_to_node(*this, out, kClientIdentity);
  const Endpoint translated{rig_.at.translation, out.packet.source_port};
  const Output back = rig_.from_underlay(from_node(tcp(pod_, translated, kSyn | kAck), kPodIdentity)).only();
  EXPECT_FALSE(back.underlay);
  EXPECT_EQ(back.packet.source, rig_.at.local_service.address);
  EXPECT_EQ(back.packet.destination, rig_.at.client.address);
}

TEST_F(OwnNodesWithAliases, NoAliasIsASourceInANodesTunnelAndErrorsToItHaveOwnAddresses) {
  const Outcome spoofed = rig_.from_underlay(from_node(tcp(alias_of(pod_), rig_.at.west), kPodIdentity));
  EXPECT_EQ(spoofed.drops, (std::map<std::string, std::uint64_t>{{"alias_mismatch", 1}})) << spoofed.text();
  const Outcome outside =
      rig_.from_underlay(rig_.tunnelled(tcp(rig_.at.west, pod_), rig_.at.west_gateway, kWestIdentity));
  EXPECT_EQ(outside.drops, (std::map<std::string, std::uint64_t>{{"alias_mismatch", 1}})) << outside.text();
  rig_.set_backends(rig_.at.local_service, 2, {backend(2, rig_.at.local_backend, 1)}, {0});
  const PacketSpec last_hop = tcp(pod_, rig_.at.local_service).with_ttl(1);
  const Output error = rig_.from_underlay(from_node(last_hop, kPodIdentity)).only();
  EXPECT_EQ(error.packet.icmp_type, 11);
  EXPECT_EQ(error.packet.source, rig_.at.translation);
}

TEST_F(OwnNodes, APodOfNoKnownNodeIsReachedByItsRoute) {
  const Output in =
      rig_.from_underlay(rig_.tunnelled(tcp(rig_.at.west, rig_.at.client), rig_.at.west_gateway, kWestIdentity)).only();
  EXPECT_FALSE(in.underlay);
  EXPECT_FALSE(in.packet.tunnelled);
}

TEST_F(OwnNodes, ANodesPacketsAreValidatedLikeAnyPeers) {
  struct Row {
    const char* description;
    const char* reason;
    PacketSpec packet;
  };
  const PacketSpec request = tcp(pod_, rig_.at.west);
  const Row rows[] = {
      {"the identity of another pod", "identity_mismatch", from_node(request, kClientIdentity)},
      {"an identity of another cluster", "vni_cluster", from_node(request, kWestIdentity)},
      {"host", "vni_host", from_node(request, 1)},
      {"a source of another cluster", "source_outside_cluster",
       from_node(tcp(rig_.at.north, rig_.at.west), kPodIdentity)},
      {"VXLAN from a node that has Geneve", "tunnel_kind",
       PacketSpec(request).in_tunnel(node_, rig_.at.gateway, kPodIdentity)},
      {"a node that is not known", "unknown_peer",
       PacketSpec(request).in_tunnel(Actors::ip("192.0.2.51"), rig_.at.gateway, kPodIdentity).as_geneve()},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.description);
    const Outcome outcome = rig_.from_underlay(row.packet);
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{row.reason, 1}}));
  }
}

// Such a decision would depend on the peers of our own cluster three times.
TEST_F(OwnNodes, APodReachesAnotherOneThroughAServiceAndIsSettledAlsoAfterANodeHasCome) {
  const Endpoint backend{Actors::ip("10.1.5.20"), 8080};
  const EndpointEntry entry{Realm{0}, backend.address, ClusterId{1}, Identity{kLocalBackendIdentity}, kNoPeer};
  rig_.engine().upsert_endpoints(std::span(&entry, 1));
  rig_.set_backends(rig_.at.local_service, 2, {test::backend(2, backend, 1)}, {0});
  const auto forward = [&](std::uint8_t flags) {
    return rig_.from_underlay(from_node(tcp(pod_, rig_.at.local_service, flags), kPodIdentity)).only();
  };
  const Output first = forward(kSyn);
  expect_to_node(*this, first, kPodIdentity);
  const Endpoint translated{rig_.at.translation, first.packet.source_port};
  (void)rig_.from_underlay(from_node(tcp(backend, translated, kSyn | kAck), kLocalBackendIdentity)).only();
  (void)forward(kAck);
  TableDelta node;
  node.upsert_peers = {{PeerId{10}, ClusterId{1}, Actors::ip("192.0.2.51"), L4Port{6081}, AdjacencyId{1}, false,
                        Kind::kGeneve, Kind::kGeneve}};
  ASSERT_TRUE(rig_.engine().publish(node).ok());
  (void)forward(kAck);
  const std::uint64_t settled = rig_.counters().revalidations;
  for (unsigned i = 0; i < 10; ++i) {
    (void)forward(kAck);
  }
  EXPECT_EQ(rig_.counters().revalidations, settled);
}

TEST_F(OwnNodes, AreSteeredToTheEngine) {
  const auto& peers = rig_.underlay().rules().peers;
  EXPECT_NE(std::find(peers.begin(), peers.end(), node_), peers.end());
}

// Native routing: north's pods are reached by the underlay, without a tunnel and without a gateway of theirs.
class Native : public ::testing::Test {
 protected:
  Native() {
    TableDelta delta;
    delta.local_routes.emplace();
    for (const char* prefix : {"10.1.0.0/16", "fd00:1::/48"}) {
      delta.local_routes->push_back({*Prefix::parse(prefix), DeviceId{1}, AdjacencyId{2}});
    }
    for (const char* prefix : {"10.3.0.0/16", "fd00:3::/48"}) {
      delta.local_routes->push_back({*Prefix::parse(prefix), DeviceId{0}, AdjacencyId{1}, kNoPeer, true});
    }
    EXPECT_TRUE(rig_.engine().publish(delta).ok());
    const EndpointEntry entry{Realm{0}, north6_.address, ClusterId{3}, Identity{kNorthIdentity}, kNoPeer};
    rig_.engine().upsert_endpoints(std::span(&entry, 1));
  }
  PathRig rig_;
  const Actors& at = rig_.at;
  const Endpoint north6_{Actors::ip("fd00:3::10"), 9000};
};

TEST_F(Native, PodsOfTheClusterAreReachedAndAnswerWithoutATunnel) {
  for (const auto& [client, server] : {std::pair{at.client, at.north}, {at.client6, north6_}}) {
    for (const bool settled : {false, true}) {
      const std::uint8_t flags = settled ? kAck : kSyn, answer = settled ? kAck : kSyn | kAck;
      const Output out = rig_.from_local(tcp(client, server, flags).with_ttl(9).with_payload(1460 - 40)).only();
      EXPECT_TRUE(out.underlay);
      EXPECT_FALSE(out.packet.tunnelled);
      EXPECT_EQ(out.packet.ttl, 8) << "a router takes one";
      EXPECT_EQ(out.packet.source, client.address);
      EXPECT_EQ(out.packet.destination_mac, "02:00:00:00:00:fe");
      const Output back = rig_.from_underlay(tcp(server, client, answer).with_ttl(9)).only();
      EXPECT_FALSE(back.underlay);
      EXPECT_EQ(back.packet.source, server.address);
      EXPECT_EQ(back.packet.ttl, 8);
    }
  }
  EXPECT_EQ(rig_.counters().encapsulated, 0u);
}

TEST_F(Native, AServiceWithABackendThereIsTranslatedSoThatItsReplyReturns) {
  rig_.set_backends(at.remote_service, 1, {backend(30, at.north, 3)}, {0});
  const Output out = rig_.from_local(tcp(at.client, at.remote_service)).only();
  EXPECT_TRUE(out.underlay);
  EXPECT_FALSE(out.packet.tunnelled);
  EXPECT_EQ(out.packet.source, at.translation);
  EXPECT_EQ(out.packet.destination, at.north.address);
  const Output back = rig_.from_underlay(tcp(at.north, {at.translation, out.packet.source_port}, kSyn | kAck)).only();
  EXPECT_FALSE(back.underlay);
  EXPECT_EQ(back.packet.source, at.remote_service.address);
  EXPECT_EQ(back.packet.destination, at.client.address);
}

TEST_F(Native, OnlyTheUnderlayDeviceMaySendAsTheCluster) {
  EXPECT_EQ(rig_.from_local(tcp(at.north, at.client)).drops,
            (std::map<std::string, std::uint64_t>{{"foreign_source", 1}}));
  EXPECT_EQ(rig_.from_underlay(tcp(at.west, at.client)).drops,
            (std::map<std::string, std::uint64_t>{{"foreign_source", 1}}));
  EXPECT_EQ(rig_.from_underlay(tcp(at.north, at.client)).out.size(), 1u);
  EXPECT_EQ(rig_.from_underlay(tcp(at.north, at.west)).drops, (std::map<std::string, std::uint64_t>{{"transit", 1}}));
}

TEST_F(Native, ItsSourcesAreSteeredToTheEngine) {
  const auto& sources = rig_.underlay().rules().local_sources;
  EXPECT_NE(std::find(sources.begin(), sources.end(), *Prefix::parse("10.3.0.0/16")), sources.end());
}

}  // namespace
}  // namespace isthmus::test
