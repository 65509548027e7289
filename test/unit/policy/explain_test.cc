// Policy listings and traces: which rules apply, which of them match a question, and which one decides.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/policy/explain.h"
#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kPolicies = cnp(R"(  endpointSelector: {matchLabels: {app: cart}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: web, io.cilium.k8s.policy.cluster: west}}]
    toPorts: [{ports: [{port: http, protocol: TCP}, {port: "53", endPort: 60, protocol: UDP}]}]
  - icmps: [{fields: [{type: 8}]}]
  ingressDeny:
  - fromEntities: [world, host]
  egress:
  - toCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.9/32]}])");

class Explained : public ::testing::Test {
 protected:
  Explained() { hub.policy(kPolicies); }
  PolicyParty party(const std::string& name) {
    PolicyParty out = party_of(hub.identity_of(name), name, hub.compiler->policy());
    out.receives_as = hub.receiver_of(name);
    return out;
  }
  ExplainedDirection ask(const PolicyParty& from, const PolicyParty& to, const std::string& port, bool egress = false) {
    const PolicyQuestion question = parse_question(port).value();
    return explain(hub.compiler->policy(), hub.model, "east", egress, egress ? from : to, egress ? &to : &from,
                   &question);
  }
  PolicyHub hub;
};

TEST_F(Explained, TracesNameTheDecidingRule) {
  const ExplainedDirection trace = ask(party("west/web"), party("east/cart"), "8080/tcp");
  EXPECT_EQ(trace.outcome, PolicyOutcome::kAllowed);
  ASSERT_THAT(trace.rules, SizeIs(3));
  EXPECT_TRUE(trace.rules[0].decides);
  EXPECT_EQ(trace.rules[0].name.where(), "east/policy.yaml:7");
  EXPECT_EQ(trace.rules[0].peers,
            "pods app=web, io.cilium.k8s.policy.cluster=west, k8s:io.kubernetes.pod.namespace=shop");
  EXPECT_EQ(trace.rules[0].ports, "tcp http, udp 53-60");
  EXPECT_FALSE(trace.rules[1].port_matches);
  EXPECT_EQ(trace.rules[1].ports, "icmp type 8");
  EXPECT_EQ(trace.rules[2].peers, "entities world, host");
  EXPECT_FALSE(trace.rules[2].peer_matches);
}

TEST_F(Explained, NamedPortsAreThoseOfTheEngine) {
  hub.policy(
      cnp("  endpointSelector: {}\n  egress: [{toPorts: [{ports: [{port: http}]}]}]\n"
          "  ingress: [{toPorts: [{ports: [{port: http}]}]}]"));
  for (const char* peer : {"east/web", "west/web", "203.0.113.1", "10.2.77.1"}) {
    for (const std::uint16_t number : {std::uint16_t{8080}, std::uint16_t{8081}}) {
      const std::string port = std::to_string(number) + "/tcp";
      EXPECT_EQ(ask(party("east/cart"), party(peer), port, true).outcome == PolicyOutcome::kAllowed,
                allowed(hub.egress("east/cart", peer, kTcp, number)))
          << "to " << peer << " port " << port;
      EXPECT_EQ(ask(party(peer), party("east/cart"), port).outcome == PolicyOutcome::kAllowed,
                allowed(hub.ingress(peer, "east/cart", kTcp, number)))
          << "from " << peer << " port " << port;
    }
  }
}

TEST_F(Explained, DenialsGiveTheReason) {
  ExplainedDirection trace = ask(party("west/web"), party("east/cart"), "9/tcp");
  EXPECT_EQ(trace.outcome, PolicyOutcome::kDenied);
  EXPECT_EQ(trace.reason, "no rule allows it");
  trace = ask(party("198.51.100.1"), party("east/cart"), "8/icmp");
  EXPECT_EQ(trace.outcome, PolicyOutcome::kDeniedByRule);
  EXPECT_TRUE(trace.rules[2].decides);
}

TEST_F(Explained, RefusedPoliciesThatSelectTheSubjectAreNamed) {
  hub.policy(cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress: [{fromEntities: [wrold]}]", "typo") +
             cnp("  endpointSelector: {}\n  ingress: [{fromEntities: [host]}]", "fine"));
  const ExplainedDirection trace = ask(party("east/web"), party("east/cart"), "80/tcp");
  EXPECT_EQ(trace.outcome, PolicyOutcome::kDenied);
  EXPECT_THAT(trace.refused, ElementsAre("CiliumNetworkPolicy shop/typo"));
  EXPECT_THAT(ask(party("east/cart"), party("east/web"), "80/tcp").refused, IsEmpty());
}

TEST_F(Explained, UnselectedSubjectsAreAllowed) {
  const ExplainedDirection trace = ask(party("west/web"), party("east/ledger"), "80/tcp");
  EXPECT_EQ(trace.outcome, PolicyOutcome::kAllowed);
  EXPECT_EQ(trace.reason, "no policy selects it");
}

TEST_F(Explained, SubjectsOfOtherClustersAreNotEvaluated) {
  const ExplainedDirection trace = ask(party("east/cart"), party("west/web"), "80/tcp");
  EXPECT_FALSE(trace.ours);
  EXPECT_EQ(trace.outcome, PolicyOutcome::kNotApplicable);
}

TEST_F(Explained, QuestionsMayUseLabelSetsWithoutAnIdentity) {
  const auto subject = parse_label_party("k8s:app=cart,io.kubernetes.pod.namespace=shop", "east").value();
  const auto peer =
      parse_label_party("app=web,io.kubernetes.pod.namespace=shop,io.cilium.k8s.policy.cluster=west", "east").value();
  EXPECT_EQ(ask(peer, subject, "55/udp").outcome, PolicyOutcome::kAllowed);
  EXPECT_EQ(ask(peer, subject, "61/udp").outcome, PolicyOutcome::kDenied);
  EXPECT_FALSE(parse_label_party("", "east"));
  EXPECT_FALSE(parse_label_party("=x", "east"));
}

TEST_F(Explained, TracesAgreeWithTheCompiledTables) {
  for (const Pod& from : pods()) {
    for (const Pod& to : pods()) {
      for (const char* port : {"8080/tcp", "8081/tcp", "53/udp", "61/udp", "8/icmp", "9/icmp"}) {
        for (const bool egress : {false, true}) {
          const Pod& subject = egress ? from : to;
          if (subject.cluster != "east") {
            continue;
          }
          const std::string a = from.cluster + "/" + from.name, b = to.cluster + "/" + to.name;
          const PolicyQuestion q = parse_question(port).value();
          const PolicyVerdict verdict =
              egress ? hub.egress(a, b, q.protocol, q.port) : hub.ingress(a, b, q.protocol, q.port);
          EXPECT_EQ(ask(party(a), party(b), port, egress).outcome, verdict.outcome) << a << " > " << b << " " << port;
        }
      }
    }
  }
}

TEST(Questions, ParseAsPortAndProtocol) {
  EXPECT_EQ(parse_question("80")->protocol, kTcp);
  EXPECT_EQ(parse_question("53/udp")->protocol, kUdp);
  EXPECT_EQ(parse_question("128/icmpv6")->port, 128);
  for (const char* bad : {"", "/tcp", "80/", "80/quic", "65536/tcp", "x/tcp", "0x50"}) {
    EXPECT_FALSE(parse_question(bad)) << bad;
  }
}

}  // namespace
}  // namespace isthmus
