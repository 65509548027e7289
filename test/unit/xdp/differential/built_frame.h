// Frames of the differential test: valid ones, built from how a direction's packets look on arrival and from what may
// differ between them, with the places of their headers, so that they can be made invalid. Plain values; independent of
// the code under test but for the tunnel headers, which are those of every kind in encap::Kinds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dataplane/api/encapsulation.h"
#include "test/support/packet.h"
#include "test/unit/xdp/differential/dice.h"

namespace isthmus::test {

// How the packets of one direction look on arrival.
struct ArrivalShape {
  DeviceId device;
  Endpoint from, to;
  IpProtocol protocol = IpProtocol::kTcp;
  struct Tunnel {
    IpAddress from, to;
    EncapsulationKind kind = EncapsulationKind::kVxlan;
    std::uint16_t port = 0;
    std::uint32_t vni = 0;
    friend bool operator==(const Tunnel&, const Tunnel&) = default;
  };
  std::optional<Tunnel> tunnel;

  [[nodiscard]] Family family() const { return from.address.family(); }
  [[nodiscard]] std::string text() const;
};

// What may differ between valid packets of a flow.
struct PacketRecipe {
  std::size_t payload = 0;
  std::uint8_t tcp_flags = kAck;
  FrameBytes tcp_options;  // a multiple of four bytes, 40 at most
  FrameBytes ip_options;   // IPv4; the same
  bool udp_checksum = true;
  std::uint8_t ttl = 64, traffic_class = 0;
  bool dont_fragment = false;
  std::uint16_t id = 0;
  std::uint32_t flow_label = 0;
  std::uint32_t seed = 0;  // of payload, sequence numbers, inner MAC addresses
  // Of the tunnel, where there is one.
  std::uint8_t outer_ttl = 64, outer_traffic_class = 0;
  bool outer_dont_fragment = false;
  std::uint16_t outer_id = 0, outer_source_port = 50000, outer_checksum = 0;  // the checksum: over IPv4
  std::uint32_t outer_flow_label = 0;
  FrameBytes tunnel_options;  // Geneve
  std::size_t padding = 0;    // bytes behind the (outer) IP packet
};

struct BuiltFrame {
  FrameBytes bytes;
  bool tunnelled = false;
  // Where the headers begin. Without a tunnel, `outer` is `ip`, and `udp` and `tunnel` are `l4`.
  std::size_t outer = 14, udp = 0, tunnel = 0, inner_ethernet = 0, ip = 14, l4 = 0;
  std::size_t ip_bytes = 0;  // of the inner IP packet

  [[nodiscard]] bool outer_ipv4() const { return bytes[12] == 8; }
};

[[nodiscard]] BuiltFrame build_frame(const ArrivalShape& shape, const PacketRecipe& recipe, const MacAddress& to);
// Makes the outer UDP checksum over IPv6 right again, after bytes behind it have changed.
void mend_outer_checksum(BuiltFrame& frame);

// Big-endian, in place. Out of range: nothing is written, and 0 read.
void put_half(FrameBytes& bytes, std::size_t at, unsigned value);
[[nodiscard]] unsigned half_at(const FrameBytes& bytes, std::size_t at);
// The folded one's complement sum of big-endian words.
[[nodiscard]] std::uint16_t ones_sum(std::span<const std::uint8_t> bytes, std::uint64_t start = 0);

}  // namespace isthmus::test
