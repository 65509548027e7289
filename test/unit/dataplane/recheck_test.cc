// A decision that is rechecked by its parts is what deciding it anew would have made: two gateways get the same packets
// and the same changes, but every change also moves every word of the second one, which must decide from the start.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
constexpr std::uint32_t kService = 1;

class Twins {
 public:
  template <typename Change>
  void change(Change&& change) {
    change(rechecks_);
    change(decides_);
    TableDelta everything;  // a route that leads nowhere comes or goes
    everything.local_routes = routes_;
    if (std::exchange(more_, !more_)) {
      everything.local_routes->push_back({*Prefix::parse("10.1.255.0/28"), DeviceId{1}, hop_});
    }
    ASSERT_TRUE(decides_.engine().publish(everything).ok());
  }
  void local(const PacketSpec& packet) { same(packet, rechecks_.from_local(packet), decides_.from_local(packet)); }
  void underlay(const PacketSpec& packet) {
    same(packet, rechecks_.from_underlay(packet), decides_.from_underlay(packet));
  }
  PathRig rechecks_, decides_;
  std::vector<PeerId> live{PathRig::kWestGateway};  // of west

 private:
  static void same(const PacketSpec& packet, Outcome a, Outcome b) {
    for (Outcome* outcome : {&a, &b}) {
      outcome->counted.erase("connections.revalidations");
    }
    ASSERT_EQ(a.text(), b.text()) << packet.scapy();
    ASSERT_EQ(a.drops, b.drops) << packet.scapy();
    ASSERT_EQ(a.out.size(), b.out.size());
    for (std::size_t i = 0; i < a.out.size(); ++i) {
      ASSERT_EQ(a.out[i].bytes, b.out[i].bytes) << packet.scapy();
    }
  }
  AdjacencyId hop_{2};
  std::vector<LocalRoute> routes_{{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, hop_},
                                  {*Prefix::parse("fd00:1::/48"), DeviceId{1}, hop_}};
  bool more_ = false;
};

using Random = std::mt19937;
std::uint32_t any(Random& random, std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); }

// An endpoint comes, changes or goes.
void happen_to_endpoint(Twins& twins, Random& random) {
  const auto set = [&](const IpAddress& address, std::uint16_t cluster, std::uint32_t identity) {
    twins.change([&](PathRig& rig) {
      if (identity == 0) {
        rig.engine().remove_endpoints(Realm{0}, {&address, 1});
      } else {
        const EndpointEntry entry{Realm{0}, address, ClusterId{cluster}, Identity{identity}, kNoPeer};
        rig.engine().upsert_endpoints({&entry, 1});
      }
    });
  };
  switch (any(random, 4)) {
    case 0:
      return set(at.west.address, 2, any(random, 3) == 0 ? kWestIdentity + 1 : kWestIdentity);
    case 1:
      return set(at.client.address, 1, any(random, 3) == 0 ? kClientIdentity + 1 : kClientIdentity);
    case 2:
      return set(at.west.address, 2, any(random, 4) == 0 ? 0 : kWestIdentity);
    default:
      return set(Actors::ip("10.2.0.99"), 2, kWestIdentity + any(random, 5));
  }
}

// A service gets another backend, goes, gets another number; a pod's address becomes a VIP, or ceases to be one.
void happen_to_service(Twins& twins, Random& random) {
  switch (any(random, 4)) {
    case 0: {
      const Endpoint where = any(random, 2) == 0 ? Endpoint{Actors::ip("10.2.0.11"), 9000} : at.west;
      const std::vector<std::size_t> on_ring(any(random, 3) == 0 ? 0 : 1, 0);
      return twins.change(
          [&](PathRig& rig) { rig.set_backends(at.remote_service, kService, {backend(1, where, 2)}, on_ring); });
    }
    case 1:
      return twins.change([&](PathRig& rig) { rig.remove_service(at.remote_service); });
    case 2: {
      const std::uint32_t number = any(random, 2) == 0 ? kService : 77;
      return twins.change([&](PathRig& rig) {
        rig.remove_service(at.remote_service);
        rig.set_backends(at.remote_service, number, {backend(1, at.west, 2)}, {0});
      });
    }
    default: {
      const bool comes = any(random, 2) == 0;
      return twins.change([&](PathRig& rig) {
        comes ? rig.set_backends(at.west, 9, {backend(9, {Actors::ip("10.2.0.12"), 9000}, 2)}, {0})
              : rig.remove_service(at.west);
      });
    }
  }
}

// A gateway dies or returns, or is reached by another next hop.
void happen_to_peer(Twins& twins, Random& random) {
  if (any(random, 2) == 0) {
    const std::vector<std::vector<PeerId>> live{
        {PathRig::kWestGateway}, {PathRig::kWestOther}, {PathRig::kWestGateway, PathRig::kWestOther}, {}};
    const auto& gateways = twins.live = live[any(random, 4)];
    return twins.change([&](PathRig& rig) { rig.set_clusters(gateways); });
  }
  const AdjacencyId hop{any(random, 2) + 1};
  twins.change([&](PathRig& rig) {
    TableDelta delta;
    delta.upsert_peers = {{PathRig::kWestGateway, ClusterId{2}, at.west_gateway, L4Port{8472}, hop, true}};
    ASSERT_TRUE(rig.engine().publish(delta).ok());
  });
}

void happen(Twins& twins, Random& random) {
  constexpr std::array kKinds{happen_to_endpoint, happen_to_service, happen_to_peer};
  kKinds[any(random, kKinds.size())](twins, random);
}

// From a gateway of west that is live, as far as there is one: what comes from another says more than the tables do.
void send_from_west(Twins& twins, const PacketSpec& spec) {
  if (!twins.live.empty()) {
    const IpAddress& gateway = twins.live.back() == PathRig::kWestOther ? at.west_other : at.west_gateway;
    twins.underlay(PacketSpec(spec).in_tunnel(gateway, at.gateway, kWestIdentity));
  }
}

void send(Twins& twins, std::uint32_t which, std::uint8_t flags) {
  const Endpoint second{at.client.address, 40001}, third{at.client.address, 80}, caller{at.west.address, 5555};
  switch (which) {
    case 0:
      return twins.local(tcp(at.client, at.remote_service, flags));
    case 1:
      return send_from_west(twins, tcp(at.west, at.client, flags));  // the service's reply
    case 2:
      return twins.local(tcp(second, at.west, flags));
    case 3:
      return send_from_west(twins, tcp(at.west, second, flags));
    case 4:
      return send_from_west(twins, tcp(caller, third, flags));
    default:
      return twins.local(tcp(third, caller, flags));
  }
}

TEST(Recheck, AgreesWithDecidingAnew) {
  std::uint64_t rechecked = 0, decided = 0;
  for (unsigned seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    Twins twins;
    for (unsigned step = 0; step < 60; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      happen(twins, random);
      for (unsigned i = 0; i < 8; ++i) {
        send(twins, static_cast<std::uint32_t>(random() % 6), random() % 6 == 0 ? kSyn : kAck);
        ASSERT_FALSE(::testing::Test::HasFailure());
      }
    }
    rechecked += twins.rechecks_.counters().revalidations;
    decided += twins.decides_.counters().revalidations;
  }
  EXPECT_GT(rechecked, 1000u);
  EXPECT_LT(rechecked, decided) << "the second one is the stricter";
}

}  // namespace
}  // namespace isthmus::test
