// Packets for tests: built from a short description, and dissected again with every length and checksum verified.
// Plain values. Independent of the code under test except for the address and number types.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/api/encapsulation.h"
#include "dataplane/api/types.h"

namespace isthmus::test {

using FrameBytes = std::vector<std::uint8_t>;

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;
};

// Describes a frame. The setters return the object itself, so that a row of a test table is one expression.
struct PacketSpec {
  IpAddress source, destination;
  std::uint16_t source_port = 0, destination_port = 0;  // ICMP echo: source_port is the identifier
  IpProtocol protocol = IpProtocol::kTcp;
  std::uint8_t flags = 0;      // TCP
  std::uint32_t sequence = 1;  // TCP
  FrameBytes tcp_options;      // a multiple of four bytes
  std::uint8_t icmp_type = 0;  // ICMP: echo request or reply of the family
  std::uint8_t ttl = 64;
  std::uint8_t ecn = 0;  // or the whole traffic class
  bool dont_fragment = false;
  std::uint16_t fragment_offset = 0;  // as in an IPv4 header, of either family: in units of eight bytes, and 0x2000
  std::size_t payload = 0;            // bytes of a fixed pattern
  std::optional<std::uint8_t> first_byte;  // of the payload, in place of the pattern's
  bool udp_checksum = true;
  std::optional<FrameBytes> quoted;  // ICMP error: the IP packet it carries
  std::uint8_t icmp_code = 0;
  std::uint16_t mtu = 0;  // ICMP error: of the next hop
  FrameBytes ip_options;  // IPv4; a multiple of four bytes
  // IPv6: the extension headers, each its type and its bytes, of which the first is filled in. A fragment header of
  // `fragment_offset` stands behind them.
  std::vector<std::pair<std::uint8_t, FrameBytes>> extensions;
  std::optional<FrameBytes> raw;  // the IP packet itself, in place of what the fields above describe

  struct Tunnel {
    IpAddress from, to;
    std::uint32_t vni = 0;
    EncapsulationKind kind = EncapsulationKind::kVxlan;
    std::uint16_t port = 8472;
    std::uint32_t flags = 0x08000000;  // the first word of the tunnel header; Geneve: less the options' length
    std::uint8_t ecn = 0;
    std::uint8_t low_byte = 0;
    FrameBytes options{};      // Geneve; a multiple of four bytes
    bool udp_checksum = true;  // over IPv6; over IPv4 there is none
    std::size_t padding = 0;   // bytes behind the inner packet, in the UDP datagram
  };
  std::optional<Tunnel> tunnel;

  PacketSpec& with_flags(std::uint8_t f) {
    flags = f;
    return *this;
  }
  PacketSpec& with_options(FrameBytes options) {
    tcp_options = std::move(options);
    return *this;
  }
  PacketSpec& with_ttl(std::uint8_t t) {
    ttl = t;
    return *this;
  }
  PacketSpec& with_ecn(std::uint8_t e) {
    ecn = e;
    return *this;
  }
  PacketSpec& with_payload(std::size_t bytes) {
    payload = bytes;
    return *this;
  }
  PacketSpec& with_sequence(std::uint32_t number) {
    sequence = number;
    return *this;
  }
  PacketSpec& with_first_byte(std::uint8_t byte) {
    first_byte = byte;
    return *this;
  }
  PacketSpec& with_mtu(std::uint16_t bytes) {
    mtu = bytes;
    return *this;
  }
  PacketSpec& with_ip_options(FrameBytes options) {
    ip_options = std::move(options);
    return *this;
  }
  PacketSpec& with_extension(std::uint8_t type, FrameBytes header) {
    extensions.emplace_back(type, std::move(header));
    return *this;
  }
  PacketSpec& with_df() {
    dont_fragment = true;
    return *this;
  }
  PacketSpec& as_fragment(std::uint16_t offset) {
    fragment_offset = offset;
    return *this;
  }
  PacketSpec& without_udp_checksum() {
    udp_checksum = false;
    return *this;
  }
  PacketSpec& in_tunnel(const IpAddress& from, const IpAddress& to, std::uint32_t vni) {
    tunnel = Tunnel{from, to, vni};
    return *this;
  }
  PacketSpec& as_geneve() {
    tunnel->kind = EncapsulationKind::kGeneve;
    tunnel->port = 6081;
    tunnel->flags = 0x6558;
    return *this;
  }

  [[nodiscard]] FrameBytes ip_bytes() const;  // the inner packet without Ethernet
  [[nodiscard]] FrameBytes bytes() const;     // the whole frame
  [[nodiscard]] std::string scapy() const;    // a scapy expression that builds the same packet
};

inline constexpr std::uint8_t kSyn = 2, kAck = 16, kFin = 1, kRst = 4;

[[nodiscard]] PacketSpec tcp(const Endpoint& from, const Endpoint& to, std::uint8_t flags = kSyn);
[[nodiscard]] PacketSpec udp(const Endpoint& from, const Endpoint& to);
[[nodiscard]] PacketSpec sctp(const Endpoint& from, const Endpoint& to);
// Of a protocol without ports: eight bytes of zeros, then the payload.
[[nodiscard]] PacketSpec portless(const IpAddress& from, const IpAddress& to, std::uint8_t protocol);
[[nodiscard]] PacketSpec echo_request(const IpAddress& from, const IpAddress& to, std::uint16_t id);
[[nodiscard]] PacketSpec echo_reply(const IpAddress& from, const IpAddress& to, std::uint16_t id);
// An ICMP error from `from` to `to` that quotes `about`, an IP packet.
[[nodiscard]] PacketSpec icmp_error(const IpAddress& from, const IpAddress& to, std::uint8_t type, std::uint8_t code,
                                    const FrameBytes& about);

// The contents of a frame. `errors` lists what is invalid: lengths, versions, checksums.
struct Dissected {
  std::string source_mac, destination_mac;
  bool tunnelled = false;
  IpAddress outer_source, outer_destination;
  std::uint16_t outer_source_port = 0, outer_port = 0;
  std::uint8_t outer_ttl = 0, outer_tos = 0;
  bool outer_df = false;
  EncapsulationKind outer_kind = EncapsulationKind::kNone;
  std::uint16_t outer_udp_checksum = 0;
  std::uint32_t vni = 0;
  FrameBytes outer_options;  // Geneve

  IpAddress source, destination;
  std::uint16_t source_port = 0, destination_port = 0;
  IpProtocol protocol{};
  bool fragment = false;  // then the L4 header and what follows from it are not read
  std::uint8_t ttl = 0, traffic_class = 0, ecn = 0, tcp_flags = 0, icmp_type = 0, icmp_code = 0;
  std::uint16_t udp_checksum = 0;
  FrameBytes tcp_options;
  FrameBytes between;           // IPv4's options, or IPv6's extension headers
  std::uint32_t icmp_rest = 0;  // second word of an ICMP error
  FrameBytes quoted;            // the packet that an ICMP error quotes
  std::size_t payload = 0;
  bool payload_is_pattern = false;
  std::vector<std::string> errors;

  [[nodiscard]] std::string text() const;  // "10.1.0.1:5 > 10.2.0.1:80 tcp vni 5 via 192.0.2.1 > 192.0.2.2"
};
// UDP to port 8472 is VXLAN and to port 6081 Geneve.
[[nodiscard]] Dissected dissect(std::span<const std::uint8_t> frame);

}  // namespace isthmus::test
