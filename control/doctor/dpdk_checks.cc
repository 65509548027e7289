#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>

#include "config/model/dpdk_name.h"
#include "control/doctor/check_list.h"

namespace isthmus::doctor {
namespace {

constexpr auto kNoDpdk = "no device is DPDK's";
constexpr auto kNoStart = "the gateway does not start";

// NICs that a machine of a cloud has, and DPDK's drivers of them.
struct NicVendor {
  std::string_view vendor, driver, of;
};
constexpr std::array kNicVendors = {
    NicVendor{"0x1af4", "virtio", "virtio"},    NicVendor{"0x1d0f", "ena", "Amazon's"},
    NicVendor{"0x1ae0", "gve", "Google's"},     NicVendor{"0x15b3", "mlx5", "NVIDIA's"},
    NicVendor{"0x1414", "mana", "Microsoft's"}, NicVendor{"0x15ad", "vmxnet3", "VMware's"},
};

// DPDK's driver of a device, without "net_"; empty: it is not known by the name.
std::string driver_needed(const DpdkDeviceFacts& device) {
  constexpr std::string_view kStart = "net_";
  if (device.nic) {
    const auto row = std::find_if(kNicVendors.begin(), kNicVendors.end(),
                                  [&](const NicVendor& one) { return one.vendor == device.nic->vendor; });
    const bool mlx4 = device.nic->driver == "mlx4_core";
    return mlx4 ? "mlx4" : row == kNicVendors.end() ? std::string() : std::string(row->driver);
  }
  if (!device.name.starts_with(kStart)) {
    return "";
  }
  std::string driver = device.name.substr(kStart.size(), device.name.find(',') - kStart.size());
  while (!driver.empty() && std::isdigit(static_cast<unsigned char>(driver.back())) != 0) {
    driver.pop_back();
  }
  return driver;
}

void check_dpdk_driver(const DpdkFacts& dpdk, const DpdkDeviceFacts& device, Findings& findings) {
  const std::string driver = driver_needed(device);
  if (driver.empty() || std::find(dpdk.drivers.begin(), dpdk.drivers.end(), driver) != dpdk.drivers.end()) {
    return;
  }
  std::string package =
      "librte-net-" + driver + (std::isdigit(static_cast<unsigned char>(driver.back())) ? "-23" : "23");
  std::replace(package.begin(), package.end(), '_', '-');
  findings.fails("DPDK's driver net_" + driver + ", which " + device.name + " needs, is not installed", kNoStart,
                 driver == "mana" ? "Debian 12's DPDK has none; see packaging/README.md for NICs of Azure's"
                                  : "apt-get install " + package);
}

void check_dpdk_device(const Facts& facts, const DpdkDeviceFacts& device, Findings& findings) {
  if (device.error) {
    findings.fails(device.error->what, kNoStart, device.error->fix);
    return;
  }
  check_dpdk_driver(*facts.dpdk, device, findings);
  if (!device.nic) {
    findings.ok(device.name + ": a device of DPDK's own, or of another bus than PCI");
  } else if (!device.nic->shared() && facts.config->dpdk_iommu == DpdkIommu::kNone && !device.nic->iommu) {
    findings.note(device.nic->address + ": " + device.nic->owner() + ", and no IOMMU, as engine.dpdk.iommu says",
                  "the NIC, and who makes the gateway misuse it, can read and write all of this machine's memory",
                  "turn the IOMMU on where there is one, and leave out engine.dpdk.iommu: none");
  } else {
    findings.ok(device.nic->address + ": " + device.nic->owner() + (device.nic->iommu ? ", behind an IOMMU" : ""));
  }
}

std::uint64_t pages_for(std::uint64_t bytes, std::uint64_t page) { return (bytes + page - 1) / page; }

}  // namespace

void check_dpdk(const Facts& facts, Findings& findings) {
  if (!facts.config->uses_dpdk()) {
    findings.ok(kNoDpdk);
    return;
  }
  if (!facts.dpdk) {
    return;
  }
  if (facts.dpdk->module_error) {
    findings.fails(facts.dpdk->module_error->what, kNoStart, facts.dpdk->module_error->fix);
  } else if (facts.dpdk->drivers.empty()) {
    findings.fails("none of DPDK's drivers is installed", kNoStart, "apt-get install librte-meta-net");
  } else {
    findings.ok("the module is there, with " + std::to_string(facts.dpdk->drivers.size()) + " drivers");
  }
  for (const DpdkDeviceFacts& device : facts.dpdk->devices) {
    check_dpdk_device(facts, device, findings);
  }
}

void check_huge_pages(const Facts& facts, Findings& findings) {
  const GatewayConfig& config = *facts.config;
  if (!facts.dpdk) {
    findings.ok(kNoDpdk);
    return;
  }
  const HugePageFacts& huge = facts.dpdk->huge_pages;
  const bool nic = std::any_of(facts.dpdk->devices.begin(), facts.dpdk->devices.end(),
                               [](const DpdkDeviceFacts& device) { return device.nic.has_value(); });
  if (nic && config.dpdk_memory.pages == DpdkPages::kOrdinary) {
    findings.fails("engine.dpdk.huge_pages is none, and a NIC needs some", kNoStart,
                   "leave out engine.dpdk.huge_pages");
    return;
  }
  if (config.dpdk_memory.pages == DpdkPages::kOrdinary || huge.page == 0 ||
      (!nic && config.dpdk_memory.pages == DpdkPages::kAuto)) {
    findings.ok("software devices need none");
    return;
  }
  const std::uint64_t own = std::uint64_t{config.dpdk_memory.megabytes} << 20, all = own + buffer_bytes(config);
  const std::string found = mebibytes(huge.free) + " of huge pages are free, for " + mebibytes(own) +
                            " of DPDK's (engine.dpdk.memory_mb) and " + mebibytes(buffer_bytes(config)) +
                            " of packet buffers";
  const std::uint64_t in_use = huge.pages - std::min(huge.pages, huge.free / huge.page);
  const std::string pages =
      std::to_string(in_use + pages_for(own, huge.page) + pages_for(buffer_bytes(config), huge.page));
  const std::string fix = "sysctl -w vm.nr_hugepages=" + pages + "; for good: echo vm.nr_hugepages=" + pages +
                          " > /etc/sysctl.d/60-isthmus.conf, and reboot where memory is in pieces by now";
  if (facts.admin.listens) {
    findings.ok("the running gateway has those that it needs");
  } else if (huge.free < own) {
    findings.fails(found, kNoStart, fix);
  } else if (huge.free < all) {
    findings.slow(found, "packet buffers lie on ordinary pages, of which a NIC has to look up more", fix);
  } else {
    findings.ok(found);
  }
}

}  // namespace isthmus::doctor
