// Geneve (RFC 8926) as Cilium sends it: an Ethernet frame inside, the VNI is the source's identity, no options but for
// DSR. Header: version (2 bits, 0), length of the options in words (6), O: control message (1), C: critical options
// (1), reserved (6), protocol type (16), VNI (24), reserved (8). Reserved bits are ignored on receipt.
//
// Options are skipped, except that one marked critical must be understood (RFC 8926 section 3.5), and one is: Cilium's
// DSR option (class 0x014b, type 0x81), which asks the receiver to answer in a service's name. Its body is address (4
// or 16 bytes), port (16 bits) and two bytes that are ignored. Other critical ones: the packet is dropped. C is not
// relied upon: Cilium leaves it 0 beside that option. We set it beside ours, as section 3.4 asks.
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
  static constexpr std::uint8_t kDsrHeader[] = {0x01, 0x4b, 0x81};  // class and type
  static constexpr std::uint32_t kDsrIpv4Bytes = 8, kDsrIpv6Bytes = 20;
  // Of the whole option, for a service of that family.
  [[nodiscard]] static constexpr std::uint32_t dsr_option_bytes(Family family) noexcept {
    return kOptionHeaderBytes + (family == Family::kIpv4 ? kDsrIpv4Bytes : kDsrIpv6Bytes);
  }
  static constexpr std::uint32_t kMostDsrBytes = kOptionHeaderBytes + kDsrIpv6Bytes;

  // Plain: version 0, no options, no control message, Ethernet inside.
  static constexpr PlainHeader kPlain{.mask = wire_word(0xff80ffff, 0), .value = wire_word(kEthernetInside, 0)};

  static void build(std::uint8_t* at) noexcept {
    const Be32 word = Be32::of(kEthernetInside);
    std::memcpy(at, &word, sizeof word);
  }

  // The DSR option alone: dsr_option_bytes() at `at`.
  static void write_dsr(const IpAddress& service, Be16 port, std::uint8_t* at) noexcept {
    const bool v4 = service.is_ipv4();
    const std::uint32_t address = v4 ? 4 : 16;
    std::memcpy(at, kDsrHeader, sizeof kDsrHeader);
    at[3] = static_cast<std::uint8_t>((v4 ? kDsrIpv4Bytes : kDsrIpv6Bytes) / 4);
    std::memcpy(at + kOptionHeaderBytes, service.bytes().data() + 16 - address, address);
    std::memcpy(at + kOptionHeaderBytes + address, &port, sizeof port);
    std::memset(at + kOptionHeaderBytes + address + sizeof port, 0, 2);
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
    return read_options(at, options, into);
  }

 private:
  // `bytes`: of all options, a multiple of four.
  [[nodiscard]] static std::optional<DropReason> read_options(const std::uint8_t* header, std::uint32_t bytes,
                                                              Tunnelled& into) noexcept {
    for (std::uint32_t place = kTunnelHeaderBytes, end = place + bytes; place != end;) {
      const std::uint8_t* const at = header + place;
      const std::uint32_t body = (at[3] & 0x1fu) * 4u;
      if (kOptionHeaderBytes + body > end - place) {
        return DropReason::kMalformed;
      }
      if (std::memcmp(at, kDsrHeader, sizeof kDsrHeader) == 0) {
        if ((body != kDsrIpv4Bytes && body != kDsrIpv6Bytes) || into.service != 0) {
          return DropReason::kMalformed;
        }
        into.service = place + kOptionHeaderBytes;
      } else if ((at[2] & kCritical) != 0) {
        return DropReason::kTunnelOption;
      }
      place += kOptionHeaderBytes + body;
    }
    return std::nullopt;
  }
};

}  // namespace isthmus::encap
