#include "control/machine/dpdk_nic.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "config/model/dpdk_name.h"

namespace isthmus {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kSharedDrivers = {"mlx5_core", "mlx4_core", "mana"};
constexpr std::array<std::string_view, 3> kGivenAwayDrivers = {"vfio-pci", "igb_uio", "uio_pci_generic"};
constexpr std::string_view kVfio = "vfio-pci";

bool among(const auto& list, std::string_view word) { return std::find(list.begin(), list.end(), word) != list.end(); }

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The last part of what a symbolic link of sysfs leads to; empty: there is none.
std::string link_name(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename().string();
}

std::vector<std::string> names_below(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Below the device, or below its virtio device.
std::vector<std::string> interfaces_of(const fs::path& device) {
  std::vector<std::string> all = names_below(device / "net");
  for (const std::string& name : names_below(device)) {
    if (name.starts_with("virtio")) {
      for (std::string& each : names_below(device / name / "net")) {
        all.push_back(std::move(each));
      }
    }
  }
  return all;
}

fs::path pci_folder(const std::string& sysfs) { return fs::path(sysfs) / "bus/pci/devices"; }

std::string others_text(const std::string& sysfs) {
  std::string text;
  for (const PciNic& nic : list_pci_nics(sysfs)) {
    text += (text.empty() ? "" : "; ") + nic.address + " (" + nic.owner() + ")";
  }
  return text.empty() ? "there are no NICs on the PCI bus: see lspci -D" : "the NICs here are " + text;
}

std::string binding_fix(const std::string& key, const PciNic& nic) {
  const std::string gone = nic.interfaces.empty() ? "" : ", by which the kernel loses " + nic.interfaces.front();
  const std::string trial = nic.interfaces.empty() ? ""
                                                   : "; for a trial without that, " + key +
                                                         ": \"net_af_packet0,iface=" + nic.interfaces.front() + "\"";
  return "bind it to vfio-pci: `driverctl set-override " + nic.address +
         " vfio-pci`, or `dpdk-devbind.py -b vfio-pci " + nic.address + "`" + gone + ", and write " + key + ": \"" +
         nic.address + "\"" + trial;
}

Status check_iommu(const PciNic& nic, DpdkIommu iommu, const std::string& sysfs) {
  const bool unsafe = first_line(fs::path(sysfs) / "module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y";
  if (iommu == DpdkIommu::kNone) {
    if (nic.driver == kVfio && !nic.iommu && !unsafe) {
      return Error{"no IOMMU keeps the NIC in bounds, and VFIO does not do without one as it is set", nic.address,
                   "write `options vfio enable_unsafe_noiommu_mode=1` into /etc/modprobe.d/vfio.conf, now `echo 1 > "
                   "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode`, and bind the NIC to vfio-pci again"};
    }
    return Ok{};
  }
  if (nic.driver != kVfio) {
    return Error{"its driver, " + nic.driver + ", lets the NIC read and write all of this machine's memory",
                 nic.address, "bind it to vfio-pci, or accept it: engine.dpdk.iommu: none"};
  }
  if (!nic.iommu) {
    return Error{
        "no IOMMU keeps the NIC from reading and writing all of this machine's memory", nic.address,
        "turn the IOMMU on (intel_iommu=on for the kernel, or in the machine's firmware or hypervisor), or accept "
        "it, as on most virtual machines: engine.dpdk.iommu: none"};
  }
  return Ok{};
}

Result<std::string> devargs_of_nic(const std::string& key, const std::string& name, DpdkIommu iommu,
                                   const std::string& sysfs) {
  const std::string address = pci_address_of(name);
  const auto nic = read_pci_nic(address, sysfs);
  if (!nic) {
    return Error{"there is no PCI device " + address, key, others_text(sysfs)};
  }
  if (!nic->ethernet) {
    return Error{"the PCI device " + address + " is no NIC", key, others_text(sysfs)};
  }
  if (!nic->shared()) {
    if (!nic->given_away()) {
      return Error{"the NIC " + address + " is the kernel's: " + nic->owner(), key, binding_fix(key, *nic)};
    }
    if (Status allowed = check_iommu(*nic, iommu, sysfs); !allowed) {
      return allowed.error();
    }
  }
  const auto comma = name.find(',');
  return address + (comma == std::string::npos ? "" : name.substr(comma));
}

// The PCI device that is around a device of sysfs, as around that of virtio; empty: there is none.
std::string pci_around(fs::path device) {
  for (; device.has_relative_path(); device = device.parent_path()) {
    const std::string address = pci_address_of(device.filename().string());
    if (!address.empty()) {
      return address;
    }
  }
  return "";
}

Error vmbus_interface(const std::string& key, const std::string& name, const std::string& device) {
  return Error{name + " is a NIC of Hyper-V's bus, driver hv_netvsc", key,
               "bind it to uio_hv_generic: `driverctl -b vmbus set-override " + device +
                   " uio_hv_generic`, and write " + key + ": \"" + device +
                   "\"; see packaging/README.md for its virtual function"};
}

Result<std::string> devargs_of_interface(const std::string& key, const std::string& name, DpdkIommu iommu,
                                         const std::string& sysfs) {
  const fs::path folder = fs::path(sysfs) / "class/net" / name;
  std::error_code error;
  if (!fs::exists(folder, error)) {
    return Error{"there is no interface " + name, key,
                 "write a PCI address, or devargs such as net_memif0,role=client; " + others_text(sysfs)};
  }
  const fs::path device = fs::canonical(folder / "device", error);
  if (error) {
    return Error{"the interface " + name + " is no NIC: it has no device below", key,
                 "leave out " + key + " to use it with AF_XDP; for a trial, write net_af_packet0,iface=" + name};
  }
  const std::string address = pci_around(device);
  if (address.empty()) {
    return link_name(device / "driver") == "hv_netvsc"
               ? vmbus_interface(key, name, device.filename().string())
               : Error{"the interface " + name + " is no NIC of the PCI bus", key,
                       "leave out " + key + " to use it with AF_XDP; for a trial, write net_af_packet0,iface=" + name};
  }
  const auto nic = read_pci_nic(address, sysfs);
  if (nic && nic->driver == "mana") {  // one device for all of them
    return address + ",mac=" + first_line(folder / "address");
  }
  return devargs_of_nic(key, address, iommu, sysfs);
}

}  // namespace

bool PciNic::shared() const { return among(kSharedDrivers, driver); }
bool PciNic::given_away() const { return among(kGivenAwayDrivers, driver); }

std::string PciNic::owner() const {
  std::string text;
  for (const std::string& interface : interfaces) {
    text += interface + ", ";
  }
  return text + (driver.empty() ? "no driver" : "driver " + driver);
}

std::optional<PciNic> read_pci_nic(const std::string& address, const std::string& sysfs) {
  const fs::path device = pci_folder(sysfs) / address;
  std::error_code error;
  if (address.empty() || !fs::exists(device, error)) {
    return std::nullopt;
  }
  PciNic nic;
  nic.address = address;
  nic.driver = link_name(device / "driver");
  nic.interfaces = interfaces_of(device);
  nic.vendor = first_line(device / "vendor");
  nic.ethernet = first_line(device / "class").starts_with("0x02");
  nic.iommu = fs::exists(device / "iommu_group", error) && first_line(device / "iommu_group/name") != "vfio-noiommu";
  return nic;
}

std::vector<PciNic> list_pci_nics(const std::string& sysfs) {
  std::vector<PciNic> nics;
  for (const std::string& address : names_below(pci_folder(sysfs))) {
    if (auto nic = read_pci_nic(address, sysfs); nic && nic->ethernet) {
      nics.push_back(*std::move(nic));
    }
  }
  return nics;
}

Result<std::string> dpdk_devargs(const std::string& key, const std::string& name, DpdkIommu iommu,
                                 const std::string& sysfs) {
  switch (dpdk_name_kind(name).value_or(DpdkNameKind::kDevargs)) {
    case DpdkNameKind::kPciAddress:
      return devargs_of_nic(key, name, iommu, sysfs);
    case DpdkNameKind::kInterface:
      return devargs_of_interface(key, name, iommu, sysfs);
    case DpdkNameKind::kDevargs:
      break;
  }
  return name;
}

std::string kernel_interface_of(const std::string& devargs, const std::string& sysfs) {
  if (const std::string address = pci_address_of(devargs); !address.empty()) {
    const auto nic = read_pci_nic(address, sysfs);
    return nic && nic->shared() && !nic->interfaces.empty() ? nic->interfaces.front() : std::string();
  }
  if (!devargs.starts_with("net_af_packet") && !devargs.starts_with("net_af_xdp")) {
    return {};
  }
  constexpr std::string_view kKey = ",iface=";
  const std::size_t at = devargs.find(kKey);
  if (at == std::string::npos) {
    return {};
  }
  const std::size_t begin = at + kKey.size();
  return devargs.substr(begin, devargs.find(',', begin) - begin);
}

}  // namespace isthmus
