#include "test/unit/xdp/differential/varied_packet.h"

#include <algorithm>
#include <cstring>

#include "dataplane/encap/encap.h"

namespace isthmus::test {
namespace {

constexpr std::uint8_t kNotEct = 0, kEct1 = 1, kEct0 = 2, kCongestion = 3, kEcnMask = 3;

struct RecipeOddity {
  const char* name;
  Expected expected;
  void (*apply)(PacketRecipe& recipe, const FlowDirection& direction, Dice& dice);
};

FrameBytes random_bytes(std::size_t count, Dice& dice) {
  FrameBytes bytes(count);
  std::generate(bytes.begin(), bytes.end(), [&] { return dice.byte(); });
  return bytes;
}

std::size_t ip_header(const FlowDirection& direction) { return direction.is.family == Family::kIpv4 ? 20 : 40; }
std::size_t l4_header(const FlowDirection& direction) {
  return direction.is.protocol == IpProtocol::kTcp ? std::size_t{20} : std::size_t{8};
}

// Valid packets that are not those of every settled flow.
constexpr RecipeOddity kRecipeOddities[] = {
    {"opens or closes", Expected::kUp,
     [](PacketRecipe& recipe, const FlowDirection& direction, Dice& dice) {
       constexpr std::uint8_t kSome[] = {kSyn, kFin | kAck, kRst, kSyn | kAck, kFin, kRst | kAck};
       if (direction.is.protocol == IpProtocol::kTcp) {
         recipe.tcp_flags = dice.one_in(4) ? static_cast<std::uint8_t>(dice.byte() | kFin) : dice.of(kSome);
       }
     }},
    {"too long", Expected::kEither,
     [](PacketRecipe& recipe, const FlowDirection& direction, Dice& dice) {
       recipe.payload = direction.mtu + 1 - ip_header(direction) - l4_header(direction) + dice.below(64);
     }},
    {"hop limit used up", Expected::kEither,
     [](PacketRecipe& recipe, const FlowDirection&, Dice& dice) {
       recipe.ttl = static_cast<std::uint8_t>(dice.below(2));
     }},
    {"congestion mark", Expected::kEither,
     [](PacketRecipe& recipe, const FlowDirection&, Dice& dice) {
       recipe.outer_traffic_class = static_cast<std::uint8_t>(dice.byte() | kEct1);
       recipe.traffic_class = dice.byte();
     }},
    {"UDP without a checksum", Expected::kEither,
     [](PacketRecipe& recipe, const FlowDirection&, Dice&) { recipe.udp_checksum = false; }},
    {"IP options", Expected::kEither,
     [](PacketRecipe& recipe, const FlowDirection&, Dice& dice) {
       recipe.ip_options.assign(4 * dice.between(1, 10), 1);
     }},
    {"tunnel options", Expected::kEither,
     [](PacketRecipe& recipe, const FlowDirection&, Dice& dice) {
       const std::size_t words = dice.between(0, 3);
       recipe.tunnel_options = {1, 2, static_cast<std::uint8_t>(dice.one_in(2) ? 0x80 : 3),
                                static_cast<std::uint8_t>(words)};
       recipe.tunnel_options.resize(4 + 4 * words, 9);
     }},
};

struct FrameOddity {
  const char* name;
  void (*apply)(VariedPacket& packet, RandomFleet& fleet, Dice& dice);
};

void store(FrameBytes& bytes, std::size_t at, std::uint8_t value) {
  if (at < bytes.size()) {
    bytes[at] = value;
  }
}

// A length that is nearly right, or any.
unsigned other_length(unsigned length, Dice& dice) {
  return dice.one_in(4) ? dice.half() : length + static_cast<unsigned>(dice.below(17)) - 8;
}

constexpr unsigned kCornerSums[] = {0, 0xffff, 0xfffe, 1, 0x0100, 0xff00};
unsigned other_sum(unsigned corner, Dice& dice) {
  return dice.one_in(2) ? corner : dice.one_in(2) ? dice.half() : dice.of(kCornerSums);
}

constexpr FrameOddity kFrameOddities[] = {
    {"bit flipped in a header",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = dice.below(std::min<std::size_t>(packet.frame.bytes.size(), packet.frame.l4 + 24));
       packet.frame.bytes[at] = static_cast<std::uint8_t>(packet.frame.bytes[at] ^ 1u << dice.below(8));
     }},
    {"byte set in a header",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = dice.below(std::min<std::size_t>(packet.frame.bytes.size(), packet.frame.l4 + 24));
       packet.frame.bytes[at] = dice.byte();
     }},
    {"truncated",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t headers = std::min<std::size_t>(packet.frame.bytes.size(), packet.frame.l4 + 24);
       packet.frame.bytes.resize(dice.one_in(3) ? dice.between(14, packet.frame.bytes.size())
                                                : dice.between(14, headers));
     }},
    {"inner IP length",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = packet.frame.ip + (packet.frame.bytes[packet.frame.ip] >> 4 == 4 ? 2 : 4);
       put_half(packet.frame.bytes, at, other_length(half_at(packet.frame.bytes, at), dice));
     }},
    {"outer IP length",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = packet.frame.outer + (packet.frame.outer_ipv4() ? 2 : 4);
       put_half(packet.frame.bytes, at, other_length(half_at(packet.frame.bytes, at), dice));
     }},
    {"outer UDP length",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = packet.frame.udp + 4;
       put_half(packet.frame.bytes, at, other_length(half_at(packet.frame.bytes, at), dice));
     }},
    {"outer lengths alike",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const unsigned more = static_cast<unsigned>(dice.below(33)) - 16;
       const std::size_t ip = packet.frame.outer + (packet.frame.outer_ipv4() ? 2 : 4), udp = packet.frame.udp + 4;
       put_half(packet.frame.bytes, ip, half_at(packet.frame.bytes, ip) + more);
       put_half(packet.frame.bytes, udp, half_at(packet.frame.bytes, udp) + more);
     }},
    {"L4 lengths",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t length = packet.frame.l4 + 4;
       dice.one_in(2) ? store(packet.frame.bytes, packet.frame.l4 + 12, dice.byte())
                      : put_half(packet.frame.bytes, length, other_length(half_at(packet.frame.bytes, length), dice));
     }},
    {"fragment",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t ip = dice.one_in(2) ? packet.frame.outer : packet.frame.ip;
       put_half(packet.frame.bytes, ip + 6, dice.one_in(2) ? 0x2000 : static_cast<unsigned>(dice.below(0x10000)));
     }},
    {"another protocol",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       constexpr std::uint8_t kSome[] = {1, 58, 47, 0, 44, 60, 6, 17, 132};
       const bool ipv4 = packet.frame.bytes[packet.frame.ip] >> 4 == 4;
       store(packet.frame.bytes, packet.frame.ip + (ipv4 ? 9 : 6), dice.one_in(8) ? dice.byte() : dice.of(kSome));
     }},
    {"L4 checksum",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const bool ipv4 = packet.frame.bytes[packet.frame.ip] >> 4 == 4;
       const bool tcp = packet.frame.bytes[packet.frame.ip + (ipv4 ? 9 : 6)] == 6;
       put_half(packet.frame.bytes, packet.frame.l4 + (tcp ? 16 : 6), other_sum(packet.l4_corner, dice));
     }},
    {"IP checksum",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       put_half(packet.frame.bytes, packet.frame.ip + 10, other_sum(packet.ip_corner, dice));
     }},
    {"outer UDP checksum", [](VariedPacket& packet, RandomFleet&,
                              Dice& dice) { put_half(packet.frame.bytes, packet.frame.udp + 6, other_sum(0, dice)); }},
    {"tunnel header",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = packet.frame.tunnel + dice.below(encap::kTunnelHeaderBytes);
       store(packet.frame.bytes, at, dice.one_in(2) ? dice.byte() : std::uint8_t{1});
     }},
    {"another VNI",
     [](VariedPacket& packet, RandomFleet& fleet, Dice& dice) {
       const std::uint32_t vni = fleet.pods()[dice.below(fleet.pods().size())].identity;
       store(packet.frame.bytes, packet.frame.tunnel + 4, static_cast<std::uint8_t>(vni >> 16));
       put_half(packet.frame.bytes, packet.frame.tunnel + 5, vni & 0xffff);
     }},
    {"another outer source",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       constexpr std::uint8_t kPeers[] = {11, 12, 13, 14, 19, 20, 99, 1};
       const std::size_t last = packet.frame.outer + (packet.frame.outer_ipv4() ? 15 : 23);
       store(packet.frame.bytes, last, dice.of(kPeers));
     }},
    {"another UDP port",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       constexpr unsigned kPorts[] = {8472, 6081, 4789, 0};
       put_half(packet.frame.bytes, packet.frame.udp + 2, dice.of(kPorts));
     }},
    {"another MAC address",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       if (dice.one_in(2)) {
         store(packet.frame.bytes, dice.below(6), dice.byte());
       } else {
         std::fill_n(packet.frame.bytes.begin(), 6, std::uint8_t{0xff});
       }
     }},
    {"VLAN tag",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const FrameBytes tag{0x81, 0, 0, dice.byte()};
       packet.frame.bytes.insert(packet.frame.bytes.begin() + 12, tag.begin(), tag.end());
     }},
    {"Ethernet type",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       constexpr unsigned kTypes[] = {0x0800, 0x86dd, 0x0806, 0x8100};
       const bool inner = packet.frame.tunnelled && dice.one_in(2);
       put_half(packet.frame.bytes, (inner ? packet.frame.inner_ethernet : 0) + 12, dice.of(kTypes));
     }},
    {"IPv6 extension header",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       constexpr std::uint8_t kHeaders[] = {0, 43, 44, 60};
       BuiltFrame& frame = packet.frame;
       const std::size_t ip = dice.one_in(2) ? frame.outer : frame.ip;
       if (frame.bytes[ip] >> 4 == 6 && ip + 40 <= frame.bytes.size()) {
         const FrameBytes extension{frame.bytes[ip + 6], 0, 1, 4, 0, 0, 0, 0};
         frame.bytes[ip + 6] = dice.of(kHeaders);
         frame.bytes.insert(frame.bytes.begin() + static_cast<std::ptrdiff_t>(ip + 40), extension.begin(),
                            extension.end());
         put_half(frame.bytes, ip + 4, half_at(frame.bytes, ip + 4) + 8);
       }
     }},
    {"bytes behind the inner packet",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       BuiltFrame& frame = packet.frame;
       const std::size_t more = dice.between(1, 40);
       frame.bytes.resize(frame.ip + frame.ip_bytes);
       frame.bytes.resize(frame.bytes.size() + more, dice.byte());
       if (frame.tunnelled) {
         const std::size_t ip = frame.outer + (frame.outer_ipv4() ? 2 : 4), udp = frame.udp + 4;
         put_half(frame.bytes, ip, half_at(frame.bytes, ip) + static_cast<unsigned>(more));
         put_half(frame.bytes, udp, half_at(frame.bytes, udp) + static_cast<unsigned>(more));
       }
     }},
    {"another device",
     [](VariedPacket& packet, RandomFleet& fleet, Dice& dice) {
       packet.device = DeviceId{static_cast<std::uint8_t>(dice.below(RandomFleet::kDevices))};
       const MacAddress mac = fleet.device(packet.device).mac();
       std::copy(mac.bytes.begin(), mac.bytes.end(), packet.frame.bytes.begin());
     }},
    {"address or port",
     [](VariedPacket& packet, RandomFleet&, Dice& dice) {
       const std::size_t at = packet.frame.l4 - dice.between(1, 8) + (dice.one_in(3) ? 8 : 0);
       store(packet.frame.bytes, at, dice.one_in(2) ? dice.byte() : static_cast<std::uint8_t>(10 + dice.below(3)));
     }},
};

// Whether a mark of the underlay changes that of the packet (RFC 6040 section 4.2), or may.
bool may_change_mark(std::uint8_t outer, std::uint8_t inner) {
  outer &= kEcnMask, inner &= kEcnMask;
  return outer == kCongestion || (outer == kEct1 && inner == kEct0);
}

// The longest payload that leaves within the MTU and arrives within what a test run takes.
std::size_t longest_payload(const FlowDirection& direction, std::size_t tcp_options) {
  constexpr std::size_t kOuter = 84;
  const std::size_t longest = std::min(direction.mtu, SteeredDevice::kLongest - kOuter);
  return longest - ip_header(direction) - l4_header(direction) - tcp_options;
}

// A packet as settled flows have them.
PacketRecipe plain_recipe(const FlowDirection& direction, Dice& dice) {
  constexpr std::uint8_t kOpensOrCloses = kSyn | kFin | kRst;
  PacketRecipe recipe;
  if (direction.is.protocol == IpProtocol::kTcp) {
    recipe.tcp_flags = static_cast<std::uint8_t>(dice.byte() & ~kOpensOrCloses);
    recipe.tcp_options =
        dice.one_in(2) ? FrameBytes{1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7} : random_bytes(4 * dice.below(11), dice);
  }
  const std::size_t longest = longest_payload(direction, recipe.tcp_options.size());
  recipe.payload = dice.one_in(4) ? 0 : dice.one_in(4) ? longest - dice.below(3) : dice.below(longest + 1);
  recipe.ttl = static_cast<std::uint8_t>(dice.between(2, 255));
  recipe.traffic_class = dice.byte();
  recipe.dont_fragment = dice.one_in(2);
  recipe.id = dice.half();
  recipe.flow_label = static_cast<std::uint32_t>(dice.word());
  recipe.seed = static_cast<std::uint32_t>(dice.word());
  recipe.outer_ttl = dice.byte();
  recipe.outer_traffic_class = dice.byte();
  if (may_change_mark(recipe.outer_traffic_class, recipe.traffic_class)) {
    recipe.outer_traffic_class = static_cast<std::uint8_t>(recipe.outer_traffic_class & ~kEcnMask) | kNotEct;
  }
  recipe.outer_dont_fragment = dice.one_in(2);
  recipe.outer_id = dice.half(), recipe.outer_source_port = dice.half();
  recipe.outer_checksum = dice.one_in(2) ? std::uint16_t{0} : dice.half();
  recipe.outer_flow_label = static_cast<std::uint32_t>(dice.word());
  recipe.padding = dice.one_in(4) ? dice.between(1, 46) : 0;
  return recipe;
}

// What an oddity leads to that comes on top of others.
Expected weaker(Expected a, Expected b) { return a == Expected::kForwarded ? b : Expected::kEither; }

void note(VariedPacket& packet, const char* name) {
  packet.what += (packet.what.empty() ? "" : " + ") + std::string(name);
}

// Options of no kind but Geneve, and none without a tunnel.
void drop_what_does_not_apply(PacketRecipe& recipe, const FlowDirection& direction) {
  if (direction.is.from != EncapsulationKind::kGeneve) {
    recipe.tunnel_options.clear();
  }
  if (direction.is.family != Family::kIpv4) {
    recipe.ip_options.clear();
  }
}

}  // namespace

VariedPacket vary(RandomFleet& fleet, const FlowDirection& direction, Dice& dice) {
  VariedPacket packet;
  packet.device = direction.arrival.device;
  if (direction.handed_down) {
    packet.ip_corner = Be16::raw(direction.handed_down->ip_delta).host();
    packet.l4_corner = Be16::raw(direction.handed_down->l4_delta).host();
  }
  PacketRecipe recipe = plain_recipe(direction, dice);
  const std::size_t kind = dice.below(16);  // half of them plain
  const std::size_t recipes = kind < 8 ? 0 : kind < 10 ? 1 : kind == 10 ? 2 : 0;
  const std::size_t frames = kind < 10 ? 0 : kind < 15 ? 1 : dice.between(2, 4);
  for (std::size_t i = 0; i < recipes; ++i) {
    const RecipeOddity& oddity = dice.of(kRecipeOddities);
    oddity.apply(recipe, direction, dice);
    packet.expected = weaker(packet.expected, oddity.expected);
    note(packet, oddity.name);
  }
  const bool tcp = direction.is.protocol == IpProtocol::kTcp;
  if (packet.expected == Expected::kUp && !tcp) {
    packet.expected = Expected::kEither;
  }
  drop_what_does_not_apply(recipe, direction);
  packet.frame = build_frame(direction.arrival, recipe, fleet.device(direction.arrival.device).mac());
  const std::size_t whole = packet.frame.bytes.size();
  for (std::size_t i = 0; i < frames && packet.frame.bytes.size() + recipe.padding >= whole; ++i) {  // not truncated
    const FrameOddity& oddity = dice.of(kFrameOddities);
    oddity.apply(packet, fleet, dice);
    packet.expected = Expected::kEither;
    packet.damaged = true;
    note(packet, oddity.name);
  }
  if (packet.damaged && dice.one_in(2)) {
    mend_outer_checksum(packet.frame);
  }
  packet.frame.bytes.resize(std::min(packet.frame.bytes.size(), SteeredDevice::kLongest));
  return packet;
}

std::span<const std::string> oddity_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const RecipeOddity& oddity : kRecipeOddities) {
      all.emplace_back(oddity.name);
    }
    for (const FrameOddity& oddity : kFrameOddities) {
      all.emplace_back(oddity.name);
    }
    return all;
  }();
  return names;
}

}  // namespace isthmus::test
