#include "control/restore/codec.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace isthmus {
namespace {

const IpAddress kV4 = *IpAddress::parse("10.1.2.3"), kV6 = *IpAddress::parse("fd00::1");
const Prefix kPrefix = *Prefix::parse("10.1.0.0/16"), kPrefix6 = *Prefix::parse("fd00:1::/64");

// An object of each kind with no field at its default: a field that is not kept would show.
std::vector<std::pair<ObjectKind, ObjectValue>> objects() {
  const std::map<std::string, std::string> labels{{"app", "web"}, {"", "\xff\x00 no text"}};
  const ServicePort port{"http", IpProtocol::kUdp, L4Port{8080}};
  const LabelSelector selector{{{"k8s", "app", LabelOperator::kDoesNotExist, {"a", "b"}}}};
  PolicyRule rule;
  rule.line = 7;
  rule.egress = rule.deny = rule.any_peer = rule.any_port = true;
  rule.endpoints = {selector};
  rule.entities = {PolicyEntity::kCluster};
  rule.cidrs = {{kPrefix, "group", selector, {kPrefix6}}};
  rule.services = {{"ns", "name", selector}};
  rule.ports = {{6, 80, 90, "http"}};
  const PolicyObject policy{{{selector, true, true, {rule}}}, true};
  ProfileObject profile{{"east", "west"}, 511, {kPrefix}, {{"west", {{{kPrefix}}, {kPrefix6}, 1U, 2U, 3U}}}};
  return {{ObjectKind::kCluster, ClusterObject{ClusterId{3}, {kPrefix}, {kPrefix6}, EncapsulationKind::kNone}},
          {ObjectKind::kGateway, GatewayObject{"east", kV4, L4Port{6081}, {kV6}, EncapsulationKind::kGeneve}},
          {ObjectKind::kProfile, profile},
          {ObjectKind::kNamespace, NamespaceObject{labels, {{"a", "b"}}}},
          {ObjectKind::kService, ServiceObject{true,
                                               false,
                                               ServiceAffinity::kRemote,
                                               true,
                                               {port},
                                               {kV4, kV6},
                                               labels,
                                               {{"c", "d"}},
                                               -5,
                                               {"spec.type: ExternalName"},
                                               ServiceRules{{kPrefix}, true, true, true, TrafficDistribution::kNode},
                                               60}},
          {ObjectKind::kSlice,
           SliceObject{"web", {port}, {{{kV4, kV6}, false, false, true, "node", "zone", {"a"}, {"b"}}}, 0}},
          {ObjectKind::kPod, PodObject{{kV4}, "node", true, labels, {port}}},
          {ObjectKind::kCiliumEndpoint, CiliumEndpointObject{{kV6}, Identity{0xffffffff}, kV4}},
          {ObjectKind::kIdentity, IdentityObject{Identity{65537}, labels}},
          {ObjectKind::kAddress, AddressObject{kPrefix6, Identity{9}, kV6, "ns", "pod", {port}}},
          {ObjectKind::kNode, NodeObject{{kV4}, {kPrefix}, {kV6}, {kV4, kV6}, {kV6}, std::string("zone")}},
          {ObjectKind::kServiceImport, ServiceImportObject{{kV4}, {port}, 1'700'000'000}},
          {ObjectKind::kCidrGroup, CidrGroupObject{{kPrefix}, labels}},
          {ObjectKind::kAgentConfig, AgentConfigObject{false}},
          {ObjectKind::kNetworkPolicy, policy},
          {ObjectKind::kCiliumPolicy, policy},
          {ObjectKind::kClusterwidePolicy, policy}};
}

TEST(Codec, EveryKindOfObjectIsReadAsItWasWritten) {
  ASSERT_EQ(objects().size(), static_cast<std::size_t>(ObjectKind::kAgentConfig) + 1);
  for (const auto& [kind, value] : objects()) {
    const KeptKey key = KeptObject{"etcd", {kind, "east", "ns", "name"}};
    EXPECT_EQ(decode_key(encode_key(key)), key);
    const auto read = decode_version(encode_version(value, {"hub/a.yaml", 12}), kind);
    ASSERT_TRUE(read) << kind_text(kind);
    EXPECT_EQ(read->value, value) << kind_text(kind);
    EXPECT_EQ(read->provenance.text(), "hub/a.yaml:12");
  }
}

TEST(Codec, OtherFactsAreReadAsTheyWereWritten) {
  for (const KeptKey& key : std::vector<KeptKey>{KeptSeen{"etcd", "west"}, KeptCluster{"west"}, KeptVip{kV6},
                                                 KeptOwner{"etcd"}, KeptPart{"file", ObjectKind::kNode, "west"}}) {
    EXPECT_EQ(decode_key(encode_key(key)), key);
  }
  const KeptTime time{1'700'000'000, true};
  EXPECT_EQ(decode_time(encode_time(time)), time);
  const KeptClaims claims{ClusterId{511}, {kPrefix, kPrefix6}, {{"west-1", kV4}}, {kV4}};
  EXPECT_EQ(decode_claims(encode_claims(claims)), claims);
  const KeptHolder holder{"shop", "web"};
  EXPECT_EQ(decode_holder(encode_holder(holder)), holder);
  const KeptIdentity identity{"folder /hub"};
  EXPECT_EQ(decode_identity(encode_identity(identity)), identity);
}

TEST(Codec, AValueOfAnotherKindIsNotRead) {
  const std::string bytes = encode_version(ClusterObject{}, {});
  EXPECT_TRUE(decode_version(bytes, ObjectKind::kCluster));
  EXPECT_FALSE(decode_version(bytes, ObjectKind::kGateway));
}

TEST(Codec, AVersionWithFewerFieldsLeavesTheOthersAtTheirDefaults) {
  // [[3, [[]]], ["x"]]: a Namespace (the fourth kind) with labels alone, a place without a line.
  const std::string bytes("\x82\x82\x03\x81\x80\x81\x61x", 8);
  const auto read = decode_version(bytes, ObjectKind::kNamespace);
  ASSERT_TRUE(read);
  EXPECT_EQ(std::get<NamespaceObject>(read->value), NamespaceObject{});
}

TEST(Codec, NoBytesMakeItThrowOrReadWhatWasNotWritten) {
  std::mt19937 random(20261129);
  std::size_t refused = 0, tried = 0;
  for (const auto& [kind, value] : objects()) {
    const std::string bytes = encode_version(value, {"a", 1});
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(decode_version(bytes.substr(0, length), kind));
    }
    for (int i = 0; i < 500; ++i, ++tried) {
      std::string changed = bytes;
      changed[random() % changed.size()] = static_cast<char>(random());
      refused += decode_version(changed, kind) ? 0 : 1;
      static_cast<void>(decode_key(changed));
      static_cast<void>(decode_time(changed));
      static_cast<void>(decode_claims(changed));
      static_cast<void>(decode_holder(changed));
    }
  }
  EXPECT_GT(refused, tried / 10);
}

TEST(Codec, DeepNestingIsRefusedBeforeItIsFollowed) {
  EXPECT_FALSE(decode_version(std::string(5'000'000, '\x81'), ObjectKind::kCluster));
  EXPECT_FALSE(decode_key(std::string(5'000'000, '\x9f')));
}

TEST(Codec, AnEnumeratorThatDoesNotExistIsRefused) {
  // [[0, [3, [], [], 3]], ["", 0]]: a Cluster with an encapsulation beyond the last.
  EXPECT_FALSE(decode_version(std::string("\x82\x82\x00\x84\x03\x80\x80\x03\x82\x60\x00", 11), ObjectKind::kCluster));
  EXPECT_TRUE(decode_version(std::string("\x82\x82\x00\x84\x03\x80\x80\x02\x82\x60\x00", 11), ObjectKind::kCluster));
}

}  // namespace
}  // namespace isthmus
