#include "test/fuzz/sequence/fleet.h"

#include <algorithm>

#include "test/support/boot_clock.h"

namespace isthmus::test {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint32_t kPodIdentity = 1 << 16 | 500;
constexpr MacAddress kHopMac{{0x02, 0, 0, 0, 0, 0x42}};

struct Variant {
  EncapsulationKind kind;
  Family underlay;
  bool on_link, translation6;
  MidstreamPolicy midstream;
  std::uint16_t last_port;
  std::uint32_t connections, half_open;
};
constexpr auto kVxlan = EncapsulationKind::kVxlan, kGeneve = EncapsulationKind::kGeneve;
constexpr auto kLoose = MidstreamPolicy::kLoose, kDrop = MidstreamPolicy::kDrop;
constexpr std::array<Variant, Fleet::kVariants> kRows{{
    {kVxlan, Family::kIpv4, false, true, kLoose, 40'999, 1024, 512},
    {kGeneve, Family::kIpv4, true, true, kLoose, 40'007, 1024, 1024},
    {kVxlan, Family::kIpv6, false, true, kDrop, 40'999, 1024, 0},
    {kGeneve, Family::kIpv6, true, true, kLoose, 40'007, 1024, 1024},
    {kVxlan, Family::kIpv4, true, true, kLoose, 40'007, 128, 128},
    {kGeneve, Family::kIpv4, false, false, kDrop, 40'999, 256, 16},
    {kVxlan, Family::kIpv6, true, false, kLoose, 40'999, 64, 64},
    {kVxlan, Family::kIpv4, false, true, kLoose, 40'001, 256, 256},
}};

// Starts the clock of the gateway that is about to be made.
PathRig::Options options_of(unsigned number) {
  set_boot_clock(Nanoseconds{1000 * kSecond});
  const Variant& variant = kRows[number];
  PathRig::Options options;
  options.engine.connections = variant.connections;
  options.engine.half_open_limit = variant.half_open;
  options.engine.endpoints = 64;
  options.engine.fragments = 64;
  options.engine.translation_first = 40'000;
  options.engine.translation_last = variant.last_port;
  options.engine.midstream = variant.midstream;
  options.engine.tunnel.ports = {L4Port{8472}, L4Port{6081}};
  options.kind = variant.kind;
  options.underlay = variant.underlay;
  options.local_routes_on_link = variant.on_link;
  options.translation6 = variant.translation6;
  options.lane_frames = 256;
  return options;
}

}  // namespace

Fleet::Fleet(unsigned variant) : variant_(variant), rig_(options_of(variant)) {
  underlay_hop_ = rig_.engine().adjacency(DeviceId{0}, Actors::ip("192.0.2.254"));
  other_hop_ = rig_.engine().adjacency(DeviceId{0}, Actors::ip("192.0.2.253"));
  local_hop_ = rig_.engine().adjacency(DeviceId{1}, Actors::ip("169.254.0.1"));
  const bool v4 = rig_.at.gateway.is_ipv4();
  const EncapsulationKind kind = kRows[variant].kind;
  const EncapsulationKind other = kind == kVxlan ? kGeneve : kVxlan;
  const IpAddress node = Actors::ip(v4 ? "192.0.2.50" : "2001:db8::50");
  const IpAddress west_node = Actors::ip(v4 ? "192.0.2.60" : "2001:db8::60");
  add_peer(1, 2, rig_.at.west_gateway, true, kind);
  add_peer(2, 2, rig_.at.west_other, true, kind);
  add_peer(3, 3, rig_.at.north_gateway, true, kind);
  add_peer(4, 4, rig_.at.south_gateway, true, kind);
  add_peer(9, 1, node, false, other);
  add_peer(10, 2, west_node, false, kind);
  senders_.push_back(Actors::ip(v4 ? "192.0.2.99" : "2001:db8::99"));
  make_actors();
  make_services();
  changed_ = true;
  restore();
}

void Fleet::add_peer(std::uint32_t id, std::uint16_t cluster, const IpAddress& at, bool gateway,
                     EncapsulationKind kind) {
  peers_[id] = {PeerId{id}, ClusterId{cluster}, at, encapsulation_info(kind).default_port, underlay_hop_, gateway, kind,
                kind};
  senders_.push_back(at);
  ends_.insert(at);
}

void Fleet::make_actors() {
  const Actors& at = rig_.at;
  const auto end = [](const char* text, std::uint16_t port) { return Endpoint{Actors::ip(text), port}; };
  actors_ = {
      {at.client, Home::kLocal, kClientIdentity},
      {at.local_backend, Home::kLocal, kLocalBackendIdentity},
      {at.west, Home::kWest, kWestIdentity},
      {end("10.2.0.11", 9000), Home::kWest, kWestIdentity, false},
      {at.north, Home::kNorth, kNorthIdentity},
      {at.south, Home::kSouth, 4 << 16 | 300, false},
      {end("10.5.0.9", 7000), Home::kNative, 5 << 16 | 300},
      {end("10.1.5.9", 7000), Home::kNode, kPodIdentity},
      {end("203.0.113.9", 443), Home::kOutside, 2, false},
      {at.client6, Home::kLocal, kClientIdentity},
      {end("fd00:1::20", 8080), Home::kLocal, kLocalBackendIdentity},
      {at.west6, Home::kWest, kWestIdentity},
      {end("fd00:2::11", 9000), Home::kWest, kWestIdentity, false},
      {end("fd00:3::10", 9000), Home::kNorth, kNorthIdentity},
      {end("fd00:5::9", 7000), Home::kNative, 5 << 16 | 300},
      {end("fd00:1:0:5::9", 7000), Home::kNode, kPodIdentity},
  };
}

void Fleet::make_services() {
  const Actors& at = rig_.at;
  const auto end = [](const char* text, std::uint16_t port) { return Endpoint{Actors::ip(text), port}; };
  const Endpoint mixed = end("10.200.0.20", 80), mixed6 = end("fd00:ff::20", 80);
  services_ = {
      {at.remote_service, IpProtocol::kTcp, 1, {2}},
      {at.local_service, IpProtocol::kTcp, 2, {1}},
      {at.empty_service, IpProtocol::kTcp, 3, {}},
      {at.twin_service, IpProtocol::kTcp, 4, {2, 1}},
      {mixed, IpProtocol::kTcp, 6, {2, 1, 4, 6}},
      {{mixed.address, 53}, IpProtocol::kUdp, 7, {1, 2, 7}},
      {end("10.200.0.21", 100), IpProtocol::kIcmp, 8, {1, 2}, 100},
      {{at.west.address, 9000}, IpProtocol::kTcp, 9, {4}, 0, false},
      {{at.local_backend.address, 8080}, IpProtocol::kTcp, 10, {2}, 0, false},
      {at.service6, IpProtocol::kTcp, 5, {11}},
      {mixed6, IpProtocol::kTcp, 11, {10, 11, 14}},
      {{mixed6.address, 53}, IpProtocol::kUdp, 12, {10, 11}},
      {end("fd00:ff::21", 100), IpProtocol::kIcmpv6, 13, {10, 11}, 100},
      {{at.west6.address, 9000}, IpProtocol::kTcp, 14, {13}, 0, false},
  };
}

IpAddress Fleet::sender_of(Home home) const {
  switch (home) {
    case Home::kWest:
      return rig_.at.west_gateway;
    case Home::kNorth:
      return rig_.at.north_gateway;
    case Home::kSouth:
      return rig_.at.south_gateway;
    default:
      return peers_.at(9).underlay;
  }
}

EncapsulationKind Fleet::kind_from(const IpAddress& sender) const {
  for (const auto& [id, peer] : present_peers_) {
    if (peer.underlay == sender) {
      return peer.from_kind;
    }
  }
  return kRows[variant_].kind;
}

const Actor* Fleet::actor_at(const IpAddress& address) const {
  const auto found =
      std::find_if(actors_.begin(), actors_.end(), [&](const Actor& a) { return a.at.address == address; });
  return found == actors_.end() ? nullptr : &*found;
}

Home Fleet::home_of(const IpAddress& address) const {
  const Actor* actor = actor_at(address);
  return actor != nullptr ? actor->home : Home::kOutside;
}

std::uint32_t Fleet::vni_of(const IpAddress& address) const {
  const auto published = identities_.find(address);
  const Actor* actor = actor_at(address);
  const std::uint32_t identity = published != identities_.end() ? published->second
                                 : actor != nullptr             ? actor->identity
                                                                : 2;
  return identity >> 24 != 0 ? (actor != nullptr ? actor->identity : 2) : identity;
}

void Fleet::pass(Nanoseconds time) { set_boot_clock(Nanoseconds{boot_clock().value() + time.value()}); }

void Fleet::publish(const TableDelta& delta) {
  if (!rig_.engine().publish(delta)) {
    __builtin_trap();
  }
}

FrontendEntry Fleet::frontend(const Service& service, std::span<const std::uint8_t> backends,
                              std::uint32_t accepting) const {
  constexpr std::size_t kRing = 7;
  auto set = std::make_shared<BackendSet>();
  std::vector<std::uint16_t> on_ring;
  for (const std::uint8_t number : backends) {
    const Actor& actor = actors_[number];
    const std::array<std::uint16_t, 7> clusters{1, 1, 5, 2, 3, 4, 6};
    Endpoint at = actor.at;
    at.port = service.backend_port != 0 ? service.backend_port : at.port;
    const std::uint16_t cluster = clusters[static_cast<std::size_t>(actor.home)];
    set->backends.push_back(backend(service.number * 16 + number, at, cluster));
    if ((accepting >> (set->backends.size() - 1) & 1) != 0) {
      on_ring.push_back(static_cast<std::uint16_t>(set->backends.size() - 1));
    }
  }
  for (std::size_t i = 0; i < kRing && !on_ring.empty(); ++i) {
    set->ring.push_back(on_ring[i % on_ring.size()]);
  }
  FrontendEntry entry;
  entry.key = {Realm{0}, service.vip.address, service.protocol, L4Port{service.vip.port}};
  entry.service = ServiceId{service.number};
  entry.backends = std::move(set);
  return entry;
}

std::vector<LocalRoute> Fleet::routes(std::uint32_t without) const {
  const AdjacencyId hop = kRows[variant_].on_link != ((without & 8) != 0) ? kNoAdjacency : local_hop_;
  const AdjacencyId native = (without & 16) != 0 ? kNoAdjacency : underlay_hop_;
  std::vector<LocalRoute> all;
  const auto add = [&](std::uint32_t bit, const char* v4, const char* v6, LocalRoute route) {
    for (const char* prefix : {v4, v6}) {
      route.prefix = *Prefix::parse(prefix);
      if ((without & bit) == 0) {
        all.push_back(route);
      }
    }
  };
  add(1, "10.1.0.0/16", "fd00:1::/48", {{}, DeviceId{1}, hop});
  add(2, "10.1.5.0/24", "fd00:1:0:5::/64", {{}, DeviceId{1}, hop, PeerId{9}});
  add(4, "10.5.0.0/16", "fd00:5::/48", {{}, DeviceId{0}, native, kNoPeer, true});
  return all;
}

std::vector<ClusterEntry> Fleet::clusters(std::uint32_t choice) const {
  const auto prefixes = [](const char* v4, const char* v6) {
    return std::vector<Prefix>{*Prefix::parse(v4), *Prefix::parse(v6)};
  };
  std::vector<PeerId> west, north;
  if ((choice & 1) == 0) {
    west.push_back(PeerId{1});
  }
  if ((choice & 2) != 0) {
    west.push_back(PeerId{2});
  }
  if ((choice & 4) == 0) {
    north.push_back(PeerId{3});
  }
  const bool narrow = (choice & 16) != 0;
  return {
      {ClusterId{1}, true, true, prefixes("10.1.0.0/16", "fd00:1::/48"), {}},
      {ClusterId{2}, false, (choice & 8) == 0,
       narrow ? prefixes("10.2.1.0/24", "fd00:2:1::/64") : prefixes("10.2.0.0/16", "fd00:2::/48"), west},
      {ClusterId{3}, false, true, prefixes("10.3.0.0/16", "fd00:3::/48"), north},
      {ClusterId{4}, false, (choice & 32) != 0, prefixes("10.4.0.0/16", "fd00:4::/48"), {PeerId{4}}},
      {ClusterId{5}, false, true, prefixes("10.5.0.0/16", "fd00:5::/48"), {}},
  };
}

void Fleet::publish_tables() {
  TableDelta delta;
  for (auto& [id, peer] : peers_) {
    peer.adjacency = underlay_hop_;
    delta.upsert_peers.push_back(peer);
  }
  present_peers_ = peers_;
  delta.clusters = clusters(0);
  delta.local_routes = routes(0);
  for (const Service& service : services_) {
    if (service.published) {
      delta.upsert_frontends.push_back(frontend(service, service.backends, 0xff));
    } else {
      delta.remove_frontends.push_back({Realm{0}, service.vip.address, service.protocol, L4Port{service.vip.port}});
    }
  }
  delta.remove_policies = {Identity{kClientIdentity}, Identity{kLocalBackendIdentity}, Identity{kPodIdentity}};
  delta.policy_defaults.emplace();
  delta.cidr_identities.emplace();
  publish(delta);
}

void Fleet::publish_endpoints() {
  identities_.clear();
  for (const Actor& actor : actors_) {
    if (!actor.published) {
      rig_.engine().remove_endpoints(Realm{0}, {&actor.at.address, 1});
      continue;
    }
    const EndpointEntry entry{Realm{0}, actor.at.address, ClusterId{static_cast<std::uint16_t>(actor.identity >> 16)},
                              Identity{actor.identity}, kNoPeer};
    rig_.engine().upsert_endpoints({&entry, 1});
    identities_[actor.at.address] = actor.identity;
  }
}

// Idle rounds: the first lets connections expire and waiting frames go, the others free what these held.
void Fleet::restore() {
  constexpr unsigned kRounds = 3;
  constexpr std::uint64_t kLongerThanAnyTimeout = 9000;
  Engine& engine = rig_.engine();
  if (changed_) {
    publish_tables();
    publish_endpoints();
    rig_.underlay().set_mtu(Bytes{1500});
    rig_.local().set_mtu(Bytes{1450});
    static_cast<void>(engine.check_devices());
    for (const AdjacencyId hop : {underlay_hop_, other_hop_, local_hop_}) {
      engine.set_adjacency(hop, kHopMac);
    }
  }
  pass(Nanoseconds{kLongerThanAnyTimeout * kSecond});
  for (unsigned i = 0; i < kRounds; ++i) {
    engine.run_round(WorkerId{0});
  }
  for (const AdjacencyId neighbour : neighbours_) {
    engine.release_adjacency(neighbour);
  }
  neighbours_.clear();
  engine.age_adjacencies(Seconds{1});
  static_cast<void>(engine.poll_events());
  std::vector<FlowEvent> events;
  engine.poll_flow_events(events);
  for (MemoryDevice* device : {&rig_.underlay(), &rig_.local()}) {
    while (device->take()) {
    }
  }
  resolves_ = true;
  changed_ = false;
}

}  // namespace isthmus::test
