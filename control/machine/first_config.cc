#include "control/machine/first_config.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <optional>
#include <utility>

#include "config/model/defaults.h"
#include "dataplane/api/devices.h"
#include "dataplane/api/engine.h"

namespace isthmus {
namespace {

using Kind = ConfigLine::Kind;

constexpr std::size_t kLongestName = 63;
constexpr unsigned kMostChosenWorkers = 8;
constexpr std::size_t kCpusToShare = 4;  // from so many on, workers get CPUs of their own
constexpr std::uint32_t kFramesOfQueue = 1024;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// What the parts below agree on.
struct Choice {
  const Machine& machine;
  const FirstConfigChoices& asked;
  const MachineInterface* underlay = nullptr;  // nullptr: none can be chosen
  std::string why_underlay = {}, local = {};
  bool veth = false;
  unsigned workers = 1;
  std::vector<ConfigLine> lines = {};

  void set(std::string key, std::string value, std::string why) {
    lines.push_back({Kind::kSet, std::move(key), std::move(value), std::move(why)});
  }
  void leave_out(std::string key, std::string example, std::string why) {
    lines.push_back({Kind::kLeftOut, std::move(key), std::move(example), std::move(why)});
  }
  void need(std::string key, std::string why) { lines.push_back({Kind::kNeeded, std::move(key), "", std::move(why)}); }
};

std::string addresses_text(const MachineInterface& interface) {
  std::string text;
  for (const NodeAddress& address : interface.addresses) {
    text += (text.empty() ? "" : ", ") + address.address.to_string();
  }
  return text.empty() ? "no address" : text;
}

// A DNS label of the host's name, as gateway.name wants it; empty: there is nothing to make one of.
std::string label_of(const std::string& host) {
  std::string label;
  for (const char c : host.substr(0, host.find('.'))) {
    const char small = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool good = (small >= 'a' && small <= 'z') || (small >= '0' && small <= '9');
    label += good ? small : '-';
  }
  label.resize(std::min(label.size(), kLongestName));
  const auto first = label.find_first_not_of('-');
  return first == std::string::npos ? "" : label.substr(first, label.find_last_not_of('-') - first + 1);
}

// Whether packets to other gateways may leave by it: Ethernet, and no pod's end.
bool may_be_underlay(const MachineInterface& one) {
  return one.link.ethernet && !one.link.interface.starts_with("cilium_") && !one.link.interface.starts_with("lxc") &&
         !one.link.interface.starts_with("isthmus");
}

// Of those, what is up, has an address, and is no tunnel or bridge.
std::vector<const MachineInterface*> candidates(const Machine& machine) {
  std::vector<const MachineInterface*> found;
  for (const MachineInterface& one : machine.interfaces) {
    const bool plain = one.link.kind.empty() || one.link.kind == "veth" || one.link.kind == "macvlan" ||
                       one.link.kind == "bond" || one.link.kind == "vlan";
    if (one.link.up && !one.addresses.empty() && plain && may_be_underlay(one)) {
      found.push_back(&one);
    }
  }
  return found;
}

// That of a default route, of IPv4 first.
const MachineInterface* routed_interface(const Machine& machine) {
  for (const auto& name : {machine.default_ipv4, machine.default_ipv6}) {
    const MachineInterface* found = name ? machine.interface(*name) : nullptr;
    if (found != nullptr && may_be_underlay(*found)) {
      return found;
    }
  }
  return nullptr;
}

Status choose_interfaces(Choice& choice) {
  const Machine& machine = choice.machine;
  const auto all = candidates(machine);
  if (!choice.asked.interface.empty()) {
    choice.underlay = machine.interface(choice.asked.interface);
    choice.why_underlay = "as --interface says";
    if (choice.underlay == nullptr) {
      std::string names;
      for (const MachineInterface& one : machine.interfaces) {
        names += (names.empty() ? "" : ", ") + one.link.interface;
      }
      return Error{"this machine has no such interface", choice.asked.interface, "--interface: one of " + names};
    }
    if (!choice.underlay->link.ethernet) {
      return Error{"this interface has no Ethernet, which a gateway needs", choice.asked.interface,
                   "--interface: the one that its packets leave by"};
    }
  } else if (const MachineInterface* found = routed_interface(machine)) {
    choice.underlay = found;
    choice.why_underlay =
        std::string("it has the default route") + (machine.default_ipv4 == found->link.interface ? "" : " of IPv6");
  } else if (all.size() == 1) {
    choice.underlay = all.front();
    choice.why_underlay = "the only Ethernet interface with an address; it has no default route";
  }
  if (choice.underlay != nullptr) {
    choice.why_underlay +=
        ": " + addresses_text(*choice.underlay) + ", MTU " + std::to_string(choice.underlay->link.mtu.value());
  }
  choice.local = choice.asked.local_interface;
  if (choice.local.empty()) {
    choice.local = machine.kubernetes ? "isthmus0" : choice.underlay != nullptr ? choice.underlay->link.interface : "";
  }
  const MachineInterface* found = machine.interface(choice.local);
  if (choice.local == "lo" || (found != nullptr && !found->link.ethernet)) {
    return Error{"this interface has no Ethernet, which a gateway needs", choice.local,
                 "--local-interface: another one, or a name that is free, for a veth pair"};
  }
  choice.veth =
      !choice.local.empty() && (found == nullptr || (found->link.kind == "veth" && choice.local == "isthmus0"));
  return Ok{};
}

unsigned queues_of(const MachineInterface& interface) {
  return interface.device ? std::min(interface.device->rx_queues, interface.device->tx_queues) : 1;
}

// The last of the CPUs, one of each core, but for those of the first core, which are the kernel's and control's.
std::vector<int> free_cores(const MachineCpus& cpus) {
  std::vector<int> cores, taken;
  if (!cpus.allowed.empty()) {
    const auto first = cpus.siblings.find(cpus.allowed.front());
    taken = first == cpus.siblings.end() ? std::vector{cpus.allowed.front()} : first->second;
    taken.push_back(cpus.allowed.front());
  }
  for (auto cpu = cpus.allowed.rbegin(); cpu != cpus.allowed.rend(); ++cpu) {
    if (std::find(taken.begin(), taken.end(), *cpu) == taken.end()) {
      cores.push_back(*cpu);
      if (const auto siblings = cpus.siblings.find(*cpu); siblings != cpus.siblings.end()) {
        taken.insert(taken.end(), siblings->second.begin(), siblings->second.end());
      }
    }
  }
  return cores;
}

void add_names(Choice& choice) {
  const std::string host = label_of(choice.machine.host);
  if (!choice.asked.name.empty()) {
    choice.set("gateway.name", yaml_scalar(choice.asked.name), "as --name says: its Gateway object in the hub");
  } else if (!host.empty()) {
    choice.set("gateway.name", yaml_scalar(host),
               "this machine's host name; its Gateway object in the hub has it, too");
  } else {
    choice.need("gateway.name", "to be given: the metadata.name of its Gateway object in the hub");
  }
  if (!choice.asked.cluster.empty()) {
    choice.set("gateway.cluster", yaml_scalar(choice.asked.cluster),
               "as --cluster says: the name of the Cluster object");
  } else {
    choice.need("gateway.cluster", "to be given: the name of this cluster, that of its Cluster object in the hub");
  }
}

void add_cluster_id(Choice& choice, bool etcd) {
  if (choice.asked.cluster_id != 0) {
    choice.set("gateway.cluster_id", std::to_string(choice.asked.cluster_id), "as --cluster-id says");
  } else if (etcd) {
    choice.need("gateway.cluster_id", "to be given: this cluster's number in the ClusterMesh (Cilium's cluster.id)");
  } else {
    choice.leave_out("gateway.cluster_id", "1", "taken from the Cluster object; hub.etcd needs it here");
  }
}

void add_workers(Choice& choice) {
  const Machine& machine = choice.machine;
  const std::vector<int>& allowed = machine.cpus.allowed;
  const std::string cpus = std::to_string(allowed.size()) + (allowed.size() == 1 ? " CPU" : " CPUs") + " may be used";
  unsigned queues = choice.underlay == nullptr ? 1 : queues_of(*choice.underlay);
  if (const MachineInterface* local = machine.interface(choice.local); local != nullptr && !choice.veth) {
    queues = std::min(queues, queues_of(*local));
  }
  const std::string of = choice.underlay == nullptr
                             ? ""
                             : choice.underlay->link.interface + " has " + std::to_string(queues) +
                                   (queues == 1 ? " queue" : " queues") + ", each worker needs one";
  std::vector<int> cores = free_cores(machine.cpus);
  if (machine.kubernetes || allowed.size() < kCpusToShare || cores.empty()) {
    const std::string why = machine.kubernetes ? "a Kubernetes node's CPUs are its pods'" : "too few to give one away";
    choice.leave_out("engine.cores", "[" + (allowed.empty() ? std::string("0") : std::to_string(allowed.back())) + "]",
                     cpus + ", " + why + ": the worker is not pinned");
    choice.set("engine.workers", "1", of.empty() ? "the least" : of);
    return;
  }
  choice.workers = std::min({queues, static_cast<unsigned>(cores.size()), kMostChosenWorkers});
  cores.resize(choice.workers);
  std::sort(cores.begin(), cores.end());
  std::string list;
  for (const int core : cores) {
    list += (list.empty() ? "" : ", ") + std::to_string(core);
  }
  choice.set("engine.cores", "[" + list + "]",
             cpus + ", one of each core, the first core stays with the kernel and control; " + of);
}

// How many connections there is room for: an eighth of the memory, half of /dev/shm, a quarter of the cgroup's limit.
void add_connections(Choice& choice) {
  const MachineMemory& memory = choice.machine.memory;
  const std::uint32_t most = choice.machine.kubernetes ? kDefaultConnections : 16 * kDefaultConnections;
  const std::uint64_t room =
      std::min({memory.available / 8, memory.shared_free.value_or(0) / 2, memory.limit.value_or(UINT64_MAX) / 4});
  std::uint32_t connections = most;
  while (connections > 1024 && Engine::state_bytes(connections) > room) {
    connections /= 2;
  }
  const std::uint64_t mega = Engine::state_bytes(connections) >> 20;
  choice.set("engine.connections", std::to_string(connections),
             "takes " + std::to_string(mega) + " MiB of /dev/shm, of " +
                 (memory.shared_free ? std::to_string(*memory.shared_free >> 20) + " MiB free" : "what it has"));
}

void add_engine(Choice& choice) {
  add_workers(choice);
  choice.leave_out("engine.idle", "spin",
                   "sleep: a worker without packets leaves its CPU to others; spin: never asleep");
  if (choice.underlay != nullptr && choice.underlay->device) {
    const unsigned each = (choice.underlay->device->rx_queues + choice.workers - 1) / choice.workers;
    const std::uint32_t frames = std::bit_ceil(std::min(each, 1024U) * kFramesOfQueue);
    if (frames > kDefaultFrames) {
      choice.set("engine.frames", std::to_string(frames),
                 std::to_string(each) + " receive queues for each worker, " + std::to_string(kFramesOfQueue) +
                     " buffers of 4 KiB for each");
    }
  }
  add_connections(choice);
}

std::string xdp_text(const MachineInterface& interface) {
  if (!interface.device) {
    return "native where the driver has it";
  }
  const DeviceFacts& device = *interface.device;
  const std::string driver = device.driver.empty() ? "the driver" : device.driver;
  if (!device.abilities) {
    return "driver " + driver + "; this kernel does not tell what it can do with XDP";
  }
  if (!device.abilities->native) {
    return "driver " + driver + " has no native XDP: it will be generic, and slower";
  }
  return "driver " + driver + " has native XDP" +
         (device.abilities->zero_copy ? " and AF_XDP without copying" : ", AF_XDP copies");
}

void add_underlay(Choice& choice) {
  if (choice.underlay == nullptr) {
    std::string names;
    for (const MachineInterface* one : candidates(choice.machine)) {
      names += (names.empty() ? "" : "; ") + one->link.interface + ": " + addresses_text(*one);
    }
    choice.need("devices.underlay.interface",
                "to be given: the interface towards the other gateways; no default route says "
                "it. Found: " +
                    (names.empty() ? "none that is up and has an address" : names));
    return;
  }
  const MachineInterface& underlay = *choice.underlay;
  choice.set("devices.underlay.interface", yaml_scalar(underlay.link.interface), choice.why_underlay);
  choice.leave_out("devices.underlay.xdp", "generic", "auto: " + xdp_text(underlay));
}

std::string mtu_text(const Choice& choice) {
  const std::uint32_t mtu = choice.underlay == nullptr ? 0 : choice.underlay->link.mtu.value();
  if (mtu <= kMaxAfXdpPacket.value()) {
    return "the underlay's " + std::to_string(mtu) + " bytes less the tunnel's 50 (70 over IPv6)";
  }
  return "the underlay has " + std::to_string(mtu) + " bytes, of which packets of up to " +
         std::to_string(kMaxAfXdpPacket.value()) + " are carried, from Linux 6.6 on of up to " +
         std::to_string(kMaxLongPacket.value());
}

void add_local(Choice& choice) {
  if (choice.local.empty()) {
    choice.need("devices.local.interface", "to be given: that of the underlay, or the one towards this cluster");
    return;
  }
  const bool shared = choice.underlay != nullptr && choice.local == choice.underlay->link.interface;
  std::string others;
  for (const MachineInterface* one : candidates(choice.machine)) {
    if (one->link.interface != choice.local && (choice.underlay == nullptr || one != choice.underlay)) {
      others += "; also found: " + one->link.interface + ", " + addresses_text(*one);
    }
  }
  if (choice.veth) {
    choice.set("devices.local.interface", yaml_scalar(choice.local),
               choice.machine.kubernetes ? "a Kubernetes node (" + *choice.machine.kubernetes +
                                               "): the pods' side goes through a veth pair of its own"
                                         : "the machine has no interface of that name: a veth pair");
    choice.set("devices.local.veth", "true", "the gateway makes the pair, and the routes on it");
    choice.leave_out("devices.local.mtu", "1450", "auto: " + mtu_text(choice));
    return;
  }
  std::string why = shared                                 ? "one interface for both sides" + others
                    : choice.asked.local_interface.empty() ? "the interface towards this cluster"
                                                           : "as --local-interface says";
  if (shared && choice.underlay->link.mtu > kMaxAfXdpPacket) {
    why += "; its MTU is " + std::to_string(choice.underlay->link.mtu.value()) +
           ": before Linux 6.6 give the routes of senders to the fleet an MTU of " +
           std::to_string(kMaxAfXdpPacket.value() - 50) + ", longer packets are lost";
  }
  choice.set("devices.local.interface", yaml_scalar(choice.local), why);
}

void add_translation(Choice& choice) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const bool ipv4 = family == Family::kIpv4;
    const std::string key = ipv4 ? "translation.ipv4" : "translation.ipv6";
    const auto given = std::find_if(choice.asked.translation.begin(), choice.asked.translation.end(),
                                    [&](const IpAddress& address) { return address.family() == family; });
    if (given != choice.asked.translation.end()) {
      choice.set(key, yaml_scalar(given->to_string()), "as --translation says");
      continue;
    }
    choice.leave_out(key, ipv4 ? "10.1.255.1" : "'fd00:1::ff:1'",
                     ipv4 ? "an address of this cluster's that nobody has, routed to this machine: without it, IPv4 "
                            "connections through a VIP to a backend of this cluster are dropped"
                          : "the same for IPv6");
  }
}

const char* hub_key(const std::string& kind) {
  return kind == "file"         ? "hub.file.path"
         : kind == "etcd"       ? "hub.etcd.clusters"
         : kind == "kubernetes" ? "hub.kubernetes.cluster"
                                : "hub.kubernetes.fleet";
}

std::string usual_path(const FoundHubs& found, const std::string& kind) {
  if (kind == "file" || kind == "etcd") {
    return kind == "file" ? kUsualHubFolder : kUsualMeshFolder;
  }
  if (kind == "kubernetes" && found.in_cluster) {
    return "in-cluster";
  }
  return kind == "kubernetes" && !found.kubeconfigs.empty() ? found.kubeconfigs.front() : "";
}

std::string names_text(const std::vector<std::string>& names) {
  constexpr std::size_t kMostNamed = 8;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) {
    text += (text.empty() ? "" : ", ") + names[i];
  }
  return text + (names.size() > kMostNamed ? " and " + std::to_string(names.size() - kMostNamed) + " more" : "");
}

// What was found, where nobody has said which. Own objects are in the folder or the API server: one of them is needed.
std::vector<HubChoice> chosen_hubs(const FoundHubs& found) {
  std::vector<HubChoice> hubs;
  const bool server = found.in_cluster || !found.kubeconfigs.empty();
  if (found.folder || !server) {
    hubs.push_back({"file", ""});
  }
  if (!found.mesh_clusters.empty()) {
    hubs.push_back({"etcd", ""});
  }
  if (server) {
    hubs.push_back({"kubernetes", ""});
  }
  return hubs;
}

std::string hub_text(const Choice& choice, const HubChoice& hub) {
  const FoundHubs& found = choice.machine.hubs;
  if (!choice.asked.hubs.empty()) {
    return "as --hub says";
  }
  if (hub.kind == "etcd") {
    return "Cilium's folder, with " + names_text(found.mesh_clusters);
  }
  if (hub.kind == "kubernetes") {
    return found.in_cluster ? "the pod's service account" : "found here; the gateway's user has to be able to read it";
  }
  return found.folder ? "found here: this cluster's Cluster and Gateway objects, and what others publish"
                      : "no other hub was found: put Cluster and Gateway objects there (fleet/*.yaml)";
}

void add_hubs(Choice& choice, const std::vector<HubChoice>& hubs) {
  for (const char* kind : kHubKinds) {
    const auto hub = std::find_if(hubs.begin(), hubs.end(), [&](const HubChoice& one) { return one.kind == kind; });
    const std::string key = hub_key(kind);
    if (hub == hubs.end()) {
      const std::string example =
          kind == std::string("kubernetes") || kind == std::string("fleet")
              ? "/etc/isthmus/" + std::string(kind == std::string("fleet") ? "fleet-" : "") + "kubeconfig"
              : usual_path({}, kind);
      choice.leave_out(key, example, choice.asked.hubs.empty() ? "none was found" : "--hub does not name it");
      continue;
    }
    const std::string path = hub->path.empty() ? usual_path(choice.machine.hubs, kind) : hub->path;
    if (path.empty()) {
      choice.need(key, "to be given: the path of its kubeconfig");
    } else {
      choice.set(key, yaml_scalar(path), hub_text(choice, *hub));
    }
  }
}

void add_rest(Choice& choice) {
  choice.leave_out("admission.vip_pools", "[10.200.0.0/24]",
                   "where services may have VIPs, if no profile (vipPools) says it: without a pool, VIPs are refused");
  choice.leave_out("dns.file", "/run/isthmus/dns/global.hosts", "a hosts file with the names of global services");
  if (!choice.machine.admin_group.empty()) {
    choice.set("admin.group", choice.machine.admin_group, "the group of this machine that may ask the gateway");
  } else {
    choice.leave_out("admin.group", "isthmus-admin",
                     "this machine has no group isthmus-admin: only root may ask the gateway");
  }
  if (choice.machine.service && !choice.machine.kubernetes) {
    choice.set("handover.wait", "30s",
               "a restart by systemd without loss, for the unit isthmus.service of this machine");
  } else if (choice.machine.systemd && !choice.machine.kubernetes) {
    choice.leave_out("handover.wait", "30s",
                     "a restart by systemd without loss, with the unit that packaging/README.md has");
  }
}

}  // namespace

Result<std::vector<ConfigLine>> first_config(const Machine& machine, const FirstConfigChoices& choices) {
  Choice choice{machine, choices};
  if (Status chosen = choose_interfaces(choice); !chosen) {
    return chosen.error();
  }
  const std::vector<HubChoice> hubs = choices.hubs.empty() ? chosen_hubs(machine.hubs) : choices.hubs;
  add_names(choice);
  add_cluster_id(choice,
                 std::any_of(hubs.begin(), hubs.end(), [](const HubChoice& hub) { return hub.kind == "etcd"; }));
  add_engine(choice);
  add_underlay(choice);
  add_local(choice);
  add_translation(choice);
  add_hubs(choice, hubs);
  add_rest(choice);
  return std::move(choice.lines);
}

std::string first_config_header(const Machine& machine) {
  return "Written by isthmus config init from what this machine has: " +
         std::string(machine.kubernetes ? "a Kubernetes node" : "a VM, or a machine of its own") + ", " +
         std::to_string(machine.cpus.allowed.size()) + " CPUs, " + std::to_string(machine.memory.total / kGiB) +
         " GiB of memory. Lines that begin with # are left out: the default holds. All keys: "
         "isthmus.yaml(5). Then: isthmus config check FILE, isthmus doctor --config FILE.";
}

}  // namespace isthmus
