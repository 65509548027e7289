#include "test/unit/xdp/differential/rule_frames.h"

#include <algorithm>

namespace isthmus::test {
namespace {

constexpr std::size_t kEthernet = 14;

// An address of the family of the pool; most are what `likely` has.
IpAddress address_among(const std::vector<IpAddress>& likely, const RulePool& pool, bool ipv4, Dice& dice) {
  const std::vector<IpAddress>& list = dice.one_in(8) ? pool.ends : likely;
  for (unsigned i = 0; i < 64; ++i) {
    if (const IpAddress& address = dice.of(list); address.is_ipv4() == ipv4) {
      return address;
    }
  }
  return *IpAddress::parse(ipv4 ? "0.0.0.0" : "::");
}

IpAddress own_end(const RulePool& pool, bool ipv4, Dice& dice) {
  const IpAddress& own = ipv4 ? pool.tunnel.ipv4 : pool.tunnel.ipv6;
  return own.is_unspecified() || dice.one_in(10) ? address_among(pool.ends, pool, ipv4, dice) : own;
}

std::uint16_t some_port(const RulePool& pool, Dice& dice) {
  constexpr std::uint16_t kOthers[] = {0, 53, 8472, 6081, 4789};
  return dice.one_in(4) ? dice.of(kOthers) : pool.tunnel.ports[dice.below(2)].value();
}

FrameBytes some_options(Dice& dice) { return dice.one_in(4) ? FrameBytes(4 * dice.between(1, 10), 1) : FrameBytes{}; }

PacketSpec plain_packet(const RulePool& pool, bool ipv4, Dice& dice) {
  const Endpoint from{address_among(pool.ends, pool, ipv4, dice), dice.half()};
  const Endpoint to{address_among(pool.ends, pool, ipv4, dice), dice.half()};
  switch (dice.below(5)) {
    case 0:
      return tcp(from, to, dice.byte());
    case 1:
      return udp(from, to);
    case 2:
      return sctp(from, to);
    case 3:
      return echo_request(from.address, to.address, dice.half());
    default:
      return portless(from.address, to.address, dice.byte());
  }
}

PacketSpec tunnel_packet(const RulePool& pool, bool ipv4, Dice& dice) {
  const IpAddress from = address_among(pool.peers, pool, ipv4, dice), to = own_end(pool, ipv4, dice);
  PacketSpec spec = dice.one_in(8) ? tcp({from, dice.half()}, {to, some_port(pool, dice)})
                                   : udp({from, dice.half()}, {to, some_port(pool, dice)});
  return spec.with_payload(dice.below(100));
}

PacketSpec fragment(const RulePool& pool, bool ipv4, Dice& dice) {
  constexpr std::uint16_t kOffsets[] = {0x2000, 0x2001, 0x0001, 0x0100, 0x1fff, 0x3fff};
  PacketSpec spec = dice.one_in(4) ? plain_packet(pool, ipv4, dice) : tunnel_packet(pool, ipv4, dice);
  return spec.as_fragment(dice.of(kOffsets));
}

// Options whose bytes are a UDP header's, for who overlooks them.
FrameBytes options_like_udp(const RulePool& pool, Dice& dice) {
  const std::uint16_t port = some_port(pool, dice);
  return {1, 1, static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port)};
}

// The quoted packet, perhaps of no version, or with options.
FrameBytes quoted_packet(const RulePool& pool, bool ipv4, Dice& dice) {
  PacketSpec about = dice.one_in(8) ? plain_packet(pool, ipv4, dice) : tunnel_packet(pool, ipv4, dice);
  std::swap(about.source, about.destination);
  if (ipv4 && dice.one_in(5)) {
    about.ip_options = options_like_udp(pool, dice);
  }
  FrameBytes ip = about.ip_bytes();
  if (dice.one_in(8)) {
    ip[0] ^= static_cast<std::uint8_t>(0x10U << dice.below(4));
  }
  return ip;
}

PacketSpec error(const RulePool& pool, bool ipv4, Dice& dice) {
  constexpr std::size_t kIpv4 = 20, kShortest = 36;  // of an error's L4
  const auto type = static_cast<std::uint8_t>(dice.one_in(4) ? dice.below(13) : ipv4 ? 3 : 2);
  const auto code = static_cast<std::uint8_t>(dice.one_in(4) ? dice.below(6) : ipv4 ? 4 : 0);
  PacketSpec spec = icmp_error(address_among(pool.ends, pool, ipv4, dice), own_end(pool, ipv4, dice), type, code,
                               quoted_packet(pool, ipv4, dice));
  if (ipv4 && dice.one_in(6)) {  // all of it again, as options
    const FrameBytes ip = spec.ip_bytes();
    spec.ip_options.assign(ip.begin() + kIpv4, ip.begin() + kIpv4 + kShortest);
  } else if (dice.one_in(6)) {
    spec.as_fragment(dice.one_in(2) ? 0x2000 : 0x0010);
  }
  return spec;
}

struct Shape {
  const char* name;
  PacketSpec (*make)(const RulePool& pool, bool ipv4, Dice& dice);
};
constexpr Shape kShapes[] = {
    {"plain", plain_packet}, {"tunnel packet", tunnel_packet}, {"fragment", fragment}, {"ICMP error", error}};

std::string name_of(const char* shape, bool ipv4) { return std::string(shape) + (ipv4 ? ", IPv4" : ", IPv6"); }

// Puts an IPv4 address in its IPv6 form into the header, or an address of the pool into the quoted one.
void put_address(FrameBytes& bytes, const RulePool& pool, Dice& dice) {
  constexpr std::size_t kPlaces[] = {kEthernet + 8, kEthernet + 24, kEthernet + 48 + 24};
  const std::size_t at = dice.of(kPlaces);
  const auto address = dice.of(pool.ends).bytes();
  if (at + address.size() <= bytes.size()) {
    std::copy(address.begin(), address.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void damage(FrameBytes& bytes, const RulePool& pool, Dice& dice) {
  switch (dice.below(6)) {
    case 0:
      bytes.resize(dice.between(kEthernet, bytes.size()));
      break;
    case 1:
      bytes.resize(bytes.size() + dice.below(40), dice.byte());
      break;
    case 2:  // headers, but for the MAC addresses
      bytes[dice.between(12, std::min<std::size_t>(bytes.size(), 100) - 1)] ^=
          static_cast<std::uint8_t>(1U << dice.below(8));
      break;
    case 3:
      bytes[dice.between(12, std::min<std::size_t>(bytes.size(), 100) - 1)] = dice.byte();
      break;
    case 4: {
      constexpr std::uint8_t kTag[] = {0x81, 0x00, 0x00, 0x05};
      bytes.insert(bytes.begin() + 12, std::begin(kTag), std::end(kTag));
      break;
    }
    default:
      put_address(bytes, pool, dice);
      break;
  }
}

}  // namespace

RuleFrame random_rule_frame(const RulePool& pool, Dice& dice) {
  RuleFrame frame;
  const bool ipv4 = dice.one_in(2);
  const Shape& shape = dice.of(kShapes);
  frame.shape = name_of(shape.name, ipv4);
  PacketSpec spec = shape.make(pool, ipv4, dice);
  if (ipv4 && spec.ip_options.empty()) {
    spec.ip_options = some_options(dice);
  }
  frame.bytes = spec.bytes();
  if (dice.one_in(3)) {
    for (std::size_t i = dice.between(1, 3); i > 0; --i) {
      damage(frame.bytes, pool, dice);
    }
  }
  MacAddress to = pool.mac;
  if (dice.one_in(12)) {
    to.bytes[dice.below(6)] ^= static_cast<std::uint8_t>(1U << dice.below(8));
    frame.for_mac = false;
  }
  std::copy(to.bytes.begin(), to.bytes.end(), frame.bytes.begin());
  return frame;
}

std::vector<std::string> rule_frame_shapes() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) {
    for (const bool ipv4 : {true, false}) {
      names.push_back(name_of(shape.name, ipv4));
    }
  }
  return names;
}

}  // namespace isthmus::test
