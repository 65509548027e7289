// What the slow path decides of connections to services: which clients are served, and by which backend.
#include "test/unit/dataplane/decision_rows.h"

namespace isthmus::test {
namespace {

using namespace rows;

// The remote service, for some clients.
void serve(PathRig& rig, const std::vector<const char*>& prefixes, bool denied = false) {
  FrontendEntry entry = entry_of(at.remote_service, IpProtocol::kTcp, 1, {backend(1, at.west, 2)});
  SourceRanges ranges{{}, denied};
  for (const char* prefix : prefixes) {
    ranges.prefixes.push_back(*Prefix::parse(prefix));
  }
  entry.sources = std::make_shared<const SourceRanges>(ranges);
  publish(rig, entry);
}
// The remote service with session affinity: west's pod and another one behind it, of which one takes all new
// connections but those of clients that keep the other.
void sticky(PathRig& rig, const Endpoint& chosen, bool drains_other = false, Seconds timeout = Seconds{60}) {
  FrontendEntry entry =
      entry_of(at.remote_service, IpProtocol::kTcp, 1, {backend(1, at.west, 2), backend(2, kOtherBackend, 2)});
  auto set = std::make_shared<BackendSet>(*entry.backends);
  const std::uint16_t number = chosen.address == at.west.address ? 0 : 1;
  set->ring.assign(251, number);
  set->ring.back() = drains_other ? number : static_cast<std::uint16_t>(1 - number);
  entry.backends = std::move(set);
  entry.client_affinity = true;
  entry.affinity_timeout = timeout;
  publish(rig, entry);
}
constexpr bool kDrains = true;

const std::vector<Row>& of_clients() {
  static const std::vector<Row> all{
      // Source ranges.
      {"a client inside a service's source ranges",
       [](PathRig& rig) {
         serve(rig, {"10.1.0.0/28", "fd00::/8"});
       },
       false, tcp(at.client, at.remote_service), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a client outside of them", [](PathRig& rig) { serve(rig, {"10.1.0.64/26"}); }, false,
       tcp(at.client, at.remote_service), "", local({{"misses", 1}, {"drop source_range", 1}})},
      {"its second packet",
       [](PathRig& rig) {
         serve(rig, {"10.1.0.64/26"});
         rig.from_local(tcp(at.client, at.remote_service));
       },
       false, tcp(at.client, at.remote_service), "", local({{"misses", 1}, {"drop source_range", 1}})},
      {"a client of a family of which no range is said", [](PathRig& rig) { serve(rig, {"::/0"}); }, false,
       tcp(at.client, at.remote_service), "", local({{"misses", 1}, {"drop source_range", 1}})},
      {"a client inside the ranges that are denied", [](PathRig& rig) { serve(rig, {"10.1.0.10/32"}, true); }, false,
       tcp(at.client, at.remote_service), "", local({{"misses", 1}, {"drop source_range", 1}})},
      {"a client outside the ranges that are denied", [](PathRig& rig) { serve(rig, {"10.1.0.11/32"}, true); }, false,
       tcp(at.client, at.remote_service), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a client like another one that is inside",
       [](PathRig& rig) {
         endpoint(rig, Actors::ip("10.1.0.70"), 1, kClientIdentity);
         serve(rig, {"10.1.0.10/32"});
         for (std::uint16_t port = 1000; port < 1003; ++port) {
           send(rig, false, tcp({at.client.address, port}, at.remote_service));
         }
       },
       false, tcp({Actors::ip("10.1.0.70"), 1003}, at.remote_service), "",
       local({{"misses", 1}, {"drop source_range", 1}})},
      {"a client that leaves the ranges during its connection",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.remote_service));
         serve(rig, {"10.1.0.64/26"});
       },
       false, tcp(at.client, at.remote_service, kAck), "", local({{"hits", 1}, {"drop source_range", 1}})},
      {"a client that stays inside other ranges",
       [](PathRig& rig) {
         send(rig, false, tcp(at.client, at.remote_service));
         serve(rig, {"10.1.0.0/16"});
       },
       false, tcp(at.client, at.remote_service, kAck), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"hits", 1}, {"revalidations", 1}}))},
      {"a client's own pod address beside the service", [](PathRig& rig) { serve(rig, {"10.1.0.64/26"}); }, false,
       tcp(at.client, at.west), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      // Backends of one side only.
      {"a client of another cluster gets what such clients get",
       [](PathRig& rig) {
         FrontendEntry entry = entry_of(at.remote_service, IpProtocol::kTcp, 1,
                                        {backend(1, at.west, 2), backend(2, at.local_backend, 1)});
         auto own = std::make_shared<BackendSet>(*entry.backends);
         own->ring.assign(251, 0);
         auto fabric = std::make_shared<BackendSet>(*entry.backends);
         fabric->ring.assign(251, 1);
         entry.backends = own;
         entry.from_fabric = fabric;
         publish(rig, entry);
         const Outcome ours = rig.from_local(tcp(at.client, at.remote_service));
         ASSERT_EQ(ours.out.size(), 1u) << ours.text();
         EXPECT_EQ(ours.out.front().packet.text(), tunnel(sent(at.client, at.west), kClientIdentity));
       },
       true, tcp(at.north, at.remote_service).in_tunnel(at.north_gateway, at.gateway, kNorthIdentity),
       sent(at.north, at.local_backend), to_local(tunnelled({{"misses", 1}, {"created", 1}}))},
      // A backend is a client of its own service.
      {"a backend that its service sends to itself, where policy denies it everything",
       [](PathRig& rig) {
         PolicyDelta policy;
         policy.egress(kLocalBackendIdentity, enforced()).ingress(kLocalBackendIdentity, enforced());
         publish(rig, policy);
       },
       false, tcp({at.local_backend.address, 40000}, at.local_service), sent({at.translation, 40000}, at.local_backend),
       to_local(local({{"misses", 1}, {"created", 1}}))},
      {"its answer to itself",
       [](PathRig& rig) {
         send(rig, false, tcp({at.local_backend.address, 40000}, at.local_service));
       },
       false, tcp(at.local_backend, {at.translation, 40000}, kSynAck),
       sent(at.local_service, {at.local_backend.address, 40000}), to_local(local({{"hits", 1}}))},
      {"a backend that its service sends to itself, by the port that it serves",
       [](PathRig& rig) {
         frontend(rig, {Actors::ip("10.200.0.20"), 53}, IpProtocol::kUdp, 20,
                  {backend(20, {at.local_backend.address, 40000}, 1)});
       },
       false, udp({at.local_backend.address, 40000}, {Actors::ip("10.200.0.20"), 53}),
       sent({at.translation, 40000}, {at.local_backend.address, 40000}, 17),
       to_local(local({{"misses", 1}, {"created", 1}}))},
  };
  return all;
}

const std::vector<Row>& of_affinity() {
  static const std::vector<Row> all{
      // Session affinity.
      {"a client of a service with session affinity", [](PathRig& rig) { sticky(rig, kOtherBackend); }, false,
       tcp(at.client, at.remote_service), tunnel(sent(at.client, kOtherBackend), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"its next connection, when the ring has moved",
       [](PathRig& rig) {
         sticky(rig, at.west);
         send(rig, false, tcp({at.client.address, 1000}, at.remote_service));
         sticky(rig, kOtherBackend);
       },
       false, tcp(at.client, at.remote_service), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"after its time",
       [](PathRig& rig) {
         sticky(rig, at.west);
         send(rig, false, tcp({at.client.address, 1000}, at.remote_service));
         sticky(rig, kOtherBackend, false, Seconds{0});
       },
       false, tcp(at.client, at.remote_service), tunnel(sent(at.client, kOtherBackend), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"when its backend takes no new connections",
       [](PathRig& rig) {
         sticky(rig, at.west);
         send(rig, false, tcp({at.client.address, 1000}, at.remote_service));
         sticky(rig, kOtherBackend, kDrains);
       },
       false, tcp(at.client, at.remote_service), tunnel(sent(at.client, kOtherBackend), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"the established one then",
       [](PathRig& rig) {
         sticky(rig, at.west);
         send(rig, false, tcp(at.client, at.remote_service));
         sticky(rig, kOtherBackend, kDrains);
       },
       false, tcp(at.client, at.remote_service, kAck), tunnel(sent(at.client, at.west), kClientIdentity),
       to_fabric(local({{"hits", 1}, {"revalidations", 1}}))},
      {"after that, when its first backend is back",
       [](PathRig& rig) {
         sticky(rig, at.west);
         send(rig, false, tcp({at.client.address, 1000}, at.remote_service));
         sticky(rig, kOtherBackend, kDrains);
         send(rig, false, tcp({at.client.address, 1001}, at.remote_service));
         sticky(rig, at.west);
       },
       false, tcp(at.client, at.remote_service), tunnel(sent(at.client, kOtherBackend), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
      {"a client like it",
       [](PathRig& rig) {
         endpoint(rig, Actors::ip("10.1.0.70"), 1, kClientIdentity);
         sticky(rig, at.west);
         send(rig, false, tcp({at.client.address, 1000}, at.remote_service));
         sticky(rig, kOtherBackend, kDrains);
       },
       false, tcp({Actors::ip("10.1.0.70"), 1000}, at.remote_service),
       tunnel(sent({Actors::ip("10.1.0.70"), 1000}, kOtherBackend), kClientIdentity),
       to_fabric(local({{"misses", 1}, {"created", 1}}))},
  };
  return all;
}

TEST(ServiceRows, EachClientIsServedOrRefused) { run_rows(of_clients()); }
TEST(ServiceRows, AClientKeepsItsBackend) { run_rows(of_affinity()); }

}  // namespace
}  // namespace isthmus::test
