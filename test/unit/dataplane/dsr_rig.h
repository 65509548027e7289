// The roles and packets of DSR tests. West's load balancer, in a cluster of Cilium with Geneve, is the rig's
// west_gateway; kNode is a node of our own cluster. Clients are in 10.5.0.0/16 and fd00:5::/48, which the underlay
// routes. Services of every protocol with ports have the local backends.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "test/support/path_rig.h"
#include "test/unit/dataplane/dsr_option.h"

namespace isthmus::test {

inline constexpr std::uint32_t kWorld = 2;

[[nodiscard]] inline Endpoint at(const char* address, std::uint16_t port) { return {Actors::ip(address), port}; }

class Dsr : public ::testing::Test {
 protected:
  explicit Dsr(const PathRig::Options& options = geneve()) : rig_(options) { publish_surroundings(); }
  void publish_surroundings() {
    TableDelta delta;
    delta.upsert_peers = {{kNode, ClusterId{1}, node_, L4Port{6081}, AdjacencyId{1}, false, EncapsulationKind::kGeneve,
                           EncapsulationKind::kGeneve}};
    delta.local_routes.emplace();
    for (const char* prefix : {"10.1.0.0/16", "fd00:1::/48"}) {
      delta.local_routes->push_back({*Prefix::parse(prefix), DeviceId{1}, AdjacencyId{2}});
    }
    for (const char* prefix : {"10.5.0.0/16", "fd00:5::/48"}) {
      delta.local_routes->push_back({*Prefix::parse(prefix), DeviceId{0}, AdjacencyId{1}, kNoPeer, true});
    }
    EXPECT_TRUE(static_cast<bool>(rig_.engine().publish(delta)));
    std::uint32_t number = 20;
    for (const IpProtocol protocol : {IpProtocol::kTcp, IpProtocol::kUdp, IpProtocol::kSctp}) {
      for (const Endpoint& each : {backend_, backend6_}) {
        serve(each, number++, protocol);
      }
    }
  }
  // Makes it the only backend of a service of that number.
  void serve(const Endpoint& backend_end, std::uint32_t number, IpProtocol protocol) {
    rig_.set_backends(service_of(backend_end, number), number, {backend(number, backend_end, 1)}, {0}, protocol);
  }
  [[nodiscard]] static Endpoint service_of(const Endpoint& backend_end, std::uint32_t number) {
    const std::string host = std::to_string(number);
    return at((backend_end.address.is_ipv4() ? "10.200.1." + host : "fd00:ff::1:" + host).c_str(), 80);
  }

  static PathRig::Options geneve() {
    PathRig::Options options;
    options.kind = EncapsulationKind::kGeneve;
    return options;
  }

  // From a load balancer, with the option or as later packets of TCP come.
  [[nodiscard]] PacketSpec balanced(const PacketSpec& packet, const Endpoint& service) const {
    PacketSpec spec = plain(packet);
    spec.tunnel->options = dsr_option(service);
    return spec;
  }
  [[nodiscard]] PacketSpec plain(const PacketSpec& packet) const {
    return rig_.tunnelled(packet, rig_.at.west_gateway, kWorld);
  }
  [[nodiscard]] PacketSpec from_node(PacketSpec packet) const {
    packet.tunnel->from = node_;
    return packet;
  }
  [[nodiscard]] PacketSpec from_west_other(PacketSpec packet) const {
    packet.tunnel->from = rig_.at.west_other;
    return packet;
  }

  void expect_delivered(const Outcome& outcome, const Endpoint& client, const Endpoint& backend) {
    const Output out = outcome.only();
    EXPECT_FALSE(out.underlay);
    EXPECT_EQ(out.packet.source, client.address) << "the client's address is kept";
    EXPECT_EQ(out.packet.source_port, client.port);
    EXPECT_EQ(out.packet.destination, backend.address);
    EXPECT_EQ(out.packet.destination_port, backend.port);
    EXPECT_EQ(out.packet.ttl, 63);
  }
  void expect_answered(const Outcome& outcome, const Endpoint& service, const Endpoint& client) {
    const Output out = outcome.only();
    EXPECT_TRUE(out.underlay);
    EXPECT_EQ(out.packet.source, service.address) << out.packet.text();
    EXPECT_EQ(out.packet.source_port, service.port);
    EXPECT_EQ(out.packet.destination, client.address);
    EXPECT_EQ(out.packet.destination_port, client.port);
    EXPECT_EQ(out.packet.ttl, out.packet.tunnelled ? 64 : 63);
  }
  void expect_dropped(const PacketSpec& packet, const char* reason) {
    const Outcome outcome = rig_.from_underlay(packet);
    EXPECT_TRUE(outcome.out.empty()) << outcome.text();
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{reason, 1}}));
  }

  static constexpr PeerId kNode{9};
  const IpAddress node_ = Actors::ip("192.0.2.50");
  PathRig rig_;
  const Endpoint client_ = at("10.5.0.9", 4711), client6_ = at("fd00:5::9", 4711);
  const Endpoint vip_ = at("203.0.113.80", 443), vip6_ = at("2001:db8:80::80", 443);
  const Endpoint other_vip_ = at("203.0.113.81", 8443);
  const Endpoint backend_ = rig_.at.local_backend, backend6_{rig_.at.client6.address, 8080};
};

}  // namespace isthmus::test
