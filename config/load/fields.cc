#include "config/load/fields.h"

#include <algorithm>
#include <set>
#include <utility>

#include "config/load/field_kinds.h"

namespace isthmus {
namespace {

using namespace config_field;

constexpr std::uint64_t kHour = 3'600'000;
// IFNAMSIZ less the terminating zero.
constexpr std::size_t kInterfaceLength = 15;

bool is_gateway_name(std::string_view text) { return is_label(text); }
bool is_cluster_name(std::string_view text) { return is_label(text, kClusterNameLength); }
// What the kernel accepts (dev_valid_name).
bool is_interface(std::string_view text) {
  return !text.empty() && text.size() <= kInterfaceLength && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
}
bool is_path(std::string_view text) { return text.size() > 1 && text.front() == '/' && text.size() < 4096; }
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
                    "One worker per CPU, pinned to it. Empty: `engine.workers` workers that are not pinned."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    std::set<std::uint64_t> seen;
    config.cores.clear();
    for (const YamlNode& item : read_list(&node, "engine.cores", faults)) {
      const auto core = read_number(item, "engine.cores", 0, 1023, faults);
      if (core && !seen.insert(*core).second) {
        faults.push_back({item.line, "engine.cores names CPU " + item.text + " twice", "name each CPU once"});
      } else if (core) {
        config.cores.push_back(static_cast<int>(*core));
      }
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

ConfigField mtu() {
  ConfigField field{"devices.local.mtu",
                    "auto, or number, 1280 to 65535",
                    false,
                    {},
                    {},
                    "MTU of the local device. `auto`: the underlay's less the tunnel's 50 bytes."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    if (node.kind == YamlNode::Kind::kScalar && node.text == "auto") {
      config.local.mtu.reset();
    } else if (const auto value = read_number(node, "devices.local.mtu", 1280, 65535, faults)) {
      config.local.mtu = static_cast<std::uint32_t>(*value);
    }
  };
  field.show = [](const GatewayConfig& config) {
    return config.local.mtu ? std::to_string(*config.local.mtu) : std::string("auto");
  };
  return field;
}

ConfigField translation_ports() {
  ConfigField field{"translation.ports",
                    "range of ports, first-last",
                    false,
                    {},
                    {},
                    "Source ports given to translated connections. When all are taken, new ones drop and are counted."};
  field.read = [](const YamlNode& node, GatewayConfig& config, YamlFaults& faults) {
    const auto value = read_text(node, "translation.ports", faults);
    if (!value) {
      return;
    }
    const auto dash = value->find('-');
    YamlFaults ignored;
    YamlNode first = node, last = node;
    first.text = value->substr(0, dash);
    last.text = dash == std::string::npos ? first.text : value->substr(dash + 1);
    first.quoted = last.quoted = false;
    const auto low = read_number(first, "", 1, 65535, ignored), high = read_number(last, "", 1, 65535, ignored);
    if (!low || !high || *low > *high || dash == std::string::npos) {
      faults.push_back({node.line, "translation.ports is " + shown(*value) + ", not a range of ports",
                        "write first-last within 1 to 65535, such as 32768-65535"});
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

// The settings a device has on either side. `Device` is a function from the configuration to its device.
template <DeviceConfig& (*Device)(GatewayConfig&)>
void add_device_fields(const std::string& section, std::vector<ConfigField>& fields) {
  fields.push_back(choice(
      section + ".xdp", [](GatewayConfig& c) -> std::string& { return Device(c).xdp; }, {"auto", "native", "generic"},
      "XDP in the driver, or the kernel's generic form. `auto`: the driver's where it has one."));
  fields.push_back(choice(
      section + ".zero_copy", [](GatewayConfig& c) -> std::string& { return Device(c).zero_copy; },
      {"auto", "off", "require"}, "AF_XDP without copying. `auto`: where the driver can; `require`: fail otherwise."));
  fields.push_back(number<std::uint32_t>(
      section + ".busy_poll_us", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).busy_poll_us; }, 0, 10000,
      "Microseconds of busy polling in the kernel per wake-up; 0 is off."));
  fields.push_back(number<std::uint32_t>(
      section + ".busy_poll_budget", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).busy_poll_budget; }, 8,
      1024, "Packets that the driver handles in one busy poll."));
  fields.push_back(power_of_two(
      section + ".ring_entries", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).ring_entries; }, 64, 32768,
      "Entries of each AF_XDP ring of a queue, and buffers that wait there to receive: more hold a longer burst, fewer "
      "stay in the caches."));
  fields.push_back(duration<std::uint32_t>(
      section + ".beat_timeout", [](GatewayConfig& c) -> std::uint32_t& { return Device(c).beat_timeout_ms; }, 10,
      kHour, "After this time without a beat of the engine the kernel program calls it gone."));
  fields.push_back(choice(
      section + ".when_gone", [](GatewayConfig& c) -> std::string& { return Device(c).when_gone; }, {"drop", "pass"},
      "The fleet's packets while the engine is gone: `drop` them, or `pass` them to the kernel, which may send them in "
      "clear. All other packets pass in either case."));
}

DeviceConfig& underlay(GatewayConfig& config) { return config.underlay; }
DeviceConfig& local(GatewayConfig& config) { return config.local.device; }

void add_engine_fields(std::vector<ConfigField>& fields) {
  fields.push_back(cores());
  fields.push_back(number<unsigned>(
      "engine.workers", [](GatewayConfig& c) -> unsigned& { return c.workers; }, 1, 64,
      "Workers that are not pinned; counts only while `engine.cores` is empty."));
  fields.push_back(choice(
      "engine.idle", [](GatewayConfig& c) -> std::string& { return c.idle; }, {"sleep", "spin"},
      "A worker with nothing to do sleeps in the kernel, or keeps polling for the shortest delay."));
  fields.push_back(power_of_two(
      "engine.frames", [](GatewayConfig& c) -> std::uint32_t& { return c.frames; }, 1024, 1U << 20,
      "Packet buffers of each worker."));
  fields.push_back(number<std::uint32_t>(
      "engine.connections", [](GatewayConfig& c) -> std::uint32_t& { return c.connections; }, 1024, 1U << 26,
      "Capacity of the connection table."));
  fields.push_back(number<std::uint32_t>(
      "engine.unreplied", [](GatewayConfig& c) -> std::uint32_t& { return c.unreplied; }, 0, 1U << 26,
      "How many of them may be without a reply, so that a flood cannot push out live ones; 0 is a quarter."));
  fields.push_back(choice(
      "engine.midstream", [](GatewayConfig& c) -> std::string& { return c.midstream; }, {"adopt", "drop"},
      "A TCP packet in mid-stream whose connection is not known."));
  fields.push_back(duration<std::uint64_t>(
      "engine.unknown_endpoint_hold", [](GatewayConfig& c) -> std::uint64_t& { return c.unknown_endpoint_hold_ms; }, 0,
      kHour, "How long the identity in a packet is believed for a source the hub has not named yet."));
  fields.push_back(duration<std::uint64_t>(
      "engine.identity_grace", [](GatewayConfig& c) -> std::uint64_t& { return c.identity_grace_ms; }, 0, kHour,
      "How long an endpoint's previous identity is still accepted."));
}

void add_device_sections(std::vector<ConfigField>& fields) {
  constexpr auto kInterface = "an interface name of 1 to 15 characters";
  fields.push_back(required(name(
      "devices.underlay.interface", [](GatewayConfig& c) -> std::string& { return c.underlay.interface; }, is_interface,
      kInterface, "The interface that reaches the other gateways.")));
  add_device_fields<underlay>("devices.underlay", fields);
  fields.push_back(required(name(
      "devices.local.interface", [](GatewayConfig& c) -> std::string& { return c.local.device.interface; },
      is_interface, kInterface,
      "The interface towards this cluster. The underlay's name: one device for both sides, with the underlay's "
      "settings.")));
  fields.push_back(boolean(
      "devices.local.veth", [](GatewayConfig& c) -> bool& { return c.local.veth; },
      "Make or adopt a pair of virtual interfaces: `interface` (14 characters at most) is the kernel's end and carries "
      "the routes; the engine's end has an `x` appended."));
  fields.push_back(mtu());
  add_device_fields<local>("devices.local", fields);
}

void add_translation_fields(std::vector<ConfigField>& fields) {
  fields.push_back(address(
      "translation.ipv4", [](GatewayConfig& c) -> std::optional<IpAddress>& { return c.translation_ipv4; },
      Family::kIpv4,
      "Source address for connections through a VIP to a backend of this cluster, so that replies come back here. "
      "Without it such IPv4 connections drop and are counted."));
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
      "mounted Secret of Cilium's agents serves as it is."));
  fields.push_back(optional_name(
      "hub.etcd.kvstoremesh", [](GatewayConfig& c) -> std::optional<std::string>& { return c.etcd.kvstoremesh; },
      is_path, "an absolute path",
      "The etcd client configuration of one hub that mirrors all clusters (KVStoreMesh), in place of the folder."));
  fields.push_back(optional_name(
      "hub.etcd.register", [](GatewayConfig& c) -> std::optional<std::string>& { return c.etcd.register_at; }, is_path,
      "an absolute path",
      "The etcd client configuration of this cluster's hub, as a user who may write under "
      "cilium/state/isthmus/gateways/v1: the gateway registers itself there for the other clusters. Absent: they find "
      "it by `hub.etcd.gateway_service`, or by their own configuration."));
  fields.push_back(name(
      "hub.etcd.gateway_service", [](GatewayConfig& c) -> std::string& { return c.etcd.gateway_service; },
      is_service_name, "namespace/name", "The global service whose backends are a cluster's gateways."));
  fields.push_back(choice(
      "hub.etcd.endpoints", [](GatewayConfig& c) -> std::string& { return c.etcd.endpoints; }, {"services", "slices"},
      "Which of the two forms counts where a cluster publishes both. `slices` carry readiness, zones and weights."));
  fields.push_back(number<unsigned>(
      "hub.etcd.max_connected_clusters", [](GatewayConfig& c) -> unsigned& { return c.etcd.most_clusters; }, 255, 511,
      "255 or 511, as Cilium was installed in all of the clusters."));
  fields.push_back(number<unsigned>(
      "hub.etcd.hold_percent", [](GatewayConfig& c) -> unsigned& { return c.etcd.hold_percent; }, 0, 100,
      "When more of a cluster's objects of one kind than this are gone after a reconnect, they are held and reported "
      "in "
      "place of being removed at once. 0 and 100 turn that off."));
  fields.push_back(duration<std::uint64_t>(
      "hub.etcd.hold_time", [](GatewayConfig& c) -> std::uint64_t& { return c.etcd.hold_time_ms; }, 1000, 24 * kHour,
      "How long they are held."));
  fields.push_back(number<unsigned>(
      "hub.etcd.reads_per_second", [](GatewayConfig& c) -> unsigned& { return c.etcd.reads_per_second; }, 0, 100'000,
      "How many pages of each cluster's lists are read a second, with as many at once; 0: no limit."));
}

void add_hub_fields(std::vector<ConfigField>& fields) {
  fields.push_back(optional_name(
      "hub.file.path", [](GatewayConfig& c) -> std::optional<std::string>& { return c.hub_file; }, is_path,
      "an absolute path",
      "The folder of the file hub: fleet/*.yaml and clusters/<cluster>/*.yaml. Where it and another hub publish one "
      "object, the file's counts."));
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
      "Whether services of a namespace without the annotation clustermesh.cilium.io/global may be global."));
  fields.push_back(duration<std::uint64_t>(
      "hub.wait", [](GatewayConfig& c) -> std::uint64_t& { return c.hub_wait_ms; }, 0, kHour,
      "At start: how long to wait for hubs that do not answer before serving with what is known."));
}

void add_policy_fields(std::vector<ConfigField>& fields) {
  fields.push_back(choice(
      "policy.enforcement", [](GatewayConfig& c) -> std::string& { return c.policy_enforcement; },
      {"default", "always", "never"},
      "`default`: a pod of this cluster is open in a direction until a policy with rules for that direction selects "
      "it; "
      "`always`: closed from the start; `never`: policies are read and not enforced."));
  fields.push_back(boolean(
      "policy.audit", [](GatewayConfig& c) -> bool& { return c.policy_audit; },
      "What policy would deny passes, and is counted and reported."));
}

void add_service_fields(std::vector<ConfigField>& fields) {
  fields.push_back(duration<std::uint64_t>(
      "health.interval", [](GatewayConfig& c) -> std::uint64_t& { return c.health_interval_ms; }, 10, 60'000,
      "Time between two probes of a peer gateway."));
  fields.push_back(number<unsigned>(
      "health.misses", [](GatewayConfig& c) -> unsigned& { return c.health_misses; }, 1, 1000,
      "Probes in a row without an answer after which a peer counts as silent."));
  fields.push_back(number<unsigned>(
      "health.recover", [](GatewayConfig& c) -> unsigned& { return c.health_recover; }, 1, 1000,
      "Answers in a row after which a silent peer counts again."));
  fields.push_back(duration<std::uint64_t>(
      "health.hold", [](GatewayConfig& c) -> std::uint64_t& { return c.health_hold_ms; }, 0, kHour,
      "How long connections keep their backend in a cluster that fell silent."));
  fields.push_back(optional_name(
      "dns.file", [](GatewayConfig& c) -> std::optional<std::string>& { return c.dns_file; }, is_path,
      "an absolute path", "Hosts file with the names of the global services. Absent: none is written."));
  fields.push_back(name(
      "dns.domain", [](GatewayConfig& c) -> std::string& { return c.dns_domain; },
      [](std::string_view text) { return is_subdomain(text); }, "a domain such as clusterset.local",
      "Names are <service>.<namespace>.svc.<domain>."));
  fields.push_back(ring_capacity(
      "observe.flows", [](GatewayConfig& c) -> std::uint32_t& { return c.observe_flows; }, 65535,
      "How many of the last flows are kept for `isthmus flows`."));
  fields.push_back(number<std::uint32_t>(
      "observe.rate", [](GatewayConfig& c) -> std::uint32_t& { return c.observe_rate; }, 0, 1'000'000,
      "Flow events a second of each worker and verdict; what is beyond is counted only. 0: none."));
  fields.push_back(boolean(
      "metrics.enabled", [](GatewayConfig& c) -> bool& { return c.metrics_enabled; },
      "Serve metrics for Prometheus by HTTP, under /metrics."));
  fields.push_back(ip_address(
      "metrics.address", [](GatewayConfig& c) -> IpAddress& { return c.metrics_address; },
      "Where they are served. Nobody has to prove who he is: open it only to those who may see all of it."));
  fields.push_back(number<std::uint16_t>(
      "metrics.port", [](GatewayConfig& c) -> std::uint16_t& { return c.metrics_port; }, 1, 65535,
      "And on which TCP port."));
  fields.push_back(name(
      "admin.socket", [](GatewayConfig& c) -> std::string& { return c.admin_socket; }, is_socket_path,
      "an absolute path of at most 107 bytes", "Where the command line reaches this gateway."));
  fields.push_back(name(
      "admin.group", [](GatewayConfig& c) -> std::string& { return c.admin_group; }, is_group, "a group's name",
      "Beside root, members of this group may use the socket."));
  fields.push_back(name(
      "state.directory", [](GatewayConfig& c) -> std::string& { return c.state_directory; }, is_path,
      "an absolute path",
      "Where the connection table is kept across restarts, in `isthmus-<name>.flows`. Lookups among many connections "
      "are "
      "faster where that is a tmpfs mounted with `huge=within_size`; `isthmus status` shows what the table lies on."));
  fields.push_back(choice(
      "log.level", [](GatewayConfig& c) -> std::string& { return c.log_level; },
      {"trace", "debug", "info", "warn", "error"}, "What is logged to stderr."));
}

}  // namespace

const std::vector<ConfigField>& config_fields() {
  static const std::vector<ConfigField> kFields = [] {
    std::vector<ConfigField> fields;
    fields.push_back(required(name(
        "gateway.name", [](GatewayConfig& c) -> std::string& { return c.name; }, is_gateway_name,
        "a name of 1 to 63 characters of a-z, 0-9 and -",
        "This gateway: the metadata.name of its Gateway object in the hub.")));
    fields.push_back(required(name(
        "gateway.cluster", [](GatewayConfig& c) -> std::string& { return c.cluster; }, is_cluster_name,
        "a name of 1 to 32 characters of a-z, 0-9 and -", "Its cluster: the metadata.name of the Cluster object.")));
    fields.push_back(number<std::uint16_t>(
        "gateway.cluster_id", [](GatewayConfig& c) -> std::uint16_t& { return c.cluster_id; }, 0, 511,
        "The cluster's number in a ClusterMesh, which hub.etcd needs. 0: the Cluster object alone says."));
    add_engine_fields(fields);
    add_device_sections(fields);
    add_translation_fields(fields);
    add_hub_fields(fields);
    add_policy_fields(fields);
    add_service_fields(fields);
    return fields;
  }();
  return kFields;
}

}  // namespace isthmus
