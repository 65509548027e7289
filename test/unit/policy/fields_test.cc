// The semantics of each policy field, tested by the verdicts of the compiled tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/policy/field_rows.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Fields : public ::testing::TestWithParam<Row> {};

TEST_P(Fields, GiveTheExpectedVerdicts) { expect_verdicts(GetParam()); }

const Row kPeers[] = {
    {"SelectorsStayInTheNamespaceAndTheCluster",
     from("{}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true},
      {kIn, "west/web", "east/cart", kTcp, 80, false},
      {kIn, "east/ledger", "east/cart", kTcp, 80, false},
      {kIn, "203.0.113.1", "east/cart", kTcp, 80, false}}},
    {"ANamespaceLabelSelectsThatNamespace",
     from("{matchLabels: {k8s:io.kubernetes.pod.namespace: bank}}"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"NamespacesByTheirLabels",
     from("{matchLabels: {k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name: bank}}"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"AClusterLabelSelectsThatCluster",
     from("{matchLabels: {io.cilium.k8s.policy.cluster: west}}"),
     {{kIn, "west/web", "east/cart", kTcp, 80, true},
      {kIn, "west/ledger", "east/cart", kTcp, 80, false},
      {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"ExistsOnTheClusterLabelSelectsEveryCluster",
     from("{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}]}"),
     {{kIn, "west/web", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/cart", kTcp, 80, true}}},
    {"ReservedLabelsAreNotScopedToTheNamespace",
     from("{matchLabels: {reserved:remote-node: \"\"}}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"In",
     from("{matchExpressions: [{key: app, operator: In, values: [web, x]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true}, {kIn, "east/cart", "east/web", kTcp, 80, false}}},
    {"NotIn",
     from("{matchExpressions: [{key: app, operator: NotIn, values: [web, x]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "east/cart", "east/web", kTcp, 80, true}}},
    {"Exists",
     from("{matchExpressions: [{key: k8s:tier, operator: Exists}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true}}},
    {"DoesNotExist",
     from("{matchExpressions: [{key: \"any:tier\", operator: DoesNotExist}, {key: k8s:io.kubernetes.pod.namespace, "
          "operator: Exists}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "east/ledger", "east/cart", kTcp, 80, true}}},
    {"LabelsOfAnotherSourceDoNotMatch",
     from("{matchLabels: {container:app: web}}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"AnEmptyPeerListSelectsNothing",
     in("fromEndpoints: []"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "203.0.113.1", "east/cart", kTcp, 80, false}}},
    {"AnEmptyPeerListWithPortsSelectsNothing",
     in("{fromEndpoints: [], toPorts: [{ports: [{port: \"80\"}]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"AnEmptyPeerListBesideAnotherSelectsNothing",
     in("{fromEndpoints: [{}], fromEntities: []}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "203.0.113.1", "east/cart", kTcp, 80, false}}},
    {"AnEmptyPeerListBesideEveryEntitySelectsNothing",
     in("{fromEntities: [all], fromEndpoints: []}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "203.0.113.1", "east/cart", kTcp, 80, false}}},
    {"AnEmptyPeerListBesideAnotherOfADenyRuleDeniesNobody",
     cnp("  endpointSelector: {}\n  ingress: [{fromEntities: [all]}]\n"
         "  ingressDeny: [{fromEntities: [all], fromCIDR: []}]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true}}},
    {"AnAbsentPeerListBesideAnotherHasNoMeaning",
     in("{fromEndpoints: [{}], fromEntities: null}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true}, {kIn, "203.0.113.1", "east/cart", kTcp, 80, false}}},
    {"NoPeerListWithPortsSelectsEveryPeer",
     in("{toPorts: [{ports: [{port: \"80\"}]}]}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true},
      {kIn, "west/ledger", "east/cart", kTcp, 80, true},
      {kIn, "203.0.113.1", "east/cart", kTcp, 80, true},
      {kIn, "east/web", "east/cart", kTcp, 81, false}}},
    {"AnEmptyRuleSelectsNothingAndEnablesDefaultDeny",
     in("{}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kOut, "east/web", "east/cart", kTcp, 80, true}}},
    {"AnEmptySectionDoesNotEnableDefaultDeny",
     cnp("  endpointSelector: {}\n  ingress: []\n  egress: [{}]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true}, {kOut, "east/web", "east/cart", kTcp, 80, false}}},
    {"AClusterwidePolicySelectsAcrossNamespaces",
     ccnp(
         "  endpointSelector: {matchLabels: {app: ledger}}\n  ingress: [{fromEndpoints: [{matchLabels: {app: web}}]}]"),
     {{kIn, "east/web", "east/ledger", kTcp, 80, true},
      {kIn, "east/cart", "east/ledger", kTcp, 80, false},
      {kIn, "east/ledger", "east/cart", kTcp, 80, true}}},
    {"AllPodsInAClusterwidePolicyMeansThoseWithANamespace",
     ccnp("  endpointSelector: {}\n  ingress: [{fromEndpoints: [{}]}]"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, true},
      {kIn, "west/ledger", "east/cart", kTcp, 80, false},
      {kIn, "203.0.113.1", "east/cart", kTcp, 80, false}}},
    {"AnExpressionOnTheSubjectsNamespaceIsKept",
     cnp("  endpointSelector: {matchExpressions: [{key: k8s:io.kubernetes.pod.namespace, operator: In, "
         "values: [bank]}]}\n  ingress: [{}]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/ledger", kTcp, 80, true}}},
    {"AnExpressionOnTheSubjectsNamespaceMayNameItsOwn",
     cnp("  endpointSelector: {matchExpressions: [{key: k8s:io.kubernetes.pod.namespace, operator: In, "
         "values: [bank, shop]}]}\n  ingress: [{}]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "east/web", "east/ledger", kTcp, 80, true}}},
    {"SpecsAreCombined",
     "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a, namespace: shop}\nspecs:\n"
     "- {endpointSelector: {matchLabels: {app: cart}}, ingress: [{fromEndpoints: [{matchLabels: {app: web}}]}]}\n"
     "- {endpointSelector: {matchLabels: {app: web}}, egress: [{}]}\n",
     {{kIn, "east/web", "east/cart", kTcp, 80, true},
      {kIn, "west/web", "east/cart", kTcp, 80, false},
      {kOut, "east/web", "east/cart", kTcp, 80, false}}},
};
INSTANTIATE_TEST_SUITE_P(Peers, Fields, ::testing::ValuesIn(kPeers),
                         [](const auto& row) { return std::string(row.param.name); });

// Selectors without a condition that only endpoints meet.
const std::string kNoNamespace = "{key: k8s:io.kubernetes.pod.namespace, operator: NotIn, values: [bank]}";
const std::string kNotEast = "{key: k8s:io.cilium.k8s.policy.cluster, operator: NotIn, values: [east]}";
const std::string kNoCluster = "{key: k8s:io.cilium.k8s.policy.cluster, operator: DoesNotExist}";
std::vector<Ask> endpoints_only(const char* chosen, const char* other) {
  std::vector<Ask> asks{
      {kIn, other, "east/cart", kTcp, 80, false},         {kIn, "203.0.113.1", "east/cart", kTcp, 80, false},
      {kIn, "2001:db8::1", "east/cart", kTcp, 80, false}, {kIn, "10.1.77.1", "east/cart", kTcp, 80, false},
      {kIn, "10.2.77.1", "east/cart", kTcp, 80, false},   {kIn, "reserved/1", "east/cart", kTcp, 80, false},
      {kIn, "reserved/2", "east/cart", kTcp, 80, false},  {kIn, "reserved/6", "east/cart", kTcp, 80, false}};
  if (chosen != nullptr) {
    asks.push_back({kIn, chosen, "east/cart", kTcp, 80, true});
  }
  return asks;
}
const Row kNegated[] = {
    {"NotInNamespaceAndNotInCluster", from("{matchExpressions: [" + kNoNamespace + ", " + kNotEast + "]}"),
     endpoints_only("west/web", "west/ledger")},
    {"NotInNamespace", from("{matchExpressions: [" + kNoNamespace + "]}"), endpoints_only("east/web", "west/web")},
    {"NoCluster", from("{matchExpressions: [" + kNoNamespace + ", " + kNoCluster + "]}"),
     endpoints_only(nullptr, "east/web")},
    {"NotInNamespaceByItsLabels",
     from("{matchExpressions: [{key: k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name, "
          "operator: NotIn, values: [bank]}]}"),
     endpoints_only("east/web", "east/ledger")},
    {"NotInClusterOfAClusterwidePolicy",
     ccnp("  endpointSelector: {}\n  ingress: [{fromEndpoints: [{matchExpressions: [" + kNotEast + "]}]}]"),
     endpoints_only("west/web", "east/web")},
    {"NotInNamespaceOfANetworkPolicy",
     knp("  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: "
         "kubernetes.io/metadata.name, operator: NotIn, values: [bank]}]}}]}]"),
     endpoints_only("east/web", "east/ledger")},
};
INSTANTIATE_TEST_SUITE_P(NegatedPeers, Fields, ::testing::ValuesIn(kNegated),
                         [](const auto& row) { return std::string(row.param.name); });

const Row kAddresses[] = {
    {"CidrDoesNotMatchLabelledPods",
     out("toCIDR: [10.0.0.0/8, 203.0.113.7]"),
     {{kOut, "east/cart", "10.9.0.1", kTcp, 80, true},
      {kOut, "east/cart", "203.0.113.7", kTcp, 80, true},
      {kOut, "east/cart", "203.0.113.8", kTcp, 80, false},
      {kOut, "east/cart", "west/web", kTcp, 80, false}}},
    {"CidrMatchesEndpointsWithoutLabels",
     out("toCIDR: [10.2.0.0/16]"),
     {{kOut, "east/cart", "10.2.77.1", kTcp, 80, true}, {kOut, "east/cart", "10.1.77.1", kTcp, 80, false}}},
    {"ExceptExcludesAddresses",
     out("toCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.128/25, 203.0.113.1/32]}]"),
     {{kOut, "east/cart", "203.0.113.2", kTcp, 80, true},
      {kOut, "east/cart", "203.0.113.1", kTcp, 80, false},
      {kOut, "east/cart", "203.0.113.200", kTcp, 80, false}}},
    {"ALongerPrefixInAnotherPolicyChangesNothing",
     out("toCIDR: [203.0.113.0/24]") +
         cnp("  endpointSelector: {matchLabels: {app: web}}\n  egressDeny: [{toCIDR: [203.0.113.7/32]}]", "other"),
     {{kOut, "east/cart", "203.0.113.7", kTcp, 80, true}, {kOut, "east/web", "203.0.113.7", kTcp, 80, false}}},
    {"TheIpv6DefaultPrefixMatchesNoIpv4Address",
     out("toCIDR: [\"::/0\"]"),
     {{kOut, "east/cart", "2001:db8::1", kTcp, 80, true}, {kOut, "east/cart", "203.0.113.7", kTcp, 80, false}}},
    {"CidrGroupByName",
     "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: vpn, labels: {role: vpn}}\n"
     "spec: {externalCIDRs: [203.0.113.0/24, 198.51.100.0/24]}\n---\n" +
         out("toCIDRSet: [{cidrGroupRef: vpn, except: [203.0.113.9/32]}]"),
     {{kOut, "east/cart", "203.0.113.1", kTcp, 80, true},
      {kOut, "east/cart", "198.51.100.1", kTcp, 80, true},
      {kOut, "east/cart", "203.0.113.9", kTcp, 80, false},
      {kOut, "east/cart", "192.0.2.77", kTcp, 80, false}}},
    {"CidrGroupsByLabel",
     "apiVersion: cilium.io/v2alpha1\nkind: CiliumCIDRGroup\nmetadata: {name: vpn, labels: {role: vpn}}\n"
     "spec: {externalCIDRs: [203.0.113.0/24]}\n---\n" +
         out("toCIDRSet: [{cidrGroupSelector: {matchLabels: {role: vpn}}}]"),
     {{kOut, "east/cart", "203.0.113.1", kTcp, 80, true}, {kOut, "east/cart", "198.51.100.1", kTcp, 80, false}}},
    {"EntityWorld",
     out("toEntities: [world]"),
     {{kOut, "east/cart", "203.0.113.1", kTcp, 80, true},
      {kOut, "east/cart", "2001:db8::1", kTcp, 80, true},
      {kOut, "east/cart", "west/web", kTcp, 80, false},
      {kOut, "east/cart", "10.2.77.1", kTcp, 80, false}}},
    {"EntityWorldIpv4",
     out("toEntities: [world-ipv4]"),
     {{kOut, "east/cart", "203.0.113.1", kTcp, 80, true}, {kOut, "east/cart", "2001:db8::1", kTcp, 80, false}}},
    {"EntityWorldIpv6",
     out("toEntities: [world-ipv6]"),
     {{kOut, "east/cart", "203.0.113.1", kTcp, 80, false}, {kOut, "east/cart", "2001:db8::1", kTcp, 80, true}}},
    {"EntityCluster",
     out("toEntities: [cluster]"),
     {{kOut, "east/cart", "east/ledger", kTcp, 80, true},
      {kOut, "east/cart", "10.1.77.1", kTcp, 80, true},
      {kOut, "east/cart", "west/web", kTcp, 80, false},
      {kOut, "east/cart", "203.0.113.1", kTcp, 80, false}}},
    {"EveryClusterOfAClusterwidePolicy",
     ccnp("  endpointSelector: {}\n  egress: [{toEndpoints: [{matchExpressions: [{key: io.cilium.k8s.policy.cluster, "
          "operator: Exists}]}]}]"),
     {{kOut, "east/cart", "west/ledger", kTcp, 80, true},
      {kOut, "east/cart", "10.2.77.1", kTcp, 80, false},
      {kOut, "east/cart", "203.0.113.1", kTcp, 80, false}}},
    {"EntityAll",
     out("toEntities: [all]"),
     {{kOut, "east/cart", "west/ledger", kTcp, 80, true}, {kOut, "east/cart", "203.0.113.1", kTcp, 80, true}}},
    {"EntityNone", out("toEntities: [none]"), {{kOut, "east/cart", "east/web", kTcp, 80, false}}},
};
INSTANTIATE_TEST_SUITE_P(Addresses, Fields, ::testing::ValuesIn(kAddresses),
                         [](const auto& row) { return std::string(row.param.name); });

const Row kVerdicts[] = {
    {"DenyTakesPrecedenceOverAllow",
     cnp("  endpointSelector: {matchLabels: {app: cart}}\n"
         "  ingress: [{fromEntities: [all], toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]}]\n"
         "  ingressDeny: [{fromEndpoints: [{matchLabels: {app: web}}]}]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kIn, "west/web", "east/cart", kTcp, 80, true}}},
    {"ADenyOverridesTheAllowOfAnotherPolicy",
     cnp("  endpointSelector: {}\n  egress: [{toEntities: [all]}]", "wide") +
         cnp("  endpointSelector: {matchLabels: {app: cart}}\n  egressDeny: [{toEntities: [world]}]", "narrow"),
     {{kOut, "east/cart", "203.0.113.1", kTcp, 80, false},
      {kOut, "east/cart", "west/web", kTcp, 80, true},
      {kOut, "east/web", "203.0.113.1", kTcp, 80, true}}},
    {"ADenyRuleEnablesDefaultDeny",
     cnp("  endpointSelector: {}\n  ingressDeny: [{fromEndpoints: [{matchLabels: {app: web}}]}]"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, false}}},
    {"EnableDefaultDenyFalseLeavesTheDefaultOpen",
     cnp("  endpointSelector: {}\n  enableDefaultDeny: {ingress: false}\n"
         "  ingressDeny: [{fromEndpoints: [{matchLabels: {app: web}}]}]"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"EnableDefaultDenyTrueAppliesWithoutRules",
     cnp("  endpointSelector: {}\n  enableDefaultDeny: {egress: true}\n  ingress: [{fromEntities: [all]}]"),
     {{kOut, "east/cart", "east/web", kTcp, 80, false}, {kIn, "east/web", "east/cart", kTcp, 80, true}}},
    {"AnotherPolicyMayEnableDefaultDeny",
     cnp("  endpointSelector: {}\n  enableDefaultDeny: {ingress: false}\n"
         "  ingress: [{fromEndpoints: [{matchLabels: {app: web}}]}]",
         "open") +
         cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress: [{}]", "closed"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true},
      {kIn, "east/ledger", "east/cart", kTcp, 80, false},
      {kIn, "east/ledger", "east/web", kTcp, 80, true}}},
};
INSTANTIATE_TEST_SUITE_P(Verdicts, Fields, ::testing::ValuesIn(kVerdicts),
                         [](const auto& row) { return std::string(row.param.name); });

const Row kKubernetes[] = {
    {"FromPods",
     kin("from: [{podSelector: {matchLabels: {app: web}}}]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, true},
      {kIn, "west/web", "east/cart", kTcp, 80, false},
      {kIn, "east/ledger", "east/cart", kTcp, 80, false}}},
    {"FromNamespaces",
     kin("from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}}]"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"FromPodsOfEveryNamespace",
     kin("from: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: "
         "[ledger]}]}}]"),
     {{kIn, "east/ledger", "east/cart", kTcp, 80, true}, {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"FromABlock",
     kin("from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.9/32]}}]"),
     {{kIn, "203.0.113.1", "east/cart", kTcp, 80, true},
      {kIn, "203.0.113.9", "east/cart", kTcp, 80, false},
      {kIn, "east/web", "east/cart", kTcp, 80, false}}},
    {"NoFromMatchesEveryPeer",
     kin("ports: [{port: 80}]"),
     {{kIn, "203.0.113.1", "east/cart", kTcp, 80, true}, {kIn, "203.0.113.1", "east/cart", kUdp, 80, false}}},
    {"PortsByNameAndRange",
     kin("ports: [{port: http}, {port: 90, endPort: 92, protocol: UDP}]"),
     {{kIn, "west/web", "east/cart", kTcp, 8080, true}, {kIn, "west/web", "east/cart", kUdp, 92, true}}},
    {"APortWithoutANumberMatchesEveryPort",
     kin("ports: [{protocol: UDP}]"),
     {{kIn, "west/web", "east/cart", kUdp, 7, true}, {kIn, "west/web", "east/cart", kTcp, 7, false}}},
    {"WithoutPolicyTypesIngressIsDeniedAndEgressOnlyWithRules",
     knp("  podSelector: {}"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false}, {kOut, "east/web", "east/cart", kTcp, 80, true}}},
    {"EgressOnly",
     knp("  podSelector: {}\n  policyTypes: [Egress]\n  egress: [{to: [{podSelector: {}}]}]"),
     {{kOut, "east/cart", "east/web", kTcp, 80, true},
      {kOut, "east/cart", "east/ledger", kTcp, 80, false},
      {kIn, "east/ledger", "east/cart", kTcp, 80, true}}},
    {"RulesOfAnUnlistedPolicyTypeAreIgnored",
     knp("  podSelector: {}\n  policyTypes: [Ingress]\n  egress: [{to: [{podSelector: {}}]}]"),
     {{kOut, "east/cart", "east/ledger", kTcp, 80, true}}},
    {"AnSctpPortMatchesSctpAlone",
     kin("ports: [{port: 80, protocol: SCTP}]"),
     {{kIn, "east/web", "east/cart", kSctp, 80, true},
      {kIn, "east/web", "east/cart", kSctp, 81, false},
      {kIn, "east/web", "east/cart", kTcp, 80, false},
      {kIn, "east/web", "east/cart", kUdp, 80, false}}},
    {"AnSctpPortBesideAnotherOne",
     kin("ports: [{port: 80, protocol: SCTP}, {port: 81}]"),
     {{kIn, "east/web", "east/cart", kSctp, 80, true},
      {kIn, "east/web", "east/cart", kSctp, 81, false},
      {kIn, "east/web", "east/cart", kTcp, 80, false},
      {kIn, "east/web", "east/cart", kTcp, 81, true}}},
    {"ARangeOfSctpPorts",
     kin("ports: [{port: 80, endPort: 90, protocol: SCTP}]"),
     {{kIn, "east/web", "east/cart", kSctp, 90, true}, {kIn, "east/web", "east/cart", kSctp, 91, false}}},
    {"AllSctp",
     kin("ports: [{protocol: SCTP}]"),
     {{kIn, "east/web", "east/cart", kSctp, 65535, true}, {kIn, "east/web", "east/cart", kUdp, 1, false}}},
    {"NoPortMatchesAProtocolWithoutPorts",
     kin("ports: [{protocol: SCTP}, {protocol: TCP}, {protocol: UDP}]"),
     {{kIn, "east/web", "east/cart", kGre, 0, false}, {kIn, "east/web", "east/cart", kSctp, 1, true}}},
    {"WithoutPortsEveryProtocolMatches",
     kin("from: [{podSelector: {}}]"),
     {{kIn, "east/web", "east/cart", kGre, 0, true}, {kIn, "east/ledger", "east/cart", kGre, 0, false}}},
    {"SubjectsByLabel",
     knp("  podSelector: {matchLabels: {app: cart}}\n  policyTypes: [Ingress, Egress]"),
     {{kIn, "east/web", "east/cart", kTcp, 80, false},
      {kOut, "east/cart", "east/web", kTcp, 80, false},
      {kOut, "east/web", "east/ledger", kTcp, 80, true}}},
};
INSTANTIATE_TEST_SUITE_P(Kubernetes, Fields, ::testing::ValuesIn(kKubernetes),
                         [](const auto& row) { return std::string(row.param.name); });

std::string service(const std::string& name, const std::string& selector, bool global,
                    const std::string& labels = "{}") {
  return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop, labels: " + labels +
         ", annotations: {service.cilium.io/global: \"" + (global ? "true" : "false") +
         "\"}}\nspec: {ports: [{port: 80}]" + (selector.empty() ? "" : ", selector: " + selector) + "}\n---\n";
}

const Row kServices[] = {
    {"AServiceSelectsItsPods",
     service("web", "{app: web}", false) + out("toServices: [{k8sService: {serviceName: web, namespace: shop}}]"),
     {{kOut, "east/cart", "east/web", kTcp, 80, true},
      {kOut, "east/cart", "west/web", kTcp, 80, false},
      {kOut, "east/cart", "east/ledger", kTcp, 80, false}}},
    {"AGlobalServiceSelectsPodsOfEveryCluster",
     service("web", "{app: web}", true) + out("toServices: [{k8sService: {serviceName: web}}]"),
     {{kOut, "east/cart", "west/web", kTcp, 80, true}, {kOut, "east/cart", "west/cart", kTcp, 80, false}}},
    {"ServicesByLabel",
     service("web", "{app: web}", false, "{team: a}") +
         out("toServices: [{k8sServiceSelector: {selector: {matchLabels: {team: a}}, namespace: shop}}]"),
     {{kOut, "east/cart", "east/web", kTcp, 80, true}, {kOut, "east/cart", "east/ledger", kTcp, 80, false}}},
    {"AServiceWithoutASelectorSelectsItsAddresses",
     service("ext", "", false) +
         "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: ext-1, namespace: shop, labels: "
         "{kubernetes.io/service-name: ext}}\naddressType: IPv4\nendpoints: [{addresses: [203.0.113.5]}]\n---\n" +
         out("toServices: [{k8sService: {serviceName: ext, namespace: shop}}]"),
     {{kOut, "east/cart", "203.0.113.5", kTcp, 80, true}, {kOut, "east/cart", "203.0.113.6", kTcp, 80, false}}},
};
INSTANTIATE_TEST_SUITE_P(Services, Fields, ::testing::ValuesIn(kServices),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Enforcement, AlwaysDeniesWhatNoRuleAllows) {
  PolicyHub hub(PolicySettings{PolicyEnforcement::kAlways, false});
  hub.policy(cnp("  endpointSelector: {matchLabels: {app: cart}}\n  ingress: [{fromEntities: [all]}]"));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.egress("east/cart", "east/web", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.ingress("east/cart", "east/web", kTcp, 80)));
}

TEST(Enforcement, NeverAllowsEverything) {
  PolicyHub hub(PolicySettings{PolicyEnforcement::kNever, false});
  hub.policy(cnp("  endpointSelector: {}\n  ingress: [{}]"));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
  EXPECT_EQ(hub.compiler->policy().policies().size(), 1U);
}

TEST(Enforcement, AuditIsPublishedToTheEngine) {
  PolicyHub hub(PolicySettings{PolicyEnforcement::kDefault, true});
  hub.policy(cnp("  endpointSelector: {}\n  ingress: [{}]"));
  EXPECT_TRUE(hub.tables.defaults.audit);
  EXPECT_TRUE(hub.tables.subjects.at(Identity{pod("east/cart").identity}).audit);
}

TEST(PolicyProblems, MissingObjectsAreReported) {
  PolicyHub hub;
  hub.policy(out("toCIDRSet: [{cidrGroupRef: vpn}]") +
             cnp("  endpointSelector: {}\n  egress: [{toServices: [{k8sService: {serviceName: x}}]}]", "other"));
  std::vector<std::string> texts;
  for (const Problem& problem : hub.problems) {
    texts.push_back(problem.text());
  }
  EXPECT_THAT(texts,
              Contains(HasSubstr("east/policy.yaml:7: CiliumNetworkPolicy shop/rule references CiliumCIDRGroup vpn")));
  EXPECT_THAT(texts, Contains(HasSubstr("CiliumNetworkPolicy shop/other references Service x")));
  EXPECT_FALSE(allowed(hub.egress("east/cart", "203.0.113.1", kTcp, 80)));
  hub.file("group.yaml",
           "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: vpn}\n"
           "spec: {externalCIDRs: [203.0.113.0/24]}\n");
  hub.compile();
  EXPECT_TRUE(allowed(hub.egress("east/cart", "203.0.113.1", kTcp, 80)));
}

TEST(PolicyWarnings, ANamespaceLabelOfASubjectSelectorIsReportedAndIgnored) {
  PolicyHub hub;
  hub.policy(cnp("  endpointSelector: {matchLabels: {k8s:io.kubernetes.pod.namespace: bank}}\n  ingress: [{}]"));
  EXPECT_THAT(hub.errors(), Contains(HasSubstr("east/policy.yaml:5: spec.endpointSelector names another namespace")));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/ledger", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
}

TEST(PolicyWarnings, AnEmptyPortListIsReported) {
  PolicyHub hub;
  hub.policy(in("{fromEntities: [all], toPorts: [{ports: []}]}"));
  EXPECT_THAT(hub.errors(), Contains(HasSubstr("lists no ports, so it matches nothing")));
  EXPECT_FALSE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
}

TEST(PolicyIdentities, WithConflictingLabelSetsAreNotSelected) {
  PolicyHub hub;
  hub.policy(from("{matchLabels: {io.cilium.k8s.policy.cluster: west}}"));
  ASSERT_TRUE(allowed(hub.ingress("west/web", "east/cart", kTcp, 80)));
  Pod conflict = pod("west/web");
  conflict.cluster = "east";
  hub.file("conflict.yaml", PolicyHub::identity_text(conflict));
  hub.compile();
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/cart", kTcp, 80)));
}

TEST(PolicyIdentities, HaveTheClusterLabelOfTheirPublisher) {
  PolicyHub hub;
  Pod mislabelled = pod("west/web");
  mislabelled.identity = 0x20155;
  std::string text = PolicyHub::identity_text(mislabelled);
  text.replace(text.find("cluster: west"), 13, "cluster: east");
  hub.file("mislabelled.yaml", text, "west");
  hub.policy(from("{matchLabels: {app: web}}"));
  EXPECT_FALSE(allowed(hub.tables.decide(false, Identity{pod("east/cart").identity}, Identity{0x20155}, kTcp, 80)));
  EXPECT_TRUE(allowed(hub.ingress("east/web", "east/cart", kTcp, 80)));
}

TEST(PolicyIdentities, OutsideTheirClustersRangeAreNotSelected) {
  PolicyHub hub;
  Pod foreign = pod("west/web");
  foreign.identity = 0x30155;
  hub.file("stray.yaml", PolicyHub::identity_text(foreign), "west");
  hub.policy(from("{matchLabels: {io.cilium.k8s.policy.cluster: west}}"));
  EXPECT_FALSE(allowed(hub.tables.decide(false, Identity{pod("east/cart").identity}, Identity{0x30155}, kTcp, 80)));
}

}  // namespace
}  // namespace isthmus
