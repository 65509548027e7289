// What a load balancer cannot do by a DSR option: to connections of others, to pods' own ports, in others' names and
// with others' identities; and when it may no more what it could.
#include <gtest/gtest.h>

#include <vector>

#include "test/unit/dataplane/dsr_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

class DsrLimits : public Dsr {
 protected:
  [[nodiscard]] PacketSpec by_node(const PacketSpec& packet, const Endpoint& service) const {
    return from_node(balanced(packet, service));
  }
  [[nodiscard]] PacketSpec by_north(const PacketSpec& packet) const {
    return rig_.tunnelled(packet, rig_.at.north_gateway, kNorthIdentity);
  }
  void expect_reply(const Endpoint& backend, const Endpoint& client, const Endpoint& name, std::uint8_t flags = kAck) {
    expect_answered(rig_.from_local(tcp(backend, client, flags)), name, client);
  }
  void expect_reply_dropped(const PacketSpec& reply, const char* reason) {
    const Outcome outcome = rig_.from_local(reply);
    EXPECT_TRUE(outcome.out.empty()) << outcome.text();
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{reason, 1}}));
  }
  const Endpoint west_name_ = at("10.2.0.77", 80);  // nobody's, in west's prefixes
};

TEST_F(DsrLimits, AHalfClosedConnectionOfAClientItselfIsNotTakenOver) {
  expect_delivered(rig_.from_underlay(tcp(client_, backend_)), client_, backend_);
  expect_reply(backend_, client_, backend_, kSyn | kAck);
  expect_delivered(rig_.from_underlay(tcp(client_, backend_, kAck)), client_, backend_);
  expect_dropped(balanced(tcp(client_, backend_), west_name_), "dsr_option");
  expect_delivered(rig_.from_underlay(tcp(client_, backend_, kFin | kAck)), client_, backend_);
  expect_reply(backend_, client_, backend_);
  expect_dropped(balanced(tcp(client_, backend_), west_name_), "dsr_option");
  expect_reply(backend_, client_, backend_);
  expect_delivered(rig_.from_underlay(tcp(client_, backend_, kAck)), client_, backend_);
}

TEST_F(DsrLimits, AHalfClosedConnectionOfAnotherBalancerIsNotTakenOver) {
  for (const bool by_client : {true, false}) {
    SCOPED_TRACE(by_client ? "the client has closed" : "the backend has closed");
    const Endpoint client = at("10.5.0.9", by_client ? 4711 : 4712);
    expect_delivered(rig_.from_underlay(by_node(tcp(client, backend_), vip_)), client, backend_);
    expect_reply(backend_, client, vip_, kSyn | kAck);
    expect_delivered(rig_.from_underlay(from_node(plain(tcp(client, backend_, kAck)))), client, backend_);
    if (by_client) {
      expect_delivered(rig_.from_underlay(from_node(plain(tcp(client, backend_, kFin | kAck)))), client, backend_);
    } else {
      expect_reply(backend_, client, vip_, kFin | kAck);
    }
    for (const Endpoint& name : {west_name_, vip_}) {
      expect_dropped(balanced(tcp(client, backend_), name), "dsr_option");
    }
    expect_reply(backend_, client, vip_);
  }
}

TEST_F(DsrLimits, WhatBothEndsHaveClosedMayBeBegunAnew) {
  expect_delivered(rig_.from_underlay(tcp(client_, backend_)), client_, backend_);
  expect_reply(backend_, client_, backend_, kSyn | kAck);
  expect_delivered(rig_.from_underlay(tcp(client_, backend_, kFin | kAck)), client_, backend_);
  expect_reply(backend_, client_, backend_, kFin | kAck);
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip_)), client_, backend_);
  expect_reply(backend_, client_, vip_, kSyn | kAck);
  EXPECT_EQ(rig_.flows().size(), 1u);
}

// The same holds where the pod's port is a backend's: the option is then for the reply direction.
TEST_F(DsrLimits, AConnectionOfAPodItselfIsNotTakenOver) {
  const Endpoint web = at("10.5.0.53", 443), pod = rig_.at.client;
  serve(pod, 31, IpProtocol::kTcp);
  EXPECT_EQ(rig_.from_local(tcp(pod, web)).only().packet.source, pod.address);
  EXPECT_EQ(rig_.from_underlay(tcp(web, pod, kSyn | kAck)).only().packet.destination, pod.address);
  EXPECT_EQ(rig_.from_local(tcp(pod, web, kAck)).only().packet.source, pod.address);
  expect_dropped(balanced(tcp(web, pod), west_name_), "dsr_option");
  EXPECT_EQ(rig_.from_local(tcp(pod, web, kFin | kAck)).only().packet.source, pod.address);
  expect_dropped(balanced(tcp(web, pod), west_name_), "dsr_option");
  expect_dropped(by_node(tcp(web, pod), vip_), "dsr_option");
  EXPECT_EQ(rig_.from_underlay(tcp(web, pod, kAck)).only().packet.source, web.address);
  EXPECT_EQ(rig_.from_local(tcp(pod, web, kAck)).only().packet.source, pod.address);
}

// A resolver's answers would find such connections, and so would whatever a pod asks next.
TEST_F(DsrLimits, NoPortOfAPodIsTakenThatIsNoBackends) {
  const Endpoint resolver = at("10.5.0.53", 53);
  for (std::uint16_t port = 40000; port < 40064; ++port) {
    const Endpoint pod{rig_.at.client.address, port};
    expect_dropped(balanced(udp(resolver, pod), at("10.2.0.77", 5353)), "dsr_option");
    expect_dropped(balanced(tcp(resolver, pod), at("10.2.0.77", 5353)), "dsr_option");
    const Output query = rig_.from_local(udp(pod, resolver)).only();
    EXPECT_EQ(query.packet.source, pod.address);
    EXPECT_EQ(query.packet.source_port, pod.port);
    EXPECT_EQ(rig_.from_underlay(udp(resolver, pod)).only().packet.destination_port, port);
  }
  expect_dropped(by_node(udp(resolver, rig_.at.client), vip_), "dsr_option");
}

// Protocol and port are the backend's, not the address alone.
TEST_F(DsrLimits, ABackendOfAnotherProtocolOrPortIsNone) {
  const Endpoint pod = rig_.at.client;
  serve(pod, 31, IpProtocol::kTcp);
  expect_dropped(balanced(udp(client_, pod), vip_), "dsr_option");
  expect_dropped(balanced(tcp(client_, at("10.1.0.10", 40001)), vip_), "dsr_option");
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, pod), vip_)), client_, pod);
}

TEST_F(DsrLimits, WhatIsNoBackendAnyMoreGetsNothingMore) {
  const Endpoint pod = rig_.at.client;
  serve(pod, 31, IpProtocol::kTcp);
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, pod), vip_)), client_, pod);
  expect_reply(pod, client_, vip_, kSyn | kAck);
  expect_delivered(rig_.from_underlay(plain(tcp(client_, pod, kAck))), client_, pod);
  rig_.remove_service(service_of(pod, 31));
  expect_reply(pod, client_, vip_);  // as of any service
  expect_dropped(plain(tcp(client_, pod, kAck)), "dsr_option");
  expect_dropped(balanced(tcp(client_, pod), vip_), "dsr_option");
  serve(pod, 32, IpProtocol::kTcp);
  expect_delivered(rig_.from_underlay(plain(tcp(client_, pod, kAck))), client_, pod);
}

TEST_F(DsrLimits, OurOwnBalancerComesFirst) {
  for (const bool is_tcp : {true, false}) {
    SCOPED_TRACE(is_tcp ? "tcp" : "udp");
    const PacketSpec opening = is_tcp ? tcp(client_, backend_) : udp(client_, backend_);
    expect_delivered(rig_.from_underlay(balanced(opening, west_name_)), client_, backend_);
    expect_delivered(rig_.from_underlay(by_node(opening, vip_)), client_, backend_);
    expect_dropped(balanced(opening, west_name_), "dsr_option");
    expect_answered(rig_.from_local(is_tcp ? tcp(backend_, client_, kSyn | kAck) : udp(backend_, client_)), vip_,
                    client_);
  }
}

TEST_F(DsrLimits, WhatAnotherClustersBalancerHasOpenedAndWasAnsweredStays) {
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip_)), client_, backend_);
  expect_reply(backend_, client_, vip_, kSyn | kAck);
  expect_delivered(rig_.from_underlay(plain(tcp(client_, backend_, kAck))), client_, backend_);
  expect_dropped(by_node(tcp(client_, backend_), other_vip_), "dsr_option");
  expect_reply(backend_, client_, vip_);
}

TEST_F(DsrLimits, OurOwnPodsComeFirst) {
  const Endpoint web = at("10.5.0.53", 443), pod = rig_.at.client;
  serve(pod, 31, IpProtocol::kTcp);
  expect_delivered(rig_.from_underlay(balanced(tcp(web, pod), west_name_)), web, pod);
  const Output syn = rig_.from_local(tcp(pod, web)).only();
  EXPECT_EQ(syn.packet.source, pod.address);
  EXPECT_EQ(syn.packet.source_port, pod.port);
  expect_delivered(rig_.from_underlay(tcp(web, pod, kSyn | kAck)), web, pod);
  expect_dropped(balanced(tcp(web, pod), west_name_), "dsr_option");
  EXPECT_EQ(rig_.flows().size(), 1u);
}

// A datagram of the backend that seems to answer a client whose request we have not seen.
TEST_F(DsrLimits, WhatSeemsToBeAnAnswerIsInNoBalancersWay) {
  const Endpoint client = rig_.at.north;
  const Output stray = rig_.from_local(udp(backend_, client)).only();
  EXPECT_EQ(stray.packet.source, backend_.address);
  expect_dropped(balanced(udp(client, backend_), west_name_), "source_outside_cluster");
  for (unsigned packet = 0; packet < 2; ++packet) {
    expect_delivered(rig_.from_underlay(by_node(udp(client, backend_), vip_)), client, backend_);
    expect_answered(rig_.from_local(udp(backend_, client)), vip_, client);
  }
  const Endpoint of_west = rig_.at.west;  // by its own cluster's
  EXPECT_EQ(rig_.from_local(udp(backend_, of_west)).out.size(), 1u);
  expect_delivered(rig_.from_underlay(balanced(udp(of_west, backend_), vip_)), of_west, backend_);
  expect_answered(rig_.from_local(udp(backend_, of_west)), vip_, of_west);
}

// Its client has been seen: it is the client's own.
TEST_F(DsrLimits, AnAnsweredClientIsInTheBalancersWay) {
  const Endpoint client = rig_.at.north;
  EXPECT_EQ(rig_.from_local(udp(backend_, client)).out.size(), 1u);
  expect_delivered(rig_.from_underlay(by_north(udp(client, backend_))), client, backend_);
  expect_dropped(by_node(udp(client, backend_), vip_), "dsr_option");
}

TEST_F(DsrLimits, NobodyLendsTheIdentityOfAnotherClustersEndpoint) {
  constexpr std::uint32_t kTrusted = 900, kFive = 5 << 16 | 777;
  rig_.engine().upsert_endpoints(
      std::vector{EndpointEntry{Realm{0}, client_.address, ClusterId{5}, Identity{kFive}, kNoPeer}});
  PolicyDelta policies;
  policies.select(kTrusted, {kFive});
  policies.ingress(kLocalBackendIdentity, enforced({allow(kTrusted)}));
  ASSERT_TRUE(rig_.engine().publish(policies.delta).ok());
  expect_dropped(balanced(udp(client_, backend_), vip_), "source_outside_cluster");
  expect_dropped(balanced(udp(at("10.5.0.10", 1), backend_), vip_), "policy_denied");
  expect_delivered(rig_.from_underlay(by_node(udp(client_, backend_), vip_)), client_, backend_);
}

TEST_F(DsrLimits, AClientThatIsPublishedLaterIsNotSpokenForAnyMore) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
  rig_.engine().upsert_endpoints(
      std::vector{EndpointEntry{Realm{0}, client_.address, ClusterId{5}, Identity{5 << 16 | 777}, kNoPeer}});
  expect_dropped(balanced(udp(client_, backend_), vip_), "source_outside_cluster");
  expect_reply_dropped(udp(backend_, client_), "source_outside_cluster");
}

TEST_F(DsrLimits, NobodySpeaksForOurOwnPods) {
  expect_dropped(by_node(tcp(rig_.at.client, backend_), vip_), "source_outside_cluster");
  expect_dropped(balanced(tcp(rig_.at.client, backend_), vip_), "source_outside_cluster");
}

// Where the underlay routes all that is outside the clusters, its own addresses are among it.
TEST_F(DsrLimits, NobodySpeaksForThoseWhoForward) {
  TableDelta delta;
  delta.local_routes.emplace();
  delta.local_routes->push_back({*Prefix::parse("10.1.0.0/16"), DeviceId{1}, AdjacencyId{2}});
  delta.local_routes->push_back({*Prefix::parse("0.0.0.0/0"), DeviceId{0}, AdjacencyId{1}, kNoPeer, true});
  delta.clusters = {
      {ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}},
      {ClusterId{2}, false, true, {*Prefix::parse("10.2.0.0/16")}, {PathRig::kWestGateway}},
      {ClusterId{5}, false, true, {*Prefix::parse("0.0.0.0/0")}, {}},
  };
  ASSERT_TRUE(rig_.engine().publish(delta).ok());
  const IpAddress infrastructure[] = {rig_.at.gateway, rig_.at.north_gateway, node_, rig_.at.remote_service.address};
  for (const IpAddress& address : infrastructure) {
    SCOPED_TRACE(address.to_string());
    expect_dropped(balanced(udp({address, 6081}, backend_), at("10.2.0.77", 80)), "source_outside_cluster");
  }
  expect_delivered(rig_.from_underlay(balanced(udp(at("198.18.0.1", 1), backend_), at("10.2.0.77", 80))),
                   at("198.18.0.1", 1), backend_);
}

TEST_F(DsrLimits, NamesThatNoServiceHas) {
  for (const char* name : {"0.0.0.1", "127.1.2.3", "169.254.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
                           "192.0.2.254"}) {  // the last is a next hop
    SCOPED_TRACE(name);
    expect_dropped(balanced(udp(client_, backend_), at(name, 80)), "dsr_option");
    expect_dropped(by_node(udp(client_, backend_), at(name, 80)), "dsr_option");
  }
  for (const char* name : {"::", "::1", "::203.0.113.80", "64:ff9b::cb00:7150", "fe80::1", "fec0::1", "ff02::1"}) {
    SCOPED_TRACE(name);
    expect_dropped(balanced(udp(client6_, backend6_), at(name, 80)), "dsr_option");
  }
  PacketSpec mapped = balanced(udp(client6_, backend6_), vip6_);
  mapped.tunnel->options = {0x01, 0x4b, 0x81, 5,    0,   0, 0,   0,  0, 0,    0, 0,
                            0,    0,    0xff, 0xff, 203, 0, 113, 80, 1, 0xbb, 0, 0};
  expect_dropped(mapped, "dsr_option");
  expect_delivered(rig_.from_underlay(balanced(udp(client6_, backend6_), vip6_)), client6_, backend6_);
}

TEST_F(DsrLimits, RepliesStopWhenTheBalancersClusterIsNotLinkedAnyMore) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
  rig_.set_clusters({PathRig::kWestGateway}, false);
  expect_reply_dropped(udp(backend_, client_), "not_linked");
  rig_.set_clusters({PathRig::kWestGateway}, true);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
}

// Its decision depends on as many words as there is room for: without that of the name, it has a time limit.
TEST_F(DsrLimits, ABackendBehindANodeOfOursAnswersAClientByAnotherGateway) {
  TableDelta delta;
  delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, AdjacencyId{2}, kNode}};
  ASSERT_TRUE(rig_.engine().publish(delta).ok());
  rig_.set_clusters({PathRig::kWestOther});
  const Endpoint client = rig_.at.west;
  for (unsigned packet = 0; packet < 2; ++packet) {
    const Output there = rig_.from_underlay(balanced(udp(client, backend_), vip_)).only();
    EXPECT_EQ(there.packet.outer_destination, node_);
    EXPECT_EQ(there.packet.source, client.address);
    const PacketSpec answer = rig_.tunnelled(udp(backend_, client), node_, kLocalBackendIdentity);
    const Output back = rig_.from_underlay(answer).only();
    EXPECT_EQ(back.packet.outer_destination, rig_.at.west_other);
    EXPECT_EQ(back.packet.source, vip_.address);
  }
}

TEST_F(DsrLimits, RepliesAskPolicy) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  PolicyDelta policies;
  policies.ingress(kLocalBackendIdentity, enforced());
  ASSERT_TRUE(rig_.engine().publish(policies.delta).ok());
  expect_reply_dropped(udp(backend_, client_), "policy_denied");
}

TEST_F(DsrLimits, TheOptionIsThereOnceAndOnNothingButPackets) {
  PacketSpec twice = balanced(udp(client_, backend_), vip_);
  const FrameBytes option = twice.tunnel->options;
  twice.tunnel->options.insert(twice.tunnel->options.end(), option.begin(), option.end());
  expect_dropped(twice, "malformed");
  PacketSpec most = balanced(udp(client_, backend_), vip_);
  while (most.tunnel->options.size() < 252) {
    const FrameBytes other{1, 2, 3, 0};
    most.tunnel->options.insert(most.tunnel->options.end(), other.begin(), other.end());
  }
  expect_delivered(rig_.from_underlay(most), client_, backend_);
  expect_answered(rig_.from_local(udp(backend_, client_)), vip_, client_);
  const PacketSpec answer = udp(backend_, rig_.at.west);
  const PacketSpec error = icmp_error(rig_.at.west.address, backend_.address, 3, 3, answer.ip_bytes());
  expect_dropped(balanced(error, vip_), "dsr_option");
}

// A SYN alone asks: another packet with an option belongs to a connection of that service, or to none.
TEST_F(DsrLimits, AnOptionWithoutASynStandsForTheSameServiceAlone) {
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_), vip_)), client_, backend_);
  expect_reply(backend_, client_, vip_, kSyn | kAck);
  expect_delivered(rig_.from_underlay(balanced(tcp(client_, backend_, kAck), vip_)), client_, backend_);
  for (const int flags : {kAck | 0, kFin | kAck, kSyn | kAck, kRst | kAck}) {
    expect_dropped(balanced(tcp(client_, backend_, static_cast<std::uint8_t>(flags)), other_vip_), "dsr_option");
    expect_dropped(by_node(tcp(client_, backend_, static_cast<std::uint8_t>(flags)), vip_), "dsr_option");
  }
  expect_reply(backend_, client_, vip_);
}

// A gateway of the client's own cluster sends for it with its identity, whatever its load balancers have opened.
TEST_F(DsrLimits, DatagramsOfAClientOfTheBalancersClusterBeginAnew) {
  const Endpoint client = rig_.at.west;
  expect_delivered(rig_.from_underlay(balanced(udp(client, backend_), vip_)), client, backend_);
  expect_answered(rig_.from_local(udp(backend_, client)), vip_, client);
  const PacketSpec direct = rig_.tunnelled(udp(client, backend_), rig_.at.west_gateway, kWestIdentity);
  expect_delivered(rig_.from_underlay(direct), client, backend_);
  expect_answered(rig_.from_local(udp(backend_, client)), backend_, client);
  EXPECT_EQ(rig_.flows().size(), 1u);
}

// Of a client that is not published, they come with VNI 2 too: as if the option were not there, but for that.
TEST_F(DsrLimits, AnOptionIsSeenWhereItsPacketsAreLikeTheClientsOwn) {
  const Endpoint client = at("10.2.0.99", 7);
  for (const bool is_tcp : {true, false}) {
    SCOPED_TRACE(is_tcp ? "tcp" : "udp");
    const auto packet = [&](std::uint8_t flags) {
      return is_tcp ? tcp(client, backend_, flags) : udp(client, backend_);
    };
    expect_delivered(rig_.from_underlay(plain(packet(kSyn))), client, backend_);
    expect_answered(rig_.from_local(is_tcp ? tcp(backend_, client, kSyn | kAck) : udp(backend_, client)), backend_,
                    client);
    expect_delivered(rig_.from_underlay(plain(packet(kAck))), client, backend_);
    for (const int flags : {kSyn | 0, kAck | 0}) {
      expect_dropped(balanced(packet(static_cast<std::uint8_t>(flags)), vip_), "dsr_option");
    }
    expect_answered(rig_.from_local(is_tcp ? tcp(backend_, client, kAck) : udp(backend_, client)), backend_, client);
  }
}

// Both have the reply key of the backend and the client: the later one gets another source port, and both go on.
TEST_F(DsrLimits, AConnectionThroughAVipOfTheFleetKeepsItsReplies) {
  const Endpoint client = rig_.at.west, vip = rig_.at.local_service;
  const auto direct = [&](const PacketSpec& packet) {
    return rig_.tunnelled(packet, rig_.at.west_gateway, kWestIdentity);
  };
  expect_delivered(rig_.from_underlay(direct(tcp(client, vip))), client, backend_);
  const Output other = rig_.from_underlay(balanced(tcp(client, backend_), vip_)).only();
  EXPECT_EQ(other.packet.source, client.address);
  EXPECT_NE(other.packet.source_port, client.port);
  expect_reply(backend_, client, vip, kSyn | kAck);
  const Endpoint seen{client.address, other.packet.source_port};
  expect_answered(rig_.from_local(tcp(backend_, seen, kSyn | kAck)), vip_, client);
  EXPECT_EQ(rig_.flows().size(), 2u);
}

// Outside, the backend is known by its alias alone, which is what load balancers send to.
TEST_F(DsrLimits, ABackendWithAnAliasIsServedByIt) {
  const AliasPrefixes aliases = {{*Prefix::parse("10.1.0.0/16"), *Prefix::parse("10.101.0.0/16")}};
  TableDelta delta;
  delta.aliases = aliases;
  delta.changed_clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.101.0.0/16")}, {}}};
  ASSERT_TRUE(rig_.engine().publish(delta).ok());
  const Endpoint alias = at("10.101.0.10", 40000), pod = rig_.at.client;
  serve(pod, 31, IpProtocol::kTcp);
  const auto expect_served = [&](const PacketSpec& packet) {
    const Output out = rig_.from_underlay(packet).only();
    EXPECT_EQ(out.packet.source, client_.address);
    EXPECT_EQ(out.packet.destination, pod.address);
  };
  expect_served(balanced(tcp(client_, alias), vip_));
  expect_reply(pod, client_, vip_, kSyn | kAck);
  expect_served(plain(tcp(client_, alias, kAck)));
  for (const char* name : {"10.1.0.99", "10.101.0.99"}) {
    expect_dropped(balanced(tcp(client_, alias), at(name, 80)), "dsr_option");
  }
  expect_dropped(balanced(tcp(client_, pod), vip_), "alias_mismatch");
  rig_.remove_service(service_of(pod, 31));
  expect_dropped(plain(tcp(client_, alias, kAck)), "dsr_option");
}

// What is too long is told to the client, who has to know it of the service that it asked.
class DsrErrors : public DsrLimits {
 protected:
  void expect_error(const Outcome& outcome, const Endpoint& client, const Endpoint& vip, std::uint8_t type,
                    std::uint8_t code) {
    const Output error = outcome.only();
    EXPECT_TRUE(error.underlay);
    EXPECT_FALSE(error.packet.tunnelled) << error.packet.text();
    EXPECT_EQ(error.packet.destination, client.address);
    EXPECT_EQ(error.packet.icmp_type, type);
    EXPECT_EQ(error.packet.icmp_code, code);
    const std::size_t at = vip.address.is_ipv4() ? 16 : 24, size = vip.address.is_ipv4() ? 4 : 16;
    ASSERT_GE(error.packet.quoted.size(), at + size + 4);
    const auto place = error.packet.quoted.begin() + static_cast<std::ptrdiff_t>(at);
    const auto end = place + static_cast<std::ptrdiff_t>(size);
    const auto& bytes = vip.address.bytes();
    EXPECT_EQ((FrameBytes{place, end}), (FrameBytes{bytes.end() - static_cast<std::ptrdiff_t>(size), bytes.end()}));
    EXPECT_EQ(end[2] << 8 | end[3], vip.port);
  }
};

TEST_F(DsrErrors, TooLongIsToldToTheClient) {
  for (const bool v4 : {true, false}) {
    SCOPED_TRACE(v4 ? "IPv4" : "IPv6");
    const Endpoint client = v4 ? client_ : client6_, backend = v4 ? backend_ : backend6_, vip = v4 ? vip_ : vip6_;
    const auto long_one = [](PacketSpec packet) { return packet.with_payload(1460).with_df(); };
    const Outcome first = rig_.from_underlay(balanced(long_one(udp(client, backend)), vip));
    expect_error(first, client, vip, v4 ? 3 : 2, v4 ? 4 : 0);
    EXPECT_EQ(first.only().packet.source, vip.address);
    EXPECT_EQ(first.only().packet.icmp_rest, 1450u);
    EXPECT_EQ(first.drops, (std::map<std::string, std::uint64_t>{{"oversize", 1}}));
    expect_delivered(rig_.from_underlay(balanced(tcp(client, backend), vip)), client, backend);
    expect_error(rig_.from_underlay(from_west_other(plain(long_one(tcp(client, backend, kAck))))), client, vip,
                 v4 ? 3 : 2, v4 ? 4 : 0);
  }
}

TEST_F(DsrErrors, AUsedUpTtlIsToldToTheClient) {
  PacketSpec last = udp(client_, backend_);
  last.ttl = 1;
  const Outcome outcome = rig_.from_underlay(balanced(last, vip_));
  expect_error(outcome, client_, vip_, 11, 0);
  EXPECT_EQ(outcome.only().packet.source, rig_.at.translation) << "the gateway's own: a trace shows it";
}

TEST_F(DsrErrors, NothingIsToldWhereRepliesMayNotGo) {
  expect_delivered(rig_.from_underlay(balanced(udp(client_, backend_), vip_)), client_, backend_);
  rig_.engine().upsert_endpoints(
      std::vector{EndpointEntry{Realm{0}, vip_.address, ClusterId{3}, Identity{kNorthIdentity}, kNoPeer}});
  expect_dropped(balanced(udp(client_, backend_).with_payload(1460).with_df(), vip_), "oversize");
}

}  // namespace
}  // namespace isthmus::test
