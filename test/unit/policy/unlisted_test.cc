// What holds until the policies of our cluster are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/policy/explain.h"
#include "test/unit/policy/policy_fixture.h"

namespace isthmus {
namespace {

using namespace policy_test;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kUnknown = "the policies of cluster east are not all known";

std::string allow_web() {
  return cnp(
      "  endpointSelector: {matchLabels: {app: cart}}\n  ingress:\n"
      "  - fromEndpoints: [{matchLabels: {app: web, io.cilium.k8s.policy.cluster: west}}]");
}

TEST(UnlistedPolicies, EverythingOfOurClusterIsDeniedUntilTheyAreAllKnown) {
  PolicyHub hub;
  (void)hub.model.set_policies_listed(false);
  hub.policy(allow_web());
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/cart", kTcp, 80))) << "another policy may deny it";
  EXPECT_FALSE(allowed(hub.ingress("west/web", "east/web", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.egress("east/ledger", "west/web", kTcp, 80)));
  EXPECT_TRUE(hub.tables.defaults.deny_unknown) << "pods that are not listed yet";
  EXPECT_THAT(hub.problems, Contains(Field(&Problem::what, HasSubstr(kUnknown))));

  EXPECT_TRUE(hub.model.set_policies_listed(true));
  hub.compile();
  EXPECT_TRUE(allowed(hub.ingress("west/web", "east/cart", kTcp, 80)));
  EXPECT_FALSE(allowed(hub.ingress("west/ledger", "east/cart", kTcp, 80)));
  EXPECT_TRUE(allowed(hub.ingress("west/web", "east/web", kTcp, 80)));
  EXPECT_FALSE(hub.tables.defaults.deny_ingress || hub.tables.defaults.deny_egress);
  EXPECT_THAT(hub.problems, Not(Contains(Field(&Problem::what, HasSubstr(kUnknown)))));
}

TEST(UnlistedPolicies, WhatChangesMeanwhileHoldsFromTheFirstMoment) {
  PolicyHub hub;
  (void)hub.model.set_policies_listed(false);
  hub.policy(allow_web());
  hub.policy("");
  hub.policy(allow_web());
  EXPECT_TRUE(hub.tables.subjects.empty());
  (void)hub.model.set_policies_listed(true);
  hub.compile();
  EXPECT_FALSE(allowed(hub.ingress("west/ledger", "east/cart", kTcp, 80)));
}

TEST(UnlistedPolicies, AreNotWaitedForWhereTheSettingsSaySo) {
  PolicyHub open(PolicySettings{PolicyEnforcement::kDefault, false, UntilListed::kAllow});
  (void)open.model.set_policies_listed(false);
  open.policy(allow_web());
  EXPECT_TRUE(allowed(open.ingress("west/web", "east/web", kTcp, 80)));
  EXPECT_FALSE(allowed(open.ingress("west/ledger", "east/cart", kTcp, 80))) << "a policy that was read denies it";
  EXPECT_THAT(open.problems, Contains(Field(&Problem::what, HasSubstr(kUnknown))));

  PolicyHub never(PolicySettings{PolicyEnforcement::kNever, false, UntilListed::kDeny});
  (void)never.model.set_policies_listed(false);
  never.policy(allow_web());
  EXPECT_TRUE(allowed(never.ingress("west/ledger", "east/cart", kTcp, 80)));
  EXPECT_THAT(never.problems, Not(Contains(Field(&Problem::what, HasSubstr(kUnknown)))));
}

TEST(UnlistedPolicies, ATraceSaysWhyEverythingIsDenied) {
  PolicyHub hub;
  (void)hub.model.set_policies_listed(false);
  hub.policy(allow_web());
  const PolicySet& policy = hub.compiler->policy();
  const auto subject = party_of(Identity{pod("east/cart").identity}, "cart", policy);
  const auto peer = party_of(Identity{pod("west/web").identity}, "web", policy);
  const PolicyQuestion question{kTcp, 80};
  const auto explained = explain(policy, hub.model, "east", false, subject, &peer, &question);
  EXPECT_EQ(explained.outcome, PolicyOutcome::kDenied);
  EXPECT_THAT(explained.reason, HasSubstr("not all known yet"));
}

}  // namespace
}  // namespace isthmus
