#include "test/fuzz/sequence/traffic.h"

#include <algorithm>

namespace isthmus::test {
namespace {

constexpr std::uint8_t kRemembered = 8;
constexpr unsigned kMostActions = 200;
constexpr std::uint8_t kFlags[] = {kSyn, kAck, kSyn | kAck, kFin | kAck, kRst, kRst | kAck, kAck, 0};

void set_flags(PacketSpec& spec, std::uint8_t choice) {
  spec.flags = kFlags[choice % std::size(kFlags)];
  spec.payload = choice % std::size(kFlags) == 6 ? 100 : spec.payload;
}

}  // namespace

void Traffic::run(Input& in) {
  for (unsigned i = 0; i < kMostActions && !in.empty(); ++i) {
    act(in.byte(), in);
  }
  round();
  ledger_.close();
}

void Traffic::act(std::uint8_t action, Input& in) {
  constexpr std::uint8_t kModified = 0x80, kBurst = 0x40, kActions = 16;
  const bool modified = (action & kModified) != 0;
  burst_ = (action & kBurst) != 0;
  switch (action % kActions) {
    case 0:
    case 1:
      return open(in, modified);
    case 2:
      return again(in, modified);
    case 3:
    case 4:
      return answer(in, modified);
    case 5:
      return report(in, modified);
    case 6:
      return misreport(in, modified);
    case 7:
    case 8:
      round();
      return fleet_.change(in);
    case 9:
      return wait(in);
    case 10:
      return probe(in);
    case 11:
      return settle_flow(in);
    case 12:
      return flood(in);
    case 13:
      return scan(in);
    case 14:
      return raw(in);
    default:
      return round();
  }
}

std::vector<Endpoint> Traffic::targets(bool v4) const {
  std::vector<Endpoint> all;
  const auto add = [&](const Endpoint& end) {
    if (end.address.is_ipv4() == v4) {
      all.push_back(end);
    }
  };
  const Actors& at = fleet_.rig().at;
  for (const Service& service : fleet_.services()) {
    add(service.vip);
  }
  for (const Actor& actor : fleet_.actors()) {
    add(actor.at);
  }
  add({at.translation, 40'000});
  add({at.translation6, 40'000});
  add({at.gateway, 4240});
  return all;
}

Traffic::Way Traffic::way_from(const IpAddress& source) const {
  const Home home = fleet_.home_of(source);
  if (home == Home::kLocal || home == Home::kOutside) {
    return {};
  }
  if (home == Home::kNative) {
    return {true};
  }
  return {true, fleet_.sender_of(home), fleet_.vni_of(source)};
}

// From where the packet has gone to.
Traffic::Way Traffic::way_back(const Seen& seen) const {
  if (!seen.packet.tunnelled) {
    return {seen.underlay};
  }
  return {true, seen.packet.outer_destination, fleet_.vni_of(seen.packet.destination)};
}

PacketSpec Traffic::first_packet(Input& in) const {
  const Actor& actor = fleet_.actors()[in.byte() % fleet_.actors().size()];
  const std::vector<Endpoint> all = targets(actor.at.address.is_ipv4());
  const Endpoint to = all[in.byte() % all.size()];
  const std::uint8_t what = in.byte();
  const unsigned shift = what >> 5;
  const Endpoint from{actor.at.address, static_cast<std::uint16_t>(actor.at.port + shift)};
  // The services of echo requests have the port that follows this identifier.
  const auto identifier = static_cast<std::uint16_t>(99 + shift);
  switch (what % 8) {
    case 0:
    case 1:
      return tcp(from, to, kSyn);
    case 2:
      return tcp(from, to, kFlags[what / 8 % 4 + 1]);
    case 3:
      return tcp(from, to, what / 8 % 2 == 0 ? kAck : kSyn | kFin);
    case 4:
      return udp(from, {to.address, static_cast<std::uint16_t>(what / 8 % 2 == 0 ? 53 : to.port)});
    case 5:
      return udp(from, to);
    case 6:
      return echo_request(from.address, to.address, identifier);
    default:
      return echo_reply(from.address, to.address, identifier);
  }
}

void Traffic::open(Input& in, bool modified) {
  PacketSpec spec = first_packet(in);
  Way way = way_from(spec.source);
  if (modified) {
    modify(in, spec, way);
  }
  send(std::move(spec), std::move(way));
}

void Traffic::again(Input& in, bool modified) {
  if (sent_.empty()) {
    return;
  }
  const std::uint8_t choice = in.byte();
  auto [spec, way] = sent_.of(choice);
  if (spec.protocol == IpProtocol::kTcp) {
    set_flags(spec, choice / kRemembered);
  }
  if (modified) {
    modify(in, spec, way);
  }
  send(std::move(spec), std::move(way));
}

PacketSpec Traffic::answer_to(const Dissected& packet) {
  const Endpoint from{packet.destination, packet.destination_port}, to{packet.source, packet.source_port};
  switch (packet.protocol) {
    case IpProtocol::kTcp:
      return tcp(from, to, (packet.tcp_flags & (kSyn | kAck)) == kSyn ? kSyn | kAck : kAck);
    case IpProtocol::kUdp:
      return udp(from, to);
    case IpProtocol::kSctp:
      return sctp(from, to);
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6: {
      const bool request = packet.icmp_type == 8 || packet.icmp_type == 128;
      return request ? echo_reply(from.address, to.address, to.port) : echo_request(from.address, to.address, to.port);
    }
    default:
      return portless(from.address, to.address, static_cast<std::uint8_t>(packet.protocol));
  }
}

void Traffic::answer(Input& in, bool modified) {
  if (seen_.empty()) {
    return;
  }
  const std::uint8_t choice = in.byte();
  const Seen seen = seen_.of(choice);
  PacketSpec spec = answer_to(seen.packet);
  Way way = way_back(seen);
  if (spec.protocol == IpProtocol::kTcp && choice >= kRemembered) {
    set_flags(spec, choice / kRemembered);
  }
  if (modified) {
    modify(in, spec, way);
    return send(std::move(spec), std::move(way));
  }
  send(std::move(spec), std::move(way), &seen);
}

// An ICMP error about a packet that has come out, from its receiver or from a router on its way.
void Traffic::report(Input& in, bool modified) {
  if (seen_.empty()) {
    return;
  }
  const std::uint8_t choice = in.byte(), what = in.byte();
  const Seen& seen = seen_.of(choice);
  const bool v4 = seen.packet.source.is_ipv4();
  struct Kind {
    std::uint8_t type, code;
    std::uint16_t mtu;
  };
  constexpr std::array<Kind, 8> kIpv4{
      {{3, 1, 0}, {3, 3, 0}, {3, 4, 1300}, {3, 4, 300}, {11, 0, 0}, {12, 0, 0}, {3, 13, 0}, {3, 0, 0}}};
  constexpr std::array<Kind, 8> kIpv6{
      {{1, 0, 0}, {1, 4, 0}, {2, 0, 1300}, {2, 0, 1000}, {3, 0, 0}, {4, 0, 0}, {4, 1, 0}, {1, 1, 0}}};
  const Kind& kind = (v4 ? kIpv4 : kIpv6)[what % 8];
  FrameBytes quote = seen.ip;
  const std::array<std::size_t, 4> lengths{quote.size(), v4 ? 28U : 48U, v4 ? 64U : 60U, v4 ? 40U : 54U};
  quote.resize(std::min(quote.size(), lengths[choice / kRemembered % 4]));
  const std::array<IpAddress, 8> reporters{seen.packet.destination,
                                           seen.packet.destination,
                                           seen.packet.destination,
                                           Actors::ip(v4 ? "10.2.255.254" : "fd00:2::ff:fe"),
                                           Actors::ip(v4 ? "10.1.255.254" : "fd00:1::ff:fe"),
                                           Actors::ip(v4 ? "10.5.255.254" : "fd00:5::ff:fe"),
                                           Actors::ip(v4 ? "203.0.113.1" : "2001:db8:ff::1"),
                                           fleet_.rig().at.gateway};
  const IpAddress from = reporters[what / 8 % 8];
  if (from.family() != seen.packet.source.family()) {
    return;
  }
  PacketSpec spec = icmp_error(from, seen.packet.source, kind.type, kind.code, quote).with_mtu(kind.mtu);
  Way way = way_back(seen);
  if (what >= 0x80) {
    way.vni = 6;
  }
  if (modified) {
    modify(in, spec, way);
  }
  send(std::move(spec), std::move(way));
}

// One about a packet that was sent, as if it had arrived as it was.
void Traffic::misreport(Input& in, bool modified) {
  if (sent_.empty()) {
    return;
  }
  const Sent& sent = sent_.of(in.byte());
  if (sent.way.damaged || sent.spec.quoted || sent.spec.raw) {
    return;
  }
  const Actor& actor = fleet_.actors()[in.byte() % fleet_.actors().size()];
  const bool v4 = sent.spec.source.is_ipv4();
  const IpAddress from = actor.at.address.is_ipv4() == v4 ? actor.at.address : sent.spec.destination;
  PacketSpec spec = icmp_error(from, sent.spec.source, v4 ? 3 : 1, 1, sent.spec.ip_bytes());
  Way way = way_from(from);
  if (modified) {
    modify(in, spec, way);
  }
  send(std::move(spec), std::move(way));
}

// A flow whose both ends have been heard.
void Traffic::settle_flow(Input& in) {
  burst_ = false;
  const PacketSpec first = first_packet(in);
  const std::size_t before = seen_.added();
  send(first, way_from(first.source));
  if (seen_.added() == before) {
    return;
  }
  const Seen seen = seen_.newest();
  send(answer_to(seen.packet), way_back(seen), &seen);
  if (first.protocol == IpProtocol::kTcp) {
    PacketSpec acknowledgement = first;
    send(acknowledgement.with_flags(kAck), way_from(first.source));
  }
}

// Many flows from one source.
void Traffic::flood(Input& in) {
  PacketSpec spec = first_packet(in);
  const Way way = way_from(spec.source);
  burst_ = true;
  for (unsigned left = (in.byte() % 8 + 1) * 16; left > 0; --left) {
    ++spec.source_port;
    send(spec, way);
  }
  round();
}

// Packets from many sources of one cluster that are no endpoints.
void Traffic::scan(Input& in) {
  const std::uint8_t choice = in.byte();
  const std::array<Home, 4> homes{Home::kWest, Home::kNorth, Home::kSouth, Home::kNode};
  const std::size_t number = choice % homes.size();
  const std::array<std::uint32_t, 4> clusters{2, 3, 4, 1};
  const unsigned count = choice >= 0xfc ? 256 : 8 * (choice / 4 % 4 + 1);
  burst_ = true;
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t address = 10U << 24 | clusters[number] << 16 | (0x1000 + i);
    const PacketSpec spec = tcp({IpAddress::ipv4(Be32::of(address)), 1}, fleet_.rig().at.client, kSyn);
    send(spec, {true, fleet_.sender_of(homes[number]), clusters[number] << 16 | 300});
  }
  round();
}

void Traffic::wait(Input& in) {
  constexpr std::uint64_t kMilli = 1'000'000, kSecond = 1000 * kMilli;
  constexpr std::array<std::uint64_t, 16> kTimes{
      kMilli,      100 * kMilli, kSecond,      2 * kSecond,  3 * kSecond,  4 * kSecond,  5 * kSecond,  6 * kSecond,
      8 * kSecond, 9 * kSecond,  10 * kSecond, 11 * kSecond, 31 * kSecond, 61 * kSecond, 62 * kSecond, 8001 * kSecond};
  const std::uint8_t choice = in.byte();
  if ((choice & 0x10) != 0) {  // what was injected arrives later
    round();
  }
  fleet_.pass(Nanoseconds{kTimes[choice % kTimes.size()]});
  if ((choice & 0x20) != 0) {
    round();
  }
}

void Traffic::raw(Input& in) {
  const std::uint8_t size = in.byte();
  FrameBytes frame(14 + size % 128);
  std::generate(frame.begin(), frame.end(), [&] { return in.byte(); });
  ledger_.inject((size & 0x80) != 0, frame, true);
  round();
}

}  // namespace isthmus::test
