// Connections that a load balancer opens by Cilium's DSR option: the backend is ours, and its replies go to the client
// in the service's name, past the load balancer.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "test/support/fragments.h"
#include "test/unit/dataplane/dsr_rig.h"

namespace isthmus::test {
namespace {

TEST_F(Dsr, TheOptionOfTheFactsIsTheOneThatIsSent) {
  EXPECT_EQ(dsr_option(vip_), (FrameBytes{0x01, 0x4b, 0x81, 0x02, 203, 0, 113, 80, 0x01, 0xbb, 0, 0}));
  EXPECT_EQ(dsr_option(vip6_).size(), 24u);
}

TEST_F(Dsr, TheBackendAnswersTheClientInTheServicesName) {
  struct Row {
    const char* description;
    PacketSpec (*build)(const Endpoint&, const Endpoint&, bool);
    bool every;  // the option comes with every packet
  };
  const Row rows[] = {
      {"tcp",
       [](const Endpoint& from, const Endpoint& to, bool reply) {
         return tcp(from, to, reply ? kSyn | kAck : kSyn).with_payload(33);
       },
       false},
      {"udp", [](const Endpoint& from, const Endpoint& to, bool) { return udp(from, to).with_payload(33); }, true},
      {"sctp", [](const Endpoint& from, const Endpoint& to, bool) { return sctp(from, to).with_payload(32); }, true},
  };
  for (const Row& row : rows) {
    for (const bool v4 : {true, false}) {
      SCOPED_TRACE(std::string(row.description) + (v4 ? " over IPv4" : " over IPv6"));
      const Endpoint client = v4 ? client_ : client6_, backend = v4 ? backend_ : backend6_, vip = v4 ? vip_ : vip6_;
      for (const bool settled : {false, true}) {
        PacketSpec request = row.build(client, backend, false), reply = row.build(backend, client, true);
        if (settled && request.protocol == IpProtocol::kTcp) {
          request.flags = reply.flags = kAck;
        }
        const bool with_option = row.every || !settled;
        expect_delivered(rig_.from_underlay(with_option ? balanced(request, vip) : plain(request)), client, backend);
        expect_answered(rig_.from_local(reply), vip, client);
      }
    }
  }
}

TEST_F(Dsr, PacketsWithoutAConnectionNeedTheOption) {
  expect_dropped(plain(tcp(client_, backend_)), "source_outside_cluster");
  expect_dropped(plain(udp(client_, backend_)), "source_outside_cluster");
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip_)), client_, backend_);
}

TEST_F(Dsr, AnotherServiceInTheOptionIsAnotherConnection) {
  for (const Endpoint& vip : {vip_, other_vip_, vip_}) {
    for (unsigned packet = 0; packet < 2; ++packet) {
      expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip)), client_, backend_);
      expect_answered(rig_.from_local(udp(backend_, client_)), vip, client_);
    }
    EXPECT_EQ(rig_.flows().size(), 1u);
  }
}

TEST_F(Dsr, ASynWithoutTheOptionEndsIt) {
  const Endpoint client = rig_.at.west;  // of the load balancer's own cluster
  expect_delivered(rig_.from_underlay(balanced(tcp(client, backend_), vip_)), client, backend_);
  expect_answered(rig_.from_local(tcp(backend_, client, kSyn | kAck)), vip_, client);
  expect_delivered(rig_.from_underlay(plain(tcp(client, backend_))), client, backend_);
  expect_answered(rig_.from_local(tcp(backend_, client, kSyn | kAck)), backend_, client);
  EXPECT_EQ(rig_.flows().size(), 1u);
}

TEST_F(Dsr, AClientOfAnotherClusterIsAnsweredInThatClustersTunnel) {
  const Endpoint client = rig_.at.north;
  expect_delivered(rig_.from_underlay(from_node(balanced(tcp(client, backend_), vip_))), client, backend_);
  const Outcome answer = rig_.from_local(tcp(backend_, client, kSyn | kAck));
  expect_answered(answer, vip_, client);
  ASSERT_TRUE(answer.only().packet.tunnelled);
  EXPECT_EQ(answer.only().packet.outer_destination, rig_.at.north_gateway);
  EXPECT_EQ(answer.only().packet.vni, kLocalBackendIdentity);
  expect_delivered(rig_.from_underlay(from_node(plain(tcp(client, backend_, kAck)))), client, backend_);
}

TEST_F(Dsr, NobodyForwardsForWhomItMayNotVouch) {
  expect_dropped(balanced(tcp(rig_.at.north, backend_), vip_), "source_outside_cluster");
  expect_dropped(balanced(tcp(rig_.at.client, backend_), vip_), "source_outside_cluster");
  expect_dropped(balanced(tcp(at("198.18.0.1", 1), backend_), vip_), "source_outside_cluster");
  PacketSpec stranger = balanced(tcp(client_, backend_), vip_);
  stranger.tunnel->from = Actors::ip("192.0.2.99");
  expect_dropped(stranger, "unknown_peer");
  PacketSpec identity = balanced(tcp(client_, backend_), vip_);
  identity.tunnel->vni = kWestIdentity;
  expect_dropped(identity, "dsr_option");
}

TEST_F(Dsr, NoNameIsTakenThatIsAnothers) {
  const Endpoint somewhere = at("203.0.113.90", 80);
  const EndpointEntry published{Realm{0}, somewhere.address, ClusterId{2}, Identity{6}, kNoPeer};
  rig_.engine().upsert_endpoints(std::vector{published});
  struct Row {
    const char* description;
    Endpoint name;
  };
  const Row rows[] = {
      {"in another cluster's prefixes", at("10.3.0.10", 80)},
      {"in ours", rig_.at.client},
      {"no port", at("203.0.113.80", 0)},
      {"multicast", at("224.0.0.1", 80)},
      {"unspecified", at("0.0.0.0", 80)},
      {"loopback", at("127.0.0.1", 80)},
      {"link-local", at("169.254.169.254", 80)},
      {"broadcast", at("255.255.255.255", 80)},
      {"the client itself", client_},
      {"our translation address", {rig_.at.translation, 80}},
      {"our tunnel end", {rig_.at.gateway, 80}},
      {"an endpoint of the balancer's cluster", {rig_.at.west.address, 80}},
      {"a gateway of it", {rig_.at.west_gateway, 80}},
      {"another one of it", {rig_.at.west_other, 80}},
      {"a node of ours", {node_, 80}},
      {"a node that is no tunnel end", somewhere},
      {"a VIP of the fleet", rig_.at.remote_service},
      {"another port of it", {rig_.at.local_service.address, 81}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.description);
    expect_dropped(balanced(udp(client_, backend_), row.name), "dsr_option");
  }
  expect_dropped(balanced(udp(client6_, backend6_), at("fe80::1", 80)), "dsr_option");
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), at("10.2.0.77", 80))), client_, backend_);
}

TEST_F(Dsr, AVipInTheBalancersOwnPrefixesIsItsName) {
  const Endpoint vip = at("10.2.255.1", 80);
  rig_.set_backends(vip, 9, {backend(9, rig_.at.west, 2)}, {0});
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip)), client_, backend_);
  expect_answered(rig_.from_local(tcp(backend_, client_, kSyn | kAck)), vip, client_);
}

TEST_F(Dsr, ANameThatBecomesSomebodysIsNotUsedAnyMore) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
  rig_.engine().upsert_endpoints(
      std::vector{EndpointEntry{Realm{0}, vip_.address, ClusterId{3}, Identity{kNorthIdentity}, kNoPeer}});
  const Outcome answer = rig_.from_local(udp(backend_, client_));
  EXPECT_EQ(answer.drops, (std::map<std::string, std::uint64_t>{{"dsr_option", 1}}));
}

TEST_F(Dsr, WhatHasNoPortsOrIsYetToBeBalancedIsNot) {
  expect_dropped(balanced(echo_request(client_.address, backend_.address, 7), vip_), "dsr_option");
  expect_dropped(balanced(tcp(client_, rig_.at.local_service), vip_), "dsr_option");
}

TEST_F(Dsr, TheOptionsFamilyIsThePackets) {
  expect_dropped(balanced(tcp(client_, backend_), vip6_), "malformed");
  expect_dropped(balanced(tcp(client6_, backend6_), vip_), "malformed");
}

TEST_F(Dsr, ItIsFoundAmongOtherOptionsAndItsPaddingIsIgnored) {
  PacketSpec packet = balanced(udp(client_, backend_), vip_);
  FrameBytes& options = packet.tunnel->options;
  options[10] = options[11] = 0xff;
  options.insert(options.begin(), {0x01, 0x02, 0x03, 1, 9, 9, 9, 9});
  options.insert(options.end(), {0x01, 0x02, 0x04, 0});
  expect_delivered(rig_.from_underlay(packet), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
}

TEST_F(Dsr, ChangedTablesLeaveTheNameAlone) {
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip_)), client_, backend_);
  expect_answered(rig_.from_local(tcp(backend_, client_, kSyn | kAck)), vip_, client_);
  for (const auto& gateways : {std::vector<PeerId>{}, {PathRig::kWestOther}, {PathRig::kWestGateway}}) {
    rig_.set_clusters(gateways);  // increments all words
    expect_delivered(rig_.from_underlay(plain(tcp(client_, backend_, kAck))), client_, backend_);
    expect_answered(rig_.from_local(tcp(backend_, client_, kAck)), vip_, client_);
  }
}

// The slots outlive the process, and with them the blocks.
TEST(DsrRestart, TheNameOutlivesTheProcess) {
  const std::string directory = ::testing::TempDir() + "dsr-" + std::to_string(getpid());
  std::filesystem::create_directories(directory);
  PathRig::Options options;
  options.kind = EncapsulationKind::kGeneve;
  options.state = directory;
  const Endpoint vip = at("203.0.113.80", 443);
  for (const bool restarted : {false, true}) {
    options.numbers = restarted ? 1 : 0;
    PathRig rig(options);
    const Endpoint client = rig.at.west, backend = rig.at.local_backend;
    PacketSpec request = rig.tunnelled(tcp(client, backend, restarted ? kAck : kSyn), rig.at.west_gateway, kWorld);
    if (!restarted) {
      request.tunnel->options = dsr_option(vip);
    }
    EXPECT_EQ(rig.from_underlay(request).only().packet.destination, backend.address);
    const Output reply = rig.from_local(tcp(backend, client, restarted ? kAck : kSyn | kAck)).only();
    EXPECT_EQ(reply.packet.source, vip.address) << restarted;
    EXPECT_EQ(reply.packet.source_port, vip.port);
    EXPECT_EQ(reply.packet.outer_destination, rig.at.west_gateway);
    if (restarted) {  // and so does whose it is
      const Endpoint other = at("203.0.113.81", 8443);
      PacketSpec asked = rig.tunnelled(tcp(client, backend), rig.at.north_gateway, kWorld);
      asked.tunnel->options = dsr_option(other);
      EXPECT_EQ(rig.from_underlay(asked).drops, (std::map<std::string, std::uint64_t>{{"dsr_option", 1}}));
      asked.tunnel->from = rig.at.west_gateway;
      EXPECT_EQ(rig.from_underlay(asked).only().packet.destination, backend.address);
      EXPECT_EQ(rig.from_local(tcp(backend, client, kSyn | kAck)).only().packet.source, other.address);
    }
  }
  std::filesystem::remove_all(directory);
}

// Its packets may come by another load balancer of the cluster, or by one that has moved.
TEST_F(Dsr, AnotherLoadBalancerMayTakeOver) {
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip_)), client_, backend_);
  PacketSpec later = plain(tcp(client_, backend_, kAck));
  later.tunnel->from = rig_.at.west_other;
  for (unsigned packet = 0; packet < 2; ++packet) {
    expect_delivered(rig_.from_underlay(later), client_, backend_);
    expect_answered(rig_.from_local(tcp(backend_, client_, kAck)), vip_, client_);
  }
}

// An error that the backend sends about the client's packet quotes what the client has sent: to the service.
TEST_F(Dsr, ErrorsOfTheBackendQuoteTheService) {
  const PacketSpec request = udp(client_, backend_).with_payload(8);
  expect_delivered(rig_.from_underlay(balanced(request, vip_)), client_, backend_);
  const Output error = rig_.from_local(icmp_error(backend_.address, client_.address, 3, 3, request.ip_bytes())).only();
  EXPECT_EQ(error.packet.source, vip_.address);
  EXPECT_EQ(error.packet.destination, client_.address);
  ASSERT_GE(error.packet.quoted.size(), 28u);
  EXPECT_EQ((FrameBytes{error.packet.quoted.begin() + 16, error.packet.quoted.begin() + 24}),
            (FrameBytes{203, 0, 113, 80, 0x12, 0x67, 0x01, 0xbb}));
}

TEST_F(Dsr, OnlyALinkedClusterBalances) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  rig_.set_clusters({PathRig::kWestGateway}, false);
  expect_dropped(balanced(tcp(rig_.at.west, backend_), vip_), "not_linked");
  expect_dropped(balanced(tcp(client_, backend_), vip_), "not_linked");
  expect_dropped(balanced(udp(client_, backend_), vip_), "not_linked");
  PacketSpec south = balanced(tcp(client_, backend_), vip_);
  south.tunnel->from = rig_.at.south_gateway;
  expect_dropped(south, "not_linked");
}

// Of TCP only a SYN asks for a service.
TEST_F(Dsr, LaterPacketsOfTcpOpenNothing) {
  expect_dropped(balanced(tcp(client_, backend_, kAck), vip_), "dsr_option");
  const Endpoint client = rig_.at.west;
  const auto direct = [&](PacketSpec packet) { return rig_.tunnelled(packet, rig_.at.west_gateway, kWestIdentity); };
  expect_delivered(rig_.from_underlay(direct(tcp(client, backend_))), client, backend_);
  expect_answered(rig_.from_local(tcp(backend_, client, kSyn | kAck)), backend_, client);
  for (const int flags : {kAck | 0, kSyn | kAck, kFin | kAck}) {
    PacketSpec later = direct(tcp(client, backend_, static_cast<std::uint8_t>(flags)));
    later.tunnel->options = dsr_option(vip_);
    expect_dropped(later, "dsr_option");
    expect_answered(rig_.from_local(tcp(backend_, client, kAck)), backend_, client);
  }
}

TEST_F(Dsr, WhatAClusterHasOpenedIsNotTakenOverByAnother) {
  for (const bool is_tcp : {true, false}) {
    SCOPED_TRACE(is_tcp ? "tcp" : "udp");
    const auto packet = [&](std::uint8_t flags) {
      return is_tcp ? tcp(client_, backend_, flags) : udp(client_, backend_);
    };
    const auto answer = [&] { return is_tcp ? tcp(backend_, client_, kSyn | kAck) : udp(backend_, client_); };
    expect_delivered(rig_.from_underlay(from_node(balanced(packet(kSyn), vip_))), client_, backend_);
    for (const Endpoint& vip : {other_vip_, vip_}) {
      expect_dropped(balanced(packet(kSyn), vip), "dsr_option");
    }
    expect_dropped(plain(packet(kAck)), "source_outside_cluster");
    expect_answered(rig_.from_local(answer()), vip_, client_);
  }
}

TEST_F(Dsr, WhatAClientHasOpenedItselfIsNotTakenOver) {
  const auto direct = [&](PacketSpec packet) { return rig_.tunnelled(packet, rig_.at.north_gateway, kNorthIdentity); };
  const Endpoint client = rig_.at.north;
  for (const bool is_tcp : {true, false}) {
    SCOPED_TRACE(is_tcp ? "tcp" : "udp");
    const PacketSpec opening = is_tcp ? tcp(client, backend_) : udp(client, backend_);
    expect_delivered(rig_.from_underlay(direct(opening)), client, backend_);
    expect_dropped(from_node(balanced(opening, vip_)), "dsr_option");
    expect_answered(rig_.from_local(is_tcp ? tcp(backend_, client, kSyn | kAck) : udp(backend_, client)), backend_,
                    client);
  }
}

// The client itself, past the load balancer, asks the backend.
TEST_F(Dsr, DatagramsOfTheClientItselfBeginAnew) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
  expect_delivered(rig_.from_underlay(udp(client_, backend_)), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), backend_, client_);
  EXPECT_EQ(rig_.flows().size(), 1u);
}

// A later part that has waited has lost its option.
TEST_F(Dsr, PartsOfADatagramFollowItsFirstOneInAnyOrder) {
  const std::vector<FrameBytes> parts = split(udp(client_, backend_).with_payload(2000).ip_bytes(), 1000);
  ASSERT_EQ(parts.size(), 3u);
  for (const auto& order : {std::vector{0, 1, 2}, {2, 1, 0}, {1, 0, 2}}) {
    std::vector<FrameBytes> out;
    for (const int part : order) {
      PacketSpec packet = udp(client_, backend_);
      packet.raw = parts[static_cast<std::size_t>(part)];
      const Outcome outcome = rig_.from_underlay(balanced(packet, vip_));
      EXPECT_TRUE(outcome.drops.empty()) << outcome.text();
      for (const Output& each : outcome.out) {
        out.push_back(inner_ip(each.bytes));
      }
    }
    const Dissected whole = joined(out);
    EXPECT_TRUE(whole.errors.empty()) << whole.text();
    EXPECT_EQ(whole.payload, 2000u);
    expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
  }
}

// Whoever balances is charged, and not the client or its cluster, whose own connections would have to make room.
class DsrCharges : public Dsr {
 protected:
  DsrCharges() : Dsr(small()) {}
  static PathRig::Options small() {
    PathRig::Options options = geneve();
    options.engine.half_open_limit = 1024;
    return options;
  }
  [[nodiscard]] std::size_t flows_to(std::uint16_t port) const {
    const std::vector<FlowRecord> flows = rig_.flows();
    return static_cast<std::size_t>(std::count_if(
        flows.begin(), flows.end(), [&](const FlowRecord& f) { return f.frontend_port == L4Port{port}; }));
  }
  static constexpr std::uint16_t kOwnConnections = 20;
  static constexpr std::uint16_t kAsked = 8081;
};

TEST_F(DsrCharges, AFloodInAClientsNameLeavesTheClientsOwnConnections) {
  for (std::uint16_t n = 0; n < kOwnConnections; ++n) {
    (void)rig_.from_underlay(tcp({client_.address, n}, {backend_.address, kAsked}));
  }
  ASSERT_EQ(flows_to(kAsked), kOwnConnections);
  for (std::uint16_t n = 0; n < 400; ++n) {
    (void)rig_.from_underlay(balanced(tcp({client_.address, n}, backend_), vip_));
  }
  EXPECT_EQ(flows_to(kAsked), kOwnConnections);
  EXPECT_GT(rig_.counters().connections.half_open_evicted, 200u);
}

TEST_F(DsrCharges, AFloodForAClustersClientsLeavesThatClustersOwnConnections) {
  const auto client = [](std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0a030100 + n)); };
  for (std::uint16_t n = 0; n < kOwnConnections; ++n) {
    (void)rig_.from_underlay(
        rig_.tunnelled(tcp({client(n), 1000}, {backend_.address, kAsked}), rig_.at.north_gateway, kNorthIdentity));
  }
  ASSERT_EQ(flows_to(kAsked), kOwnConnections);
  for (std::uint32_t n = 0; n < 1200; ++n) {
    (void)rig_.from_underlay(from_node(balanced(tcp({client(n), 2000}, backend_), vip_)));
  }
  EXPECT_EQ(flows_to(kAsked), kOwnConnections);
  EXPECT_GT(rig_.counters().connections.half_open_evicted, 500u);
}

TEST_F(Dsr, BackendsOfOtherClustersAreTransit) {
  expect_dropped(from_node(balanced(tcp(client_, rig_.at.west), vip_)), "transit");
  expect_dropped(balanced(tcp(rig_.at.west, rig_.at.north), at("10.2.0.77", 80)), "transit");
}

}  // namespace
}  // namespace isthmus::test
