// How packets are modified, sent, and remembered when they have come out.
#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "test/fuzz/sequence/traffic.h"

namespace isthmus::test {
namespace {

constexpr std::uint16_t kProbePort = 4239;

// What may be unusual about a tunnel's headers, by number.
void make_unusual(PacketSpec::Tunnel& tunnel, std::uint8_t how) {
  const bool geneve = tunnel.kind == EncapsulationKind::kGeneve;
  tunnel.ecn = how & 3;
  tunnel.padding = (how & 4) != 0 ? 18 : 0;
  const std::uint8_t what = how >> 3 & 15;
  constexpr std::uint8_t kCritical = 0x80;
  const std::array<FrameBytes, 6> options{FrameBytes{1, 2, 0, 0}, {1, 2, 0, 1, 9, 9, 9, 9, 1, 2, 0, 0},
                                          {1, 2, kCritical, 0},   {1, 2, 0, 0, 1, 2, kCritical, 1, 0, 0, 0, 0},
                                          {1, 2, 0, 1},           {}};
  if (what >= 1 && what <= options.size() && geneve) {
    tunnel.options = options[what - 1];
  }
  switch (what) {
    case 8:
      tunnel.flags ^= geneve ? 0x00800000U : 0x80000000U;
      break;
    case 9:
      tunnel.flags ^= geneve ? 0x00400000U : 0x00000100U;
      break;
    case 10:
      tunnel.flags ^= geneve ? 0x40000000U : 0x08000000U;
      break;
    case 11:
      tunnel.flags ^= geneve ? 0x00000001U : 0x00000001U;
      break;
    case 12:
      tunnel.low_byte = 1;
      break;
    case 13:
      tunnel.udp_checksum = false;
      break;
    case 14:
      tunnel.flags |= geneve ? 0x3f000000U : 0U;  // more options than there are bytes
      break;
    case 15:
      tunnel.port = tunnel.port == 8472 ? 6081 : 8472;
      break;
    default:
      break;
  }
}

bool is_echo(IpProtocol protocol) { return protocol == IpProtocol::kIcmp || protocol == IpProtocol::kIcmpv6; }

// The packet's own IP header and what follows.
FrameBytes inner_ip(const Output& out) {
  constexpr std::size_t kEthernet = 14, kTunnel = 8 + 8 + kEthernet;
  const std::size_t outer = out.packet.outer_source.is_ipv4() ? 20 : 40;
  const std::size_t start = kEthernet + (out.packet.tunnelled ? outer + kTunnel : 0);
  return {out.bytes.begin() + static_cast<std::ptrdiff_t>(start), out.bytes.end()};
}

bool same_flow(const Dissected& a, const Dissected& b) {
  return a.protocol == b.protocol && a.icmp_type == b.icmp_type && a.source == b.source &&
         a.destination == b.destination && a.source_port == b.source_port && a.destination_port == b.destination_port &&
         a.tunnelled == b.tunnelled && a.outer_destination == b.outer_destination;
}

}  // namespace

void Traffic::modify(Input& in, PacketSpec& spec, Way& way) const {
  const std::uint8_t how = in.byte();
  spec.with_ecn(how & 3);
  constexpr std::uint8_t kOneHop = 1, kLongUnfragmented = 2, kLong = 3;
  switch (how >> 2 & 3) {
    case kOneHop:
      spec.with_ttl(1);
      break;
    case kLongUnfragmented:
      spec.with_payload(1420).with_df();
      break;
    case kLong:
      spec.with_payload(1380);
      break;
    default:
      break;
  }
  if ((how & 0x10) != 0) {
    const std::uint32_t own = fleet_.vni_of(spec.source);
    const std::array<std::uint32_t, 16> numbers{
        own,           6,   2,   1,       4, 8, 300, 0, own + 1, kWestIdentity, kNorthIdentity, kClientIdentity,
        1 << 16 | 500, 105, 130, 0xffffff};
    const std::uint8_t sender = in.byte();
    way = {true, fleet_.senders()[sender % fleet_.senders().size()], in.of(numbers)};
  }
  if ((how & 0x20) != 0) {
    way.outer = in.byte();
  }
  if ((how & 0x40) != 0) {
    damage(in, spec, way);
  }
  if ((how & 0x80) != 0) {
    const std::uint32_t where = in.word();
    way.flip = where << 8 | in.byte();
    way.damaged = true;
  }
}

// Of the packet itself; a tunnel's checksums are right all the same.
void Traffic::damage(Input& in, PacketSpec& spec, Way& way) {
  const std::uint8_t what = in.byte();
  switch (what % 8) {
    case 0:
      spec.as_fragment(std::array<std::uint16_t, 4>{100, 1, 0x2000, 0x2001}[what >> 6]);
      return;
    case 1:
      spec.without_udp_checksum();
      return;
    case 2:
      spec.protocol = IpProtocol::kGre;
      spec.source_port = spec.destination_port = 0;
      spec.flags = 0;
      return;
    case 3:
      way.underlay = !way.underlay;
      way.sender.reset();
      return;
    default:
      break;
  }
  FrameBytes bytes = spec.ip_bytes();
  const std::size_t where = in.byte() % std::min<std::size_t>(bytes.size(), 80);
  if (what % 8 == 4) {
    bytes.resize(std::max<std::size_t>(where, 20));
  } else if (what % 8 == 5) {
    bytes.resize(bytes.size() + where % 16, 0xee);
  } else {
    bytes[where] = what % 8 == 6 ? in.byte() : static_cast<std::uint8_t>(bytes[where] ^ 1U << (what >> 5));
  }
  spec.raw = std::move(bytes);
  way.damaged = true;
}

void Traffic::send(PacketSpec spec, Way way, const Seen* answers) {
  if (spec.source.family() != spec.destination.family() || budget_ == 0) {
    return;
  }
  --budget_;
  if (way.sender) {
    spec.in_tunnel(*way.sender, fleet_.rig().at.gateway, way.vni);
    if (fleet_.kind_from(*way.sender) == EncapsulationKind::kGeneve) {
      spec.as_geneve();
    }
    make_unusual(*spec.tunnel, way.outer);
  }
  FrameBytes bytes = spec.bytes();
  if (way.flip) {
    bytes[(*way.flip >> 8) % bytes.size()] = static_cast<std::uint8_t>(*way.flip);
  }
  ledger_.inject(way.underlay, bytes, way.damaged);
  const bool plain = !way.damaged && !spec.quoted;
  spec.tunnel.reset();
  if (!burst_ || ledger_.full()) {
    round(plain && !burst_ ? &spec : nullptr, answers);
  }
  way.flip.reset();
  if (plain) {
    sent_.add({std::move(spec), std::move(way)});
  }
}

void Traffic::round(const PacketSpec* sent, const Seen* answers) {
  const Ledger::Round round = ledger_.run();
  for (const Output& out : round.out) {
    remember(out, round, round.single ? sent : nullptr);
  }
  if (answers != nullptr && round.single && answers->sent && answers->removed == round.removed) {
    check_answer(round.out.front(), *answers);
  }
}

void Traffic::remember(const Output& out, const Ledger::Round& round, const PacketSpec* sent) {
  const bool flow = out.packet.errors.empty() && out.packet.quoted.empty() && out.packet.vni != 4;
  const bool known = std::any_of(seen_.all().begin(), seen_.all().end(), [&](const Seen& seen) {
    return seen.removed == round.removed && same_flow(seen.packet, out.packet);
  });
  if (!flow || known) {
    return;
  }
  Seen seen{out.packet, out.underlay, inner_ip(out), {}, round.removed};
  if (sent != nullptr && (sent->flags & kRst) == 0) {  // a reset may pass without a connection
    seen.sent = *sent;
  }
  seen_.add(std::move(seen));
}

void Traffic::check_answer(const Output& out, const Seen& seen) {
  const Dissected& packet = out.packet;
  const PacketSpec& sent = *seen.sent;
  const bool echo = is_echo(sent.protocol);
  const std::uint16_t source_port = echo ? sent.source_port : sent.destination_port;
  const std::uint16_t destination_port = echo ? std::uint16_t{0} : sent.source_port;
  if (packet.source != sent.destination || packet.destination != sent.source || packet.source_port != source_port ||
      packet.destination_port != destination_port) {
    __builtin_trap();
  }
}

PacketSpec Traffic::probe_packet(const IpAddress& from, const IpAddress& to, std::uint8_t kind,
                                 std::uint32_t sequence) {
  constexpr std::size_t kProbe = 12, kUdp = 8;
  PacketSpec spec = udp({from, kProbePort}, {to, kProbePort}).with_payload(kProbe);
  FrameBytes bytes = spec.ip_bytes();
  std::uint8_t* const l4 = bytes.data() + bytes.size() - kProbe - kUdp;
  const std::array<std::uint8_t, kProbe> probe{'I', 'S', 'T', 'P', 1, kind,
                                               0,   0,   0,   0,   0, static_cast<std::uint8_t>(sequence)};
  std::copy(probe.begin(), probe.end(), l4 + kUdp);
  l4[6] = l4[7] = 0;
  const std::uint16_t sum = net::checksum(
      l4, kUdp + kProbe, net::pseudo_header_sum(from, to, IpProtocol::kUdp, static_cast<std::uint32_t>(kUdp + kProbe)));
  std::memcpy(l4 + 6, &sum, sizeof sum);
  spec.raw = std::move(bytes);
  return spec;
}

// Of the gateway to a peer, of a peer to the gateway, or an answer, to one of the gateway's or not.
void Traffic::probe(Input& in) {
  const std::uint8_t how = in.byte();
  const IpAddress sender = fleet_.senders()[how / 4 % fleet_.senders().size()];
  if (how % 4 == 0) {
    const std::uint32_t sequence = in.byte();
    probes_.add(sequence);
    ledger_.send_probe(PeerId{1 + how / 4U % 10}, sequence);
    return round();
  }
  const bool known = how % 4 == 3 && !probes_.empty();
  const std::uint32_t sequence = known ? probes_.newest() : in.byte();
  const IpAddress claimed = how >= 0xf0 ? fleet_.rig().at.west.address : sender;
  const IpAddress to = fleet_.rig().at.gateway;
  if (claimed.family() != to.family()) {
    return;
  }
  const std::array<std::uint8_t, 4> kinds{1, 1, 2, 2};
  burst_ = false;
  Way way{true, sender, how >= 0xe0 && how < 0xf0 ? 6U : 4U};
  send(probe_packet(claimed, to, how == 0xdd ? std::uint8_t{9} : kinds[how % 4], sequence), std::move(way));
}

}  // namespace isthmus::test
