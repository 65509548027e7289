#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "control/doctor/check_list.h"

namespace isthmus::doctor {
namespace {

bool holds(const std::vector<int>& cpus, int cpu) { return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end(); }

std::vector<int> without(const std::vector<int>& cores, const std::vector<int>& cpus) {
  std::vector<int> rest;
  std::copy_if(cores.begin(), cores.end(), std::back_inserter(rest), [&](int core) { return !holds(cpus, core); });
  return rest;
}

std::size_t workers_of(const GatewayConfig& config) {
  return config.cores.empty() ? config.workers : config.cores.size();
}

}  // namespace

void check_cores(const Facts& facts, Findings& findings) {
  const std::vector<int>& cores = facts.config->cores;
  const MachineCpus& cpus = facts.cpu.cpus;
  const std::string usable = "engine.cores: CPUs of " + cpu_list_text(cpus.allowed);
  if (cores.empty()) {
    const std::size_t workers = workers_of(*facts.config);
    if (workers > cpus.allowed.size() && !cpus.allowed.empty()) {
      findings.slow(std::to_string(workers) + " workers on " + std::to_string(cpus.allowed.size()) + " CPUs",
                    "workers that share a CPU wait for each other",
                    "engine.workers: " + std::to_string(cpus.allowed.size()));
    } else {
      findings.ok(std::to_string(workers) + " workers that are not pinned, on CPUs " + cpu_list_text(cpus.allowed));
    }
    return;
  }
  const auto missing = without(cores, cpus.online);
  if (!missing.empty()) {
    findings.fails(
        "engine.cores names CPUs that this machine does not have, or that are off: " + cpu_list_text(missing),
        "a worker cannot be pinned to them", usable);
    return;
  }
  const auto beyond = facts.cpu.cgroup.empty() ? std::vector<int>() : without(cores, facts.cpu.cgroup);
  if (!beyond.empty()) {
    findings.fails("the cgroup does not allow the CPUs " + cpu_list_text(beyond) + " of engine.cores",
                   "a worker cannot be pinned to them",
                   "allow them (AllowedCPUs in the unit, static CPU manager in Kubernetes), or engine.cores: CPUs of " +
                       cpu_list_text(facts.cpu.cgroup));
    return;
  }
  const auto other = without(cores, cpus.allowed);
  if (!other.empty()) {
    findings.note("this process is kept from the CPUs " + cpu_list_text(other) + " of engine.cores (taskset)",
                  "a gateway that is started in the same way pins its workers there all the same", usable);
    return;
  }
  findings.ok("workers on CPUs " + cpu_list_text(cores));
}

void check_quota(const Facts& facts, Findings& findings) {
  const std::size_t workers = workers_of(*facts.config);
  const bool spins = facts.config->idle == IdlePolicy::kSpin;
  if (!facts.cpu.quota) {
    findings.ok("no limit");
    return;
  }
  std::array<char, 32> share{};
  std::snprintf(share.data(), share.size(), "%.1f CPUs", *facts.cpu.quota);
  // One of them for control.
  if (*facts.cpu.quota < static_cast<double>(workers + (spins ? 1 : 0))) {
    findings.slow("the cgroup limits it to " + std::string(share.data()) + ", for " + std::to_string(workers) +
                      " workers" + (spins ? " that never sleep" : ""),
                  "a worker that has used its share stands until the next period: packets wait and are lost",
                  "take the limit away (resources.limits.cpu, CPUQuota), or lower engine.workers");
  } else {
    findings.ok(share.data());
  }
}

void check_siblings(const Facts& facts, Findings& findings) {
  const std::vector<int>& cores = facts.config->cores;
  std::set<int> seen;
  std::string shared;
  for (const int core : cores) {
    const auto at = facts.cpu.cpus.siblings.find(core);
    for (const int sibling : at == facts.cpu.cpus.siblings.end() ? std::vector<int>() : at->second) {
      if (sibling != core && holds(cores, sibling) && seen.insert(std::min(core, sibling)).second) {
        shared += (shared.empty() ? "" : ", ") + std::to_string(std::min(core, sibling)) + " and " +
                  std::to_string(std::max(core, sibling));
      }
    }
  }
  if (!shared.empty()) {
    findings.slow("CPUs of engine.cores are hyperthreads of one core: " + shared,
                  "two workers on one core forward little more than one", "engine.cores: one CPU of each core");
  } else {
    findings.ok(cores.empty() ? "workers are not pinned" : "every worker has a core of its own");
  }
}

void check_governor(const Facts& facts, Findings& findings) {
  const std::vector<int>& cores = facts.config->cores.empty() ? facts.cpu.cpus.allowed : facts.config->cores;
  std::set<std::string> slow;
  for (const int core : cores) {
    const auto at = facts.cpu.governors.find(core);
    if (at != facts.cpu.governors.end() &&
        (at->second == "powersave" || at->second == "ondemand" || at->second == "conservative")) {
      slow.insert(at->second);
    }
  }
  if (slow.empty()) {
    findings.ok(facts.cpu.governors.empty() ? "set by the hypervisor, or the firmware" : "at full frequency");
    return;
  }
  findings.slow("the frequency of the workers' CPUs is governed by " + *slow.begin(),
                "a CPU that is mostly asleep is clocked down, and wakes up slowly",
                "cpupower frequency-set -g performance");
}

void check_isolation(const Facts& facts, Findings& findings) {
  const std::vector<int>& cores = facts.config->cores;
  if (cores.empty()) {
    findings.ok("workers are not pinned");
    return;
  }
  const auto shared = without(cores, facts.cpu.isolated);
  if (shared.empty()) {
    findings.ok("isolated: " + cpu_list_text(cores));
  } else {
    findings.note("others may run on the workers' CPUs " + cpu_list_text(shared),
                  "what runs there delays packets by milliseconds",
                  "isolcpus=" + cpu_list_text(cores) + " on the kernel's command line, where latency matters");
  }
}

void check_interrupts(const Facts& facts, Findings& findings) {
  const std::vector<int>& cores = facts.config->cores;
  bool any = false;
  for (const InterfaceFacts* interface :
       {facts.underlay ? &*facts.underlay : nullptr, facts.local ? &*facts.local : nullptr}) {
    if (interface == nullptr || interface->interrupts.empty() || cores.empty()) {
      continue;
    }
    any = true;
    std::set<int> handled;
    for (const auto& [number, cpus] : interface->interrupts) {
      handled.insert(cpus.begin(), cpus.end());
    }
    const std::vector<int> on(handled.begin(), handled.end());
    if (facts.cpu.irqbalance) {
      findings.note("irqbalance moves the interrupts of " + interface->name,
                    "a queue's packets are prepared on another CPU than its worker's, which changes at any time",
                    "IRQBALANCE_BANNED_CPULIST=" + cpu_list_text(cores) + " in /etc/default/irqbalance, or stop it");
    } else if (facts.config->idle == IdlePolicy::kSpin && without(on, cores).empty() && !on.empty()) {
      findings.slow("the interrupts of " + interface->name + " are handled on the CPUs of workers that never sleep",
                    "the kernel's part of receiving waits for the worker, and the worker for it",
                    "write other CPUs to /proc/irq/N/smp_affinity_list, or devices.underlay.busy_poll_us: 20");
    } else {
      findings.ok(interface->name + ": handled on CPUs " + cpu_list_text(on));
    }
  }
  if (!any) {
    findings.ok(cores.empty() ? "workers are not pinned" : "the interfaces have none of their own");
  }
}

}  // namespace isthmus::doctor
