#include "test/unit/xdp/differential/random_fleet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "dataplane/api/maglev.h"
#include "test/support/boot_clock.h"

namespace isthmus::test {
namespace {

constexpr std::uint32_t kFlowEntries = 1024, kPodsPerHome = 3;
constexpr std::uint32_t kWestFirst = 1, kWestSecond = 2, kNorth = 3, kSouth = 4, kOwnNode = 9, kRemoteNode = 10;

template <typename T>
T need(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().text();
    std::abort();
  }
  return *std::move(result);
}

MacAddress mac_of(std::uint8_t first, std::size_t number) {
  return {{2, first, 0, 0, 0, static_cast<std::uint8_t>(number)}};
}

IpAddress underlay_address(bool ipv4, std::uint32_t number) {
  return *IpAddress::parse((ipv4 ? "192.0.2." : "2001:db8::") + std::to_string(number));
}

std::vector<Prefix> prefixes_of(std::uint32_t cluster) {
  const std::string number = std::to_string(cluster);
  return {*Prefix::parse("10." + number + ".0.0/16"), *Prefix::parse("fd00:" + number + "::/48")};
}

struct HomeRow {
  PodHome home;
  std::uint16_t cluster;
  const char *ipv4, *ipv6;  // to which a number is appended
};
constexpr HomeRow kHomes[kPodHomes] = {
    {PodHome::kLocal, 1, "10.1.0.", "fd00:1::"},       {PodHome::kSecondDevice, 1, "10.1.6.", "fd00:1:0:6::"},
    {PodHome::kOwnNode, 1, "10.1.5.", "fd00:1:0:5::"}, {PodHome::kWest, 2, "10.2.0.", "fd00:2::"},
    {PodHome::kNorth, 3, "10.3.0.", "fd00:3::"},       {PodHome::kUnlinked, 4, "10.4.0.", "fd00:4::"},
    {PodHome::kNative, 5, "10.5.0.", "fd00:5::"},      {PodHome::kRemoteNode, 6, "10.6.0.", "fd00:6::"},
};

}  // namespace

RandomFleet::RandomFleet(std::uint64_t seed, bool shares_with_host)
    : seed_(seed), kernel_flows_(need(open_kernel_flows({kFlowEntries}))) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  set_boot_clock(Nanoseconds{1000 * kSecond});
  Dice dice(seed);
  on_link_ = dice.one_in(3);
  with_policies_ = !dice.one_in(3);
  EngineOptions options;
  options.drive_by_caller = true;
  options.keep_state = false;
  options.cluster = ClusterId{1};
  options.underlay_device = DeviceId{0};
  options.connections = options.half_open_limit = 4096;
  options.frames = 1024;
  options.translation_ipv4 = IpAddress::parse("10.1.255.1");
  options.translation_ipv6 = IpAddress::parse("fd00:1::ff:1");
  options.hand_down.flows = kernel_flows_;
  options.hand_down.packets_per_second = 1;
  choose_underlay(dice, options);
  engine_ = need(Engine::create(options));
  add_devices(dice, shares_with_host);
  need(engine_->start());
  for (const char* hop : {"192.0.2.254", "192.0.2.253"}) {
    underlay_hops_.push_back(engine_->adjacency(DeviceId{0}, *IpAddress::parse(hop)));
    engine_->set_adjacency(underlay_hops_.back(), mac_of(0xe, underlay_hops_.size()));
  }
  for (std::uint8_t id = 1; id < kDevices; ++id) {
    local_hops_.push_back(engine_->adjacency(DeviceId{id}, *IpAddress::parse("169.254.0.1")));
    engine_->set_adjacency(local_hops_.back(), mac_of(0xd, id));
  }
  add_peers(dice);
  add_pods();
  add_services(dice);
  publish_tables(dice);
}

RandomFleet::~RandomFleet() = default;

const std::vector<EncapsulationKind>& RandomFleet::tunnel_kinds() {
  static const std::vector<EncapsulationKind> all = [] {
    std::vector<EncapsulationKind> kinds;
    for (const EncapsulationInfo& info : encapsulations()) {
      if (info.header_bytes != 0) {
        kinds.push_back(info.kind);
      }
    }
    return kinds;
  }();
  return all;
}

// Either family, or both, of which peers then have one each.
void RandomFleet::choose_underlay(Dice& dice, EngineOptions& options) {
  const std::size_t families = dice.below(3);
  if (families != 1) {
    options.tunnel.ipv4 = underlay_address(true, 1);
  }
  if (families != 0) {
    options.tunnel.ipv6 = underlay_address(false, 1);
  }
  const auto& kinds = tunnel_kinds();
  options.tunnel.kind = dice.of(kinds);
  for (const EncapsulationKind kind : kinds) {
    options.tunnel.ports[static_cast<std::size_t>(kind)] = encapsulation_info(kind).default_port;
  }
  tunnel_ = options.tunnel;
}

void RandomFleet::add_devices(Dice& dice, bool shares_with_host) {
  constexpr std::uint32_t kMtus[] = {1400, 1450, 1500, 1500, 2000, 3000};
  const bool fragments = dice.one_in(2);
  for (std::uint8_t id = 0; id < kDevices; ++id) {
    MemoryDeviceOptions options;
    options.name = "device" + std::to_string(id);
    options.mac = mac_of(0xa, id);
    options.mtu = Bytes{dice.of(kMtus)};
    options.lane_frames = 64;
    options.shares_with_host = shares_with_host;
    auto device = std::make_unique<SteeredDevice>(need(MemoryDevice::create(options)), *kernel_flows_, fragments);
    devices_[id] = device.get();
    need(engine_->add_device(std::move(device)));
  }
}

void RandomFleet::add_peers(Dice& dice) {
  const auto& kinds = tunnel_kinds();
  const auto add = [&](std::uint32_t id, std::uint16_t cluster, bool gateway) {
    const bool both = !tunnel_.ipv4.is_unspecified() && !tunnel_.ipv6.is_unspecified();
    const bool ipv4 = both ? dice.one_in(2) : !tunnel_.ipv4.is_unspecified();
    PeerEntry peer;
    peer.id = PeerId{id}, peer.cluster = ClusterId{cluster};
    peer.underlay = underlay_address(ipv4, 10 + id);
    peer.kind = dice.of(kinds), peer.from_kind = dice.of(kinds);
    peer.udp_port = encapsulation_info(peer.kind).default_port;
    peer.adjacency = dice.of(underlay_hops_);
    peer.gateway = gateway;
    peers_[id] = peer;
  };
  add(kWestFirst, 2, true), add(kWestSecond, 2, true), add(kNorth, 3, true), add(kSouth, 4, true);
  add(kOwnNode, 1, false), add(kRemoteNode, 6, false);
}

void RandomFleet::add_pods() {
  for (const HomeRow& row : kHomes) {
    for (std::uint32_t number = 0; number < kPodsPerHome; ++number) {
      for (const char* start : {row.ipv4, row.ipv6}) {
        pods_.push_back(
            {*IpAddress::parse(start + std::to_string(10 + number)), row.home, ClusterId{row.cluster},
             std::uint32_t{row.cluster} << 16 | (300 + 10 * static_cast<std::uint32_t>(row.home) + number)});
      }
    }
  }
}

void RandomFleet::add_services(Dice& dice) {
  constexpr std::uint32_t kServices = 12;
  for (std::uint32_t number = 1; number <= kServices; ++number) {
    FleetService service;
    const bool ipv4 = number % 2 == 0;
    service.vip = {*IpAddress::parse((ipv4 ? "10.200.0." : "fd00:ff::") + std::to_string(number)), 80};
    service.protocol = number % 3 == 0 ? IpProtocol::kUdp : IpProtocol::kTcp;
    service.number = number;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::size_t pod = dice.below(pods_.size());
      if (pods_[pod].address.is_ipv4() == ipv4 && pods_[pod].home != PodHome::kUnlinked) {
        service.backends.push_back(pod);
      }
    }
    services_.push_back(std::move(service));
  }
}

FrontendEntry RandomFleet::frontend(const FleetService& service, Dice& dice) const {
  auto set = std::make_shared<BackendSet>();
  std::vector<MaglevBackend> ring;
  for (const std::size_t pod : service.backends) {
    const auto port = static_cast<std::uint16_t>(8000 + pod);
    set->backends.push_back({BackendId{service.number * 64 + static_cast<std::uint32_t>(pod)}, pods_[pod].address,
                             L4Port{port}, pods_[pod].cluster});
    ring.push_back({pods_[pod].address, L4Port{port}, service.protocol, 100});
  }
  if (!ring.empty() && !dice.one_in(16)) {
    set->ring = maglev_ring(ring);
  }
  FrontendEntry entry;
  entry.key = {Realm{0}, service.vip.address, service.protocol, L4Port{service.vip.port}};
  entry.service = ServiceId{service.number};
  entry.backends = std::move(set);
  return entry;
}

std::vector<ClusterEntry> RandomFleet::clusters() const {
  std::vector<ClusterEntry> all;
  for (std::uint16_t id = 1; id <= 6; ++id) {
    ClusterEntry cluster{ClusterId{id}, id == 1, id != 4, prefixes_of(id), {}};
    for (const auto& [number, peer] : peers_) {
      if (peer.gateway && peer.cluster == cluster.id) {
        cluster.gateways.push_back(peer.id);
      }
    }
    all.push_back(std::move(cluster));
  }
  return all;
}

std::vector<LocalRoute> RandomFleet::routes() const {
  std::vector<LocalRoute> all;
  const auto add = [&](const char* ipv4, const char* ipv6, LocalRoute route) {
    for (const char* prefix : {ipv4, ipv6}) {
      route.prefix = *Prefix::parse(prefix);
      all.push_back(route);
    }
  };
  const auto local = [&](std::uint8_t id) { return on_link_ ? kNoAdjacency : local_hops_[id - 1u]; };
  add("10.1.0.0/16", "fd00:1::/48", {{}, DeviceId{1}, local(1)});
  add("10.1.6.0/24", "fd00:1:0:6::/64", {{}, DeviceId{2}, local(2)});
  add("10.1.5.0/24", "fd00:1:0:5::/64", {{}, DeviceId{1}, local(1), PeerId{kOwnNode}});
  add("10.5.0.0/16", "fd00:5::/48", {{}, DeviceId{0}, underlay_hops_.front(), kNoPeer, true});
  return all;
}

void RandomFleet::publish(const TableDelta& delta) { need(engine_->publish(delta)); }

void RandomFleet::publish_tables(Dice& dice) {
  TableDelta delta;
  for (const auto& [number, peer] : peers_) {
    delta.upsert_peers.push_back(peer);
  }
  delta.clusters = clusters();
  delta.local_routes = routes();
  for (const FleetService& service : services_) {
    delta.upsert_frontends.push_back(frontend(service, dice));
  }
  if (with_policies_) {
    choose_policies(dice, delta);
  }
  publish(delta);
  for (const FleetPod& pod : pods_) {
    const PeerId node = pod.home == PodHome::kRemoteNode ? PeerId{kRemoteNode} : kNoPeer;
    const EndpointEntry entry{Realm{0}, pod.address, pod.cluster, Identity{pod.identity}, node};
    engine_->upsert_endpoints({&entry, 1});
  }
}

std::vector<SentFrame> RandomFleet::engine_turn(DeviceId device, const FrameBytes& frame) {
  EXPECT_TRUE(devices_[device.value()]->memory().inject(frame)) << frame.size() << " bytes";
  return engine_turn();
}

std::vector<SentFrame> RandomFleet::engine_turn() {
  engine_->run_round(WorkerId{0});
  std::vector<SentFrame> sent;
  for (std::uint8_t id = 0; id < kDevices; ++id) {
    while (auto frame = devices_[id]->memory().take()) {
      sent.push_back({DeviceId{id}, *std::move(frame)});
    }
  }
  return sent;
}

void RandomFleet::serve_neighbours() {
  const EngineEvents events = engine_->poll_events();
  for (const NeighbourRequest& request : events.neighbours) {
    const AdjacencyId id = engine_->adjacency(request.device, request.address);
    engine_->set_adjacency(id, mac_of(0xc, id.value()));
  }
  std::vector<FlowEvent> flow_events;
  engine_->poll_flow_events(flow_events);
}

void RandomFleet::pass(Nanoseconds time) { set_boot_clock(Nanoseconds{boot_clock().value() + time.value()}); }

const FleetPod* RandomFleet::pod_at(const IpAddress& address) const {
  const auto found = std::find_if(pods_.begin(), pods_.end(), [&](const FleetPod& p) { return p.address == address; });
  return found == pods_.end() ? nullptr : &*found;
}

const PeerEntry* RandomFleet::peer_at(const IpAddress& underlay) const {
  const auto found =
      std::find_if(peers_.begin(), peers_.end(), [&](const auto& each) { return each.second.underlay == underlay; });
  return found == peers_.end() ? nullptr : &found->second;
}

const PeerEntry* RandomFleet::sender_of(PodHome home, Dice& dice) const {
  switch (home) {
    case PodHome::kOwnNode:
      return &peers_.at(kOwnNode);
    case PodHome::kWest:
      return &peers_.at(dice.one_in(2) ? kWestFirst : kWestSecond);
    case PodHome::kNorth:
      return &peers_.at(kNorth);
    case PodHome::kUnlinked:
      return &peers_.at(kSouth);
    case PodHome::kRemoteNode:
      return &peers_.at(kRemoteNode);
    default:
      return nullptr;
  }
}

ArrivalShape::Tunnel RandomFleet::tunnel_of(const PeerEntry& peer, std::uint32_t vni) const {
  return {peer.underlay, tunnel_.address(peer.underlay.family()), peer.from_kind, tunnel_.port(peer.from_kind).value(),
          vni};
}

std::string RandomFleet::text() const {
  return "fleet " + std::to_string(seed_) + (on_link_ ? ", on-link" : "") + (with_policies_ ? ", policies" : "");
}

}  // namespace isthmus::test
