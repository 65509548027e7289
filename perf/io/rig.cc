#include "perf/io/rig.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

namespace isthmus::perf {

Status run_commands(std::initializer_list<const char*> commands, const char* needs) {
  for (const char* command : commands) {
    if (std::system(command) != 0) {
      return Error{std::string("command failed: ") + command, "perf/io", needs};
    }
  }
  return Ok{};
}

Status build_links() {
  if (unshare(CLONE_NEWNET) != 0) {
    return Error{std::string("cannot create a network namespace: ") + std::strerror(errno), "perf/io", "run as root"};
  }
  return run_commands(
      {
          "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 net.ipv4.ip_forward=1",
          "ip link add g0 address 02:00:00:00:01:01 type veth peer name u0 address 02:00:00:00:01:02",
          "ip link add d0 address 02:00:00:00:02:02 type veth peer name s0 address 02:00:00:00:02:01",
          "for i in g0 u0 d0 s0; do ip link set $i up; done",
      },
      "needs iproute2 and procps");
}

Status build_rig() {
  if (Status links = build_links(); !links) {
    return links;
  }
  return run_commands(
      {
          "ip address add 10.1.0.254/16 dev u0",
          "ip address add 10.2.0.254/16 dev d0",
          "ip neigh add 10.2.0.1 lladdr 02:00:00:00:02:01 dev d0",
      },
      "needs iproute2 and procps");
}

Status build_kernel_gateway() {
  return run_commands(
      {
          "ip address add 192.0.2.1/24 dev d0",
          "ip neigh add 192.0.2.2 lladdr 02:00:00:00:02:01 dev d0",
          "ip link add vx0 type vxlan id 131079 local 192.0.2.1 remote 192.0.2.2 dstport 8472 dev d0",
          "ip address add 10.3.0.254/16 dev vx0",
          "ip link set vx0 up",
          "ip neigh add 10.3.0.1 lladdr 02:00:00:00:03:01 dev vx0",
          "nft add table ip gateway",
          "nft 'add chain ip gateway services { type nat hook prerouting priority -100 ; }'",
          "nft add rule ip gateway services ip daddr 10.2.0.1 udp dport 7000 dnat to 10.3.0.1:8080",
      },
      "needs iproute2 and nftables");
}

std::vector<std::uint8_t> bench_frame(unsigned length) {
  constexpr std::uint8_t kHeaders[] = {2,    0,    0,    0,    1, 2, 2, 0, 0,  0,  1, 1, 8,  0,  // u0 from g0, IPv4
                                       0x45, 0,    0,    0,    0, 0, 0, 0, 64, 17, 0, 0, 10, 1,
                                       0,    1,    10,   2,    0, 1,  // 10.1.0.1 to 10.2.0.1, UDP
                                       0x9c, 0x40, 0x1b, 0x58, 0, 0, 0, 0};
  std::vector<std::uint8_t> frame(std::max<std::size_t>(length, sizeof kHeaders), 0x5a);
  std::copy(std::begin(kHeaders), std::end(kHeaders), frame.begin());
  const auto put16 = [&](std::size_t at, unsigned value) {
    frame[at] = static_cast<std::uint8_t>(value >> 8);
    frame[at + 1] = static_cast<std::uint8_t>(value & 0xff);
  };
  put16(16, length - 14);
  put16(38, length - 34);
  unsigned sum = 0;
  for (std::size_t at = 14; at < 34; at += 2) {
    sum += static_cast<unsigned>(frame[at] << 8 | frame[at + 1]);
  }
  sum = (sum & 0xffff) + (sum >> 16);
  put16(24, ~(sum + (sum >> 16)) & 0xffff);
  return frame;
}

}  // namespace isthmus::perf
