// A connection that is opened by a pattern (slowpath/patterns.h) is what deciding it anew would have made: the first of
// two gateways has patterns, the second none that hold.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "test/unit/dataplane/policy_builder.h"
#include "test/unit/dataplane/twins.h"

namespace isthmus::test {
namespace {

const TwinActors at;

void happen(Twins& twins, Random& random) {
  constexpr std::array kKinds{happen_to_endpoint, happen_to_endpoint, happen_to_service,
                              happen_to_peer,     happen_to_policy,   happen_to_mtu};
  kKinds[any(random, kKinds.size())](twins, random);
}

// Connections that differ in nothing but the source port, or their replies.
struct Theme {
  bool outward = true, udp = false;
  Endpoint ours, theirs;
  Endpoint answers;  // from where replies come
};

Theme any_theme(Random& random) {
  Theme theme;
  theme.outward = any(random, 3) != 0;
  theme.udp = any(random, 4) == 0;
  theme.ours = any(random, 3) == 0 ? at.second_client : at.client;
  theme.theirs = any(random, 3) == 0 ? at.second_west : at.west;
  theme.answers = theme.theirs;
  return theme;
}

// What differs in one respect.
Theme neighbour(Theme theme, Random& random) {
  switch (any(random, 5)) {
    case 0:
      theme.ours = theme.ours.address == at.client.address ? at.second_client : at.client;
      break;
    case 1:
      theme.theirs = theme.answers = theme.answers.address == at.west.address ? at.second_west : at.west;
      break;
    case 2:
      theme.theirs.port = theme.answers.port = 9001;
      break;
    case 3:
      theme.udp = !theme.udp;
      break;
    default:
      theme.outward = true;
      theme.udp = false;
      theme.theirs = theme.theirs.address == at.remote_service.address ? at.twin_service : at.remote_service;
      theme.answers = at.west;
      break;
  }
  return theme;
}

// The first packet of a new connection, or a packet or reply of one of the last sixteen.
void send(Twins& twins, Theme theme, std::uint16_t& last_port, Random& random) {
  const std::uint32_t kind = any(random, 8);
  const bool opens = kind < 4, replies = kind == 4;
  last_port = static_cast<std::uint16_t>(last_port + (opens ? 1 : 0));
  const auto port = static_cast<std::uint16_t>(opens ? last_port : last_port - any(random, 16));
  (theme.outward ? theme.ours : theme.theirs).port = port;
  if (!theme.outward) {
    theme.ours.port = 80;
    theme.answers = theme.theirs;
  }
  const auto packet = [&](const Endpoint& from, const Endpoint& to, std::uint8_t flags) {
    const PacketSpec spec = theme.udp ? udp(from, to) : tcp(from, to, flags);
    return kind == 7 ? PacketSpec(spec).with_payload(1350).with_df() : spec;
  };
  const std::uint8_t flags = opens || kind == 6 ? kSyn : kAck;
  if (theme.outward != replies) {
    twins.local(packet(theme.ours, theme.theirs, replies ? kSyn | kAck : flags));
  } else {
    twins.from_west(packet(theme.answers, theme.ours, replies ? kSyn | kAck : flags));
  }
}

TEST(Patterns, AgreeWithDecidingAnew) {
  for (unsigned seed = 1; seed <= kTwinRuns; ++seed) {
    Random random(seed);
    Twins twins(Twins::Anew::kAlways, seed % 2 == 0 ? Twins::MorePods::kAlike : Twins::MorePods::kOfTheirOwn);
    Theme theme = any_theme(random);
    std::uint16_t last_port = 40000;
    for (unsigned step = 0; step < 20; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      const Theme other = neighbour(theme, random);
      for (unsigned i = 0; i < 30; ++i) {
        send(twins, i % 3 == 2 ? other : theme, last_port, random);
        ASSERT_FALSE(::testing::Test::HasFailure());
      }
      twins.same_connections();
      theme = any(random, 3) != 0 ? other : any_theme(random);
      happen(twins, random);
      ASSERT_FALSE(::testing::Test::HasFailure());
    }
  }
}

// A connection that was opened by the pattern of another one depends on its own ends and service, not on the other's:
// each of these changes is seen by its next packet.
TEST(Patterns, LeaveEachConnectionToItsOwnEndsAndService) {
  const auto publish = [](const IpAddress& address, std::uint16_t cluster, std::uint32_t identity) {
    return [=](PathRig& rig) {
      const EndpointEntry entry{Realm{0}, address, ClusterId{cluster}, Identity{identity}, kNoPeer};
      rig.engine().upsert_endpoints({&entry, 1});
    };
  };
  const auto deny_others = [](PathRig& rig) {
    constexpr std::uint32_t kOther = 1;
    PolicyDelta delta;
    delta.select(kOther, {kWestIdentity + 1});
    delta.egress(kClientIdentity, enforced({deny(kOther, kAnyProtocol, 1, 65535), allow(0, kAnyProtocol, 1, 65535)}));
    ASSERT_TRUE(rig.engine().publish(delta.delta).ok());
  };
  struct Row {
    const char* what;
    Endpoint first_from, first_to, from, to;
    std::function<void(PathRig&)> change;
  };
  const std::vector<Row> rows{
      {"source", at.client, at.west, at.second_client, at.west,
       publish(at.second_client.address, 1, kClientIdentity + 1)},
      {"target", at.client, at.west, at.client, at.second_west, publish(at.second_west.address, 2, kWestIdentity + 1)},
      {"service", at.client, at.remote_service, at.client, at.twin_service,
       [](PathRig& rig) { rig.remove_service(at.twin_service); }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Twins twins(Twins::Anew::kAlways, Twins::MorePods::kAlike);
    twins.change(deny_others);
    const auto send = [&](Endpoint from, const Endpoint& to, std::uint16_t port, std::uint8_t flags) {
      from.port = port;
      twins.local(tcp(from, to, flags));
    };
    send(row.first_from, row.first_to, 1001, kSyn);
    send(row.from, row.to, 1002, kSyn);
    send(row.from, row.to, 1002, kAck);
    twins.change(row.change);
    send(row.from, row.to, 1002, kAck);
  }
}

// At an address that is a VIP nothing is opened but its services.
TEST(Patterns, DoNotOpenBesideTheServicesOfAVip) {
  Twins twins(Twins::Anew::kAlways, Twins::MorePods::kAlike);
  twins.change([](PathRig& rig) {
    rig.set_backends(at.west, 9, {backend(9, {Actors::ip("10.2.0.12"), 9000}, 2)}, {0});
  });
  twins.local(tcp(at.client, {at.second_west.address, 9001}, kSyn));
  const PacketSpec beside = tcp(at.second_client, {at.west.address, 9001}, kSyn);
  twins.local(beside);
  EXPECT_FALSE(twins.keeps.from_local(beside).drops.empty());
}

// Whose endpoint was published in between: a source that is not published is believed for a time.
TEST(Patterns, LeaveTheNextPodOfAnAddressItsWholeTime) {
  PathRig::Options options;
  options.engine.unknown_endpoint_hold = Seconds{2};
  PathRig rig(options);
  const IpAddress pod = Actors::ip("10.2.0.77");
  const auto send = [&](const IpAddress& from, std::uint16_t port) {
    const PacketSpec packet = tcp({from, port}, {at.client.address, 80});
    return rig.from_underlay(PacketSpec(packet).in_tunnel(at.west_gateway, at.gateway, kWestIdentity));
  };
  EXPECT_TRUE(send(pod, 1001).drops.empty());
  const EndpointEntry entry{Realm{0}, pod, ClusterId{2}, Identity{kWestIdentity}, kNoPeer};
  rig.engine().upsert_endpoints({&entry, 1});
  for (std::uint16_t port = 2001; port < 2004; ++port) {
    EXPECT_TRUE(send(at.west.address, port).drops.empty());
  }
  EXPECT_TRUE(send(pod, 1002).drops.empty());
  rig.engine().remove_endpoints(Realm{0}, {&pod, 1});
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  EXPECT_TRUE(send(pod, 1003).drops.empty());
}

}  // namespace
}  // namespace isthmus::test
