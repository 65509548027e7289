#include "dataplane/io/twin/tap.h"

#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace isthmus {
namespace {

constexpr const char* kTunDevice = "/dev/net/tun";
constexpr const char* kNeedsAdmin = "run as root or with CAP_NET_ADMIN";
constexpr const char* kOtherName = "rename or remove that interface, or configure another name for the twin";

ifreq request_for(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

bool is_interface_name(const std::string& name) {
  // The kernel would number a name with a percent sign.
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         name.find_first_of("%/: \t\n") == std::string::npos;
}

// What has the name already, in the kernel's words; empty: nothing, or a TAP.
std::string other_kind(int socket, const std::string& name) {
  ifreq request = request_for(name);
  if (ioctl(socket, SIOCGIFINDEX, &request) != 0) {
    return {};
  }
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  request.ifr_data = reinterpret_cast<char*>(&driver);
  if (ioctl(socket, SIOCETHTOOL, &request) != 0 || driver.driver[0] == '\0') {
    return "unknown";
  }
  if (std::strncmp(driver.driver, "tun", sizeof driver.driver) != 0) {
    return {driver.driver, strnlen(driver.driver, sizeof driver.driver)};
  }
  return std::strncmp(driver.bus_info, "tap", sizeof driver.bus_info) == 0 ? "" : "tun";
}

Error attach_error(const std::string& name, int error) {
  const std::string what = std::string("cannot make the TAP: ") + std::strerror(error);
  switch (error) {
    case EBUSY:
      return {"another process has the TAP", name, "stop that process, or configure another name for the twin"};
    case EINVAL:
      return {what, name, "a TAP of that name may have several queues: remove it (`ip link del`), it is made again"};
    default:
      return {what, name, kNeedsAdmin};
  }
}

}  // namespace

Error Tap::tap_error(const char* what, const char* fix) const {
  return {std::string(what) + ": " + std::strerror(errno), name_, fix};
}

Result<Tap> Tap::open(const std::string& name) {
  if (!is_interface_name(name)) {
    return Error{"not a name of an interface", name, "at most 15 characters, without blanks, '/', ':' and '%'"};
  }
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) {
    return Error{std::string("cannot open a socket: ") + std::strerror(errno), name, "raise the limit of open files"};
  }
  if (const std::string kind = other_kind(socket.get(), name); !kind.empty()) {
    return Error{"the name of the twin is that of another interface (" + kind + ")", name, kOtherName};
  }
  UniqueFd tap(::open(kTunDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!tap.valid()) {
    return Error{std::string("cannot open ") + kTunDevice + ": " + std::strerror(errno), name,
                 "load the kernel's module tun (`modprobe tun`); in a container, mount the device"};
  }
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(tap.get(), TUNSETIFF, &request) != 0) {
    return attach_error(name, errno);
  }
  // One that was left over may have been used otherwise.
  if (ioctl(tap.get(), TUNSETOFFLOAD, 0) != 0 || ioctl(tap.get(), TUNSETPERSIST, 1) != 0) {
    return attach_error(name, errno);
  }
  return Tap(name, std::move(tap), std::move(socket));
}

Result<TapFacts> Tap::facts() const {
  constexpr const char* kFix = "see `ip link show`";
  ifreq request = request_for(name_);
  TapFacts facts;
  if (ioctl(socket_.get(), SIOCGIFINDEX, &request) != 0) {
    return tap_error("cannot find the twin",
                     "if it was renamed or moved to another network namespace, undo that, or remove it: it is made "
                     "again");
  }
  facts.index = request.ifr_ifindex;
  if (ioctl(socket_.get(), SIOCGIFMTU, &request) != 0) {
    return tap_error("cannot read its MTU", kFix);
  }
  facts.mtu = Bytes{static_cast<std::uint32_t>(request.ifr_mtu)};
  if (ioctl(socket_.get(), SIOCGIFHWADDR, &request) != 0) {
    return tap_error("cannot read its MAC address", kFix);
  }
  std::memcpy(facts.mac.bytes.data(), request.ifr_hwaddr.sa_data, facts.mac.bytes.size());
  if (ioctl(socket_.get(), SIOCGIFFLAGS, &request) != 0) {
    return tap_error("cannot read its flags", kFix);
  }
  facts.up = (request.ifr_flags & IFF_UP) != 0;
  facts.running = facts.up && (request.ifr_flags & IFF_RUNNING) != 0;
  return facts;
}

Status Tap::set_mac(MacAddress mac) {
  ifreq request = request_for(name_);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.bytes.data(), mac.bytes.size());
  if (ioctl(socket_.get(), SIOCSIFHWADDR, &request) != 0) {
    return tap_error("cannot set the MAC address of the NIC", kNeedsAdmin);
  }
  return Ok{};
}

Status Tap::set_mtu(Bytes mtu) {
  ifreq request = request_for(name_);
  request.ifr_mtu = static_cast<int>(mtu.value());
  if (ioctl(socket_.get(), SIOCSIFMTU, &request) != 0) {
    return tap_error(("cannot set the MTU of the NIC, " + std::to_string(mtu.value())).c_str(), kNeedsAdmin);
  }
  return Ok{};
}

Status Tap::bring_up() {
  ifreq request = request_for(name_);
  bool done = ioctl(socket_.get(), SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  done = done && ioctl(socket_.get(), SIOCSIFFLAGS, &request) == 0;
  return done ? Status(Ok{}) : Status(tap_error("cannot bring it up", kNeedsAdmin));
}

Status Tap::set_carrier(bool carrier) {
  int value = carrier ? 1 : 0;
  if (ioctl(tap_.get(), TUNSETCARRIER, &value) != 0) {
    return tap_error("cannot set its carrier", "this needs Linux 5.0 or later");
  }
  return Ok{};
}

Status Tap::forget() {
  if (ioctl(tap_.get(), TUNSETPERSIST, 0) != 0) {
    return tap_error("cannot remove it", kNeedsAdmin);
  }
  return Ok{};
}

}  // namespace isthmus
