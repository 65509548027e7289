#include "test/unit/xdp/differential/built_frame.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "dataplane/encap/encap.h"

namespace isthmus::test {
namespace {

constexpr unsigned kTcp = 6, kUdp = 17;

void append_half(FrameBytes& to, unsigned value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8));
  to.push_back(static_cast<std::uint8_t>(value));
}
void append_word(FrameBytes& to, std::uint32_t value) {
  append_half(to, value >> 16);
  append_half(to, value & 0xffff);
}
void append(FrameBytes& to, std::span<const std::uint8_t> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

std::span<const std::uint8_t> wire_bytes(const IpAddress& address) {
  return address.is_ipv4() ? std::span(address.bytes()).subspan(12) : std::span(address.bytes());
}

// Bytes that repeat in none of the fields that are compared.
void append_random(FrameBytes& to, std::size_t count, std::uint32_t seed) {
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  const std::size_t start = to.size();
  to.resize(start + count);
  for (std::size_t i = 0; i < count; i += sizeof state) {
    state = state * 0x5851f42d4c957f2dULL + 0x14057b7ef767814fULL;
    const std::uint64_t mixed = state ^ state >> 29;
    std::memcpy(to.data() + start + i, &mixed, std::min(sizeof mixed, count - i));
  }
}

std::uint64_t pseudo_sum(const IpAddress& from, const IpAddress& to, unsigned protocol, std::size_t bytes) {
  return std::uint64_t{ones_sum(wire_bytes(from))} + ones_sum(wire_bytes(to)) + protocol + bytes;
}

void append_ethernet(FrameBytes& to, const MacAddress& destination, std::uint32_t seed, bool ipv4) {
  append(to, destination.bytes);
  to.push_back(0x02);
  append_random(to, 5, seed);
  append_half(to, ipv4 ? 0x0800 : 0x86dd);
}

struct IpFields {
  const IpAddress &from, &to;
  unsigned protocol;
  std::uint8_t traffic_class, ttl;
  bool dont_fragment;
  std::uint16_t id;
  std::uint32_t flow_label;
  const FrameBytes& options;
  std::size_t payload;
};

void append_ip(FrameBytes& to, const IpFields& ip) {
  const std::size_t start = to.size();
  if (!ip.to.is_ipv4()) {
    append_word(to, 6u << 28 | std::uint32_t{ip.traffic_class} << 20 | (ip.flow_label & 0xfffff));
    append_half(to, static_cast<unsigned>(ip.payload));
    to.push_back(static_cast<std::uint8_t>(ip.protocol)), to.push_back(ip.ttl);
    append(to, wire_bytes(ip.from)), append(to, wire_bytes(ip.to));
    return;
  }
  to.push_back(static_cast<std::uint8_t>(0x45 + ip.options.size() / 4)), to.push_back(ip.traffic_class);
  append_half(to, static_cast<unsigned>(20 + ip.options.size() + ip.payload));
  append_half(to, ip.id), append_half(to, ip.dont_fragment ? 0x4000 : 0);
  to.push_back(ip.ttl), to.push_back(static_cast<std::uint8_t>(ip.protocol)), append_half(to, 0);
  append(to, wire_bytes(ip.from)), append(to, wire_bytes(ip.to)), append(to, ip.options);
  put_half(to, start + 10, static_cast<std::uint16_t>(~ones_sum(std::span(to).subspan(start))));
}

FrameBytes l4_of(const ArrivalShape& shape, const PacketRecipe& recipe) {
  FrameBytes l4;
  const bool tcp = shape.protocol == IpProtocol::kTcp;
  append_half(l4, shape.from.port), append_half(l4, shape.to.port);
  if (tcp) {
    append_random(l4, 8, recipe.seed ^ 1);
    l4.push_back(static_cast<std::uint8_t>((5 + recipe.tcp_options.size() / 4) << 4)), l4.push_back(recipe.tcp_flags);
    append_random(l4, 2, recipe.seed ^ 2);
    append_half(l4, 0), append_half(l4, 0);
    append(l4, recipe.tcp_options);
  } else {
    append_half(l4, static_cast<unsigned>(8 + recipe.payload)), append_half(l4, 0);
  }
  append_random(l4, recipe.payload, recipe.seed);
  if (tcp || recipe.udp_checksum) {
    const std::uint64_t start = pseudo_sum(shape.from.address, shape.to.address, tcp ? kTcp : kUdp, l4.size());
    const auto sum = static_cast<std::uint16_t>(~ones_sum(l4, start));
    put_half(l4, tcp ? 16 : 6, sum == 0 && !tcp ? 0xffff : sum);
  }
  return l4;
}

// The header of the kind as its own file builds it, with the VNI.
void append_tunnel_header(FrameBytes& to, const ArrivalShape::Tunnel& tunnel, const FrameBytes& options) {
  const std::size_t start = to.size();
  to.resize(start + encap::kTunnelHeaderBytes);
  std::apply(
      [&](auto... kinds) {
        ((decltype(kinds)::kInfo.kind == tunnel.kind ? decltype(kinds)::build(to.data() + start) : void()), ...);
      },
      encap::Kinds{});
  put_half(to, start + 4, tunnel.vni >> 8);
  to[start + 6] = static_cast<std::uint8_t>(tunnel.vni);
  to[start] = static_cast<std::uint8_t>(to[start] + options.size() / 4);
  append(to, options);
}

}  // namespace

std::uint16_t ones_sum(std::span<const std::uint8_t> bytes, std::uint64_t start) {
  std::uint64_t sum = start;
  std::size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) {
    sum += static_cast<std::uint64_t>(bytes[i] << 8 | bytes[i + 1]);
  }
  if (i < bytes.size()) {
    sum += static_cast<std::uint64_t>(bytes[i] << 8);
  }
  while (sum >> 16 != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

void put_half(FrameBytes& bytes, std::size_t at, unsigned value) {
  if (at + 2 <= bytes.size()) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
  }
}

unsigned half_at(const FrameBytes& bytes, std::size_t at) {
  return at + 2 <= bytes.size() ? static_cast<unsigned>(bytes[at] << 8 | bytes[at + 1]) : 0;
}

std::string ArrivalShape::text() const {
  const std::string inner = from.address.to_string() + " " + std::to_string(from.port) + " > " +
                            to.address.to_string() + " " + std::to_string(to.port) + " protocol " +
                            std::to_string(static_cast<unsigned>(protocol)) + " on device " +
                            std::to_string(device.value());
  if (!tunnel) {
    return inner;
  }
  return inner + " in " + std::string(encapsulation_info(tunnel->kind).name) + " " + tunnel->from.to_string() + " > " +
         tunnel->to.to_string() + " vni " + std::to_string(tunnel->vni);
}

BuiltFrame build_frame(const ArrivalShape& shape, const PacketRecipe& recipe, const MacAddress& to) {
  constexpr std::size_t kEthernet = 14, kUdpHeader = 8;
  BuiltFrame frame;
  const bool ipv4 = shape.family() == Family::kIpv4;
  const FrameBytes l4 = l4_of(shape, recipe);
  const std::size_t ip_header = ipv4 ? 20 + recipe.ip_options.size() : 40;
  frame.ip_bytes = ip_header + l4.size();
  frame.bytes.reserve(frame.ip_bytes + recipe.padding + 128);
  frame.tunnelled = shape.tunnel.has_value();
  const MacAddress inner_to{{2, 1, 2, 3, 4, static_cast<std::uint8_t>(recipe.seed)}};
  append_ethernet(frame.bytes, to, recipe.seed ^ 3, frame.tunnelled ? shape.tunnel->to.is_ipv4() : ipv4);
  if (frame.tunnelled) {
    static const FrameBytes kNoOptions;
    const std::size_t behind_udp =
        encap::kTunnelHeaderBytes + recipe.tunnel_options.size() + kEthernet + frame.ip_bytes;
    append_ip(frame.bytes, {shape.tunnel->from, shape.tunnel->to, kUdp, recipe.outer_traffic_class, recipe.outer_ttl,
                            recipe.outer_dont_fragment, recipe.outer_id, recipe.outer_flow_label, kNoOptions,
                            kUdpHeader + behind_udp});
    frame.udp = frame.bytes.size();
    append_half(frame.bytes, recipe.outer_source_port), append_half(frame.bytes, shape.tunnel->port);
    append_half(frame.bytes, static_cast<unsigned>(kUdpHeader + behind_udp));
    append_half(frame.bytes, recipe.outer_checksum);
    frame.tunnel = frame.bytes.size();
    append_tunnel_header(frame.bytes, *shape.tunnel, recipe.tunnel_options);
    frame.inner_ethernet = frame.bytes.size();
    append_ethernet(frame.bytes, inner_to, recipe.seed ^ 4, ipv4);
  }
  frame.ip = frame.bytes.size();
  append_ip(frame.bytes,
            {shape.from.address, shape.to.address, static_cast<unsigned>(shape.protocol), recipe.traffic_class,
             recipe.ttl, recipe.dont_fragment, recipe.id, recipe.flow_label, recipe.ip_options, l4.size()});
  frame.l4 = frame.bytes.size();
  append(frame.bytes, l4);
  if (!frame.tunnelled) {
    frame.udp = frame.tunnel = frame.l4;
  }
  mend_outer_checksum(frame);
  append_random(frame.bytes, recipe.padding, recipe.seed ^ 5);
  return frame;
}

void mend_outer_checksum(BuiltFrame& frame) {
  constexpr std::size_t kIpv6 = 40, kSource = 8, kAddresses = 32;
  if (!frame.tunnelled || frame.outer_ipv4() || frame.bytes.size() < frame.tunnel) {
    return;
  }
  const std::size_t length = half_at(frame.bytes, frame.udp + 4);
  if (length < 8 || frame.udp + length > frame.bytes.size() || frame.udp != frame.outer + kIpv6) {
    return;
  }
  put_half(frame.bytes, frame.udp + 6, 0);
  const auto addresses = std::span(frame.bytes).subspan(frame.outer + kSource, kAddresses);
  const std::uint64_t start = std::uint64_t{ones_sum(addresses)} + kUdp + length;
  const auto sum = static_cast<std::uint16_t>(~ones_sum(std::span(frame.bytes).subspan(frame.udp, length), start));
  put_half(frame.bytes, frame.udp + 6, sum == 0 ? 0xffff : sum);
}

}  // namespace isthmus::test
