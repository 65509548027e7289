// Policies of kinds that are not read, which an API server may have, lack, or forbid.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/source/kubernetes/kubernetes_source.h"
#include "test/unit/source/kubernetes/follow.h"

namespace isthmus {
namespace {

using testing::HasSubstr;

TEST(UnreadPolicies, AreNamedAndThatTheyAreForbiddenIsNoProblem) {
  constexpr auto kAdmin = "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies";
  constexpr auto kCluster = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";
  ApiServer server;
  server.serve_cluster_kinds();
  server.serve(kAdmin, "AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1");
  server.put(kAdmin, {{"metadata", {{"name", "block"}}}});
  server.serve(kCluster, "ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2");
  server.forbid(kCluster, true);
  TemporaryFolder folder;
  folder.write("ca.crt", server.authority().certificate());
  folder.write("config", server.kubeconfig({{"token", "t"}}, {{"certificate-authority", "ca.crt"}}));
  KubernetesSourceOptions options;
  options.cluster = "east";
  options.server.times = short_times();
  options.server.kubeconfig = folder.path("config");
  KubernetesSource source(options);
  ASSERT_TRUE(source.start());
  Follower hub(source);
  ASSERT_TRUE(hub.until_synced());
  EXPECT_THAT(hub.state("clusternetworkpolicies").last_error, HasSubstr("403"));
  EXPECT_THAT(hub.state("baselineadminnetworkpolicies").last_error, HasSubstr("404"));
  EXPECT_TRUE(source.policies_listed());
  EXPECT_TRUE(source.listed(ObjectKind::kNode, "east")) << "of a kind that several resources make";
  ASSERT_TRUE(hub.until([&] { return source.problems().size() == 1; }));
  EXPECT_THAT(source.problems()[0].what, HasSubstr("AdminNetworkPolicy block is not read"));
  EXPECT_EQ(source.problems()[0].provenance.location, server.url() + kAdmin + "/block");
  server.remove(kAdmin, "", "block");
  EXPECT_TRUE(hub.until([&] { return source.problems().empty(); }));
}

}  // namespace
}  // namespace isthmus
