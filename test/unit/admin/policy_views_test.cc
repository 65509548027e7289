// `isthmus policy`: the gateway's values, encoded as JSON and shown as text.
#include "control/admin/policy_replies.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/cli/views.h"

namespace isthmus {
namespace {

using nlohmann::json;

std::string policy_shown(const std::string& answer, bool as_json = false) {
  ViewOptions options;
  options.json = as_json;
  const auto text = show_answer(AdminCommand::kPolicy, answer, options);
  EXPECT_TRUE(text.ok()) << (text.ok() ? "" : text.error().text());
  return text.ok() ? *text : std::string();
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

PolicyListReply some_list() {
  PolicyListReply reply;
  reply.enforcement = "default";
  reply.subjects = 3;
  reply.policies.rows = {{"CiliumNetworkPolicy", "shop/allow-web", "east/policies.yaml:1", "applied", "", 2, 4},
                         {"NetworkPolicy", "bank/dns", "east/dns.yaml:3", "refused",
                          "spec.ingress[0].sctp is not supported\x1b[2J; no", 0, 0}};
  return reply;
}

PolicyTraceReply some_trace() {
  PolicyTraceReply reply;
  reply.endpoint = {"west/shop/web-1", 131328, "k8s:app=web"};
  reply.to = PolicyPartyRow{"east/shop/cart-0", 65792, "k8s:app=cart"};
  reply.port = "8080/tcp";
  reply.verdict = "allowed";
  PolicyDirectionRow egress{"egress", "west/shop/web-1", "east/shop/cart-0", false, false, "", "of cluster west", {},
                            {}};
  PolicyDirectionRow ingress{"ingress", "east/shop/cart-0", "west/shop/web-1",  true,
                             true,      "allowed",          "a rule allows it", {"CiliumNetworkPolicy shop/l7"},
                             {}};
  ingress.rules = {{"CiliumNetworkPolicy shop/allow-web", "east/policies.yaml:9", false, "pods app=web", "tcp 8080",
                    true, true, true},
                   {"CiliumNetworkPolicy shop/no-world", "east/policies.yaml:29", true, "entities world", "every port",
                    false, true, false}};
  reply.directions = {egress, ingress};
  return reply;
}

TEST(PolicyView, ListsPoliciesWithStateAndProblem) {
  const std::string text = policy_shown(encode_policies(some_list()));
  EXPECT_TRUE(holds(text, "enforcement  default\n")) << text;
  EXPECT_TRUE(holds(text, "CiliumNetworkPolicy  shop/allow-web  applied         2      4  east/policies.yaml:1"))
      << text;
  EXPECT_TRUE(holds(text, "refused")) << text;
  EXPECT_TRUE(holds(text, "problems\n  bank/dns: spec.ingress[0].sctp")) << text;
  EXPECT_FALSE(holds(text, "\x1b")) << "control characters reach the terminal";
}

TEST(PolicyView, AnEmptyListSaysSo) { EXPECT_TRUE(holds(policy_shown(encode_policies({})), "No policies.")); }

TEST(PolicyView, ATraceNamesTheDecidingRule) {
  const std::string text = policy_shown(encode_policy_trace(some_trace()));
  EXPECT_TRUE(holds(text, "from         west/shop/web-1, identity 131328, k8s:app=web\n")) << text;
  EXPECT_TRUE(holds(text, "verdict      allowed\n")) << text;
  EXPECT_TRUE(holds(text, "egress of west/shop/web-1: not enforced here, of cluster west")) << text;
  EXPECT_TRUE(holds(text, "ingress of east/shop/cart-0: allowed, a rule allows it")) << text;
  EXPECT_TRUE(holds(text, "  CiliumNetworkPolicy shop/l7 selects it and is refused: isthmus policy says why\n"))
      << text;
  EXPECT_TRUE(holds(text, "east/policies.yaml:9   decides")) << text;
  EXPECT_TRUE(holds(text, "east/policies.yaml:29  other peers")) << text;
}

TEST(PolicyView, AnEndpointShowsItsRulesWithoutVerdicts) {
  PolicyTraceReply reply = some_trace();
  reply.to.reset();
  reply.directions.erase(reply.directions.begin());
  reply.directions.front().peer.clear();
  for (PolicyRuleRow& rule : reply.directions.front().rules) {
    rule.peer_matches.reset();
    rule.decides = false;
  }
  const std::string text = policy_shown(encode_policy_trace(reply));
  EXPECT_TRUE(holds(text, "endpoint     west/shop/web-1")) << text;
  EXPECT_TRUE(holds(text, "closed but for these rules")) << text;
  EXPECT_FALSE(holds(text, "other peers")) << text;
}

TEST(PolicyView, JsonOutputHasTheMembers) {
  const json trace = json::parse(policy_shown(encode_policy_trace(some_trace()), true));
  EXPECT_EQ(trace["verdict"], "allowed");
  EXPECT_EQ(trace["from"]["identity"], 131328);
  EXPECT_EQ(trace["directions"][1]["rules"][0]["where"], "east/policies.yaml:9");
  EXPECT_EQ(trace["directions"][1]["rules"][0]["decides"], true);
  EXPECT_EQ(trace["directions"][1]["refused"], json({"CiliumNetworkPolicy shop/l7"}));
  EXPECT_EQ(trace["directions"][1]["rules"][1]["action"], "deny");
  const json list = json::parse(policy_shown(encode_policies(some_list()), true));
  EXPECT_EQ(list["policies"][1]["state"], "refused");
}

TEST(PolicyView, MembersOfOtherTypesAreTolerated) {
  for (const char* answer : {R"({"ok":true,"policy":{}})", R"({"ok":true,"policy":{"directions":7}})",
                             R"({"ok":true,"policy":{"directions":[1,{"rules":[3,{"where":7}]}],"to":[],"from":"x"}})",
                             R"({"ok":true,"policy":{"policies":[{"name":[]}, null]}})"}) {
    EXPECT_FALSE(policy_shown(answer).empty()) << answer;
  }
}

}  // namespace
}  // namespace isthmus
