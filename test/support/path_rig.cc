#include "test/support/path_rig.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/api/maglev.h"

namespace isthmus::test {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().text();
    std::abort();
  }
  return std::move(*result);
}

std::unique_ptr<MemoryDevice> memory_device(const char* name, const char* mac, Bytes mtu, const PathRig::Options& rig) {
  MemoryDeviceOptions options;
  options.name = name;
  options.mac = *MacAddress::parse(mac);
  options.mtu = mtu;
  options.lane_frames = rig.lane_frames;
  options.interface_index = rig.kernel_interface;
  options.shares_with_host = rig.shares_with_host;
  return must(MemoryDevice::create(options));
}

FrontendEntry frontend(const Endpoint& vip, std::uint32_t service, const std::vector<BackendEntry>& backends,
                       const std::vector<std::size_t>& accepting_new, IpProtocol protocol = IpProtocol::kTcp) {
  auto set = std::make_shared<BackendSet>();
  set->backends.assign(backends.begin(), backends.end());
  std::vector<MaglevBackend> ring;
  for (const std::size_t i : accepting_new) {
    ring.push_back({backends[i].address, backends[i].port, protocol, 100});
  }
  for (const std::uint16_t slot : maglev_ring(ring)) {
    set->ring.push_back(static_cast<std::uint16_t>(accepting_new[slot]));
  }
  FrontendEntry entry;
  entry.key = {Realm{0}, vip.address, protocol, L4Port{vip.port}};
  entry.service = ServiceId{service};
  entry.backends = std::move(set);
  return entry;
}

}  // namespace

BackendEntry backend(std::uint32_t id, const Endpoint& at, std::uint16_t cluster) {
  return {BackendId{id}, at.address, L4Port{at.port}, ClusterId{cluster}};
}

Output Outcome::only() const {
  EXPECT_EQ(out.size(), 1u) << text();
  return out.size() == 1 ? out.front() : Output{};
}

std::string Outcome::text() const {
  std::string s;
  for (const Output& o : out) {
    s += (o.underlay ? "underlay: " : "local: ") + o.packet.text() + "\n";
  }
  for (const ToHost& frame : host) {
    s += (frame.underlay ? "to the host, from the underlay: " : "to the host, from the local side: ") +
         dissect(frame.bytes).text() + "\n";
  }
  for (const auto& [name, count] : drops) {
    s += "drop " + name + " " + std::to_string(count) + "\n";
  }
  return s;
}

PathRig::PathRig(Options options) {
  EngineOptions& engine = options.engine;
  engine.drive_by_caller = !options.threads;
  engine.keep_state = !options.state.empty();
  engine.state_directory = options.state;
  numbers_ = options.numbers;
  engine.cluster = ClusterId{1};
  if (options.underlay == Family::kIpv6) {
    at.gateway = Actors::ip("2001:db8::1");
    at.west_gateway = Actors::ip("2001:db8::2"), at.west_other = Actors::ip("2001:db8::3");
    at.north_gateway = Actors::ip("2001:db8::4"), at.south_gateway = Actors::ip("2001:db8::5");
  }
  kind_ = options.kind;
  // What the test sets of it stays: an address of the other family, more ports.
  (at.gateway.is_ipv4() ? engine.tunnel.ipv4 : engine.tunnel.ipv6) = at.gateway;
  engine.tunnel.kind = kind_;
  engine.tunnel.ports[static_cast<std::size_t>(kind_)] = encapsulation_info(kind_).default_port;
  engine.underlay_device = DeviceId{0};
  engine.translation_ipv4 = at.translation;
  if (options.translation6) {
    engine.translation_ipv6 = at.translation6;
  }
  if (engine.connections == EngineOptions{}.connections) {
    engine.connections = 4096;
  }
  engine.frames = 1024;
  engine_ = must(Engine::create(engine));
  auto underlay = memory_device("underlay", "02:00:00:00:00:01", options.underlay_mtu, options);
  auto local = memory_device("local", "02:00:00:00:00:11", options.local_mtu, options);
  underlay_ = underlay.get();
  local_ = local.get();
  for (std::unique_ptr<MemoryDevice>* each : {&underlay, &local}) {
    must(engine_->add_device(options.around ? options.around(std::move(*each)) : std::move(*each)));
  }
  must(engine_->start());
  if (options.publish) {
    publish_fleet(options);
  }
}

void PathRig::publish_fleet(const Options& options) {
  underlay_hop_ = engine_->adjacency(DeviceId{0}, Actors::ip("192.0.2.254"));
  local_hop_ = engine_->adjacency(DeviceId{1}, Actors::ip("169.254.0.1"));
  if (options.resolve) {
    engine_->set_adjacency(underlay_hop_, MacAddress::parse("02:00:00:00:00:fe"));
    engine_->set_adjacency(local_hop_, MacAddress::parse("02:00:00:00:00:10"));
  }
  TableDelta delta;
  const auto peer = [&](PeerId id, std::uint16_t cluster, const IpAddress& underlay) {
    const L4Port port = encapsulation_info(kind_).default_port;
    delta.upsert_peers.push_back(
        {PeerId{id.value() + numbers_}, ClusterId{cluster}, underlay, port, underlay_hop_, true, kind_, kind_});
  };
  peer(kWestGateway, 2, at.west_gateway);
  peer(kWestOther, 2, at.west_other);
  peer(kNorthGateway, 3, at.north_gateway);
  peer(kSouthGateway, 4, at.south_gateway);
  for (const char* prefix : {"10.1.0.0/16", "fd00:1::/48"}) {
    const AdjacencyId hop = options.local_routes_on_link ? kNoAdjacency : local_hop_;
    if (!delta.local_routes) {
      delta.local_routes.emplace();
    }
    delta.local_routes->push_back({*Prefix::parse(prefix), DeviceId{1}, hop});
  }
  delta.upsert_frontends = {
      frontend(at.remote_service, 1, {backend(1, at.west, 2)}, {0}),
      frontend(at.local_service, 2, {backend(2, at.local_backend, 1)}, {0}),
      frontend(at.empty_service, 3, {}, {}),
      frontend(at.twin_service, 4, {backend(3, at.west, 2)}, {0}),
      frontend(at.service6, 5, {backend(4, at.west6, 2)}, {0}),
  };
  for (FrontendEntry& entry : delta.upsert_frontends) {
    entry.service = ServiceId{entry.service.value() + numbers_};
  }
  must(engine_->publish(delta));
  set_clusters({kWestGateway});
  const std::vector<EndpointEntry> endpoints{
      {Realm{0}, at.client.address, ClusterId{1}, Identity{kClientIdentity}, kNoPeer},
      {Realm{0}, at.client6.address, ClusterId{1}, Identity{kClientIdentity}, kNoPeer},
      {Realm{0}, at.local_backend.address, ClusterId{1}, Identity{kLocalBackendIdentity}, kNoPeer},
      {Realm{0}, at.west.address, ClusterId{2}, Identity{kWestIdentity}, kNoPeer},
      {Realm{0}, at.west6.address, ClusterId{2}, Identity{kWestIdentity}, kNoPeer},
      {Realm{0}, at.north.address, ClusterId{3}, Identity{kNorthIdentity}, kNoPeer},
  };
  engine_->upsert_endpoints(endpoints);
}

void PathRig::set_clusters(const std::vector<PeerId>& west_gateways, bool west_linked) {
  TableDelta delta;
  const auto prefixes = [](const char* v4, const char* v6) {
    return std::vector<Prefix>{*Prefix::parse(v4), *Prefix::parse(v6)};
  };
  delta.clusters = {
      {ClusterId{1}, true, true, prefixes("10.1.0.0/16", "fd00:1::/48"), {}},
      {ClusterId{2}, false, west_linked, prefixes("10.2.0.0/16", "fd00:2::/48"), west_gateways},
      {ClusterId{3}, false, true, prefixes("10.3.0.0/16", "fd00:3::/48"), {kNorthGateway}},
      {ClusterId{4}, false, false, prefixes("10.4.0.0/16", "fd00:4::/48"), {kSouthGateway}},
      {ClusterId{5}, false, true, prefixes("10.5.0.0/16", "fd00:5::/48"), {}},
  };
  for (ClusterEntry& cluster : *delta.clusters) {
    for (PeerId& gateway : cluster.gateways) {
      gateway = PeerId{gateway.value() + numbers_};
    }
  }
  must(engine_->publish(delta));
}

void PathRig::set_backends(const Endpoint& vip, std::uint32_t service, const std::vector<BackendEntry>& backends,
                           const std::vector<std::size_t>& accepting_new, IpProtocol protocol) {
  TableDelta delta;
  delta.upsert_frontends = {frontend(vip, service, backends, accepting_new, protocol)};
  must(engine_->publish(delta));
}

void PathRig::remove_service(const Endpoint& vip) {
  TableDelta delta;
  delta.remove_frontends = {{Realm{0}, vip.address, IpProtocol::kTcp, L4Port{vip.port}}};
  must(engine_->publish(delta));
}

PacketSpec PathRig::tunnelled(PacketSpec inner, const IpAddress& from, std::uint32_t vni) const {
  inner.in_tunnel(from, at.gateway, vni);
  return kind_ == EncapsulationKind::kGeneve ? inner.as_geneve() : inner;
}

Outcome PathRig::send(MemoryDevice& device, const FrameBytes& bytes, const PacketSpec* spec) {
  FrameBytes frame = bytes;
  if (device.shares_with_host() && spec != nullptr) {
    const MacAddress mac = device.mac();
    std::copy(mac.bytes.begin(), mac.bytes.end(), frame.begin());
  }
  EXPECT_TRUE(device.inject(frame));
  Outcome outcome = idle();
  if (::testing::Test::HasFailure() && spec != nullptr) {
    ::testing::Test::RecordProperty("scapy", spec->scapy());
  }
  return outcome;
}

Outcome PathRig::idle(unsigned rounds) {
  const NamedCounts before = named_counts(counters());
  for (unsigned i = 0; i < rounds; ++i) {
    engine_->run_round(WorkerId{0});
  }
  Outcome outcome;
  for (MemoryDevice* device : {underlay_, local_}) {
    while (auto frame = device->take_host()) {
      outcome.host.push_back({device == underlay_, *std::move(frame)});
    }
    while (auto frame = device->take()) {
      outcome.out.push_back({device == underlay_, *frame, dissect(*frame)});
      EXPECT_TRUE(outcome.out.back().packet.errors.empty()) << outcome.out.back().packet.text();
    }
  }
  outcome.counted = growth(before, named_counts(counters()));
  for (const auto& [name, count] : outcome.counted) {
    if (name.starts_with(kDropPrefix)) {
      outcome.drops[name.substr(kDropPrefix.size())] = count;
    }
  }
  return outcome;
}

std::vector<FlowRecord> PathRig::flows() const {
  std::vector<FlowRecord> all;
  engine_->visit_flows([&](const FlowRecord& record) {
    all.push_back(record);
    return true;
  });
  return all;
}

}  // namespace isthmus::test
