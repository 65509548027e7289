// Of the module for DPDK, its drivers, huge pages, and the NICs that DPDK is to have.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "config/model/dpdk_name.h"
#include "control/doctor/gather.h"
#include "dataplane/api/devices.h"

namespace isthmus {
namespace {

namespace fs = std::filesystem;

std::uint64_t number_in(const fs::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  return file >> number ? number : 0;
}

HugePageFacts read_huge_pages() {
  HugePageFacts facts;
  std::ifstream memory("/proc/meminfo");
  for (std::string word; memory >> word;) {
    if (word == "Hugepagesize:" && memory >> facts.page) {
      facts.page *= 1024;
    } else if (word == "HugePages_Total:") {
      memory >> facts.pages;
    }
  }
  std::error_code error;
  for (fs::directory_iterator at("/sys/kernel/mm/hugepages", error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();  // hugepages-2048kB
    constexpr std::string_view kStart = "hugepages-";
    if (name.starts_with(kStart)) {
      facts.free += number_in(at->path() / "free_hugepages") * std::stoull(name.substr(kStart.size())) * 1024;
    }
  }
  return facts;
}

// As Debian's packages librte-net-* install them, for all of DPDK's programs.
std::vector<std::string> read_drivers() {
  constexpr std::string_view kStart = "librte_net_";
  std::vector<std::string> drivers;
  std::error_code error;
  for (const fs::path& root :
       {fs::path("/usr/lib/x86_64-linux-gnu/dpdk"), fs::path("/usr/lib/aarch64-linux-gnu/dpdk")}) {
    for (fs::recursive_directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename().string();
      if (name.starts_with(kStart)) {
        drivers.push_back(name.substr(kStart.size(), name.find('.') - kStart.size()));
      }
    }
  }
  std::sort(drivers.begin(), drivers.end());
  drivers.erase(std::unique(drivers.begin(), drivers.end()), drivers.end());
  return drivers;
}

DpdkDeviceFacts read_dpdk_device(const GatewayConfig& config, const DeviceConfig& device, const std::string& key) {
  DpdkDeviceFacts facts;
  facts.key = key;
  facts.name = device.dpdk;
  const auto devargs = dpdk_devargs(key, device.dpdk, config.dpdk_iommu);
  if (!devargs) {
    facts.error = devargs.error();
  }
  facts.nic = read_pci_nic(pci_address_of(devargs ? *devargs : device.dpdk));
  return facts;
}

}  // namespace

void read_dpdk_facts(Facts& facts) {
  const GatewayConfig& config = *facts.config;
  if (!config.uses_dpdk()) {
    return;
  }
  DpdkFacts& dpdk = facts.dpdk.emplace();
  if (const Status loaded = load_dpdk_module(); !loaded) {
    dpdk.module_error = loaded.error();
  }
  dpdk.drivers = read_drivers();
  dpdk.huge_pages = read_huge_pages();
  if (!config.underlay.dpdk.empty()) {
    dpdk.devices.push_back(read_dpdk_device(config, config.underlay, "devices.underlay.dpdk"));
  }
  if (!config.local.device.dpdk.empty() && !config.one_device()) {
    dpdk.devices.push_back(read_dpdk_device(config, config.local.device, "devices.local.dpdk"));
  }
}

}  // namespace isthmus
