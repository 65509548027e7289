#include "control/observe/metrics_page.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <initializer_list>
#include <sstream>
#include <string_view>
#include <utility>

#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

class Page {
 public:
  using Labels = std::vector<ClientMetric::Label>;

  void family(std::string_view name, std::string_view help, MetricType type) {
    families_.push_back({std::string(name), std::string(help), type, {}});
  }
  void add(double value, Labels labels = {}) {
    MetricFamily& family = families_.back();
    ClientMetric metric;
    metric.label = std::move(labels);
    (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family.metric.push_back(std::move(metric));
  }
  void counter(const char* name, const char* help, std::uint64_t value) {
    family(name, help, MetricType::Counter);
    add(static_cast<double>(value));
  }
  void gauge(const char* name, const char* help, double value) {
    family(name, help, MetricType::Gauge);
    add(value);
  }
  // A counter with one sample for each row of a series.
  void series(const char* name, const char* help, std::initializer_list<const char*> labels,
              const FlowMetrics::Series& rows) {
    family(name, help, MetricType::Counter);
    for (const auto& [values, count] : rows) {
      Labels named;
      auto value = values.begin();
      for (const char* label : labels) {
        named.push_back({label, *value++});
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
  const auto each = [&](const char* name, const char* help, std::uint64_t Sum::*what) {
    page.family(name, help, MetricType::Counter);
    for (const auto& [key, sum] : by_reason) {
      if (sum.packets != 0) {
        page.add(number(sum.*what), {{"reason", key.first}, {"direction", key.second}});
      }
    }
  };
  each("cilium_drop_count_total", "Packets dropped, by Cilium's reason and direction", &Sum::packets);
  each("cilium_drop_bytes_total", "Bytes of dropped frames, by Cilium's reason and direction", &Sum::bytes);
  page.family("isthmus_drops_total", "Packets dropped, by the gateway's own reason", MetricType::Counter);
  for (const DropCount& drop : counters.drops) {
    page.add(number(drop.packets), {{"reason", std::string(drop.name)}});
  }
}

void add_packets(const EngineCounters& c, Page& page) {
  page.family("cilium_forward_count_total",
              "Packets forwarded: EGRESS into a tunnel, INGRESS to this cluster's own side", MetricType::Counter);
  page.add(number(c.encapsulated), {{"direction", "EGRESS"}});
  page.add(number(c.tx_packets - std::min(c.tx_packets, c.encapsulated)), {{"direction", "INGRESS"}});
  page.family("cilium_forward_bytes_total", "Bytes of forwarded IP packets, without those that the gateway originates",
              MetricType::Counter);
  page.add(number(c.fabric_bytes), {{"direction", "EGRESS"}});
  page.add(number(c.local_bytes), {{"direction", "INGRESS"}});
  add_counters<WorkerCounts>(c, page);
}

void add_table_start(const EngineCounters& c, Page& page) {
  constexpr std::pair<StateStart, const char*> kStarts[] = {{StateStart::kNew, "new"},
                                                            {StateStart::kAdopted, "adopted"},
                                                            {StateStart::kDiscarded, "discarded"},
                                                            {StateStart::kNotKept, "not_kept"}};
  page.family("isthmus_connection_table_start",
              "How the connection table began; discarded: an earlier one could not be used; not_kept: it ends with the "
              "process",
              MetricType::Gauge);
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
  page.family("isthmus_device_up", "Whether the device is up", MetricType::Gauge);
  for (const DeviceRow& device : devices) {
    page.add(device.status.up ? 1 : 0, {{"device", device.status.name}, {"side", device.side}});
  }
  add_device_counters<QueueCounters>(devices, page, [](const DeviceRow& d) { return &d.status.counters; });
  add_device_counters<SteerCounters>(devices, page, [](const DeviceRow& d) { return d.steer ? &*d.steer : nullptr; });
}

void add_fleet(const MetricsInput& input, Page& page) {
  const StatusReply& status = input.status;
  page.gauge("isthmus_frontends", "Frontends (VIP, protocol, L4 port) of global services", number(status.frontends));
  page.gauge("cilium_clustermesh_global_services", "Global services", number(status.services));
  page.family("cilium_identity", "Known identities", MetricType::Gauge);
  page.add(number(input.identities), {{"type", "cluster_local"}});
  page.family("isthmus_policy_unapplied_rules",
              "Rules by labels that are not applied to endpoints known without labels, though they may match them",
              MetricType::Gauge);
  for (const auto& [policy, rules] : input.unapplied_rules) {
    page.add(number(rules), {{"policy", policy}});
  }
  const auto remote = std::count_if(input.clusters.begin(), input.clusters.end(),
                                    [](const ClusterView& c) { return !c.local && c.linked; });
  page.gauge("cilium_clustermesh_remote_clusters", "Other clusters that are linked with ours",
             static_cast<double>(remote));
  page.family("cilium_clustermesh_remote_cluster_readiness_status", "Whether a gateway of the cluster answers",
              MetricType::Gauge);
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
  page.gauge("cilium_policy", "Policies in force", number(counts.policies));
  page.gauge("cilium_policy_max_revision", "Increases with every change of a policy", number(counts.revision));
  page.family("cilium_policy_change_total", "Changes of policies that were applied", MetricType::Counter);
  std::map<std::pair<std::string, std::string>, std::uint64_t> changes;
  for (const auto& [key, count] : counts.changes) {
    changes[{key.first == ObjectKind::kNetworkPolicy ? "k8s" : "custom-resource", to_text(key.second)}] += count;
  }
  for (const auto& [key, count] : changes) {
    page.add(number(count), {{"source", key.first}, {"operation", key.second}, {"outcome", "success"}});
  }
  page.family("isthmus_policies", "Policies of this cluster by state; outdated: its previous version is in force",
              MetricType::Gauge);
  page.add(number(counts.policies - std::min(counts.policies, policy.outdated)), {{"state", "applied"}});
  page.add(number(policy.outdated), {{"state", "outdated"}});
  page.add(number(policy.refused), {{"state", "refused"}});
  page.family("isthmus_policy_identities",
              "Identities that a policy selects, by the directions in which it is enforced", MetricType::Gauge);
  const std::string audit = policy.audit ? "audit-" : "";
  page.add(number(counts.subjects.none), {{"enforcement", "none"}});
  page.add(number(counts.subjects.ingress), {{"enforcement", audit + "ingress"}});
  page.add(number(counts.subjects.egress), {{"enforcement", audit + "egress"}});
  page.add(number(counts.subjects.both), {{"enforcement", audit + "both"}});
}

void add_hubs(const StatusReply& status, Page& page) {
  const auto each = [&](const char* name, const char* help, MetricType type, auto&& read) {
    page.family(name, help, type);
    for (const HubRow& row : status.hub_parts) {
      page.add(read(row), {{"hub", row.state.hub}, {"part", row.state.name}});
    }
  };
  if (status.hub_parts.empty()) {
    return;
  }
  each("isthmus_hub_in_sync", "Whether this part of the hub is connected and completely read", MetricType::Gauge,
       [](const HubRow& row) { return row.state.sync == HubState::Sync::kSynced ? 1.0 : 0.0; });
  each("isthmus_hub_objects", "Objects of this part in force", MetricType::Gauge,
       [](const HubRow& row) { return number(row.state.objects); });
  each("isthmus_hub_objects_retained", "Objects that are missing from the hub and retained", MetricType::Gauge,
       [](const HubRow& row) { return number(row.state.retained); });
  each("isthmus_hub_events_total", "Changes received", MetricType::Counter,
       [](const HubRow& row) { return number(row.state.events); });
  each("isthmus_hub_refused_total", "Invalid values received", MetricType::Counter,
       [](const HubRow& row) { return number(row.state.rejected); });
  each("isthmus_hub_connects_total", "Connections opened to the hub", MetricType::Counter,
       [](const HubRow& row) { return number(row.state.connects); });
  page.family("isthmus_hub_last_event_age_seconds",
              "Seconds since the last event of the server; absent before the first", MetricType::Gauge);
  for (const HubRow& row : status.hub_parts) {
    if (row.last_event_ms) {
      page.add(number(*row.last_event_ms) / 1000, {{"hub", row.state.hub}, {"part", row.state.name}});
    }
  }
}

void add_peers(const StatusReply& status, Page& page) {
  const auto each = [&](const char* name, const char* help, MetricType type, auto&& read) {
    page.family(name, help, type);
    for (const PeerRow& peer : status.peers) {
      if (peer.gateway && !peer.health.empty()) {
        page.add(read(peer), {{"peer", peer.name}, {"cluster", peer.cluster}});
      }
    }
  };
  each("isthmus_peer_up", "Whether the gateway answers probes", MetricType::Gauge,
       [](const PeerRow& peer) { return peer.health == "alive" || peer.health == "suspect" ? 1.0 : 0.0; });
  each("isthmus_peer_round_trip_seconds", "Round-trip time of the last answered probe", MetricType::Gauge,
       [](const PeerRow& peer) { return number(peer.round_trip_us) / 1e6; });
  each("isthmus_peer_failures_total", "How often the gateway became unreachable", MetricType::Counter,
       [](const PeerRow& peer) { return number(peer.failures); });
  page.gauge("isthmus_isolated",
             "Whether all peers became unreachable at once, so that this gateway's own link is suspected",
             status.isolated ? 1 : 0);
}

void add_flow_events(const StatusReply& status, Page& page) {
  page.family("isthmus_flow_events_total", "The workers' flow events, by outcome", MetricType::Counter);
  constexpr const char* kVerdicts[kFlowVerdicts] = {"forwarded", "dropped", "audit"};
  for (std::size_t i = 0; i < kFlowVerdicts; ++i) {
    const FlowEventCount& count = status.counters.flow_events[i];
    page.add(number(count.reported), {{"verdict", kVerdicts[i]}, {"outcome", "reported"}});
    page.add(number(count.sampled_out), {{"verdict", kVerdicts[i]}, {"outcome", "sampled_out"}});
    page.add(number(count.lost), {{"verdict", kVerdicts[i]}, {"outcome", "lost"}});
  }
  page.family("hubble_lost_events_total", "Lost flow events", MetricType::Counter);
  page.add(number(status.flows.unseen), {{"source", "observer_events_queue"}});
  page.add(number(status.flows.overtaken), {{"source", "hubble_ring_buffer"}});
  page.gauge("isthmus_flows_kept", "Flows in the ring", number(status.flows.kept));
  page.gauge("isthmus_flow_readers", "Readers that follow the flows", number(status.flows.readers));
  page.counter("isthmus_control_events_lost_total", "Neighbour requests and probe answers lost to a full queue",
               status.control_events_lost);
}

void add_servers(const std::vector<ServerCounts>& servers, Page& page) {
  page.family("isthmus_clients_total", "Connections to the admin socket and the metrics", MetricType::Counter);
  for (const auto& [server, counts] : servers) {
    page.add(number(counts.accepted), {{"server", server}});
  }
  page.family("isthmus_clients_dropped_total", "Connections that a time limit or a newer connection ended",
              MetricType::Counter);
  for (const auto& [server, counts] : servers) {
    page.add(number(counts.late), {{"server", server}, {"reason", "late"}});
    page.add(number(counts.evicted), {{"server", server}, {"reason", "evicted"}});
  }
  page.family("isthmus_clients_without_descriptor_total",
              "Attempts to accept a connection for which there was no file descriptor", MetricType::Counter);
  for (const auto& [server, counts] : servers) {
    page.add(number(counts.no_descriptor), {{"server", server}});
  }
}

void add_flows(const FlowMetrics& flows, Page& page) {
  page.series("hubble_flows_processed_total", "Flows seen", {"protocol", "type", "subtype", "verdict"},
              flows.processed());
  page.series("hubble_drop_total", "Dropped flows among those seen", {"reason", "protocol"}, flows.dropped());
  page.series("hubble_tcp_flags_total", "Flags of forwarded flows", {"flag", "family"}, flows.tcp_flags());
  page.series("hubble_icmp_total", "ICMP flows", {"family", "type"}, flows.icmp());
  page.series("hubble_policy_verdicts_total", "Policy verdicts of flows", {"direction", "match", "action"},
              flows.policy_verdicts());
}

}  // namespace

std::string metrics_page(const MetricsInput& input) {
  const StatusReply& status = input.status;
  Page page;
  page.family("isthmus_build_info", "This gateway", MetricType::Gauge);
  page.add(1, {{"version", status.version}, {"gateway", status.name}, {"cluster", status.cluster}});
  page.gauge("isthmus_serving", "Whether the engine runs", input.flows != nullptr ? 1 : 0);
  page.gauge("isthmus_hub_synced", "Whether all hubs have been read completely", status.synced ? 1 : 0);
  page.gauge("isthmus_uptime_seconds", "Seconds since the process started", number(status.uptime_ms) / 1000);
  page.gauge("isthmus_problems", "Problems that isthmus status lists", number(status.problems.size()));
  page.counter("isthmus_log_lines_lost_total", "Lines of the log that were lost because nobody read stderr",
               input.log_lines_lost);
  add_servers(input.servers, page);
  add_hubs(status, page);
  if (input.flows != nullptr) {
    page.counter("isthmus_publishes_total", "Tables published to the engine", status.publishes);
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
