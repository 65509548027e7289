// What a source makes of kinds that the server forbids, or does not have.
#include <gmock/gmock.h>

#include "test/unit/source/kubernetes/kubernetes_source_fixture.h"

namespace isthmus {
namespace {

TEST_F(KubernetesSourceTest, AMissingOptionalKindIsNoProblemAndIsFoundLater) {
  server.put(kServices, service_json("shop", "cart", false));
  start_and_sync();
  EXPECT_EQ(hub->state("serviceexports").sync, HubState::Sync::kFailed);
  EXPECT_THAT(hub->state("serviceexports").last_error, testing::HasSubstr("404"));
  EXPECT_TRUE(source->problems().empty());
  EXPECT_FALSE(hub->find<ServiceObject>(ObjectKind::kService, "east", "shop", "cart")->global);
  // Serves only the older version.
  constexpr auto kExports = "/apis/multicluster.x-k8s.io/v1alpha1/serviceexports";
  server.serve(kExports, "ServiceExport", "multicluster.x-k8s.io/v1alpha1");
  server.put(kExports, {{"metadata", {{"namespace", "shop"}, {"name", "cart"}}}});
  EXPECT_TRUE(hub->until([&] {
    return hub->find<ServiceObject>(ObjectKind::kService, "east", "shop", "cart")->global;
  })) << states();
}

TEST_F(KubernetesSourceTest, AForbiddenKindIsAProblemWithAFix) {
  server.forbid(kPods, true);
  server.put(kServices, service_json("shop", "cart"));
  server.put(kPods, {{"metadata", {{"namespace", "shop"}, {"name", "p"}}}, {"status", {{"podIP", "10.1.0.7"}}}});
  start_and_sync();
  EXPECT_TRUE(hub->has(ObjectKind::kService, "shop", "cart"));
  EXPECT_EQ(hub->state("pods").sync, HubState::Sync::kFailed);
  ASSERT_EQ(source->problems().size(), 1U);
  EXPECT_THAT(source->problems()[0].what, testing::HasSubstr("pods cannot be read: HTTP 403: cannot list resource"));
  EXPECT_THAT(source->problems()[0].fix, testing::HasSubstr("ClusterRole"));
  server.forbid(kPods, false);
  ASSERT_TRUE(hub->until([&] { return hub->has(ObjectKind::kPod, "shop", "p"); })) << states();
  ASSERT_TRUE(hub->until([&] { return hub->state("pods").sync == HubState::Sync::kSynced; })) << states();
  EXPECT_TRUE(source->problems().empty()) << "the problem ends with the list that succeeded";
}

TEST_F(KubernetesSourceTest, AWatchThatWasForbiddenForAWhileIsNoProblemOnceItIsResumed) {
  start_and_sync();
  InjectedFault fault;
  fault.request = InjectedFault::Request::kWatch;
  fault.status = 403;
  server.inject(kPods, fault);
  server.break_connections();
  ASSERT_TRUE(hub->until([&] { return source->problems().size() == 1; })) << states();
  EXPECT_TRUE(hub->until([&] { return source->problems().empty(); })) << source->problems().at(0).what;
  EXPECT_EQ(server.count(kPods, "sendInitialEvents"), 1U) << "without a list";
}

TEST_F(KubernetesSourceTest, TheAgentsConfigurationIsReadAloneAndMayBeForbidden) {
  constexpr auto kConfigMaps = "/api/v1/namespaces/kube-system/configmaps";
  const ObjectKey key{ObjectKind::kAgentConfig, "east", "kube-system", "cilium-config"};
  server.serve(kConfigMaps, "ConfigMap", "v1");
  server.forbid(kConfigMaps, true);
  start_and_sync();
  EXPECT_TRUE(source->policies_listed());
  EXPECT_TRUE(source->problems().empty());
  EXPECT_TRUE(source->withholds(ObjectKind::kAgentConfig));
  EXPECT_FALSE(source->listed(ObjectKind::kAgentConfig, "east")) << "it may be there";
  for (const ObjectKind other : {ObjectKind::kNetworkPolicy, ObjectKind::kService, ObjectKind::kCluster}) {
    EXPECT_TRUE(source->listed(other, "east")) << kind_text(other);
    EXPECT_FALSE(source->withholds(other)) << kind_text(other);
  }
  server.forbid(kConfigMaps, false);
  server.put(kConfigMaps, {{"metadata", {{"namespace", "kube-system"}, {"name", "cilium-config"}}},
                           {"data", {{"policy-default-local-cluster", "false"}, {"cluster-name", "east"}}}});
  ASSERT_TRUE(hub->until([&] { return hub->objects.contains(key); })) << states();
  EXPECT_EQ(std::get<AgentConfigObject>(hub->objects.at(key)).default_local_cluster, false);
  EXPECT_TRUE(source->listed(ObjectKind::kAgentConfig, "east"));
  EXPECT_FALSE(source->withholds(ObjectKind::kAgentConfig));
  EXPECT_TRUE(source->follows("ConfigMap"));
  EXPECT_EQ(server.count(kConfigMaps), server.count(kConfigMaps, "fieldSelector=metadata.name%3Dcilium-config"));
  options.agent_config = false;
  start_and_sync();
  EXPECT_FALSE(source->follows("ConfigMap"));
  for (const HubState& state : source->states()) {
    EXPECT_NE(state.name, "configmaps");
  }
}

TEST_F(KubernetesSourceTest, PoliciesAreNotKnownWhileOneOfTheirKindsIsForbidden) {
  server.forbid(kPolicies, true);
  start_and_sync();
  EXPECT_FALSE(source->policies_listed());
  ASSERT_EQ(source->problems().size(), 1U);
  EXPECT_THAT(source->problems()[0].what, testing::HasSubstr("networkpolicies cannot be read: HTTP 403"));
  EXPECT_THAT(source->problems()[0].what, testing::HasSubstr("this cluster's policies are not known"));
  server.forbid(kPolicies, false);
  ASSERT_TRUE(hub->until([&] { return source->policies_listed(); })) << states();
  EXPECT_TRUE(source->problems().empty());
  // A right that is taken away later takes nothing back.
  server.forbid(kPolicies, true);
  server.break_connections();
  ASSERT_TRUE(hub->until([&] { return hub->state("networkpolicies").sync == HubState::Sync::kStale; })) << states();
  EXPECT_TRUE(source->policies_listed());
}

TEST_F(KubernetesSourceTest, ACiliumKindThatIsNotInstalledHasNoObjectsButAForbiddenOneMayHave) {
  constexpr auto kNew = "/apis/cilium.io/v2/ciliumcidrgroups";
  start_and_sync();
  EXPECT_EQ(hub->state("ciliumcidrgroups").sync, HubState::Sync::kFailed);
  EXPECT_TRUE(source->policies_listed());
  server.serve(kNew, "CiliumCIDRGroup", "cilium.io/v2");
  server.forbid(kNew, true);
  start_and_sync();
  EXPECT_FALSE(source->policies_listed()) << "whatever is answered for the older version of the kind";
}

TEST_F(KubernetesSourceTest, AServerWithoutNetworkPoliciesLeavesThemUnknown) {
  server.drop(kPolicies);
  start_and_sync();
  EXPECT_FALSE(source->policies_listed());
  EXPECT_THAT(source->problems().at(0).what, testing::HasSubstr("networkpolicies cannot be read: HTTP 404"));
}

TEST_F(KubernetesSourceTest, AServerThatDoesNotAnswerLeavesPoliciesUnknownAndIsNamed) {
  server.require_token("another");
  start();
  ASSERT_TRUE(hub->until([&] { return !source->problems().empty(); })) << states();
  EXPECT_FALSE(source->policies_listed());
  ASSERT_TRUE(hub->until([&] {
    const auto problems = source->problems();
    return std::any_of(problems.begin(), problems.end(), [](const SourceProblem& problem) {
      return problem.what.find("networkpolicies, ") != std::string::npos &&
             problem.what.find("have not been listed yet, so that this cluster's policies are not known: HTTP 401") !=
                 std::string::npos;
    });
  })) << states();
  EXPECT_EQ(source->problems()[0].provenance.location, server.url());
  server.require_token("");
  ASSERT_TRUE(hub->until([&] { return source->policies_listed(); })) << states();
  ASSERT_TRUE(hub->until([&] { return source->problems().empty(); })) << states();
}

TEST_F(KubernetesSourceTest, APassing403IsAskedAgainSoon) {
  options.server.times.unavailable = std::chrono::hours(1);  // what it costs where nothing changes by itself
  server.forbid(kPods, true);
  server.forbid(kServices, true);
  start();
  ASSERT_TRUE(hub->until([&] { return hub->state("pods").last_error.find("403") != std::string::npos; })) << states();
  server.forbid(kPods, false);
  server.forbid(kServices, false);
  EXPECT_TRUE(hub->until([&] {
    return hub->state("pods").sync == HubState::Sync::kSynced && hub->state("services").sync == HubState::Sync::kSynced;
  })) << states();
}

}  // namespace
}  // namespace isthmus
