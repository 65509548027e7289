// The checks of this folder's *_checks.cc, for the table in checks.cc. See checks.h.
#pragma once

#include <cstdint>
#include <string>

#include "control/doctor/facts.h"
#include "control/doctor/finding.h"

namespace isthmus::doctor {

[[nodiscard]] inline std::string mebibytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// What the workers' packet buffers take, which are locked in memory.
[[nodiscard]] inline std::uint64_t buffer_bytes(const GatewayConfig& config) {
  constexpr std::uint64_t kChunk = 4096;
  return (config.cores.empty() ? config.workers : config.cores.size()) * std::uint64_t{config.frames} * kChunk;
}

// system_checks.cc
void check_configuration(const Facts& facts, Findings& findings);
void check_kernel(const Facts& facts, Findings& findings);
void check_bpf_folder(const Facts& facts, Findings& findings);
void check_capabilities(const Facts& facts, Findings& findings);
void check_memlock(const Facts& facts, Findings& findings);
void check_service(const Facts& facts, Findings& findings);
void check_clock(const Facts& facts, Findings& findings);
// cpu_checks.cc
void check_cores(const Facts& facts, Findings& findings);
void check_quota(const Facts& facts, Findings& findings);
void check_siblings(const Facts& facts, Findings& findings);
void check_governor(const Facts& facts, Findings& findings);
void check_isolation(const Facts& facts, Findings& findings);
void check_interrupts(const Facts& facts, Findings& findings);
// device_checks.cc
void check_interfaces(const Facts& facts, Findings& findings);
void check_xdp_mode(const Facts& facts, Findings& findings);
void check_xdp_program(const Facts& facts, Findings& findings);
void check_queues(const Facts& facts, Findings& findings);
void check_mtu(const Facts& facts, Findings& findings);
void check_offloads(const Facts& facts, Findings& findings);
void check_legs(const Facts& facts, Findings& findings);
// dpdk_checks.cc
void check_dpdk(const Facts& facts, Findings& findings);
void check_huge_pages(const Facts& facts, Findings& findings);
// network_checks.cc
void check_reverse_path(const Facts& facts, Findings& findings);
void check_forwarding(const Facts& facts, Findings& findings);
void check_own_addresses(const Facts& facts, Findings& findings);
void check_translation(const Facts& facts, Findings& findings);
void check_neighbours(const Facts& facts, Findings& findings);
void check_tunnel_port(const Facts& facts, Findings& findings);
void check_metrics_port(const Facts& facts, Findings& findings);
// hub_checks.cc
void check_hubs(const Facts& facts, Findings& findings);
void check_certificates(const Facts& facts, Findings& findings);
// state_checks.cc
void check_connection_table(const Facts& facts, Findings& findings);
void check_last_known(const Facts& facts, Findings& findings);
void check_admin_socket(const Facts& facts, Findings& findings);
void check_running(const Facts& facts, Findings& findings);

}  // namespace isthmus::doctor
