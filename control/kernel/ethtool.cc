#include "control/kernel/ethtool.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace isthmus {
namespace {

struct Offload {
  std::uint32_t get, set;
  const char* name;
};
// In this order: segmentation needs checksum offload, so the kernel would reject the opposite one.
constexpr std::array kOffloads = {
    Offload{ETHTOOL_GTSO, ETHTOOL_STSO, "tcp-segmentation-offload"},
    Offload{ETHTOOL_GGSO, ETHTOOL_SGSO, "generic-segmentation-offload"},
    Offload{ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM, "tx-checksumming"},
};

class EthtoolSocket {
 public:
  EthtoolSocket() : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  ~EthtoolSocket() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  EthtoolSocket(const EthtoolSocket&) = delete;
  EthtoolSocket& operator=(const EthtoolSocket&) = delete;
  // 0, or an errno. `command` is an ethtool structure that begins with its command number.
  int call(const std::string& interface, void* command) const {
    ifreq request{};
    if (interface.size() >= sizeof(request.ifr_name)) {
      return ENODEV;
    }
    std::memcpy(request.ifr_name, interface.data(), interface.size());
    request.ifr_data = static_cast<char*>(command);
    return fd_ < 0 || ioctl(fd_, SIOCETHTOOL, &request) < 0 ? errno : 0;
  }

 private:
  int fd_;
};

Error ethtool_error(const std::string& interface, const std::string& what, int code) {
  return {what + ": " + std::strerror(code), interface, "see `ethtool -k " + interface + "`; CAP_NET_ADMIN is needed"};
}

}  // namespace

Result<std::vector<std::string>> enabled_offloads(const std::string& interface) {
  const EthtoolSocket ethtool;
  std::vector<std::string> enabled;
  for (const Offload& offload : kOffloads) {
    ethtool_value value{.cmd = offload.get, .data = 0};
    const int code = ethtool.call(interface, &value);
    if (code != 0 && code != EOPNOTSUPP) {
      return ethtool_error(interface, std::string("cannot read ") + offload.name, code);
    }
    if (value.data != 0) {
      enabled.emplace_back(offload.name);
    }
  }
  return enabled;
}

Status disable_offloads(const std::string& interface) {
  const EthtoolSocket ethtool;
  for (const Offload& offload : kOffloads) {
    ethtool_value value{.cmd = offload.set, .data = 0};
    const int code = ethtool.call(interface, &value);
    if (code != 0 && code != EOPNOTSUPP) {
      return ethtool_error(interface, std::string("cannot disable ") + offload.name, code);
    }
  }
  const auto enabled = enabled_offloads(interface);
  if (!enabled) {
    return enabled.error();
  }
  if (!enabled->empty()) {
    return Error{
        enabled->front() + " stays enabled: frames of the node would reach the gateway with incomplete checksums",
        interface, "disable it with `ethtool -K`, or remove the interface, it is created again"};
  }
  return Ok{};
}

Status enable_gro(const std::string& interface) {
  ethtool_value value{.cmd = ETHTOOL_SGRO, .data = 1};
  if (const int code = EthtoolSocket().call(interface, &value); code != 0 && code != EOPNOTSUPP) {
    return ethtool_error(interface, "cannot enable generic-receive-offload", code);
  }
  return Ok{};
}

Result<QueueCounts> queue_counts(const std::string& interface) {
  const EthtoolSocket ethtool;
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (const int code = ethtool.call(interface, &channels); code != 0) {
    return ethtool_error(interface, "cannot read the number of queues", code);
  }
  return QueueCounts{channels.rx_count, channels.tx_count, channels.max_rx, channels.max_tx};
}

Status set_queue_counts(const std::string& interface, unsigned rx, unsigned tx) {
  const EthtoolSocket ethtool;
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (const int code = ethtool.call(interface, &channels); code != 0) {
    return ethtool_error(interface, "cannot read the number of queues", code);
  }
  if (channels.rx_count == rx && channels.tx_count == tx) {
    return Ok{};
  }
  channels.cmd = ETHTOOL_SCHANNELS;
  channels.rx_count = rx;
  channels.tx_count = tx;
  if (const int code = ethtool.call(interface, &channels); code != 0) {
    return ethtool_error(interface, "cannot set " + std::to_string(rx) + " queues", code);
  }
  return Ok{};
}

}  // namespace isthmus
