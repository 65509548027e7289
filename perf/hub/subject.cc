#include "perf/hub/subject.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <ctime>
#include <fstream>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "control/compile/compiler.h"
#include "control/daemon/free_memory.h"
#include "control/daemon/priority.h"
#include "control/daemon/publish_pace.h"
#include "control/loop/event_loop.h"
#include "control/loop/turns.h"
#include "control/source/etcd/etcd_source.h"
#include "perf/figures/stopwatch.h"
#include "perf/hub/own_objects.h"
#include "perf/path/gateway.h"
#include "perf/path/pump_device.h"

namespace isthmus::perf {
namespace {

constexpr std::uint16_t kPort = 8080, kProbePort = 8081;
constexpr unsigned kConnectionsPerEndpoint = 16;
// Short jobs, so that a probe does not wait behind a queue that only the benchmark has; frequent, so that all
// connections get packets.
constexpr std::uint64_t kJobPackets = 2048;
constexpr std::chrono::milliseconds kJobEvery{6};
const IpAddress kTunnel = *IpAddress::parse("192.0.2.255");

double kib_of(const char* field) {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    double kib = 0;
    if (word == field && status >> kib) {
      return kib;
    }
  }
  fail("no memory figures in /proc/self/status");
}

double thread_cpu_ms() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

// The CPU times of the publishes of one phase.
class Costs {
 public:
  void add(double ms, std::uint32_t changes) {
    samples_.push_back(ms);
    changes_ += changes;
  }
  [[nodiscard]] ChangeCost summary() {
    ChangeCost cost;
    if (samples_.empty()) {
      return cost;
    }
    std::sort(samples_.begin(), samples_.end());
    cost.publishes = static_cast<double>(samples_.size());
    cost.changes = changes_;
    cost.total_ms = std::accumulate(samples_.begin(), samples_.end(), 0.0);
    cost.median_ms = samples_[samples_.size() / 2];
    cost.p99_ms = samples_[samples_.size() * 99 / 100];
    cost.max_ms = samples_.back();
    return cost;
  }

 private:
  std::vector<double> samples_;
  double changes_ = 0;
};

class Subject {
 public:
  Subject(const SyntheticFleet& fleet, std::uint32_t policy_churn, const std::string& client_config, Shared& shared)
      : fleet_(fleet), policy_churn_(policy_churn), shared_(shared) {
    start_engine();
    for (const ObjectDelta& object : own_objects(fleet_, kTunnel)) {
      model_.apply(0, object);
    }
    EtcdSourceOptions options;
    options.own_cluster = cluster_name(kOwnCluster);
    options.own_id = ClusterId{kOwnCluster};
    options.kvstoremesh = client_config;
    shared_.base_kib = kib_of("VmRSS:");
    source_ = std::make_unique<EtcdSource>(options);
  }

  void run() {
    sync();
    std::thread worker([this] { work(); });
    while (shared_.phase != Phase::kDone) {
      follow(std::chrono::milliseconds(10));
    }
    worker.join();
    for (std::size_t i = 0; i < kPhases; ++i) {
      shared_.costs[i] = costs_[i].summary();
    }
    shared_.peak_kib = kib_of("VmHWM:");
  }

 private:
  void start_engine() {
    EngineOptions engine;
    engine.drive_by_caller = true;
    engine.keep_state = false;
    engine.cluster = ClusterId{kOwnCluster};
    engine.tunnel = tunnel_end(kTunnel);
    engine.connections = 65536;
    engine.half_open_limit = engine.connections;
    engine.midstream = MidstreamPolicy::kLoose;
    engine_ = need(Engine::create(engine));
    for (PumpDevice** device : {&underlay_, &local_}) {
      auto created = std::make_unique<PumpDevice>(device == &underlay_ ? "underlay" : "local", Bytes{1600});
      *device = created.get();
      need(engine_->add_device(std::move(created)));
    }
    need(engine_->start());
    hop_ = engine_->adjacency(DeviceId{0}, *IpAddress::parse("192.0.2.254"));
    local_hop_ = engine_->adjacency(DeviceId{1}, *IpAddress::parse("169.254.0.1"));
    engine_->set_adjacency(hop_, MacAddress{{2, 0, 0, 0, 0, 9}});
    engine_->set_adjacency(local_hop_, MacAddress{{2, 0, 0, 0, 0, 8}});
    TableDelta routes;
    routes.local_routes = {{own_prefix(), DeviceId{1}, local_hop_}};
    need(engine_->publish(routes));
  }

  static IpAddress address(std::uint32_t base, std::uint32_t n) { return IpAddress::ipv4(Be32::of(base + n)); }

  // Reads the whole hub and compiles once, like a starting gateway.
  void sync() {
    const auto started = Clock::now();
    need(source_->start());
    while (!source_->synced()) {
      wait(std::chrono::milliseconds(100));
      take();
      static_cast<void>(model_.take_changes());  // as the daemon does until it compiles
    }
    take();
    shared_.sync_seconds = seconds_since(started);
    CompilerOptions options;
    options.cluster = cluster_name(kOwnCluster);
    options.gateway = "own-1";
    options.admission.vip_pools = {vip_pool()};
    need(loop_.open());
    need(turns_.start());
    compiler_ = std::make_unique<Compiler>(options, model_, [this](const IpAddress&) {
      AdjacencyId hop = kNoAdjacency;
      turns_.ask_loop([&] { hop = hop_; });
      return hop;
    });
    publish();
    give_back_free_memory();
    shared_.serve_seconds = seconds_since(started);
    shared_.synced_kib = kib_of("VmRSS:");
    shared_.objects = static_cast<double>(model_.size());
    shared_.endpoints = static_cast<double>(engine_->endpoint_count());
    for (const ServiceView& service : compiler_->services()) {
      for (const ServicePortView& port : service.ports) {
        shared_.rings += 1;
        shared_.ring_slots += port.ring_slots;
      }
    }
  }

  // `max` is less than a second.
  void wait(std::chrono::nanoseconds max) {
    pollfd waiting{source_->fd(), POLLIN, 0};
    const timespec time{0, std::max<std::int64_t>(max.count(), 0)};
    ppoll(&waiting, 1, &time, nullptr);
  }

  bool take() {
    const double before = thread_cpu_ms();
    bool any = false;
    for (const ObjectDelta& delta : source_->poll()) {
      apply(1, delta);
      any = true;
    }
    if (shared_.phase == Phase::kPolicies && policies_changed_ < policies_due()) {
      apply(0, own_policy(policies_changed_ % std::max(fleet_.policies, 1U), 1 + policies_changed_));
      ++policies_changed_;
      any = true;
    }
    pending_.cpu_ms += thread_cpu_ms() - before;
    return any;
  }

  void apply(Model::SourceNumber source, const ObjectDelta& delta) {
    model_.apply(source, delta);
    const ObjectKind kind = delta.key.kind;
    const Phase phase = kind == ObjectKind::kNode                                    ? Phase::kNodes
                        : kind == ObjectKind::kService || kind == ObjectKind::kSlice ? Phase::kServices
                        : kind == ObjectKind::kCiliumPolicy                          ? Phase::kPolicies
                                                                                     : Phase::kEndpoints;
    pending_.changes += phase == shared_.phase ? 1 : 0;
  }

  // How many of our policies have changed by now.
  std::uint32_t policies_due() {
    if (policies_changed_ == 0) {
      policies_since_ = Clock::now();
    }
    return 1 + static_cast<std::uint32_t>(seconds_since(policies_since_) * policy_churn_);
  }

  // One iteration of the daemon's loop: publishes received changes at the daemon's pace.
  void follow(std::chrono::milliseconds max) {
    pending_ = {};
    wait(max);
    if (!take()) {
      return;
    }
    for (const auto due = pace_.due(Clock::now()); Clock::now() < due;) {
      wait(due - Clock::now());
      take();
    }
    const Phase phase = shared_.phase;
    const double before = thread_cpu_ms();
    publish();
    pending_.cpu_ms += thread_cpu_ms() - before;
    if (is_measured(phase) && pending_.changes != 0) {
      costs_[index_of(phase)].add(pending_.cpu_ms, pending_.changes);
    }
    pace_.published(Clock::now());
  }

  // In a turn, as the daemon's.
  void publish() {
    ModelChanges changes;
    CompileResult result;
    bool done = false;
    turns_.take({[&] { changes = model_.take_changes(); },
                 [&] {
                   const double before = thread_cpu_ms();
                   result = compiler_->compile(changes);
                   pending_.cpu_ms += thread_cpu_ms() - before;
                 },
                 [&] {
                   engine_->upsert_endpoints(result.upsert);
                   engine_->remove_endpoints(Realm{}, result.remove);
                   if (!result.delta.empty()) {
                     need(engine_->publish(result.delta));
                   }
                   ++shared_.publishes;
                   done = true;
                 }});
    while (!done) {
      loop_.io().run_one();
    }
  }

  // Below: the worker's thread.

  // Settled connections to our addresses, from every fourth cluster: the patches replace 16 address bits, which is the
  // range of four clusters. Templates and patches advance together, so that packets carry their source's identity.
  void make_connections() {
    std::vector<std::uint32_t> clusters;
    for (std::uint32_t c = 4; c <= fleet_.clusters; c += 4) {
      clusters.push_back(c);
    }
    FrameShape shape;
    shape.tunnel = true;
    shape.tunnel_to = kTunnel;
    shape.destination = address(kOwnBase, 0);
    shape.fixed_port = L4Port{kPort};
    shape.source_port_varies = true;
    for (const std::uint32_t c : clusters) {
      shape.source = endpoint_address(c, 0);
      shape.tunnel_from = gateway_address(c);
      shape.vni = identity_of(c, 0);
      templates_.emplace_back(shape);
    }
    for (std::uint32_t e = 0; e < fleet_.endpoints; e += kIdentities) {
      for (unsigned n = 0; n < kConnectionsPerEndpoint; ++n) {
        for (const std::uint32_t c : clusters) {
          patches_.push_back({low(endpoint_address(c, e)), low(address(kOwnBase, 1 + e % 1000)),
                              Be16::of(static_cast<std::uint16_t>(10000 + n))});
        }
      }
    }
    shape.source = endpoint_address(kProbeCluster, 0);
    shape.tunnel_from = gateway_address(kProbeCluster);
    shape.fixed_port = L4Port{kProbePort};
    for (std::uint32_t n = 0; n < kIdentities; ++n) {
      shape.vni = identity_of(kProbeCluster, n);
      probes_.push_back({FrameTemplate(shape)});
    }
  }

  static Be16 low(const IpAddress& a) { return Be16::of(static_cast<std::uint16_t>(a.as_ipv4().host() & 0xffff)); }

  // Forwards one job of settled packets. Returns cycles per packet.
  double drive(std::size_t phase) {
    Pump& in = underlay_->pump(0);
    const std::uint64_t before = local_->pump(0).sent();
    in.load({&templates_, &patches_, first_}, kJobPackets, kMaxBurst, false);
    // Continue after this job's connections, rounded down to a multiple of the templates.
    first_ = (first_ + kJobPackets - kJobPackets % templates_.size()) % patches_.size();
    in.prepare();
    Stopwatch watch;
    watch.start();
    while (in.pending()) {
      engine_->run_round(WorkerId{0});
    }
    watch.stop();
    const std::uint64_t came = local_->pump(0).sent() - before;
    shared_.packets[phase] += static_cast<double>(kJobPackets);
    shared_.lost[phase] += static_cast<double>(kJobPackets - std::min(came, kJobPackets));
    return watch.cycles() / static_cast<double>(kJobPackets);
  }

  // Sends a packet of a new connection with the newest probe's identity: forwarded, or dropped if the table is older.
  void probe() {
    const std::uint32_t newest = shared_.probe;
    if (newest == 0 || shared_.passed[newest] != 0) {
      return;
    }
    const std::vector<PacketPatch> patch{{low(endpoint_address(kProbeCluster, kProbeEndpoint)),
                                          low(address(kOwnBase, 2000 + next_port_ / 50000)),
                                          Be16::of(static_cast<std::uint16_t>(10000 + next_port_ % 50000))}};
    ++next_port_;
    const std::uint64_t before = local_->pump(0).sent();
    underlay_->pump(0).load({&probes_[newest % kIdentities], &patch, 0}, 1, 1, false);
    while (underlay_->pump(0).pending()) {
      engine_->run_round(WorkerId{0});
    }
    if (local_->pump(0).sent() != before) {
      shared_.passed[newest] = now_ns();
    }
  }

  void work() {
    make_connections();
    for (std::uint64_t created = 0; created < patches_.size();
         created += kJobPackets - kJobPackets % templates_.size()) {
      drive(0);
    }
    shared_.packets = shared_.lost = {};
    shared_.ready = true;
    std::array<std::vector<double>, kPhases> cycles;
    auto started = Clock::now();
    EngineCounters before = engine_->counters();
    Phase phase = Phase::kSettling;
    auto next_job = Clock::now();
    const auto settle = [&] {
      const EngineCounters after = engine_->counters();
      const std::size_t i = is_measured(phase) ? index_of(phase) : 0;
      if (is_measured(phase) && !cycles[i].empty()) {
        std::nth_element(cycles[i].begin(), cycles[i].begin() + static_cast<std::ptrdiff_t>(cycles[i].size() / 2),
                         cycles[i].end());
        shared_.cycles[i] = cycles[i][cycles[i].size() / 2];
        shared_.seconds[i] = seconds_since(started);
        shared_.revalidations[i] = static_cast<double>(after.revalidations - before.revalidations);
      }
      started = Clock::now();
      before = after;
    };
    while (shared_.phase != Phase::kDone) {
      if (shared_.phase != phase) {
        settle();
        phase = shared_.phase;
      }
      probe();
      if (is_measured(phase) && Clock::now() >= next_job) {
        const std::size_t i = index_of(phase);
        cycles[i].push_back(drive(i));
        next_job = Clock::now() + kJobEvery;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    settle();
  }

  struct Pending {  // since the last publish
    double cpu_ms = 0;
    std::uint32_t changes = 0;  // of the phase's kind
  };

  const SyntheticFleet fleet_;
  const std::uint32_t policy_churn_;
  Shared& shared_;
  std::array<Costs, kPhases> costs_;
  Pending pending_;
  std::uint32_t policies_changed_ = 0;
  Clock::time_point policies_since_;
  std::unique_ptr<Engine> engine_;
  PumpDevice *underlay_ = nullptr, *local_ = nullptr;
  AdjacencyId hop_, local_hop_;
  EventLoop loop_;
  Turns turns_{loop_};
  Model model_;
  std::unique_ptr<EtcdSource> source_;
  std::unique_ptr<Compiler> compiler_;
  PublishPace pace_;
  std::vector<FrameTemplate> templates_;
  std::vector<PacketPatch> patches_;
  std::size_t first_ = 0;                           // first patch of the next job; a multiple of the templates
  std::vector<std::vector<FrameTemplate>> probes_;  // by identity
  std::uint32_t next_port_ = 0;
};

}  // namespace

std::uint32_t probe_identity(std::uint32_t probe) { return identity_of(kProbeCluster, probe % kIdentities); }

void run_subject(const SyntheticFleet& fleet, std::uint32_t policy_churn, const std::string& client_config,
                 Shared& shared) {
  raise_priority();  // as the daemon does
  Subject(fleet, policy_churn, client_config, shared).run();
}

}  // namespace isthmus::perf
