// What is found on this machine: what `isthmus config init` chooses from and `isthmus doctor` judges. Changes nothing,
// needs no rights; what an ordinary user may not see is left out. Thread: any; blocks for the kernel only (netlink
// requests, 5 s at most). Bytes unless a name says otherwise.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/kernel/types.h"
#include "dataplane/api/device_facts.h"

namespace isthmus {

struct MachineInterface {
  LinkState link;
  std::vector<NodeAddress> addresses;  // but link-local ones
  std::optional<DeviceFacts> device;   // nullopt: it went meanwhile
};

struct MachineCpus {
  std::vector<int> online, allowed;          // allowed: by affinity and cgroup, to this process
  std::map<int, std::vector<int>> siblings;  // of each online CPU: those of its core, itself included
};

struct MachineMemory {
  std::uint64_t total = 0, available = 0;
  std::optional<std::uint64_t> shared_free = {};  // of /dev/shm
  std::optional<std::uint64_t> limit = {};        // of this process's cgroup; nullopt: none
};

// What may be a hub, by what lies where it usually is.
struct FoundHubs {
  bool folder = false;                     // kUsualHubFolder
  std::vector<std::string> mesh_clusters;  // etcd client configurations in kUsualMeshFolder, by name
  bool in_cluster = false;                 // a pod's service account
  std::vector<std::string> kubeconfigs;    // in the order to prefer
};
inline constexpr const char* kUsualHubFolder = "/var/lib/isthmus/hub";
inline constexpr const char* kUsualMeshFolder = "/var/lib/cilium/clustermesh";

struct Machine {
  std::string host;
  std::vector<NodeAddress> addresses;                     // of all interfaces, and of routers
  std::vector<MachineInterface> interfaces;               // but loopback, by number
  std::optional<std::string> default_ipv4, default_ipv6;  // interface of the default route
  MachineCpus cpus;
  MachineMemory memory;
  FoundHubs hubs;
  std::optional<std::string> kubernetes;  // why it is a Kubernetes node; nullopt: it is none
  bool systemd = false;                   // runs it
  bool service = false;                   // has the unit isthmus.service
  std::string admin_group;                // of those that may ask a gateway; empty: none is made for that

  [[nodiscard]] const MachineInterface* interface(const std::string& name) const;
};
[[nodiscard]] Result<Machine> read_machine();

// For both of them.
[[nodiscard]] MachineCpus read_cpus();
// Where settings of this process's cgroup (version 2) are; empty: nowhere.
[[nodiscard]] std::string cgroup_folder();
// The files of a folder that are etcd client configurations, sorted; none where it cannot be read.
[[nodiscard]] std::vector<std::string> etcd_configurations(const std::string& folder);

}  // namespace isthmus
