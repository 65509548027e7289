#include "test/support/packet.h"

#include <algorithm>
#include <cstring>

namespace isthmus::test {
namespace {

void put16(FrameBytes& out, unsigned v) {
  out.push_back(static_cast<std::uint8_t>(v >> 8));
  out.push_back(static_cast<std::uint8_t>(v));
}
void put32(FrameBytes& out, std::uint32_t v) {
  put16(out, v >> 16);
  put16(out, v & 0xffff);
}
void put(FrameBytes& out, std::span<const std::uint8_t> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
unsigned get16(std::span<const std::uint8_t> b, std::size_t at) {
  return static_cast<unsigned>(b[at] << 8 | b[at + 1]);
}
std::uint32_t get32(std::span<const std::uint8_t> b, std::size_t at) { return get16(b, at) << 16 | get16(b, at + 2); }

std::uint8_t pattern(std::size_t i) { return static_cast<std::uint8_t>(i * 7 + 3); }

std::span<const std::uint8_t> address_bytes(const IpAddress& a) {
  return a.is_ipv4() ? std::span(a.bytes()).subspan(12) : std::span(a.bytes());
}

// The folded one's complement sum of big-endian words; independent of the code under test.
std::uint16_t sum16(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}
std::uint32_t pseudo(const IpAddress& s, const IpAddress& d, unsigned protocol, std::size_t bytes) {
  return std::uint32_t{sum16(address_bytes(s))} + sum16(address_bytes(d)) + protocol +
         static_cast<std::uint32_t>(bytes);
}
void store16(FrameBytes& out, std::size_t at, unsigned v) {
  out[at] = static_cast<std::uint8_t>(v >> 8);
  out[at + 1] = static_cast<std::uint8_t>(v);
}

// CRC32c, bit by bit; as SCTP has it on the wire.
std::uint32_t crc32c(std::span<const std::uint8_t> bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    }
  }
  const std::uint32_t reflected = ~crc;
  return reflected << 24 | (reflected << 8 & 0xff0000u) | (reflected >> 8 & 0xff00u) | reflected >> 24;
}

FrameBytes l4_bytes(const PacketSpec& p) {
  FrameBytes l4;
  const bool icmp = p.protocol == IpProtocol::kIcmp || p.protocol == IpProtocol::kIcmpv6;
  std::size_t checksum_at = 0;
  if (p.protocol == IpProtocol::kTcp) {
    put16(l4, p.source_port), put16(l4, p.destination_port), put32(l4, p.sequence), put32(l4, 1);
    l4.push_back(static_cast<std::uint8_t>((5 + p.tcp_options.size() / 4) << 4));
    l4.push_back(p.flags), put16(l4, 1024), put16(l4, 0), put16(l4, 0), put(l4, p.tcp_options);
    checksum_at = 16;
  } else if (p.protocol == IpProtocol::kUdp) {
    put16(l4, p.source_port), put16(l4, p.destination_port), put16(l4, static_cast<unsigned>(8 + p.payload)),
        put16(l4, 0);
    checksum_at = 6;
  } else if (icmp) {
    l4.push_back(p.icmp_type), l4.push_back(p.icmp_code), put16(l4, 0);
    put16(l4, p.quoted ? 0 : p.source_port), put16(l4, p.quoted ? p.mtu : std::uint16_t{1});
    checksum_at = 2;
  } else if (p.protocol == IpProtocol::kSctp) {
    put16(l4, p.source_port), put16(l4, p.destination_port), put32(l4, 0x5eed), put32(l4, 0);
  } else {
    put32(l4, 0), put32(l4, 0);
  }
  for (std::size_t i = 0; i < p.payload; ++i) {
    l4.push_back(pattern(i));
  }
  if (p.first_byte && p.payload != 0) {
    l4[l4.size() - p.payload] = *p.first_byte;
  }
  if (p.quoted) {
    put(l4, *p.quoted);
  }
  if (checksum_at != 0 && (p.protocol != IpProtocol::kUdp || p.udp_checksum)) {
    const std::uint32_t start = p.protocol == IpProtocol::kIcmp
                                    ? 0
                                    : pseudo(p.source, p.destination, static_cast<unsigned>(p.protocol), l4.size());
    const auto sum = static_cast<std::uint16_t>(~sum16(l4, (start & 0xffff) + (start >> 16)));
    store16(l4, checksum_at, sum == 0 && p.protocol == IpProtocol::kUdp ? 0xffff : sum);
  }
  if (p.protocol == IpProtocol::kSctp) {
    const std::uint32_t sum = crc32c(l4);
    store16(l4, 8, sum >> 16), store16(l4, 10, sum & 0xffff);
  }
  return l4;
}

// The outer UDP datagram, then the same with its IP header in front.
FrameBytes outer_udp_bytes(const PacketSpec::Tunnel& tunnel, const FrameBytes& inner) {
  FrameBytes udp;
  const std::size_t bytes = 16 + tunnel.options.size() + inner.size() + tunnel.padding;
  put16(udp, 50000), put16(udp, tunnel.port), put16(udp, static_cast<unsigned>(bytes)), put16(udp, 0);
  put32(udp, tunnel.flags | static_cast<std::uint32_t>(tunnel.options.size() / 4) << 24);
  put32(udp, tunnel.vni << 8 | tunnel.low_byte);
  put(udp, tunnel.options);
  put(udp, inner);
  udp.resize(bytes, 0xa5);
  if (!tunnel.to.is_ipv4() && tunnel.udp_checksum) {
    const std::uint32_t start = pseudo(tunnel.from, tunnel.to, 17, bytes);
    const auto sum = static_cast<std::uint16_t>(~sum16(udp, (start & 0xffff) + (start >> 16)));
    store16(udp, 6, sum == 0 ? 0xffff : sum);
  }
  return udp;
}
FrameBytes outer_bytes(const PacketSpec::Tunnel& tunnel, const FrameBytes& inner) {
  const FrameBytes udp = outer_udp_bytes(tunnel, inner);
  FrameBytes ip;
  if (tunnel.to.is_ipv4()) {
    ip.push_back(0x45), ip.push_back(tunnel.ecn);
    put16(ip, static_cast<unsigned>(20 + udp.size())), put16(ip, 0), put16(ip, 0);
    ip.push_back(64), ip.push_back(17), put16(ip, 0);
    put(ip, address_bytes(tunnel.from)), put(ip, address_bytes(tunnel.to));
    store16(ip, 10, static_cast<std::uint16_t>(~sum16(ip)));
  } else {
    put32(ip, 0x60000000u | std::uint32_t{tunnel.ecn} << 20);
    put16(ip, static_cast<unsigned>(udp.size()));
    ip.push_back(17), ip.push_back(64);
    put(ip, address_bytes(tunnel.from)), put(ip, address_bytes(tunnel.to));
  }
  put(ip, udp);
  return ip;
}

FrameBytes ethernet(bool v4) {
  FrameBytes out{0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01};
  put16(out, v4 ? 0x0800 : 0x86dd);
  return out;
}

void dissect_icmp(std::span<const std::uint8_t> l4, Dissected& d) {
  d.icmp_type = l4[0];
  d.icmp_code = l4[1];
  const bool v4 = d.protocol == IpProtocol::kIcmp;
  const bool echo = v4 ? d.icmp_type == 8 || d.icmp_type == 0 : d.icmp_type == 128 || d.icmp_type == 129;
  if (echo) {
    d.source_port = static_cast<std::uint16_t>(get16(l4, 4));
    d.payload = l4.size() - 8;
  } else {
    d.icmp_rest = get32(l4, 4);
    d.quoted.assign(l4.begin() + 8, l4.end());
  }
  const std::uint32_t start = v4 ? 0 : pseudo(d.source, d.destination, 58, l4.size());
  if (sum16(l4, (start & 0xffff) + (start >> 16)) != 0xffff) {
    d.errors.push_back("ICMP checksum");
  }
}

void dissect_l4(std::span<const std::uint8_t> l4, Dissected& d) {
  if (d.fragment) {
    return;
  }
  if (l4.size() < 8) {
    d.errors.push_back("L4 header truncated");
    return;
  }
  std::size_t header = 8;
  switch (d.protocol) {
    case IpProtocol::kTcp:
    case IpProtocol::kUdp: {
      const bool tcp = d.protocol == IpProtocol::kTcp;
      d.source_port = static_cast<std::uint16_t>(get16(l4, 0));
      d.destination_port = static_cast<std::uint16_t>(get16(l4, 2));
      if (tcp) {
        header = std::min<std::size_t>(l4.size(), (l4[12] >> 4) * 4u);
        d.tcp_flags = l4[13];
        if (header > 20) {
          d.tcp_options.assign(l4.begin() + 20, l4.begin() + static_cast<std::ptrdiff_t>(header));
        }
      } else if (get16(l4, 4) != l4.size()) {
        d.errors.push_back("UDP length");
      }
      d.udp_checksum = tcp ? std::uint16_t{0} : static_cast<std::uint16_t>(get16(l4, 6));
      const std::uint32_t start = pseudo(d.source, d.destination, static_cast<unsigned>(d.protocol), l4.size());
      const bool none = !tcp && get16(l4, 6) == 0;
      if (!none && sum16(l4, (start & 0xffff) + (start >> 16)) != 0xffff) {
        d.errors.push_back(tcp ? "TCP checksum" : "UDP checksum");
      }
      break;
    }
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6:
      dissect_icmp(l4, d);
      return;
    case IpProtocol::kSctp: {
      header = std::min<std::size_t>(l4.size(), 12);
      d.source_port = static_cast<std::uint16_t>(get16(l4, 0));
      d.destination_port = static_cast<std::uint16_t>(get16(l4, 2));
      FrameBytes without(l4.begin(), l4.end());
      std::fill_n(without.begin() + 8, header - 8, std::uint8_t{0});
      if (header < 12 || crc32c(without) != get32(l4, 8)) {
        d.errors.push_back("SCTP checksum");
      }
      break;
    }
    default:
      break;
  }
  d.payload = l4.size() - header;
  d.payload_is_pattern = true;
  for (std::size_t i = 0; i < d.payload; ++i) {
    d.payload_is_pattern = d.payload_is_pattern && l4[header + i] == pattern(i);
  }
}

// Reads IPv6's extension headers in front of L4, which begin at `rest`.
std::span<const std::uint8_t> dissect_extensions(std::span<const std::uint8_t> rest, Dissected& d) {
  unsigned next = static_cast<unsigned>(d.protocol);
  while ((next == 0 || next == 43 || next == 44 || next == 51 || next == 60) && !d.fragment && rest.size() >= 8) {
    const std::size_t bytes = next == 44 ? 8 : next == 51 ? (rest[1] + 2u) * 4 : (rest[1] + 1u) * 8;
    if (bytes > rest.size()) {
      d.errors.push_back("IPv6 extension header");
      return {};
    }
    d.fragment = next == 44 && (get16(rest, 2) & 0xfff9) != 0;
    next = rest[0];
    put(d.between, rest.first(bytes));
    rest = rest.subspan(bytes);
  }
  d.protocol = static_cast<IpProtocol>(next);
  return rest;
}

// Reads the IP header at the start. Returns the L4 part, or nothing on error.
std::span<const std::uint8_t> dissect_ip(std::span<const std::uint8_t> ip, unsigned type, Dissected& d) {
  if (type == 0x0800 && ip.size() >= 20 && ip[0] >> 4 == 4 && (ip[0] & 15) >= 5 && (ip[0] & 15) * 4u <= ip.size()) {
    const unsigned total = get16(ip, 2), header = (ip[0] & 15) * 4u;
    if (total > ip.size() || total < header || sum16(ip.first(header)) != 0xffff) {
      d.errors.push_back(total > ip.size() ? "IP length" : "IP checksum");
      return {};
    }
    d.ttl = ip[8];
    d.ecn = ip[1] & 3;
    d.outer_tos = d.traffic_class = ip[1];
    d.outer_df = (ip[6] & 0x40) != 0;
    d.protocol = static_cast<IpProtocol>(ip[9]);
    d.fragment = (get16(ip, 6) & 0x3fff) != 0;
    d.source = IpAddress::ipv4(Be32::of(get32(ip, 12)));
    d.destination = IpAddress::ipv4(Be32::of(get32(ip, 16)));
    d.between.assign(ip.begin() + 20, ip.begin() + header);
    return ip.subspan(header, total - header);
  }
  if (type == 0x86dd && ip.size() >= 40 && ip[0] >> 4 == 6) {
    const unsigned payload = get16(ip, 4);
    if (payload + 40 > ip.size()) {
      d.errors.push_back("IP length");
      return {};
    }
    d.ttl = ip[7];
    d.ecn = (ip[1] >> 4) & 3;
    d.outer_tos = d.traffic_class = static_cast<std::uint8_t>(ip[0] << 4 | ip[1] >> 4);
    d.outer_df = false;
    d.protocol = static_cast<IpProtocol>(ip[6]);
    d.fragment = false;
    d.between.clear();
    d.source = IpAddress::ipv6(ip.data() + 8);
    d.destination = IpAddress::ipv6(ip.data() + 24);
    return dissect_extensions(ip.subspan(40, payload), d);
  }
  d.errors.push_back("IP header");
  return {};
}

// Geneve: those with the type's highest bit set are critical, as the header then says (RFC 8926 section 3.4).
void dissect_outer_options(std::span<const std::uint8_t> udp, Dissected& d) {
  const std::size_t bytes = (udp[8] & 0x3fu) * 4u;
  if (udp.size() < 30 + bytes) {
    d.errors.push_back("Geneve options");
    return;
  }
  d.outer_options.assign(udp.begin() + 16, udp.begin() + 16 + static_cast<std::ptrdiff_t>(bytes));
  bool critical = false;
  for (std::size_t at = 0; at < bytes; at += 4 + (d.outer_options[at + 3] & 0x1fu) * 4u) {
    critical = critical || (d.outer_options[at + 2] & 0x80) != 0;
  }
  if (((udp[9] & 0x40) != 0) != critical || (udp[9] & 0xbf) != 0 || (udp[8] & 0xc0) != 0) {
    d.errors.push_back("Geneve flags");
  }
}

// Reads the outer UDP header and the tunnel header of a datagram of kind d.outer_kind.
void dissect_tunnel(std::span<const std::uint8_t> udp, Dissected& d) {
  d.outer_source_port = static_cast<std::uint16_t>(get16(udp, 0));
  d.outer_port = static_cast<std::uint16_t>(get16(udp, 2));
  d.outer_udp_checksum = static_cast<std::uint16_t>(get16(udp, 6));
  if (get16(udp, 4) != udp.size()) {
    d.errors.push_back("outer UDP length");
  }
  const bool vxlan = d.outer_kind == EncapsulationKind::kVxlan;
  if (!vxlan) {
    dissect_outer_options(udp, d);
  }
  if ((vxlan ? get32(udp, 8) != 0x08000000u : get16(udp, 10) != 0x6558u) || udp[15] != 0) {
    d.errors.push_back(vxlan ? "VXLAN header" : "Geneve header");
  }
  d.vni = get32(udp, 12) >> 8;
  const std::uint32_t start = pseudo(d.outer_source, d.outer_destination, 17, udp.size());
  const bool none = d.outer_source.is_ipv4();
  if (none ? d.outer_udp_checksum != 0 : sum16(udp, (start & 0xffff) + (start >> 16)) != 0xffff) {
    d.errors.push_back("outer UDP checksum");
  }
}

std::string mac_text(std::span<const std::uint8_t> b) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), b.data(), 6);
  return mac.to_string();
}

}  // namespace

FrameBytes PacketSpec::ip_bytes() const {
  if (raw) {
    return *raw;
  }
  const FrameBytes l4 = l4_bytes(*this);
  FrameBytes out;
  if (source.is_ipv4()) {
    const std::size_t header = 20 + ip_options.size();
    out.push_back(static_cast<std::uint8_t>(0x40 | header / 4)), out.push_back(ecn);
    put16(out, static_cast<unsigned>(header + l4.size())), put16(out, 0x1234);
    put16(out, (dont_fragment ? 0x4000u : 0u) | fragment_offset);
    out.push_back(ttl), out.push_back(static_cast<std::uint8_t>(protocol)), put16(out, 0);
    put(out, address_bytes(source)), put(out, address_bytes(destination)), put(out, ip_options);
    store16(out, 10, static_cast<std::uint16_t>(~sum16(out)));
  } else {
    put32(out, 0x60000000u | std::uint32_t{ecn} << 20);
    auto chain = extensions;
    if (fragment_offset != 0) {
      FrameBytes part{0, 0};
      put16(part, (fragment_offset & 0x1fffu) * 8u | (fragment_offset >> 13 & 1u)), put32(part, 0x1234);
      chain.emplace_back(std::uint8_t{44}, part);
    }
    std::size_t bytes = l4.size();
    for (const auto& [type, header] : chain) {
      bytes += header.size();
    }
    const auto type_at = [&](std::size_t i) {
      return i < chain.size() ? chain[i].first : static_cast<std::uint8_t>(protocol);
    };
    put16(out, static_cast<unsigned>(bytes));
    out.push_back(type_at(0)), out.push_back(ttl);
    put(out, address_bytes(source)), put(out, address_bytes(destination));
    for (std::size_t i = 0; i < chain.size(); ++i) {
      chain[i].second[0] = type_at(i + 1);
      put(out, chain[i].second);
    }
  }
  put(out, l4);
  return out;
}

FrameBytes PacketSpec::bytes() const {
  FrameBytes inner = ethernet(source.is_ipv4());
  put(inner, ip_bytes());
  if (!tunnel) {
    return inner;
  }
  FrameBytes out = ethernet(tunnel->to.is_ipv4());
  put(out, outer_bytes(*tunnel, inner));
  return out;
}

std::string PacketSpec::scapy() const {
  const bool v4 = source.is_ipv4();
  std::string s = "Ether()/";
  if (tunnel) {
    s += std::string(tunnel->to.is_ipv4() ? "IP" : "IPv6") + "(src='" + tunnel->from.to_string() + "',dst='" +
         tunnel->to.to_string() + "')/UDP(sport=50000,dport=" + std::to_string(tunnel->port) +
         (tunnel->to.is_ipv4() ? ",chksum=0)/" : ")/") +
         (tunnel->kind == EncapsulationKind::kGeneve ? "GENEVE" : "VXLAN") + "(vni=" + std::to_string(tunnel->vni) +
         ")/Ether()/";
  }
  s += std::string(v4 ? "IP" : "IPv6") + "(src='" + source.to_string() + "',dst='" + destination.to_string() + "'," +
       (v4 ? "ttl=" : "hlim=") + std::to_string(ttl) + (dont_fragment && v4 ? ",flags='DF'" : "") + ")/";
  const std::string ports = "sport=" + std::to_string(source_port) + ",dport=" + std::to_string(destination_port);
  switch (protocol) {
    case IpProtocol::kTcp:
      s += "TCP(" + ports + ",seq=" + std::to_string(sequence) + ",flags=" + std::to_string(flags) + ")";
      break;
    case IpProtocol::kUdp:
      s += "UDP(" + ports + ")";
      break;
    default:
      s += "ICMP(type=" + std::to_string(icmp_type) + ",id=" + std::to_string(source_port) + ")";
  }
  return s + "/Raw(" + std::to_string(payload) + "*b'x')";
}

PacketSpec tcp(const Endpoint& from, const Endpoint& to, std::uint8_t flags) {
  PacketSpec p;
  p.source = from.address, p.destination = to.address, p.source_port = from.port, p.destination_port = to.port;
  p.flags = flags;
  return p;
}

PacketSpec udp(const Endpoint& from, const Endpoint& to) {
  PacketSpec p = tcp(from, to, 0);
  p.protocol = IpProtocol::kUdp;
  return p;
}

PacketSpec sctp(const Endpoint& from, const Endpoint& to) {
  PacketSpec p = tcp(from, to, 0);
  p.protocol = IpProtocol::kSctp;
  return p;
}

PacketSpec portless(const IpAddress& from, const IpAddress& to, std::uint8_t protocol) {
  PacketSpec p = tcp({from, 0}, {to, 0}, 0);
  p.protocol = static_cast<IpProtocol>(protocol);
  return p;
}

PacketSpec echo_request(const IpAddress& from, const IpAddress& to, std::uint16_t id) {
  PacketSpec p = tcp({from, id}, {to, 0}, 0);
  p.protocol = from.is_ipv4() ? IpProtocol::kIcmp : IpProtocol::kIcmpv6;
  p.icmp_type = from.is_ipv4() ? 8 : 128;
  return p;
}

PacketSpec echo_reply(const IpAddress& from, const IpAddress& to, std::uint16_t id) {
  PacketSpec p = echo_request(from, to, id);
  p.icmp_type = from.is_ipv4() ? 0 : 129;
  return p;
}

PacketSpec icmp_error(const IpAddress& from, const IpAddress& to, std::uint8_t type, std::uint8_t code,
                      const FrameBytes& about) {
  PacketSpec p = echo_request(from, to, 0);
  p.icmp_type = type;
  p.icmp_code = code;
  p.quoted = about;
  return p;
}

Dissected dissect(std::span<const std::uint8_t> frame) {
  Dissected d;
  if (frame.size() < 34) {
    d.errors.push_back("frame truncated");
    return d;
  }
  d.destination_mac = mac_text(frame);
  d.source_mac = mac_text(frame.subspan(6));
  const auto l4 = dissect_ip(frame.subspan(14), get16(frame, 12), d);
  const unsigned port = d.protocol == IpProtocol::kUdp && !d.fragment && l4.size() >= 30 ? get16(l4, 2) : 0;
  if (port != 8472 && port != 6081) {
    dissect_l4(l4, d);
    return d;
  }
  d.tunnelled = true;
  d.outer_kind = port == 8472 ? EncapsulationKind::kVxlan : EncapsulationKind::kGeneve;
  d.outer_source = d.source, d.outer_destination = d.destination, d.outer_ttl = d.ttl;
  dissect_tunnel(l4, d);
  const std::uint8_t tos = d.outer_tos;
  const bool df = d.outer_df;
  const std::size_t options = d.outer_options.size();
  const auto inner = dissect_ip(l4.subspan(30 + options), get16(l4, 28 + options), d);
  d.outer_tos = tos;
  d.outer_df = df;
  dissect_l4(inner, d);
  return d;
}

std::string Dissected::text() const {
  std::string s = source.to_string() + ":" + std::to_string(source_port) + " > " + destination.to_string() + ":" +
                  std::to_string(destination_port) + " proto " + std::to_string(static_cast<unsigned>(protocol));
  if (tunnelled) {
    s += " vni " + std::to_string(vni) + " via " + outer_source.to_string() + " > " + outer_destination.to_string();
  }
  for (const std::string& error : errors) {
    s += " [bad " + error + "]";
  }
  return s;
}

}  // namespace isthmus::test
