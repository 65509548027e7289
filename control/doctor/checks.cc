#include "control/doctor/checks.h"

#include <array>

#include "control/doctor/check_list.h"

namespace isthmus {
namespace {

using namespace doctor;

constexpr std::array kChecks = {
    DoctorCheck{"configuration", "the configuration's errors", check_configuration, false},
    DoctorCheck{"kernel", "the kernel's version and what XDP needs of it", check_kernel, false},
    DoctorCheck{"bpf-file-system", "where programs and settled flows outlive the process", check_bpf_folder, false},
    DoctorCheck{"capabilities", "what the process may do", check_capabilities, false},
    DoctorCheck{"memlock", "how much memory may be locked", check_memlock, false},
    DoctorCheck{"service", "the unit of systemd", check_service, false},
    DoctorCheck{"clock", "whether the clock is right", check_clock, false},
    DoctorCheck{"cores", "the CPUs of the workers", check_cores},
    DoctorCheck{"cpu-quota", "the cgroup's share of CPUs", check_quota},
    DoctorCheck{"cpu-siblings", "hyperthreads that share a core", check_siblings},
    DoctorCheck{"cpu-governor", "the CPUs' frequency", check_governor},
    DoctorCheck{"cpu-isolation", "what else runs on the workers' CPUs", check_isolation},
    DoctorCheck{"interrupts", "which CPUs handle the interfaces' interrupts", check_interrupts},
    DoctorCheck{"interfaces", "whether the interfaces are there and up", check_interfaces},
    DoctorCheck{"xdp-mode", "what the drivers can do with XDP", check_xdp_mode},
    DoctorCheck{"xdp-program", "XDP programs of others", check_xdp_program},
    DoctorCheck{"queues", "a queue for every worker", check_queues},
    DoctorCheck{"mtu", "room for tunnel headers", check_mtu},
    DoctorCheck{"offloads", "receive offloads that hide packets from XDP", check_offloads},
    DoctorCheck{"legs", "interfaces that come and go (Azure)", check_legs},
    DoctorCheck{"dpdk", "the module, its drivers, and the NICs that DPDK is to have", check_dpdk},
    DoctorCheck{"huge-pages", "the pages that DPDK needs", check_huge_pages},
    DoctorCheck{"reverse-path", "rp_filter", check_reverse_path},
    DoctorCheck{"forwarding", "whether the kernel forwards", check_forwarding},
    DoctorCheck{"underlay-address", "the address that other gateways send to", check_own_addresses},
    DoctorCheck{"translation", "the addresses of translated connections", check_translation},
    DoctorCheck{"neighbours", "the routers' MAC addresses", check_neighbours},
    DoctorCheck{"tunnel-port", "who else has the tunnel's port", check_tunnel_port},
    DoctorCheck{"metrics-port", "who else has the metrics' port", check_metrics_port},
    DoctorCheck{"hub", "whether the hubs answer", check_hubs},
    DoctorCheck{"certificates", "their dates and keys", check_certificates},
    DoctorCheck{"connection-table", "room for engine.connections", check_connection_table},
    DoctorCheck{"last-known", "where what hubs said is kept", check_last_known},
    DoctorCheck{"admin-socket", "where the command line asks", check_admin_socket},
    DoctorCheck{"gateway", "whether a gateway of this name runs", check_running},
};

}  // namespace

std::span<const DoctorCheck> doctor_checks() { return kChecks; }

std::vector<Finding> examine(const Facts& facts) {
  std::vector<Finding> all;
  for (const DoctorCheck& check : kChecks) {
    if (check.needs_config && !facts.config) {
      continue;
    }
    Findings findings;
    check.run(facts, findings);
    for (Finding& finding : findings.take()) {
      finding.check = check.name;
      all.push_back(std::move(finding));
    }
  }
  return all;
}

}  // namespace isthmus
