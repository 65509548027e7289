// How packets are carried between tunnel ends, and what configuration, registry and MTU need to know of each kind. The
// values come from the kinds' own files in dataplane/encap, which lists them. Plain values, any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

enum class EncapsulationKind : std::uint8_t {
  kVxlan,
  kGeneve,
  kNone,  // native routing: the underlay knows the pods' addresses
};
inline constexpr std::size_t kEncapsulationKinds = 3;

struct EncapsulationInfo {
  EncapsulationKind kind = EncapsulationKind::kVxlan;
  std::string_view name;           // as in configuration, registry and status
  L4Port default_port;             // UDP; 0: the kind has no port
  std::uint32_t header_bytes = 0;  // of the tunnel header behind UDP
};

// Every kind, by EncapsulationKind.
[[nodiscard]] std::span<const EncapsulationInfo> encapsulations() noexcept;
[[nodiscard]] const EncapsulationInfo& encapsulation_info(EncapsulationKind kind) noexcept;
// nullopt: there is no kind of this name.
[[nodiscard]] std::optional<EncapsulationKind> encapsulation_named(std::string_view name) noexcept;

// Our own ends of tunnels: where packets of peers arrive, and where ours come from.
struct TunnelEnds {
  IpAddress ipv4, ipv6;                                // of the underlay; unspecified: no tunnels over this family
  EncapsulationKind kind = EncapsulationKind::kVxlan;  // that we announce; others only from senders that cannot choose
  // UDP, by kind: where we expect packets. 0: none of this kind.
  std::array<L4Port, kEncapsulationKinds> ports{};

  [[nodiscard]] const IpAddress& address(Family family) const noexcept { return family == Family::kIpv4 ? ipv4 : ipv6; }
  [[nodiscard]] L4Port port(EncapsulationKind of) const noexcept { return ports[static_cast<std::size_t>(of)]; }
  // Whether an address is one of the two.
  [[nodiscard]] bool is_ours(const IpAddress& a) const noexcept {
    return !a.is_unspecified() && address(a.family()) == a;
  }
  [[nodiscard]] bool is_port(L4Port p) const noexcept {
    return p != L4Port{0} && std::find(ports.begin(), ports.end(), p) != ports.end();
  }
  friend bool operator==(const TunnelEnds&, const TunnelEnds&) = default;
};
// One end, at the kind's default port.
[[nodiscard]] TunnelEnds tunnel_end(const IpAddress& address,
                                    EncapsulationKind kind = EncapsulationKind::kVxlan) noexcept;

// Bytes by which the underlay's IP packet is longer than the inner one.
[[nodiscard]] Bytes encapsulation_overhead(EncapsulationKind kind, Family underlay) noexcept;

}  // namespace isthmus
