// For tests of isthmus_forward (xdp/forward.bpf.c): two legs, one with the underlay role, that share what is handed
// down; packets that come every way, and the decisions that send them every way. The kernel runs the programs on single
// packets: needs root, touches no interface. Addresses and ports as in the functions below.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/encap/encap.h"
#include "dataplane/net/checksum.h"
#include "dataplane/packet/flow_key.h"
#include "dataplane/packet/frame.h"
#include "test/support/packet.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/steer_program.h"

namespace isthmus::test {

inline IpAddress ip(const char* text) { return *IpAddress::parse(text); }

inline constexpr std::uint32_t kUnderlayDevice = 0, kLocalDevice = 1;
inline constexpr std::uint32_t kVni = 0x123456, kSentVni = 0x654321, kLease = 2, kHop = 7;
inline constexpr std::uint16_t kEpoch = 41, kOuterPort = 0xc123, kMtu = 1400;
inline const MacAddress kOwnMac = *MacAddress::parse("02:00:00:00:00:01");

// How packets come, or leave.
enum class Way { kLocal, kUnderlay, kVxlan4, kVxlan6, kGeneve4, kGeneve6 };
inline constexpr Way kWays[] = {Way::kLocal, Way::kUnderlay, Way::kVxlan4, Way::kVxlan6, Way::kGeneve4, Way::kGeneve6};

inline bool tunnelled(Way way) { return way >= Way::kVxlan4; }
inline EncapsulationKind kind_of(Way way) {
  return way >= Way::kGeneve4 ? EncapsulationKind::kGeneve : EncapsulationKind::kVxlan;
}
inline std::uint16_t port_of(Way way) { return way >= Way::kGeneve4 ? 6081 : 8472; }
inline bool over_ipv6(Way way) { return way == Way::kVxlan6 || way == Way::kGeneve6; }
// Numbers of the record of packets that come, and of those that leave.
inline std::uint16_t record_of(Way way, bool leaves) {
  return static_cast<std::uint16_t>(static_cast<int>(way) * 2 + leaves);
}
inline IpAddress gateway(Way way) { return ip(over_ipv6(way) ? "2001:db8::1" : "192.0.2.1"); }
inline IpAddress peer(Way way, bool leaves) {
  return over_ipv6(way) ? ip(leaves ? "2001:db8:7::9" : "2001:db8:7::7") : ip(leaves ? "198.51.100.9" : "198.51.100.7");
}

struct Inside {
  bool ipv6 = false, udp = false;
};
inline PacketSpec inside(const Inside& of) {
  const Endpoint from{ip(of.ipv6 ? "fd00:1::5" : "10.1.0.5"), 40000};
  const Endpoint to{ip(of.ipv6 ? "fd00:ff::a" : "10.200.0.10"), 80};
  return (of.udp ? udp(from, to) : tcp(from, to, kAck)).with_payload(33);
}
inline FrameBytes arriving(PacketSpec spec, Way way) {
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

inline isthmus_flow_key key_of(const PacketSpec& spec) {
  const FlowKey key(spec.source, spec.destination, Be16::of(spec.source_port), Be16::of(spec.destination_port),
                    spec.protocol, Realm{});
  isthmus_flow_key raw;
  static_assert(sizeof raw == sizeof key);
  std::memcpy(&raw, &key, sizeof raw);
  return raw;
}

inline void put(const IpAddress& address, std::uint8_t* to) {
  const bool ipv4 = address.is_ipv4();
  std::memcpy(to, address.bytes().data() + (ipv4 ? 12 : 0), ipv4 ? 4 : 16);
}

inline std::uint16_t sum_of(const PacketSpec& spec, bool ports) {
  std::uint64_t sum = net::partial_sum(spec.source.bytes().data(), 16);
  sum = net::partial_sum(spec.destination.bytes().data(), 16, sum);
  return net::fold(ports ? sum + Be16::of(spec.source_port).wire() + Be16::of(spec.destination_port).wire() : sum);
}
inline std::uint16_t delta(std::uint16_t before, std::uint16_t after, bool hop) {
  return net::fold(std::uint64_t{after} + static_cast<std::uint16_t>(~before) +
                   (hop ? static_cast<std::uint16_t>(~Be16::of(0x0100).wire()) : 0u));
}

struct SteeredLeg {
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

class ForwardRig : public testing::Test {
 protected:
  void SetUp() override {
    auto made = KernelFlows::create(16);
    ASSERT_TRUE(made.ok()) << made.error().text();
    flows_ = *std::move(made);
    settings_.mac = kOwnMac;
    load(underlay_, true);
    load(local_, false);
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
  static SteerRules rules() {
    SteerRules rules;
    rules.tunnel = tunnel_end(ip("192.0.2.1"));
    rules.tunnel.ipv6 = ip("2001:db8::1");
    rules.tunnel.ports[1] = L4Port{6081};
    rules.fleet = {*Prefix::parse("10.200.0.10"), *Prefix::parse("fd00:ff::a")};
    rules.local_sources = {*Prefix::parse("10.1.0.0/16"), *Prefix::parse("fd00:1::/48")};
    return rules;
  }
  void load(SteeredLeg& leg, bool underlay) {
    settings_.kernel_flows = flows_.get();
    auto loaded = SteerProgram::load(settings_);
    ASSERT_TRUE(loaded.ok()) << loaded.error().text();
    leg.program = *std::move(loaded);
    ASSERT_TRUE(leg.program->apply(rules()).ok());
    ASSERT_TRUE(leg.program->join(underlay, Realm{}).ok());
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
  // In the place of the one before it.
  void hand_down(const PacketSpec& before, const isthmus_flow& flow) {
    flows_->erase({&down_, 1});
    down_ = key_of(before);
    ASSERT_EQ(flows_->insert({&down_, 1}, {&flow, 1}), 1u);
    std::uint32_t sum = 0;
    for (const std::uint16_t index : flow.epoch_index) {
      sum += flows_->epochs()[index];
    }
    lease() = {sum, 1, 0, 0};
  }
  isthmus_lease& lease() { return flows_->leases()[kLease]; }
  SteeredLeg::Run run(Way in, const FrameBytes& frame) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    SteeredLeg& leg = in == Way::kLocal ? local_ : underlay_;
    leg.program->heartbeats()[0].nanoseconds =
        static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
    return leg.run(frame);
  }
  // Whether the packet has been left to the classification, as it came.
  bool goes_up(Way in, const FrameBytes& frame) {
    const std::uint64_t before = lease().packets;
    const SteeredLeg::Run ran = run(in, frame);
    return lease().packets == before && ran.frame == frame && ran.action != XDP_ABORTED;
  }
  static void expect_sent(const SteeredLeg::Run& ran, const PacketSpec& after, Way out) {
    const Dissected sent = dissect(ran.frame);
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
    const std::size_t bytes = 14 + outer + after.ip_bytes().size();
    EXPECT_EQ(ran.frame.size(), std::max<std::size_t>(bytes, kShortestFrame)) << "no padding beyond the shortest frame";
    EXPECT_TRUE(std::all_of(ran.frame.begin() + static_cast<std::ptrdiff_t>(bytes), ran.frame.end(),
                            [](std::uint8_t byte) { return byte == 0; }));
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
  SteeredLeg local_, underlay_;
  isthmus_flow_key down_{};
};

// The packet after translation of both ends, and a hop further.
inline PacketSpec translated(const PacketSpec& before) {
  PacketSpec after = before;
  const bool ipv4 = before.source.is_ipv4();
  after.source = ip(ipv4 ? "172.16.9.1" : "fd00:77::1");
  after.destination = ip(ipv4 ? "10.2.3.4" : "fd00:2::9");
  after.source_port = 51234;
  after.destination_port = 8080;
  return after.with_ttl(static_cast<std::uint8_t>(before.ttl - 1));
}

}  // namespace isthmus::test
