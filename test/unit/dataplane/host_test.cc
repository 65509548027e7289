// Devices that receive the host's packets too: what is not the fleet's goes to the host, as it came, and leaves nothing
// behind in the engine.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "test/support/fragments.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

PathRig::Options sharing() {
  PathRig::Options options;
  options.shares_with_host = true;
  options.engine.fragments = 64;
  return options;
}

FrameBytes for_device(const MemoryDevice& device, FrameBytes frame) {
  const MacAddress mac = device.mac();
  std::copy(mac.bytes.begin(), mac.bytes.end(), frame.begin());
  return frame;
}

FrameBytes for_mac(const char* mac, FrameBytes frame) {
  const MacAddress address = *MacAddress::parse(mac);
  std::copy(address.bytes.begin(), address.bytes.end(), frame.begin());
  return frame;
}

FrameBytes padded(FrameBytes frame) {
  frame.insert(frame.end(), {0xde, 0xad, 0xbe, 0xef, 1, 2, 3});
  return frame;
}

FrameBytes truncated(FrameBytes frame, std::size_t bytes) {
  frame.resize(bytes);
  return frame;
}

// As a switch tags it.
FrameBytes tagged(FrameBytes frame) {
  frame.insert(frame.begin() + 12, {0x81, 0, 0, 5});
  return frame;
}

FrameBytes arp(const MemoryDevice& device) {
  FrameBytes frame = for_device(device, FrameBytes(42));
  frame[12] = 8, frame[13] = 6;
  return frame;
}

std::size_t events_of(PathRig& rig) {
  std::vector<FlowEvent> events;
  rig.engine().poll_flow_events(events);
  return events.size();
}

// The host gets the frame byte for byte, and nothing else of the engine has changed.
void expect_hosts(PathRig& rig, bool underlay, const FrameBytes& frame, const NamedCounts& also = {}) {
  const std::size_t flows = rig.flows().size();
  static_cast<void>(events_of(rig));
  const Outcome outcome = rig.raw(underlay, frame);
  ASSERT_EQ(outcome.host.size(), 1u) << outcome.text();
  EXPECT_EQ(outcome.host.front(), (ToHost{underlay, frame}));
  EXPECT_TRUE(outcome.out.empty()) << outcome.text();
  const std::string device = underlay ? "underlay." : "local.";
  NamedCounts expected{{device + "rx_packets", 1},
                       {device + "rx_bytes", frame.size()},
                       {device + "to_host", 1},
                       {"worker.rx_packets", 1}};
  expected.insert(also.begin(), also.end());
  EXPECT_EQ(outcome.counted, expected);
  EXPECT_EQ(rig.flows().size(), flows);
  EXPECT_EQ(events_of(rig), 0u);
}

// Of a packet that is ours: whatever becomes of it, the host does not get it.
Outcome expect_ours(PathRig& rig, bool underlay, const FrameBytes& frame) {
  Outcome outcome = rig.raw(underlay, frame);
  EXPECT_TRUE(outcome.host.empty()) << outcome.text();
  EXPECT_EQ(outcome.counted.count(underlay ? "underlay.to_host" : "local.to_host"), 0u);
  return outcome;
}

struct Row {
  const char* description;
  bool underlay;
  FrameBytes frame;
};

const IpAddress kElsewhere = Actors::ip("198.51.100.9"), kElsewhere6 = Actors::ip("2001:db8:9::9");

std::vector<Row> rows_of_host(PathRig& rig) {
  const Actors& at = rig.at;
  const auto on = [&](bool underlay, const FrameBytes& frame) {
    return for_device(underlay ? rig.underlay() : rig.local(), frame);
  };
  const Endpoint node{at.gateway, 22}, admin{kElsewhere, 50000};
  const PacketSpec ssh = tcp(admin, node);
  const PacketSpec alien = tcp(at.client, at.west).in_tunnel(kElsewhere, at.gateway, kWestIdentity);
  PacketSpec other_port = tcp(at.west, at.client).in_tunnel(at.west_gateway, at.gateway, kWestIdentity);
  other_port.tunnel->port = 53;
  const FrameBytes long_udp = udp(admin, {at.gateway, 53}).with_payload(1200).ip_bytes();
  const FrameBytes to_west = tcp(at.client, at.west).in_tunnel(at.gateway, at.west_gateway, kClientIdentity).bytes();
  const FrameBytes quoted(to_west.begin() + 14, to_west.begin() + 14 + 64);
  std::vector<Row> rows{
      {"ARP", true, arp(rig.underlay())},
      {"ssh to the node", true, on(true, ssh.bytes())},
      {"ssh to the node, padded", true, on(true, padded(ssh.bytes()))},
      {"the same on the local device", false, on(false, ssh.bytes())},
      {"UDP to the node", true, on(true, udp(admin, node).bytes())},
      {"a ping of the node", true, on(true, echo_request(kElsewhere, at.gateway, 7).bytes())},
      {"neighbour discovery", true, on(true, portless(Actors::ip("fe80::2"), Actors::ip("fe80::1"), 58).bytes())},
      {"a protocol without ports", true, on(true, portless(kElsewhere, at.gateway, 89).bytes())},
      {"IPv6 to the node", true, on(true, tcp({kElsewhere6, 1}, {Actors::ip("2001:db8::1"), 22}).bytes())},
      {"IP options to the node", true, on(true, tcp(admin, node).with_ip_options({1, 1, 1, 1}).bytes())},
      {"a tunnel packet of nobody we know", true, on(true, alien.bytes())},
      {"the same with padding, which the fast parser leaves out", true, on(true, padded(alien.bytes()))},
      {"a tunnel packet of a peer to another port", true, on(true, other_port.bytes())},
      {"a fragment of the host's", true, on(true, framed(split(long_udp, 600).front()))},
      {"a later fragment of the host's", true, on(true, framed(split(long_udp, 600).back()))},
      {"a later fragment of the host's on the local device", false, on(false, framed(split(long_udp, 600).back()))},
      {"a foreign source to a VIP", false, on(false, tcp(admin, at.remote_service).bytes())},
      {"a foreign source to a VIP over IPv6", false, on(false, tcp({kElsewhere6, 1}, at.service6).bytes())},
      {"pod to pod within the cluster", false, on(false, tcp(at.client, at.local_backend).bytes())},
      {"pod to the internet", false, on(false, tcp(at.client, admin).bytes())},
      {"a remote pod without a tunnel", true, on(true, tcp(at.west, at.client).bytes())},
      {"an ICMP error of the underlay that is none of a tunnel", true,
       on(true, icmp_error(kElsewhere, at.gateway, 3, 1, quoted).bytes())},
      {"a corrupt packet to the node", true, on(true, truncated(ssh.bytes(), 40))},
      {"truncated in the IP header", true, on(true, truncated(ssh.bytes(), 20))},
      {"truncated in the Ethernet header", true, on(true, truncated(ssh.bytes(), 9))},
      {"VLAN-tagged, of the fleet", false, tagged(on(false, tcp(at.client, at.west).bytes()))},
      {"of the fleet for another MAC", false, for_mac("02:00:00:00:00:99", tcp(at.client, at.west).bytes())},
      {"of the fleet for a MAC of the same end", false, for_mac("06:00:00:00:00:11", tcp(at.client, at.west).bytes())},
      {"of the fleet, broadcast", false, for_mac("ff:ff:ff:ff:ff:ff", tcp(at.client, at.west).bytes())},
      {"a peer's tunnel packet for another MAC", true,
       for_mac("02:00:00:00:00:99", rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity).bytes())},
  };
  return rows;
}

TEST(HostShare, WhatIsNotTheFleetsGoesToTheHostAsItCameAndLeavesNothingBehind) {
  PathRig rig(sharing());
  for (const Row& row : rows_of_host(rig)) {
    SCOPED_TRACE(row.description);
    expect_hosts(rig, row.underlay, row.frame);
  }
}

TEST(HostShare, TheSameBetweenSettledFlows) {
  PathRig rig(sharing());
  static_cast<void>(rig.from_local(tcp(rig.at.client, rig.at.west)));
  static_cast<void>(rig.from_underlay(
      rig.tunnelled(tcp(rig.at.west, rig.at.client, kSyn | kAck), rig.at.west_gateway, kWestIdentity)));
  for (const Row& row : rows_of_host(rig)) {
    SCOPED_TRACE(row.description);
    expect_hosts(rig, row.underlay, row.frame);
    EXPECT_TRUE(rig.from_local(tcp(rig.at.client, rig.at.west, kAck)).only().underlay);
  }
}

TEST(HostShare, WhatTheRulesTakeIsTheEnginesEvenIfItDropsIt) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const auto drop_of = [&](bool underlay, const FrameBytes& frame) {
    const Outcome outcome = expect_ours(rig, underlay, for_device(underlay ? rig.underlay() : rig.local(), frame));
    EXPECT_EQ(outcome.drops.size(), 1u) << outcome.text();
    return outcome.drops.empty() ? std::string() : outcome.drops.begin()->first;
  };
  EXPECT_EQ(drop_of(false, truncated(tcp(at.client, at.west).bytes(), 40)), "malformed");
  EXPECT_EQ(drop_of(false, tcp(at.client, {at.empty_service.address, 81}).bytes()), "no_frontend");
  EXPECT_EQ(drop_of(false, tcp(at.client, at.south).bytes()), "not_linked");
  EXPECT_EQ(drop_of(false, tcp(at.client6, {Actors::ip("fd00:4::9"), 1}).bytes()), "not_linked");
  EXPECT_EQ(drop_of(true, rig.tunnelled(tcp(at.north, at.client), at.west_gateway, kWestIdentity).bytes()),
            "source_outside_cluster");
  const FrameBytes tunnel = rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity).bytes();
  EXPECT_EQ(drop_of(true, truncated(tunnel, 50)), "malformed");
  EXPECT_EQ(drop_of(false, tunnel), "tunnel_in_tunnel");
  PacketSpec corrupt = rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity);
  corrupt.tunnel->flags = 0;
  EXPECT_EQ(drop_of(true, corrupt.bytes()), "tunnel_header");
  const FrameBytes sent(tunnel.begin() + 14, tunnel.end());
  const FrameBytes about = tcp(at.client, at.west).in_tunnel(at.gateway, at.west_gateway, kClientIdentity).bytes();
  const FrameBytes quoted(about.begin() + 14, about.end());
  FrameBytes forged = icmp_error(kElsewhere, at.gateway, 3, 4, quoted).with_mtu(1300).bytes();
  forged[14 + 20 + 2] ^= 1;  // the checksum
  EXPECT_EQ(drop_of(true, forged), "icmp_invalid");
}

TEST(HostShare, TheFleetsFlowsAreCarriedInBothDirectionsAndFamilies) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const std::vector<std::pair<Endpoint, Endpoint>> pairs{{at.client, at.west}, {at.client6, at.west6}};
  for (const auto& [client, server] : pairs) {
    for (const std::uint8_t flags : {kSyn, kAck}) {
      EXPECT_TRUE(rig.from_local(tcp(client, server, flags)).only().underlay);
      const auto reply = static_cast<std::uint8_t>(flags | kAck);
      const Outcome back = rig.from_underlay(rig.tunnelled(tcp(server, client, reply), at.west_gateway, kWestIdentity));
      EXPECT_FALSE(back.only().underlay);
      EXPECT_TRUE(back.host.empty());
    }
  }
  EXPECT_EQ(rig.flows().size(), 2u);
}

// Our own gateways are peers, but by no rule do they send to us.
TEST(HostShare, ATunnelPacketOfAnotherGatewayOfOurClusterIsTheHosts) {
  PathRig rig(sharing());
  const IpAddress ours = Actors::ip("192.0.2.9");
  TableDelta delta;
  delta.upsert_peers.push_back({PeerId{9}, ClusterId{1}, ours, L4Port{8472}, rig.engine().adjacency(DeviceId{0}, ours),
                                true, EncapsulationKind::kVxlan, EncapsulationKind::kVxlan});
  ASSERT_TRUE(rig.engine().publish(delta));
  const PacketSpec spec = tcp(rig.at.client, rig.at.west).in_tunnel(ours, rig.at.gateway, kClientIdentity);
  const NamedCounts also{{"worker.decapsulated", 1}};  // parse finds a peer, and changes nothing
  expect_hosts(rig, true, for_device(rig.underlay(), spec.bytes()), also);
  expect_hosts(rig, true, for_device(rig.underlay(), padded(spec.bytes())), also);
  delta.upsert_peers.front().gateway = false;  // a node
  ASSERT_TRUE(rig.engine().publish(delta));
  EXPECT_EQ(expect_ours(rig, true, for_device(rig.underlay(), spec.bytes())).out.size(), 1u);
}

TEST(HostShare, BeforeAnythingIsPublishedEverythingIsTheHosts) {
  PathRig::Options options = sharing();
  options.publish = false;
  PathRig rig(options);
  const Actors& at = rig.at;
  for (const FrameBytes& frame :
       {tcp(at.client, at.west).bytes(), arp(rig.underlay()), truncated(arp(rig.underlay()), 5),
        rig.tunnelled(tcp(at.west, at.client), at.west_gateway, kWestIdentity).bytes()}) {
    for (const bool underlay : {true, false}) {
      expect_hosts(rig, underlay, frame);
    }
  }
}

// As of a device that is added while tables are there from before.
TEST(HostShare, TablesFromBeforeTheDeviceHaveItsRulesFromTheNextChangeOn) {
  EngineOptions options;
  options.drive_by_caller = true;
  options.cluster = ClusterId{1};
  options.keep_state = false;
  options.tunnel = tunnel_end(Actors::ip("192.0.2.1"));
  options.connections = 64, options.frames = 256;
  auto engine = std::move(*Engine::create(options));
  TableDelta tables;
  tables.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}},
                     {ClusterId{2}, false, true, {*Prefix::parse("10.2.0.0/16")}, {}}};
  ASSERT_TRUE(engine->publish(tables));
  MemoryDeviceOptions memory;
  memory.shares_with_host = true;
  auto device = std::move(*MemoryDevice::create(memory));
  MemoryDevice& lane = *device;
  ASSERT_TRUE(engine->add_device(std::move(device)));
  ASSERT_TRUE(engine->start());
  const FrameBytes frame = for_device(lane, tcp(Actors().client, Actors().west).bytes());
  ASSERT_TRUE(lane.inject(frame));
  static_cast<void>(engine->run_round(WorkerId{0}));
  EXPECT_EQ(lane.take_host(), frame);
  ASSERT_TRUE(engine->publish({}));
  ASSERT_TRUE(lane.inject(frame));
  static_cast<void>(engine->run_round(WorkerId{0}));
  EXPECT_EQ(lane.take_host(), std::nullopt);
}

TEST(HostShare, SettledFlowsDoNotNoticeThatRulesChange) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const auto out = [&] { return rig.from_local(tcp(at.client, at.west, kAck)); };
  static_cast<void>(rig.from_local(tcp(at.client, at.west)));
  static_cast<void>(
      rig.from_underlay(rig.tunnelled(tcp(at.west, at.client, kSyn | kAck), at.west_gateway, kWestIdentity)));
  EXPECT_TRUE(out().only().underlay);
  for (std::uint32_t i = 0; i < 20; ++i) {
    rig.set_backends({Actors::ip("10.200.1.1"), static_cast<std::uint16_t>(1000 + i)}, 100 + i,
                     {backend(100 + i, at.north, 3)}, {0});
    const Outcome outcome = out();
    EXPECT_TRUE(outcome.only().underlay);
    EXPECT_TRUE(outcome.host.empty());
    EXPECT_EQ(outcome.counted.count("worker.misses"), 0u);
    EXPECT_EQ(outcome.counted.at("worker.hits"), 1u);
    EXPECT_EQ(outcome.counted.count("worker.revalidations"), 0u);
  }
}

TEST(HostShare, AFlowThatIsNotTheFleetsAnyMoreIsTheHostsFromTheNextPacketOn) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const auto packet = [&](const Endpoint& to, std::uint8_t flags) {
    return for_device(rig.local(), tcp(at.client, to, flags).bytes());
  };
  EXPECT_TRUE(expect_ours(rig, false, packet(at.remote_service, kSyn)).only().underlay);
  EXPECT_TRUE(expect_ours(rig, false, packet(at.remote_service, kAck)).only().underlay);
  rig.remove_service(at.remote_service);
  expect_hosts(rig, false, packet(at.remote_service, kAck));
  expect_hosts(rig, false, packet(at.remote_service, kSyn));

  EXPECT_TRUE(expect_ours(rig, false, packet(at.north, kSyn)).only().underlay);
  TableDelta delta;
  delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}},
                    {ClusterId{3}, false, true, {*Prefix::parse("10.9.0.0/16")}, {PathRig::kNorthGateway}}};
  ASSERT_TRUE(rig.engine().publish(delta));
  expect_hosts(rig, false, packet(at.north, kAck));
  rig.set_clusters({PathRig::kWestGateway});
  EXPECT_TRUE(expect_ours(rig, false, packet(at.north, kAck)).only().underlay) << "the connection is still there";
}

TEST(HostShare, AChangedMacOfTheDeviceIsFollowed) {
  PathRig rig(sharing());
  const FrameBytes before = for_device(rig.local(), tcp(rig.at.client, rig.at.west).bytes());
  EXPECT_TRUE(expect_ours(rig, false, before).only().underlay);
  rig.local().set_mac(*MacAddress::parse("02:00:00:00:00:77"));
  static_cast<void>(rig.engine().check_devices());
  expect_hosts(rig, false, before);
  const FrameBytes after = for_device(rig.local(), tcp(rig.at.client, rig.at.west).bytes());
  EXPECT_TRUE(expect_ours(rig, false, after).only().underlay);
}

TEST(HostShare, FragmentsOfTheFleetWaitForTheirFirstOneAndTheHostsDoNot) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const auto fragments = [&](const IpAddress& to, std::uint32_t id) {
    const FrameBytes ip = udp(at.client, {to, 9000}).with_payload(1300).ip_bytes();
    std::vector<FrameBytes> frames;
    for (const FrameBytes& part : split(ip, 600, id)) {
      frames.push_back(for_device(rig.local(), framed(part)));
    }
    return frames;
  };
  const std::vector<FrameBytes> ours = fragments(at.west.address, 7), hosts = fragments(kElsewhere, 7);
  ASSERT_EQ(ours.size(), 3u);
  const Outcome kept = expect_ours(rig, false, ours[2]);
  EXPECT_EQ(kept.counted.at("worker.fragments_kept"), 1u);
  expect_hosts(rig, false, hosts[2]);
  expect_hosts(rig, false, hosts[0]);
  EXPECT_EQ(expect_ours(rig, false, ours[0]).out.size(), 2u) << "and the one that has waited";
  expect_hosts(rig, false, hosts[1]);
  EXPECT_EQ(expect_ours(rig, false, ours[1]).out.size(), 1u);
}

// The one that has waited is not asked about again, nor taken for one of the frames of the burst that its first is in.
TEST(HostShare, AFragmentThatHasWaitedGoesOnThoughTheRulesHaveChanged) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const FrameBytes ip = udp(at.client, at.west).with_payload(900).ip_bytes();
  std::vector<FrameBytes> frames;
  for (const FrameBytes& part : split(ip, 600)) {
    frames.push_back(for_device(rig.local(), framed(part)));
  }
  static_cast<void>(expect_ours(rig, false, frames[1]));
  const FrameBytes hosts = for_device(rig.local(), tcp(at.client, {kElsewhere, 1}).bytes());
  ASSERT_TRUE(rig.local().inject(hosts));
  ASSERT_TRUE(rig.local().inject(frames[0]));
  ASSERT_TRUE(rig.local().inject(hosts));
  const Outcome outcome = rig.idle();
  EXPECT_EQ(outcome.out.size(), 2u) << outcome.text();
  EXPECT_EQ(outcome.host, (std::vector<ToHost>{{false, hosts}, {false, hosts}}));
}

// By itself, what comes out of a tunnel is a packet of a foreign source. Also if it is refused, as from a cluster that
// is not linked: there is no decision then that would keep it from being asked about.
TEST(HostShare, AFragmentFromATunnelThatHasWaitedIsOursWithoutItsTunnel) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  struct Sender {
    Endpoint from;
    IpAddress gateway;
    std::uint32_t vni;
    bool linked;
  };
  for (const Sender& sender : {Sender{at.west, at.west_gateway, kWestIdentity, true},
                               Sender{at.south, at.south_gateway, 4 << 16 | 9, false}}) {
    std::vector<FrameBytes> frames;
    for (const FrameBytes& part : split(udp(sender.from, at.client).with_payload(900).ip_bytes(), 600)) {
      PacketSpec spec = udp(sender.from, at.client);
      spec.raw = part;
      frames.push_back(for_device(rig.underlay(), rig.tunnelled(spec, sender.gateway, sender.vni).bytes()));
    }
    EXPECT_EQ(expect_ours(rig, true, frames[1]).counted.at("worker.fragments_kept"), 1u);
    // Where it goes on, in the first place of a burst, a packet of the host's was.
    const FrameBytes hosts = for_device(rig.underlay(), tcp({kElsewhere, 50000}, {at.gateway, 22}).bytes());
    ASSERT_TRUE(rig.underlay().inject(hosts));
    const Outcome both = rig.raw(true, frames[0]);
    EXPECT_EQ(both.out.size(), sender.linked ? 2u : 0u) << both.text();
    EXPECT_EQ(both.drops.count("not_linked"), sender.linked ? 0u : 1u);
    EXPECT_EQ(both.drops.empty() ? 0u : both.drops.begin()->second, sender.linked ? 0u : 2u) << both.text();
    EXPECT_EQ(both.host, (std::vector<ToHost>{{true, hosts}}));
  }
}

TEST(HostShare, TunnelFragmentsOfPeersArePutTogetherAndThoseOfOthersPass) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  const auto parts = [&](const IpAddress& from) {
    const FrameBytes frame =
        tcp(at.west, at.client).with_payload(900).in_tunnel(from, at.gateway, kWestIdentity).bytes();
    std::vector<FrameBytes> frames;
    for (const FrameBytes& part : split({frame.begin() + 14, frame.end()}, 600)) {
      frames.push_back(for_device(rig.underlay(), framed(part)));
    }
    return frames;
  };
  for (const FrameBytes& frame : parts(kElsewhere)) {
    expect_hosts(rig, true, frame);
  }
  const std::vector<FrameBytes> ours = parts(at.west_gateway);
  static_cast<void>(expect_ours(rig, true, ours[0]));
  EXPECT_EQ(expect_ours(rig, true, ours[1]).counted.at("worker.assembled"), 1u);
}

TEST(HostShare, AMixedBurstIsParted) {
  PathRig rig(sharing());
  const Actors& at = rig.at;
  std::vector<ToHost> hosts;
  unsigned ours = 0;
  for (unsigned i = 0; i < kMaxBurst; ++i) {
    const auto port = static_cast<std::uint16_t>(1000 + i);
    FrameBytes frame;
    switch (i % 4) {
      case 0:
        frame = for_device(rig.local(), tcp({at.client.address, port}, at.west).bytes());
        ++ours;
        break;
      case 1:
        frame = for_device(rig.local(), padded(tcp({at.client.address, port}, {kElsewhere, 443}).bytes()));
        break;
      case 2:
        frame = for_device(rig.local(), tcp({at.client6.address, port}, {kElsewhere6, 443}).bytes());
        break;
      default:
        frame = for_mac("01:00:5e:00:00:01", tcp({at.client.address, port}, at.west).bytes());
        break;
    }
    ASSERT_TRUE(rig.local().inject(frame));
    if (i % 4 != 0) {
      hosts.push_back({false, frame});
    }
  }
  const Outcome outcome = rig.idle();
  EXPECT_EQ(outcome.out.size(), ours);
  EXPECT_EQ(outcome.counted.at("worker.misses"), ours);
  EXPECT_TRUE(outcome.drops.empty());
  std::vector<ToHost> got = outcome.host;
  const auto order = [](const ToHost& a, const ToHost& b) { return a.bytes < b.bytes; };
  std::sort(got.begin(), got.end(), order);
  std::sort(hosts.begin(), hosts.end(), order);
  EXPECT_EQ(got, hosts);
}

// More than the device's lane holds, and several times as many as there are frames.
TEST(HostShare, WhatFindsNoRoomAtTheHostIsCountedAndItsFramesComeBack) {
  PathRig::Options options = sharing();
  options.lane_frames = 64;
  PathRig rig(options);
  const FrameBytes frame = arp(rig.underlay());
  constexpr unsigned kRounds = 64;
  for (unsigned round = 0; round < kRounds; ++round) {
    for (unsigned i = 0; i < 64; ++i) {
      ASSERT_TRUE(rig.underlay().inject(frame));
    }
    static_cast<void>(rig.engine().run_round(WorkerId{0}));
  }
  const QueueCounters counts = rig.counters().devices[0].counters;
  EXPECT_EQ(counts.to_host, 64u);
  EXPECT_EQ(counts.host_full, 64u * (kRounds - 1));
  EXPECT_EQ(counts.rx_no_frame, 0u);
  EXPECT_TRUE(rig.from_local(tcp(rig.at.client, rig.at.west)).only().underlay);
}

// A device that has a kernel program in front is asked nothing: its program has decided.
TEST(HostShare, DevicesBehindAKernelProgramGiveNothingToTheHost) {
  PathRig rig;
  EXPECT_EQ(rig.from_local(tcp(rig.at.client, {kElsewhere, 443})).drops.size(), 1u);
  EXPECT_TRUE(rig.raw(false, for_mac("02:00:00:00:00:99", tcp(rig.at.client, rig.at.west).bytes())).only().underlay);
}

}  // namespace
}  // namespace isthmus::test
