// isthmus_forward (xdp/forward.bpf.c), run by the kernel on single packets: what is forwarded, and how it looks then.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <time.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/packet/flow_key.h"
#include "test/support/packet.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/steer_program.h"

namespace isthmus {
namespace {

using test::FrameBytes;
using test::PacketSpec;

static_assert(encap::Vxlan::kPlain.mask == ISTHMUS_VXLAN_MASK && encap::Vxlan::kPlain.value == ISTHMUS_VXLAN_VALUE);
static_assert(encap::Geneve::kPlain.mask == ISTHMUS_GENEVE_MASK && encap::Geneve::kPlain.value == ISTHMUS_GENEVE_VALUE);

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

constexpr std::uint32_t kUnderlayDevice = 0, kLocalDevice = 1;
constexpr std::uint32_t kVni = 0x123456, kSentVni = 0x654321, kLease = 2, kHop = 7;
constexpr std::uint16_t kEpoch = 41, kOuterPort = 0xc123, kMtu = 1400;
const MacAddress kOwnMac = *MacAddress::parse("02:00:00:00:00:01");

// How packets come, or leave.
enum class Way { kLocal, kUnderlay, kVxlan4, kVxlan6, kGeneve4, kGeneve6 };
constexpr Way kWays[] = {Way::kLocal, Way::kUnderlay, Way::kVxlan4, Way::kVxlan6, Way::kGeneve4, Way::kGeneve6};

bool tunnelled(Way way) { return way >= Way::kVxlan4; }
EncapsulationKind kind_of(Way way) {
  return way >= Way::kGeneve4 ? EncapsulationKind::kGeneve : EncapsulationKind::kVxlan;
}
std::uint16_t port_of(Way way) { return way >= Way::kGeneve4 ? 6081 : 8472; }
bool over_ipv6(Way way) { return way == Way::kVxlan6 || way == Way::kGeneve6; }
// Numbers of the record of packets that come, and of those that leave.
std::uint16_t record_of(Way way, bool leaves) { return static_cast<std::uint16_t>(static_cast<int>(way) * 2 + leaves); }
IpAddress gateway(Way way) { return ip(over_ipv6(way) ? "2001:db8::1" : "192.0.2.1"); }
IpAddress peer(Way way, bool leaves) {
  return over_ipv6(way) ? ip(leaves ? "2001:db8:7::9" : "2001:db8:7::7") : ip(leaves ? "198.51.100.9" : "198.51.100.7");
}

struct Inside {
  bool ipv6 = false, udp = false;
};
PacketSpec inside(const Inside& of) {
  const test::Endpoint from{ip(of.ipv6 ? "fd00:1::5" : "10.1.0.5"), 40000};
  const test::Endpoint to{ip(of.ipv6 ? "fd00:ff::a" : "10.200.0.10"), 80};
  return (of.udp ? test::udp(from, to) : test::tcp(from, to, test::kAck)).with_payload(33);
}
FrameBytes arriving(PacketSpec spec, Way way) {
  if (tunnelled(way)) {
    spec.in_tunnel(peer(way, false), gateway(way), kVni);
    spec.tunnel->kind = kind_of(way);
    spec.tunnel->port = port_of(way);
    spec.tunnel->flags = way >= Way::kGeneve4 ? 0x6558 : 0x08000000;
  }
  FrameBytes bytes = spec.bytes();
  std::copy(kOwnMac.bytes.begin(), kOwnMac.bytes.end(), bytes.begin());
  return bytes;
}

isthmus_flow_key key_of(const PacketSpec& spec) {
  const FlowKey key(spec.source, spec.destination, Be16::of(spec.source_port), Be16::of(spec.destination_port),
                    spec.protocol, Realm{});
  isthmus_flow_key raw;
  static_assert(sizeof raw == sizeof key);
  std::memcpy(&raw, &key, sizeof raw);
  return raw;
}

void put(const IpAddress& address, std::uint8_t* to) {
  const bool ipv4 = address.is_ipv4();
  std::memcpy(to, address.bytes().data() + (ipv4 ? 12 : 0), ipv4 ? 4 : 16);
}

std::uint16_t sum_of(const PacketSpec& spec, bool ports) {
  std::uint64_t sum = net::partial_sum(spec.source.bytes().data(), 16);
  sum = net::partial_sum(spec.destination.bytes().data(), 16, sum);
  return net::fold(ports ? sum + Be16::of(spec.source_port).wire() + Be16::of(spec.destination_port).wire() : sum);
}
std::uint16_t delta(std::uint16_t before, std::uint16_t after, bool hop) {
  return net::fold(std::uint64_t{after} + static_cast<std::uint16_t>(~before) +
                   (hop ? static_cast<std::uint16_t>(~Be16::of(0x0100).wire()) : 0u));
}

struct Leg {
  std::unique_ptr<SteerProgram> program;
  struct Run {
    unsigned action;
    FrameBytes frame;
  };
  [[nodiscard]] Run run(const FrameBytes& frame) const {
    FrameBytes out(frame.size() + 256);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<std::uint32_t>(out.size());
    options.repeat = 1;
    EXPECT_EQ(bpf_prog_test_run_opts(program->program(), &options), 0);
    out.resize(options.data_size_out);
    return {options.retval, out};
  }
};

class ForwardProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = KernelFlows::create(16);
    ASSERT_TRUE(made.ok()) << made.error().text();
    flows_ = *std::move(made);
    settings_.mac = kOwnMac;
    load(underlay_, kUnderlayDevice, true);
    load(local_, kLocalDevice, false);
    const int some_interface = 1;  // lo; nothing is sent to it
    ASSERT_TRUE(flows_->set_device(kUnderlayDevice, some_interface).ok());
    ASSERT_TRUE(flows_->set_device(kLocalDevice, some_interface).ok());
    isthmus_hop& hop = flows_->hops()[kHop];
    hop = {{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8}, 1};
    for (const Way way : kWays) {
      for (const bool leaves : {false, true}) {
        if (tunnelled(way)) {
          write_record(way, leaves, flows_->tunnels()[record_of(way, leaves)]);
        }
      }
    }
  }
  void load(Leg& leg, std::uint32_t device, bool underlay) {
    settings_.kernel_flows = flows_.get();
    auto loaded = SteerProgram::load(settings_);
    ASSERT_TRUE(loaded.ok()) << loaded.error().text();
    leg.program = *std::move(loaded);
    SteerRules rules;
    rules.tunnel = tunnel_end(ip("192.0.2.1"));
    rules.tunnel.ipv6 = ip("2001:db8::1");
    rules.tunnel.ports[1] = L4Port{6081};
    ASSERT_TRUE(leg.program->apply(rules).ok());
    ASSERT_TRUE(leg.program->join(device, underlay).ok());
  }
  static void write_record(Way way, bool leaves, isthmus_tunnel& into) {
    const OuterHeader header = encap::build(kind_of(way), gateway(way), peer(way, leaves), L4Port{port_of(way)});
    std::memcpy(into.header, header.bytes.data(), sizeof into.header);
    into.sum = header.sum;
    into.size = static_cast<std::uint16_t>(header.size);
    into.overhead = static_cast<std::uint16_t>(header.overhead);
    put(peer(way, leaves), into.address);
    into.from_port = Be16::of(port_of(way)).wire();
    into.from_kind = kind_of(way) == EncapsulationKind::kGeneve ? ISTHMUS_GENEVE : ISTHMUS_VXLAN;
    into.family = over_ipv6(way) ? ISTHMUS_IPV6 : ISTHMUS_IPV4;
  }
  // The decision that turns `before` into `after`, handed down.
  isthmus_flow decision(const PacketSpec& before, const PacketSpec& after, Way in, Way out) {
    isthmus_flow flow{};
    put(after.source, flow.source);
    put(after.destination, flow.destination);
    flow.source_port = Be16::of(after.source_port).wire();
    flow.destination_port = Be16::of(after.destination_port).wire();
    flow.lease = kLease;
    flow.next_hop = kHop;
    flow.mtu = kMtu;
    const bool hop = after.ttl != before.ttl;
    flow.ip_delta = delta(sum_of(before, false), sum_of(after, false), hop);
    flow.l4_delta = delta(sum_of(before, true), sum_of(after, true), false);
    flow.epoch_index[0] = flow.epoch_index[3] = kEpoch;
    const bool same = before.source == after.source && before.destination == after.destination;
    flow.flags = static_cast<std::uint8_t>(
        (same ? 0 : ISTHMUS_REWRITE_SOURCE | ISTHMUS_REWRITE_DESTINATION) | (hop ? ISTHMUS_DECREMENT_TTL : 0) |
        (tunnelled(out) ? ISTHMUS_ENCAPSULATE : 0) | (tunnelled(in) ? ISTHMUS_FROM_TUNNEL : 0) |
        (in == Way::kUnderlay ? ISTHMUS_FROM_UNDERLAY : 0));
    flow.device = out == Way::kLocal ? kLocalDevice : kUnderlayDevice;
    flow.from_vni = Be32::of(kVni << 8).wire();
    flow.from = record_of(in, false);
    flow.vni_word = Be32::of(kSentVni << 8).wire();
    flow.tunnel = record_of(out, true);
    flow.outer_port = Be16::of(kOuterPort).wire();
    return flow;
  }
  void hand_down(const PacketSpec& before, const isthmus_flow& flow) {
    const isthmus_flow_key key = key_of(before);
    flows_->erase({&key, 1});
    ASSERT_EQ(flows_->insert({&key, 1}, {&flow, 1}), 1u);
    std::uint32_t sum = 0;
    for (const std::uint16_t index : flow.epoch_index) {
      sum += flows_->epochs()[index];
    }
    lease() = {sum, 1, 0, 0};
  }
  isthmus_lease& lease() { return flows_->leases()[kLease]; }
  Leg::Run run(Way in, const FrameBytes& frame) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    Leg& leg = in == Way::kLocal ? local_ : underlay_;
    leg.program->heartbeats()[0].nanoseconds =
        static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
    return leg.run(frame);
  }
  // Whether the packet has been left to the classification, as it came.
  bool goes_up(Way in, const FrameBytes& frame) {
    const std::uint64_t before = lease().packets;
    const Leg::Run ran = run(in, frame);
    return lease().packets == before && ran.frame == frame && ran.action != XDP_ABORTED;
  }
  static void expect_sent(const Leg::Run& ran, const PacketSpec& after, Way out) {
    const test::Dissected sent = test::dissect(ran.frame);
    EXPECT_TRUE(sent.errors.empty()) << sent.errors.front();
    EXPECT_EQ(sent.destination_mac, "02:00:00:00:00:09");
    EXPECT_EQ(sent.source_mac, "02:00:00:00:00:08");
    EXPECT_EQ(sent.tunnelled, tunnelled(out));
    EXPECT_EQ(sent.source.to_string() + " " + sent.destination.to_string(),
              after.source.to_string() + " " + after.destination.to_string());
    EXPECT_EQ(sent.source_port, after.source_port);
    EXPECT_EQ(sent.destination_port, after.destination_port);
    EXPECT_EQ(sent.ttl, after.ttl);
    EXPECT_EQ(sent.ecn, after.ecn);
    EXPECT_TRUE(sent.payload_is_pattern);
    EXPECT_EQ(sent.payload, after.payload);
    EXPECT_EQ(sent.udp_checksum != 0, after.protocol == IpProtocol::kUdp && after.udp_checksum);
    const std::size_t outer = tunnelled(out) ? (over_ipv6(out) ? 70 : 50) : 0;
    EXPECT_EQ(ran.frame.size(), 14 + outer + after.ip_bytes().size()) << "no padding is sent";
    if (tunnelled(out)) {
      EXPECT_EQ(sent.outer_kind, kind_of(out));
      EXPECT_EQ(sent.outer_source, gateway(out));
      EXPECT_EQ(sent.outer_destination, peer(out, true));
      EXPECT_EQ(sent.outer_source_port, kOuterPort);
      EXPECT_EQ(sent.outer_tos & 3, after.ecn);
      EXPECT_EQ(sent.vni, kSentVni);
      EXPECT_EQ(sent.outer_ttl, 64);
    }
  }

  SteerProgram::Settings settings_;
  std::unique_ptr<KernelFlows> flows_;
  Leg local_, underlay_;
};

// The packet after translation of both ends, and a hop further.
PacketSpec translated(const PacketSpec& before) {
  PacketSpec after = before;
  const bool ipv4 = before.source.is_ipv4();
  after.source = ip(ipv4 ? "172.16.9.1" : "fd00:77::1");
  after.destination = ip(ipv4 ? "10.2.3.4" : "fd00:2::9");
  after.source_port = 51234;
  after.destination_port = 8080;
  return after.with_ttl(static_cast<std::uint8_t>(before.ttl - 1));
}

TEST_F(ForwardProgramTest, PacketsGoEveryWayInAndOut) {
  for (const Way in : kWays) {
    for (const Way out : kWays) {
      for (int each = 0; each < 16; ++each) {
        SCOPED_TRACE("in " + std::to_string(static_cast<int>(in)) + " out " + std::to_string(static_cast<int>(out)) +
                     " packet " + std::to_string(each));
        const bool rewritten = (each & 4) != 0;
        PacketSpec before = inside({.ipv6 = (each & 1) != 0, .udp = (each & 2) != 0});
        before.ecn = (each & 8) != 0 ? 2 : 0;
        const PacketSpec after = rewritten ? translated(before) : before;
        hand_down(before, decision(before, after, in, out));
        FrameBytes frame = arriving(before, in);
        frame.insert(frame.end(), each % 3, 0xee);
        const Leg::Run ran = run(in, frame);
        const bool back = (out == Way::kLocal) == (in == Way::kLocal);
        ASSERT_EQ(ran.action, static_cast<unsigned>(back ? XDP_TX : XDP_REDIRECT));
        expect_sent(ran, after, out);
        EXPECT_EQ(lease().packets, 1u);
        EXPECT_EQ(lease().bytes, before.ip_bytes().size());
        if (testing::Test::HasFailure()) {
          return;
        }
      }
    }
  }
}

TEST_F(ForwardProgramTest, AWithdrawnDecisionIsUsedForNoMorePacket) {
  const PacketSpec before = inside({});
  const FrameBytes frame = arriving(before, Way::kLocal);
  const isthmus_flow flow = decision(before, translated(before), Way::kLocal, Way::kVxlan4);
  hand_down(before, flow);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  lease().valid = 0;
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  lease().valid = 1;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  ++flows_->epochs()[kEpoch];
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  lease().sum += 2;  // the word counts twice in this flow
  EXPECT_FALSE(goes_up(Way::kLocal, frame)) << "stamped again";
  ++flows_->epochs()[0];
  EXPECT_TRUE(goes_up(Way::kLocal, frame)) << "index 0 counts as any other";
  lease().sum += 4;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  const isthmus_flow_key key = key_of(before);
  flows_->erase({&key, 1});
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
}

TEST_F(ForwardProgramTest, WhatIsNotPlainGoesUpAsItCame) {
  for (const Way in : kWays) {
    for (const bool ipv6 : {false, true}) {
      SCOPED_TRACE("in " + std::to_string(static_cast<int>(in)) + (ipv6 ? " IPv6" : " IPv4"));
      const PacketSpec before = inside({.ipv6 = ipv6});
      hand_down(before, decision(before, translated(before), in, Way::kVxlan4));
      ASSERT_FALSE(goes_up(in, arriving(before, in)));
      for (const std::uint8_t flag : {test::kSyn, test::kFin, test::kRst}) {
        PacketSpec opens = before;
        EXPECT_TRUE(goes_up(in, arriving(opens.with_flags(flag | test::kAck), in))) << int{flag};
      }
      PacketSpec other = before;
      EXPECT_TRUE(goes_up(in, arriving(other.with_ttl(1), in)));
      EXPECT_FALSE(goes_up(in, arriving(other.with_ttl(2), in)));
      const std::size_t headers = before.ip_bytes().size() - before.payload;
      EXPECT_FALSE(goes_up(in, arriving(other.with_payload(kMtu - headers), in)));
      EXPECT_TRUE(goes_up(in, arriving(other.with_payload(kMtu - headers + 1), in)));
      other = before;
      if (!ipv6) {
        EXPECT_TRUE(goes_up(in, arriving(other.as_fragment(8), in)));
      }
      FrameBytes elsewhere = arriving(before, in);
      elsewhere[5] ^= 1;
      EXPECT_TRUE(goes_up(in, elsewhere)) << "another MAC address";
      PacketSpec datagram = inside({.ipv6 = ipv6, .udp = true});
      hand_down(datagram, decision(datagram, translated(datagram), in, Way::kVxlan6));
      EXPECT_FALSE(goes_up(in, arriving(datagram, in)));
      EXPECT_TRUE(goes_up(in, arriving(datagram.without_udp_checksum(), in))) << "all of it would have to be summed up";
    }
  }
}

TEST_F(ForwardProgramTest, UdpWithoutAChecksumStaysWithoutOne) {
  const PacketSpec before = inside({.udp = true}).without_udp_checksum();
  const PacketSpec after = translated(before);
  for (const Way in : {Way::kLocal, Way::kVxlan4, Way::kGeneve4}) {
    hand_down(before, decision(before, after, in, Way::kVxlan4));
    expect_sent(run(in, arriving(before, in)), after, Way::kVxlan4);
  }
}

TEST_F(ForwardProgramTest, APacketMustComeFromWhereTheDecisionSays) {
  for (const Way in : kWays) {
    SCOPED_TRACE(static_cast<int>(in));
    const PacketSpec before = inside({});
    const isthmus_flow flow = decision(before, translated(before), in, Way::kLocal);
    hand_down(before, flow);
    for (const Way way : kWays) {
      EXPECT_EQ(goes_up(way, arriving(before, way)), way != in) << static_cast<int>(way);
    }
    if (!tunnelled(in)) {
      continue;
    }
    const auto changed = [&](auto change) {
      PacketSpec packet = before;
      packet.in_tunnel(peer(in, false), gateway(in), kVni);
      packet.tunnel->kind = kind_of(in);
      packet.tunnel->port = port_of(in);
      packet.tunnel->flags = in >= Way::kGeneve4 ? 0x6558 : 0x08000000;
      change(*packet.tunnel);
      FrameBytes bytes = packet.bytes();
      std::copy(kOwnMac.bytes.begin(), kOwnMac.bytes.end(), bytes.begin());
      return bytes;
    };
    using Tunnel = PacketSpec::Tunnel;
    EXPECT_FALSE(goes_up(in, changed([](Tunnel&) {})));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.vni ^= 1; })));
    EXPECT_TRUE(goes_up(in, changed([&](Tunnel& t) { t.from = peer(in, true); })));
    EXPECT_TRUE(goes_up(in, changed([&](Tunnel& t) { t.to = peer(in, true); })));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.port ^= 1; })));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.flags ^= 0x80000000; })));
    EXPECT_EQ(goes_up(in, changed([](Tunnel& t) { t.low_byte = 7; })), kind_of(in) == EncapsulationKind::kVxlan);
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.ecn = 3; })));
    EXPECT_FALSE(goes_up(in, changed([](Tunnel& t) { t.ecn = 2; })));
    EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.padding = 2; })) == over_ipv6(in));
    if (over_ipv6(in)) {
      EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.udp_checksum = false; })));
      FrameBytes corrupt = arriving(before, in);
      corrupt[14 + 40 + 8 + 4] ^= 0x40;  // the VNI
      hand_down(before, [&] {
        isthmus_flow other = flow;
        other.from_vni ^= 0x40;
        return other;
      }());
      EXPECT_TRUE(goes_up(in, corrupt)) << "its checksum does not hold";
    }
    if (in == Way::kGeneve4 || in == Way::kGeneve6) {
      EXPECT_TRUE(goes_up(in, changed([](Tunnel& t) { t.options = FrameBytes(8, 0); })));
    }
  }
}

TEST_F(ForwardProgramTest, WhatCannotBeSentGoesUp) {
  const PacketSpec before = inside({});
  const isthmus_flow good = decision(before, translated(before), Way::kLocal, Way::kVxlan4);
  const FrameBytes frame = arriving(before, Way::kLocal);
  hand_down(before, good);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  flows_->hops()[kHop].resolved = 0;
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  flows_->hops()[kHop].resolved = 1;
  flows_->tunnels()[good.tunnel].size = 0;
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  flows_->tunnels()[good.tunnel].size = 64;
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  isthmus_flow flow = good;
  flow.device = 5;  // without an interface
  hand_down(before, flow);
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
  flow = good;
  flow.tunnel = 999;  // never written
  hand_down(before, flow);
  EXPECT_TRUE(goes_up(Way::kLocal, frame));
}

TEST_F(ForwardProgramTest, PacketsCutOffAnywhereDoNoHarm) {
  for (const Way in : kWays) {
    for (int each = 0; each < 4; ++each) {
      const PacketSpec before = inside({.ipv6 = (each & 1) != 0, .udp = (each & 2) != 0});
      hand_down(before, decision(before, translated(before), in, Way::kVxlan6));
      const FrameBytes whole = arriving(before, in);
      for (std::size_t length = 14; length < whole.size(); ++length) {
        EXPECT_TRUE(goes_up(in, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)})) << length;
      }
      EXPECT_FALSE(goes_up(in, whole));
    }
  }
}

TEST_F(ForwardProgramTest, RandomBytesInTheHeadersDoNoHarm) {
  std::uint32_t random = 1;
  for (const Way in : kWays) {
    const PacketSpec before = inside({.ipv6 = in == Way::kVxlan4, .udp = in == Way::kGeneve6});
    hand_down(before, decision(before, translated(before), in, Way::kVxlan4));
    const FrameBytes whole = arriving(before, in);
    for (int i = 0; i < 3000; ++i) {
      FrameBytes frame = whole;
      for (int changes = 0; changes < 2; ++changes) {
        random = random * 1664525 + 1013904223;
        frame[(random >> 16) % frame.size()] ^= static_cast<std::uint8_t>(random >> 8);
      }
      const Leg::Run ran = run(in, frame);
      ASSERT_TRUE(ran.action == XDP_PASS || ran.action == XDP_DROP || ran.action == XDP_TX ||
                  ran.action == XDP_REDIRECT)
          << ran.action;
      ASSERT_TRUE(ran.action == XDP_TX || ran.action == XDP_REDIRECT || ran.frame == frame);
    }
  }
}

TEST_F(ForwardProgramTest, SettledFlowsGoOnForATimeWithoutTheEngine) {
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  const FrameBytes frame = arriving(before, Way::kLocal);
  settings_.heartbeat_timeout_ms = 1000;
  settings_.orphan_timeout_ms = 3'600'000;
  load(local_, kLocalDevice, false);
  EXPECT_FALSE(goes_up(Way::kLocal, frame));
  const auto run_at_age = [&](std::uint64_t seconds) {
    local_.program->heartbeats()[0].nanoseconds -= seconds * 1'000'000'000;
    const Leg::Run ran = local_.run(frame);
    local_.program->heartbeats()[0].nanoseconds += seconds * 1'000'000'000;
    return ran.frame != frame;
  };
  EXPECT_TRUE(run_at_age(0));
  EXPECT_TRUE(run_at_age(5)) << "the engine counts as down, but the flow was handed down";
  local_.program->heartbeats()[0].nanoseconds = 0;
  EXPECT_EQ(local_.run(frame).frame, frame) << "the queue is not polled";
  settings_.orphan_timeout_ms = 0;
  load(local_, kLocalDevice, false);
  EXPECT_FALSE(goes_up(Way::kLocal, frame)) << "while the engine lives";
  EXPECT_FALSE(run_at_age(5));
}

TEST_F(ForwardProgramTest, NothingIsForwardedBeforeTheDeviceHasJoined) {
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  auto loaded = SteerProgram::load(settings_);
  ASSERT_TRUE(loaded.ok()) << loaded.error().text();
  local_.program = *std::move(loaded);
  ASSERT_TRUE(local_.program->apply({}).ok());
  EXPECT_TRUE(goes_up(Way::kLocal, arriving(before, Way::kLocal)));
  ASSERT_TRUE(local_.program->join(kLocalDevice, false).ok());
  EXPECT_FALSE(goes_up(Way::kLocal, arriving(before, Way::kLocal)));
}

TEST_F(ForwardProgramTest, TheMultiBufferVariantForwardsWhatIsInOneBuffer) {
  settings_.fragments = true;
  load(local_, kLocalDevice, false);
  const PacketSpec before = inside({});
  hand_down(before, decision(before, translated(before), Way::kLocal, Way::kVxlan4));
  EXPECT_FALSE(goes_up(Way::kLocal, arriving(before, Way::kLocal)));
  PacketSpec large = before;
  isthmus_flow flow = decision(before, translated(before), Way::kLocal, Way::kVxlan4);
  flow.mtu = 9000;
  hand_down(before, flow);
  EXPECT_TRUE(goes_up(Way::kLocal, arriving(large.with_payload(8000), Way::kLocal)));
}

TEST_F(ForwardProgramTest, WhatIsForwardedIsCounted) {
  const PacketSpec before = inside({});
  const std::uint64_t bytes = before.ip_bytes().size();
  const auto counters = [&] {
    const auto map = map_of_program(underlay_.program->program(), ISTHMUS_COUNTERS_MAP);
    std::vector<isthmus_steer_counters> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    const std::uint32_t only = 0;
    EXPECT_EQ(bpf_map_lookup_elem(map->get(), &only, per_cpu.data()), 0);
    isthmus_steer_counters sum{};
    for (const auto& c : per_cpu) {
#define ISTHMUS_STEER_COUNTER(field, ...) sum.field += c.field;
#include "dataplane/stats/counters.def"
    }
    return sum;
  };
  hand_down(before, decision(before, before, Way::kVxlan4, Way::kLocal));
  run(Way::kVxlan4, arriving(before, Way::kVxlan4));
  hand_down(before, decision(before, before, Way::kVxlan4, Way::kGeneve4));
  run(Way::kVxlan4, arriving(before, Way::kVxlan4));
  EXPECT_TRUE(goes_up(Way::kGeneve4, arriving(before, Way::kGeneve4)));
  lease().valid = 0;
  EXPECT_TRUE(goes_up(Way::kVxlan4, arriving(before, Way::kVxlan4)));
  EXPECT_EQ(counters().forwarded, 2u);
  EXPECT_EQ(counters().forwarded_decapsulated, 2u);
  EXPECT_EQ(counters().forwarded_encapsulated, 1u);
  EXPECT_EQ(counters().forwarded_fabric_bytes, bytes);
  EXPECT_EQ(counters().forwarded_local_bytes, bytes);
  EXPECT_EQ(counters().flow_unusual, 1u);
  EXPECT_EQ(counters().flow_withdrawn, 1u);
}

}  // namespace
}  // namespace isthmus
