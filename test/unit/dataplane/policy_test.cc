// Identity policy through the path: which packets pass, and with which reason the others are dropped.
#include <gtest/gtest.h>

#include "dataplane/api/identity.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

constexpr std::uint32_t kWest = 1, kClient = 2, kNobody = 3, kCidr = 4, kNodes = 5;  // selectors
constexpr std::uint32_t kPrefixIdentity = 1u << 24 | 7;
const std::map<std::string, std::uint64_t> kDenied{{"policy_denied", 1}}, kDeniedByRule{{"policy_deny", 1}};

class Policy : public ::testing::Test {
 protected:
  PathRig rig;
  const Actors& at = rig.at;

  void publish(PolicyDelta& policies) {
    policies.select(kWest, {kWestIdentity})
        .select(kClient, {kClientIdentity})
        .select(kNobody, {})
        .select(kCidr, {kPrefixIdentity})
        .select(kNodes, {identity::kRemoteNode.value()});
    const Status status = rig.engine().publish(policies.delta);
    ASSERT_TRUE(status.ok()) << status.error().text();
  }
  PacketSpec from_west(PacketSpec spec, std::uint32_t vni = kWestIdentity) const {
    return spec.in_tunnel(at.west_gateway, at.gateway, vni);
  }
  // Sends one packet on the side it belongs to. Returns its drops; empty if it passed.
  std::map<std::string, std::uint64_t> drops_of(const PacketSpec& spec) {
    const Outcome outcome = spec.tunnel ? rig.from_underlay(spec) : rig.from_local(spec);
    EXPECT_EQ(outcome.out.empty(), !outcome.drops.empty()) << outcome.text();
    return outcome.drops;
  }
  static std::map<std::string, std::uint64_t> passes() { return {}; }
};

TEST_F(Policy, WithoutAPolicyEverythingPasses) {
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), passes());
  EXPECT_EQ(drops_of(from_west(tcp(at.west, {at.local_backend.address, 5}))), passes());
}

TEST_F(Policy, IngressAllowsOnlyTheSelectedPeerOnTheNamedPorts) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced({allow(kWest, kTcpNumber, 8000, 8009)}));
  publish(policies);
  const auto to = [&](std::uint16_t port) { return Endpoint{at.client.address, port}; };
  EXPECT_EQ(drops_of(from_west(tcp(at.west, to(8000)))), passes());
  EXPECT_EQ(drops_of(from_west(tcp(at.west, to(8009)))), passes());
  EXPECT_EQ(drops_of(from_west(tcp(at.west, to(7999)))), kDenied);
  EXPECT_EQ(drops_of(from_west(tcp(at.west, to(8010)))), kDenied);
  EXPECT_EQ(drops_of(from_west(udp(at.west, to(8000)))), kDenied);
  const PacketSpec north = tcp(at.north, to(8000)).in_tunnel(at.north_gateway, at.gateway, kNorthIdentity);
  EXPECT_EQ(drops_of(north), kDenied);
  EXPECT_EQ(rig.flows().size(), 2u) << "a denied connection leaves no entry";
}

TEST_F(Policy, DenyTakesPrecedenceOverAllow) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced({allow(kEveryPeer.value()), deny(kWest, kTcpNumber, 9000, 9000)}));
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), kDeniedByRule);
  EXPECT_EQ(drops_of(udp(at.client, at.west)), passes());
  EXPECT_EQ(drops_of(tcp(at.client, at.north)), passes());
}

TEST_F(Policy, DenyWithoutEnforcementDeniesOnlyWhatItNames) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, {false, {deny(kWest)}});
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), kDeniedByRule);
  EXPECT_EQ(drops_of(tcp(at.client, at.north)), passes());
}

TEST_F(Policy, RepliesNeedNoPolicyOfTheirOwn) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced());
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), passes());
  EXPECT_EQ(drops_of(from_west(tcp(at.west, at.client, kSyn | kAck))), passes());
  EXPECT_EQ(drops_of(from_west(tcp(at.west, {at.client.address, 1}, kSyn))), kDenied);
}

TEST_F(Policy, ADeniedForwardDirectionDeniesItsRepliesToo) {
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), passes());
  EXPECT_EQ(drops_of(from_west(tcp(at.west, at.client, kSyn | kAck))), passes());
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced());
  publish(policies);
  EXPECT_EQ(drops_of(from_west(tcp(at.west, at.client, kAck))), kDenied);
  EXPECT_EQ(drops_of(tcp(at.client, at.west, kAck)), kDenied);
  EXPECT_EQ(rig.flows().size(), 1u) << "the entry is kept in case the policy allows it again";
  PolicyDelta again;
  again.without(kClientIdentity);
  publish(again);
  EXPECT_EQ(drops_of(from_west(tcp(at.west, at.client, kAck))), passes());
  EXPECT_EQ(drops_of(tcp(at.client, at.west, kAck)), passes());
}

TEST_F(Policy, EgressMatchesTheBackendAndNotTheVip) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced({allow(kWest, kTcpNumber, 9000, 9000)}));
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.remote_service)), passes());
  PolicyDelta port_of_the_vip;
  port_of_the_vip.egress(kClientIdentity, enforced({allow(kWest, kTcpNumber, 80, 80)}));
  publish(port_of_the_vip);
  EXPECT_EQ(drops_of(tcp({at.client.address, 2}, at.remote_service)), kDenied);
}

TEST_F(Policy, IngressMatchesTheSourceBeforeTranslation) {
  PolicyDelta policies;
  policies.ingress(kLocalBackendIdentity, enforced({allow(kClient, kTcpNumber, 8080, 8080)}));
  publish(policies);
  const Output out = rig.from_local(tcp(at.client, at.local_service)).only();
  EXPECT_EQ(out.packet.source, at.translation);
  const Endpoint back{at.translation, out.packet.source_port};
  EXPECT_EQ(drops_of(tcp(at.local_backend, back, kSyn | kAck)), passes());
  PolicyDelta denied;
  denied.ingress(kLocalBackendIdentity, enforced({allow(kWest)}));
  publish(denied);
  EXPECT_EQ(drops_of(tcp({at.client.address, 2}, at.local_service)), kDenied);
  EXPECT_EQ(drops_of(tcp(at.client, at.local_service, kAck)), kDenied);
  EXPECT_EQ(drops_of(tcp(at.local_backend, back, kAck)), kDenied);
}

TEST_F(Policy, BetweenTwoLocalEndpointsEgressIsCheckedFirst) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, {false, {deny(kEveryPeer.value())}});
  policies.ingress(kLocalBackendIdentity, enforced());
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.local_service)), kDeniedByRule);
  PolicyDelta ingress_only;
  ingress_only.without(kClientIdentity);
  publish(ingress_only);
  EXPECT_EQ(drops_of(tcp(at.client, at.local_service)), kDenied);
}

TEST_F(Policy, AClientWhoseBackendIsDeniedGetsNoOther) {
  rig.set_backends(at.remote_service, 1, {backend(1, at.west, 2), backend(9, at.north, 3)}, {0, 1});
  PolicyDelta policies;
  policies.egress(kClientIdentity, {false, {deny(kWest)}});
  publish(policies);
  unsigned denied = 0;
  unsigned passed = 0;
  for (std::uint16_t port = 1000; port < 1100; ++port) {
    const auto drops = drops_of(tcp({at.client.address, port}, at.remote_service));
    denied += drops == kDeniedByRule;
    passed += drops.empty();
  }
  EXPECT_EQ(denied + passed, 100u);
  EXPECT_GT(denied, 10u);
  EXPECT_GT(passed, 10u);
}

TEST_F(Policy, IcmpIsMatchedByTypeAndErrorsPassWithTheirConnection) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced({allow(kWest, kIcmpNumber, 8, 8), allow(kWest, kUdpNumber)}));
  publish(policies);
  EXPECT_EQ(drops_of(echo_request(at.client.address, at.west.address, 7)), passes());
  EXPECT_EQ(drops_of(from_west(echo_reply(at.west.address, at.client.address, 7))), passes());
  EXPECT_EQ(drops_of(echo_request(at.client.address, at.north.address, 7)), kDenied);
  EXPECT_EQ(drops_of(udp(at.client, at.west)), passes());
  const PacketSpec error =
      from_west(icmp_error(at.west.address, at.client.address, 3, 3, udp(at.client, at.west).ip_bytes()), 6);
  EXPECT_EQ(drops_of(error), passes());
  PolicyDelta other_type;
  other_type.egress(kClientIdentity, enforced({allow(kWest, kIcmpNumber, 0, 0)}));
  publish(other_type);
  EXPECT_EQ(drops_of(echo_request(at.client.address, at.west.address, 7)), kDenied);
  EXPECT_EQ(drops_of(error), kDenied) << "its connection is denied";
}

TEST_F(Policy, AuditModePassesAndCountsDenials) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced({deny(kWest)})).audit(kClientIdentity);
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), passes());
  EXPECT_EQ(drops_of(tcp(at.client, at.north)), passes());
  EXPECT_EQ(rig.counters().policy_audited, 2u);
}

TEST_F(Policy, TheClusterLinkIsCheckedBeforePolicy) {
  PolicyDelta policies;
  policies.egress(kClientIdentity, enforced());
  publish(policies);
  EXPECT_EQ(drops_of(tcp(at.client, at.south)), (std::map<std::string, std::uint64_t>{{"not_linked", 1}}));
}

TEST_F(Policy, AnAddressWithoutAnEndpointHasTheIdentityOfItsLongestPrefixOrWorld) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced({allow(kCidr)}))
      .egress(kClientIdentity, enforced({allow(kCidr)}))
      .prefix("10.2.128.0/17", kPrefixIdentity + 1)
      .prefix("10.2.200.0/24", kPrefixIdentity);
  publish(policies);
  constexpr std::uint32_t kWorldVni = 2;
  const auto host = [](const char* address) { return Endpoint{Actors::ip(address), 5}; };
  EXPECT_EQ(drops_of(from_west(tcp(host("10.2.200.9"), at.client), kWorldVni)), passes());
  EXPECT_EQ(drops_of(from_west(tcp(host("10.2.201.9"), at.client), kWorldVni)), kDenied);
  EXPECT_EQ(drops_of(from_west(tcp(host("10.2.3.9"), at.client), kWorldVni)), kDenied) << "world";
  EXPECT_EQ(drops_of(tcp(at.client, host("10.2.200.7"))), passes());
  EXPECT_EQ(drops_of(tcp(at.client, host("10.2.201.7"))), kDenied);
  EXPECT_EQ(drops_of(from_west(tcp(at.west, at.client), kWorldVni)), kDenied) << "an endpoint has its own identity";
}

// The policy of the second client's identity is closed; where it receives, a port is open.
TEST_F(Policy, APodReceivesAsAnotherIdentityWhileItIsAReceiver) {
  const IpAddress address = *IpAddress::parse("10.1.0.77");
  for (const IpAddress& each : {at.client.address, address}) {
    const EndpointEntry entry{Realm{0}, each, ClusterId{1}, Identity{kClientIdentity}, kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
  }
  const Identity receiver = identity::receiver(5);
  const Receiver pod{address, Identity{kClientIdentity}, receiver};
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced())
      .ingress(receiver.value(), enforced({allow(kEveryPeer.value(), kTcpNumber, 80, 80)}));
  policies.egress(kLocalBackendIdentity, enforced({allow(9, kTcpNumber, 80, 80)})).select(9, {receiver.value()});
  policies.delta.upsert_receivers = {pod};
  publish(policies);
  std::uint16_t port = 50000;
  const auto from_west_to = [&](const IpAddress& to, std::uint16_t to_port) {
    return drops_of(from_west(tcp({at.west.address, ++port}, {to, to_port})));
  };
  for (int i = 0; i < 3; ++i) {  // the later ones by the pattern of the first
    EXPECT_EQ(from_west_to(address, 80), passes());
    EXPECT_EQ(from_west_to(at.client.address, 80), kDenied) << "another pod of its identity";
    EXPECT_EQ(from_west_to(address, 81), kDenied);
  }
  EXPECT_EQ(drops_of(tcp(at.local_backend, {address, 80})), passes());
  EXPECT_EQ(drops_of(tcp(at.local_backend, {at.client.address, 80})), kDenied);
  PolicyDelta none;
  none.delta.remove_receivers = {pod};
  publish(none);
  EXPECT_EQ(from_west_to(address, 80), kDenied);
  const PacketSpec opened = tcp({at.west.address, 50001}, {address, 80}, kAck);
  EXPECT_EQ(drops_of(from_west(opened)), kDenied) << "a connection that stood depends on it";
}

TEST_F(Policy, AnEndpointWithoutLabelsGetsItsIdentityFromItsPrefixOrCluster) {
  constexpr std::uint32_t kPods = 6, kUnpublished = (2u << 16) + 999;
  const Identity none = identity::unlabelled(ClusterId{2});
  const auto pods_at = [](std::uint32_t prefix) { return identity::unlabelled_at(Identity{prefix}, {}).value(); };
  PolicyDelta policies;
  policies.select(kPods, {none.value(), pods_at(kPrefixIdentity)})
      .ingress(kClientIdentity, enforced({allow(kPods)}))
      .egress(kClientIdentity, enforced({allow(kPods)}))
      .prefix("10.2.200.0/24", kPrefixIdentity)
      .prefix("10.2.201.0/24", kPrefixIdentity + 1);
  publish(policies);
  const auto host = [](const char* address) { return Endpoint{Actors::ip(address), 5}; };
  for (const char* address : {"10.2.200.9", "10.2.201.9", "10.2.3.9"}) {
    const EndpointEntry entry{Realm{0}, Actors::ip(address), ClusterId{2}, none, kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
  }
  for (const std::uint32_t vni : {kUnpublished, kWestIdentity, 2u}) {
    EXPECT_EQ(drops_of(from_west(tcp(host("10.2.200.9"), at.client), vni)), passes()) << vni;
    EXPECT_EQ(drops_of(from_west(tcp(host("10.2.3.9"), at.client), vni)), passes())
        << "in no prefix: the identity of its cluster";
    EXPECT_EQ(drops_of(from_west(tcp(host("10.2.201.9"), at.client), vni)), kDenied)
        << "the identity it claims is ignored";
  }
  EXPECT_EQ(drops_of(from_west(tcp(host("10.2.200.8"), at.client), 2)), kDenied) << "an address without an endpoint";
  EXPECT_EQ(drops_of(tcp(at.client, {Actors::ip("10.2.200.9"), 80})), passes());
  EXPECT_EQ(drops_of(tcp(at.client, {Actors::ip("10.2.201.9"), 80})), kDenied);
  EXPECT_EQ(drops_of(tcp(at.client, {Actors::ip("10.2.200.8"), 80})), kDenied);
}

TEST_F(Policy, ANodesVniIsResolvedByItsInnerSource) {
  PolicyDelta policies;
  policies.ingress(kClientIdentity, enforced({allow(kNodes)}));
  publish(policies);
  const Endpoint node{Actors::ip("10.2.0.77"), 5};
  const auto publish_node = [&](Identity identity) {
    const EndpointEntry entry{Realm{0}, node.address, ClusterId{2}, identity, kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
  };
  EXPECT_EQ(drops_of(from_west(tcp(node, at.client), 6)), kDenied) << "no node that the hub knows";
  publish_node(identity::kRemoteNode);
  EXPECT_EQ(drops_of(from_west(tcp(node, at.client), 6)), passes());
  EXPECT_EQ(drops_of(tcp(at.client, node, kSyn | kAck)), passes()) << "the reply is checked for the same pair";
  EXPECT_EQ(drops_of(from_west(tcp(at.west, at.client), 6)), kDenied) << "a pod of west is not a node";
  publish_node(Identity{kWestIdentity});
  EXPECT_EQ(drops_of(from_west(tcp(node, at.client, kAck), 6)), kDenied);
}

TEST_F(Policy, AnInconsistentDeltaIsRejectedAsAWholeWithWhatWhereAndFix) {
  PolicyDelta initial;
  initial.egress(kClientIdentity, enforced({allow(kWest)}));
  publish(initial);
  TableDelta absent, without_identities, zero, without_subject, removed;
  absent.upsert_policies = PolicyDelta().egress(kClientIdentity, enforced({allow(77)})).delta.upsert_policies;
  without_identities.upsert_selectors = {{SelectorId{5}, nullptr}};
  zero.upsert_selectors = {{kEveryPeer, std::make_shared<const std::vector<Identity>>()}};
  without_subject.upsert_policies = {nullptr};
  removed.remove_selectors = {SelectorId{kWest}};
  removed.upsert_policies = PolicyDelta().ingress(kClientIdentity, enforced({allow(kWest)})).delta.upsert_policies;
  struct Row {
    const TableDelta& delta;
    const char *where, *what;
  };
  for (const Row& row :
       {Row{absent, "egress of identity 65636", "policy entry refers to selector 77, which does not exist"},
        Row{without_identities, "selector 5", "selector without identities"},
        Row{zero, "selector 0", "selector without identities, or with an id"},
        Row{without_subject, "policy", "policy without a subject"},
        Row{removed, "ingress of identity 65636", "policy entry refers to selector 1,"}}) {
    const Status status = rig.engine().publish(row.delta);
    ASSERT_FALSE(status.ok()) << row.what;
    EXPECT_EQ(status.error().where, row.where);
    EXPECT_EQ(status.error().what.rfind(row.what, 0), 0u) << status.error().what;
    EXPECT_NE(status.error().fix.find("report it"), std::string::npos) << row.what;
  }
  EXPECT_EQ(drops_of(tcp(at.client, at.west)), passes()) << "the previous policy still applies";
  EXPECT_EQ(drops_of(tcp(at.client, at.north)), kDenied);
}

}  // namespace
}  // namespace isthmus::test
