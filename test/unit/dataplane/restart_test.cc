// A process that takes over the connections of another has other numbers for peers and services.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <vector>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
constexpr unsigned kConnections = 20;

PacketSpec through(const IpAddress& gateway, PacketSpec spec) {
  return spec.in_tunnel(gateway, at.gateway, kWestIdentity);
}

Endpoint port_of(Endpoint client, unsigned n) {
  client.port = static_cast<std::uint16_t>(client.port + n);
  return client;
}

struct Restart : testing::Test {
  Restart() {
    std::string pattern = (std::filesystem::temp_directory_path() / "ist-restart-XXXXXX").string();
    directory = mkdtemp(pattern.data());
  }
  ~Restart() override { std::filesystem::remove_all(directory); }
  // `numbers`: 1 gives to each the number that its neighbour had.
  PathRig::Options process(std::uint32_t numbers) const {
    PathRig::Options options;
    options.state = directory;
    options.numbers = numbers;
    return options;
  }
  std::string directory;
};

TEST_F(Restart, RepliesGoToTheGatewayThatTheConnectionCameFrom) {
  {
    PathRig before(process(0));
    before.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
    for (unsigned n = 0; n < kConnections; ++n) {
      const Endpoint west = port_of(at.west, n);
      ASSERT_EQ(before.from_underlay(through(at.west_other, tcp(west, at.client))).out.size(), 1u);
      ASSERT_EQ(before.from_local(tcp(at.client, west, kSyn | kAck)).only().packet.outer_destination, at.west_other);
      ASSERT_EQ(before.from_underlay(through(at.west_other, tcp(west, at.client, kAck))).out.size(), 1u);
    }
  }
  PathRig after(process(1));
  after.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  EXPECT_EQ(after.counters().connections.adopted, kConnections);
  for (unsigned n = 0; n < kConnections; ++n) {
    const Outcome reply = after.from_local(tcp(at.client, port_of(at.west, n), kAck));
    EXPECT_EQ(reply.only().packet.outer_destination, at.west_other) << n;
  }
}

TEST_F(Restart, AConnectionGoesOnToTheGatewayThatItHad) {
  {
    PathRig before(process(0));
    before.set_clusters({PathRig::kWestGateway});
    for (unsigned n = 0; n < kConnections; ++n) {
      const Outcome first = before.from_local(tcp(port_of(at.client, n), at.remote_service));
      ASSERT_EQ(first.only().packet.outer_destination, at.west_gateway);
    }
  }
  PathRig after(process(1));
  after.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  unsigned others = 0;
  for (unsigned n = 0; n < kConnections; ++n) {
    const Outcome next = after.from_local(tcp(port_of(at.client, n), at.remote_service, kAck));
    EXPECT_EQ(next.only().packet.outer_destination, at.west_gateway) << n;
    const Outcome fresh = after.from_local(tcp(port_of(at.client, 100 + n), at.remote_service));
    others += fresh.only().packet.outer_destination == at.west_other ? 1 : 0;
  }
  EXPECT_GT(others, 0u) << "new connections go to both";
}

// The same where the pod is behind a node of ours, whose address the connection keeps too.
TEST_F(Restart, AConnectionFromANodeGoesOnToTheGatewayThatItHad) {
  const IpAddress node = Actors::ip("192.0.2.50");
  const auto deliver_by_node = [&](PathRig& rig, std::uint32_t number) {
    TableDelta delta;
    delta.upsert_peers = {{PeerId{number}, ClusterId{1}, node, L4Port{8472}, AdjacencyId{1}, false}};
    delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, AdjacencyId{2}, PeerId{number}}};
    ASSERT_TRUE(rig.engine().publish(delta).ok());
  };
  const auto gateway_of = [&](PathRig& rig, unsigned n, std::uint8_t flags) {
    const PacketSpec packet = tcp(port_of(at.client, n), at.remote_service, flags);
    return rig.from_underlay(PacketSpec(packet).in_tunnel(node, at.gateway, kClientIdentity))
        .only()
        .packet.outer_destination;
  };
  {
    PathRig before(process(0));
    deliver_by_node(before, 9);
    before.set_clusters({PathRig::kWestGateway});
    for (unsigned n = 0; n < kConnections; ++n) {
      ASSERT_EQ(gateway_of(before, n, kSyn), at.west_gateway);
    }
  }
  PathRig after(process(1));
  deliver_by_node(after, 10);
  after.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  unsigned others = 0;
  for (unsigned n = 0; n < kConnections; ++n) {
    EXPECT_EQ(gateway_of(after, n, kAck), at.west_gateway) << n;
    others += gateway_of(after, 100 + n, kSyn) == at.west_other ? 1 : 0;
  }
  EXPECT_GT(others, 0u) << "new connections go to both";
}

TEST_F(Restart, ConnectionsAndEventsNameTheServiceByItsPresentNumber) {
  const auto services = [](const PathRig& rig) {
    std::vector<ServiceId> ids;
    for (const FlowRecord& record : rig.flows()) {
      ids.push_back(record.service);
    }
    return ids;
  };
  {
    PathRig before(process(0));
    (void)before.from_local(tcp(at.client, at.remote_service));
    (void)before.from_underlay(through(at.west_gateway, tcp(at.west, at.client, kSyn | kAck)));
    EXPECT_EQ(services(before), std::vector<ServiceId>{ServiceId{1}});
  }
  PathRig after(process(1));
  EXPECT_EQ(services(after), std::vector<ServiceId>{ServiceId{2}});
  EXPECT_EQ(after.flows()[0].forward_peer, kNoPeer) << "not decided yet: no number of the earlier process";
  (void)after.from_local(tcp(at.client, at.remote_service, kAck | kFin));
  EXPECT_EQ(after.flows()[0].forward_peer, PeerId{PathRig::kWestGateway.value() + 1});
  std::vector<FlowEvent> events;
  after.engine().poll_flow_events(events);
  ASSERT_FALSE(events.empty());
  for (const FlowEvent& event : events) {
    EXPECT_EQ(event.service, ServiceId{2});
  }
}

// By their backend, as before, not by the client that they name.
TEST_F(Restart, AnswersKeepTheirShareOfTheHalfOpenConnections) {
  constexpr std::uint32_t kAnswers = 2000;
  PathRig::Options options = process(0);
  options.engine.connections = 4096;
  options.engine.half_open_limit = 1024;
  const auto flood = [](PathRig& rig, std::uint32_t first) {
    for (std::uint32_t n = first; n < first + kAnswers; ++n) {
      const Endpoint client{IpAddress::ipv4(Be32::of(0x0a020100 + n % 250)), static_cast<std::uint16_t>(1024 + n)};
      (void)rig.from_local(tcp(at.local_backend, client, kSyn | kAck));
    }
    return rig.counters().connections.half_open;
  };
  std::uint64_t share = 0;
  {
    PathRig before(options);
    share = flood(before, 0);
  }
  PathRig after(options);
  EXPECT_EQ(after.counters().connections.half_open, share);
  EXPECT_EQ(flood(after, kAnswers), share);
}

}  // namespace
}  // namespace isthmus::test
