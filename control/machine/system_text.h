// Texts of /proc and /sys, as values. Pure: any text may come in, broken ones too, and what cannot be read is left out
// or nullopt. Thread: any. Nothing throws.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// "0-3,8,10-11" (lists of CPUs, cpulist in the kernel's words), sorted; what is no number, or above `kMostCpus`, is
// left out.
inline constexpr int kMostCpus = 8192;
[[nodiscard]] std::vector<int> read_cpu_list(std::string_view text);
// As the kernel writes it: "0-3,8".
[[nodiscard]] std::string cpu_list_text(const std::vector<int>& cpus);

// The value of "KEY:   123 kB" (or without a unit) in lines as those of /proc/meminfo and /proc/self/status, in the
// unit written there.
[[nodiscard]] std::optional<std::uint64_t> read_line_number(std::string_view text, std::string_view key);
// The same of a hexadecimal mask, as CapEff.
[[nodiscard]] std::optional<std::uint64_t> read_line_mask(std::string_view text, std::string_view key);

// "6.1.0-18-amd64": {6, 1}.
struct KernelVersion {
  unsigned major = 0, minor = 0;
  friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};
[[nodiscard]] std::optional<KernelVersion> read_kernel_version(std::string_view release);

// cgroup's cpu.max, "200000 100000" or "max 100000": the share of CPUs, nullopt: no limit, or not read.
[[nodiscard]] std::optional<double> read_cpu_quota(std::string_view text);

// cgroup's memory.max, in bytes; nullopt: "max", or not read.
[[nodiscard]] std::optional<std::uint64_t> read_memory_limit(std::string_view text);

// The interrupts of an interface in /proc/interrupts: their numbers, of lines in which a word is the interface's name
// or begins with it and '-' ("eth0-TxRx-0"), or ends with '@' and `bus` ("mlx5_comp0@pci:0000:00:02.0").
[[nodiscard]] std::vector<unsigned> read_interrupts(std::string_view text, std::string_view interface,
                                                    std::string_view bus);

// Sockets of /proc/net/{tcp,udp}{,6}: local address and port, whether it listens (TCP state 0A).
struct KernelSocket {
  IpAddress address;
  L4Port port;
  bool listens = false;
};
[[nodiscard]] std::vector<KernelSocket> read_sockets(std::string_view text);

// The unit of the Debian package that runs a gateway with this configuration: of /etc/isthmus/NAME.yaml
// "isthmus@NAME.service", of gateway.yaml and of all other files "isthmus.service".
[[nodiscard]] std::string unit_of(std::string_view config_file);

// A unit of systemd with its drop-ins, in the order in which they apply: the last value of each key of [Service]; of
// CapabilityBoundingSet and AmbientCapabilities all values, a line each.
// What such lines come to (systemd.exec(5)), as bits by the numbers of linux/capability.h; `initial`: before the first.
// Names that are not known here are left out.
[[nodiscard]] std::uint64_t read_capabilities(std::string_view lines, std::uint64_t initial);
[[nodiscard]] std::map<std::string, std::string> read_service_section(const std::vector<std::string>& texts);

}  // namespace isthmus
