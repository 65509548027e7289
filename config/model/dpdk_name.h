// What `devices.*.dpdk` may say: how a device is called that DPDK is to have. Plain text, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace isthmus {

enum class DpdkNameKind : std::uint8_t {
  kPciAddress,  // "0000:00:05.0", arguments of its driver behind a comma
  kDevargs,     // of another bus, or one of DPDK's own drivers: "net_memif0,role=client", "vmbus:UUID"
  kInterface,   // the kernel's name of a NIC
};

// nullopt: none of them.
[[nodiscard]] std::optional<DpdkNameKind> dpdk_name_kind(std::string_view name);
// The address of a name that has one, with its domain and in lower case, as below /sys/bus/pci/devices; empty: it has
// none.
[[nodiscard]] std::string pci_address_of(std::string_view name);
// What the kernel accepts as an interface's name (dev_valid_name).
[[nodiscard]] bool is_interface_name(std::string_view text);

}  // namespace isthmus
