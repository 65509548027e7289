// Connections of a cluster without a live gateway: those that are established stay with the peer that they have, which
// may forward them although no engine answers probes there; new ones are refused.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

class SilentPeers : public ::testing::Test {
 protected:
  void live(const std::vector<PeerId>& gateways) { rig.set_clusters(gateways); }
  // From the pod of east into a tunnel: the gateway of west to which it goes.
  std::string there(const PacketSpec& packet) {
    const Outcome outcome = rig.from_local(packet);
    return outcome.out.size() == 1 ? outcome.only().packet.outer_destination.to_string() : outcome.text();
  }
  // Out of the tunnel of a gateway of west: the pod of east to which it goes.
  std::string here(const PacketSpec& packet, const IpAddress& gateway = at.west_gateway) {
    const Outcome outcome = rig.from_underlay(PacketSpec(packet).in_tunnel(gateway, at.gateway, kWestIdentity));
    return outcome.out.size() == 1 ? outcome.only().packet.destination.to_string() : outcome.text();
  }
  bool refuses(const PacketSpec& packet) { return rig.from_local(packet).drops.contains("no_live_gateway"); }

  // A connection of our own pod to that of west, or to a service with that backend, and one the other way.
  void open_from_here(const Endpoint& to) {
    EXPECT_EQ(there(tcp(at.client, to, kSyn)), first);
    EXPECT_EQ(here(tcp(at.west, at.client, kSyn | kAck)), client);
    EXPECT_EQ(there(tcp(at.client, to, kAck)), first);
  }
  void open_from_west(const IpAddress& gateway = at.west_gateway) {
    EXPECT_EQ(here(tcp(at.west, at.client, kSyn), gateway), client);
    EXPECT_EQ(there(tcp(at.client, at.west, kSyn | kAck)), gateway.to_string());
    EXPECT_EQ(here(tcp(at.west, at.client, kAck), gateway), client);
    EXPECT_EQ(there(tcp(at.client, at.west, kAck)), gateway.to_string());
  }
  void drain_first() {
    TableDelta drained;
    drained.changed_clusters = {{ClusterId{2},
                                 false,
                                 true,
                                 {*Prefix::parse("10.2.0.0/16"), *Prefix::parse("fd00:2::/48")},
                                 {PathRig::kWestOther},
                                 {PathRig::kWestGateway}}};
    ASSERT_TRUE(rig.engine().publish(drained).ok());
  }
  void change_first(const PeerEntry& entry) {
    TableDelta delta;
    delta.upsert_peers = {entry};
    ASSERT_TRUE(rig.engine().publish(delta).ok());
  }

  PathRig rig;
  const std::string first = at.west_gateway.to_string(), other = at.west_other.to_string();
  const std::string client = at.client.address.to_string();
  const Endpoint second{at.client.address, 40001}, third{at.client.address, 40002};
  const PeerEntry known{PathRig::kWestGateway, ClusterId{2}, at.west_gateway, L4Port{8472}, AdjacencyId{1}, true};
};

TEST_F(SilentPeers, AnEstablishedConnectionGoesOnAndANewOneIsRefused) {
  open_from_here(at.west);
  live({});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  EXPECT_EQ(here(tcp(at.west, at.client, kAck)), client);
  EXPECT_TRUE(refuses(tcp(second, at.west)));
  const std::uint64_t settled = rig.counters().revalidations;
  for (unsigned i = 0; i < 10; ++i) {
    EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
    EXPECT_EQ(here(tcp(at.west, at.client, kAck)), client);
  }
  EXPECT_EQ(rig.counters().revalidations, settled) << "neither direction keeps being decided";
  live({PathRig::kWestGateway});
  EXPECT_EQ(there(tcp(second, at.west)), first);
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  live({});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  EXPECT_TRUE(refuses(tcp(second, at.west))) << "it was never answered";
  EXPECT_TRUE(refuses(tcp(third, at.west)));
}

TEST_F(SilentPeers, RepliesGoOnThoughTheForwardDirectionIsIdle) {
  open_from_west();
  live({});
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  }
  EXPECT_EQ(here(tcp(at.west, at.client, kAck)), client);
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  EXPECT_TRUE(refuses(tcp(second, at.west)));
  live({PathRig::kWestGateway});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  EXPECT_EQ(there(tcp(second, at.west)), first);
}

// A service that takes no new connections to a cluster without a live gateway.
TEST_F(SilentPeers, AConnectionKeepsTheBackendThatTheServiceStillHas) {
  open_from_here(at.remote_service);
  rig.set_backends(at.remote_service, 1, {backend(1, at.west, 2)}, {});
  live({});
  EXPECT_EQ(there(tcp(at.client, at.remote_service, kAck)), first);
  EXPECT_TRUE(rig.from_local(tcp(second, at.remote_service)).drops.contains("no_live_backend"));
  rig.set_backends(at.remote_service, 1, {}, {});  // its cluster was unreachable for too long
  EXPECT_TRUE(rig.from_local(tcp(at.client, at.remote_service, kAck)).drops.contains("no_live_backend"));
}

TEST_F(SilentPeers, AnsweredUdpGoesOn) {
  EXPECT_EQ(there(udp(at.client, at.west)), first);
  EXPECT_EQ(here(udp(at.west, at.client)), client);
  EXPECT_EQ(there(udp(second, at.west)), first);
  live({});
  EXPECT_EQ(there(udp(at.client, at.west)), first);
  EXPECT_TRUE(refuses(udp(second, at.west))) << "nobody has answered it";
  EXPECT_TRUE(refuses(udp(third, at.west)));
}

TEST_F(SilentPeers, AHalfOpenConnectionIsRefused) {
  EXPECT_EQ(there(tcp(at.client, at.west, kSyn)), first);
  live({});
  EXPECT_TRUE(refuses(tcp(at.client, at.west, kSyn)));
  live({PathRig::kWestGateway});
  EXPECT_EQ(there(tcp(at.client, at.west, kSyn)), first);
}

TEST_F(SilentPeers, AConnectionMovesToAGatewayThatIsLive) {
  open_from_here(at.west);
  live({PathRig::kWestOther});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), other);
  live({});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), other) << "the one that it has now";
  live({PathRig::kWestGateway});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first) << "nobody but that one";
}

TEST_F(SilentPeers, RepliesMoveToAGatewayThatIsLive) {
  live({PathRig::kWestGateway, PathRig::kWestOther});
  open_from_west(at.west_other);
  live({});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), other);
  live({PathRig::kWestGateway});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  live({});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first) << "the one that it has now";
  EXPECT_EQ(here(tcp(at.west, at.client, kAck), at.west_other), client);
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), other) << "from there the forward direction comes";
  live({PathRig::kWestOther});
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), other);
}

TEST_F(SilentPeers, NothingGoesToAPeerThatIsNoLongerOneOfThatCluster) {
  open_from_here(at.west);
  live({});
  const PacketSpec packet = tcp(at.client, at.west, kAck);
  EXPECT_EQ(there(packet), first);
  TableDelta gone;
  gone.remove_peers = {PathRig::kWestGateway};
  ASSERT_TRUE(rig.engine().publish(gone).ok());
  EXPECT_TRUE(refuses(packet));
  change_first(known);
  EXPECT_EQ(there(packet), first);
  PeerEntry moved = known;
  moved.cluster = ClusterId{3};
  change_first(moved);
  EXPECT_TRUE(refuses(packet));
  moved = known;
  moved.adjacency = kNoAdjacency;
  change_first(moved);
  EXPECT_TRUE(refuses(packet)) << "the underlay has no route there";
  change_first(known);
  EXPECT_EQ(there(packet), first);
}

// Nobody else knows the connection yet; what it opens itself goes to the other one.
TEST_F(SilentPeers, ADrainedOneStillGetsTheRepliesOfWhatComesThroughIt) {
  open_from_west();
  drain_first();
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  EXPECT_EQ(there(tcp({at.client.address, 40001}, at.west, kSyn)), at.west_other.to_string());
  EXPECT_EQ(here(tcp(at.west, at.client, kAck), at.west_other), client);
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), at.west_other.to_string()) << "it has moved";
}

TEST_F(SilentPeers, ADrainedOneGetsTheRepliesOfWhatHasBeenIdle) {
  open_from_west();
  drain_first();
  std::this_thread::sleep_for(std::chrono::seconds(4));  // beyond the two seconds in which a returned one counts
  rig.idle();
  EXPECT_EQ(there(tcp(at.client, at.west, kAck)), first);
  rig.set_clusters({PathRig::kWestOther});
  EXPECT_NE(there(tcp(at.client, at.west, kAck)), first) << "it has ended";
}

}  // namespace
}  // namespace isthmus::test
