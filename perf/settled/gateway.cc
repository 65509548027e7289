#include "perf/settled/gateway.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/api/maglev.h"
#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

constexpr DeviceId kUnderlay{0}, kLocal{1};
constexpr PeerId kPeer{1};
constexpr int kWorkerPriority = 10;     // above the pump's
constexpr Seconds kForever{8'000'000};  // no flow expires while other stands have their turns

EngineOptions options_for(const SettledGatewayOptions& wanted) {
  EngineOptions options;
  options.name = "perf-settled";
  options.keep_state = false;
  options.cores = {0};
  options.cluster = ClusterId{1};
  options.tunnel = tunnel_end(settled_ends().our_tunnel);
  options.underlay_device = kUnderlay;
  options.connections = std::max<std::uint32_t>(wanted.flows + wanted.flows / 4 + wanted.spare, 4096);
  options.half_open_limit = wanted.half_open != 0 ? wanted.half_open : options.connections;
  options.endpoints = 1024;
  options.flow_events_per_second = 0;
  options.timeouts.other = options.timeouts.half_open = kForever;
  return options;
}

// Threads that the engine starts inherit it.
class RealTime {
 public:
  explicit RealTime(int priority) {
    const sched_param parameters{.sched_priority = priority};
    static_cast<void>(sched_setscheduler(0, SCHED_FIFO, &parameters));  // without the privilege, results are noisier
  }
  ~RealTime() {
    const sched_param parameters{};
    static_cast<void>(sched_setscheduler(0, SCHED_OTHER, &parameters));
  }
  RealTime(const RealTime&) = delete;
  RealTime& operator=(const RealTime&) = delete;
};

FrontendEntry service(const IpAddress& vip) {
  const SettledEnds& ends = settled_ends();
  auto set = std::make_shared<BackendSet>();
  set->backends.push_back({BackendId{1}, ends.pod, ends.pod_port, ClusterId{2}});
  const MaglevBackend backend{ends.pod, ends.pod_port, IpProtocol::kUdp};
  set->ring = maglev_ring({&backend, 1});
  return {{Realm{0}, vip, IpProtocol::kUdp, ends.vip_port}, ServiceId{1}, false, Seconds{}, std::move(set)};
}

// Lets the clients talk to the pod, by the rule of this number.
std::shared_ptr<const SubjectPolicy> policy(std::uint32_t rule) {
  PolicyEntry entry;
  entry.peers = kEveryPeer;
  entry.protocol = static_cast<std::uint8_t>(IpProtocol::kUdp);
  entry.rule = RuleId{rule + 1};
  SubjectPolicy policy;
  policy.subject = Identity{settled_ends().our_identity};
  policy.egress.enforced = true;
  policy.egress.entries = {entry};
  return std::make_shared<const SubjectPolicy>(policy);
}

// CPU time of the thread of that name.
double seconds_of(const char* thread) {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    double nanoseconds = 0;
    if (std::ifstream(task.path() / "comm") >> name && name == thread &&
        std::ifstream(task.path() / "schedstat") >> nanoseconds) {
      return nanoseconds * 1e-9;
    }
  }
  return 0;
}

}  // namespace

Result<std::unique_ptr<SettledGateway>> SettledGateway::open(const SettledGatewayOptions& wanted) {
  auto gateway = std::make_unique<SettledGateway>();
  gateway->options_ = wanted;
  const std::uint32_t flows = wanted.flows;
  EngineOptions options = options_for(wanted);
  if (wanted.hand_down) {
    auto maps = open_kernel_flows({.entries = 2 * flows + flows / 4});  // nearly full ones give up the coldest
    if (!maps) {
      return maps.error();
    }
    options.hand_down.flows = *std::move(maps);
    options.hand_down.packets_per_second = wanted.hot;
  }
  auto engine = Engine::create(options);
  if (!engine) {
    return engine.error();
  }
  gateway->engine_ = *std::move(engine);
  for (const char* interface : {kInterfaceOut, kInterfaceIn}) {  // kUnderlay, kLocal
    AfXdpOptions device;
    device.interface = interface;
    device.kernel_flows = options.hand_down.flows;
    auto opened = open_af_xdp(device);
    if (!opened) {
      return opened.error();
    }
    if (auto added = gateway->engine_->add_device(*std::move(opened)); !added) {
      return added.error();
    }
  }
  {
    const RealTime priority(kWorkerPriority);
    if (Status started = gateway->engine_->start(); !started) {
      return started.error();
    }
  }
  if (Status published = gateway->publish(); !published) {
    return published.error();
  }
  std::vector<EndpointEntry> endpoints = {
      {Realm{0}, settled_ends().pod, ClusterId{2}, Identity{settled_ends().their_identity}, kNoPeer}};
  for (std::uint32_t n = 0; n < settled_clients(flows); ++n) {
    const IpAddress client = IpAddress::ipv4(Be32::of(settled_ends().first_client.as_ipv4().host() + n));
    endpoints.push_back({Realm{0}, client, ClusterId{1}, Identity{settled_ends().our_identity}, kNoPeer});
  }
  for (std::uint32_t n = 0; n < wanted.pods; ++n) {
    const IpAddress client = IpAddress::ipv4(Be32::of(settled_other_client().as_ipv4().host() + n));
    endpoints.push_back({Realm{0}, client, ClusterId{1}, Identity{settled_ends().our_identity}, kNoPeer});
  }
  gateway->engine_->upsert_endpoints(endpoints);
  return gateway;
}

Status SettledGateway::publish() {
  const SettledEnds& ends = settled_ends();
  const AdjacencyId fabric = engine_->adjacency(kUnderlay, ends.their_tunnel);
  const AdjacencyId clients = engine_->adjacency(kLocal, *IpAddress::parse("169.254.0.2"));
  engine_->set_adjacency(fabric, ends.to_fabric);
  engine_->set_adjacency(clients, ends.to_clients);
  TableDelta delta;
  delta.upsert_peers = {{kPeer, ClusterId{2}, ends.their_tunnel, ends.tunnel_port, fabric, true}};
  delta.clusters = {{ClusterId{1}, true, true, {ends.clients}, {}}, {ClusterId{2}, false, true, {ends.pods}, {kPeer}}};
  delta.local_routes = {{ends.clients, kLocal, clients}};
  if (options_.work == Work::kTranslate) {
    delta.upsert_frontends.push_back(service(ends.vip));
  }
  if (options_.policy) {
    delta.upsert_policies = {policy(changes_)};
  }
  return engine_->publish(delta);
}

Status SettledGateway::change() {
  constexpr std::uint32_t kOthers = 1000, kFirstAddress = 0x0a640000;
  const std::uint32_t n = ++changes_ % kOthers;
  const auto address = [](std::uint32_t at) { return IpAddress::ipv4(Be32::of(kFirstAddress + at)); };
  TableDelta services, policies;
  services.upsert_frontends = {service(address(n))};
  if (Status published = engine_->publish(services); !published) {
    return published;
  }
  const EndpointEntry added{Realm{0}, address(kOthers + n), ClusterId{2}, Identity{settled_ends().their_identity},
                            kNoPeer};
  const IpAddress removed = address(kOthers + (n + kOthers / 2) % kOthers);
  engine_->upsert_endpoints({&added, 1});
  engine_->remove_endpoints(Realm{0}, {&removed, 1});
  policies.upsert_policies = {policy(changes_)};
  return engine_->publish(policies);
}

bool SettledGateway::settled() const {
  const EngineCounters counters = engine_->counters();
  return counters.connections.now == options_.flows &&
         (!options_.hand_down || counters.handed_down_now == options_.flows);
}

double SettledGateway::hand_down_seconds() { return seconds_of("isthmus-down"); }
double SettledGateway::worker_seconds() { return seconds_of("isthmus-w0"); }

std::uint64_t SettledGateway::received() const {
  std::uint64_t sum = 0;
  for (const DeviceStatus& device : engine_->counters().devices) {
    sum += device.counters.rx_packets;
  }
  return sum;
}

std::string SettledGateway::state() const {
  const EngineCounters counters = engine_->counters();
  std::string text = std::to_string(counters.connections.now) + " of " + std::to_string(options_.flows) +
                     " connections, " + std::to_string(counters.handed_down_now) + " handed down";
  for (const DropCount& drop : counters.drops) {
    if (drop.packets != 0) {
      text += "; " + std::string(drop.name) + " " + std::to_string(drop.packets);
    }
  }
  for (const DeviceStatus& device : counters.devices) {
    for (const auto& row : kCounterRows<QueueCounters>) {
      if (const std::uint64_t packets = device.counters.*row.value; row.lost() && packets != 0) {
        text += "; " + device.name + " " + std::string(row.name) + " " + std::to_string(packets);
      }
    }
  }
  return text;
}

}  // namespace isthmus::perf
