// All that `isthmus doctor` judges, as plain values: gathered by gather.h, judged by checks.h. nullopt: it could not be
// seen, or there is none, as the comment says. Bytes unless a name says otherwise.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/machine/dpdk_nic.h"
#include "control/machine/machine.h"
#include "control/machine/system_text.h"

namespace isthmus {

enum class Availability : std::uint8_t { kYes, kNo, kUnseen };

struct KernelFacts {
  std::string release;
  bool btf = false;
  Availability af_xdp = Availability::kYes;
  bool bpf_folder = false;                              // a BPF file system at /sys/fs/bpf
  Availability bpf_own_folder = Availability::kUnseen;  // /sys/fs/bpf/isthmus
};

// Of this process, which stands for what `isthmus run` would have if it were started as this one was.
struct ProcessFacts {
  bool root = false;
  std::uint64_t capabilities = 0, bounding = ~std::uint64_t{0};  // masks: effective, and those that it could get
  std::optional<std::uint64_t> memlock;                          // nullopt: no limit
};

// The unit with its drop-ins: keys of [Service]. nullopt: there is none.
using ServiceFacts = std::optional<std::map<std::string, std::string>>;

struct CpuFacts {
  MachineCpus cpus;
  std::vector<int> cgroup;  // those of this process's cgroup; empty: not limited, or not seen
  std::vector<int> isolated;
  std::map<int, std::string> governors;  // of CPUs that have one
  std::optional<double> quota;           // of the cgroup, in CPUs; nullopt: none
  bool irqbalance = false;               // runs
};

struct InterfaceFacts {
  std::string name;
  std::optional<LinkState> link;  // nullopt: there is no such interface
  std::vector<NodeAddress> addresses;
  std::optional<DeviceFacts> device;
  std::map<unsigned, std::vector<int>> interrupts;  // number: CPUs that may handle it
  std::optional<std::string> reverse_path;          // rp_filter: the higher one of "all" and its own
  std::vector<std::string> unresolved;              // routers whose MAC address cannot be found
  std::vector<std::string> legs;                    // interfaces that are enslaved to it (Azure's VF)
};

// A device that DPDK is to have.
struct DpdkDeviceFacts {
  std::string key, name;       // "devices.underlay.dpdk", and what it says
  std::optional<Error> error;  // why DPDK cannot have it
  std::optional<PciNic> nic;   // nullopt: it is none of the PCI bus, or not there
};

struct HugePageFacts {
  std::uint64_t page = 0;   // the usual size
  std::uint64_t pages = 0;  // of that size, in use or free
  std::uint64_t free = 0;   // of all sizes
};

struct DpdkFacts {
  std::optional<Error> module_error;  // nullopt: it is there, and DPDK's libraries are
  std::vector<std::string> drivers;   // "virtio", "mlx5": those that are installed
  std::vector<DpdkDeviceFacts> devices;
  HugePageFacts huge_pages;
};

struct TunnelDevice {
  std::string name, kind;
  L4Port port;
};

struct PortFacts {
  std::vector<KernelSocket> tcp, udp;
  std::vector<TunnelDevice> tunnels;  // VXLAN and Geneve devices of the kernel
};

struct CertificateFacts {
  std::string what;                            // "certificate of west", with its file
  std::string problem;                         // why it is none; empty: it is one
  std::int64_t not_before = 0, not_after = 0;  // seconds since 1970
  std::optional<bool> key_matches;
};

struct HubFacts {
  std::string what;   // "etcd of west", "API server"
  std::string where;  // URL, or path
  std::optional<Error> error;
  bool denied = false;  // of `error`: it is there, and does not want us, or not all that we need
  std::string said;     // where it answers: what
  std::vector<CertificateFacts> certificates;
};

struct StateFacts {
  // Of state.directory.
  bool directory = false, directory_writable = false;
  std::optional<std::uint64_t> free;  // of its file system
  std::uint64_t table = 0;            // what the connection table has of it already
  // Of state.last_known_directory.
  bool known_directory = false, known_writable = false;
  std::optional<std::uint64_t> known_free;        // of its file system
  std::optional<std::int64_t> known_age_seconds;  // of what is kept; nullopt: nothing is
};

struct AdminFacts {
  bool folder = false, folder_writable = false;
  bool group = false;
  bool listens = false;         // a gateway has the socket
  std::optional<bool> answers;  // nullopt: none listens
  std::string state;            // what it says of itself; empty: it does not answer us
  std::uint64_t problems = 0;   // that it lists
};

struct Facts {
  std::string file;
  std::vector<Error> config_errors;
  std::optional<GatewayConfig> config;  // nullopt: none was asked for, or it has errors
  KernelFacts kernel;
  ProcessFacts process;
  std::string unit = "isthmus.service";  // the one that runs a gateway with this configuration
  bool unit_masked = false;
  ServiceFacts service;
  bool bpf_unit = false;  // isthmus-bpf.service is installed, which mounts the BPF file system before a start
  CpuFacts cpu;
  MachineMemory memory;
  std::optional<InterfaceFacts> underlay;      // nullopt: no configuration
  std::optional<InterfaceFacts> local;         // nullopt: one device for both sides, or a pair that is not there
  std::optional<Error> network_error;          // the kernel did not tell of its interfaces
  std::vector<NodeAddress> addresses;          // of this machine, and of its routers
  std::map<std::string, std::string> sysctls;  // below /proc/sys/net; those that exist
  std::optional<DpdkFacts> dpdk;               // nullopt: the configuration has no DPDK device
  PortFacts ports;
  std::optional<OwnGateway> own;   // by the hub folder; nullopt: it does not have it
  std::optional<Error> own_error;  // why not, where there is a folder
  std::vector<HubFacts> hubs;
  Availability clock_synchronised = Availability::kUnseen;
  std::int64_t now = 0;  // seconds since 1970
  StateFacts state;
  AdminFacts admin;
};

}  // namespace isthmus
