// A policy with a field that cannot be enforced is refused, with an error that gives the field and its line. Its last
// valid version stays in force; without one, its subjects stay closed and the rule with the field allows nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Rejection {
  const char* name;
  std::string text;
  const char* error;   // with the line
  bool closes = true;  // its subjects and one of its directions can be read
};

std::string ingress(const std::string& rule) { return cnp("  endpointSelector: {}\n  ingress:\n  - " + rule); }
std::string egress(const std::string& rule) { return cnp("  endpointSelector: {}\n  egress:\n  - " + rule); }
std::string ports(const std::string& list) { return ingress("toPorts: [{ports: [" + list + "]}]"); }

class Rejected : public ::testing::TestWithParam<Rejection> {};

TEST_P(Rejected, WithTheFieldNamedAndItsSubjectsClosed) {
  PolicyHub hub;
  hub.policy(GetParam().text);
  EXPECT_THAT(hub.errors(), Contains(HasSubstr(GetParam().error)));
  const bool in = allowed(hub.ingress("east/web", "east/cart", kTcp, 80));
  const bool out = allowed(hub.egress("east/cart", "east/web", kTcp, 80));
  EXPECT_EQ(in && out, !GetParam().closes);
  for (const auto& [number, subject] : hub.tables.subjects) {
    for (const DirectionPolicy& direction : {subject.ingress, subject.egress}) {
      EXPECT_TRUE(std::all_of(direction.entries.begin(), direction.entries.end(), [](const auto& e) { return e.deny; }))
          << "subject " << number.value();
    }
  }
}

const Rejection kRejections[] = {
    {"http", ingress("toPorts: [{ports: [{port: \"80\"}], rules: {http: [{method: GET}]}}]"),
     "east/policy.yaml:7: spec.ingress[0].toPorts[0].rules is not supported"},
    {"dns", egress("toPorts: [{ports: [{port: \"53\"}], rules: {dns: [{matchPattern: \"*\"}]}}]"),
     ":7: spec.egress[0].toPorts[0].rules is not supported"},
    {"sni", egress("toPorts: [{ports: [{port: \"443\"}], serverNames: [a.example]}]"), "serverNames is not supported"},
    {"terminating", egress("toPorts: [{ports: [{port: \"443\"}], terminatingTLS: {secret: {name: s}}}]"),
     "terminatingTLS is not supported"},
    {"originating", egress("toPorts: [{ports: [{port: \"443\"}], originatingTLS: {secret: {name: s}}}]"),
     "originatingTLS is not supported"},
    {"listener", egress("toPorts: [{ports: [{port: \"80\"}], listener: {name: l}}]"), "listener is not supported"},
    {"fqdn", egress("toFQDNs: [{matchName: a.example}]"), ":7: spec.egress[0].toFQDNs is not supported"},
    {"fromGroups", ingress("fromGroups: [{aws: {}}]"), "fromGroups is not supported"},
    {"toGroups", egress("toGroups: [{aws: {}}]"), "toGroups is not supported"},
    {"fromNodes", ingress("fromNodes: [{matchLabels: {a: b}}]"), "fromNodes is not supported"},
    {"toNodes", egress("toNodes: [{matchLabels: {a: b}}]"), "toNodes is not supported"},
    {"fromRequires", ingress("fromRequires: [{matchLabels: {a: b}}]"), "fromRequires is not supported"},
    {"toRequires", egress("toRequires: [{matchLabels: {a: b}}]"), "toRequires is not supported"},
    {"authentication", ingress("{fromEndpoints: [{}], authentication: {mode: required}}"),
     "authentication is not supported"},
    {"nodeSelector", ccnp("  nodeSelector: {}\n  ingress: [{fromEntities: [all]}]"),
     "spec.nodeSelector is not supported", false},
    {"gre", ports("{port: \"0\", protocol: GRE}"), "protocol is \"GRE\", which is not supported"},
    {"vrrp", ports("{port: \"0\", protocol: vrrp}"), "protocol is \"VRRP\", which is not supported"},
    {"icmpAsPort", ports("{port: \"0\", protocol: ICMP}"), "ICMP, which has no ports"},
    {"icmpv6AsPort", ports("{port: \"0\", protocol: ICMPv6}"), "ICMPV6, which has no ports"},
    {"kubernetesAny", knp("  podSelector: {}\n  ingress: [{ports: [{port: 80, protocol: ANY}]}]"), "\"ANY\""},

    {"twoKinds", ingress("{fromEndpoints: [{}], fromCIDR: [10.0.0.0/8]}"), "has fromEndpoints and fromCIDR"},
    {"cidrTwice", ingress("{fromCIDR: [10.0.0.0/8], fromCIDRSet: [{cidr: 10.0.0.0/8}]}"),
     "has fromCIDR and fromCIDRSet"},
    {"portsAndIcmps", ingress("{toPorts: [{ports: [{port: \"1\"}]}], icmps: [{fields: [{type: 8}]}]}"),
     "has both toPorts and icmps"},
    {"unknownRuleKey", ingress("fromEndpoint: [{}]"), "unknown key \"fromEndpoint\""},
    {"toServicesInIngress", ingress("toServices: []"), "unknown key \"toServices\""},
    {"unknownSpecKey", cnp("  endpointSelector: {}\n  ingresses: []"), "unknown key \"ingresses\"", false},
    {"authenticationInDeny", cnp("  endpointSelector: {}\n  ingressDeny: [{authentication: {mode: disabled}}]"),
     "unknown key \"authentication\""},
    {"noSelector", cnp("  ingress: [{}]"), "spec.endpointSelector is missing", false},
    {"noRules", cnp("  endpointSelector: {}"), "spec has no rules", false},
    {"emptySection", cnp("  endpointSelector: {}\n  ingress: []"), "spec has no rules"},
    {"emptySections", cnp("  endpointSelector: {}\n  ingress: []\n  egressDeny: []"), "spec has no rules"},
    {"noSpec", "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\n",
     "neither spec nor specs", false},
    {"noKubernetesSpec", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n", "has no spec",
     false},
    {"entity", ingress("fromEntities: [wrold]"), "did you mean world?"},
    {"clusterMesh", ingress("fromEntities: [cluster-mesh]"), "\"cluster-mesh\", not an entity of Cilium's policies"},
    {"cidr", ingress("fromCIDR: [10.0.0.0/33]"), "\"10.0.0.0/33\", not a CIDR"},
    {"except", ingress("fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]"), "is not within 10.0.0.0/8"},
    {"cidrAndGroup", ingress("fromCIDRSet: [{cidr: 10.0.0.0/8, cidrGroupRef: g}]"), "must have exactly one of"},
    {"emptyCidrSet", ingress("fromCIDRSet: [{}]"), "must have exactly one of"},
    {"portMissing", ports("{protocol: TCP}"), "port is missing"},
    {"portText", ports("{port: \"8o_80\"}"), "neither a number nor a valid name"},
    {"portLarge", ports("{port: \"65536\"}"), "neither a number nor a valid name"},
    {"endPortSmall", ports("{port: \"80\", endPort: 79}"), "endPort is smaller than port"},
    {"endPortOfName", ports("{port: http, endPort: 90}"), "endPort is given, but port is not a number"},
    {"endPortOfAll", ports("{port: \"0\", endPort: 90}"), "endPort is given, but port is not a number"},
    {"icmpName", ingress("icmps: [{fields: [{type: Ping}]}]"), "\"Ping\", not a known type of ICMP"},
    {"icmpNumber", ingress("icmps: [{fields: [{type: 256}]}]"), "not a known type of ICMP"},
    {"icmpFamily", ingress("icmps: [{fields: [{family: IPv5, type: 8}]}]"), "write IPv4 or IPv6"},
    {"operator", ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: Gt, values: [\"1\"]}]}]"),
     "operator is \"Gt\""},
    {"inWithoutValues", ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: In}]}]"), "values is empty"},
    {"existsWithValues", ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]"),
     "values is not empty"},
    {"cidrLabel", ingress("fromEndpoints: [{matchLabels: {\"cidr:10.0.0.0/8\": \"\"}}]"), "labels of source \"cidr\""},
    {"labelKey", ingress("fromEndpoints: [{matchLabels: {\"-app\": a}}]"), "label key \"-app\" in spec.ingress[0]"},
    {"labelKeyDomain", ingress("fromEndpoints: [{matchExpressions: [{key: \"k8s:A_b/app\", operator: Exists}]}]"),
     "\"k8s:A_b/app\" in spec.ingress[0].fromEndpoints[0].matchExpressions[0] is not a valid label key"},
    {"labelKeyLong", ingress("fromEndpoints: [{matchLabels: {" + std::string(64, 'a') + ": a}}]"),
     "is not a valid label key"},
    {"subjectLabelKey", cnp("  endpointSelector: {matchLabels: {\"a b\": c}}\n  ingress: [{}]"),
     "label key \"a b\" in spec.endpointSelector.matchLabels is not a valid label key", false},
    {"labelValue", ingress("fromEndpoints: [{matchLabels: {app: \"a b\"}}]"),
     "matchLabels.app is \"a b\", not a valid label value"},
    {"labelValueInList", ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: In, values: [a/b]}]}]"),
     "values[0] is \"a/b\", not a valid label value"},
    {"labelValueOfANetworkPolicy",
     knp("  podSelector: {}\n  ingress: [{from: [{podSelector: {matchLabels: {a: _}}}]}]"),
     "matchLabels.a is \"_\", not a valid label value"},
    {"numberAsLabelValue", ingress("fromEndpoints: [{matchLabels: {app: 1}}]"), "matchLabels.app is 1, not text"},
    {"fractionAsLabelValue", ingress("fromEndpoints: [{matchLabels: {app: 1.5e3}}]"), "app is 1.5e3, not text"},
    {"hexadecimalAsLabelValue", ingress("fromEndpoints: [{matchLabels: {app: 0x1F}}]"), "app is 0x1F, not text"},
    {"booleanAsLabelValue", ingress("fromEndpoints: [{matchLabels: {app: true}}]"), "app is true, not text"},
    {"olderBooleanAsLabelValue",
     ingress("fromEndpoints: [{matchExpressions: [{key: a, operator: In, values: [Yes]}]}]"),
     "values[0] is Yes, not text"},
    {"numberAsPort", ports("{port: 80}"), "ports[0].port is 80, which must be text"},
    {"octalPort", ports("{port: \"0120\"}"), "port is \"0120\", which others read as an octal number"},
    {"octalPortOfANetworkPolicy", knp("  podSelector: {}\n  ingress: [{ports: [{port: 0120}]}]"),
     "port is \"0120\", which others read as an octal number"},
    {"quotedPortOfANetworkPolicy", knp("  podSelector: {}\n  ingress: [{ports: [{port: \"80\"}]}]"),
     "ports[0].port is \"80\" in quotes, which is a name without a letter"},
    {"portZeroOfANetworkPolicy", knp("  podSelector: {}\n  ingress: [{ports: [{port: 0}]}]"), "ports[0].port is 0"},
    {"addressInCidrSet", ingress("fromCIDRSet: [{cidr: 10.0.0.1}]"), "cidr is \"10.0.0.1\", without a prefix length"},
    {"addressAsExcept", ingress("fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.0.0.1]}]"),
     "except[0] is \"10.0.0.1\", without a prefix length"},
    {"addressAsBlock", knp("  podSelector: {}\n  ingress: [{from: [{ipBlock: {cidr: \"fd00::1\"}}]}]"),
     "cidr is \"fd00::1\", without a prefix length"},
    {"service", egress("toServices: [{}]"), "one of k8sService and k8sServiceSelector"},
    {"serviceName", egress("toServices: [{k8sService: {namespace: shop}}]"), "serviceName is missing"},
    {"policyType", knp("  podSelector: {}\n  policyTypes: [Both]"), "policyTypes[0] is \"Both\""},
    {"emptyPeer", knp("  podSelector: {}\n  ingress: [{from: [{}]}]"), "selects nothing"},
    {"blockAndPods", knp("  podSelector: {}\n  ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]"),
     "has both ipBlock and a selector"},
    {"defaultDeny", cnp("  endpointSelector: {}\n  ingress: [{}]\n  enableDefaultDeny: {ingress: 7}"),
     "enableDefaultDeny.ingress"},
};

INSTANTIATE_TEST_SUITE_P(Policies, Rejected, ::testing::ValuesIn(kRejections),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(RejectedPolicies, HaveMoreThanFortyPorts) {
  std::string list;
  for (int i = 1; i <= 41; ++i) {
    list += "{port: \"" + std::to_string(i) + "\"}, ";
  }
  PolicyHub hub;
  hub.policy(ports(list));
  EXPECT_THAT(hub.errors(), Contains(HasSubstr("more than 40 ports")));
}

TEST(RejectedPolicies, LeaveThePreviousVersionInForce) {
  PolicyHub hub;
  hub.policy(ingress("fromEndpoints: [{matchLabels: {app: web}}]"));
  ASSERT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  ASSERT_FALSE(allowed(hub.ingress("east/ledger", "east/cart", kTcp, 80)));
  const CompileResult result = hub.policy(ingress("{fromEndpoints: [{}], toPorts: [{rules: {http: [{}]}}]}"));
  EXPECT_TRUE(result.delta.empty());
  EXPECT_THAT(hub.errors(), Contains(AllOf(HasSubstr("not supported"), HasSubstr("stays in force"))));
  EXPECT_FALSE(allowed(hub.ingress("east/ledger", "east/cart", kTcp, 80)));
}

TEST(RejectedPolicies, KeepTheRulesThatCanBeEnforced) {
  PolicyHub hub;
  hub.policy(
      cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress:\n  - fromEndpoints: [{}]\n"
          "    toPorts: [{ports: [{port: \"80\"}], rules: {http: [{}]}}]\n  - fromEndpoints: [{}]\n"
          "    toPorts: [{ports: [{port: \"81\"}]}]"));
  EXPECT_THAT(hub.errors(), ElementsAre(AllOf(HasSubstr("ingress[0].toPorts[0].rules is not supported"),
                                              HasSubstr("what the policy selects is closed but for its other rules"))));
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 81)));
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 82)));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "east/web", kTcp, 82)));
  EXPECT_TRUE(allowed(hub.ingress("east/cart", "east/web", kTcp, 80)));
}

TEST(RejectedPolicies, DenyEverybodyWhereTheDenyRuleCannotBeRead) {
  PolicyHub hub;
  hub.policy(
      cnp("  endpointSelector: {matchLabels: {app: cart}}\n  enableDefaultDeny: {ingress: false}\n"
          "  ingress: [{fromEntities: [all]}]\n  ingressDeny: [{fromCIDR: [10.0.0.0/33]}]"));
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  EXPECT_TRUE(allowed(hub.egress("east/cart", "east/web", kTcp, 80)));
}

TEST(RejectedPolicies, LeaveTheDefaultOpenWhereTheyEnableNoDefaultDeny) {
  PolicyHub hub;
  hub.policy(
      cnp("  endpointSelector: {}\n  enableDefaultDeny: {ingress: false}\n"
          "  ingress: [{fromCIDR: [10.0.0.0/33]}]"));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
}

TEST(RejectedPolicies, OpenAgainWhenCorrectedOrRemoved) {
  PolicyHub hub;
  hub.policy(ingress("fromEntities: [wrold]"));
  ASSERT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  hub.policy(ingress("{fromEntities: [wrold]}\n  - {fromEndpoints: [{matchLabels: {app: web}}]}"));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80))) << "the other rule of a new refused version";
  hub.policy(ingress("fromEntities: [wrold]") + "kind: [\n");
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  hub.policy("kind: [\n");
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80))) << "the file cannot be read";
  hub.policy(ingress("fromEntities: [all]"));
  EXPECT_TRUE(allowed(hub.ingress("203.0.113.1", "east/cart", kTcp, 80)));
  hub.policy(ingress("fromEntities: [wrold]"));
  EXPECT_TRUE(allowed(hub.ingress("203.0.113.1", "east/cart", kTcp, 80))) << "the valid version stays in force";
  hub.policy("");
  EXPECT_TRUE(hub.tables.subjects.empty());
}

TEST(RejectedPolicies, CloseTheSubjectsOfEverySpecThatCanBeRead) {
  PolicyHub hub;
  hub.policy(
      "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\nspecs:\n"
      "- {endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}\n"
      "- {endpointSelector: {}, egress: [{toFQDNs: [{matchName: a.example}]}]}\n");
  EXPECT_THAT(hub.errors(), ElementsAre(HasSubstr("east/policy.yaml:6: specs[1].egress[0].toFQDNs is not supported")));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.ingress("east/ledger", "east/cart", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.egress("east/cart", "east/web", kTcp, 80)));
}

TEST(AcceptedPolicies, MayHaveTextThatLooksLikeANumber) {
  PolicyHub hub;
  hub.policy(
      ingress("fromEndpoints: [{matchLabels: {app: \"1\", b: \"true\", c: 1a, d: v1.5, e: \"\", f: nan}}, "
              "{matchLabels: {k8s:example.com/App_1: x.y-z, \"reserved:host\": \"\"}}]"));
  EXPECT_THAT(hub.errors(), IsEmpty());
}

TEST(AcceptedPolicies, MayHaveUnsupportedFieldsThatAreEmpty) {
  PolicyHub hub;
  hub.policy(
      ingress("{fromEndpoints: [{}], fromRequires: [], authentication: {mode: disabled}, "
              "toPorts: [{ports: [{port: \"80\"}], rules: {}, serverNames: []}]}"));
  EXPECT_THAT(hub.errors(), IsEmpty());
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
}

TEST(AcceptedPolicies, DoNotApplyWhenPublishedByAnotherCluster) {
  PolicyHub hub;
  hub.file("policy.yaml", ingress("fromEntities: [none]"), "west");
  hub.compile();
  EXPECT_THAT(hub.errors(), IsEmpty());
  EXPECT_TRUE(hub.tables.subjects.empty());
}

}  // namespace
}  // namespace isthmus
