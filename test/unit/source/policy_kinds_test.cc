// Policies of kinds and versions that are not read: refused by name where they were probably meant for us.
#include <gmock/gmock.h>

#include <string>
#include <tuple>
#include <utility>

#include "control/source/file/hub_objects.h"
#include "control/source/manifest/manifest.h"

namespace isthmus {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string policy(const std::string& version, const std::string& kind) {
  return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: rule, namespace: shop}\n";
}
std::string cilium(const std::string& version, const std::string& kind = "CiliumNetworkPolicy") {
  return policy(version, kind) + "spec: {endpointSelector: {}, ingress: [{fromEntities: [none]}]}\n";
}

struct KindRow {
  const char *version, *kind, *fix;
};

TEST(PolicyKinds, AreRefusedByNameAndKeepTheirSubjectsClosedWhereTheirMeaningIsClear) {
  const KindRow rows[] = {
      {"cilium.io/v2alpha1", "CiliumNetworkPolicy", "write apiVersion: cilium.io/v2"},
      {"cilium.io/v3", "CiliumClusterwideNetworkPolicy", "write apiVersion: cilium.io/v2"},
      {"ciliun.io/v2", "CiliumNetworkPolicy", "write apiVersion: cilium.io/v2"},
      {"networking.k8s.io/v1", "CiliumNetworkPolicy", "write apiVersion: cilium.io/v2"},
      {"isovalent.com/v1", "CiliumClusterwideNetworkPolicy", "write apiVersion: cilium.io/v2"},
      {"cilium.io/v2", "CiliumNetworkPolcy", "kind: CiliumNetworkPolicy"},
      {"cilium.io/v2", "CiliumNetworkPolicies", "kind: CiliumNetworkPolicy"},
      {"cilium.io/v2", "CiliumClusterWideNetworkPolicy", "kind: CiliumClusterwideNetworkPolicy"},
  };
  for (const KindRow& row : rows) {
    const Manifest read = parse_manifest(cilium(row.version, row.kind), "east");
    const ManifestDocument& document = *read.documents.at(0).document;
    ASSERT_THAT(document.errors, SizeIs(1)) << row.kind;
    EXPECT_THAT(document.errors[0].what, HasSubstr("is not read")) << row.kind;
    EXPECT_THAT(document.errors[0].fix, HasSubstr(row.fix)) << row.kind;
    EXPECT_THAT(document.refused, SizeIs(1)) << row.kind;
    EXPECT_FALSE(document.unreadable) << row.kind;
  }
}

TEST(PolicyKinds, ANetworkPolicyOfItsFormerGroupOrMisspeltIsRefused) {
  for (const auto& [version, kind] : {std::pair{"extensions/v1beta1", "NetworkPolicy"},
                                      {"networking.k8s.io/v1beta1", "NetworkPolicy"},
                                      {"networking.k8s.io/v1", "NetworkPolcy"},
                                      {"networking.k8s.oi/v1", "NetworkPolicy"},
                                      {"networking.k8.io/v1", "NetworkPolicy"},
                                      {"network.k8s.io/v1", "NetworkPolicy"},
                                      {"v1", "NetworkPolicy"}}) {
    const Manifest read = parse_manifest(policy(version, kind) + "spec: {podSelector: {}}\n", "east");
    const ManifestDocument& document = *read.documents.at(0).document;
    ASSERT_THAT(document.errors, SizeIs(1)) << version;
    EXPECT_THAT(document.errors[0].fix, HasSubstr("networking.k8s.io/v1")) << version;
    EXPECT_THAT(document.refused, SizeIs(1)) << version;
  }
}

TEST(PolicyKinds, ThatOnlyOthersEnforceAreNamed) {
  for (const auto& [version, kind] : {std::pair{"policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"},
                                      {"policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy"},
                                      {"policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"},
                                      {"projectcalico.org/v3", "GlobalNetworkPolicy"},
                                      {"projectcalico.org/v3", "NetworkPolicy"},
                                      {"networking.gke.io/v1alpha1", "FQDNNetworkPolicy"},
                                      {"policy.example.org/v1", "NetworkPolicy"}}) {
    const Manifest read = parse_manifest(policy(version, kind), "east");
    const ManifestDocument& document = *read.documents.at(0).document;
    ASSERT_THAT(document.errors, SizeIs(1)) << kind;
    EXPECT_THAT(document.errors[0].what, HasSubstr("this policy is not enforced")) << kind;
    EXPECT_TRUE(document.errors[0].warning);
    EXPECT_FALSE(document.unreadable);
    EXPECT_EQ(document.ignored, 1U);
  }
}

TEST(PolicyKinds, OtherKindsOfTheSameGroupsAreIgnored) {
  for (const char* kind :
       {"CiliumBGPAdvertisement", "CiliumBGPClusterConfig", "CiliumBGPNodeConfig", "CiliumBGPNodeConfigOverride",
        "CiliumBGPPeerConfig", "CiliumBGPPeeringPolicy", "CiliumClusterwideEnvoyConfig", "CiliumEgressGatewayPolicy",
        "CiliumEndpointSlice", "CiliumEnvoyConfig", "CiliumExternalWorkload", "CiliumGatewayClassConfig",
        "CiliumL2AnnouncementPolicy", "CiliumLoadBalancerIPPool", "CiliumLocalRedirectPolicy", "CiliumNodeConfig",
        "CiliumPodIPPool", "TracingPolicy", "TracingPolicyNamespaced"}) {
    const Manifest read = parse_manifest(policy("cilium.io/v2", kind), "east");
    EXPECT_THAT(read.documents.at(0).document->errors, IsEmpty()) << kind;
  }
  for (const auto& [version, kind] : {std::pair{"networking.k8s.io/v1", "Ingress"},
                                      {"networking.k8s.io/v1", "IngressClass"},
                                      {"networking.k8s.io/v1", "ServiceCIDR"},
                                      {"extensions/v1beta1", "Ingress"},
                                      {"extensions/v1beta1", "PodSecurityPolicy"},
                                      {"policy/v1", "PodDisruptionBudget"},
                                      {"v1", "ConfigMap"},
                                      {"v1", "Policy"},
                                      {"kyverno.io/v1", "ClusterPolicy"}}) {
    const Manifest read = parse_manifest(policy(version, kind), "east");
    EXPECT_THAT(read.documents.at(0).document->errors, IsEmpty()) << kind;
  }
}

TEST(PolicyKinds, AMistypedGroupOfAnotherKindIsNamedToo) {
  for (const auto& [version, kind, fix] : {std::tuple{"discovery.k8s.oi/v1", "EndpointSlice", "discovery.k8s.io/v1"},
                                           {"ciliun.io/v2", "CiliumCIDRGroup", "cilium.io/v2"},
                                           {"istmus.io/v1alpha1", "Gateway", "isthmus.io/v1alpha1"}}) {
    const Manifest read = parse_manifest(policy(version, kind), "east");
    const ManifestDocument& document = *read.documents.at(0).document;
    ASSERT_THAT(document.errors, SizeIs(1)) << version;
    EXPECT_THAT(document.errors[0].what, HasSubstr("is not read")) << version;
    EXPECT_THAT(document.errors[0].fix, HasSubstr(fix)) << version;
  }
  for (const auto& [version, kind] : {std::pair{"gateway.networking.k8s.io/v1", "Gateway"},
                                      {"networking.istio.io/v1", "Gateway"},
                                      {"cluster.x-k8s.io/v1beta1", "Cluster"},
                                      {"net.gke.io/v1", "ServiceImport"},
                                      {"serving.knative.dev/v1", "Service"}}) {
    const Manifest read = parse_manifest(policy(version, kind), "east");
    EXPECT_THAT(read.documents.at(0).document->errors, IsEmpty()) << version;
  }
}

TEST(PolicyKinds, AVersionThatIsNotReadLeavesTheLastGoodOneInForce) {
  HubObjects hub;
  hub.set_text("east/policy.yaml", "east", cilium("cilium.io/v2"));
  EXPECT_THAT(hub.take_deltas(), SizeIs(1));
  hub.set_text("east/policy.yaml", "east", cilium("cilium.io/v2alpha1"));
  EXPECT_THAT(hub.take_deltas(), IsEmpty());
  const std::vector<SourceProblem> problems = hub.problems();
  ASSERT_THAT(problems, SizeIs(1));
  EXPECT_THAT(problems[0].what, HasSubstr("the previous version stays in force"));
  EXPECT_EQ(problems[0].object, (ObjectKey{ObjectKind::kCiliumPolicy, "east", "shop", "rule"}));
}

}  // namespace
}  // namespace isthmus
