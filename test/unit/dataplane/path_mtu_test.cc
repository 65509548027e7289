// Paths of the underlay that carry less than its device takes: what routers say of them, what follows for the senders
// of inner packets, and probes of a size.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
const IpAddress kRouter = Actors::ip("198.18.0.254"), kRouter6 = Actors::ip("2001:db8::fe");

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }
PacketSpec full(std::size_t payload) { return tcp(at.client, at.west, kAck).with_payload(payload).with_df(); }

// The outer packet of what the rig sends, as a router quotes it.
FrameBytes outer_of(PathRig& rig, std::size_t payload) {
  const FrameBytes frame = rig.from_local(full(payload)).only().bytes;
  return {frame.begin() + 14, frame.end()};
}
// "Your packet is too long" of a router on the way.
PacketSpec too_big(const PathRig& rig, const FrameBytes& about, std::uint16_t mtu) {
  const bool v4 = rig.at.gateway.is_ipv4();
  return icmp_error(v4 ? kRouter : kRouter6, rig.at.gateway, v4 ? 3 : 2, v4 ? 4 : 0, about).with_mtu(mtu);
}
void set_path(PathRig& rig, std::uint32_t mtu) {
  TableDelta delta;
  delta.path_mtus = {{PathRig::kWestGateway, Bytes{mtu}}};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
}

TEST(PathMtu, IsClaimedByARouterOfTheUnderlay) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    PathRig::Options options;
    options.underlay = family;
    PathRig rig(options);
    const FrameBytes about = outer_of(rig, 1350);
    const Outcome outcome = rig.from_underlay(too_big(rig, about, 1400));
    EXPECT_TRUE(outcome.out.empty() && outcome.drops.empty()) << outcome.text();
    EXPECT_EQ(outcome.counted.at("worker.path_mtu_claims"), 1u);
    const EngineEvents events = rig.engine().poll_events();
    ASSERT_EQ(events.path_mtu_claims.size(), 1u);
    EXPECT_EQ(events.path_mtu_claims[0].peer, PathRig::kWestGateway);
    EXPECT_EQ(events.path_mtu_claims[0].mtu, Bytes{1400});
  }
}

TEST(PathMtu, ClaimsThatQuoteNothingOfOursAreDropped) {
  struct Row {
    const char* description;
    std::function<PacketSpec(const PathRig&, FrameBytes)> claim;
  };
  const auto put16 = [](FrameBytes& bytes, std::size_t offset, unsigned value) {
    bytes[offset] = static_cast<std::uint8_t>(value >> 8);
    bytes[offset + 1] = static_cast<std::uint8_t>(value);
  };
  const Row rows[] = {
      {"a packet that is not longer", [](const PathRig& rig, FrameBytes about) { return too_big(rig, about, 1440); }},
      {"to no peer",
       [&](const PathRig& rig, FrameBytes about) {
         put16(about, 18, 99);
         return too_big(rig, about, 1400);
       }},
      {"from another host",
       [&](const PathRig& rig, FrameBytes about) {
         put16(about, 14, 99);
         return too_big(rig, about, 1400);
       }},
      {"to another port",
       [&](const PathRig& rig, FrameBytes about) {
         put16(about, 22, 53);
         return too_big(rig, about, 1400);
       }},
      {"from a port that we do not use",
       [&](const PathRig& rig, FrameBytes about) {
         put16(about, 20, 1024);
         return too_big(rig, about, 1400);
       }},
      {"a fragment",
       [&](const PathRig& rig, FrameBytes about) {
         put16(about, 6, 1);
         return too_big(rig, about, 1400);
       }},
      {"of another protocol",
       [&](const PathRig& rig, FrameBytes about) {
         about[9] = 6;
         return too_big(rig, about, 1400);
       }},
      {"without the ports",
       [&](const PathRig& rig, FrameBytes about) {
         about.resize(27);
         return too_big(rig, about, 1400);
       }},
  };
  for (const Row& row : rows) {
    PathRig rig;
    const Outcome outcome = rig.from_underlay(row.claim(rig, outer_of(rig, 1350)));
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{"icmp_invalid", 1}})) << row.description;
    EXPECT_TRUE(rig.engine().poll_events().path_mtu_claims.empty()) << row.description;
  }
}

TEST(PathMtu, ClaimsWithAWrongChecksumAreDropped) {
  PathRig rig;
  FrameBytes claim = too_big(rig, outer_of(rig, 1350), 1400).bytes();
  claim[14 + 20 + 7] ^= 1;  // the MTU
  EXPECT_EQ(rig.raw(true, claim).drops, (std::map<std::string, std::uint64_t>{{"icmp_invalid", 1}}));
}

TEST(PathMtu, ClaimsAreLimitedByPeer) {
  PathRig rig;
  const FrameBytes about = outer_of(rig, 1350);
  std::size_t passed = 0;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(rig.from_underlay(too_big(rig, about, 1400)).drops.empty());
    passed += rig.engine().poll_events().path_mtu_claims.size();
  }
  EXPECT_GE(passed, 4u);
  EXPECT_LT(passed, 100u) << "and leaves room in the queue for other events";
}

// Off the underlay anybody could say so.
TEST(PathMtu, ClaimsFromTheLocalSideSayNothing) {
  PathRig rig;
  static_cast<void>(rig.from_local(too_big(rig, outer_of(rig, 1350), 1400)));
  EXPECT_TRUE(rig.engine().poll_events().path_mtu_claims.empty());
}

TEST(PathMtu, IsToldToTheSendersOfInnerPackets) {
  PathRig rig;
  ASSERT_EQ(rig.from_local(tcp(at.client, at.west)).out.size(), 1u);
  ASSERT_EQ(rig.from_local(full(1400)).out.size(), 1u) << "settled at the device's MTU";
  set_path(rig, 1400);
  const Output error = rig.from_local(full(1400)).only();
  EXPECT_FALSE(error.underlay);
  EXPECT_EQ(error.packet.icmp_rest, 1350u) << "less the tunnel's 50 bytes";
  EXPECT_TRUE(rig.from_local(full(1310)).only().underlay) << "1,350 bytes";
  EXPECT_FALSE(rig.from_local(full(1311)).only().underlay);
  EXPECT_EQ(rig.from_local(tcp(at.client, at.remote_service).with_options({2, 4, 5, 180})).only().packet.tcp_options,
            (FrameBytes{2, 4, 1310 >> 8, 1310 & 0xff}))
      << "and in the maximum segment size";
  set_path(rig, 0);
  EXPECT_TRUE(rig.from_local(full(1400)).only().underlay) << "until it is lifted";
}

// Replies to what comes out of the tunnel are those that are too long: the client is told what it may be sent.
TEST(PathMtu, LowersTheSegmentsOfWhatComesFromThePeer) {
  PathRig rig;
  set_path(rig, 1400);
  EXPECT_EQ(
      rig.from_underlay(from_west(tcp(at.west, at.client).with_options({2, 4, 5, 180}))).only().packet.tcp_options,
      (FrameBytes{2, 4, 1310 >> 8, 1310 & 0xff}));
}

TEST(PathMtu, StandsWhileThePeerIsTheSame) {
  PathRig rig;
  set_path(rig, 1400);
  TableDelta delta;
  PeerEntry peer{PathRig::kWestGateway, ClusterId{2}, at.west_gateway, L4Port{4789}, AdjacencyId{1}, true};
  delta.upsert_peers = {peer};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  EXPECT_FALSE(rig.from_local(full(1400)).only().underlay) << "another port, the same path";
  peer.underlay = Actors::ip("192.0.2.77");
  delta.upsert_peers = {peer};
  ASSERT_TRUE(rig.engine().publish(delta).ok());
  EXPECT_TRUE(rig.from_local(full(1400)).only().underlay) << "another address";
}

TEST(PathMtu, IsProbedWithPacketsOfASizeThatThePeerAnswers) {
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    PathRig::Options options;
    options.underlay = family;
    PathRig rig(options);
    set_path(rig, 1400);
    for (const std::uint32_t bytes : {600u, 1401u, 1500u}) {
      ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, kSizedProbe | bytes, false, Bytes{bytes}));
      const Output probe = rig.idle().only();
      EXPECT_EQ(probe.bytes.size(), bytes + 14) << "whatever has been learned";
      EXPECT_EQ(probe.packet.vni, 4u);
      EXPECT_TRUE(family == Family::kIpv6 || probe.packet.outer_df);
    }
    ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, kSizedProbe, false, Bytes{1501}));
    EXPECT_TRUE(rig.idle().out.empty()) << "more than the device takes";
  }
}

// Source and destination of the IPv4 header at that place, exchanged: its checksum stands.
void turn(FrameBytes& frame, std::ptrdiff_t ip) {
  const auto source = frame.begin() + ip + 12;
  std::swap_ranges(source, source + 4, source + 4);
}

TEST(PathMtu, ProbesOfASizeAreAnsweredShortAndByOneThatIsDrainedToo) {
  for (const bool drained : {false, true}) {
    PathRig rig;
    rig.engine().set_draining(drained);
    ASSERT_TRUE(rig.engine().send_probe(PathRig::kWestGateway, kSizedProbe | 7, false, Bytes{1500}));
    FrameBytes request = rig.idle().only().bytes;
    turn(request, 14), turn(request, 64);  // as if it came from the peer
    FrameBytes answer = rig.raw(true, request).only().bytes;
    EXPECT_LT(answer.size(), 120u);
    EXPECT_EQ(rig.engine().probe_said(PathRig::kWestGateway), ProbeSaid::kNothing) << "it says nothing of others";
    turn(answer, 14), turn(answer, 64);
    EXPECT_TRUE(rig.raw(true, answer).drops.empty());
    const EngineEvents events = rig.engine().poll_events();
    ASSERT_EQ(events.probe_answers.size(), 1u);
    EXPECT_EQ(events.probe_answers[0].sequence, kSizedProbe | 7);
    EXPECT_FALSE(events.probe_answers[0].draining) << "it is of the path";
    EXPECT_EQ(rig.raw(true, answer).drops, (std::map<std::string, std::uint64_t>{{"probe", 1}})) << "it counts once";
  }
}

}  // namespace
}  // namespace isthmus::test
