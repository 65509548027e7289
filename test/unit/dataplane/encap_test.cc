// Encapsulations: what is written for every kind, underlay and inner packet is dissected here field by field, the
// checksum over the whole packet included; what is parsed is tried at every length and with every reserved bit.
#include "dataplane/encap/encap.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "test/support/packet.h"

namespace isthmus {
namespace {

using test::FrameBytes;
using Kind = EncapsulationKind;

constexpr std::uint32_t kVni = 0x02abcd;
constexpr L4Port kPort{4790};
const Be16 kEntropy = Be16::of(0xc123);

struct Ends {
  IpAddress from, to;
};
Ends ends(Family underlay) {
  return underlay == Family::kIpv4 ? Ends{*IpAddress::parse("192.0.2.1"), *IpAddress::parse("192.0.2.2")}
                                   : Ends{*IpAddress::parse("2001:db8::1"), *IpAddress::parse("2001:db8:1::ffff:2")};
}

unsigned word(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<unsigned>(bytes[at] << 8 | bytes[at + 1]);
}

// RFC 1071, word by word.
unsigned plain_sum(std::span<const std::uint8_t> bytes, unsigned sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<unsigned>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}

// The inner packet with the outer header in front, without the outer Ethernet header.
FrameBytes pushed(Kind kind, Family underlay, const FrameBytes& inner, std::uint8_t ecn = 0) {
  const Ends at = ends(underlay);
  const OuterHeader header = encap::build(kind, at.from, at.to, kPort);
  FrameBytes frame(header.size + inner.size(), 0xee);
  std::copy(inner.begin(), inner.end(), frame.begin() + header.size);
  encap::Patch patch;
  patch.vni_word = encap::vni_word(Vni{kVni});
  patch.inner_ip_bytes = static_cast<std::uint32_t>(inner.size());
  patch.family = inner[0] >> 4 == 4 ? Family::kIpv4 : Family::kIpv6;
  patch.id = 0x4711;
  patch.source_port = kEntropy;
  patch.ecn = ecn;
  encap::push(header, patch, frame.data() + header.size);
  EXPECT_EQ(word(frame, 12), underlay == Family::kIpv4 ? 0x0800u : 0x86ddu);
  frame.erase(frame.begin(), frame.begin() + sizeof(net::Ethernet));
  return frame;
}

// Verifies everything of a tunnelled packet, outer IP header first, but for its inner packet.
void check_tunnelled(Kind kind, Family underlay, const FrameBytes& inner, std::uint8_t ecn) {
  const FrameBytes p = pushed(kind, underlay, inner, ecn);
  const bool v4 = underlay == Family::kIpv4;
  const std::size_t udp = v4 ? 20 : 40, tunnel = udp + 8, ethernet = tunnel + 8;
  const Ends at = ends(underlay);
  ASSERT_EQ(p.size(), ethernet + 14 + inner.size());
  EXPECT_EQ(p.size() - inner.size(), encapsulation_overhead(kind, underlay).value());
  const std::span<const std::uint8_t> all(p);
  if (v4) {
    EXPECT_EQ(p[0], 0x45);
    EXPECT_EQ(p[1], ecn);
    EXPECT_EQ(word(p, 2), p.size());
    EXPECT_EQ(word(p, 6), 0u) << "no DF, no offset";
    EXPECT_EQ(p[8], 64);
    EXPECT_EQ(p[9], 17);
    EXPECT_EQ(plain_sum(all.first(20)), 0xffffu);
    EXPECT_EQ(IpAddress::ipv4(net::at<net::Ipv4>(p.data())->source), at.from);
    EXPECT_EQ(IpAddress::ipv4(net::at<net::Ipv4>(p.data())->destination), at.to);
    EXPECT_EQ(word(p, udp + 6), 0u) << "no UDP checksum over IPv4";
  } else {
    EXPECT_EQ(word(p, 0), 0x6000u | ecn << 4);
    EXPECT_EQ(word(p, 4), p.size() - 40);
    EXPECT_EQ(p[6], 17);
    EXPECT_EQ(p[7], 64);
    EXPECT_EQ(IpAddress::ipv6(p.data() + 8), at.from);
    EXPECT_EQ(IpAddress::ipv6(p.data() + 24), at.to);
    EXPECT_NE(word(p, udp + 6), 0u);
    EXPECT_EQ(plain_sum(all.subspan(40), plain_sum(all.subspan(8, 32)) + 17 + static_cast<unsigned>(p.size() - 40)),
              0xffffu);
  }
  EXPECT_EQ(word(p, udp), kEntropy.host());
  EXPECT_EQ(word(p, udp + 2), kPort.value());
  EXPECT_EQ(word(p, udp + 4), p.size() - udp);
  EXPECT_EQ(word(p, tunnel), kind == Kind::kVxlan ? 0x0800u : 0u);
  EXPECT_EQ(word(p, tunnel + 2), kind == Kind::kVxlan ? 0u : 0x6558u);
  EXPECT_EQ(word(p, tunnel + 4) << 8 | p[tunnel + 6], kVni);
  EXPECT_EQ(p[tunnel + 7], 0);
  EXPECT_EQ(p[ethernet] & 1, 0) << "the inner destination is unicast";
  EXPECT_EQ(word(p, ethernet + 12), inner[0] >> 4 == 4 ? 0x0800u : 0x86ddu);
  EXPECT_TRUE(std::equal(inner.begin(), inner.end(), p.begin() + static_cast<std::ptrdiff_t>(ethernet + 14)));
}

struct Row {
  const char* description;
  FrameBytes inner;
};

IpAddress random_address(std::mt19937& random, Family family) {
  IpAddress::ByteArray bytes{};
  for (std::uint8_t& byte : bytes) {
    byte = static_cast<std::uint8_t>(random());
  }
  return family == Family::kIpv6 ? IpAddress(bytes) : IpAddress::ipv4(Be32::of(static_cast<std::uint32_t>(random())));
}

// Inner packets of both families whose checksums are valid, with random addresses and ports.
std::vector<Row> inner_packets(std::mt19937& random, std::size_t payload) {
  std::vector<Row> rows;
  const auto end = [&](Family family) {
    return test::Endpoint{random_address(random, family), static_cast<std::uint16_t>(random())};
  };
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    rows.push_back({"tcp", test::tcp(end(family), end(family)).with_payload(payload).ip_bytes()});
    rows.push_back({"udp", test::udp(end(family), end(family)).with_payload(payload).ip_bytes()});
    rows.push_back({"udp without checksum",
                    test::udp(end(family), end(family)).with_payload(payload).without_udp_checksum().ip_bytes()});
    const test::Endpoint from = end(family);
    rows.push_back({"echo", test::echo_request(from.address, end(family).address, from.port)
                                .with_payload(payload)
                                .with_ttl(static_cast<std::uint8_t>(random()))
                                .ip_bytes()});
    auto other = test::udp(end(family), end(family)).with_payload(payload);
    other.protocol = IpProtocol::kSctp;
    rows.push_back({"sctp", other.ip_bytes()});
    FrameBytes padded = test::udp(end(family), end(family)).with_payload(payload + 8).ip_bytes();
    padded[family == Family::kIpv4 ? 25 : 45] = static_cast<std::uint8_t>(payload + 8);  // UDP length: 8 less
    rows.push_back({"udp shorter than its packet", padded});
  }
  rows.push_back({"fragment", test::udp(end(Family::kIpv4), end(Family::kIpv4)).as_fragment(8).ip_bytes()});
  FrameBytes options = test::udp(end(Family::kIpv6), end(Family::kIpv6)).with_payload(payload).ip_bytes();
  options[6] = 60;  // what looks like UDP is a destination options header
  rows.push_back({"ipv6 extension header", options});
  return rows;
}

TEST(Encap, EveryKindOverEitherFamilyWritesAValidHeader) {
  std::mt19937 random(1);
  for (const Kind kind : {Kind::kVxlan, Kind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      for (unsigned round = 0; round < 300; ++round) {
        for (const Row& row : inner_packets(random, round < 40 ? round : random() % 1300)) {
          SCOPED_TRACE(std::string(encapsulation_info(kind).name) + " over IPv" +
                       std::to_string(static_cast<unsigned>(underlay)) + ", inner " + row.description + " of " +
                       std::to_string(row.inner.size()) + " bytes");
          check_tunnelled(kind, underlay, row.inner, static_cast<std::uint8_t>(random() % 4));
          ASSERT_FALSE(HasFailure());
        }
      }
    }
  }
}

// Whether the checksum of a tunnel packet over IPv6 is found to be right.
bool holds(const FrameBytes& p) {
  const std::uint8_t* inner = p.data() + 40 + 8 + 8 + 14;
  const bool v4 = inner[0] >> 4 == 4;
  const std::uint32_t bytes = v4 ? word(p, 72) : word(p, 74) + 40;
  return encap::checksum_holds(p.data(), inner, bytes, v4 ? Family::kIpv4 : Family::kIpv6, p.data() + p.size());
}

// The same packet with bytes behind the inner one, as a sender that pads its inner frames has it.
FrameBytes padded(FrameBytes p) {
  p.insert(p.end(), {0x12, 0x34, 0x56});
  const std::size_t udp_bytes = p.size() - 40;
  p[4] = p[44] = static_cast<std::uint8_t>(udp_bytes >> 8);
  p[5] = p[45] = static_cast<std::uint8_t>(udp_bytes);
  p[46] = p[47] = 0;
  const std::span<const std::uint8_t> all(p);
  const unsigned sum =
      ~plain_sum(all.subspan(40), plain_sum(all.subspan(8, 32)) + 17 + static_cast<unsigned>(udp_bytes));
  p[46] = static_cast<std::uint8_t>(sum >> 8);
  p[47] = static_cast<std::uint8_t>(sum);
  return p;
}

TEST(Encap, AChecksumOverIpv6IsVerifiedWithoutThePayload) {
  std::mt19937 random(3);
  for (unsigned round = 0; round < 300; ++round) {
    for (const Row& row : inner_packets(random, random() % 1300)) {
      SCOPED_TRACE(row.description);
      FrameBytes p = pushed(Kind::kGeneve, Family::kIpv6, row.inner);
      if (round % 2 != 0) {
        p = padded(p);
      }
      ASSERT_TRUE(holds(p));
      constexpr std::size_t kAddresses = 8, kInner = 70;
      for (std::size_t at = kAddresses; at < kInner; ++at) {
        p[at] ^= 0x10;
        ASSERT_FALSE(holds(p)) << at;
        p[at] ^= 0x10;
      }
      p[46] = p[47] = 0;
      ASSERT_FALSE(holds(p)) << "no checksum";
    }
  }
}

TEST(Encap, AnInnerPacketWithAWrongChecksumGetsAWrongOuterOne) {
  FrameBytes inner = test::tcp({*IpAddress::parse("10.1.0.1"), 1}, {*IpAddress::parse("10.2.0.1"), 2}).ip_bytes();
  inner[36] ^= 1;
  const FrameBytes p = pushed(Kind::kVxlan, Family::kIpv6, inner);
  const std::span<const std::uint8_t> all(p);
  EXPECT_NE(plain_sum(all.subspan(40), plain_sum(all.subspan(8, 32)) + 17 + static_cast<unsigned>(p.size() - 40)),
            0xffffu);
}

TEST(Encap, TheInnerMacsOfTwoEndsDiffer) {
  for (const auto& [from, to] :
       {std::pair{"192.0.2.1", "192.0.2.2"}, {"fd00:ee:1::11", "fd00:ee:4::11"}, {"2001:db8:1::1", "2001:db8:2::1"}}) {
    const OuterHeader header = encap::build(Kind::kVxlan, *IpAddress::parse(from), *IpAddress::parse(to), kPort);
    const std::uint8_t* ethernet = header.bytes.data() + header.size - sizeof(net::Ethernet);
    EXPECT_FALSE(std::equal(ethernet, ethernet + 6, ethernet + 6)) << from;
    EXPECT_EQ(ethernet[0] & 3, 2) << "local and unicast";
    EXPECT_EQ(ethernet[6] & 3, 2) << "local and unicast";
  }
}

TEST(Encap, KindsAreKnownByName) {
  ASSERT_EQ(encapsulations().size(), kEncapsulationKinds);
  for (const EncapsulationInfo& info : encapsulations()) {
    EXPECT_EQ(encapsulation_named(info.name), info.kind);
    EXPECT_EQ(&encapsulation_info(info.kind), &info);
  }
  EXPECT_EQ(encapsulation_named("gre"), std::nullopt);
  EXPECT_EQ(encapsulation_info(Kind::kVxlan).default_port, L4Port{8472});
  EXPECT_EQ(encapsulation_info(Kind::kGeneve).default_port, L4Port{6081});
  EXPECT_EQ(encapsulation_overhead(Kind::kGeneve, Family::kIpv4), Bytes{50});
  EXPECT_EQ(encapsulation_overhead(Kind::kVxlan, Family::kIpv6), Bytes{70});
  EXPECT_EQ(encapsulation_overhead(Kind::kNone, Family::kIpv6), Bytes{0});
}

struct Parsed {
  std::optional<DropReason> drop;
  encap::Tunnelled tunnelled;
};

// Parses exactly these bytes, in memory of their own, so that the sanitizer sees a byte read behind them.
Parsed parsed(Kind kind, const FrameBytes& bytes) {
  const auto memory = std::make_unique<std::uint8_t[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), memory.get());
  Parsed result;
  result.drop = encap::parse(kind, memory.get(), memory.get() + bytes.size(), result.tunnelled);
  return result;
}

// A tunnel header, then `options`, then an Ethernet header and `payload` bytes.
FrameBytes tunnel_bytes(Kind kind, const FrameBytes& options = {}, std::size_t payload = 20) {
  FrameBytes bytes{8, 0, 0, 0, 0x02, 0xab, 0xcd, 0};
  if (kind == Kind::kGeneve) {
    bytes = {static_cast<std::uint8_t>(options.size() / 4), 0, 0x65, 0x58, 0x02, 0xab, 0xcd, 0};
  }
  bytes.insert(bytes.end(), options.begin(), options.end());
  bytes.insert(bytes.end(), 14 + payload, 0x11);
  return bytes;
}

FrameBytes option(std::uint8_t type, std::uint8_t words, std::uint16_t option_class = 0x0102) {
  FrameBytes bytes{static_cast<std::uint8_t>(option_class >> 8), static_cast<std::uint8_t>(option_class), type, words};
  bytes.insert(bytes.end(), words * std::size_t{4}, 0x22);
  return bytes;
}

FrameBytes operator+(FrameBytes a, const FrameBytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(EncapParse, APlainHeaderYieldsTheVniAndTheInnerFrame) {
  for (const Kind kind : {Kind::kVxlan, Kind::kGeneve}) {
    const Parsed p = parsed(kind, tunnel_bytes(kind));
    EXPECT_EQ(p.drop, std::nullopt);
    EXPECT_EQ(p.tunnelled.vni, Vni{kVni});
    EXPECT_EQ(p.tunnelled.inner, 8u);
  }
}

TEST(EncapParse, EveryTruncationIsMalformed) {
  const FrameBytes options = option(1, 0) + option(2, 3);
  for (const Kind kind : {Kind::kVxlan, Kind::kGeneve}) {
    const FrameBytes whole = tunnel_bytes(kind, kind == Kind::kGeneve ? options : FrameBytes{}, 0);
    EXPECT_EQ(parsed(kind, whole).drop, std::nullopt);
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
      EXPECT_EQ(parsed(kind, FrameBytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes))).drop,
                DropReason::kMalformed)
          << bytes;
    }
  }
}

TEST(EncapParse, ReservedBitsOfVxlanMustBeZero) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    FrameBytes bytes = tunnel_bytes(Kind::kVxlan);
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    const bool vni = bit / 8 >= 4 && bit / 8 < 7;
    EXPECT_EQ(parsed(Kind::kVxlan, bytes).drop, vni ? std::nullopt : std::optional(DropReason::kTunnelHeader)) << bit;
  }
}

TEST(EncapParse, ReservedBitsOfGeneveAndItsCriticalBitAreIgnored) {
  for (const auto& [at, bits] : {std::pair<std::size_t, std::uint8_t>{1, 0x7f}, {7, 0xff}}) {
    for (const FrameBytes& options : {FrameBytes{}, option(1, 2)}) {
      FrameBytes bytes = tunnel_bytes(Kind::kGeneve, options);
      bytes[at] |= bits;
      const Parsed p = parsed(Kind::kGeneve, bytes);
      EXPECT_EQ(p.drop, std::nullopt);
      EXPECT_EQ(p.tunnelled.vni, Vni{kVni});
    }
  }
}

TEST(EncapParse, GeneveHeadersThatCannotBeForwardedAreDroppedByName) {
  struct Case {
    const char* description;
    std::size_t at;
    std::uint8_t bits;
    DropReason drop;
  };
  for (const Case& c :
       {Case{"version 1", 0, 0x40, DropReason::kTunnelHeader}, Case{"version 2", 0, 0x80, DropReason::kTunnelHeader},
        Case{"another protocol", 2, 0x01, DropReason::kTunnelHeader},
        Case{"another protocol, lower half", 3, 0x01, DropReason::kTunnelHeader},
        Case{"control message", 1, 0x80, DropReason::kTunnelControl}}) {
    for (const FrameBytes& options : {FrameBytes{}, option(1, 2)}) {
      FrameBytes bytes = tunnel_bytes(Kind::kGeneve, options);
      bytes[c.at] ^= c.bits;
      EXPECT_EQ(parsed(Kind::kGeneve, bytes).drop, c.drop) << c.description;
    }
  }
}

TEST(EncapParse, GeneveOptionsAreSkippedUnlessCritical) {
  const FrameBytes dsr = option(0x81, 2, 0x014b);
  struct Case {
    const char* description;
    FrameBytes options;
    std::optional<DropReason> drop;
  };
  const std::vector<Case> cases{
      {"one without data", option(1, 0), std::nullopt},
      {"the longest", option(0x7f, 31), std::nullopt},
      {"as many as fit", option(1, 31) + option(2, 30), std::nullopt},
      {"critical", option(0x80, 1), DropReason::kTunnelOption},
      {"critical, behind another", option(1, 3) + option(0xff, 0), DropReason::kTunnelOption},
      {"Cilium's DSR", dsr, std::nullopt},
      {"Cilium's DSR over IPv6", option(0x81, 5, 0x014b), std::nullopt},
      {"Cilium's DSR, behind another", option(1, 3) + dsr, std::nullopt},
      {"Cilium's DSR, before a critical one", dsr + option(0x80, 1), DropReason::kTunnelOption},
      {"its type in another class", option(0x81, 2, 0x014c), DropReason::kTunnelOption},
      {"another critical type of its class", option(0x82, 2, 0x014b), DropReason::kTunnelOption},
      {"Cilium's DSR twice", dsr + dsr, DropReason::kMalformed},
      {"Cilium's DSR without a body", option(0x81, 0, 0x014b), DropReason::kMalformed},
      {"Cilium's DSR, too short", option(0x81, 1, 0x014b), DropReason::kMalformed},
      {"Cilium's DSR of no family's length", option(0x81, 3, 0x014b), DropReason::kMalformed},
      {"Cilium's DSR, too long", option(0x81, 6, 0x014b), DropReason::kMalformed},
  };
  for (const Case& c : cases) {
    const Parsed p = parsed(Kind::kGeneve, tunnel_bytes(Kind::kGeneve, c.options));
    EXPECT_EQ(p.drop, c.drop) << c.description;
    if (!c.drop) {
      EXPECT_EQ(p.tunnelled.inner, 8 + c.options.size()) << c.description;
      EXPECT_EQ(p.tunnelled.service != 0, std::string(c.description).starts_with("Cilium's DSR")) << c.description;
    }
  }
}

TEST(EncapParse, AnOptionThatLiesAboutItsLengthIsMalformed) {
  for (std::uint8_t words = 0; words <= 31; ++words) {
    FrameBytes options = option(1, 1) + option(2, 2);
    options[8 + 3] = words;  // of the second option, which has two words
    const Parsed p = parsed(Kind::kGeneve, tunnel_bytes(Kind::kGeneve, options));
    // Where it says too little, its data is read as another option, whose length is 0x22 & 0x1f words.
    EXPECT_EQ(p.drop, words == 2 ? std::nullopt : std::optional(DropReason::kMalformed)) << unsigned{words};
  }
  // The length of all options reaches beyond the packet.
  for (std::uint8_t words = 1; words <= 63; ++words) {
    FrameBytes bytes = tunnel_bytes(Kind::kGeneve, {}, 0);
    bytes[0] = words;
    EXPECT_EQ(parsed(Kind::kGeneve, bytes).drop, DropReason::kMalformed) << unsigned{words};
  }
}

TEST(EncapParse, ArbitraryBytesAreReadWithinBounds) {
  std::mt19937 random(2);
  for (unsigned i = 0; i < 200000; ++i) {
    FrameBytes bytes(random() % 300);
    for (std::uint8_t& byte : bytes) {
      byte = static_cast<std::uint8_t>(random());
    }
    if (bytes.size() > 4 && i % 2 == 0) {  // reach the options
      bytes[0] &= 0x3f, bytes[1] &= 0x7f, bytes[2] = 0x65, bytes[3] = 0x58;
    }
    for (const Kind kind : {Kind::kVxlan, Kind::kGeneve, Kind::kNone}) {
      const Parsed p = parsed(kind, bytes);
      if (!p.drop) {
        EXPECT_LE(p.tunnelled.inner + sizeof(net::Ethernet), bytes.size());
        EXPECT_LE(p.tunnelled.service, p.tunnelled.inner);
      }
    }
  }
}

TEST(EncapParse, NothingIsATunnelPacketOfANativePeer) {
  EXPECT_EQ(parsed(Kind::kNone, tunnel_bytes(Kind::kVxlan)).drop, DropReason::kTunnelKind);
}

TEST(EncapParse, WhatWasPushedIsParsed) {
  const FrameBytes inner = test::udp({*IpAddress::parse("10.1.0.1"), 1}, {*IpAddress::parse("10.2.0.1"), 2}).ip_bytes();
  for (const Kind kind : {Kind::kVxlan, Kind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      FrameBytes p = pushed(kind, underlay, inner);
      p.erase(p.begin(), p.begin() + (underlay == Family::kIpv4 ? 28 : 48));
      EXPECT_EQ(parsed(kind, p).drop, std::nullopt);
      EXPECT_EQ(parsed(kind, p).tunnelled.vni, Vni{kVni});
      const Kind other = kind == Kind::kVxlan ? Kind::kGeneve : Kind::kVxlan;
      EXPECT_EQ(parsed(other, p).drop, DropReason::kTunnelHeader);
    }
  }
}

}  // namespace
}  // namespace isthmus
