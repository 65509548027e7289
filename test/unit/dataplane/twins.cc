#include "test/unit/dataplane/twins.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "dataplane/api/identity.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

const TwinActors at;
constexpr std::uint32_t kTwinService = 1;

}  // namespace

// A route that leads nowhere comes or goes.
void Twins::forget() {
  const AdjacencyId hop{2};
  TableDelta everything;
  everything.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, hop},
                             {*Prefix::parse("fd00:1::/48"), DeviceId{1}, hop}};
  if (std::exchange(more_, !more_)) {
    everything.local_routes->push_back({*Prefix::parse("10.1.255.0/28"), DeviceId{1}, hop});
  }
  ASSERT_TRUE(decides.engine().publish(everything).ok());
}

namespace {

// Where there is room for all, so that nobody is drawn to make some.
PathRig::Options roomy() {
  PathRig::Options options;
  options.engine.connections = options.engine.half_open_limit = 16384;
  options.engine.icmp_errors_per_second = 1'000'000;  // none is left out, whenever each of the two looks at the clock
  options.engine.echo_answers_per_second = 1'000'000;
  return options;
}

}  // namespace

Twins::Twins(Anew anew, MorePods pods) : keeps(roomy()), decides(roomy()), anew_(anew) {
  const std::uint32_t own = pods == MorePods::kOfTheirOwn ? 1 : 0;
  for (PathRig* rig : {&keeps, &decides}) {
    const std::vector<EndpointEntry> more{
        {Realm{0}, at.second_client.address, ClusterId{1}, Identity{kClientIdentity + own}, kNoPeer},
        {Realm{0}, at.second_west.address, ClusterId{2}, Identity{kWestIdentity + own}, kNoPeer}};
    rig->engine().upsert_endpoints(more);
  }
}

void Twins::local(const PacketSpec& packet) {
  if (anew_ == Anew::kAlways) {
    forget();
  }
  same(packet, keeps.from_local(packet), decides.from_local(packet));
}

void Twins::underlay(const PacketSpec& packet) {
  if (anew_ == Anew::kAlways) {
    forget();
  }
  same(packet, keeps.from_underlay(packet), decides.from_underlay(packet));
}

void Twins::from_west(const PacketSpec& packet) {
  if (!live.empty()) {
    const IpAddress& gateway = live.back() == PathRig::kWestOther ? at.west_other : at.west_gateway;
    underlay(PacketSpec(packet).in_tunnel(gateway, at.gateway, kWestIdentity));
  }
}

void Twins::same_connections() {
  const auto connections = [](PathRig& rig) {
    std::vector<std::string> all;
    rig.engine().visit_flows([&](const FlowRecord& flow) {
      all.push_back(flow.client.to_string() + " " + std::to_string(flow.client_port.value()) + " " +
                    flow.backend.to_string() + " " + std::to_string(static_cast<int>(flow.from)) +
                    std::to_string(static_cast<int>(flow.to)) + " " + std::to_string(flow.source_identity.value()));
      return true;
    });
    std::sort(all.begin(), all.end());
    return all;
  };
  ASSERT_EQ(connections(keeps), connections(decides));
}

void Twins::same(const PacketSpec& packet, Outcome a, Outcome b) {
  for (Outcome* outcome : {&a, &b}) {
    outcome->counted.erase("worker.revalidations");
    if (outcome->counted.contains("worker.hits")) {
      outcome->counted.erase("worker.policy_audited");  // counted with each decision
    }
  }
  ASSERT_EQ(a.text(), b.text()) << packet.scapy();
  ASSERT_EQ(a.drops, b.drops) << packet.scapy();
  ASSERT_EQ(a.counted, b.counted) << packet.scapy();
  ASSERT_EQ(a.out.size(), b.out.size());
  for (std::size_t i = 0; i < a.out.size(); ++i) {
    ASSERT_EQ(a.out[i].bytes, b.out[i].bytes) << packet.scapy();
  }
}

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
  const std::uint32_t other = any(random, 3);
  switch (any(random, 6)) {
    case 0:
      return set(at.west.address, 2, any(random, 3) == 0 ? kWestIdentity + 1 : kWestIdentity);
    case 1:
      return set(at.client.address, 1, any(random, 3) == 0 ? kClientIdentity + 1 : kClientIdentity);
    case 2:
      return set(at.west.address, 2, any(random, 4) == 0 ? 0 : kWestIdentity);
    case 3:
      return set(at.second_west.address, 2, other == 0 ? 0 : kWestIdentity + other - 1);
    case 4:
      return set(at.second_client.address, 1, other == 0 ? 0 : kClientIdentity + other - 1);
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
          [&](PathRig& rig) { rig.set_backends(at.remote_service, kTwinService, {backend(1, where, 2)}, on_ring); });
    }
    case 1:
      return twins.change([&](PathRig& rig) { rig.remove_service(at.remote_service); });
    case 2: {
      const std::uint32_t number = any(random, 2) == 0 ? kTwinService : 77;
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

void happen_to_policy(Twins& twins, Random& random) {
  constexpr std::uint32_t kWest = 1;
  const auto some = [&](std::uint32_t peers) {
    std::vector<PolicyEntry> entries;
    for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{9000}, std::uint16_t{9001}}) {
      if (any(random, 4) != 0) {
        entries.push_back(any(random, 5) == 0 ? deny(peers, kAnyProtocol, port, port)
                                              : allow(peers, kAnyProtocol, port, port));
      }
    }
    return any(random, 3) == 0 ? DirectionPolicy{} : enforced(entries);
  };
  PolicyDelta delta;
  delta.select(kWest, {kWestIdentity});
  const std::uint32_t subject = kClientIdentity + any(random, 2);
  delta.egress(subject, some(kWest)).ingress(subject, some(kWest));
  // Pods of ours that receive under a policy of their own, and of west's as one that the selector lacks.
  const Identity ours = identity::receiver(1), theirs = identity::receiver(2);
  delta.egress(ours.value(), some(kWest)).ingress(ours.value(), some(kWest));
  const std::array<Receiver, 4> pods{{{at.client.address, Identity{kClientIdentity}, ours},
                                      {at.second_client.address, Identity{kClientIdentity}, ours},
                                      {at.west.address, Identity{kWestIdentity}, theirs},
                                      {at.second_west.address, Identity{kWestIdentity}, theirs}}};
  const Receiver& pod = pods[any(random, pods.size())];
  (any(random, 2) == 0 ? delta.delta.upsert_receivers : delta.delta.remove_receivers).push_back(pod);
  if (any(random, 6) == 0) {
    delta.audit(subject);
  }
  twins.change([&](PathRig& rig) { ASSERT_TRUE(rig.engine().publish(delta.delta).ok()); });
}

void happen_to_mtu(Twins& twins, Random& random) {
  const Bytes mtu{any(random, 2) == 0 ? 1500U : 1400U};
  for (PathRig* rig : {&twins.keeps, &twins.decides}) {
    rig->underlay().set_mtu(mtu);
    static_cast<void>(rig->engine().check_devices());
  }
}

}  // namespace isthmus::test
