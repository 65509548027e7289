// Which frames are the gateway's, of a device with no kernel program in front: the rules of xdp/classify.bpf.h, branch
// by branch, in user space (test/unit/xdp/differential compares the two). All other frames are the kernel's.
//
// Part of a snapshot, immutable; built by HostRuleLists (publish/host_rule_lists.h), whose maps it shares. Look-ups are
// lock-free and do not allocate; a frame costs one to three of them, O(log n) in the entries of a list.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/api/encapsulation.h"
#include "dataplane/net/headers.h"
#include "dataplane/net/ip_address.h"
#include "dataplane/tables/range_map.h"

namespace isthmus {

class HostRules {
 public:
  enum class List : std::uint8_t { kPeers, kFleet, kLocalSources, kNative };
  static constexpr std::size_t kLists = 4, kFamilies = 2;
  // By family: in the 128-bit form a short IPv6 prefix has IPv4 addresses in it, which are not its own. Values do not
  // matter, only what is a miss.
  using Ranges = std::array<std::shared_ptr<const RangeMap>, kFamilies>;
  using Lists = std::array<Ranges, kLists>;
  [[nodiscard]] static std::size_t index_of(Family family) noexcept { return family == Family::kIpv4 ? 0 : 1; }

  HostRules(const TunnelEnds& tunnel, Lists lists) noexcept;

  // Whether a frame for the device's own MAC address is the gateway's. `frame`: all of it, as it arrived, perhaps
  // truncated.
  [[nodiscard]] bool takes(std::span<const std::uint8_t> frame) const noexcept;

 private:
  using Bytes = std::span<const std::uint8_t>;
  // An IP packet's addresses, which are of its family even where IPv6 has one of ::ffff:0:0/96.
  struct Ends {
    Family family;
    IpAddress source, destination;
  };

  // `ip`: from the IP header to the end of the frame.
  [[nodiscard]] bool takes_ipv4(Bytes ip) const noexcept;
  [[nodiscard]] bool takes_ipv6(Bytes ip) const noexcept;
  [[nodiscard]] bool takes_plain(const Ends& ends, bool to_node) const noexcept;
  [[nodiscard]] bool is_error_ipv4(Bytes icmp) const noexcept;
  [[nodiscard]] bool is_error_ipv6(Bytes icmp) const noexcept;
  [[nodiscard]] bool is_tunnel_port(const std::uint8_t* udp) const noexcept {
    return tunnel_.is_port(L4Port{net::at<net::Udp>(udp)->destination.host()});
  }
  [[nodiscard]] bool has(List list, Family family, const IpAddress& address) const noexcept {
    return lists_[static_cast<std::size_t>(list)][index_of(family)]->find(Realm{}, address) != RangeMap::kMiss;
  }

  TunnelEnds tunnel_;
  std::uint32_t tunnel_ipv4_;  // as on the wire; 0: none
  Lists lists_;
};

}  // namespace isthmus
