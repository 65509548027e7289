// Native routing: no tunnel. The underlay routes the pods' own addresses, so a packet carries no identity, and its
// receiver takes that from the source address.
#pragma once

#include <optional>

#include "dataplane/api/encapsulation.h"
#include "dataplane/encap/tunnel_header.h"

namespace isthmus::encap {

struct Native {
  static constexpr EncapsulationInfo kInfo{EncapsulationKind::kNone, "none", L4Port{0}, 0};
  static constexpr PlainHeader kPlain{.mask = 0, .value = 1};  // nothing is equal to it

  static void build(std::uint8_t*) noexcept {}
  [[nodiscard]] static std::optional<DropReason> parse_other(const std::uint8_t*, std::uint32_t, Tunnelled&) noexcept {
    return DropReason::kTunnelKind;
  }
};

}  // namespace isthmus::encap
