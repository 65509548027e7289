// Geneve (RFC 8926) as Cilium sends it: an Ethernet frame inside, the VNI is the source's identity, no options but for
// DSR. Header: version (2 bits, 0), length of the options in words (6), O: control message (1), C: critical options
// (1), reserved (6), protocol type (16), VNI (24), reserved (8). Reserved bits are ignored on receipt.
//
// Options are skipped, except that one marked critical must be understood (RFC 8926 section 3.5), and none is: such a
// packet is dropped. That includes Cilium's DSR option (class 0x014b, type 0x81), which asks the receiver to answer in
// another address's name. C is not relied upon: Cilium leaves it 0 beside that option.
#pragma once

#include <cstring>
#include <optional>

#include "dataplane/api/encapsulation.h"
#include "dataplane/encap/tunnel_header.h"
#include "dataplane/net/headers.h"

namespace isthmus::encap {

struct Geneve {
  static constexpr EncapsulationInfo kInfo{EncapsulationKind::kGeneve, "geneve", L4Port{6081}, kTunnelHeaderBytes};

  static constexpr std::uint32_t kEthernetInside = 0x6558;  // "transparent Ethernet bridging"
  static constexpr std::uint8_t kVersionBits = 0xc0, kOptionWords = 0x3f, kControl = 0x80, kCritical = 0x80;
  static constexpr std::uint32_t kOptionHeaderBytes = 4;

  // Plain: version 0, no options, no control message, Ethernet inside.
  static constexpr PlainHeader kPlain{.mask = wire_word(0xff80ffff, 0), .value = wire_word(kEthernetInside, 0)};

  static void build(std::uint8_t* at) noexcept {
    const Be32 word = Be32::of(kEthernetInside);
    std::memcpy(at, &word, sizeof word);
  }

  // A header that is not plain; `bytes` bytes are readable at `at`. Precondition: kTunnelHeaderBytes and an Ethernet
  // header are readable.
  [[nodiscard]] static std::optional<DropReason> parse_other(const std::uint8_t* at, std::uint32_t bytes,
                                                             Tunnelled& into) noexcept {
    const std::uint32_t options = (at[0] & kOptionWords) * 4u;
    const std::uint32_t protocol = std::uint32_t{at[2]} << 8 | at[3];
    if ((at[0] & kVersionBits) != 0 || protocol != kEthernetInside) {
      return DropReason::kTunnelHeader;
    }
    if ((at[1] & kControl) != 0) {
      return DropReason::kTunnelControl;
    }
    if (bytes < kTunnelHeaderBytes + options + sizeof(net::Ethernet)) {
      return DropReason::kMalformed;
    }
    into.inner = kTunnelHeaderBytes + options;
    return check_options(at + kTunnelHeaderBytes, options);
  }

 private:
  // `bytes` is a multiple of four.
  [[nodiscard]] static std::optional<DropReason> check_options(const std::uint8_t* at, std::uint32_t bytes) noexcept {
    while (bytes != 0) {
      const std::uint32_t length = kOptionHeaderBytes + (at[3] & 0x1fu) * 4u;
      if (length > bytes) {
        return DropReason::kMalformed;
      }
      if ((at[2] & kCritical) != 0) {
        return DropReason::kTunnelOption;
      }
      at += length;
      bytes -= length;
    }
    return std::nullopt;
  }
};

}  // namespace isthmus::encap
