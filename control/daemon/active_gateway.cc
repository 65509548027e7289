#include "control/daemon/active_gateway.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "control/daemon/free_memory.h"
#include "control/daemon/random_seed.h"
#include "control/daemon/reserved.h"

namespace isthmus {
namespace {

// The kernel reports every route by itself; changes are collected for this long.
constexpr auto kRoutesDelay = std::chrono::milliseconds(20);
constexpr auto kMaintenanceInterval = std::chrono::seconds(5);
constexpr auto kDeviceInterval = std::chrono::milliseconds(500);

HealthOptions health_options(const GatewayConfig& config) {
  HealthOptions options;
  options.interval = std::chrono::milliseconds(config.health_interval_ms);
  options.misses = config.health_misses;
  options.recover = config.health_recover;
  options.hold = std::chrono::milliseconds(config.health_hold_ms);
  options.seed = random_seed();
  return options;
}

PolicySettings policy_settings(const GatewayConfig& config) {
  return {config.policy_enforcement, config.policy_audit, config.policy_until_listed, config.policy_scope};
}

// What was refused is not offered again, so that a restart is needed even after other endpoints went away.
std::optional<Error> endpoint_table_problem(const EngineCounters& counters) {
  if (counters.endpoints_refused == 0) {
    return std::nullopt;
  }
  return Error{"the endpoint table was full; endpoints are missing in it, and their packets are dropped",
               "endpoint table",
               "link fewer clusters to this one (CrossClusterNetworkProfile), then restart the gateway"};
}

std::optional<Error> state_problem(const EngineCounters& counters) {
  if (counters.connections_start != StateStart::kNotKept || counters.connections_start_reason.empty()) {
    return std::nullopt;
  }
  return Error{"connections will not survive a restart: " + counters.connections_start_reason, "connection table",
               "remove it, or set another state.directory; then restart the gateway"};
}

void log_start(const EngineCounters& counters) {
  switch (counters.connections_start) {
    case StateStart::kNew:
      spdlog::info("connection table: new");
      break;
    case StateStart::kAdopted:
      spdlog::info("connection table: {} connections adopted", counters.connections.adopted);
      break;
    case StateStart::kDiscarded:
      spdlog::warn("connection table: the earlier one was discarded: {}", counters.connections_start_reason);
      break;
    case StateStart::kNotKept:
      break;  // listed as a problem, which is logged
  }
}

std::vector<IpAddress> translation_addresses(const GatewayConfig& config) {
  std::vector<IpAddress> addresses;
  for (const auto& address : {config.translation_ipv4, config.translation_ipv6}) {
    if (address) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

// Where `isthmus allocate` writes into the hub of this gateway, or, where that is known to pods alone or is an etcd,
// into the API server that a person has a file of. Other clusters' Services are at servers of their own.
AllocateAt allocate_at(const GatewayConfig& config) {
  if (config.hub_file) {
    const std::string hub = "--hub " + *config.hub_file;
    return {hub, hub, hub};
  }
  const auto server = [](const std::optional<std::string>& file) {
    return "--kubeconfig " + (file && *file != "in-cluster" ? *file : std::string("FILE"));
  };
  const KubernetesHubConfig& hub = config.kubernetes;
  return {server(hub.fleet ? hub.fleet : hub.cluster), server(hub.cluster), server(std::nullopt)};
}

}  // namespace

Result<std::unique_ptr<ActiveGateway>> ActiveGateway::start(const GatewayConfig& config, const OwnGateway& own,
                                                            Model& model, Hubs& hubs, ProblemList& problems,
                                                            EventLoop& loop, Turns& turns, Calls calls) {
  const bool beside = static_cast<bool>(calls.take_over);
  auto node = bring_up(config, own, beside);
  if (!node) {
    return node.error();
  }
  std::unique_ptr<ActiveGateway> gateway(
      new ActiveGateway(config, own, model, hubs, problems, loop, turns, std::move(*node)));
  if (auto watched = gateway->watch(); !watched) {
    return watched.error();
  }
  if (!beside) {
    log_start(gateway->node_.engine->counters());
  }
  gateway->local_side_->check_forwarding();
  gateway->read_node_addresses();
  gateway->update_reserved();
  gateway->calls_ = std::move(calls);
  gateway->apply();
  gateway->maintain();
  gateway->check_devices();
  return gateway;
}

ActiveGateway::ActiveGateway(const GatewayConfig& config, const OwnGateway& own, Model& model, Hubs& hubs,
                             ProblemList& problems, EventLoop& loop, Turns& turns, Node node)
    : config_(config),
      own_(own),
      model_(model),
      hubs_(hubs),
      holders_(hubs.holders()),
      problems_(problems),
      loop_(loop),
      turns_(turns),
      node_(std::move(node)) {
  adjacencies_ = std::make_unique<Adjacencies>(*node_.kernel, *node_.engine, node_.underlay, node_.interfaces);
  local_side_ = std::make_unique<LocalSide>(node_, *adjacencies_, translation_addresses(config));
  device_watch_ = std::make_unique<DeviceWatch>(config, own, node_);
  CompilerOptions options;
  options.cluster = config.cluster;
  options.gateway = config.name;
  options.own_addresses = translation_addresses(config);
  options.policy = policy_settings(config);
  options.admission = config.admission;
  options.own_node_tunnels = config.local.delivery == LocalDelivery::kTunnel;
  options.incumbents = holders_.incumbents();
  options.allocate_at = allocate_at(config);
  options.slow_start = std::chrono::seconds((config.slow_start_ms + 999) / 1000);
  options.outliers = {config.outlier_failures, static_cast<unsigned>((config.outlier_time_ms + 999) / 1000),
                      config.outlier_max_percent};
  options.direct_return = config.direct_return == DirectReturn::kGeneve;
  compiler_ = std::make_unique<Compiler>(std::move(options), model_, [this](const IpAddress& underlay) {
    AdjacencyId adjacency = kNoAdjacency;  // kernel and engine are the loop's
    turns_.ask_loop([&] { adjacency = adjacencies_->towards_peer(underlay); });
    return adjacency;
  });
  health_ = std::make_unique<Health>(health_options(config), [this](PeerId peer, std::uint32_t sequence, bool another) {
    return node_.engine->send_probe(peer, sequence, another);
  });
  make_path_mtus();
  flow_names_ = std::make_unique<FlowNames>(*compiler_, model_);
  observer_ = std::make_unique<Observer>(ObserverOptions{config.cluster + "/" + config.name, config.observe_flows},
                                         *node_.engine, *flow_names_);
  if (config.dns_file) {
    dns_.emplace(*config.dns_file, config.dns_domain);
  }
}

ActiveGateway::~ActiveGateway() {
  turns_.wait();
  *self_ = nullptr;
  keep_holders();
  for (const auto timer : {health_timer_, path_mtu_timer_, routes_timer_, maintenance_timer_, device_timer_,
                           rise_timer_, openings_timer_}) {
    loop_.cancel_timer(timer);
  }
  loop_.unwatch(node_.engine->event_fd());
  loop_.unwatch(node_.kernel->fd());
  node_.engine->stop();
  node_.twins->give_back();
}

Status ActiveGateway::watch() {
  health_timer_ = loop_.add_timer([this] { tick_health(); });
  path_mtu_timer_ = loop_.add_timer([this] { tick_path_mtus(); });
  routes_timer_ = loop_.add_timer([this] { reload_routes(); });
  maintenance_timer_ = loop_.add_timer([this] { maintain(); });
  device_timer_ = loop_.add_timer([this] { check_devices(); });
  rise_timer_ = loop_.add_timer([this] { apply(); });
  openings_timer_ = loop_.add_timer([this] { apply(); });
  if (auto watched = loop_.watch(node_.kernel->fd(), [this] { take_kernel_events(); }); !watched) {
    return watched;
  }
  return loop_.watch(node_.engine->event_fd(), [this] { take_engine_events(); });
}

void ActiveGateway::in_turn(const Turns::Turn& turn) {
  const auto guarded = [this](const Turns::Part& part) {
    return !part ? Turns::Part() : [self = self_, part] {
      if (*self != nullptr) {
        part();
      }
    };
  };
  turns_.take({guarded(turn.prepare), guarded(turn.work), guarded(turn.done)});
}

void ActiveGateway::apply() {
  if (std::exchange(apply_due_, true)) {
    return;
  }
  const auto changes = std::make_shared<ModelChanges>();
  const auto result = std::make_shared<CompileResult>();
  in_turn({[this, changes] {
             apply_due_ = false;
             *changes = model_.take_changes();
             compiler_->note_openings(std::exchange(openings_, {}), std::exchange(openings_lost_, false));
           },
           [this, changes, result] { *result = compiler_->compile(std::exchange(*changes, {})); },
           [this, result] { applied(*result); }});
}

void ActiveGateway::applied(CompileResult& result) {
  if (!result.upsert.empty()) {
    node_.engine->upsert_endpoints(result.upsert);
  }
  if (!result.remove.empty()) {
    node_.engine->remove_endpoints(Realm{}, result.remove);
  }
  adjacencies_->forget_peers(result.lost_peers);
  const bool gateways = result.gateways_changed || !published_;
  if (gateways) {
    update_gateways();
  }
  if (result.again_after) {
    loop_.set_timer(rise_timer_, EventLoop::Clock::now() + *result.again_after);
  }
  const bool layout = result.delta.clusters || result.delta.hosts || routes_changed_ || !published_;
  if (layout || result.local_routes_changed) {
    result.delta.local_routes = local_side_->changed_routes(compiler_->clusters(), compiler_->node_routes());
  }
  if (!published_) {
    take_kernel_events();  // so that neighbours the kernel has resolved are known from the first packet on
  }
  const bool first = !published_;
  publish(result);
  if (first && published_) {
    leave_known_peers();
  }
  if (gateways) {
    take_path_mtus();  // of peers that the tables know
  }
  if (published_ && calls_.take_over) {
    if (!std::exchange(calls_.take_over, {})()) {
      return;
    }
    log_start(node_.engine->counters());
  }
  if (layout || result.names_changed ||
      (!result.delta.changed_clusters.empty() && !local_side_->change_kernel(result.delta.changed_clusters))) {
    local_side_->update_kernel(compiler_->clusters(), compiler_->services_without_ports(), routes_changed_);
  }
  holders_changed_ = holders_changed_ || layout || !result.delta.changed_clusters.empty() || result.names_changed ||
                     result.disputes_changed;
  if (result.names_changed || first) {
    update_dns();
  }
  if (first) {
    give_back_free_memory();
  }
  log_ejections(result.ejections);
  routes_changed_ = false;
  flow_names_->forget();
  list_problems(result.problems);
  calls_.applied();
}

void ActiveGateway::publish(CompileResult& result) {
  if (result.delta.empty() && published_ && !publish_failed_) {
    adjacencies_->published();
    return;
  }
  const Status status = node_.engine->publish(result.delta);
  problems_.set_status("tables", status);
  publish_failed_ = !status.ok();
  if (status.ok()) {
    adjacencies_->published();
  }
  published_ = published_ || status.ok();
  publishes_ += status.ok() ? 1 : 0;
}

void ActiveGateway::update_gateways() {
  std::vector<HealthPeer> probed;
  std::vector<PathMtuPeer> paths;
  underlay_mtu_ = node_.engine->device(node_.underlay).mtu();
  others_.clear();
  for (const PeerView& peer : compiler_->gateways()) {
    // 2026-11-22: gateways of our own cluster are not probed: steer takes tunnel packets from other clusters only, so
    // that a probe would end in the kernel of the other node, or in an overlay that shares the port.
    if (peer.cluster_id != own_.cluster) {
      probed.push_back({peer.id, peer.cluster_id, peer.name});
      paths.push_back({peer.id, peer.underlay, underlay_mtu_});
    } else {
      others_.push_back(peer.name);
    }
  }
  health_->set_peers(probed, HealthClock::now());
  path_mtus_->set_peers(paths, HealthClock::now());
  loop_.set_timer(health_timer_, HealthClock::now());
}

void ActiveGateway::update_dns() {
  if (!dns_) {
    return;
  }
  const auto written = dns_->update(compiler_->services_without_ports());
  problems_.set_status("dns", written.ok() ? Status(Ok{}) : Status(written.error()));
}

void ActiveGateway::take_kernel_events() {
  const KernelEvents events = node_.kernel->poll();
  for (const NeighbourChange& neighbour : events.neighbours) {
    adjacencies_->changed(neighbour);
  }
  for (const LinkState& link : events.links) {
    local_side_->kernel_end_changed(link);
  }
  if (!events.links.empty()) {
    loop_.set_timer(device_timer_, EventLoop::Clock::now());
  }
  if (events.routes_changed || events.lost || !events.links.empty()) {
    loop_.set_timer_if_idle(routes_timer_, EventLoop::Clock::now() + kRoutesDelay);
  }
}

void ActiveGateway::check_devices() {
  device_watch_->check();
  follow_underlay_mtu();
  problems_.set("devices", device_watch_->problems());
  loop_.set_timer(device_timer_, EventLoop::Clock::now() + kDeviceInterval);
}

void ActiveGateway::read_node_addresses() {
  auto addresses = node_.kernel->node_addresses();
  problems_.set_status("node addresses", addresses.ok() ? Status(Ok{}) : Status(addresses.error()));
  node_addresses_read_ = addresses.ok();
  if (addresses.ok()) {
    node_addresses_ = std::move(*addresses);
  }
}

bool ActiveGateway::update_reserved() {
  return compiler_->set_reserved(reserved_addresses(node_addresses_, hubs_.states()));
}

void ActiveGateway::reload_routes() {
  if (std::exchange(reload_due_, true)) {
    return;
  }
  in_turn({[this] {
    reload_due_ = false;
    node_.twins->note();
    read_node_addresses();
    update_reserved();
    compiler_->refresh_next_hops();
    routes_changed_ = true;
    local_side_->check_forwarding();
    apply();
  }});
}

void ActiveGateway::take_engine_events() {
  const EngineEvents events = node_.engine->poll_events();
  events_lost_ = events.lost;
  take_openings(events);
  const auto now = HealthClock::now();
  for (const NeighbourRequest& neighbour : events.neighbours) {
    adjacencies_->request(neighbour, now);
  }
  for (const ProbeAnswer& answer : events.probe_answers) {
    if ((answer.sequence & kSizedProbe) != 0) {
      path_mtus_->answer(answer.peer, answer.sequence, now);
    } else {
      health_->answer(answer.peer, answer.sequence, answer.draining, now);
    }
  }
  if (!events.probe_answers.empty()) {
    take_health_changes();
  }
  take_claims(events.path_mtu_claims);
  if (!events.probe_answers.empty() || !events.path_mtu_claims.empty()) {
    take_path_mtus();
  }
  observe();
}

// Names are the compiler's and the model's.
void ActiveGateway::observe() {
  if (std::exchange(observe_due_, true)) {
    return;
  }
  in_turn({[this] {
    observe_due_ = false;
    observer_->poll();
  }});
}

// Not after each publish: it costs a pass over the fleet. One that ends before its first apply() knows no holders, and
// what was kept stands.
void ActiveGateway::keep_holders() {
  if (std::exchange(holders_changed_, false) || (published_ && holders_.lost())) {
    holders_.clusters_are(compiler_->clusters(), compiler_->disputed_addresses());
    holders_.services_are(compiler_->services_without_ports());
  }
}

void ActiveGateway::maintain() {
  adjacencies_->expire(EventLoop::Clock::now());
  loop_.set_timer(maintenance_timer_, EventLoop::Clock::now() + kMaintenanceInterval);
  if (std::exchange(maintain_due_, true)) {
    return;
  }
  in_turn({[this] {
    maintain_due_ = false;
    maintain_tables();
  }});
}

void ActiveGateway::maintain_tables() {
  keep_holders();
  local_side_->check_forwarding();
  const EngineCounters counters = node_.engine->counters();
  observer_->poll();  // events of a burst that ended without another wake-up
  problems_.set_one("endpoint table", endpoint_table_problem(counters));
  problems_.set_one("connection table", state_problem(counters));
  problems_.set("local side", local_side_->problems());
  if (publish_failed_) {  // steering that a device refused may succeed now
    CompileResult nothing;
    publish(nothing);
  }
  if (dns_ && !dns_->synced()) {  // there may be room for it now
    update_dns();
  }
  if (!node_addresses_read_) {
    read_node_addresses();
  }
  const bool reserved = update_reserved();  // a hub may have moved to another server
  routes_changed_ = routes_changed_ || local_side_->kernel_failed();
  if (reserved || routes_changed_) {
    apply();
  }
}

void ActiveGateway::list_problems(const std::vector<Problem>& compiled) {
  problems_.set("fleet", compiled);
  problems_.set("next hops", adjacencies_->problems());
  problems_.set("local side", local_side_->problems());
  list_health_problems();
}

}  // namespace isthmus
