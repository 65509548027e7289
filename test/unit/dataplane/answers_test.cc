// Connections that a local backend's answer takes up, because its client's packets come through another gateway: what
// they may hold, and for how long.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

const Actors at;
constexpr std::uint32_t kConnections = 4096, kHalfOpen = 1024;

PathRig::Options small_table() {
  PathRig::Options options;
  options.engine.connections = kConnections;
  options.engine.half_open_limit = kHalfOpen;
  return options;
}
Endpoint client(std::uint32_t n) {
  return {IpAddress::ipv4(Be32::of(0x0a020100 + n % 250)), static_cast<std::uint16_t>(10000 + n)};
}
void make_udp_backend(PathRig& rig) {
  auto set = std::make_shared<BackendSet>();
  set->backends = {backend(20, at.local_backend, 1)};
  set->ring = {0};
  TableDelta delta;
  FrontendEntry entry;
  entry.key = {Realm{0}, Actors::ip("10.200.0.20"), IpProtocol::kUdp, L4Port{53}};
  entry.service = ServiceId{20};
  entry.backends = std::move(set);
  delta.upsert_frontends.push_back(entry);
  ASSERT_TRUE(rig.engine().publish(delta).ok());
}
unsigned new_connections_refused(PathRig& rig) {
  unsigned refused = 0;
  for (std::uint16_t n = 0; n < 200; ++n) {
    const Endpoint other{at.client.address, static_cast<std::uint16_t>(2000 + n)};
    refused += rig.from_local(tcp(other, at.remote_service)).out.size() != 1;
  }
  return refused;
}

struct Flood {
  const char* description;
  bool udp;
  std::uint8_t flags;
};

TEST(Answers, OfAFloodHurtOnlyItsSender) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "one thread, in which ThreadSanitizer has nothing to find, for ten minutes";
#endif
  for (const Flood& flood : {Flood{"SYN-ACK", false, kSyn | kAck}, {"data", false, kAck}, {"UDP", true, 0}}) {
    SCOPED_TRACE(flood.description);
    PathRig rig(small_table());
    make_udp_backend(rig);
    for (std::uint32_t n = 0; n < 2 * kConnections; ++n) {
      const PacketSpec packet =
          flood.udp ? udp(at.local_backend, client(n)) : tcp(at.local_backend, client(n), flood.flags);
      ASSERT_EQ(rig.from_local(packet).out.size(), 1u) << n;
    }
    EXPECT_LE(rig.counters().connections.half_open, kHalfOpen / 4);
    EXPECT_EQ(new_connections_refused(rig), 0u);
  }
}

TEST(Answers, StayWithTheGatewayTheyWentToWhenAnotherReturns) {
  PathRig rig;
  const auto answer = [&](std::uint16_t port) {
    return rig.from_local(tcp(at.local_backend, {at.west.address, port}, kAck)).only().packet.outer_destination;
  };
  constexpr std::uint16_t kFirst = 3000, kLast = 3020;
  rig.set_clusters({PathRig::kWestOther});
  for (std::uint16_t port = kFirst; port < kLast; ++port) {
    EXPECT_EQ(answer(port), at.west_other);
  }
  rig.set_clusters({PathRig::kWestGateway});
  for (std::uint16_t port = kFirst; port < kLast; ++port) {
    EXPECT_EQ(answer(port), at.west_gateway);
  }
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  TableDelta everything;
  everything.policy_defaults = PolicyDefaults{};
  ASSERT_TRUE(rig.engine().publish(everything).ok());
  for (std::uint16_t port = kFirst; port < kLast; ++port) {
    EXPECT_EQ(answer(port), at.west_gateway) << port;
  }
}

TEST(Answers, AreReportedOnce) {
  PathRig rig;
  std::vector<FlowEvent> events;
  rig.engine().poll_flow_events(events);
  events.clear();
  ASSERT_EQ(rig.from_local(tcp(at.local_backend, at.west, kSyn | kAck)).out.size(), 1u);
  rig.engine().poll_flow_events(events);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events.front().trace, TraceReason::kReply);
  EXPECT_EQ(events.front().direction, TrafficDirection::kIngress);
}

TEST(Answers, AreFollowedByTheirClientsSynAsANewConnection) {
  PathRig rig;
  ASSERT_EQ(rig.from_local(tcp(at.local_backend, at.west, kAck)).out.size(), 1u);
  const Outcome outcome =
      rig.from_underlay(tcp(at.west, at.local_backend).in_tunnel(at.west_gateway, at.gateway, kWestIdentity));
  ASSERT_EQ(outcome.out.size(), 1u) << outcome.text();
  EXPECT_EQ(rig.counters().connections.created, 2u);
  EXPECT_EQ(rig.counters().connections.half_open, 1u);
}

}  // namespace
}  // namespace isthmus::test
