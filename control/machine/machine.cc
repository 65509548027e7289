#include "control/machine/machine.h"

#include <grp.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "config/files/read_file.h"
#include "control/kernel/links.h"
#include "control/kernel/netlink.h"
#include "control/kernel/node_addresses.h"
#include "control/kernel/route_entry.h"
#include "control/machine/system_text.h"
#include "control/source/etcd/client_config.h"
#include "control/source/kubernetes/access.h"

namespace isthmus {
namespace {

// Of texts that the kernel makes.
constexpr std::size_t kMostSystemBytes = std::size_t{4} << 20;
constexpr std::size_t kMostHubFiles = 1024;

std::string system_text(const std::string& path) {
  const auto text = read_file(path, kMostSystemBytes);
  return text ? *text : std::string();
}

bool exists(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_link_local(const IpAddress& address) {
  const auto& bytes = address.bytes();
  return address.is_ipv4() ? bytes[12] == 169 && bytes[13] == 254 : bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

MachineMemory read_memory() {
  constexpr std::uint64_t kKilo = 1024;
  const std::string text = system_text("/proc/meminfo");
  MachineMemory memory;
  memory.total = kKilo * read_line_number(text, "MemTotal").value_or(0);
  memory.available = kKilo * read_line_number(text, "MemAvailable").value_or(0);
  memory.limit = read_memory_limit(system_text(cgroup_folder() + "/memory.max"));
  struct statvfs shared {};
  if (statvfs("/dev/shm", &shared) == 0) {
    memory.shared_free = std::uint64_t{shared.f_bavail} * shared.f_frsize;
  }
  return memory;
}

Result<std::optional<std::string>> default_interface(NetlinkRequests& requests, const Links& links, Family family) {
  const auto routes = list_routes(requests, family, 0);
  if (!routes) {
    return routes.error();
  }
  const RouteEntry* best = nullptr;
  for (const RouteEntry& route : *routes) {
    if (route.prefix.length() == 0 && route.type == RTN_UNICAST && links.by_index(route.interface_index) != nullptr &&
        (best == nullptr || route.metric < best->metric)) {
      best = &route;
    }
  }
  return best == nullptr ? std::optional<std::string>() : links.by_index(best->interface_index)->interface;
}

Status read_network(Machine& machine) {
  auto requests = NetlinkRequests::open();
  if (!requests) {
    return requests.error();
  }
  Links links;
  auto all = links.reload(*requests);
  if (!all) {
    return all.error();
  }
  auto addresses = query_node_addresses(*requests, links);
  if (!addresses) {
    return addresses.error();
  }
  machine.addresses = *addresses;
  std::sort(all->begin(), all->end(), [](const LinkState& a, const LinkState& b) { return a.index < b.index; });
  for (const LinkState& link : *all) {
    if (link.interface == "lo") {
      continue;
    }
    MachineInterface found{link, {}, {}};
    std::copy_if(addresses->begin(), addresses->end(), std::back_inserter(found.addresses), [&](const NodeAddress& a) {
      return a.interface == link.interface && !a.router && !is_link_local(a.address);
    });
    if (auto device = device_facts(link.interface)) {
      found.device = *std::move(device);
    }
    machine.interfaces.push_back(std::move(found));
  }
  for (const auto& [family, interface] :
       {std::pair{Family::kIpv4, &machine.default_ipv4}, std::pair{Family::kIpv6, &machine.default_ipv6}}) {
    auto found = default_interface(*requests, links, family);
    if (!found) {
      return found.error();
    }
    *interface = *std::move(found);
  }
  return Ok{};
}

FoundHubs read_hubs() {
  FoundHubs hubs;
  hubs.folder = exists(kUsualHubFolder);
  hubs.mesh_clusters = etcd_configurations(kUsualMeshFolder);
  hubs.in_cluster = !environment("KUBERNETES_SERVICE_HOST").empty() && exists(kServiceAccountFolder);
  std::vector<std::string> paths = {"/etc/isthmus/kubeconfig", environment("KUBECONFIG")};
  if (const std::string home = environment("HOME"); !home.empty()) {
    paths.push_back(home + "/.kube/config");
  }
  for (const std::string& path : paths) {
    if (path.starts_with('/') && exists(path)) {
      hubs.kubeconfigs.push_back(path);
    }
  }
  return hubs;
}

std::optional<std::string> kubernetes_sign(const Machine& machine) {
  if (machine.hubs.in_cluster) {
    return "a pod's service account";
  }
  for (const char* path :
       {"/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf", "/var/lib/rancher/k3s/agent"}) {
    if (exists(path)) {
      return path;
    }
  }
  for (const char* interface : {"cilium_host", "cni0", "cbr0"}) {
    if (machine.interface(interface) != nullptr) {
      return std::string("the interface ") + interface;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> etcd_configurations(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::size_t seen = 0;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end && seen < kMostHubFiles;
       at.increment(error), ++seen) {
    const std::string name = at->path().filename().string();
    if (name.starts_with('.')) {
      continue;  // the versions of a mounted Secret
    }
    if (const auto text = read_file(at->path().string(), kMaxConfigBytes); text && is_etcd_client_config(*text)) {
      names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "0::/system.slice/isthmus.service": below /sys/fs/cgroup.
std::string cgroup_folder() {
  const std::string text = system_text("/proc/self/cgroup");
  const auto at = text.find("0::");
  return at == std::string::npos ? "" : "/sys/fs/cgroup" + text.substr(at + 3, text.find('\n', at) - at - 3);
}

MachineCpus read_cpus() {
  MachineCpus cpus;
  cpus.online = read_cpu_list(system_text("/sys/devices/system/cpu/online"));
  std::vector<cpu_set_t> set(kMostCpus / CPU_SETSIZE);
  if (sched_getaffinity(0, set.size() * sizeof(cpu_set_t), set.data()) == 0) {
    for (int cpu = 0; cpu < kMostCpus; ++cpu) {
      if (CPU_ISSET_S(static_cast<unsigned>(cpu), set.size() * sizeof(cpu_set_t), set.data())) {
        cpus.allowed.push_back(cpu);
      }
    }
  }
  if (cpus.online.empty()) {
    cpus.online = cpus.allowed;
  }
  for (const int cpu : cpus.online) {
    const std::string path = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list";
    cpus.siblings[cpu] = read_cpu_list(system_text(path));
  }
  return cpus;
}

const MachineInterface* Machine::interface(const std::string& name) const {
  const auto found = std::find_if(interfaces.begin(), interfaces.end(),
                                  [&](const MachineInterface& one) { return one.link.interface == name; });
  return found == interfaces.end() ? nullptr : &*found;
}

Result<Machine> read_machine() {
  Machine machine;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) == 0) {
    machine.host = host.data();
  }
  if (Status read = read_network(machine); !read) {
    return read.error();
  }
  machine.cpus = read_cpus();
  machine.memory = read_memory();
  machine.hubs = read_hubs();
  machine.kubernetes = kubernetes_sign(machine);
  machine.systemd = exists("/run/systemd/system");
  for (const char* folder : {"/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"}) {
    machine.service = machine.service || exists(std::string(folder) + "/isthmus.service");
  }
  for (const char* group : {"isthmus", "isthmus-admin"}) {
    machine.admin_group = getgrnam(group) != nullptr ? group : machine.admin_group;
  }
  return machine;
}

}  // namespace isthmus
