// The page for Prometheus: its syntax, line by line, and its values.
#include "control/observe/metrics_page.h"

#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "test/support/counted_status.h"
#include "test/unit/observe/flow_builder.h"

namespace isthmus {
namespace {

using namespace flow_test;

StatusReply some_status() {
  StatusReply status;
  status.name = "east-1";
  status.cluster = "east";
  status.version = "1\"2\\3\n4";  // whatever a label holds
  status.counters.endpoints = 12;
  status.publishes = 3;
  status.ejections = 6;
  status.ejected = 2;
  status.flows.unseen = 7;
  HubState part;  // both hubs of Kubernetes have one of this name
  part.name = "serviceimports";
  part.hub = "kubernetes";
  part.objects = 5;
  status.hub_parts.push_back({part, 12'000});
  part.hub = "fleet";
  part.objects = 6;
  status.hub_parts.push_back({part, std::nullopt});
  status.counters.connections_start = StateStart::kDiscarded;
  status.counters.rx_packets = 9'007'199'254'740'991;  // the largest that a double holds exactly
  status.counters.tx_packets = 30;
  status.counters.encapsulated = 20;
  status.counters.fabric_bytes = 2000;
  status.counters.local_bytes = 600;
  status.counters.drops = {{"policy_denied", "t", "h", 133, 5, 2, 1, 500, 200, 100},
                           {"not_linked", "t", "h", 133, 4, 4, 0, 240, 240, 0},
                           {"tx_full", "Transmit ring full", "h", 0, 1, 0, 0, 60, 0, 0}};
  status.counters.flow_events[1] = {10, 20, 30};
  status.devices.push_back({"underlay", {"eth0", "native", {}, true}, {}});
  status.peers.push_back({PeerId{1}, "west-1", "west", ip("192.0.2.2"), L4Port{8472}, true, "alive", 3, 250, 2, true});
  return status;
}

MetricsInput some_input(const StatusReply& status, const FlowMetrics& flows) {
  ClusterView east, west;
  east.name = "east";
  east.local = east.linked = true;
  west.name = "west";
  west.linked = true;
  PolicyMetrics policy;
  policy.counts.policies = 9;
  policy.counts.revision = 33;
  policy.counts.changes = {{{ObjectKind::kCiliumPolicy, PolicyCounts::Change::kAdd}, 10},
                           {{ObjectKind::kClusterwidePolicy, PolicyCounts::Change::kAdd}, 1},
                           {{ObjectKind::kNetworkPolicy, PolicyCounts::Change::kDelete}, 2}};
  policy.counts.subjects = {1, 2, 3, 4};
  policy.audit = true;
  policy.refused = 2;
  policy.outdated = 1;
  return {status, {east, west}, 4, policy, &flows, {{"CiliumNetworkPolicy shop/rule", 2}}};
}

// name{labels} → value; checks the syntax of every line.
std::map<std::string, std::string> samples(const std::string& page) {
  static const std::regex kSample(
      R"re(^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*",?)*\})? ([-+0-9.eE]+|NaN|[-+]?Inf)$)re");
  static const std::regex kHelp(R"(^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) .*$)");
  static const std::regex kType(R"(^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)$)");
  std::map<std::string, std::string> found;
  std::set<std::string> families;
  std::istringstream stream(page);
  std::string family;
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kType)) {
      EXPECT_TRUE(families.insert(match[1]).second) << match[1] << " appears twice";
      family = match[1];
      const bool total = family.size() > 6 && family.compare(family.size() - 6, 6, "_total") == 0;
      EXPECT_EQ(total, match[2] == "counter") << family;
    } else if (!std::regex_match(line, match, kHelp)) {
      EXPECT_TRUE(std::regex_match(line, match, kSample)) << line;
      EXPECT_EQ(match[1], family) << line;
      EXPECT_TRUE(found.emplace(line.substr(0, line.rfind(' ')), match[5]).second) << line;
    }
  }
  EXPECT_EQ(page.back(), '\n');
  return found;
}

TEST(MetricsPage, CountsLostLinesAndClientsAlsoOfAGatewayThatWaits) {
  const StatusReply status = some_status();
  MetricsInput input{status, {}, 0, {}, nullptr};
  input.log_lines_lost = 17;
  input.servers = {{"admin", {9, 3, 2, 4, 5}}, {"metrics", {}}};
  auto found = samples(metrics_page(input));
  EXPECT_EQ(found["isthmus_log_lines_lost_total"], "17");
  EXPECT_EQ(found[R"(isthmus_clients_total{server="admin"})"], "9");
  EXPECT_EQ(found[R"(isthmus_clients_dropped_total{server="admin",reason="late"})"], "2");
  EXPECT_EQ(found[R"(isthmus_clients_dropped_total{server="admin",reason="evicted"})"], "3");
  EXPECT_EQ(found[R"(isthmus_clients_without_descriptor_total{server="admin"})"], "4");
  EXPECT_EQ(found[R"(isthmus_clients_without_descriptor_total{server="metrics"})"], "0");
}

TEST(MetricsPage, IsValidForPrometheusAndHasTheGatewaysValues) {
  FlowMetrics flows;
  flows.count(some_flow());
  flows.count(some_drop());
  flows.count(some_drop());
  const StatusReply status = some_status();
  auto found = samples(metrics_page(some_input(status, flows)));
  const std::vector<std::pair<const char*, const char*>> expected{
      {R"(cilium_drop_count_total{reason="Policy denied",direction="EGRESS"})", "6"},
      {R"(cilium_drop_count_total{reason="Policy denied",direction="INGRESS"})", "1"},
      {R"(cilium_drop_count_total{reason="Policy denied",direction="UNKNOWN"})", "2"},
      {R"(cilium_drop_count_total{reason="Transmit ring full",direction="UNKNOWN"})", "1"},
      {R"(cilium_drop_bytes_total{reason="Policy denied",direction="EGRESS"})", "440"},
      {R"(cilium_drop_bytes_total{reason="Policy denied",direction="UNKNOWN"})", "200"},
      {R"(isthmus_drops_total{reason="not_linked"})", "4"},
      {"cilium_policy", "9"},
      {"cilium_policy_max_revision", "33"},
      {R"(cilium_policy_change_total{source="custom-resource",operation="add",outcome="success"})", "11"},
      {R"(cilium_policy_change_total{source="k8s",operation="delete",outcome="success"})", "2"},
      {R"(isthmus_policies{state="applied"})", "8"},
      {R"(isthmus_policies{state="outdated"})", "1"},
      {R"(isthmus_policies{state="refused"})", "2"},
      {R"(isthmus_policy_identities{enforcement="audit-both"})", "4"},
      {R"(isthmus_policy_identities{enforcement="none"})", "1"},
      {R"(cilium_forward_count_total{direction="EGRESS"})", "20"},
      {R"(cilium_forward_count_total{direction="INGRESS"})", "10"},
      {R"(cilium_forward_bytes_total{direction="EGRESS"})", "2000"},
      {R"(cilium_forward_bytes_total{direction="INGRESS"})", "600"},
      {"isthmus_received_packets_total", "9007199254740991"},
      {"isthmus_publishes_total", "3"},
      {"isthmus_outlier_ejections_total", "6"},
      {"isthmus_outliers_ejected", "2"},
      {R"(isthmus_flow_events_total{verdict="dropped",outcome="lost"})", "30"},
      {R"(hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-overlay",verdict="FORWARDED"})", "1"},
      {R"(hubble_flows_processed_total{protocol="TCP",type="Drop",subtype="",verdict="DROPPED"})", "2"},
      {R"(hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"})", "2"},
      {R"(hubble_tcp_flags_total{flag="SYN",family="IPv4"})", "1"},
      {R"(hubble_lost_events_total{source="observer_events_queue"})", "7"},
      {R"(isthmus_peer_up{peer="west-1",cluster="west"})", "1"},
      {R"(isthmus_peer_draining{peer="west-1",cluster="west"})", "0"},
      {R"(isthmus_device_up{device="eth0",side="underlay"})", "1"},
      {"cilium_clustermesh_remote_clusters", "1"},
      {R"(cilium_clustermesh_remote_cluster_readiness_status{target_cluster="west"})", "1"},
      {R"(cilium_identity{type="cluster_local"})", "4"},
      {R"(isthmus_policy_unapplied_rules{policy="CiliumNetworkPolicy shop/rule"})", "2"},
      {"isthmus_endpoints", "12"},
      {R"(isthmus_connection_table_start{start="discarded"})", "1"},
      {R"(isthmus_connection_table_start{start="adopted"})", "0"},
      {R"(isthmus_hub_objects{hub="kubernetes",part="serviceimports"})", "5"},
      {R"(isthmus_hub_objects{hub="fleet",part="serviceimports"})", "6"},
      {R"(isthmus_hub_last_event_age_seconds{hub="kubernetes",part="serviceimports"})", "12"},
      {R"(isthmus_build_info{version="1\"2\\3\n4",gateway="east-1",cluster="east"})", "1"},
  };
  for (const auto& [name, value] : expected) {
    ASSERT_EQ(found.count(name), 1u) << name << "\n" << metrics_page(some_input(status, flows));
    EXPECT_EQ(found[name], value) << name;
  }
}

TEST(MetricsPage, HasASampleForEveryCounterOfTheList) {
  FlowMetrics flows;
  StatusReply status = test::counted_status();
  auto found = samples(metrics_page(some_input(status, flows)));
  test::each_counts(status, [&](const auto& counts, const auto& rows) {
    const bool of_device = static_cast<const void*>(&counts) == &status.devices[0].status.counters ||
                           static_cast<const void*>(&counts) == &*status.devices[0].steer;
    for (const auto& row : rows) {
      const std::string name = std::string(row.metric) + (of_device ? R"({device="eth0",side="underlay"})" : "");
      ASSERT_EQ(found.count(name), 1U) << name;
      EXPECT_EQ(found[name], std::to_string(counts.*row.value)) << name;
    }
  });
}

// metric → labels, joined by spaces, as the list says.
const std::map<std::string, std::string> kListed{
#define ISTHMUS_METRIC(id, kind, name, labels, help, hint) {name, labels},
#include "control/observe/metrics.def"
};

TEST(MetricsPage, EveryMetricOfTheListIsThereWithItsLabels) {
  FlowMetrics flows;
  flows.count(some_flow());
  flows.count(some_drop());
  const StatusReply status = some_status();
  MetricsInput input = some_input(status, flows);
  input.servers = {{"admin", {}}};
  const std::string page = metrics_page(input);
  for (const auto& [name, labels] : kListed) {
    EXPECT_NE(page.find("# TYPE " + name + " "), std::string::npos) << name;
  }
  static const std::regex kLabel(R"re(([a-z_]+)="([^"\\]|\\.)*")re");
  std::size_t seen = 0;
  for (const auto& [sample, value] : samples(page)) {
    const std::string name = sample.substr(0, sample.find('{'));
    const auto row = kListed.find(name);
    if (row == kListed.end()) {
      continue;  // a row of counters.def
    }
    std::string labels;
    for (std::sregex_iterator at(sample.begin(), sample.end(), kLabel), end; at != end; ++at) {
      labels += (labels.empty() ? "" : " ") + (*at)[1].str();
    }
    EXPECT_EQ(labels, row->second) << sample;
    ++seen;
  }
  EXPECT_GT(seen, kListed.size());
}

TEST(MetricsPage, ADeviceThatIsDownAndADiscardedTableAreTold) {
  FlowMetrics flows;
  StatusReply status = test::counted_status();
  status.devices[0].status.up = false;
  status.counters.connections_start = StateStart::kDiscarded;
  const auto found = samples(metrics_page(some_input(status, flows)));
  EXPECT_EQ(found.at(R"(isthmus_device_up{device="eth0",side="underlay"})"), "0");
  EXPECT_EQ(found.at(R"(isthmus_connection_table_start{start="discarded"})"), "1");
  EXPECT_EQ(found.at(R"(isthmus_connection_table_start{start="new"})"), "0");
}

TEST(MetricsPage, AWaitingGatewaySaysSo) {
  const StatusReply status = some_status();
  const auto found = samples(metrics_page({status, {}, 0, {}, nullptr}));
  EXPECT_EQ(found.at("isthmus_serving"), "0");
  EXPECT_EQ(found.count("isthmus_connections"), 0u);
}

}  // namespace
}  // namespace isthmus
