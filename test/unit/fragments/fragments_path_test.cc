// Fragments of the fleet's datagrams through the path: whatever their order, the receiver puts the datagram together
// that it would have without fragments, translated and with right checksums.
#include <gtest/gtest.h>

#include <algorithm>

#include "test/support/boot_clock.h"
#include "test/support/fragments.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::size_t kMtu = 1400, kLong = 3000;  // bytes of payload: three fragments
const Actors at;

class Fragments : public ::testing::Test {
 protected:
  Fragments() { set_boot_clock(Nanoseconds{1000 * kSecond}); }
};

// An IP packet in a frame, in a tunnel like that of `like`.
PacketSpec packet(const PacketSpec& like, const FrameBytes& ip) {
  PacketSpec spec = like;
  spec.raw = ip;
  return spec;
}
PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }

struct Sent {
  std::vector<FrameBytes> out;  // the IP packets, inner ones
  std::vector<Output> frames;
  std::map<std::string, std::uint64_t> drops;
};

// Sends the fragments of `spec` in this order, one after the other.
Sent send(PathRig& rig, bool underlay, const PacketSpec& spec, const std::vector<std::size_t>& order,
          std::size_t mtu = kMtu, std::uint32_t id = 0x1234) {
  const std::vector<FrameBytes> fragments = split(spec.ip_bytes(), mtu, id);
  EXPECT_EQ(fragments.size(), order.size());
  Sent sent;
  for (const std::size_t i : order) {
    const PacketSpec fragment = packet(spec, fragments.at(i));
    const Outcome outcome = underlay ? rig.from_underlay(fragment) : rig.from_local(fragment);
    for (const Output& out : outcome.out) {
      sent.out.push_back(inner_ip(out.bytes));
      sent.frames.push_back(out);
    }
    for (const auto& [name, count] : outcome.drops) {
      sent.drops[name] += count;
    }
  }
  return sent;
}

const std::vector<std::size_t> kInOrder{0, 1, 2};

struct Row {
  const char* description;
  bool underlay;
  PacketSpec spec;
  Endpoint source, destination;  // of what leaves
};

void expect_whole(const Row& row, const Sent& sent) {
  EXPECT_EQ(sent.drops, (std::map<std::string, std::uint64_t>{})) << row.description;
  ASSERT_EQ(sent.out.size(), 3u) << row.description;
  const Dissected whole = joined(sent.out);
  EXPECT_TRUE(whole.errors.empty()) << row.description << " " << whole.text();
  EXPECT_EQ(whole.source, row.source.address) << row.description;
  EXPECT_EQ(whole.destination, row.destination.address) << row.description;
  EXPECT_EQ(whole.protocol, row.spec.protocol) << row.description;
  EXPECT_EQ(whole.payload, kLong) << row.description;
  if (whole.protocol == IpProtocol::kUdp) {
    EXPECT_EQ(whole.source_port, row.source.port) << row.description;
    EXPECT_EQ(whole.destination_port, row.destination.port) << row.description;
    EXPECT_TRUE(whole.payload_is_pattern) << row.description;
  }
}

std::vector<Row> rows() {
  const auto large = [](PacketSpec spec) { return spec.with_payload(kLong); };
  return {
      {"UDP to the fabric", false, large(udp(at.client, at.west)), at.client, at.west},
      {"UDP over IPv6 to the fabric", false, large(udp(at.client6, at.west6)), at.client6, at.west6},
      {"UDP without a checksum", false, large(udp(at.client, at.west).without_udp_checksum()), at.client, at.west},
      {"UDP from the fabric", true, from_west(large(udp(at.west, at.client))), at.west, at.client},
      {"UDP over IPv6 from the fabric", true, from_west(large(udp(at.west6, at.client6))), at.west6, at.client6},
      {"a large ping", false, large(echo_request(at.client.address, at.west.address, 7)), at.client, at.west},
      {"a large ping over IPv6", false, large(echo_request(at.client6.address, at.west6.address, 7)), at.client6,
       at.west6},
      {"a large ping from the fabric", true, from_west(large(echo_request(at.west.address, at.client.address, 7))),
       at.west, at.client},
      {"UDP to a service", false, large(udp(at.client, at.remote_service)), at.client, at.west},
      {"UDP over IPv6 to a service", false, large(udp(at.client6, at.service6)), at.client6, at.west6},
  };
}

void add_udp_services(PathRig& rig) {
  rig.set_backends(at.remote_service, 11, {backend(11, at.west, 2)}, {0}, IpProtocol::kUdp);
  rig.set_backends(at.service6, 12, {backend(12, at.west6, 2)}, {0}, IpProtocol::kUdp);
  rig.set_backends(at.local_service, 13, {backend(13, at.local_backend, 1)}, {0}, IpProtocol::kUdp);
}

TEST_F(Fragments, AreForwardedInAnyOrder) {
  for (const Row& row : rows()) {
    std::vector<std::size_t> order = kInOrder;
    do {
      PathRig rig;
      if (row.spec.destination != row.destination.address) {
        add_udp_services(rig);
      }
      expect_whole(row, send(rig, row.underlay, row.spec, order));
      EXPECT_EQ(rig.flows().size(), 1u) << row.description;
      const EngineCounters counters = rig.counters();
      EXPECT_EQ(counters.fragments, 3u) << row.description;
      EXPECT_EQ(counters.fragments_kept,
                static_cast<std::uint64_t>(std::find(order.begin(), order.end(), 0u) - order.begin()))
          << row.description << ": what comes before the first one waits";
      EXPECT_EQ(counters.fragmented, 0u) << row.description;
      EXPECT_EQ(counters.fragments_waiting, 0u) << row.description;
      EXPECT_EQ(counters.decapsulated, row.underlay ? 3u : 0u) << row.description;
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

// Over IPv6 the outer checksum covers the inner packet; of a fragment that says nothing of the rest.
TEST_F(Fragments, GoIntoTunnelsOfEachKindOverBothFamilies) {
  for (const EncapsulationKind kind : {EncapsulationKind::kVxlan, EncapsulationKind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      PathRig::Options options;
      options.kind = kind;
      options.underlay = underlay;
      PathRig rig(options);
      for (const auto& [from, to] : {std::pair{at.client, at.west}, {at.client6, at.west6}}) {
        const Row out{"out", false, udp(from, to).with_payload(kLong), from, to};
        expect_whole(out, send(rig, false, out.spec, {2, 0, 1}));
        const Row in{"in", true, rig.tunnelled(udp(to, from).with_payload(kLong), rig.at.west_gateway, kWestIdentity),
                     to, from};
        expect_whole(in, send(rig, true, in.spec, {1, 2, 0}));
      }
      EXPECT_EQ(rig.flows().size(), 2u);
    }
  }
}

TEST_F(Fragments, OfRepliesComeFromTheService) {
  PathRig rig;
  add_udp_services(rig);
  ASSERT_EQ(rig.from_local(udp(at.client, at.remote_service)).out.size(), 1u);
  const Row reply{"a reply", true, from_west(udp(at.west, at.client).with_payload(kLong)), at.remote_service,
                  at.client};
  expect_whole(reply, send(rig, true, reply.spec, {2, 1, 0}));
}

TEST_F(Fragments, ToABackendOfTheOwnClusterComeFromTheGatewayAndSoDoTheReplies) {
  PathRig rig;
  add_udp_services(rig);
  const PacketSpec request = udp(at.client, at.local_service).with_payload(kLong);
  const Sent sent = send(rig, false, request, {1, 0, 2});
  ASSERT_EQ(sent.out.size(), 3u);
  const Dissected there = joined(sent.out);
  const Endpoint translated{at.translation, there.source_port};
  expect_whole({"a request", false, request, translated, at.local_backend}, sent);
  const PacketSpec reply = udp(at.local_backend, translated).with_payload(kLong);
  expect_whole({"a reply", false, reply, at.local_service, at.client}, send(rig, false, reply, {2, 0, 1}));
}

// Fragments of one burst: the connection that the first one opens is there for the others.
TEST_F(Fragments, OfOneBurstShareTheConnection) {
  for (const bool reversed : {false, true}) {
    PathRig rig;
    std::vector<FrameBytes> all = split(udp(at.client, at.west).with_payload(kLong).ip_bytes(), kMtu);
    if (reversed) {
      std::reverse(all.begin(), all.end());
    }
    for (const FrameBytes& fragment : all) {
      ASSERT_TRUE(rig.local().inject(framed(fragment)));
    }
    const Outcome outcome = rig.idle();
    ASSERT_EQ(outcome.out.size(), 3u) << outcome.text();
    EXPECT_EQ(rig.flows().size(), 1u);
    EXPECT_EQ(rig.flows().front().forward_packets, 3u);
  }
}

TEST_F(Fragments, OfARefusedDatagramAreRefusedForTheSameReason) {
  PathRig rig;
  const PacketSpec spec = udp(at.client, {at.remote_service.address, 81}).with_payload(kLong);
  for (const std::vector<std::size_t>& order : {kInOrder, {2, 1, 0}}) {
    const Sent sent = send(rig, false, spec, order);
    EXPECT_EQ(sent.drops, (std::map<std::string, std::uint64_t>{{"no_frontend", 3}}));
    EXPECT_TRUE(sent.out.empty());
  }
}

TEST_F(Fragments, WaitNoLongerThanTheirTime) {
  PathRig rig;
  const std::vector<FrameBytes> all = split(udp(at.client, at.west).with_payload(kLong).ip_bytes(), kMtu);
  ASSERT_TRUE(rig.from_local(packet(udp(at.client, at.west), all[1])).out.empty());
  EXPECT_EQ(rig.counters().fragments_waiting, 1u);
  set_boot_clock(Nanoseconds{1002 * kSecond});
  EXPECT_TRUE(rig.idle().drops.empty()) << "two seconds have not passed yet";
  set_boot_clock(Nanoseconds{1005 * kSecond});
  EXPECT_EQ(rig.idle(4).drops, (std::map<std::string, std::uint64_t>{{"fragment_timeout", 1}}));
  EXPECT_EQ(rig.counters().fragments_waiting, 0u);
  const Outcome late = rig.from_local(packet(udp(at.client, at.west), all[0]));
  EXPECT_EQ(late.out.size(), 1u) << "the first one is a datagram's all the same";
}

struct Bad {
  const char* description;
  const char* reason;
  std::vector<FrameBytes> fragments;  // the last one is dropped, and nothing else is before
};

TEST_F(Fragments, ThatNoSenderMakesAreDropped) {
  const auto parts = [](const Endpoint& from, const Endpoint& to) {
    return udp(from, to).with_payload(kLong).ip_bytes();
  };
  const FrameBytes v4 = parts(at.client, at.west), v6 = parts(at.client6, at.west6);
  const FrameBytes segment = tcp(at.client, at.west).with_payload(100).ip_bytes();
  std::vector<Bad> rows{
      {"a TCP header in two fragments", "fragment_invalid", {part_of(segment, 0, 16, true)}},
  };
  for (const FrameBytes& ip : {v4, v6}) {
    const std::vector<Bad> more{
        {"not a multiple of eight bytes", "fragment_invalid", {part_of(ip, 0, 1001, true)}},
        {"nothing behind the headers", "fragment_invalid", {part_of(ip, 800, 0, false)}},
        {"beyond the longest datagram", "fragment_invalid", {part_of(ip, 65520, 1000, false)}},
        {"a duplicate", "fragment_overlap", {part_of(ip, 0, 800, true), part_of(ip, 0, 800, true)}},
        {"over the ports of the first one", "fragment_overlap", {part_of(ip, 0, 800, true), part_of(ip, 8, 800, true)}},
        {"a second end",
         "fragment_overlap",
         {part_of(ip, 0, 800, true), part_of(ip, 1600, 800, false), part_of(ip, 800, 8, false)}},
    };
    rows.insert(rows.end(), more.begin(), more.end());
  }
  rows.push_back(
      {"UDP ports cut off", "fragment_invalid", {part_of(FrameBytes(v4.begin(), v4.begin() + 24), 0, 4, true)}});
  for (const Bad& row : rows) {
    PathRig rig;
    for (const FrameBytes& fragment : row.fragments) {
      const Outcome outcome = rig.raw(false, framed(fragment));
      const bool last = &fragment == &row.fragments.back();
      EXPECT_EQ(outcome.out.size(), last ? 0u : 1u) << row.description << outcome.text();
      EXPECT_EQ(outcome.drops, last ? (std::map<std::string, std::uint64_t>{{row.reason, 1}})
                                    : (std::map<std::string, std::uint64_t>{}))
          << row.description;
    }
  }
}

TEST_F(Fragments, FollowOnlyWhatCameTheSameWay) {
  PathRig rig;
  rig.set_clusters({PathRig::kWestGateway, PathRig::kWestOther});
  const PacketSpec spec = udp(at.west, at.client).with_payload(kLong);
  const std::vector<FrameBytes> all = split(spec.ip_bytes(), kMtu);
  const PacketSpec by_one = from_west(spec);
  const PacketSpec by_other = PacketSpec(spec).in_tunnel(at.west_other, at.gateway, kWestIdentity);
  ASSERT_EQ(rig.from_underlay(packet(by_one, all[0])).out.size(), 1u);
  EXPECT_TRUE(rig.from_underlay(packet(by_other, all[1])).out.empty()) << "another peer's datagram";
  EXPECT_TRUE(rig.from_local(packet(spec, all[1])).out.empty()) << "a pod's";
  EXPECT_EQ(rig.counters().fragments_waiting, 2u);
  EXPECT_EQ(rig.from_underlay(packet(by_one, all[1])).out.size(), 1u);
}

TEST_F(Fragments, OfATunnelsInsideKeepTheMarksOfTheUnderlay) {
  PathRig rig;
  PacketSpec spec = from_west(udp(at.west6, at.client6).with_payload(kLong).with_ecn(2));
  spec.tunnel->ecn = 3;
  const Sent sent = send(rig, true, spec, {2, 1, 0});
  ASSERT_EQ(sent.frames.size(), 3u);
  for (const Output& out : sent.frames) {
    EXPECT_EQ(out.packet.ecn, 3);
  }
}

TEST_F(Fragments, LongerThanTheMtuAreFragmentedAgainOrReportedAsIpAsksFor) {
  PathRig::Options options;
  options.local_mtu = Bytes{1300};
  PathRig rig(options);
  const Sent v4 = send(rig, true, from_west(udp(at.west, at.client).with_payload(kLong)), kInOrder);
  EXPECT_TRUE(v4.drops.empty());
  EXPECT_EQ(v4.out.size(), 5u) << "without DF, they are fragmented again; the last one is short";
  const Dissected whole = joined(v4.out);
  EXPECT_TRUE(whole.errors.empty()) << whole.text();
  EXPECT_EQ(whole.payload, kLong);
  const Sent v6 = send(rig, true, from_west(udp(at.west6, at.client6).with_payload(kLong)), kInOrder);
  EXPECT_EQ(v6.drops, (std::map<std::string, std::uint64_t>{{"oversize", 2}}));
  const auto too_big = std::count_if(v6.frames.begin(), v6.frames.end(), [](const Output& out) {
    return out.packet.icmp_type == 2 && out.packet.icmp_rest == 1300;
  });
  EXPECT_EQ(too_big, 2) << "with IPv6, it is told of each";
}

// An error about a first fragment quotes the ports.
TEST_F(Fragments, AreWhatErrorsMayBeAbout) {
  for (const auto& [from, to] : {std::pair{at.client, at.remote_service}, {at.client6, at.service6}}) {
    PathRig rig;
    add_udp_services(rig);
    const bool v4 = from.address.is_ipv4();
    const Sent sent = send(rig, false, udp(from, to).with_payload(kLong), kInOrder);
    ASSERT_EQ(sent.out.size(), 3u);
    const IpAddress reporter = v4 ? at.west.address : at.west6.address;
    const auto error = [&](FrameBytes about) {
      about.resize(68);
      return from_west(icmp_error(reporter, from.address, v4 ? 3 : 1, v4 ? 3 : 4, about));
    };
    const Output passed = rig.from_underlay(error(sent.out[0])).only();
    const FrameBytes& quoted = passed.packet.quoted;
    const std::size_t ports = v4 ? 20 : 48;
    ASSERT_GE(quoted.size(), ports + 4);
    EXPECT_EQ(quoted[ports + 2] << 8 | quoted[ports + 3], to.port) << "translated back";
    EXPECT_EQ(rig.from_underlay(error(sent.out[1])).drops,
              (std::map<std::string, std::uint64_t>{{"unsupported_icmp", 1}}));
  }
}

TEST_F(Fragments, AreDroppedWhereTheyAreTurnedOff) {
  PathRig::Options options;
  options.engine.fragments = 0;
  PathRig rig(options);
  EXPECT_EQ(send(rig, false, udp(at.client, at.west).with_payload(kLong), kInOrder).drops,
            (std::map<std::string, std::uint64_t>{{"ip_fragment", 3}}));
}

// RFC 6946: it has a fragment header, and is whole.
TEST_F(Fragments, ThatAreADatagramByThemselvesAreNotFollowed) {
  PathRig rig;
  const FrameBytes ip = udp(at.client6, at.west6).with_payload(100).ip_bytes();
  const FrameBytes atomic = part_of(ip, 0, ip.size() - 40, false);
  for (int i = 0; i < 2; ++i) {  // of the same identification
    EXPECT_EQ(rig.raw(false, framed(atomic)).out.size(), 1u);
  }
  EXPECT_EQ(rig.counters().fragments, 0u);
}

}  // namespace
}  // namespace isthmus::test
