// Connections of a cluster with two gateways, of which one dies and returns.
#include <gtest/gtest.h>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

class MovedPeers : public ::testing::Test {
 protected:
  MovedPeers() { both(); }

  void both() { rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther}); }
  void only_other() { rig.set_clusters({PathRig::kWestOther}); }
  // From the pod of west, through one of its gateways. The connection is to a pod, or to a service with a local
  // backend.
  void forward(const IpAddress& gateway, std::uint8_t flags) {
    const Outcome outcome =
        rig.from_underlay(tcp(at.west, target, flags).in_tunnel(gateway, at.gateway, kWestIdentity));
    EXPECT_EQ(outcome.only().packet.destination, at.local_backend.address) << outcome.text();
  }
  // The gateway of west to which the answer goes.
  std::string reply(std::uint8_t flags) {
    const Outcome outcome = rig.from_local(tcp(at.local_backend, at.west, flags));
    return outcome.out.size() == 1 ? outcome.only().packet.outer_destination.to_string() : outcome.text();
  }
  void open() {
    forward(at.west_gateway, kSyn);
    EXPECT_EQ(reply(kSyn | kAck), at.west_gateway.to_string());
    forward(at.west_gateway, kAck);
    EXPECT_EQ(reply(kAck), at.west_gateway.to_string());
  }

  PathRig rig;
  Endpoint target = at.local_backend;
};

TEST_F(MovedPeers, RepliesReturnToAGatewayFromWhichTheForwardDirectionComes) {
  open();
  only_other();
  EXPECT_EQ(reply(kAck), at.west_other.to_string()) << "it is gone";
  EXPECT_EQ(reply(kAck), at.west_other.to_string());
  both();
  EXPECT_EQ(reply(kAck), at.west_other.to_string()) << "until the forward direction shows where it is";
  forward(at.west_gateway, kAck);
  EXPECT_EQ(reply(kAck), at.west_gateway.to_string());
}

// It was restarted, and probes have not shown that yet: nobody else knows the connection.
TEST_F(MovedPeers, RepliesReturnToAGatewayBeforeItIsKnownToBeLive) {
  open();
  only_other();
  EXPECT_EQ(reply(kAck), at.west_other.to_string());
  forward(at.west_gateway, kAck);
  EXPECT_EQ(reply(kAck), at.west_gateway.to_string());
  const std::uint64_t settled = rig.counters().revalidations;
  for (unsigned i = 0; i < 10; ++i) {
    forward(at.west_gateway, kAck);
    EXPECT_EQ(reply(kAck), at.west_gateway.to_string());
  }
  EXPECT_EQ(rig.counters().revalidations, settled) << "neither direction keeps being decided";
  both();
  forward(at.west_gateway, kAck);
  EXPECT_EQ(reply(kAck), at.west_gateway.to_string());
}

TEST_F(MovedPeers, ANewConnectionsRepliesGoBackToAGatewayBeforeItIsKnownToBeLive) {
  only_other();
  forward(at.west_gateway, kSyn);
  EXPECT_EQ(reply(kSyn | kAck), at.west_gateway.to_string());
  EXPECT_EQ(reply(kSyn | kAck), at.west_gateway.to_string());
}

// What was refused because there was none passes as soon as it is there.
TEST_F(MovedPeers, AGatewayThatIsAnnouncedAgainIsUsedAtOnce) {
  rig.set_clusters({PathRig::kWestGateway});
  TableDelta gone, back;
  gone.remove_peers = {PathRig::kWestGateway};
  back.upsert_peers = {{PathRig::kWestGateway, ClusterId{2}, at.west_gateway, L4Port{8472}, AdjacencyId{1}, true}};
  ASSERT_TRUE(rig.engine().publish(gone).ok());
  for (unsigned i = 0; i < 2; ++i) {
    EXPECT_TRUE(rig.from_local(tcp(at.client, at.west)).drops.contains("no_live_gateway"));
  }
  ASSERT_TRUE(rig.engine().publish(back).ok());
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west)).only().packet.outer_destination, at.west_gateway);
}

TEST_F(MovedPeers, AGatewayThatReturnsTakesOverNoneThatHasMoved) {
  open();
  only_other();
  EXPECT_EQ(reply(kAck), at.west_other.to_string());
  forward(at.west_other, kAck);
  both();
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(reply(kAck), at.west_other.to_string());
    forward(at.west_other, kAck);
  }
}

// Of a connection of our own pod, both directions stay with the gateway that the forward one goes to.
TEST_F(MovedPeers, AConnectionFromHereStaysWhereItIs) {
  const auto there = [&](std::uint8_t flags) {
    return rig.from_local(tcp(at.client, at.west, flags)).only().packet.outer_destination.to_string();
  };
  const std::string first = there(kSyn);
  rig.set_clusters({first == at.west_gateway.to_string() ? PathRig::kWestOther : PathRig::kWestGateway});
  const std::string second = there(kAck);
  EXPECT_NE(second, first);
  both();
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(there(kAck), second);
  }
}

}  // namespace
}  // namespace isthmus::test
