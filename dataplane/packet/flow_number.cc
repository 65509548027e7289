#include "dataplane/packet/flow_number.h"

#include <cstring>

#include "dataplane/base/mix.h"
#include "dataplane/net/headers.h"

namespace isthmus {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17, kSctp = 132;
constexpr std::uint16_t kIpv4Type = 0x0800, kIpv6Type = 0x86dd;
constexpr std::uint32_t kTunnelHeader = 8;  // of VXLAN, and of Geneve before its options

bool has_ports(std::uint8_t protocol) noexcept { return protocol == kTcp || protocol == kUdp || protocol == kSctp; }

template <typename Header>
Header header_at(const std::uint8_t* at) noexcept {
  Header header;
  std::memcpy(&header, at, sizeof header);
  return header;
}

std::uint64_t word_at(const std::uint8_t* at) noexcept { return header_at<std::uint64_t>(at); }

}  // namespace

FlowNumbers::FlowNumbers(const TunnelEnds& tunnel, std::uint64_t secret) noexcept
    : secret_(secret | 1),
      vxlan_(tunnel.port(EncapsulationKind::kVxlan).value()),
      geneve_(tunnel.port(EncapsulationKind::kGeneve).value()) {}

std::optional<std::uint32_t> FlowNumbers::of(const std::uint8_t* frame, std::uint32_t bytes) const noexcept {
  return of(frame, bytes, false);
}

// The ends in either order.
std::uint32_t FlowNumbers::number(std::uint64_t source, std::uint64_t destination,
                                  std::uint8_t protocol) const noexcept {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ULL, kOther = 0xd6e8feb86659fd93ULL;
  const std::uint64_t ends = folded_product(source ^ secret_, kOdd) + folded_product(destination ^ secret_, kOdd);
  return static_cast<std::uint32_t>(folded_product(ends + protocol, secret_ ^ kOther) >> 32);
}

std::optional<std::uint32_t> FlowNumbers::of(const std::uint8_t* frame, std::uint32_t bytes,
                                             bool inner) const noexcept {
  const std::uint8_t* const end = frame + bytes;
  if (bytes < sizeof(net::Ethernet) + sizeof(net::Ipv4)) {
    return std::nullopt;
  }
  const std::uint16_t type = header_at<net::Ethernet>(frame).type.host();
  const std::uint8_t* const ip = frame + sizeof(net::Ethernet);
  const std::uint8_t* transport = nullptr;
  std::uint64_t source = 0, destination = 0;
  std::uint8_t protocol = 0;
  bool ports = false;
  if (type == kIpv4Type) {
    const auto header = header_at<net::Ipv4>(ip);
    transport = ip + header.header_bytes();
    source = header.source.wire();
    destination = header.destination.wire();
    protocol = header.protocol;
    ports = (header.fragment.host() & net::Ipv4::kMoreFragmentsAndOffset) == 0;
  } else if (type == kIpv6Type && bytes >= sizeof(net::Ethernet) + sizeof(net::Ipv6)) {
    const auto header = header_at<net::Ipv6>(ip);
    transport = ip + sizeof header;
    source = folded_product(word_at(header.source) ^ secret_, word_at(header.source + 8) | 1);
    destination = folded_product(word_at(header.destination) ^ secret_, word_at(header.destination + 8) | 1);
    protocol = header.next_header;
    ports = true;
  } else {
    return std::nullopt;
  }
  if (!ports || !has_ports(protocol) || end - transport < static_cast<std::ptrdiff_t>(sizeof(net::Udp))) {
    return number(source, destination, 0);
  }
  const auto header = header_at<net::Udp>(transport);  // all of them begin with the ports
  if (!inner && protocol == kUdp && is_tunnel(header.destination.host())) {
    const std::uint8_t* const tunnel = transport + sizeof header;
    if (end - tunnel < static_cast<std::ptrdiff_t>(kTunnelHeader)) {
      return std::nullopt;
    }
    const std::uint32_t options = header.destination.host() == geneve_ ? (*tunnel & 0x3fu) * 4u : 0;
    const auto left = static_cast<std::uint32_t>(end - tunnel);
    return left < kTunnelHeader + options ? std::nullopt
                                          : of(tunnel + kTunnelHeader + options, left - kTunnelHeader - options, true);
  }
  return number(source ^ (std::uint64_t{header.source.wire()} << 40),
                destination ^ (std::uint64_t{header.destination.wire()} << 40), protocol);
}

}  // namespace isthmus
