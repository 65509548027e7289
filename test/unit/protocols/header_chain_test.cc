// What stands between IP and L4: forwarded as it is where it is harmless, found behind it the ports that policy is
// about, and refused by name where it leads elsewhere.
#include <gtest/gtest.h>

#include "dataplane/packet/header_chain.h"
#include "test/support/boot_clock.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

using Drops = std::map<std::string, std::uint64_t>;
constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragmentHeader = 44, kAh = 51, kDestination = 60;
const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

const FrameBytes kRouterAlert{0, 0, 5, 2, 0, 0, 1, 0};  // and a PadN of nothing
const FrameBytes kPadding{0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
const FrameBytes kUsedUp{0, 2, 0, 0, 0, 0, 0, 0, 0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
const FrameBytes kAuthentication{0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
const FrameBytes kWhole{0, 0, 0, 0, 0, 0, 0, 9};  // a fragment header of a datagram that is whole

struct Harmless {
  const char* description;
  void (*add)(PacketSpec& packet);
};
const Harmless kHarmless[] = {
    {"hop-by-hop options", [](PacketSpec& p) { p.with_extension(kHopByHop, kRouterAlert); }},
    {"destination options", [](PacketSpec& p) { p.with_extension(kDestination, kPadding); }},
    {"a routing header that is used up", [](PacketSpec& p) { p.with_extension(kRouting, kUsedUp); }},
    {"AH", [](PacketSpec& p) { p.with_extension(kAh, kAuthentication); }},
    {"a fragment header without fragments", [](PacketSpec& p) { p.with_extension(kFragmentHeader, kWhole); }},
    {"all of them",
     [](PacketSpec& p) {
       p.with_extension(kHopByHop, kRouterAlert)
           .with_extension(kDestination, kPadding)
           .with_extension(kRouting, kUsedUp)
           .with_extension(kFragmentHeader, kWhole)
           .with_extension(kAh, kAuthentication)
           .with_extension(kDestination, kPadding);
     }},
    {"as many as may be",
     [](PacketSpec& p) {
       for (unsigned i = 0; i < kMostExtensionHeaders; ++i) {
         p.with_extension(kDestination, kPadding);
       }
     }},
    {"as long as may be", [](PacketSpec& p) {
       FrameBytes header(kLongestChain, 0);
       header[1] = kLongestChain / 8 - 1;
       p.with_extension(kDestination, header);
     }}};

TEST(HeaderChain, WhatIsHarmlessPassesUnchangedBothWaysAndThroughAService) {
  for (const Harmless& row : kHarmless) {
    SCOPED_TRACE(row.description);
    PathRig rig;
    const auto with = [&](PacketSpec packet) {
      row.add(packet);
      return packet;
    };
    const PacketSpec request = with(tcp(at.client6, at.west6).with_payload(40));
    const Output out = rig.from_local(request).only();
    EXPECT_EQ(FrameBytes(out.bytes.begin() + 64, out.bytes.end()), request.ip_bytes());
    const PacketSpec reply = with(tcp(at.west6, at.client6, kSyn | kAck).with_payload(40));
    const Output back = rig.from_underlay(from_west(reply)).only();
    EXPECT_EQ(back.packet.between, out.packet.between);
    EXPECT_EQ(rig.from_local(with(udp(at.client6, at.west6))).out.size(), 1u);
    EXPECT_EQ(rig.from_local(with(echo_request(at.client6.address, at.west6.address, 7))).out.size(), 1u);
    EXPECT_EQ(rig.flows().size(), 3u);

    const Outcome served = rig.from_local(with(tcp({at.client6.address, 41000}, at.service6).with_payload(40)));
    const bool authenticated =
        std::string(row.description).find("A") == 0 || row.description == kHarmless[5].description;
    if (authenticated) {
      EXPECT_EQ(served.drops, (Drops{{"untranslatable", 1}}));
    } else {
      EXPECT_EQ(served.only().packet.destination, at.west6.address);
      EXPECT_EQ(served.only().packet.destination_port, at.west6.port);
      EXPECT_EQ(served.only().packet.between, out.packet.between);
    }
  }
}

TEST(HeaderChain, HarmlessOptionsOfIpv4PassUnchangedThroughAServiceToo) {
  const FrameBytes all[] = {{1, 1, 1, 0},
                            {7, 7, 4, 0, 0, 0, 0, 0},   // record route
                            {68, 8, 5, 0, 0, 0, 0, 0},  // time stamps
                            {148, 4, 0, 0},             // router alert
                            {0, 0xff, 0xff, 0xff},      // behind the end of options nothing is read
                            FrameBytes(40, 1)};
  for (const FrameBytes& options : all) {
    PathRig rig;
    const Output out = rig.from_local(tcp(at.client, at.west).with_ip_options(options).with_payload(9)).only();
    EXPECT_EQ(out.packet.between, options);
    EXPECT_EQ(out.packet.destination_port, at.west.port);
    const Output served = rig.from_local(udp({at.client.address, 5}, at.west).with_ip_options(options)).only();
    EXPECT_EQ(served.packet.between, options);
    const Output translated =
        rig.from_local(tcp({at.client.address, 41000}, at.remote_service).with_ip_options(options)).only();
    EXPECT_EQ(translated.packet.destination_port, at.west.port);
    EXPECT_EQ(translated.packet.between, options);
    const Output back =
        rig.from_underlay(from_west(tcp(at.west, at.client, kSyn | kAck).with_ip_options(options))).only();
    EXPECT_EQ(back.packet.between, options);
  }
}

TEST(HeaderChain, HidesNoPortFromPolicy) {
  for (const Harmless& row : kHarmless) {
    SCOPED_TRACE(row.description);
    PathRig rig;
    PolicyDelta policies;
    policies.select(1, {kWestIdentity}).ingress(kClientIdentity, enforced({allow(1, kTcpNumber, 40000, 40000)}));
    ASSERT_TRUE(rig.engine().publish(policies.delta).ok());
    PacketSpec allowed = tcp(at.west6, at.client6), denied = tcp(at.west6, {at.client6.address, 40001});
    row.add(allowed);
    row.add(denied);
    EXPECT_EQ(rig.from_underlay(from_west(allowed)).out.size(), 1u);
    EXPECT_EQ(rig.from_underlay(from_west(denied)).drops, (Drops{{"policy_denied", 1}}));
  }
}

// The first fragment has a header behind that of the fragment, so that the others name another protocol than its L4.
TEST(HeaderChain, FragmentsWithHeadersBehindThatOfTheFragmentFollowTheirFirstOne) {
  for (const bool tail_first : {false, true}) {
    PathRig rig;
    PacketSpec whole = udp(at.client6, at.west6).with_payload(100);
    whole.with_extension(kHopByHop, kRouterAlert).with_extension(kDestination, kPadding);
    const FrameBytes ip = whole.ip_bytes();  // IPv6, 8 bytes of options, then what is fragmented
    const auto part = [&](std::size_t from, std::size_t to, bool more) {
      FrameBytes out(ip.begin(), ip.begin() + 48);
      out[40] = kFragmentHeader;
      const auto offset = static_cast<std::uint8_t>(from | (more ? 1 : 0));
      out.insert(out.end(), {kDestination, 0, 0, offset, 0, 0, 0, 77});
      out.insert(out.end(), ip.begin() + 48 + static_cast<std::ptrdiff_t>(from),
                 ip.begin() + 48 + static_cast<std::ptrdiff_t>(to));
      out[5] = static_cast<std::uint8_t>(out.size() - 40);
      PacketSpec spec = whole;
      spec.raw = out;
      return spec;
    };
    const PacketSpec first = part(0, 64, true), last = part(64, ip.size() - 48, false);
    const Outcome a = rig.from_local(tail_first ? last : first), b = rig.from_local(tail_first ? first : last);
    EXPECT_EQ(a.out.size() + b.out.size(), 2u) << a.text() << b.text();
    EXPECT_EQ(rig.flows().size(), 1u);
    EXPECT_EQ(rig.flows().front().forward_packets, 2u);
    EXPECT_EQ(rig.flows().front().protocol, IpProtocol::kUdp);
  }
}

TEST(HeaderChain, AnErrorThatQuotesSuchAPacketFindsItsConnection) {
  PathRig rig;
  PacketSpec packet = udp({at.client6.address, 41000}, at.service6).with_payload(8);
  rig.set_backends(at.service6, 73, {backend(73, at.west6, 2)}, {0}, IpProtocol::kUdp);
  packet.with_extension(kHopByHop, kRouterAlert).with_extension(kDestination, kPadding);
  const Output out = rig.from_local(packet).only();
  const FrameBytes about(out.bytes.begin() + 64, out.bytes.end());
  const Output error =
      rig.from_underlay(from_west(icmp_error(at.west6.address, at.client6.address, 1, 4, about))).only();
  FrameBytes expected = packet.ip_bytes();
  EXPECT_EQ(error.packet.quoted, expected) << "as its sender sent it";
}

// Whatever the bytes of a chain are, it ends within the packet, and is read alike whether more follows or not.
TEST(HeaderChain, NoChainIsReadBeyondItsEnd) {
  std::uint32_t state = 1;
  const auto random = [&] { return state = state * 1664525 + 1013904223, static_cast<std::uint8_t>(state >> 24); };
  constexpr std::uint8_t kTypes[] = {0, 43, 44, 51, 60, 6, 17, 59};
  unsigned whole = 0;
  for (int round = 0; round < 200'000; ++round) {
    const std::size_t bytes = 40 + random() % 96u;
    const std::unique_ptr<std::uint8_t[]> packet(new std::uint8_t[bytes]);  // so that a sanitizer sees its end
    for (std::size_t i = 0; i < bytes; ++i) {
      packet[i] = i % 8 == 0 ? kTypes[random() % 8] : i % 8 == 1 ? random() % 3 : random() % 4 == 0 ? random() : 0;
    }
    packet[6] = kTypes[random() % 5];
    HeaderChain chain;
    const auto drop = read_chain(packet.get(), static_cast<std::uint32_t>(bytes), chain);
    if (!drop) {
      ++whole;
      ASSERT_LE(chain.bytes, bytes);
      ASSERT_GE(chain.bytes, 48u);
      ASSERT_LE(chain.bytes, 40 + kLongestChain);
      ASSERT_TRUE(chain.fragment == Fragment::kLater ||
                  !is_extension_header(static_cast<std::uint8_t>(chain.protocol)));
      HeaderChain shorter;
      ASSERT_FALSE(read_chain(packet.get(), chain.bytes, shorter));
      ASSERT_TRUE(read_chain(packet.get(), chain.bytes - 1, shorter));
    }
  }
  EXPECT_GT(whole, 1000u);
}

}  // namespace
}  // namespace isthmus::test
