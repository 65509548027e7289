#include "config/load/fields.h"

#include <algorithm>
#include <set>
#include <utility>

#include "config/load/field_kinds.h"

namespace isthmus {
namespace {

using namespace config_field;

constexpr std::uint64_t kMinute = 60'000, kHour = 60 * kMinute;
constexpr std::uint64_t kDay = 24 * kHour, kWeek = 7 * kDay;

bool is_cluster_name(std::string_view text) { return is_label(text, kClusterNameLength); }
bool is_path(std::string_view text) {
  return text.size() > 1 && text.front() == '/' && text.size() < 4096 && text.find('\0') == std::string_view::npos;
}
// sun_path holds 108 bytes with its terminating zero.
bool is_socket_path(std::string_view text) { return is_path(text) && text.size() <= 107; }
bool is_kubeconfig(std::string_view text) { return text == "in-cluster" || is_path(text); }
bool is_service_name(std::string_view text) {
  const auto slash = text.find('/');
  return slash != std::string_view::npos && is_label(text.substr(0, slash)) && is_label(text.substr(slash + 1));
}
bool is_group(std::string_view text) {
  return !text.empty() && text.size() <= 32 && text.front() != '-' && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  });
}

ConfigField cores() {
  ConfigField field{"engine.cores",
                    "list of CPU numbers",
                    false,
                    {},
                    {},
                    "One worker per CPU, pinned to it. Empty: `engine.workers` workers, not pinned."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    std::set<std::uint64_t> seen;
    config.cores.clear();
    for (const YamlNode& item : read_list(&node, "engine.cores", errors)) {
      const auto core = read_number(item, "engine.cores", 0, 1023, errors);
      if (core && !seen.insert(*core).second) {
        errors.push_back({item.line, "engine.cores names CPU " + item.text + " twice", "name each CPU once"});
      } else if (core) {
        config.cores.push_back(static_cast<int>(*core));
      }
    }
    if (config.cores.size() > kMaxWorkers) {
      errors.push_back({node.line, "engine.cores names " + std::to_string(config.cores.size()) + " CPUs",
                        "name at most " + std::to_string(kMaxWorkers)});
    }
  };
  field.show = [](const GatewayConfig& config) {
    std::string out = "[";
    for (const int core : config.cores) {
      out += (out.size() > 1 ? ", " : "") + std::to_string(core);
    }
    return out + "]";
  };
  return field;
}

ConfigField translation_ports() {
  ConfigField field{
      "translation.ports",
      "range of ports, first-last",
      false,
      {},
      {},
      "Source ports of translated connections. Once all are in use, new connections are dropped and counted."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlErrors& errors) {
    const auto value = read_text(node, "translation.ports", errors);
    if (!value) {
      return;
    }
    const auto dash = value->find('-');
    YamlErrors ignored;
    YamlNode first = node, last = node;
    first.text = value->substr(0, dash);
    last.text = dash == std::string::npos ? first.text : value->substr(dash + 1);
    first.quoted = last.quoted = false;
    const auto low = read_number(first, "", 1, 65535, ignored), high = read_number(last, "", 1, 65535, ignored);
    if (!low || !high || *low > *high || dash == std::string::npos) {
      errors.push_back({node.line, "translation.ports is " + shown(*value) + ", not a range of ports",
                        "write the first and the last port, within 1-65535, such as 32768-65535"});
      return;
    }
    config.translation_first = static_cast<std::uint16_t>(*low);
    config.translation_last = static_cast<std::uint16_t>(*high);
  };
  field.show = [](const GatewayConfig& config) {
    return std::to_string(config.translation_first) + "-" + std::to_string(config.translation_last);
  };
  return field;
}

void add_kernel_flow_fields(std::vector<ConfigField>& fields) {
  fields.push_back(number<std::uint32_t>(
      "engine.kernel_flows", [](GatewayConfig& c) -> std::uint32_t& { return c.kernel_flows; }, 0, 1U << 24,
      "How many directions of connections the XDP programs may forward, at least 16, at 160 to 168 bytes of kernel "
      "memory each and 9 MiB in all; the coldest make room. Settled: TCP or UDP, packets were seen and accepted "
      "both ways, or UDP that nobody answers. In native mode it takes Linux 5.18, before 6.3 with BTF. 0: none, the "
      "engine forwards all."));
  fields.push_back(number<std::uint32_t>(
      "engine.kernel_flow_rate", [](GatewayConfig& c) -> std::uint32_t& { return c.kernel_flow_rate; }, 1, 1'000'000,
      "Packets a second in one direction from which on a settled connection is handed down to the XDP programs."));
  fields.push_back(duration<std::uint32_t>(
      "engine.kernel_flow_hold", [](GatewayConfig& c) -> std::uint32_t& { return c.kernel_flow_hold_ms; }, 0, kHour,
      "How long the XDP programs go on forwarding settled flows while the engine is stopped, dead or stuck, but at "
      "least `heartbeat_timeout`, where there is a BPF file system at /sys/fs/bpf; no change of policy, endpoints "
      "or gateways reaches them meanwhile. Other clusters drop connections through a VIP to a cluster without a "
      "live gateway after their `health.hold`. Once the process has ended, `isthmus cleanup` ends them at once, "
      "with all else that keeps fleet traffic from the node's ordinary routes."));
}

void add_fragment_fields(std::vector<ConfigField>& fields) {
  fields.push_back(number<std::uint32_t>(
      "engine.fragments", [](GatewayConfig& c) -> std::uint32_t& { return c.fragments; }, 0, 1U << 20,
      "Fragmented datagrams that can be on their way at a time; one sender can have an eighth of them. For every "
      "eight of them, one fragment of up to 4 KiB can wait for the first one of its datagram, or a tunnel packet be "
      "put together from its fragments. 0: fragments are dropped."));
  fields.push_back(duration<std::uint64_t>(
      "engine.fragment_timeout", [](GatewayConfig& c) -> std::uint64_t& { return c.fragment_timeout_ms; }, 1000,
      kMinute,
      "How long the fragments of a datagram may take, from the first that arrives to the last; rounded up to "
      "seconds."));
}

void add_icmp_limit_fields(std::vector<ConfigField>& fields) {
  fields.push_back(number<std::uint32_t>(
      "engine.icmp_errors_per_second", [](GatewayConfig& c) -> std::uint32_t& { return c.icmp_errors_per_second; }, 0,
      1'000'000,
      "ICMP errors of each kind per second that each worker sends to, or passes on without a connection from, a peer "
      "or a local /24 or /64; a /24 or /64 gets a quarter at most. 0: none: senders do not learn of a smaller MTU."));
  fields.push_back(number<std::uint32_t>(
      "engine.echo_answers_per_second", [](GatewayConfig& c) -> std::uint32_t& { return c.echo_answers_per_second; }, 0,
      1'000'000,
      "Pings of VIPs per second that each worker answers to one /24 or /64 of this cluster, or of one with native "
      "routing; those beyond it are dropped as `echo_limit`. 0: no VIP answers pings."));
}

ConfigField worker_handoff() {
  return choice<WorkerHandoff>(
      "engine.worker_handoff", [](GatewayConfig& c) -> WorkerHandoff& { return c.worker_handoff; },
      {{"auto", WorkerHandoff::kAuto}, {"on", WorkerHandoff::kOn}, {"off", WorkerHandoff::kOff}},
      "Workers hand packets to each other by a hash of the flow inside the tunnel, so that the flows of two gateways "
      "are not one core's. auto: those of DPDK devices with fewer queues than workers, or which cannot tell UDP ports "
      "apart; on: of all devices.");
}

void add_engine_fields(std::vector<ConfigField>& fields) {
  fields.push_back(cores());
  fields.push_back(number<unsigned>(
      "engine.workers", [](GatewayConfig& c) -> unsigned& { return c.workers; }, 1, kMaxWorkers,
      "Workers, not pinned to CPUs; used only while `engine.cores` is empty."));
  fields.push_back(choice<IdlePolicy>(
      "engine.idle", [](GatewayConfig& c) -> IdlePolicy& { return c.idle; },
      {{"sleep", IdlePolicy::kSleep}, {"spin", IdlePolicy::kSpin}},
      "A worker without packets sleeps in the kernel, or keeps polling for the lowest latency."));
  fields.push_back(worker_handoff());
  fields.push_back(power_of_two(
      "engine.frames", [](GatewayConfig& c) -> std::uint32_t& { return c.frames; }, 1024, 1U << 20,
      "Packet buffers of each worker."));
  fields.push_back(number<std::uint32_t>(
      "engine.connections", [](GatewayConfig& c) -> std::uint32_t& { return c.connections; }, 1024, 1U << 26,
      "Capacity of the connection table. When it is nearly full, connections of a pod that has many, or of another "
      "cluster or a node that has more than half, make room for those of one that has fewer."));
  fields.push_back(number<std::uint32_t>(
      "engine.half_open_limit", [](GatewayConfig& c) -> std::uint32_t& { return c.half_open_limit; }, 0, 1U << 26,
      "How many connections may be half-open: not yet acknowledged by the end that opens them (other protocols than "
      "TCP: without a reply). When there are more, older ones make room, first those of a pod that has more than an "
      "eighth of them or of a peer that has more than half, so that a flood delays nobody but its sender. 0: a "
      "quarter of `engine.connections`; as many as `engine.connections`: no limit."));
  fields.push_back(choice<MidstreamPolicy>(
      "engine.midstream", [](GatewayConfig& c) -> MidstreamPolicy& { return c.midstream; },
      {{"loose", MidstreamPolicy::kLoose}, {"drop", MidstreamPolicy::kDrop}},
      "A TCP packet in mid-stream of no tracked connection: `loose` picks the connection up, `drop` drops the "
      "packet."));
  fields.push_back(duration<std::uint64_t>(
      "engine.timeouts.tcp", [](GatewayConfig& c) -> std::uint64_t& { return c.timeout_tcp_ms; }, 1000, kWeek,
      "How long a TCP connection without packets stays in the connection table. These times are rounded up to "
      "seconds."));
  fields.push_back(duration<std::uint64_t>(
      "engine.timeouts.tcp_syn", [](GatewayConfig& c) -> std::uint64_t& { return c.timeout_tcp_syn_ms; }, 1000, kWeek,
      "The same while only one direction was seen, and after a RST that only one end has sent."));
  fields.push_back(duration<std::uint64_t>(
      "engine.timeouts.tcp_closing", [](GatewayConfig& c) -> std::uint64_t& { return c.timeout_tcp_closing_ms; }, 1000,
      kWeek, "How long a TCP connection stays in the table after both ends have closed it."));
  fields.push_back(duration<std::uint64_t>(
      "engine.timeouts.other", [](GatewayConfig& c) -> std::uint64_t& { return c.timeout_other_ms; }, 1000, kWeek,
      "How long a connection of any other protocol without packets stays in the table."));
  fields.push_back(duration<std::uint64_t>(
      "engine.timeouts.half_open", [](GatewayConfig& c) -> std::uint64_t& { return c.timeout_half_open_ms; }, 1000,
      kWeek,
      "How long a connection stays in the table without packets while only SYNs were seen, and one of another "
      "protocol while there was no reply."));
  add_dpdk_fields(fields);
  add_kernel_flow_fields(fields);
  add_fragment_fields(fields);
  add_icmp_limit_fields(fields);
  fields.push_back(duration<std::uint64_t>(
      "engine.unknown_endpoint_hold", [](GatewayConfig& c) -> std::uint64_t& { return c.unknown_endpoint_hold_ms; }, 0,
      kHour,
      "How long the identity that a packet carries is accepted for a source address that no hub has published yet."));
  fields.push_back(duration<std::uint64_t>(
      "engine.identity_grace", [](GatewayConfig& c) -> std::uint64_t& { return c.identity_grace_ms; }, 0, kHour,
      "How long an endpoint's previous identity is still accepted after a change."));
}

void add_translation_fields(std::vector<ConfigField>& fields) {
  fields.push_back(address(
      "translation.ipv4", [](GatewayConfig& c) -> std::optional<IpAddress>& { return c.translation_ipv4; },
      Family::kIpv4,
      "Source address of connections through a VIP to a backend of this cluster, so that replies return here. "
      "Without it such IPv4 connections are dropped and counted. Also the address by which a trace shows the "
      "gateway, to other clusters if the hub says that it is of a prefix of this cluster's."));
  fields.push_back(address(
      "translation.ipv6", [](GatewayConfig& c) -> std::optional<IpAddress>& { return c.translation_ipv6; },
      Family::kIpv6, "The same for IPv6."));
  fields.push_back(translation_ports());
}

void add_etcd_fields(std::vector<ConfigField>& fields) {
  fields.push_back(optional_name(
      "hub.etcd.clusters", [](GatewayConfig& c) -> std::optional<std::string>& { return c.etcd.clusters; }, is_path,
      "an absolute path",
      "A ClusterMesh: the folder with one etcd client configuration per remote cluster, named as the cluster. The "
      "Secret that Cilium's agents mount can be used as it is."));
  fields.push_back(optional_name(
      "hub.etcd.kvstoremesh", [](GatewayConfig& c) -> std::optional<std::string>& { return c.etcd.kvstoremesh; },
      is_path, "an absolute path",
      "The etcd client configuration of one hub that mirrors all clusters (KVStoreMesh), instead of the folder."));
  fields.push_back(optional_name(
      "hub.etcd.register", [](GatewayConfig& c) -> std::optional<std::string>& { return c.etcd.register_at; }, is_path,
      "an absolute path",
      "The etcd client configuration of this cluster's hub, for a user with write access below "
      "cilium/state/isthmus/gateways/v1: the gateway registers itself there for the other clusters. Absent: they "
      "find it by `hub.etcd.gateway_service`, or by their own configuration."));
  fields.push_back(name(
      "hub.etcd.gateway_service", [](GatewayConfig& c) -> std::string& { return c.etcd.gateway_service; },
      is_service_name, "namespace/name", "The global service whose backends are a cluster's gateways."));
  fields.push_back(choice<EtcdEndpoints>(
      "hub.etcd.endpoints", [](GatewayConfig& c) -> EtcdEndpoints& { return c.etcd.endpoints; },
      {{"services", EtcdEndpoints::kServices}, {"slices", EtcdEndpoints::kSlices}},
      "Which of the two forms is used where a cluster publishes both. `slices` carry readiness, zones and weights."));
  fields.push_back(choice<EncapsulationKind>(
      "hub.etcd.encapsulation", [](GatewayConfig& c) -> EncapsulationKind& { return c.etcd.encapsulation; },
      {{"vxlan", EncapsulationKind::kVxlan},
       {"geneve", EncapsulationKind::kGeneve},
       {"none", EncapsulationKind::kNone}},
      "The tunnel to the nodes of clusters that have no gateway: Cilium's `tunnelProtocol`, which all clusters of a "
      "ClusterMesh have alike, and do not publish; none where the underlay routes pods' addresses. Gateways say "
      "themselves what theirs is."));
  fields.push_back(either_number(
      "hub.etcd.max_connected_clusters", [](GatewayConfig& c) -> unsigned& { return c.etcd.max_clusters; }, 255, 511,
      "The number Cilium was installed with (maxConnectedClusters), equal in all clusters."));
  fields.push_back(number<unsigned>(
      "hub.etcd.hold_percent", [](GatewayConfig& c) -> unsigned& { return c.etcd.hold_percent; }, 0, 100,
      "When more than this share of a cluster's objects of one kind and at least ten are missing after a reconnect "
      "or a restart, or leave within a second or two (as when leases expire), they are retained for "
      "`hub.etcd.hold_time` and reported, instead of removed at once; so are the last nodes of a cluster, and the "
      "clusters of a folder that becomes empty. 0 and 100 turn this off."));
  fields.push_back(duration<std::uint64_t>(
      "hub.etcd.hold_time", [](GatewayConfig& c) -> std::uint64_t& { return c.etcd.hold_time_ms; }, 1000, 24 * kHour,
      "How long missing objects are retained (see `hub.etcd.hold_percent`); also all of a `hub.file` that becomes "
      "empty at once."));
  fields.push_back(number<unsigned>(
      "hub.etcd.reads_per_second", [](GatewayConfig& c) -> unsigned& { return c.etcd.reads_per_second; }, 0, 100'000,
      "Pages of each cluster's lists read per second, with a burst of as many; 0: no limit."));
}

void add_hub_fields(std::vector<ConfigField>& fields) {
  fields.push_back(optional_name(
      "hub.file.path", [](GatewayConfig& c) -> std::optional<std::string>& { return c.hub_file; }, is_path,
      "an absolute path",
      "The folder of the file hub: fleet/*.yaml and clusters/<cluster>/*.yaml. Where another hub publishes the same "
      "object, the one in the folder is used."));
  add_etcd_fields(fields);
  fields.push_back(optional_name(
      "hub.kubernetes.cluster", [](GatewayConfig& c) -> std::optional<std::string>& { return c.kubernetes.cluster; },
      is_kubeconfig, "an absolute path, or in-cluster",
      "This cluster's API server: a kubeconfig, or `in-cluster` for the pod's service account."));
  fields.push_back(optional_name(
      "hub.kubernetes.fleet", [](GatewayConfig& c) -> std::optional<std::string>& { return c.kubernetes.fleet; },
      is_kubeconfig, "an absolute path, or in-cluster", "The Fleet hub's API server: a kubeconfig."));
  fields.push_back(boolean(
      "hub.kubernetes.namespaces_global", [](GatewayConfig& c) -> bool& { return c.kubernetes.namespaces_global; },
      "Whether services may be global in namespaces without the annotation clustermesh.cilium.io/global."));
  fields.push_back(duration<std::uint64_t>(
      "hub.wait", [](GatewayConfig& c) -> std::uint64_t& { return c.hub_wait_ms; }, 0, kHour,
      "At start: how long to wait for hubs that do not answer before serving what the others published."));
}

void add_policy_fields(std::vector<ConfigField>& fields) {
  fields.push_back(choice<PolicyEnforcement>(
      "policy.enforcement", [](GatewayConfig& c) -> PolicyEnforcement& { return c.policy_enforcement; },
      {kPolicyEnforcementNames.begin(), kPolicyEnforcementNames.end()},
      "`default`: a pod of this cluster is open in a direction until a policy with rules for that direction selects "
      "it; `always`: closed from the start; `never`: policies are read and not enforced."));
  fields.push_back(boolean(
      "policy.audit", [](GatewayConfig& c) -> bool& { return c.policy_audit; },
      "Packets that policy would deny pass, and are counted and reported."));
  fields.push_back(choice<UntilListed>(
      "policy.until_listed", [](GatewayConfig& c) -> UntilListed& { return c.policy_until_listed; },
      {kUntilListedNames.begin(), kUntilListedNames.end()},
      "At start, until `hub.kubernetes.cluster` has listed every kind that policies are made of, and every file of "
      "this cluster in `hub.file` was read: `deny`: packets from and to this cluster's pods are dropped; `allow`: "
      "those that no policy read so far denies pass."));
  fields.push_back(choice<SelectorScope>(
      "policy.default_local_cluster", [](GatewayConfig& c) -> SelectorScope& { return c.policy_scope; },
      {kSelectorScopeNames.begin(), kSelectorScopeNames.end()},
      "Whether a policy's selector of peers that names no cluster means this cluster's pods: `true`, or those of "
      "any cluster: `false`. `auto`: as policy-default-local-cluster in the agents' ConfigMap "
      "kube-system/cilium-config, if a hub has it and may be asked for it, else `true`. Where the ConfigMap does "
      "not have the key, Cilium before 1.19 means `false`: then write it here."));
}

void add_service_fields(std::vector<ConfigField>& fields) {
  fields.push_back(optional_name(
      "dns.file", [](GatewayConfig& c) -> std::optional<std::string>& { return c.dns_file; }, is_path,
      "an absolute path", "Hosts file to write the names of the global services to. Absent: none is written."));
  fields.push_back(name(
      "dns.domain", [](GatewayConfig& c) -> std::string& { return c.dns_domain; },
      [](std::string_view text) { return is_subdomain(text); }, "a domain such as clusterset.local",
      "Names are <service>.<namespace>.svc.<domain>."));
  fields.push_back(ring_capacity(
      "observe.flows", [](GatewayConfig& c) -> std::uint32_t& { return c.observe_flows; }, 65535,
      "How many of the latest flow records are kept for `isthmus flows`."));
  fields.push_back(number<std::uint32_t>(
      "observe.rate", [](GatewayConfig& c) -> std::uint32_t& { return c.observe_rate; }, 0, 1'000'000,
      "Flow events per second of each worker and verdict; those beyond are only counted. 0: none."));
  fields.push_back(boolean(
      "metrics.enabled", [](GatewayConfig& c) -> bool& { return c.metrics_enabled; },
      "Serve metrics for Prometheus over HTTP, at /metrics."));
  fields.push_back(listen_address(
      "metrics.address", [](GatewayConfig& c) -> IpAddress& { return c.metrics_address; },
      "The address to serve them on; 0.0.0.0 or \"::\": all of this machine. There is no authentication: make it "
      "reachable only to those who may see everything."));
  fields.push_back(number<std::uint16_t>(
      "metrics.port", [](GatewayConfig& c) -> std::uint16_t& { return c.metrics_port; }, 1, 65535,
      "The TCP port to serve them on."));
  fields.push_back(name(
      "admin.socket", [](GatewayConfig& c) -> std::string& { return c.admin_socket; }, is_socket_path,
      "an absolute path of at most 107 bytes", "Unix socket on which this gateway answers the command line."));
  fields.push_back(name(
      "admin.group", [](GatewayConfig& c) -> std::string& { return c.admin_group; }, is_group, "a group's name",
      "The group whose members may use the socket, besides root."));
}

void add_state_fields(std::vector<ConfigField>& fields) {
  fields.push_back(name(
      "state.directory", [](GatewayConfig& c) -> std::string& { return c.state_directory; }, is_path,
      "an absolute path",
      "Where the connection table is kept across restarts, in `isthmus/<name>.flows`. The gateway makes the "
      "directory `isthmus` with access for itself only. Lookups among many connections are faster on a tmpfs "
      "mounted with `huge=within_size`; `isthmus status` shows the pages the table is on."));
  fields.push_back(name(
      "state.last_known_directory", [](GatewayConfig& c) -> std::string& { return c.last_known_directory; }, is_path,
      "an absolute path",
      "Where what the hubs said last is kept across restarts and reboots, in `<name>.known`, a directory with "
      "access for this process only. A gateway that cannot reach a hub at its start serves what is kept there."));
  fields.push_back(duration<std::uint64_t>(
      "state.last_known_age", [](GatewayConfig& c) -> std::uint64_t& { return c.last_known_age_ms; }, 0, 30 * kDay,
      "For how long after a hub was last known to be in step what it said is used after a restart. `0s`: nothing is "
      "kept or used."));
  fields.push_back(duration<std::uint64_t>(
      "handover.wait", [](GatewayConfig& c) -> std::uint64_t& { return c.handover_wait_ms; }, 0, kHour,
      "How long a gateway that is told to end (SIGTERM, SIGINT) forwards on and awaits a successor, behind a "
      "process that ends at once; a second signal to the gateway itself, whose pid `isthmus status` shows, ends it. "
      "Longer than a start takes until it serves. For a service manager that starts the new process after the old "
      "one has ended; see packaging/README.md. `0s`: it ends."));
  fields.push_back(choice<LogLevel>(
      "log.level", [](GatewayConfig& c) -> LogLevel& { return c.log_level; },
      {{"trace", LogLevel::kTrace},
       {"debug", LogLevel::kDebug},
       {"info", LogLevel::kInfo},
       {"warn", LogLevel::kWarn},
       {"error", LogLevel::kError}},
      "Messages of this severity and above are logged to stderr."));
}

}  // namespace

const std::vector<ConfigField>& config_fields() {
  static const std::vector<ConfigField> kFields = [] {
    std::vector<ConfigField> fields;
    fields.push_back(required(name(
        "gateway.name", [](GatewayConfig& c) -> std::string& { return c.name; }, is_gateway_name, kGatewayNameKind,
        "This gateway: the metadata.name of its Gateway object in the hub. `--name`, or ISTHMUS_NAME in the "
        "environment, takes its place.")));
    fields.push_back(required(name(
        "gateway.cluster", [](GatewayConfig& c) -> std::string& { return c.cluster; }, is_cluster_name,
        "a name of 1 to 32 characters of a-z, 0-9 and -", "Its cluster: the metadata.name of the Cluster object.")));
    fields.push_back(number<std::uint16_t>(
        "gateway.cluster_id", [](GatewayConfig& c) -> std::uint16_t& { return c.cluster_id; }, 0, 511,
        "The cluster's number in a ClusterMesh; hub.etcd needs it. 0: taken from the Cluster object."));
    add_engine_fields(fields);
    add_device_fields(fields);
    add_translation_fields(fields);
    add_hub_fields(fields);
    add_admission_fields(fields);
    add_policy_fields(fields);
    add_health_fields(fields);
    add_balancing_fields(fields);
    add_service_fields(fields);
    add_state_fields(fields);
    return fields;
  }();
  return kFields;
}

}  // namespace isthmus
