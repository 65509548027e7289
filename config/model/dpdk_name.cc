#include "config/model/dpdk_name.h"

#include <algorithm>
#include <cctype>

namespace isthmus {
namespace {

// IFNAMSIZ less the terminating zero.
constexpr std::size_t kInterfaceLength = 15;
constexpr std::size_t kMostOfDevargs = 1024;

// Each letter of a pattern: x is a hexadecimal digit, all else is itself.
bool matches_pattern(std::string_view text, std::string_view pattern) {
  return text.size() == pattern.size() &&
         std::equal(text.begin(), text.end(), pattern.begin(), [](char c, char wanted) {
           return wanted == 'x' ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c == wanted;
         });
}

bool names_bus_or_driver(std::string_view name) {
  const std::string_view device = name.substr(0, name.find(','));
  return name.find('=') != std::string_view::npos || device.size() < name.size() || device.starts_with("net_") ||
         (device.find(':') != std::string_view::npos && std::isalpha(static_cast<unsigned char>(device[0])) != 0) ||
         matches_pattern(device, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

}  // namespace

bool is_interface_name(std::string_view text) {
  return !text.empty() && text.size() <= kInterfaceLength && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
}

std::string pci_address_of(std::string_view name) {
  std::string address(name.substr(0, name.find(',')));
  std::transform(address.begin(), address.end(), address.begin(), [](unsigned char c) { return std::tolower(c); });
  if (matches_pattern(address, "xx:xx.x")) {
    return "0000:" + address;
  }
  const bool whole = matches_pattern(address, "xxxx:xx:xx.x") || matches_pattern(address, "xxxxx:xx:xx.x");
  return whole ? address : std::string();
}

std::optional<DpdkNameKind> dpdk_name_kind(std::string_view name) {
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (name.empty() || name.size() > kMostOfDevargs || !printable || name.front() == '-') {
    return std::nullopt;
  }
  if (!pci_address_of(name).empty()) {
    return DpdkNameKind::kPciAddress;
  }
  if (names_bus_or_driver(name)) {
    return DpdkNameKind::kDevargs;
  }
  return is_interface_name(name) ? std::optional(DpdkNameKind::kInterface) : std::nullopt;
}

}  // namespace isthmus
