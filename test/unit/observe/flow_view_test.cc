// A flow as JSON for programs, and as the line that people read.
#include "control/cli/flow_view.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "control/observe/flow_json.h"
#include "test/unit/observe/flow_builder.h"

namespace isthmus {
namespace {

using namespace flow_test;
using nlohmann::json;

std::string compact(const FlowEntry& entry) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  return compact_flow(encode_flow(entry, "east/east-1"));
}

TEST(FlowJson, HasTheFieldsOfHubblesExporter) {
  const json line = json::parse(encode_flow(some_flow(), "east/east-1"));
  const json expected = json::parse(R"({
    "node_name": "east/east-1", "time": "2026-11-22T23:59:01.123456789Z",
    "flow": {
      "time": "2026-11-22T23:59:01.123456789Z", "verdict": "FORWARDED", "Type": "L3_L4", "node_name": "east/east-1",
      "IP": {"source": "10.1.0.5", "destination": "10.2.0.7", "ipVersion": "IPv4"},
      "l4": {"TCP": {"source_port": 40000, "destination_port": 8080, "flags": {"SYN": true}}},
      "source": {"identity": 65636, "namespace": "shop", "pod_name": "client-0", "cluster_name": "east",
                 "labels": ["k8s:app=client"]},
      "destination": {"identity": 131372, "namespace": "shop", "pod_name": "web-0", "cluster_name": "west",
                      "labels": ["k8s:app=web"]},
      "event_type": {"type": 4, "sub_type": 4}, "trace_observation_point": "TO_OVERLAY", "trace_reason": "NEW",
      "is_reply": false, "traffic_direction": "EGRESS",
      "destination_service": {"namespace": "shop", "name": "cart"},
      "tunnel": {"protocol": "VXLAN", "IP": {"destination": "192.0.2.2", "ipVersion": "IPv4"}},
      "Summary": "TCP Flags: SYN"}})");
  EXPECT_EQ(line, expected) << line.dump(2);
}

TEST(FlowJson, ADropCarriesCiliumsCodeAndNameAndOurOwn) {
  const json line = json::parse(encode_flow(some_drop(), "east/east-1"));
  EXPECT_EQ(line["flow"]["verdict"], "DROPPED");
  EXPECT_EQ(line["flow"]["drop_reason"], 133);
  EXPECT_EQ(line["flow"]["drop_reason_desc"], "POLICY_DENIED");
  EXPECT_EQ(line["flow"]["event_type"], json::parse(R"({"type": 1, "sub_type": 133})"));
  EXPECT_FALSE(line["flow"].contains("is_reply"));
  EXPECT_EQ(line["flow"]["extensions"]["value"]["drop_reason"], "policy_denied");
}

TEST(FlowJson, AnAliasedEndHasBothAddressesWhicheverTheFlowHas) {
  Flow flow = some_drop();
  flow.source.forms = {ip("10.1.0.5"), ip("10.101.0.5")};
  const json line = json::parse(encode_flow(flow, "east/east-1"));
  EXPECT_EQ(line["flow"]["extensions"]["value"]["source"],
            json::parse(R"({"own": "10.1.0.5", "alias": "10.101.0.5"})"));
  EXPECT_EQ(line["flow"]["extensions"]["value"]["drop_reason"], "policy_denied");
  EXPECT_FALSE(line["flow"]["extensions"]["value"].contains("destination"));
  EXPECT_TRUE(compact(flow).ends_with("(TCP Flags: SYN) alias 10.1.0.5=10.101.0.5\n")) << compact(flow);
  flow = some_flow();
  flow.destination.forms = {ip("10.1.0.7"), ip("10.2.0.7")};
  EXPECT_TRUE(compact(flow).ends_with("(TCP Flags: SYN) alias 10.1.0.7=10.2.0.7\n")) << compact(flow);
}

TEST(FlowView, ReadsAsHubbleObserve) {
  EXPECT_EQ(compact(some_flow()),
            "Nov 22 23:59:01.123: shop/client-0:40000 (ID:65636) -> west/shop/web-0:8080 (ID:131372) to-overlay "
            "FORWARDED (TCP Flags: SYN)\n");
  EXPECT_EQ(compact(some_drop()),
            "Nov 22 23:59:01.123: shop/client-0:40000 (ID:65636) <> west/shop/web-0:8080 (ID:131372) No policy entry "
            "allows it (policy_denied) DROPPED (TCP Flags: SYN)\n");
}

TEST(FlowView, AReplyIsShownFromClientToServer) {
  Flow flow = some_flow();
  std::swap(flow.source, flow.destination);
  flow.event.trace = TraceReason::kReply;
  flow.event.to = Side::kLocal;
  flow.event.tcp_flags = kSynFlag | kAckFlag;
  EXPECT_EQ(compact(flow),
            "Nov 22 23:59:01.123: shop/client-0:40000 (ID:65636) <- west/shop/web-0:8080 (ID:131372) to-endpoint "
            "FORWARDED (TCP Flags: SYN, ACK)\n");
}

TEST(FlowView, WhatHasNoNameIsShownByItsAddress) {
  Flow flow = some_drop();
  flow.source = party("fd00::7", 0, 2);
  flow.destination = party("fd00::8", 0, 0);
  flow.event.protocol = IpProtocol::kIcmpv6;
  flow.event.icmp_type = 128;
  EXPECT_EQ(compact(flow),
            "Nov 22 23:59:01.123: fd00::7 (world) <> fd00::8 (unknown) No policy entry allows it (policy_denied) "
            "DROPPED (ICMPv6 EchoRequest)\n");
}

TEST(FlowView, PolicyIsNamed) {
  Flow flow = some_drop();
  flow.event.egress.outcome = PolicyOutcome::kDeniedByRule;
  flow.egress_policy =
      std::make_shared<const PolicyName>(PolicyName{"CiliumNetworkPolicy", "shop", "no-west", true, true, {}});
  EXPECT_NE(compact(flow).find("DROPPED [shop/no-west] (TCP"), std::string::npos) << compact(flow);
  const json line = json::parse(encode_flow(flow, "n"));
  EXPECT_EQ(line["flow"]["egress_denied_by"],
            json::parse(R"([{"name": "no-west", "namespace": "shop", "kind": "CiliumNetworkPolicy"}])"));
}

TEST(FlowJson, AnAuditedFlowSaysWhatItsRuleMatchedOn) {
  struct Row {
    bool any_peer, any_port;
    std::vector<PolicyPort> ports;
    unsigned match;
    const char* text;
  };
  constexpr std::uint8_t kTcp = 6, kUdp = 17;
  const PolicyPort http{kTcp, 8080, 8080, {}}, named{0, 0, 65535, "http"}, every_tcp{kTcp, 0, 65535, {}};
  const PolicyPort every_udp{kUdp, 0, 65535, {}}, every{0, 0, 65535, {}};
  const Row rows[] = {
      {false, true, {}, 1, "L3-Only"},
      {false, false, {http}, 2, "L3-L4"},
      {false, false, {named}, 2, "L3-L4"},
      {true, false, {http}, 3, "L4-Only"},
      {true, true, {}, 4, "all"},
      {false, false, {every_udp, every_tcp}, 5, "L3-Proto"},
      {true, false, {every_tcp}, 6, "Proto-Only"},
      {true, false, {every}, 4, "all"},
  };
  for (const Row& row : rows) {
    Flow flow = some_flow();
    flow.event.verdict = FlowVerdict::kAudited;
    flow.event.ingress = {PolicyOutcome::kAudited, RuleId{1}};
    flow.ingress_policy = std::make_shared<const PolicyName>(
        PolicyName{"CiliumNetworkPolicy", "shop", "p", row.any_peer, row.any_port, row.ports});
    const json line = json::parse(encode_flow(flow, "n"));
    EXPECT_EQ(line["flow"]["policy_match_type"], row.match) << row.text;
    EXPECT_EQ(line["flow"]["traffic_direction"], "INGRESS") << "of the verdict, not of the connection";
    EXPECT_NE(compact(flow).find(std::string("policy-verdict:") + row.text + " INGRESS AUDITED [shop/p]"),
              std::string::npos)
        << compact(flow);
  }
  Flow by_default = some_flow();
  by_default.event.verdict = FlowVerdict::kAudited;
  by_default.event.egress = {PolicyOutcome::kAudited, kNoRule};
  EXPECT_NE(compact(by_default).find("policy-verdict:none EGRESS AUDITED (TCP"), std::string::npos);
}

TEST(FlowView, LostFlowsAreShown) {
  EXPECT_EQ(compact(LostFlows{0, LostFlows::Where::kRing, 7}),
            "Jan  1 00:00:00.000: EVENTS LOST: HUBBLE_RING_BUFFER 7\n");
}

TEST(FlowView, AnyLineIsShownAndNoneThrows) {
  std::mt19937 random(9);
  const std::string good = encode_flow(some_drop(), "east/east-1");
  for (int round = 0; round < 5000; ++round) {
    std::string line = good;
    for (unsigned i = 0; i < 1 + random() % 6; ++i) {
      line[random() % line.size()] = static_cast<char>(random());
    }
    EXPECT_EQ(compact_flow(line).back(), '\n');
  }
  for (const char* line : {"", "[]", "{}", R"({"flow": 7})", R"({"flow": {"l4": [], "event_type": {"type": 5}}})"}) {
    EXPECT_EQ(compact_flow(line).back(), '\n') << line;
  }
  EXPECT_FALSE(check_flows_answer("").ok());
  EXPECT_FALSE(check_flows_answer(R"({"ok":false,"error":{"what":"no"}})").ok());
  EXPECT_TRUE(check_flows_answer(R"({"ok":true,"flows":{}})").ok());
}

}  // namespace
}  // namespace isthmus
