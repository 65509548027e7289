// VXLAN (RFC 7348) as Cilium sends it, on Cilium's port rather than IANA's 4789; the VNI is the source's identity.
// Header: flags (8 bits, 0x08: the VNI is valid), 24 reserved bits, VNI (24 bits), 8 reserved bits. Receivers may
// ignore reserved bits, but then take a packet of an extension that they do not know (group policy, GPE) for a plain
// one; the Linux kernel drops it, and so do we.
#pragma once

#include <optional>

#include "dataplane/api/encapsulation.h"
#include "dataplane/encap/tunnel_header.h"
#include "dataplane/net/headers.h"

namespace isthmus::encap {

struct Vxlan {
  static constexpr EncapsulationInfo kInfo{EncapsulationKind::kVxlan, "vxlan", L4Port{8472}, sizeof(net::Vxlan)};
  static constexpr PlainHeader kPlain{.mask = wire_word(0xffffffff, 0xff), .value = wire_word(0x08000000, 0)};

  // The header with VNI 0, at `at`, which is zero.
  static void build(std::uint8_t* at) noexcept { net::at<net::Vxlan>(at)->flags = Be32::of(net::Vxlan::kValidVni); }

  // A header that is not plain. Precondition: kTunnelHeaderBytes and an Ethernet header are readable.
  [[nodiscard]] static std::optional<DropReason> parse_other(const std::uint8_t*, std::uint32_t, Tunnelled&) noexcept {
    return DropReason::kTunnelHeader;
  }
};

}  // namespace isthmus::encap
