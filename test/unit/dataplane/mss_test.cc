// The maximum segment size that TCP's ends announce: never more than the path through the gateway carries.
#include <gtest/gtest.h>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

FrameBytes mss(unsigned bytes) {
  return {2, 4, static_cast<std::uint8_t>(bytes >> 8), static_cast<std::uint8_t>(bytes)};
}
// Behind a no-operation, so that the value lies across two words of the checksum.
FrameBytes odd_mss(unsigned bytes) {
  return {1, 2, 4, static_cast<std::uint8_t>(bytes >> 8), static_cast<std::uint8_t>(bytes), 1, 4, 2};
}
PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

TEST(MaximumSegment, IsLoweredToWhatThePathCarries) {
  struct Row {
    const char* description;
    bool underlay;
    PacketSpec packet;
    FrameBytes sent;
  };
  const Row rows[] = {
      {"into a tunnel", false, tcp(at.client, at.west).with_options(mss(1460)), mss(1410)},
      {"into a tunnel, IPv6", false, tcp(at.client6, at.west6).with_options(mss(1440)), mss(1390)},
      {"across two words", false, tcp(at.client, at.west).with_options(odd_mss(8960)), odd_mss(1410)},
      {"across two words, IPv6", false, tcp(at.client6, at.west6).with_options(odd_mss(8940)), odd_mss(1390)},
      {"by a service", false, tcp(at.client, at.remote_service).with_options(mss(1460)), mss(1410)},
      {"out of a tunnel", true, from_west(tcp(at.west, at.client).with_options(mss(1460))), mss(1410)},
      {"with other flags", false, tcp(at.client, at.west, kSyn | 0xc0).with_options(mss(1460)), mss(1410)},
      {"that fits", false, tcp(at.client, at.west).with_options(mss(1410)), mss(1410)},
      {"smaller", false, tcp(at.client, at.west).with_options(mss(536)), mss(536)},
      {"none", false, tcp(at.client, at.west), {}},
      {"two, of which receivers may take either",
       false,
       tcp(at.client, at.west).with_options({2, 4, 4, 0, 2, 4, 0x23, 0}),
       {2, 4, 4, 0, 2, 4, 5, 0x82}},
      {"behind the end of the options",
       false,
       tcp(at.client, at.west).with_options({0, 2, 4, 9, 0, 0, 0, 0}),
       {0, 2, 4, 9, 0, 0, 0, 0}},
      {"of a wrong length", false, tcp(at.client, at.west).with_options({2, 3, 9, 1}), {2, 3, 9, 1}},
      {"cut off", false, tcp(at.client, at.west).with_options({1, 1, 2, 4}), {1, 1, 2, 4}},
      {"behind an option of no length",
       false,
       tcp(at.client, at.west).with_options({8, 0, 2, 4, 9, 9, 1, 1}),
       {8, 0, 2, 4, 9, 9, 1, 1}},
  };
  for (const Row& row : rows) {
    PathRig rig;
    const Outcome outcome = row.underlay ? rig.from_underlay(row.packet) : rig.from_local(row.packet);
    EXPECT_EQ(outcome.only().packet.tcp_options, row.sent) << row.description << "\n" << outcome.text();
  }
}

// The answer says what the client may send, which goes into the tunnel.
TEST(MaximumSegment, OfTheAnswerIsLoweredToo) {
  PathRig::Options options;
  options.local_mtu = Bytes{9000};
  PathRig rig(options);
  ASSERT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client).with_options(mss(1460)))).only().packet.tcp_options,
            mss(1410));
  const PacketSpec answer = tcp(at.client, at.west, kSyn | kAck).with_options(mss(8960));
  EXPECT_EQ(rig.from_local(answer).only().packet.tcp_options, mss(1410));
  EXPECT_EQ(rig.from_local(answer).only().packet.tcp_options, mss(1410)) << "repeated";
}

TEST(MaximumSegment, IsTheSmallerOfBothDirections) {
  PathRig::Options options;
  options.underlay_mtu = Bytes{9000};
  options.local_mtu = Bytes{1300};
  PathRig rig(options);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west).with_options(mss(8960))).only().packet.tcp_options, mss(1260));
  EXPECT_EQ(
      rig.from_underlay(from_west(tcp(at.west, at.local_backend).with_options(mss(8960)))).only().packet.tcp_options,
      mss(1260));
}

TEST(MaximumSegment, StandsOnceTheConnectionIsOpen) {
  PathRig rig;
  ASSERT_EQ(rig.from_local(tcp(at.client, at.west)).out.size(), 1u);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.west, kAck).with_options(mss(1460))).only().packet.tcp_options, mss(1460));
}

}  // namespace
}  // namespace isthmus::test
