#include "control/kernel/reverse_path.h"

#include <algorithm>

#include "control/kernel/sysctl.h"

namespace isthmus {
namespace {

constexpr const char* kOff = "0";
constexpr const char* kStrict = "1";
constexpr const char* kLoose = "2";

}  // namespace

Result<bool> loosen_reverse_path(const std::string& interface) {
  const std::string key = "ipv4/conf/" + interface + "/rp_filter";
  const std::string own = read_sysctl(key).value_or(kOff);
  const std::string all = read_sysctl("ipv4/conf/all/rp_filter").value_or(kOff);
  if (own == kLoose || all == kLoose || (own != kStrict && all != kStrict)) {
    return false;
  }
  if (auto written = write_sysctl(key, kLoose); !written) {
    return Error{
        "rp_filter is strict: with several gateways in the cluster, the node drops packets whose route back leads "
        "through another one (" +
            written.error().what + ")",
        interface, loosen_reverse_path_command(interface)};
  }
  return true;
}

std::string loosen_reverse_path_command(std::string interface) {
  // Between dots, sysctl takes a slash for a dot of the name, as a VLAN's has.
  std::replace(interface.begin(), interface.end(), '.', '/');
  return "sysctl -w net.ipv4.conf." + interface + ".rp_filter=" + kLoose;
}

}  // namespace isthmus
