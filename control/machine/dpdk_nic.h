// NICs that DPDK is to have: what sysfs tells of them, and how DPDK is told which one is meant. Changes nothing.
// Thread: any. Failure: errors that say what to do, of what is so before DPDK looks at the device itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct PciNic {
  std::string address;                  // "0000:00:05.0"
  std::string driver;                   // of the kernel's; empty: none has it
  std::vector<std::string> interfaces;  // of the kernel's
  std::string vendor;                   // "0x1af4"
  bool ethernet = true;                 // else it is another kind of device
  bool iommu = false;                   // keeps it in bounds

  // Its kernel driver shares it with DPDK, which so needs no other one.
  [[nodiscard]] bool shared() const;
  // It is bound to a driver by which DPDK can have it alone.
  [[nodiscard]] bool given_away() const;
  // "eth0, driver virtio-pci".
  [[nodiscard]] std::string owner() const;
};

// Where sysfs is mounted, for tests.
inline constexpr const char* kSysfs = "/sys";

// nullopt: there is no such device.
[[nodiscard]] std::optional<PciNic> read_pci_nic(const std::string& address, const std::string& sysfs = kSysfs);
// Those of the machine, by address.
[[nodiscard]] std::vector<PciNic> list_pci_nics(const std::string& sysfs = kSysfs);

// What DPDK is told for a value of `key` ("devices.underlay.dpdk"): devargs. An interface's name becomes the address of
// its NIC. Error: there is no such device, its driver does not let DPDK have it, or no IOMMU keeps it in bounds and the
// configuration does not ask for that.
[[nodiscard]] Result<std::string> dpdk_devargs(const std::string& key, const std::string& name, DpdkIommu iommu,
                                               const std::string& sysfs = kSysfs);

// The kernel's interface of a device that DPDK has by these devargs, whose packets both would see: of a NIC whose
// driver shares it, and of the drivers that work by one. Empty: it has none.
[[nodiscard]] std::string kernel_interface_of(const std::string& devargs, const std::string& sysfs = kSysfs);

}  // namespace isthmus
