#include "control/observe/metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>

#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

struct MetricRow {
  std::string_view name, labels, help;  // labels joined by spaces
  MetricType type;
};

namespace metric {
#define ISTHMUS_METRIC(id, kind, name, labels, help, hint) \
  inline constexpr MetricRow id{name, labels, help, MetricType::kind};
#include "control/observe/metrics.def"
}  // namespace metric

class Page {
 public:
  using Labels = std::vector<ClientMetric::Label>;

  void family(std::string_view name, std::string_view help, MetricType type) {
    families_.push_back({std::string(name), std::string(help), type, {}});
  }
  void family(const MetricRow& row) { family(row.name, row.help, row.type); }
  void add(double value, Labels labels = {}) {
    MetricFamily& family = families_.back();
    ClientMetric metric;
    metric.label = std::move(labels);
    (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(std::move(metric));
  }
  void single(const MetricRow& row, double value) {
    family(row);
    add(value);
  }
  // A counter with one sample for each row of a series.
  void series(const MetricRow& row, const FlowMetrics::Series& rows) {
    family(row);
    for (const auto& [values, count] : rows) {
      Labels named;
      std::string_view rest = row.labels;
      for (const std::string& value : values) {
        const std::size_t end = std::min(rest.find(' '), rest.size());
        named.push_back({std::string(rest.substr(0, end)), value});
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
      add(static_cast<double>(count), std::move(named));
    }
  }
  [[nodiscard]] std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  std::vector<MetricFamily> families_;
};

double number(std::uint64_t value) { return static_cast<double>(value); }

template <typename Counts>
void family_of(const CounterRow<Counts>& row, Page& page) {
  page.family(row.metric, row.text, row.kind == CounterKind::kGauge ? MetricType::Gauge : MetricType::Counter);
}

// Every row of the list of counters.
template <typename Counts>
void add_counters(const Counts& counts, Page& page) {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    family_of(row, page);
    page.add(number(counts.*row.value));
  }
}

// Cilium has fewer reasons than we: several of ours may add up to one of Cilium's.
void add_drops(const EngineCounters& counters, Page& page) {
  struct Sum {
    std::uint64_t packets = 0, bytes = 0;
    void add(std::uint64_t more_packets, std::uint64_t more_bytes) {
      packets += more_packets;
      bytes += more_bytes;
    }
  };
  const auto rest = [](std::uint64_t all, std::uint64_t parts) { return all - std::min(all, parts); };
  std::map<std::pair<std::string, std::string>, Sum> by_reason;
  for (const DropCount& drop : counters.drops) {
    const CiliumDrop* cilium = find_cilium_drop(drop.cilium_code);
    const std::string reason(cilium == nullptr ? drop.text : cilium->text);
    by_reason[{reason, "EGRESS"}].add(drop.egress, drop.egress_bytes);
    by_reason[{reason, "INGRESS"}].add(drop.ingress, drop.ingress_bytes);
    by_reason[{reason, "UNKNOWN"}].add(rest(drop.packets, drop.egress + drop.ingress),
                                       rest(drop.bytes, drop.egress_bytes + drop.ingress_bytes));
  }
  const auto each = [&](const MetricRow& family, std::uint64_t Sum::*what) {
    page.family(family);
    for (const auto& [key, sum] : by_reason) {
      if (sum.packets != 0) {
        page.add(number(sum.*what), {{"reason", key.first}, {"direction", key.second}});
      }
    }
  };
  each(metric::kCiliumDrops, &Sum::packets);
  each(metric::kCiliumDropBytes, &Sum::bytes);
  page.family(metric::kDrops);
  for (const DropCount& drop : counters.drops) {
    page.add(number(drop.packets), {{"reason", std::string(drop.name)}});
  }
}

void add_packets(const EngineCounters& c, Page& page) {
  page.family(metric::kForwardedPackets);
  page.add(number(c.encapsulated), {{"direction", "EGRESS"}});
  page.add(number(c.tx_packets - std::min(c.tx_packets, c.encapsulated)), {{"direction", "INGRESS"}});
  page.family(metric::kForwardedBytes);
  page.add(number(c.fabric_bytes), {{"direction", "EGRESS"}});
  page.add(number(c.local_bytes), {{"direction", "INGRESS"}});
  add_counters<WorkerCounts>(c, page);
}

void add_table_start(const EngineCounters& c, Page& page) {
  constexpr std::pair<StateStart, const char*> kStarts[] = {{StateStart::kNew, "new"},
                                                            {StateStart::kAdopted, "adopted"},
                                                            {StateStart::kDiscarded, "discarded"},
                                                            {StateStart::kNotKept, "not_kept"}};
  page.family(metric::kTableStart);
  for (const auto& [start, name] : kStarts) {
    page.add(c.connections_start == start ? 1 : 0, {{"start", name}});
  }
}

void add_tables(const EngineCounters& c, Page& page) {
  add_table_start(c, page);
  add_counters(c.connections, page);
  add_counters<TableCounts>(c, page);
}

// `counts_of`: a device's counts, null when it has none.
template <typename Counts, typename CountsOf>
void add_device_counters(const std::vector<DeviceRow>& devices, Page& page, CountsOf&& counts_of) {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    family_of(row, page);
    for (const DeviceRow& device : devices) {
      if (const Counts* counts = counts_of(device)) {
        page.add(number(counts->*row.value), {{"device", device.status.name}, {"side", device.side}});
      }
    }
  }
}

void add_devices(const std::vector<DeviceRow>& devices, Page& page) {
  page.family(metric::kDeviceUp);
  for (const DeviceRow& device : devices) {
    page.add(device.status.up ? 1 : 0, {{"device", device.status.name}, {"side", device.side}});
  }
  add_device_counters<QueueCounters>(devices, page, [](const DeviceRow& d) { return &d.status.counters; });
  add_device_counters<SteerCounters>(devices, page, [](const DeviceRow& d) { return d.steer ? &*d.steer : nullptr; });
}

void add_fleet(const MetricsInput& input, Page& page) {
  const StatusReply& status = input.status;
  page.single(metric::kFrontends, number(status.frontends));
  page.single(metric::kGlobalServices, number(status.services));
  page.single(metric::kEjections, number(status.ejections));
  page.single(metric::kEjected, number(status.ejected));
  page.family(metric::kIdentities);
  page.add(number(input.identities), {{"type", "cluster_local"}});
  page.family(metric::kUnappliedRules);
  for (const auto& [policy, rules] : input.unapplied_rules) {
    page.add(number(rules), {{"policy", policy}});
  }
  const auto remote = std::count_if(input.clusters.begin(), input.clusters.end(),
                                    [](const ClusterView& c) { return !c.local && c.linked; });
  page.single(metric::kRemoteClusters, static_cast<double>(remote));
  page.family(metric::kRemoteReady);
  for (const ClusterView& cluster : input.clusters) {
    if (!cluster.local && cluster.linked) {
      page.add(cluster.unreachable ? 0 : 1, {{"target_cluster", cluster.name}});
    }
  }
}

const char* to_text(PolicyCounts::Change change) {
  switch (change) {
    case PolicyCounts::Change::kAdd:
      return "add";
    case PolicyCounts::Change::kUpdate:
      return "update";
    case PolicyCounts::Change::kDelete:
      break;
  }
  return "delete";
}

void add_policy_metrics(const PolicyMetrics& policy, Page& page) {
  const PolicyCounts& counts = policy.counts;
  page.single(metric::kPolicies, number(counts.policies));
  page.single(metric::kPolicyRevision, number(counts.revision));
  page.family(metric::kPolicyChanges);
  std::map<std::pair<std::string, std::string>, std::uint64_t> changes;
  for (const auto& [key, count] : counts.changes) {
    changes[{key.first == ObjectKind::kNetworkPolicy ? "k8s" : "custom-resource", to_text(key.second)}] += count;
  }
  for (const auto& [key, count] : changes) {
    page.add(number(count), {{"source", key.first}, {"operation", key.second}, {"outcome", "success"}});
  }
  page.family(metric::kPolicyStates);
  page.add(number(counts.policies - std::min(counts.policies, policy.outdated)), {{"state", "applied"}});
  page.add(number(policy.outdated), {{"state", "outdated"}});
  page.add(number(policy.refused), {{"state", "refused"}});
  page.family(metric::kPolicyIdentities);
  const std::string audit = policy.audit ? "audit-" : "";
  page.add(number(counts.subjects.none), {{"enforcement", "none"}});
  page.add(number(counts.subjects.ingress), {{"enforcement", audit + "ingress"}});
  page.add(number(counts.subjects.egress), {{"enforcement", audit + "egress"}});
  page.add(number(counts.subjects.both), {{"enforcement", audit + "both"}});
}

void add_hubs(const StatusReply& status, Page& page) {
  const auto each = [&](const MetricRow& family, auto&& read) {
    page.family(family);
    for (const HubRow& row : status.hub_parts) {
      page.add(read(row), {{"hub", row.state.hub}, {"part", row.state.name}});
    }
  };
  if (status.hub_parts.empty()) {
    return;
  }
  each(metric::kHubInSync, [](const HubRow& row) { return row.state.sync == HubState::Sync::kSynced ? 1.0 : 0.0; });
  each(metric::kHubObjects, [](const HubRow& row) { return number(row.state.objects); });
  each(metric::kHubRetained, [](const HubRow& row) { return number(row.state.retained); });
  each(metric::kHubEvents, [](const HubRow& row) { return number(row.state.events); });
  each(metric::kHubRefused, [](const HubRow& row) { return number(row.state.rejected); });
  each(metric::kHubConnects, [](const HubRow& row) { return number(row.state.connects); });
  page.family(metric::kHubLastEventAge);
  for (const HubRow& row : status.hub_parts) {
    if (row.last_event_ms) {
      page.add(number(*row.last_event_ms) / 1000, {{"hub", row.state.hub}, {"part", row.state.name}});
    }
  }
}

void add_peers(const StatusReply& status, Page& page) {
  const auto each = [&](const MetricRow& family, auto&& read) {
    page.family(family);
    for (const PeerRow& peer : status.peers) {
      if (peer.gateway && !peer.health.empty()) {
        page.add(read(peer), {{"peer", peer.name}, {"cluster", peer.cluster}});
      }
    }
  };
  each(metric::kPeerUp,
       [](const PeerRow& peer) { return peer.health != "unreachable" && peer.health != "untried" ? 1.0 : 0.0; });
  each(metric::kPeerDraining, [](const PeerRow& peer) { return peer.health == "draining" ? 1.0 : 0.0; });
  each(metric::kPeerRoundTrip, [](const PeerRow& peer) { return number(peer.round_trip_us) / 1e6; });
  each(metric::kPeerMtu, [](const PeerRow& peer) { return number(peer.inner_mtu.value()); });
  each(metric::kPeerBlackHole, [](const PeerRow& peer) { return peer.path_black_hole ? 1.0 : 0.0; });
  each(metric::kPeerFailures, [](const PeerRow& peer) { return number(peer.failures); });
  page.single(metric::kIsolated, status.isolated ? 1 : 0);
}

void add_flow_events(const StatusReply& status, Page& page) {
  page.family(metric::kFlowEvents);
  constexpr const char* kVerdicts[kFlowVerdicts] = {"forwarded", "dropped", "audit"};
  for (std::size_t i = 0; i < kFlowVerdicts; ++i) {
    const FlowEventCount& count = status.counters.flow_events[i];
    page.add(number(count.reported), {{"verdict", kVerdicts[i]}, {"outcome", "reported"}});
    page.add(number(count.sampled_out), {{"verdict", kVerdicts[i]}, {"outcome", "sampled_out"}});
    page.add(number(count.lost), {{"verdict", kVerdicts[i]}, {"outcome", "lost"}});
  }
  page.family(metric::kHubbleLost);
  page.add(number(status.flows.unseen), {{"source", "observer_events_queue"}});
  page.add(number(status.flows.overtaken), {{"source", "hubble_ring_buffer"}});
  page.single(metric::kFlowsKept, number(status.flows.kept));
  page.single(metric::kFlowReaders, number(status.flows.readers));
  page.single(metric::kControlEventsLost, number(status.control_events_lost));
}

void add_servers(const std::vector<ServerCounts>& servers, Page& page) {
  page.family(metric::kClients);
  for (const auto& [server, counts] : servers) {
    page.add(number(counts.accepted), {{"server", server}});
  }
  page.family(metric::kClientsDropped);
  for (const auto& [server, counts] : servers) {
    page.add(number(counts.late), {{"server", server}, {"reason", "late"}});
    page.add(number(counts.evicted), {{"server", server}, {"reason", "evicted"}});
  }
  page.family(metric::kClientsWithoutDescriptor);
  for (const auto& [server, counts] : servers) {
    page.add(number(counts.no_descriptor), {{"server", server}});
  }
}

void add_flows(const FlowMetrics& flows, Page& page) {
  page.series(metric::kHubbleFlows, flows.processed());
  page.series(metric::kHubbleDrops, flows.dropped());
  page.series(metric::kHubbleTcpFlags, flows.tcp_flags());
  page.series(metric::kHubbleIcmp, flows.icmp());
  page.series(metric::kHubblePolicyVerdicts, flows.policy_verdicts());
}

}  // namespace

std::string metrics_page(const MetricsInput& input) {
  const StatusReply& status = input.status;
  Page page;
  page.family(metric::kBuildInfo);
  page.add(1, {{"version", status.version}, {"gateway", status.name}, {"cluster", status.cluster}});
  page.single(metric::kServing, input.flows != nullptr ? 1 : 0);
  page.single(metric::kHubSynced, status.synced ? 1 : 0);
  page.single(metric::kUptime, number(status.uptime_ms) / 1000);
  page.single(metric::kProblems, number(status.problems.size()));
  page.single(metric::kLogLinesLost, number(input.log_lines_lost));
  add_servers(input.servers, page);
  add_hubs(status, page);
  if (input.flows != nullptr) {
    page.single(metric::kPublishes, number(status.publishes));
    add_packets(status.counters, page);
    add_drops(status.counters, page);
    add_tables(status.counters, page);
    add_devices(status.devices, page);
    add_fleet(input, page);
    add_policy_metrics(input.policy, page);
    add_peers(status, page);
    add_flow_events(status, page);
    add_flows(*input.flows, page);
  }
  return page.text();
}

}  // namespace isthmus
