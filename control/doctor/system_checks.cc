#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>

#include "control/doctor/check_list.h"

namespace isthmus::doctor {
namespace {

// Numbers of linux/capability.h, which older headers have in part.
struct Capability {
  unsigned number;
  std::string_view name, use;
};
constexpr std::array kNeededCapabilities = {
    Capability{12, "CAP_NET_ADMIN", "interfaces, routes, and attaching XDP programs"},
    Capability{13, "CAP_NET_RAW", "AF_XDP sockets"},
    Capability{39, "CAP_BPF", "loading XDP programs and their maps"},
};
constexpr Capability kSysAdmin{21, "CAP_SYS_ADMIN", ""};
constexpr Capability kIpcLock{14, "CAP_IPC_LOCK", "packet buffers beyond the memlock limit"};
constexpr std::string_view kRunAsRoot = "run as root, or by the unit in packaging/README.md";

bool has(std::uint64_t mask, const Capability& capability) { return (mask >> capability.number & 1) != 0; }

// As systemd reads a boolean.
bool is_yes(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return value == "yes" || value == "true" || value == "on" || value == "1" || value == "y" || value == "t";
}

// What the service's processes have, of a user of its own or of root.
std::uint64_t service_capabilities(const std::map<std::string, std::string>& service) {
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  const auto read = [&](const char* key, std::uint64_t initial) {
    const auto at = service.find(key);
    return at == service.end() ? initial : read_capabilities(at->second, initial);
  };
  const auto user = service.find("User");
  const std::string name = user == service.end() ? std::string() : user->second;
  const auto dynamic = service.find("DynamicUser");
  const bool of_its_own = dynamic != service.end() && is_yes(dynamic->second);
  const bool root = name.empty() ? !of_its_own : name == "root" || name == "0";
  return read("CapabilityBoundingSet", kAll) & (root ? kAll : read("AmbientCapabilities", 0));
}

// A service as a user of its own knows the program of an earlier gateway by its pins alone.
bool service_needs_pins(const Facts& facts) {
  if (!facts.service) {
    return false;
  }
  return !has(service_capabilities(*facts.service), kSysAdmin);
}

// What the configuration names of hubs below people's homes, which a unit with ProtectHome does not see.
std::string hub_file_at_home(const GatewayConfig& config) {
  for (const auto& path : {config.hub_file, config.etcd.clusters, config.etcd.kvstoremesh, config.etcd.register_at,
                           config.kubernetes.cluster, config.kubernetes.fleet}) {
    if (path && (path->starts_with("/root/") || path->starts_with("/home/") || path->starts_with("/run/user/"))) {
      return *path;
    }
  }
  return {};
}

}  // namespace

void check_configuration(const Facts& facts, Findings& findings) {
  for (const Error& error : facts.config_errors) {
    findings.fails(error.where + ": " + error.what, "the gateway does not start with this configuration", error.fix);
  }
  if (facts.config) {
    findings.ok(facts.file);
  } else if (facts.config_errors.empty()) {
    findings.note("no configuration was given", "what depends on one is left out",
                  "isthmus doctor --config FILE; isthmus config init writes a first one");
  }
}

void check_kernel(const Facts& facts, Findings& findings) {
  constexpr KernelVersion kLeast{5, 10}, kHandDown{5, 18}, kFragments{6, 6}, kTells{6, 3};
  const auto version = read_kernel_version(facts.kernel.release);
  if (!version) {
    findings.note("the kernel calls itself " + facts.kernel.release, "its version cannot be told from that", "");
  } else if (*version < kLeast) {
    findings.fails("Linux " + facts.kernel.release, "XDP programs and AF_XDP need 5.10", "install a newer kernel");
  } else if (*version < kHandDown || (*version < kTells && !facts.kernel.btf)) {
    findings.slow("Linux " + facts.kernel.release + (facts.kernel.btf ? "" : " without BTF"),
                  "settled flows are handed down to XDP in native mode from 5.18 on, before 6.3 with BTF only",
                  "install a newer kernel, such as Debian 12's");
  } else if (*version < kFragments) {
    findings.note("Linux " + facts.kernel.release,
                  "before 6.6, packets of more than 3,456 bytes are lost in native mode",
                  "with a larger MTU, give senders an MTU of 3456, or install a newer kernel");
  } else {
    findings.ok("Linux " + facts.kernel.release);
  }
  if (facts.kernel.af_xdp == Availability::kNo && (!facts.config || facts.config->uses_af_xdp())) {
    findings.fails("this kernel has no AF_XDP sockets", "packets reach the engine by them",
                   "install a kernel with CONFIG_XDP_SOCKETS");
  }
}

void check_bpf_folder(const Facts& facts, Findings& findings) {
  if (service_needs_pins(facts) && (!facts.kernel.bpf_folder || facts.kernel.bpf_own_folder == Availability::kNo)) {
    const std::string missing =
        facts.kernel.bpf_folder ? "/sys/fs/bpf/isthmus is missing" : "/sys/fs/bpf is not a BPF file system";
    if (facts.bpf_unit) {
      findings.ok(missing + "; isthmus-bpf.service sees to it before " + facts.unit + " starts");
      return;
    }
    findings.fails(missing,
                   "the unit " + facts.unit +
                       ", without CAP_SYS_ADMIN, takes its own XDP program for a foreign one at its next start",
                   std::string(facts.kernel.bpf_folder ? "" : "mount -t bpf -o mode=0700 bpf /sys/fs/bpf; ") +
                       "systemd-tmpfiles --create isthmus.conf; where it has run without: isthmus cleanup");
    return;
  }
  if (facts.kernel.bpf_folder) {
    findings.ok("/sys/fs/bpf is a BPF file system");
    return;
  }
  findings.note("/sys/fs/bpf is not a BPF file system, or cannot be seen",
                "without one, settled flows end with the process (engine.kernel_flow_hold), and another program can "
                "take the gateway's XDP program off",
                "mount -t bpf bpf /sys/fs/bpf; in a pod, mount it from the host");
}

void check_capabilities(const Facts& facts, Findings& findings) {
  std::string missing, uses;
  const std::uint64_t mask = facts.process.capabilities;
  for (const Capability& capability : kNeededCapabilities) {
    const bool covered = has(mask, capability) || (capability.name == "CAP_BPF" && has(mask, kSysAdmin));
    if (!covered) {
      missing += (missing.empty() ? "" : ", ") + std::string(capability.name);
      uses += (uses.empty() ? "" : "; ") + std::string(capability.use);
    }
  }
  if (missing.empty()) {
    findings.ok("this process has what a gateway needs");
  } else if (facts.process.root) {
    findings.fails("root without " + missing + " (a container or a service that drops them)", "needed for " + uses,
                   "give them: capabilities.add in Kubernetes, CapabilityBoundingSet in a unit");
  } else {
    findings.note("this process is an ordinary user's, without " + missing,
                  "a gateway needs them for " + uses + "; some of what follows could not be seen",
                  std::string(kRunAsRoot));
  }
}

void check_memlock(const Facts& facts, Findings& findings) {
  if (!facts.process.memlock || has(facts.process.capabilities, kIpcLock)) {
    findings.ok(facts.process.memlock ? "CAP_IPC_LOCK: no limit" : "no limit");
    return;
  }
  const std::string limit = "at most " + mebibytes(*facts.process.memlock) + " may be locked";
  if (!facts.config) {
    findings.note(limit, "packet buffers are locked: 64 MiB for each worker by default",
                  "give CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit");
  } else if (buffer_bytes(*facts.config) > *facts.process.memlock) {
    const std::string why =
        "the workers' packet buffers (engine.frames) take " + mebibytes(buffer_bytes(*facts.config));
    const std::string fix = "give CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit";
    if (facts.process.root || has(facts.process.capabilities, kNeededCapabilities[1])) {
      findings.fails(limit, why, fix);
    } else {
      findings.note(limit + " by this user", why, fix);
    }
  } else {
    findings.ok(limit);
  }
}

void check_service(const Facts& facts, Findings& findings) {
  if (facts.unit_masked) {
    findings.fails("the unit " + facts.unit + " is masked", "systemd does not start it",
                   "systemctl unmask " + facts.unit);
    return;
  }
  if (!facts.service) {
    findings.ok("no unit " + facts.unit + " is installed");
    return;
  }
  const auto value = [&](const char* key) {
    const auto at = facts.service->find(key);
    return at == facts.service->end() ? std::string() : at->second;
  };
  const std::uint64_t given = service_capabilities(*facts.service);
  bool good = true;
  for (const Capability& capability : kNeededCapabilities) {
    if (!has(given, capability)) {
      findings.fails("the unit " + facts.unit + " does not give " + std::string(capability.name),
                     "needed for " + std::string(capability.use),
                     "systemctl edit " + facts.unit + ": AmbientCapabilities and CapabilityBoundingSet");
      good = false;
    }
  }
  if (!has(given, kIpcLock) && value("LimitMEMLOCK") != "infinity") {
    findings.fails("the unit " + facts.unit + " has neither CAP_IPC_LOCK nor LimitMEMLOCK=infinity",
                   "packet buffers beyond 8 MiB cannot be locked",
                   "systemctl edit " + facts.unit + ": LimitMEMLOCK=infinity");
    good = false;
  }
  if (facts.config && facts.config->handover_wait_ms > 0 &&
      (value("KillMode") != "process" || value("NotifyAccess") != "all")) {
    findings.fails("handover.wait is set, but the unit " + facts.unit + " does not leave the gateway running",
                   "systemctl restart ends it, and packets are lost until the next one serves",
                   "systemctl edit " + facts.unit + ": KillMode=process, NotifyAccess=all");
    good = false;
  }
  const std::string at_home = facts.config ? hub_file_at_home(*facts.config) : "";
  if (const std::string homes = value("ProtectHome");
      !at_home.empty() && !homes.empty() && homes != "no" && homes != "false" && homes != "read-only") {
    findings.fails("the unit " + facts.unit + " does not see " + at_home + " (ProtectHome)",
                   "that hub cannot be followed", "put it below /etc/isthmus, readable by the unit's user");
    good = false;
  }
  if (good) {
    const std::string watchdog = value("WatchdogSec");
    findings.ok(facts.unit + (watchdog.empty() || watchdog == "0" || watchdog == "infinity"
                                  ? ", without a watchdog"
                                  : ", watchdog " + watchdog));
  }
}

void check_clock(const Facts& facts, Findings& findings) {
  constexpr std::int64_t kBeforeThis = 1'704'067'200;  // 2024, before this program was made
  if (facts.now < kBeforeThis) {
    findings.fails("the clock says a time in the past: " + std::to_string(facts.now) + " seconds since 1970",
                   "certificates count as not yet valid, and no hub is reached", "set it, and run chrony");
  } else if (facts.clock_synchronised == Availability::kNo) {
    findings.note("no time service keeps the clock in step",
                  "certificates are judged by it, and flows and logs of several machines cannot be compared",
                  "apt install chrony, or systemd-timesyncd");
  } else if (facts.clock_synchronised == Availability::kUnseen) {
    findings.note("whether the clock is in step cannot be seen", "certificates are judged by it", "");
  } else {
    findings.ok("in step");
  }
}

}  // namespace isthmus::doctor
