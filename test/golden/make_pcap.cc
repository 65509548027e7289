// Runs the whole path over memory devices, from two input capture files to two output capture files.
//   make_pcap STATE_DIRECTORY LOCAL_IN UNDERLAY_IN LOCAL_OUT UNDERLAY_OUT [ENCAPSULATION [UNDERLAY]]
//
// The gateway is that of cluster 1 (10.1.0.0/16, fd00:1::/48) at 192.0.2.1, or 2001:db8::1 with UNDERLAY 6. Its only
// peer is the gateway of cluster 2 (10.2.0.0/16, fd00:2::/48) at 192.0.2.2 or 2001:db8::2, in the same ENCAPSULATION:
// vxlan, which is the default, or geneve; none: native routing. There is one VIP per family, 10.200.0.10 and
// fd00:ff::a, on TCP and UDP port 80, with the backend 10.2.0.20 (fd00:2::20) port 8080. Connections are kept in
// STATE_DIRECTORY, so that a second run can forward their replies. Writes "<packets> sent" and one line "<reason>
// <packets>" per drop reason.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/api/engine.h"
#include "dataplane/api/tables.h"

namespace {

using namespace isthmus;  // NOLINT(google-build-using-namespace): a program of one file

constexpr ClusterId kLocalCluster{1}, kRemoteCluster{2};
constexpr PeerId kPeer{1};
constexpr ServiceId kService{1};
constexpr std::chrono::seconds kTimeout{20};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "make_pcap: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result.ok()) fail(result.error().text());
  return *std::move(result);
}

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }
Prefix prefix(const char* text) { return Prefix::parse(text).value(); }
MacAddress mac(const char* text) { return MacAddress::parse(text).value(); }

DeviceId add_device(Engine& engine, const char* name, const char* own_mac, std::uint32_t mtu, const char* in,
                    const char* out) {
  return must(engine.add_device(
      must(open_memory({.name = name, .mac = mac(own_mac), .mtu = Bytes{mtu}, .pcap_in = in, .pcap_out = out}))));
}

AdjacencyId resolved(Engine& engine, DeviceId device, const char* next_hop, const char* at) {
  const AdjacencyId id = engine.adjacency(device, address(next_hop));
  engine.set_adjacency(id, mac(at));
  return id;
}

FrontendEntry frontend(const char* vip, const char* backend, IpProtocol protocol, std::uint32_t backend_id) {
  auto set = std::make_shared<BackendSet>();
  set->backends = {
      {.id = BackendId{backend_id}, .address = address(backend), .port = L4Port{8080}, .cluster = kRemoteCluster}};
  set->ring.assign(251, 0);
  return {.key = {.realm = {}, .vip = address(vip), .protocol = protocol, .port = L4Port{80}},
          .service = kService,
          .client_affinity = false,
          .backends = std::move(set)};
}

struct Fabric {
  EncapsulationKind kind = EncapsulationKind::kVxlan;
  bool ipv6 = false;
};

TableDelta tables(Engine& engine, DeviceId underlay, DeviceId local, const Fabric& fabric) {
  TableDelta delta;
  const AdjacencyId router = resolved(engine, underlay, "192.0.2.254", "02:00:00:00:0f:fe");
  const bool native = fabric.kind == EncapsulationKind::kNone;
  if (!native) {
    delta.upsert_peers = {{.id = kPeer,
                           .cluster = kRemoteCluster,
                           .underlay = address(fabric.ipv6 ? "2001:db8::2" : "192.0.2.2"),
                           .udp_port = encapsulation_info(fabric.kind).default_port,
                           .adjacency = router,
                           .gateway = true,
                           .kind = fabric.kind,
                           .from_kind = fabric.kind}};
  }
  delta.clusters = std::vector<ClusterEntry>{{.id = kLocalCluster,
                                              .local = true,
                                              .linked = true,
                                              .prefixes = {prefix("10.1.0.0/16"), prefix("fd00:1::/48")},
                                              .gateways = {}},
                                             {.id = kRemoteCluster,
                                              .local = false,
                                              .linked = true,
                                              .prefixes = {prefix("10.2.0.0/16"), prefix("fd00:2::/48")},
                                              .gateways = {}}};
  if (!native) {
    delta.clusters->back().gateways = {kPeer};
  }
  const AdjacencyId node = resolved(engine, local, "10.1.0.1", "02:00:00:00:0a:01");
  delta.local_routes = std::vector<LocalRoute>{{.prefix = prefix("10.1.0.0/16"), .device = local, .next_hop = node},
                                               {.prefix = prefix("fd00:1::/48"), .device = local, .next_hop = node}};
  if (native) {
    for (const char* pods : {"10.2.0.0/16", "fd00:2::/48"}) {
      delta.local_routes->push_back({.prefix = prefix(pods), .device = underlay, .next_hop = router, .native = true});
    }
  }
  for (const IpProtocol protocol : {IpProtocol::kTcp, IpProtocol::kUdp}) {
    delta.upsert_frontends.push_back(frontend("10.200.0.10", "10.2.0.20", protocol, 1));
    delta.upsert_frontends.push_back(frontend("fd00:ff::a", "fd00:2::20", protocol, 2));
  }
  return delta;
}

std::vector<EndpointEntry> endpoints() {
  std::vector<EndpointEntry> list;
  const auto add = [&list](const char* text, ClusterId cluster, std::uint32_t number) {
    list.push_back({.realm = {},
                    .address = address(text),
                    .cluster = cluster,
                    .identity = Identity{(std::uint32_t{cluster.value()} << 16) + number},
                    .node = kNoPeer});
  };
  for (const char* client : {"10.1.0.10", "fd00:1::10"}) add(client, kLocalCluster, 1001);
  for (const char* backend : {"10.2.0.20", "fd00:2::20"}) add(backend, kRemoteCluster, 2001);
  return list;
}

// Waits until no counter has changed for 200 ms: everything queued has then been sent or dropped.
EngineCounters settle(const Engine& engine) {
  const auto deadline = std::chrono::steady_clock::now() + kTimeout;
  EngineCounters last = engine.counters();
  for (unsigned quiet = 0; quiet < 10 && std::chrono::steady_clock::now() < deadline;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const EngineCounters now = engine.counters();
    const bool changed = now.rx_packets != last.rx_packets || now.tx_packets != last.tx_packets;
    quiet = changed || now.rx_packets == 0 ? 0 : quiet + 1;
    last = now;
  }
  return last;
}

}  // namespace

int main(int argc, char** argv) {
  Fabric fabric;
  const auto kind = argc > 6 ? encapsulation_named(argv[6]) : std::optional(fabric.kind);
  if (argc < 6 || argc > 8 || !kind) {
    std::fprintf(stderr,
                 "usage: make_pcap STATE_DIRECTORY LOCAL_IN UNDERLAY_IN LOCAL_OUT UNDERLAY_OUT "
                 "[ENCAPSULATION [UNDERLAY]]\n");
    return 2;
  }
  fabric.kind = *kind;
  fabric.ipv6 = argc > 7 && std::string(argv[7]) == "6";
  EngineOptions options;
  options.name = "golden";
  options.state_directory = argv[1];
  options.connections = 4096;
  options.cluster = kLocalCluster;
  const bool native = fabric.kind == EncapsulationKind::kNone;
  options.tunnel =
      tunnel_end(address(fabric.ipv6 ? "2001:db8::1" : "192.0.2.1"), native ? EncapsulationKind::kVxlan : fabric.kind);
  options.translation_ipv4 = address("10.1.255.1");
  options.translation_ipv6 = address("fd00:1::ff:1");
  auto engine = must(Engine::create(options));
  const DeviceId underlay = add_device(*engine, "underlay", "02:00:00:00:00:01", 1500, argv[3], argv[5]);
  const DeviceId local = add_device(*engine, "local", "02:00:00:00:00:02", 1450, argv[2], argv[4]);
  engine->upsert_endpoints(endpoints());
  must(engine->start());
  must(engine->publish(tables(*engine, underlay, local, fabric)));
  const EngineCounters counters = settle(*engine);
  engine->stop();
  std::printf("%llu sent\n", static_cast<unsigned long long>(counters.tx_packets));
  for (const DropCount& drop : counters.drops) {
    if (drop.packets > 0) {
      std::printf("%s %llu\n", std::string(drop.name).c_str(), static_cast<unsigned long long>(drop.packets));
    }
  }
  return 0;
}
