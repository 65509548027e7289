#include "xdp/loader/steer_program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <vector>

#include "xdp/abi.h"

namespace isthmus {
namespace {

using Packet = std::vector<std::uint8_t>;

IpAddress address(const char* text) { return *IpAddress::parse(text); }
Prefix prefix(const char* text) { return *Prefix::parse(text); }

const char* const kGateway = "192.0.2.1";
const char* const kPeer = "198.51.100.7";
const char* const kUnknownAddress = "198.51.100.8";
const char* const kGateway6 = "2001:db8::1";
const char* const kPeer6 = "2001:db8:7::7";
const char* const kPod = "10.1.0.5";
const char* const kPod6 = "fd00:1::5";
const char* const kRemotePod = "10.2.0.9";
const char* const kRemotePod6 = "fd00:2::9";
const char* const kVip = "10.200.0.10";
const char* const kVip6 = "fd00:ff::a";

void append16(Packet& to, unsigned value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8));
  to.push_back(static_cast<std::uint8_t>(value & 0xff));
}

Packet ethernet_frame(unsigned ethertype) {
  Packet p = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  append16(p, ethertype);
  return p;
}

struct Ipv4 {
  const char* source;
  const char* destination;
  unsigned protocol = 17;
  unsigned destination_port = 80;
  unsigned fragment = 0;  // flags and offset as in the header
  unsigned options = 0;   // 32-bit words
};

Packet ipv4(const Ipv4& of) {
  Packet p = ethernet_frame(0x0800);
  p.push_back(static_cast<std::uint8_t>(0x45 + of.options));
  p.push_back(0);
  append16(p, 28 + of.options * 4);
  append16(p, 1);
  append16(p, of.fragment);
  p.push_back(64);
  p.push_back(static_cast<std::uint8_t>(of.protocol));
  append16(p, 0);
  for (const char* end : {of.source, of.destination}) {
    const auto bytes = address(end).bytes();
    p.insert(p.end(), bytes.begin() + 12, bytes.end());
  }
  p.insert(p.end(), of.options * 4, 1);
  append16(p, 40000);
  append16(p, of.destination_port);
  append16(p, 8);
  append16(p, 0);
  return p;
}

Packet ipv6(const char* source, const char* destination, unsigned destination_port = 80, unsigned next_header = 17) {
  Packet p = ethernet_frame(0x86dd);
  p.insert(p.end(), {0x60, 0, 0, 0, 0, 8, static_cast<std::uint8_t>(next_header), 64});
  for (const char* end : {source, destination}) {
    const auto bytes = address(end).bytes();
    p.insert(p.end(), bytes.begin(), bytes.end());
  }
  append16(p, 40000);
  append16(p, destination_port);
  append16(p, 8);
  append16(p, 0);
  return p;
}

// A fragment, of whatever protocol the fragment header says comes next.
Packet ipv6_fragment(const char* source, const char* destination, std::uint8_t protocol) {
  Packet p = ipv6(source, destination, 80, 44);
  p[54] = protocol;
  return p;
}

// An ICMP error to the gateway about that frame's packet, of the same family.
Packet error_about(const Packet& frame, std::uint8_t type, std::uint8_t code = 0, unsigned fragment = 0) {
  const bool v4 = frame[12] == 8;
  Packet p = v4 ? ipv4({.source = kUnknownAddress, .destination = kGateway, .protocol = 1, .fragment = fragment})
                : ipv6("2001:db8::fe", kGateway6, 0, 58);
  p.resize(p.size() - 8);
  p.insert(p.end(), {type, code, 0, 0, 0, 0, 5, 0x78});
  p.insert(p.end(), frame.begin() + 14, frame.end());
  return p;
}

Packet truncated(Packet p, std::size_t to) {
  p.resize(to);
  return p;
}

Packet tagged(const Packet& p) {
  Packet with(p.begin(), p.begin() + 12);
  with.insert(with.end(), {0x81, 0, 0, 5});
  with.insert(with.end(), p.begin() + 12, p.end());
  return with;
}

// As a heartbeat of a queue that is polled.
std::uint64_t now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec)) &
         ~ISTHMUS_NOT_POLLED;
}

SteerRules rules() {
  SteerRules r;
  r.tunnel = tunnel_end(address(kGateway));
  r.tunnel.ipv6 = address(kGateway6);
  r.tunnel.ports[1] = L4Port{6081};
  r.peers = {address(kPeer), address(kPeer6)};
  r.fleet = {prefix("10.2.0.0/16"), prefix("fd00:2::/48"), prefix("10.200.0.10"), prefix("fd00:ff::a")};
  r.local_sources = {prefix("10.1.0.0/16"), prefix("fd00:1::/48")};
  return r;
}

class SteerProgramTest : public testing::Test {
 protected:
  void load(SteerProgram::Settings settings = {}) {
    auto loaded = SteerProgram::load(settings);
    ASSERT_TRUE(loaded.ok()) << loaded.error().text();
    program_ = *std::move(loaded);
    ASSERT_TRUE(program_->apply(rules()).ok());
    program_->heartbeats()[0].nanoseconds = now();
    socket_ = UniqueFd(socket(AF_XDP, SOCK_RAW, 0));
    ASSERT_TRUE(socket_.valid());
    ASSERT_TRUE(program_->set_socket(0, socket_.get()).ok());
  }
  // Returns the XDP action.
  unsigned run(const Packet& packet) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = packet.data();
    options.data_size_in = static_cast<std::uint32_t>(packet.size());
    options.repeat = 1;
    const int error = bpf_prog_test_run_opts(program_->program(), &options);
    EXPECT_EQ(error, 0);
    return options.retval;
  }
  isthmus_steer_counters counters() {
    const auto map = map_of_program(program_->program(), ISTHMUS_COUNTERS_MAP);
    EXPECT_TRUE(map.has_value());
    std::vector<isthmus_steer_counters> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    const std::uint32_t only = 0;
    EXPECT_EQ(bpf_map_lookup_elem(map->get(), &only, per_cpu.data()), 0);
    isthmus_steer_counters sum{};
    for (const auto& c : per_cpu) {
#define ISTHMUS_STEER_COUNTER(field, ...) sum.field += c.field;
#include "dataplane/stats/counters.def"
    }
    return sum;
  }

  std::unique_ptr<SteerProgram> program_;
  UniqueFd socket_;
};

using Counter = __u64 isthmus_steer_counters::*;
constexpr Counter kAllCounters[] = {
#define ISTHMUS_STEER_COUNTER(field, ...) &isthmus_steer_counters::field,
#include "dataplane/stats/counters.def"
};

struct Row {
  const char* description;
  Packet packet;
  unsigned action;
  std::vector<Counter> counted;  // exactly these increase, each by one
};

std::vector<Row> rows() {
  const Counter passed = &isthmus_steer_counters::passed;
  const Counter tunnel = &isthmus_steer_counters::taken_tunnel;
  const Counter plain = &isthmus_steer_counters::taken_plain;
  const Counter error = &isthmus_steer_counters::taken_error;
  const Packet to_peer = ipv4({.source = kGateway, .destination = kPeer, .destination_port = 8472});
  const Packet to_peer6 = ipv6(kGateway6, kPeer6, 8472);
  const Counter foreign = &isthmus_steer_counters::foreign_source;
  const Counter not_a_peer = &isthmus_steer_counters::not_a_peer;
  const Packet from_peer = ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472});
  return {
      {"tunnel packet from a peer", from_peer, XDP_REDIRECT, {tunnel}},
      {"tunnel packet with IP options",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472, .options = 3}),
       XDP_REDIRECT,
       {tunnel}},
      {"tunnel packet with don't-fragment is not a fragment",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472, .fragment = 0x4000}),
       XDP_REDIRECT,
       {tunnel}},
      {"a tunnel packet was too long", error_about(to_peer, 3, 4), XDP_REDIRECT, {error}},
      {"a tunnel packet over IPv6 was too long", error_about(to_peer6, 2), XDP_REDIRECT, {error}},
      {"another error about a tunnel packet", error_about(to_peer, 3, 3), XDP_PASS, {passed}},
      {"another error about a tunnel packet over IPv6", error_about(to_peer6, 3), XDP_PASS, {passed}},
      {"a fragment of such an error", error_about(to_peer, 3, 4, 0x2000), XDP_PASS, {passed}},
      {"a packet to no peer was too long",
       error_about(ipv4({.source = kGateway, .destination = kUnknownAddress, .destination_port = 8472}), 3, 4),
       XDP_PASS,
       {passed}},
      {"a packet over IPv6 to no peer was too long",
       error_about(ipv6(kGateway6, "2001:db8::77", 8472), 2),
       XDP_PASS,
       {passed}},
      {"a packet to another port of a peer was too long",
       error_about(ipv4({.source = kGateway, .destination = kPeer, .destination_port = 53}), 3, 4),
       XDP_PASS,
       {passed}},
      {"a TCP packet to a peer was too long",
       error_about(ipv4({.source = kGateway, .destination = kPeer, .protocol = 6, .destination_port = 8472}), 3, 4),
       XDP_PASS,
       {passed}},
      {"an error that quotes too little", truncated(error_about(to_peer, 3, 4), 14 + 20 + 8 + 27), XDP_PASS, {passed}},
      {"an error over IPv6 that quotes too little",
       truncated(error_about(to_peer6, 2), 14 + 40 + 8 + 47),
       XDP_PASS,
       {passed}},
      {"tunnel packet from an unknown address",
       ipv4({.source = kUnknownAddress, .destination = kGateway, .destination_port = 8472}),
       XDP_PASS,
       {not_a_peer, passed}},
      {"tunnel packet of the other kind",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 6081}),
       XDP_REDIRECT,
       {tunnel}},
      {"UDP port 0 is no kind's",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 0}),
       XDP_PASS,
       {passed}},
      {"tunnel packet over IPv6 from a peer", ipv6(kPeer6, kGateway6, 8472), XDP_REDIRECT, {tunnel}},
      {"tunnel packet over IPv6 of the other kind", ipv6(kPeer6, kGateway6, 6081), XDP_REDIRECT, {tunnel}},
      {"tunnel packet over IPv6 from an unknown address",
       ipv6("2001:db8:7::8", kGateway6, 8472),
       XDP_PASS,
       {not_a_peer, passed}},
      {"UDP over IPv6 to another L4 port", ipv6(kPeer6, kGateway6, 53), XDP_PASS, {passed}},
      {"TCP over IPv6 to the tunnel port", ipv6(kPeer6, kGateway6, 8472, 6), XDP_PASS, {passed}},
      {"UDP over IPv6 to another address of the node", ipv6(kPeer6, "2001:db8::2", 8472), XDP_PASS, {passed}},
      {"tunnel fragment over IPv6", ipv6_fragment(kPeer6, kGateway6, 17), XDP_REDIRECT, {tunnel}},
      {"fragment over IPv6 to the tunnel address from an unknown address",
       ipv6_fragment("2001:db8::99", kGateway6, 17),
       XDP_PASS,
       {passed}},
      {"TCP fragment over IPv6", ipv6_fragment(kPeer6, kGateway6, 6), XDP_PASS, {passed}},
      {"truncated in the UDP header over IPv6", truncated(ipv6(kPeer6, kGateway6, 8472), 61), XDP_PASS, {passed}},
      {"first tunnel fragment",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472, .fragment = 0x2000}),
       XDP_REDIRECT,
       {tunnel}},
      {"last tunnel fragment",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472, .fragment = 0x0010}),
       XDP_REDIRECT,
       {tunnel}},
      {"fragment to the tunnel address from an unknown address",
       ipv4({.source = kUnknownAddress, .destination = kGateway, .destination_port = 8472, .fragment = 0x0010}),
       XDP_PASS,
       {passed}},
      {"UDP to another L4 port",
       ipv4({.source = kPeer, .destination = kGateway, .destination_port = 53}),
       XDP_PASS,
       {passed}},
      {"TCP to the tunnel port",
       ipv4({.source = kPeer, .destination = kGateway, .protocol = 6, .destination_port = 8472}),
       XDP_PASS,
       {passed}},
      {"UDP to another address of the node",
       ipv4({.source = kPeer, .destination = "192.0.2.2", .destination_port = 8472}),
       XDP_PASS,
       {passed}},
      {"pod to a remote pod", ipv4({.source = kPod, .destination = kRemotePod}), XDP_REDIRECT, {plain}},
      {"fragment from a pod to a remote pod",
       ipv4({.source = kPod, .destination = kRemotePod, .fragment = 0x2000}),
       XDP_REDIRECT,
       {plain}},
      {"pod to a VIP", ipv4({.source = kPod, .destination = kVip, .protocol = 6}), XDP_REDIRECT, {plain}},
      {"pod to the address after the VIP", ipv4({.source = kPod, .destination = "10.200.0.11"}), XDP_PASS, {passed}},
      {"foreign source to a VIP", ipv4({.source = kUnknownAddress, .destination = kVip}), XDP_PASS, {foreign, passed}},
      {"remote pod to a remote pod",
       ipv4({.source = kRemotePod, .destination = kRemotePod}),
       XDP_PASS,
       {foreign, passed}},
      {"pod to a pod of this cluster", ipv4({.source = kPod, .destination = "10.1.0.6"}), XDP_PASS, {passed}},
      {"IPv6 pod to a remote pod", ipv6(kPod6, kRemotePod6), XDP_REDIRECT, {plain}},
      {"IPv6 pod to a VIP", ipv6(kPod6, kVip6), XDP_REDIRECT, {plain}},
      {"IPv6 foreign source to a VIP", ipv6("fd00:9::1", kVip6), XDP_PASS, {foreign, passed}},
      {"IPv6 pod to a non-fleet destination", ipv6(kPod6, "fd00:3::1"), XDP_PASS, {passed}},
      {"IPv4-mapped addresses in an IPv6 header are not IPv4",
       ipv6("::ffff:10.1.0.5", "::ffff:10.2.0.9"),
       XDP_PASS,
       {passed}},
      {"VLAN-tagged tunnel packet", tagged(from_peer), XDP_PASS, {passed}},
      {"VLAN-tagged pod packet", tagged(ipv4({.source = kPod, .destination = kVip})), XDP_PASS, {passed}},
      {"ARP", truncated(ethernet_frame(0x0806), 42), XDP_PASS, {passed}},
      {"truncated before the IPv4 header", truncated(from_peer, 14), XDP_PASS, {passed}},
      {"truncated in the IPv4 header", truncated(from_peer, 33), XDP_PASS, {passed}},
      {"truncated before the UDP header", truncated(from_peer, 34), XDP_PASS, {passed}},
      {"truncated in the UDP header", truncated(from_peer, 41), XDP_PASS, {passed}},
      {"truncated in the IP options",
       truncated(ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472, .options = 10}), 60),
       XDP_PASS,
       {passed}},
      {"truncated in the IPv6 header", truncated(ipv6(kPod6, kVip6), 53), XDP_PASS, {passed}},
      {"pod to a VIP without an L4 header",
       truncated(ipv4({.source = kPod, .destination = kVip}), 34),
       XDP_REDIRECT,
       {plain}},
  };
}

TEST_F(SteerProgramTest, TakesFleetTrafficAndNothingElse) {
  load();
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.description);
    program_->heartbeats()[0].nanoseconds = now();
    const isthmus_steer_counters before = counters();
    EXPECT_EQ(run(row.packet), row.action);
    const isthmus_steer_counters after = counters();
    for (const Counter counter : kAllCounters) {
      const bool increases = std::find(row.counted.begin(), row.counted.end(), counter) != row.counted.end();
      EXPECT_EQ(after.*counter - before.*counter, increases ? 1u : 0u) << (&counter - kAllCounters);
    }
  }
}

TEST_F(SteerProgramTest, WhatAClusterWithNativeRoutingSendsToThisOneIsTaken) {
  load();
  const auto action = [&](const Packet& packet) {
    program_->heartbeats()[0].nanoseconds = now();
    return run(packet);
  };
  const Packet to_pod = ipv4({.source = "10.7.0.5", .destination = kPod, .protocol = 6});
  const Packet to_pod6 = ipv6("fd00:7::5", kPod6);
  EXPECT_EQ(action(to_pod), XDP_PASS);
  SteerRules native = rules();
  native.native = {prefix("10.7.0.0/16"), prefix("fd00:7::/48")};
  native.local_sources.insert(native.native.begin(), native.native.end());
  ASSERT_TRUE(program_->apply(native).ok());
  EXPECT_EQ(action(to_pod), XDP_REDIRECT);
  EXPECT_EQ(action(to_pod6), XDP_REDIRECT);
  EXPECT_EQ(action(ipv4({.source = "10.7.0.5", .destination = kVip})), XDP_REDIRECT);
  EXPECT_EQ(action(ipv4({.source = "10.8.0.5", .destination = kPod})), XDP_PASS) << "another network";
  EXPECT_EQ(action(ipv4({.source = "10.7.0.5", .destination = "10.9.0.1"})), XDP_PASS) << "not to this cluster";
  EXPECT_EQ(action(ipv4({.source = "10.7.0.5", .destination = kGateway, .protocol = 6})), XDP_PASS) << "to the node";
  EXPECT_EQ(action(ipv4({.source = kPod, .destination = "10.1.0.6"})), XDP_PASS) << "within this cluster";
  ASSERT_TRUE(program_->apply(rules()).ok());
  EXPECT_EQ(action(to_pod), XDP_PASS);
}

TEST_F(SteerProgramTest, FramesForAnotherMacAreLeftToTheKernel) {
  const MacAddress own = *MacAddress::parse("02:00:00:00:00:01");
  load({.mac = own});
  const Packet tunnel = ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472});
  const Packet plain = ipv6(kPod6, kVip6);
  EXPECT_EQ(run(tunnel), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_REDIRECT));
  for (const char* other :
       {"02:00:00:00:00:99", "02:00:00:00:99:01", "02:99:00:00:00:01", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"}) {
    SCOPED_TRACE(other);
    const auto bytes = MacAddress::parse(other)->bytes;
    for (Packet packet : {tunnel, plain}) {
      std::copy(bytes.begin(), bytes.end(), packet.begin());
      EXPECT_EQ(run(packet), static_cast<unsigned>(XDP_PASS));
    }
  }
  EXPECT_EQ(counters().other_mac, 10u);
  EXPECT_EQ(counters().passed, 10u);
  EXPECT_EQ(counters().taken_tunnel + counters().taken_plain, 2u);
}

TEST_F(SteerProgramTest, AChangedMacOfTheInterfaceIsFollowed) {
  load({.mac = *MacAddress::parse("02:00:00:00:00:77")});
  const Packet plain = ipv4({.source = kPod, .destination = kVip});
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_PASS));
  ASSERT_TRUE(program_->set_mac(*MacAddress::parse("02:00:00:00:00:01")).ok());
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_REDIRECT));
  ASSERT_TRUE(program_->apply(SteerRules{}).ok());
  ASSERT_TRUE(program_->apply(rules()).ok());
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_REDIRECT));
}

TEST_F(SteerProgramTest, AHeaderWithTheWrongIpVersionOrLengthPasses) {
  load();
  Packet wrong = ipv4({.source = kPod, .destination = kVip});
  wrong[14] = 0x65;
  EXPECT_EQ(run(wrong), static_cast<unsigned>(XDP_PASS));
  wrong[14] = 0x44;
  EXPECT_EQ(run(wrong), static_cast<unsigned>(XDP_PASS));
  Packet wrong6 = ipv6(kPod6, kVip6);
  wrong6[14] = 0x40;
  EXPECT_EQ(run(wrong6), static_cast<unsigned>(XDP_PASS));
}

TEST_F(SteerProgramTest, WithoutAHeartbeatFleetTrafficIsDroppedAndTheRestPasses) {
  load({.heartbeat_timeout_ms = 500});
  const Packet tunnel = ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472});
  const Packet plain = ipv6(kPod6, kVip6);
  for (const __u64 stale : {__u64{0}, __u64{now() - 600'000'000}, now() | ISTHMUS_NOT_POLLED}) {
    program_->heartbeats()[0].nanoseconds = stale;
    EXPECT_EQ(run(tunnel), static_cast<unsigned>(XDP_DROP));
    EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_DROP));
    EXPECT_EQ(run(ipv4({.source = kPod, .destination = "10.1.0.6"})), static_cast<unsigned>(XDP_PASS));
    EXPECT_EQ(run(ipv4({.source = kUnknownAddress, .destination = kGateway, .destination_port = 8472})),
              static_cast<unsigned>(XDP_PASS));
  }
  EXPECT_EQ(counters().engine_down_dropped, 6u);
  // A heartbeat slightly ahead of the program's clock, as from another CPU, is recent.
  program_->heartbeats()[0].nanoseconds = now() + 10'000'000;
  EXPECT_EQ(run(tunnel), static_cast<unsigned>(XDP_REDIRECT));
}

TEST_F(SteerProgramTest, WithoutASocketFleetTrafficIsDroppedDespiteARecentHeartbeat) {
  load();
  socket_.reset();
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kVip})), static_cast<unsigned>(XDP_DROP));
  EXPECT_EQ(counters().engine_down_dropped, 1u);
  EXPECT_EQ(counters().taken_plain, 0u);
}

TEST_F(SteerProgramTest, EngineDownPassesSendsFleetTrafficToTheKernel) {
  load({.engine_down_passes = true});
  const Packet plain = ipv4({.source = kPod, .destination = kVip});
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_REDIRECT));
  program_->heartbeats()[0].nanoseconds = 0;
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_PASS));
  program_->heartbeats()[0].nanoseconds = now();
  socket_.reset();
  EXPECT_EQ(run(plain), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(counters().engine_down_passed, 2u);
  EXPECT_EQ(counters().passed, 0u);
}

TEST_F(SteerProgramTest, NewRulesReplaceOldOnes) {
  load();
  SteerRules changed = rules();
  changed.peers = {address(kUnknownAddress)};
  changed.fleet = {prefix("10.3.0.0/16"), prefix("10.200.0.0/24")};
  changed.tunnel.ports = {L4Port{4789}};
  ASSERT_TRUE(program_->apply(changed).ok());
  EXPECT_EQ(run(ipv4({.source = kPeer, .destination = kGateway, .destination_port = 4789})),
            static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = kUnknownAddress, .destination = kGateway, .destination_port = 8472})),
            static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = kUnknownAddress, .destination = kGateway, .destination_port = 4789})),
            static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kRemotePod})), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "10.3.1.1"})), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "10.200.0.11"})), static_cast<unsigned>(XDP_REDIRECT));
  ASSERT_TRUE(program_->apply(SteerRules{}).ok());
  EXPECT_EQ(run(ipv4({.source = kUnknownAddress, .destination = kGateway, .destination_port = 4789})),
            static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "10.3.1.1"})), static_cast<unsigned>(XDP_PASS));
}

TEST_F(SteerProgramTest, AChangeOfRulesAddsAndRemovesWhatItNames) {
  load();
  SteerChange change;
  change.added.peers = {address(kUnknownAddress)};
  change.added.fleet = {prefix("10.3.0.0/16")};
  change.added.native = change.added.local_sources = {prefix("10.7.0.0/16")};
  change.removed.peers = {address(kPeer)};
  change.removed.fleet = {prefix("10.2.0.0/16")};
  ASSERT_TRUE(program_->change(change).ok());
  const auto tunnelled = [&](const char* peer) {
    return run(ipv4({.source = peer, .destination = kGateway, .destination_port = 8472}));
  };
  EXPECT_EQ(tunnelled(kUnknownAddress), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(tunnelled(kPeer), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "10.3.1.1"})), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kRemotePod})), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kVip})), static_cast<unsigned>(XDP_REDIRECT)) << "stays";
  EXPECT_EQ(run(ipv4({.source = "10.7.0.1", .destination = "10.3.1.1"})), static_cast<unsigned>(XDP_REDIRECT));
  std::swap(change.added, change.removed);
  ASSERT_TRUE(program_->change(change).ok());
  EXPECT_EQ(tunnelled(kUnknownAddress), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(tunnelled(kPeer), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kRemotePod})), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = "10.7.0.1", .destination = kRemotePod})), static_cast<unsigned>(XDP_PASS));
}

// More pairs than verdicts are kept, so that they compete; each is asked for twice, and again by other rules.
TEST_F(SteerProgramTest, EveryPairOfAddressesHasItsOwnVerdict) {
  load();
  const auto check = [&](unsigned taken_subnet) {
    for (unsigned round = 0; round < 2; ++round) {
      for (unsigned i = 0; i < 1500; ++i) {
        const unsigned subnet = i % 3 + 2;
        const std::string to4 = "10." + std::to_string(subnet) + ".0." + std::to_string(i % 250);
        const std::string to6 = "fd00:" + std::to_string(subnet) + "::" + std::to_string(i % 250);
        const std::string host = std::to_string(i % 200 + 1);
        const unsigned expected = subnet == taken_subnet ? XDP_REDIRECT : XDP_PASS;
        program_->heartbeats()[0].nanoseconds = now();
        ASSERT_EQ(run(ipv4({.source = ("10.1.0." + host).c_str(), .destination = to4.c_str()})), expected) << to4;
        ASSERT_EQ(run(ipv6(("fd00:1::" + host).c_str(), to6.c_str())), expected) << to6;
        ASSERT_EQ(run(ipv4({.source = ("10.5.0." + host).c_str(), .destination = to4.c_str()})),
                  static_cast<unsigned>(XDP_PASS));
      }
    }
  };
  check(2);
  SteerRules changed = rules();
  changed.fleet = {prefix("10.3.0.0/16"), prefix("fd00:3::/48")};
  ASSERT_TRUE(program_->apply(changed).ok());
  check(3);
}

TEST_F(SteerProgramTest, ARefusedChangeLeavesNoVerdictBehind) {
  load();
  const Packet later = ipv4({.source = kPod, .destination = "10.3.1.1"});
  EXPECT_EQ(run(later), static_cast<unsigned>(XDP_PASS));
  SteerChange change;
  change.added.fleet = {prefix("10.3.0.0/16")};
  ASSERT_TRUE(program_->change(change).ok());
  EXPECT_EQ(run(later), static_cast<unsigned>(XDP_REDIRECT));
  SteerRules bad = rules();
  bad.tunnel.ipv4 = address("fd00::1");
  EXPECT_FALSE(program_->apply(bad).ok());
  EXPECT_EQ(run(later), static_cast<unsigned>(XDP_REDIRECT));
  std::swap(change.added, change.removed);
  ASSERT_TRUE(program_->change(change).ok());
  EXPECT_EQ(run(later), static_cast<unsigned>(XDP_PASS));
}

TEST_F(SteerProgramTest, ADefaultRouteOfOneFamilyDoesNotCoverTheOther) {
  load();
  SteerRules everything = rules();
  everything.fleet = {prefix("::/0")};
  ASSERT_TRUE(program_->apply(everything).ok());
  EXPECT_EQ(run(ipv6(kPod6, "2001:db8::1")), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kVip})), static_cast<unsigned>(XDP_PASS));
}

TEST_F(SteerProgramTest, TunnelAddressesOfTheWrongFamilyAreAnError) {
  load();
  SteerRules bad = rules();
  bad.tunnel.ipv4 = address("fd00::1");
  SteerRules worse = rules();
  worse.tunnel.ipv6 = address("192.0.2.1");
  for (const SteerRules& wrong : {bad, worse}) {
    const Status status = program_->apply(wrong);
    ASSERT_FALSE(status.ok());
    EXPECT_FALSE(status.error().fix.empty());
  }
}

TEST_F(SteerProgramTest, WithoutAnAddressOfAFamilyNothingIsTakenOverIt) {
  load();
  SteerRules only = rules();
  only.tunnel.ipv6 = IpAddress{};
  ASSERT_TRUE(program_->apply(only).ok());
  EXPECT_EQ(run(ipv6(kPeer6, kGateway6, 8472)), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv6(kPeer6, "::", 8472)), static_cast<unsigned>(XDP_PASS));
  only = rules();
  only.tunnel.ipv4 = IpAddress{};
  ASSERT_TRUE(program_->apply(only).ok());
  EXPECT_EQ(run(ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472})),
            static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv6(kPeer6, kGateway6, 8472)), static_cast<unsigned>(XDP_REDIRECT));
}

TEST_F(SteerProgramTest, ThousandsOfRulesAreAccepted) {
  load();
  SteerRules many = rules();
  for (unsigned i = 0; i < 5000; ++i) {
    many.fleet.insert(Prefix(IpAddress::ipv4(Be32::of(0x0b000000u + (i << 8))), 24));
    many.peers.insert(IpAddress::ipv4(Be32::of(0xc6330000u + i)));
  }
  ASSERT_TRUE(program_->apply(many).ok());
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "11.19.135.7"})), static_cast<unsigned>(XDP_REDIRECT));
  ASSERT_TRUE(program_->apply(rules()).ok());
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "11.19.135.7"})), static_cast<unsigned>(XDP_PASS));
}

TEST_F(SteerProgramTest, IfAMapIsFullTheOldRulesStayInForce) {
  load();
  SteerRules many = rules();
  many.fleet.insert(prefix("10.3.0.0/16"));
  many.local_sources.insert(prefix("10.9.0.0/16"));
  for (unsigned i = 0; i < 65535; ++i) {  // with the two of rules(): one more than the map holds
    many.peers.insert(IpAddress::ipv4(Be32::of(0x0b000000u + i)));
  }
  const Status refused = program_->apply(many);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().text().find("too many"), std::string::npos) << refused.error().text();
  program_->heartbeats()[0].nanoseconds = now();
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = kRemotePod})), static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPeer, .destination = kGateway, .destination_port = 8472})),
            static_cast<unsigned>(XDP_REDIRECT));
  EXPECT_EQ(run(ipv4({.source = kPod, .destination = "10.3.1.1"})), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = "10.9.0.1", .destination = kRemotePod})), static_cast<unsigned>(XDP_PASS));
  EXPECT_EQ(run(ipv4({.source = "11.0.0.7", .destination = kGateway, .destination_port = 8472})),
            static_cast<unsigned>(XDP_PASS));
  many.peers.erase(many.peers.begin());
  ASSERT_TRUE(program_->apply(many).ok());
  program_->heartbeats()[0].nanoseconds = now();
  EXPECT_EQ(run(ipv4({.source = "10.9.0.1", .destination = "10.3.1.1"})), static_cast<unsigned>(XDP_REDIRECT));
}

TEST_F(SteerProgramTest, TheMultiBufferVariantLoads) {
  load({.queues = 8, .fragments = true});
  EXPECT_EQ(program_->heartbeats().size(), 8u);
  Packet packet = ipv4({.source = kPod, .destination = kVip});
  EXPECT_EQ(run(packet), static_cast<unsigned>(XDP_REDIRECT));
  packet.resize(8000);
  EXPECT_EQ(run(packet), static_cast<unsigned>(XDP_DROP));
  EXPECT_EQ(counters().longer_than_buffer, 1u);
  EXPECT_EQ(counters().taken_plain, 1u);
}

}  // namespace
}  // namespace isthmus
