#include "perf/path/gateway.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "dataplane/api/devices.h"
#include "dataplane/api/maglev.h"
#include "dataplane/net/headers.h"
#include "perf/figures/stopwatch.h"

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kServices = 1000, kBackends = 10;
constexpr std::uint32_t kClients = 4000;  // pods of our cluster
constexpr std::uint32_t kServers = 4000;  // pods of the other cluster
constexpr std::uint32_t kEndpointsPerCluster = 50000;
constexpr std::uint16_t kFirstClientPort = 1024, kServicePort = 80, kBackendPort = 8080, kPodPort = 9000;
constexpr std::uint32_t kLocalBase = 0x0a010000, kRemoteBase = 0x0a020000, kVipBase = 0x0ac80000;
constexpr std::uint32_t kAliasBase = 0x0a650000;  // of kLocalBase, where our pods have aliases
constexpr std::uint32_t kOurIdentities = 1u << 16 | 1000, kTheirIdentity = 2u << 16 | 7;
constexpr std::uint32_t kSubjects = 100, kEntriesPerDirection = 50, kIdentitiesPerSelector = 100;
constexpr Bytes kUnderlayMtu{1600};  // 1,500 bytes plus the tunnel header
constexpr PeerId kPeer{1};

const IpAddress kOurs = *IpAddress::parse("192.0.2.1"), kTheirs = *IpAddress::parse("192.0.2.2");

IpAddress address(std::uint32_t base, std::uint32_t n) { return IpAddress::ipv4(Be32::of(base + n)); }

IpAddress backend_of(std::uint32_t service, std::uint32_t n) {
  return address(kRemoteBase, 1 + (service * kBackends + n) % kServers);
}

// Identity of one of our pods: its policy's subject.
std::uint32_t identity_of(std::uint32_t n) { return kOurIdentities + n % kSubjects; }

// As others know our pods.
std::uint32_t fleet_base(Kind kind) { return kind == Kind::kAliasedPod ? kAliasBase : kLocalBase; }

// Policies of different subjects differ in their rule ids only.
std::shared_ptr<const SubjectPolicy> policy_of(std::uint32_t subject, std::uint32_t first_rule) {
  DirectionPolicy direction;
  direction.enforced = true;
  for (std::uint32_t n = 1; n <= kEntriesPerDirection; ++n) {
    const bool last = n == kEntriesPerDirection;
    const auto port = static_cast<std::uint16_t>(last ? kBackendPort : 1000 + n);
    direction.entries.push_back({SelectorId{n}, static_cast<std::uint8_t>(IpProtocol::kTcp), false, port,
                                 last ? kPodPort : port, RuleId{first_rule + n}});
  }
  return std::make_shared<const SubjectPolicy>(
      SubjectPolicy{Identity{identity_of(subject)}, false, direction, direction});
}

// 10,000 entries: 100 subjects, both directions enforced, 50 entries each, of which the last allows the traffic.
void add_policies(TableDelta& delta) {
  for (std::uint32_t n = 1; n <= kEntriesPerDirection; ++n) {
    auto identities = std::make_shared<std::vector<Identity>>();
    if (n == kEntriesPerDirection) {
      identities->push_back(Identity{kTheirIdentity});
    }
    for (std::uint32_t i = 0; i < kIdentitiesPerSelector; ++i) {
      identities->push_back(Identity{(2u << 16 | 1000) + n * kIdentitiesPerSelector + i});
    }
    delta.upsert_selectors.push_back({SelectorId{n}, std::move(identities)});
  }
  for (std::uint32_t s = 0; s < kSubjects; ++s) {
    delta.upsert_policies.push_back(policy_of(s, 0));
  }
}

FrontendEntry frontend_of(std::uint32_t service, const MaglevRing& ring) {
  auto set = std::make_shared<BackendSet>();
  for (std::uint32_t n = 0; n < kBackends; ++n) {
    set->backends.push_back(
        {BackendId{service * kBackends + n + 1}, backend_of(service, n), L4Port{kBackendPort}, ClusterId{2}});
  }
  set->ring = ring;
  return {{Realm{0}, address(kVipBase, service), IpProtocol::kTcp, L4Port{kServicePort}},
          ServiceId{service + 1},
          false,
          Seconds{},
          std::move(set)};
}

std::string text_of(std::uint64_t number) { return std::to_string(number); }

std::unique_ptr<Device> device_below(const std::string& driver, const std::string& side) {
  if (driver.empty()) {
    return nullptr;
  }
  static unsigned number = 0;
  DpdkOptions options;
  options.device = driver + "_" + side + text_of(number++);
  options.ring_entries = 512;
  options.mtu = kUnderlayMtu.value();
  return need(open_dpdk(options));
}

}  // namespace

void fail(const std::string& what) {
  std::fprintf(stderr, "perf-path: %s\n", what.c_str());
  std::exit(1);
}

struct Gateway::Ends {
  std::uint16_t client, client_port, frontend, server;
};

Gateway::Gateway(const GatewayOptions& options) : options_(options) {
  EngineOptions engine;
  engine.drive_by_caller = true;
  engine.keep_state = !options.state.empty();
  if (engine.keep_state) {
    engine.name = "perf-path-" + text_of(static_cast<std::uint64_t>(getpid()));
    engine.state_directory = options.state;
  }
  engine.cluster = ClusterId{1};
  engine.tunnel = tunnel_end(kOurs);
  engine.workers = options.workers;
  // With more room than a nearly full table has, in which not everybody gets what is left.
  const std::uint32_t used = options.connections + options.spare;
  engine.connections = std::max<std::uint32_t>(used + used / 4, 4096);
  engine.half_open_limit = options.half_open_limit != 0 ? options.half_open_limit : engine.connections;
  engine.endpoints = 2 * kEndpointsPerCluster;
  engine.flow_events_per_second = options.events ? engine.flow_events_per_second : 0;
  // Short, so that spare connections expire soon; long enough to establish the settled ones first.
  engine.timeouts.tcp_syn = engine.timeouts.half_open = Seconds{1 + options.connections / 100'000};
  engine_ = need(Engine::create(engine));
  for (const char* side : {"underlay", "local"}) {
    auto device = std::make_unique<PumpDevice>(side, kUnderlayMtu, device_below(options.driver, side));
    devices_.push_back(device.get());
    need(engine_->add_device(std::move(device)));
  }
  need(engine_->start());
  if (engine.keep_state) {  // unlink the file, so that nothing is left behind; the mapping stays valid
    const std::filesystem::path file = Engine::state_file(options.state, engine.name);
    std::error_code still_in_use;
    std::filesystem::remove(file);
    std::filesystem::remove(file.parent_path(), still_in_use);
  }
  publish();
  establish();
}

void Gateway::publish() {
  underlay_hop_ = engine_->adjacency(DeviceId{0}, *IpAddress::parse("192.0.2.254"));
  local_hop_ = engine_->adjacency(DeviceId{1}, *IpAddress::parse("169.254.0.1"));
  engine_->set_adjacency(underlay_hop_, MacAddress{{2, 0, 0, 0, 0, 9}});
  engine_->set_adjacency(local_hop_, MacAddress{{2, 0, 0, 0, 0, 8}});
  TableDelta delta;
  delta.upsert_peers = {{kPeer, ClusterId{2}, kTheirs, L4Port{peer_port_}, underlay_hop_, true}};
  const Prefix own = *Prefix::parse("10.1.0.0/16"), alias(address(fleet_base(options_.kind), 0), own.length());
  if (alias != own) {
    delta.aliases = {{own, alias}};
  }
  delta.clusters = {{ClusterId{1}, true, true, {alias}, {}},
                    {ClusterId{2}, false, true, {*Prefix::parse("10.2.0.0/16")}, {kPeer}}};
  delta.local_routes = {{own, DeviceId{1}, local_hop_}};
  std::vector<MaglevBackend> backends;
  for (std::uint32_t n = 0; n < kBackends; ++n) {
    backends.push_back({backend_of(0, n), L4Port{kBackendPort}});
  }
  ring_ = maglev_ring(backends);
  for (std::uint32_t s = 0; s < kServices; ++s) {
    delta.upsert_frontends.push_back(frontend_of(s, ring_));
  }
  if (options_.policies) {
    add_policies(delta);
  }
  need(engine_->publish(delta));
  std::vector<EndpointEntry> endpoints;
  const std::uint32_t base = fleet_base(options_.kind);
  for (std::uint32_t n = 0; n < kEndpointsPerCluster; ++n) {
    endpoints.push_back({Realm{0}, address(base, n), ClusterId{1}, Identity{identity_of(n)}, kNoPeer});
    endpoints.push_back({Realm{0}, address(kRemoteBase, n), ClusterId{2}, Identity{kTheirIdentity}, kNoPeer});
  }
  engine_->upsert_endpoints(endpoints);
}

// Establishes connections in blocks small enough that handshakes complete before the SYN timeout, even under valgrind,
// and that they fit a small half-open limit.
void Gateway::establish() {
  constexpr std::uint32_t kBlock = 128;
  const struct {
    Way way;
    std::uint8_t flags;
  } kHandshake[] = {{Way::kLocalToFabric, kSyn}, {Way::kFabricToLocal, kSyn | kAck}, {Way::kLocalToFabric, kAck}};
  for (std::uint32_t first = 0; first < options_.connections; first += kBlock) {
    std::vector<std::uint32_t> block(std::min(kBlock, options_.connections - first));
    std::iota(block.begin(), block.end(), first);
    for (const auto& [way, flags] : kHandshake) {
      const auto templates = templates_of(shape_of(way, flags), FrameMix::k64);
      const auto patches = patches_of(block, way);
      const std::uint64_t before = sent(way, 0);
      drive(0, {way, &templates, &patches, block.size(), kMaxBurst, false});
      if (sent(way, 0) - before != block.size()) {
        fail("establishing " + text_of(block.size()) + " connections: " + text_of(sent(way, 0) - before) +
             " packets came out; drops: " + drops_text(counters()));
      }
    }
  }
  if (counters().connections.now != options_.connections) {
    fail(text_of(counters().connections.now) + " connections in the table instead of " + text_of(options_.connections));
  }
}

Gateway::Ends Gateway::ends_of(std::uint32_t n) const {
  const auto low = [](const IpAddress& a) { return static_cast<std::uint16_t>(a.as_ipv4().host() & 0xffff); };
  const std::uint32_t spread = n / kClients + n;
  const IpAddress client = address(kLocalBase, 1 + n % kClients);
  const auto port = static_cast<std::uint16_t>(kFirstClientPort + n / kClients);
  if (options_.kind != Kind::kService) {
    const IpAddress server = address(kRemoteBase, 1 + spread % kServers);
    return {low(client), port, low(server), low(server)};
  }
  const std::uint32_t service = spread % kServices;
  const std::uint32_t hash =
      maglev_packet_hash(Family::kIpv4, client, Be16::of(port), Be16::of(kServicePort), IpProtocol::kTcp);
  const IpAddress server = backend_of(service, ring_[hash % ring_.size()]);
  return {low(client), port, low(address(kVipBase, service)), low(server)};
}

std::vector<PacketPatch> Gateway::patches_of(const std::vector<std::uint32_t>& connections, Way way) const {
  std::vector<PacketPatch> patches;
  patches.reserve(connections.size());
  for (const std::uint32_t n : connections) {
    const Ends ends = ends_of(n);
    if (way == Way::kLocalToFabric) {
      patches.push_back({Be16::of(ends.client), Be16::of(ends.frontend), Be16::of(ends.client_port)});
    } else {
      patches.push_back({Be16::of(ends.server), Be16::of(ends.client), Be16::of(ends.client_port)});
    }
  }
  return patches;
}

FrameShape Gateway::shape_of(Way way, std::uint8_t tcp_flags) const {
  const bool service = options_.kind == Kind::kService;
  FrameShape shape;
  shape.tcp_flags = tcp_flags;
  shape.source_port_varies = way == Way::kLocalToFabric;
  if (way == Way::kLocalToFabric) {
    shape.source = address(kLocalBase, 0);
    shape.destination = address(service ? kVipBase : kRemoteBase, 0);
    shape.fixed_port = L4Port{service ? kServicePort : kPodPort};
  } else {
    shape.source = address(kRemoteBase, 0);
    shape.destination = address(fleet_base(options_.kind), 0);
    shape.fixed_port = L4Port{service ? kBackendPort : kPodPort};
    shape.tunnel = true;
    shape.tunnel_from = kTheirs;
    shape.tunnel_to = kOurs;
    shape.vni = kTheirIdentity;
  }
  return shape;
}

PumpDevice& Gateway::in(Way way) { return *devices_[way == Way::kLocalToFabric ? 1 : 0]; }
PumpDevice& Gateway::out(Way way) { return *devices_[way == Way::kLocalToFabric ? 0 : 1]; }
std::uint64_t Gateway::sent(Way way, unsigned worker) { return out(way).pump(worker).sent(); }

double Gateway::drive(unsigned worker, const Job& job) {
  Pump& pump = in(job.way).pump(worker);
  pump.load({job.templates, job.patches, 0}, job.packets, job.burst, job.cold);
  const WorkerId id{static_cast<std::uint8_t>(worker)};
  Stopwatch watch;
  while (pump.left() != 0) {
    pump.prepare();
    watch.start();
    do {
      engine_->run_round(id);
    } while (pump.pending());
    watch.stop();
  }
  return watch.cycles();
}

std::vector<std::vector<std::uint8_t>> Gateway::drive_and_keep(const Job& job, std::size_t count) {
  Pump& from = in(job.way).pump(0);
  Pump& to = out(job.way).pump(0);
  from.load({job.templates, job.patches, 0}, job.packets, job.burst, false);
  from.write_payloads();
  to.capture(count);
  while (from.pending()) {
    engine_->run_round(WorkerId{0});
  }
  return to.take_captured();
}

void Gateway::move_peer() {
  peer_port_ = peer_port_ == 8472 ? 8473 : 8472;
  TableDelta delta;
  delta.upsert_peers = {{kPeer, ClusterId{2}, kTheirs, L4Port{peer_port_}, underlay_hop_, true}};
  need(engine_->publish(delta));
}

void Gateway::change_services() {
  constexpr std::uint32_t kAtOnce = 10;
  ++changes_;
  MaglevRing ring = ring_;
  for (std::uint16_t& index : ring) {  // new connections choose other backends, existing ones keep theirs
    index = static_cast<std::uint16_t>((index + changes_) % kBackends);
  }
  TableDelta delta;
  for (std::uint32_t i = 0; i < kAtOnce; ++i) {
    delta.upsert_frontends.push_back(frontend_of((changes_ * kAtOnce + i) % kServices, ring));
  }
  need(engine_->publish(delta));
}

void Gateway::change_endpoints() {
  constexpr std::uint32_t kAtOnce = 50, kFirstNew = 51000, kNew = 10000;
  ++changes_;
  std::vector<EndpointEntry> changed;
  std::vector<IpAddress> removed;
  for (std::uint32_t i = 0; i < kAtOnce; ++i) {
    const std::uint32_t n = changes_ * kAtOnce + i, client = 1 + n % kClients;
    changed.push_back(
        {Realm{0}, address(kRemoteBase, kFirstNew + n % kNew), ClusterId{2}, Identity{kTheirIdentity}, kNoPeer});
    changed.push_back({Realm{0}, address(fleet_base(options_.kind), client), ClusterId{1},
                       Identity{identity_of(client + changes_)}, kNoPeer});
    removed.push_back(address(kRemoteBase, kFirstNew + (n + kNew / 2) % kNew));
  }
  engine_->upsert_endpoints(changed);
  engine_->remove_endpoints(Realm{0}, removed);
}

void Gateway::change_policies() {
  ++changes_;
  TableDelta delta;
  delta.upsert_policies = {policy_of(changes_ % kSubjects, changes_)};
  need(engine_->publish(delta));
}

std::uint64_t drops(const EngineCounters& counters) {
  std::uint64_t sum = 0;
  for (const DropCount& drop : counters.drops) {
    sum += drop.packets;
  }
  return sum;
}

std::string drops_text(const EngineCounters& counters) {
  std::string text;
  for (const DropCount& drop : counters.drops) {
    if (drop.packets != 0) {
      text += (text.empty() ? "" : ", ") + std::string(drop.name) + " " + text_of(drop.packets);
    }
  }
  return text.empty() ? "none" : text;
}

std::string output_error(Kind kind, Way way, const std::vector<std::vector<std::uint8_t>>& frames) {
  for (const auto& frame : frames) {
    std::size_t at = sizeof(net::Ethernet);
    if (way == Way::kLocalToFabric) {
      constexpr std::size_t kOuter = 64;
      const auto* outer = net::at<net::Ipv4>(frame.data() + at);
      if (frame.size() < kOuter || outer->destination.wire() != kTheirs.as_ipv4().wire() ||
          outer->total_length.host() + at != frame.size()) {
        return "not a tunnel packet to the peer";
      }
      const auto* vxlan = net::at<net::Vxlan>(frame.data() + at + sizeof(net::Ipv4) + sizeof(net::Udp));
      if ((vxlan->vni.host() >> 8) - kOurIdentities >= kSubjects) {
        return "wrong VNI";
      }
      at = kOuter;
    }
    if (const char* error = packet_error(frame.data() + at, frame.size() - at)) {
      return error;
    }
    const auto* ip = net::at<net::Ipv4>(frame.data() + at);
    const auto* tcp = net::at<net::Tcp>(frame.data() + at + sizeof(net::Ipv4));
    const bool out = way == Way::kLocalToFabric;
    const std::uint32_t far = out ? ip->destination.host() : ip->source.host();
    const std::uint16_t far_port = out ? tcp->destination.host() : tcp->source.host();
    const bool service = kind == Kind::kService;
    const std::uint32_t base = service && !out ? kVipBase : kRemoteBase;
    const std::uint16_t port = !service ? kPodPort : out ? kBackendPort : kServicePort;
    const std::uint32_t near = out ? ip->source.host() : ip->destination.host();
    if (near >> 16 != (out ? fleet_base(kind) : kLocalBase) >> 16) {
      return IpAddress::ipv4(ip->source).to_string() + " to " + IpAddress::ipv4(ip->destination).to_string() +
             ": unexpected address of our pod";
    }
    if (far >> 16 != base >> 16 || far_port != port || ip->ttl != (out ? 64 : 63)) {  // as Cilium counts hops
      return IpAddress::ipv4(ip->source).to_string() + " to " + IpAddress::ipv4(ip->destination).to_string() +
             " port " + text_of(tcp->destination.host()) + " TTL " + text_of(ip->ttl) +
             ": unexpected address, port or TTL";
    }
  }
  return frames.empty() ? "no output" : "";
}

}  // namespace isthmus::perf
