// Parses arbitrary text as what /proc, /sys and the service manager say of a machine. What is read is within bounds,
// and read again the same.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "control/machine/system_text.h"

namespace {

using namespace isthmus;

void require(bool condition) {
  if (!condition) {
    __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto cpus = read_cpu_list(text);
  require(std::is_sorted(cpus.begin(), cpus.end()) && cpus.size() <= kMostCpus + 1);
  require(cpus.empty() || (cpus.front() >= 0 && cpus.back() <= kMostCpus));
  require(read_cpu_list(cpu_list_text(cpus)) == cpus);
  (void)read_line_number(text, "MemTotal");
  (void)read_line_mask(text, "CapEff");
  (void)read_kernel_version(text);
  if (const auto quota = read_cpu_quota(text)) {
    require(std::isfinite(*quota) && *quota >= 0);
  }
  (void)read_memory_limit(text);
  (void)read_interrupts(text, "eth0", "pci:0000:00:02.0");
  (void)read_sockets(text);
  for (const auto& [key, value] : read_service_section({text, text})) {
    const bool list = key == "CapabilityBoundingSet" || key == "AmbientCapabilities";
    require(!key.empty() && key.find('\n') == std::string::npos);
    require(list || value.find('\n') == std::string::npos);
  }
  for (const std::uint64_t initial : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    require(read_capabilities("CAP_BPF\n\n" + text, initial) == read_capabilities("\n" + text, initial));
  }
  return 0;
}
