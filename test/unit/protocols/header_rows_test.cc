// Every header that we read, in every way in which it can be wrong, ends in its named drop, whichever device it comes
// from: of the local device, and inside tunnels of both kinds.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

using Drops = std::map<std::string, std::uint64_t>;
using Change = std::function<void(FrameBytes& ip)>;
const Actors at;

constexpr std::size_t kV4 = 20, kV6 = 40;  // where L4 begins
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kAh = 51, kDestination = 60;

// What a row is made from, from `from` to `to`.
using Make = PacketSpec (*)(const Endpoint& from, const Endpoint& to);
PacketSpec of_tcp(const Endpoint& from, const Endpoint& to) { return tcp(from, to).with_payload(20); }
PacketSpec of_udp(const Endpoint& from, const Endpoint& to) { return udp(from, to).with_payload(20); }
PacketSpec of_sctp(const Endpoint& from, const Endpoint& to) { return sctp(from, to).with_payload(20); }
PacketSpec of_echo(const Endpoint& from, const Endpoint& to) {
  return echo_request(from.address, to.address, 7).with_payload(20);
}
PacketSpec of_error(const Endpoint& from, const Endpoint& to) {
  const bool v4 = to.address.is_ipv4();
  return icmp_error(from.address, to.address, v4 ? 3 : 1, v4 ? 3 : 4, udp(to, from).with_payload(20).ip_bytes());
}

struct Row {
  const char* description;
  const char* reason;
  bool v4;
  Make make;
  Change change;
};

// Sets one byte of the IP packet.
Change set(std::size_t where, std::uint8_t value) {
  return [=](FrameBytes& ip) { ip.at(where) = value; };
}
Change set16(std::size_t where, unsigned value) {
  return [=](FrameBytes& ip) { ip.at(where) = static_cast<std::uint8_t>(value >> 8), ip.at(where + 1) = value & 0xff; };
}
void fix_length(FrameBytes& ip) {
  const std::size_t length = ip[0] >> 4 == 4 ? ip.size() : ip.size() - kV6;
  set16(ip[0] >> 4 == 4 ? 2 : 4, static_cast<unsigned>(length))(ip);
}
// So many bytes of the packet behind the IP header.
Change cut(std::size_t l4_bytes) {
  return [=](FrameBytes& ip) {
    ip.resize((ip[0] >> 4 == 4 ? kV4 : kV6) + l4_bytes);
    fix_length(ip);
  };
}
// IPv4 options in front of L4.
Change options(FrameBytes bytes) {
  return [=](FrameBytes& ip) {
    ip.insert(ip.begin() + kV4, bytes.begin(), bytes.end());
    ip[0] = static_cast<std::uint8_t>(0x40 | (kV4 + bytes.size()) / 4);
    fix_length(ip);
  };
}
using Header = std::pair<std::uint8_t, FrameBytes>;
// IPv6 extension headers in front of L4; the first byte of each is filled in.
Change headers(std::vector<Header> chain) {
  return [=](FrameBytes& ip) {
    FrameBytes all;
    std::uint8_t last = ip[6];
    for (std::size_t i = 0; i < chain.size(); ++i) {
      FrameBytes header = chain[i].second;
      header.at(0) = i + 1 < chain.size() ? chain[i + 1].first : last;
      all.insert(all.end(), header.begin(), header.end());
    }
    ip[6] = chain.at(0).first;
    ip.insert(ip.begin() + kV6, all.begin(), all.end());
    fix_length(ip);
  };
}
// The chain, and nothing behind it.
Change only_headers(std::vector<Header> chain) {
  return [=](FrameBytes& ip) {
    ip.resize(kV6);
    headers(chain)(ip);
  };
}
Change both(Change a, Change b) {
  return [=](FrameBytes& ip) {
    a(ip);
    b(ip);
  };
}

const FrameBytes kOptions{0, 0, 1, 4, 0, 0, 0, 0};  // padding
const FrameBytes kPart{0, 0, 0, 1, 0, 0, 0, 9};     // of a fragment header: the first one
const FrameBytes kWhole{0, 0, 0, 0, 0, 0, 0, 9};
FrameBytes segments(std::uint8_t type, std::uint8_t left) {
  FrameBytes header(24, 0);
  header[1] = 2, header[2] = type, header[3] = left;
  return header;
}

std::vector<Row> ip_rows() {
  std::vector<Row> rows = {
      {"IPv4: version 5", "malformed", true, of_tcp, set(0, 0x55)},
      {"IPv4: version 6", "malformed", true, of_tcp, set(0, 0x65)},
      {"IPv4: a header of 16 bytes", "malformed", true, of_tcp, set(0, 0x44)},
      {"IPv4: a header longer than the packet", "malformed", true, of_tcp, both(cut(20), set(0, 0x4f))},
      {"IPv4: a packet shorter than its header", "malformed", true, of_tcp, set16(2, 19)},
      {"IPv4: a packet of no bytes", "malformed", true, of_tcp, set16(2, 0)},
      {"IPv4: a packet longer than its frame", "malformed", true, of_tcp, set16(2, 61)},
      {"IPv4: an option of no bytes", "malformed", true, of_tcp, options({7, 0, 0, 0})},
      {"IPv4: an option of one byte", "malformed", true, of_tcp, options({7, 1, 0, 0})},
      {"IPv4: an option longer than the header", "malformed", true, of_tcp, options({7, 5, 0, 0})},
      {"IPv4: an option without its length", "malformed", true, of_tcp, options({1, 1, 1, 7})},
      {"IPv4: loose source route", "source_route", true, of_tcp, options({131, 7, 4, 10, 2, 0, 9, 0})},
      {"IPv4: strict source route", "source_route", true, of_udp, options({1, 137, 7, 4, 10, 2, 0, 9})},
      {"IPv4: a source route that is used up", "source_route", true, of_echo, options({131, 3, 4, 0})},
      {"IPv4: hop-by-hop options", "unsupported_l4", true, of_tcp, set(9, kHopByHop)},
      {"IPv4: a routing header", "unsupported_l4", true, of_tcp, set(9, kRouting)},
      {"IPv4: an IPv6 fragment", "unsupported_l4", true, of_tcp, set(9, kFragmentHeader)},
      {"IPv4: destination options", "unsupported_l4", true, of_tcp, set(9, kDestination)},
      {"IPv4: ICMPv6", "unsupported_l4", true, of_tcp, set(9, 58)},
      {"IPv6: version 4", "malformed", false, of_tcp, set(0, 0x40)},
      {"IPv6: version 7", "malformed", false, of_tcp, set(0, 0x70)},
      {"IPv6: a packet longer than its frame", "malformed", false, of_tcp, set16(4, 41)},
      {"IPv6: ICMP", "unsupported_l4", false, of_tcp, set(6, 1)},
      {"IPv6: a source of IPv4", "martian", false, of_tcp,
       [](FrameBytes& ip) {
         std::fill_n(ip.begin() + 8, 10, std::uint8_t{0});
         ip[18] = ip[19] = 0xff;
       }},
  };
  for (const std::size_t bytes : {0, 1, 10, 19}) {
    rows.push_back({"IPv4: less than a header", "malformed", true, of_tcp, [=](FrameBytes& ip) { ip.resize(bytes); }});
    rows.push_back(
        {"IPv6: less than a header", "malformed", false, of_tcp, [=](FrameBytes& ip) { ip.resize(2 * bytes); }});
  }
  return rows;
}

std::vector<Row> chain_rows() {
  const FrameBytes long_header = [] {
    FrameBytes header(264, 0);
    header[1] = 32;
    return header;
  }();
  const std::vector<Header> nine(9, {kDestination, kOptions});
  return {
      {"chain: a hop-by-hop header longer than the packet", "malformed", false, of_tcp,
       headers({{kHopByHop, {0, 99, 1, 4, 0, 0, 0, 0}}})},
      {"chain: four bytes of a hop-by-hop header", "malformed", false, of_tcp,
       only_headers({{kHopByHop, {0, 0, 1, 0}}})},
      {"chain: an option longer than its header", "malformed", false, of_tcp,
       headers({{kHopByHop, {0, 0, 5, 5, 0, 0, 0, 0}}})},
      {"chain: an option without its length", "malformed", false, of_tcp,
       headers({{kDestination, {0, 0, 1, 3, 0, 0, 0, 5}}})},
      {"chain: hop-by-hop options behind another header", "extension_headers", false, of_tcp,
       headers({{kDestination, kOptions}, {kHopByHop, kOptions}})},
      {"chain: hop-by-hop options twice", "extension_headers", false, of_tcp,
       headers({{kHopByHop, kOptions}, {kHopByHop, kOptions}})},
      {"chain: a jumbo payload", "extension_headers", false, of_tcp,
       headers({{kHopByHop, {0, 0, 0xc2, 4, 0, 1, 0, 0}}})},
      {"chain: two fragment headers", "extension_headers", false, of_tcp,
       headers({{kFragmentHeader, kWhole}, {kFragmentHeader, kWhole}})},
      {"chain: nine headers", "extension_headers", false, of_tcp, headers(nine)},
      {"chain: more than 512 bytes", "extension_headers", false, of_tcp,
       headers({{kDestination, long_header}, {kDestination, long_header}})},
      {"chain: a routing header of type 0", "source_route", false, of_tcp, headers({{kRouting, segments(0, 1)}})},
      {"chain: a routing header of type 2", "source_route", false, of_tcp, headers({{kRouting, segments(2, 1)}})},
      {"chain: a segment routing header", "source_route", false, of_udp, headers({{kRouting, segments(4, 1)}})},
      {"chain: a routing header behind another one", "source_route", false, of_tcp,
       headers({{kDestination, kOptions}, {kRouting, segments(0, 0)}, {kRouting, segments(253, 255)}})},
      {"chain: a routing header longer than the packet", "malformed", false, of_tcp,
       headers({{kRouting, {0, 60, 0, 0, 0, 0, 0, 0}}})},
      {"chain: a home address", "source_route", false, of_tcp,
       headers({{kDestination,
                 [] {
                   FrameBytes header(24, 0);
                   header[1] = 2, header[2] = 1, header[3] = 2, header[6] = 0xc9, header[7] = 16;
                   return header;
                 }()}})},
      {"chain: AH of eight bytes", "malformed", false, of_tcp, headers({{kAh, {0, 0, 0, 0, 0, 0, 0, 1}}})},
      {"chain: AH longer than the packet", "malformed", false, of_tcp, headers({{kAh, {0, 200, 0, 0, 0, 0, 0, 1}}})},
      {"chain: half a fragment header", "malformed", false, of_tcp, only_headers({{kFragmentHeader, {0, 0, 0, 0}}})},
      {"chain: a first fragment without all headers", "fragment_invalid", false, of_udp,
       only_headers({{kFragmentHeader, kPart}, {kDestination, {0, 5, 1, 4, 0, 0, 0, 0}}})},
      {"chain: no L4 header behind it", "malformed", false, of_tcp,
       only_headers({{kDestination, {6, 0, 1, 4, 0, 0, 0, 0}}})},
  };
}

std::vector<Row> l4_rows() {
  std::vector<Row> rows;
  for (const bool v4 : {true, false}) {
    const std::size_t l4 = v4 ? kV4 : kV6;
    for (const std::size_t bytes : {0, 7, 8, 13, 19}) {
      rows.push_back({"TCP: less than a header", "malformed", v4, of_tcp, cut(bytes)});
    }
    for (const std::uint8_t words : FrameBytes{0, 1, 4}) {
      rows.push_back({"TCP: a header shorter than the least", "malformed", v4, of_tcp,
                      set(l4 + 12, static_cast<std::uint8_t>(words << 4))});
    }
    rows.push_back({"TCP: a header longer than the packet", "malformed", v4, of_tcp, set(l4 + 12, 0xb0)});
    for (const std::size_t bytes : {0, 4, 7}) {
      rows.push_back({"UDP: less than a header", "malformed", v4, of_udp, cut(bytes)});
      rows.push_back({"ICMP: less than a header", "malformed", v4, of_echo, cut(bytes)});
      rows.push_back({"an ICMP error: less than a header", "malformed", v4, of_error, cut(bytes)});
      rows.push_back({"SCTP: less than a header", "malformed", v4, of_sctp, cut(bytes)});
    }
    rows.push_back({"SCTP: without a whole checksum", "malformed", v4, of_sctp, cut(11)});
    rows.push_back({"UDP: a datagram of less than its header", "malformed", v4, of_udp, set16(l4 + 4, 7)});
    rows.push_back({"UDP: a datagram of no bytes", "malformed", v4, of_udp, set16(l4 + 4, 0)});
    rows.push_back({"UDP: a datagram longer than the packet", "malformed", v4, of_udp, set16(l4 + 4, 29)});
    for (const std::uint8_t type : v4 ? FrameBytes{1, 2, 4, 5, 9, 10, 13, 14, 17, 42, 255}
                                      : FrameBytes{0, 5, 100, 127, 130, 133, 135, 137, 255}) {
      rows.push_back({"ICMP: a type that is not forwarded", "unsupported_icmp", v4, of_echo, set(l4, type)});
    }
    const std::size_t quoted = l4 + 8;
    for (const std::size_t bytes : {0, 1, 19, v4 ? 27 : 39, v4 ? 27 : 47}) {
      rows.push_back({"an ICMP error: a quote of less than headers", "malformed", v4, of_error, cut(8 + bytes)});
    }
    rows.push_back({"an ICMP error: a quote of the other version", "malformed", v4, of_error,
                    set(quoted, v4 ? std::uint8_t{0x60} : std::uint8_t{0x45})});
    rows.push_back(
        {"an ICMP error: about another host's packet", "icmp_invalid", v4, of_error, set(quoted + (v4 ? 15 : 23), 99)});
    rows.push_back({"an ICMP error: by another than the packet was sent to", "icmp_reporter", v4, of_error,
                    set(v4 ? 15 : 23, 99)});
    rows.push_back({"an ICMP error: with an MTU below the least", "icmp_invalid", v4, of_error, [=](FrameBytes& ip) {
                      ip[l4] = v4 ? 3 : 2, ip[l4 + 1] = v4 ? 4 : 0;
                      set16(l4 + 6, v4 ? 551 : 1279)(ip);
                    }});
  }
  rows.push_back({"an ICMP error: a quoted header of 16 bytes", "malformed", true, of_error, set(kV4 + 8, 0x44)});
  rows.push_back({"an ICMP error: a quoted header beyond the quote", "malformed", true, of_error,
                  both(cut(8 + 28), set(kV4 + 8, 0x4f))});
  rows.push_back({"an ICMP error: about a source route", "source_route", true, of_error, [](FrameBytes& ip) {
                    options({131, 3, 4, 0})(ip);
                    std::rotate(ip.begin() + kV4, ip.begin() + kV4 + 4, ip.begin() + kV4 + 4 + 28);
                    ip[0] = 0x45, ip[kV4 + 8] = 0x46;
                  }});
  rows.push_back({"an ICMP error: about a later fragment", "unsupported_icmp", true, of_error, set16(kV4 + 8 + 6, 5)});
  return rows;
}

// The packet from the local device, and out of tunnels of both kinds. The same row, the same name.
void expect_named(const Row& row) {
  const Endpoint pod = row.v4 ? at.client : at.client6, remote = row.v4 ? at.west : at.west6;
  for (const bool tunnelled : {false, true}) {
    for (const EncapsulationKind kind : {EncapsulationKind::kVxlan, EncapsulationKind::kGeneve}) {
      SCOPED_TRACE(std::string(row.description) + (tunnelled ? ", out of a tunnel" : ", from the local device"));
      PathRig::Options options;
      options.kind = kind;
      PathRig rig(options);
      PacketSpec packet = tunnelled ? row.make(remote, pod) : row.make(pod, remote);
      FrameBytes ip = packet.ip_bytes();
      row.change(ip);
      packet.raw = ip;
      const Outcome outcome = tunnelled ? rig.from_underlay(rig.tunnelled(packet, rig.at.west_gateway, kWestIdentity))
                                        : rig.from_local(packet);
      EXPECT_EQ(outcome.drops, (Drops{{row.reason, 1}})) << outcome.text();
      EXPECT_TRUE(outcome.out.empty()) << outcome.text();
      EXPECT_TRUE(rig.flows().empty());
    }
  }
}

TEST(HeaderRows, OfIpv4AndIpv6) {
  for (const Row& row : ip_rows()) {
    expect_named(row);
  }
}
TEST(HeaderRows, OfExtensionHeaders) {
  for (const Row& row : chain_rows()) {
    expect_named(row);
  }
}
TEST(HeaderRows, OfL4) {
  for (const Row& row : l4_rows()) {
    expect_named(row);
  }
}

TEST(HeaderRows, EthernetOnEitherDeviceAndInATunnel) {
  constexpr unsigned kTypes[] = {0, 46, 0x05dc, 0x0806, 0x8035, 0x8100, 0x88a8, 0x8847, 0x8863, 0x8864, 0x88cc, 0xffff};
  PathRig rig;
  const FrameBytes plain = tcp(at.client, at.west).bytes();
  const FrameBytes inside = rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity).bytes();
  for (const unsigned type : kTypes) {
    SCOPED_TRACE(type);
    FrameBytes local = plain, underlay = plain, inner = inside;
    set16(12, type)(local), set16(12, type)(underlay), set16(50 + 12, type)(inner);
    EXPECT_EQ(rig.raw(false, local).drops, (Drops{{"unsupported_l2", 1}}));
    EXPECT_EQ(rig.raw(true, underlay).drops, (Drops{{"unsupported_l2", 1}}));
    EXPECT_EQ(rig.raw(true, inner).drops, (Drops{{"unsupported_l2", 1}}));
  }
  // A tag of each kind in front of what would be a good packet: it is not taken for the untagged network's.
  for (const unsigned tag : {0x8100u, 0x88a8u, 0x9100u}) {
    FrameBytes tagged = plain;
    tagged.insert(tagged.begin() + 12, {static_cast<std::uint8_t>(tag >> 8), static_cast<std::uint8_t>(tag), 0, 5});
    EXPECT_EQ(rig.raw(false, tagged).drops, (Drops{{"unsupported_l2", 1}}));
  }
  for (std::size_t bytes = 0; bytes < 14 + 20; ++bytes) {
    EXPECT_EQ(
        rig.raw(bytes % 2 == 0, FrameBytes(plain.begin(), plain.begin() + static_cast<std::ptrdiff_t>(bytes))).drops,
        (Drops{{"malformed", 1}}))
        << bytes;
  }
}

struct OuterRow {
  const char* description;
  const char* reason;
  EncapsulationKind kind;
  Family underlay;
  Change change;  // of the outer IP packet
  void (*tunnel)(PacketSpec::Tunnel& tunnel) = nullptr;
};

std::vector<OuterRow> outer_rows() {
  constexpr auto kVxlan = EncapsulationKind::kVxlan, kGeneve = EncapsulationKind::kGeneve;
  const Change none = [](FrameBytes&) {};
  std::vector<OuterRow> rows;
  for (const auto kind : {kVxlan, kGeneve}) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      const std::size_t udp = family == Family::kIpv4 ? kV4 : kV6;
      rows.push_back({"outer IP: another version", "malformed", kind, family, set(0, 0x75)});
      rows.push_back(
          {"outer IP: longer than the frame", "malformed", kind, family, set16(family == Family::kIpv4 ? 2 : 4, 1400)});
      rows.push_back({"outer UDP: less than its header", "malformed", kind, family, set16(udp + 4, 7)});
      rows.push_back({"outer UDP: longer than its packet", "malformed", kind, family, set16(udp + 4, 1400)});
      for (const std::size_t bytes : {8, 9, 15, 16, 29}) {
        rows.push_back({"outer UDP: less than a tunnel header and Ethernet", "malformed", kind, family,
                        both(cut(bytes), set16(udp + 4, static_cast<unsigned>(bytes)))});
      }
      rows.push_back({"outer UDP: Ethernet, and no IP header in it", "malformed", kind, family,
                      both(cut(40), set16(udp + 4, 40))});
    }
  }
  const auto row = [&](const char* description, const char* reason, EncapsulationKind kind,
                       void (*tunnel)(PacketSpec::Tunnel&)) {
    rows.push_back({description, reason, kind, Family::kIpv4, none, tunnel});
    rows.push_back({description, reason, kind, Family::kIpv6, none, tunnel});
  };
  using Tunnel = PacketSpec::Tunnel;
  row("VXLAN: no VNI", "tunnel_header", kVxlan, [](Tunnel& t) { t.flags = 0; });
  row("VXLAN: group policy", "tunnel_header", kVxlan, [](Tunnel& t) { t.flags = 0x88000000; });
  row("VXLAN: GPE", "tunnel_header", kVxlan, [](Tunnel& t) { t.flags = 0x0c000003; });
  row("VXLAN: reserved bits", "tunnel_header", kVxlan, [](Tunnel& t) { t.flags = 0x08000001; });
  row("VXLAN: the last byte", "tunnel_header", kVxlan, [](Tunnel& t) { t.low_byte = 1; });
  row("Geneve: another version", "tunnel_header", kGeneve, [](Tunnel& t) { t.flags = 0x40006558; });
  row("Geneve: no Ethernet inside", "tunnel_header", kGeneve, [](Tunnel& t) { t.flags = 0x0800; });
  row("Geneve: a control message", "tunnel_control", kGeneve, [](Tunnel& t) { t.flags = 0x00806558; });
  row("Geneve: a critical option", "tunnel_option", kGeneve, [](Tunnel& t) { t.options = {1, 2, 0x83, 0}; });
  row("Geneve: an option longer than the options", "malformed", kGeneve, [](Tunnel& t) { t.options = {1, 2, 3, 1}; });
  row("Geneve: options longer than the packet", "malformed", kGeneve, [](Tunnel& t) { t.flags = 0x3f006558; });
  for (const auto kind : {kVxlan, kGeneve}) {
    rows.push_back({"outer IPv6: no checksum", "tunnel_checksum", kind, Family::kIpv6, none,
                    [](Tunnel& t) { t.udp_checksum = false; }});
    rows.push_back({"outer IPv6: a wrong checksum", "tunnel_checksum", kind, Family::kIpv6, set(kV6 + 6, 0x5a)});
    rows.push_back({"outer IPv4: a header of 16 bytes", "malformed", kind, Family::kIpv4, set(0, 0x44)});
    rows.push_back(
        {"outer IPv4: a source route", "source_route", kind, Family::kIpv4, options({131, 7, 4, 192, 0, 2, 9, 0})});
    rows.push_back({"outer IPv4: an option of no bytes", "malformed", kind, Family::kIpv4, options({7, 0, 0, 0})});
  }
  return rows;
}

TEST(HeaderRows, OfTunnels) {
  for (const OuterRow& row : outer_rows()) {
    SCOPED_TRACE(std::string(row.description) + ", " + std::string(encapsulation_info(row.kind).name) + " over IPv" +
                 std::to_string(static_cast<unsigned>(row.underlay)));
    PathRig::Options options;
    options.kind = row.kind;
    options.underlay = row.underlay;
    PathRig rig(options);
    PacketSpec packet = rig.tunnelled(tcp(at.west, at.client).with_payload(20), rig.at.west_gateway, kWestIdentity);
    if (row.tunnel != nullptr) {
      row.tunnel(*packet.tunnel);
    }
    FrameBytes frame = packet.bytes();
    FrameBytes ip(frame.begin() + 14, frame.end());
    row.change(ip);
    frame.resize(14);
    frame.insert(frame.end(), ip.begin(), ip.end());
    const Outcome outcome = rig.raw(true, frame);
    EXPECT_EQ(outcome.drops, (Drops{{row.reason, 1}})) << outcome.text();
    EXPECT_TRUE(outcome.out.empty());
  }
}

// Harmless options of the outer header do not keep a tunnel packet out.
TEST(HeaderRows, AnOuterIpv4HeaderMayHaveHarmlessOptions) {
  PathRig rig;
  FrameBytes frame = rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity).bytes();
  FrameBytes ip(frame.begin() + 14, frame.end());
  options({1, 1, 1, 0})(ip);
  frame.resize(14);
  frame.insert(frame.end(), ip.begin(), ip.end());
  EXPECT_EQ(rig.raw(true, frame).only().packet.destination, at.client.address);
}

}  // namespace
}  // namespace isthmus::test
