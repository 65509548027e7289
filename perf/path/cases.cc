#include "perf/path/cases.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ctime>
#include <numeric>
#include <random>
#include <thread>

#include "perf/figures/stopwatch.h"
#include "perf/path/stages.h"

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kMinSequence = 8192, kMinZipf = 65536;
constexpr std::size_t kChecked = 256;  // output frames that are verified
constexpr unsigned kSeed = 20261122;

std::vector<std::uint32_t> permutation(std::uint32_t first, std::uint32_t count, std::mt19937& random) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), first);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

// Connections drawn with probability proportional to 1/rank, in random rank order.
std::vector<std::uint32_t> zipf(std::uint32_t connections, std::mt19937& random) {
  const std::vector<std::uint32_t> by_rank = permutation(0, connections, random);
  std::vector<double> cumulative(connections);
  double sum = 0;
  for (std::uint32_t rank = 0; rank < connections; ++rank) {
    cumulative[rank] = sum += 1.0 / (rank + 1);
  }
  std::uniform_real_distribution<double> any(0, sum);
  std::vector<std::uint32_t> order(std::max(connections, kMinZipf));
  for (std::uint32_t& n : order) {
    const auto rank = std::lower_bound(cumulative.begin(), cumulative.end(), any(random)) - cumulative.begin();
    n = by_rank[std::min<std::size_t>(static_cast<std::size_t>(rank), connections - 1)];
  }
  return order;
}

std::vector<std::uint32_t> sequence(std::uint32_t connections, Order order) {
  std::mt19937 random(kSeed);
  if (order == Order::kZipf) {
    return zipf(connections, random);
  }
  std::vector<std::uint32_t> all;
  do {
    const auto more = permutation(0, connections, random);
    all.insert(all.end(), more.begin(), more.end());
  } while (all.size() < kMinSequence);
  return all;
}

std::uint64_t named_drops(const EngineCounters& counters, std::string_view name) {
  for (const DropCount& drop : counters.drops) {
    if (drop.name == name) {
      return drop.packets;
    }
  }
  fail("unknown drop reason " + std::string(name));
}

// Cost of the pump alone: providing the frames and taking them back.
double driver_cycles(const Stream& stream, std::uint64_t packets, unsigned burst, bool cold) {
  FramePool::Options memory;
  memory.staggered = PumpDevice::kStaggered;
  auto pool = need(FramePool::create(memory));
  PumpDevice device("driver", Bytes{1600});
  auto queue = need(device.open_queue(WorkerId{0}, 1, *pool));
  Pump& pump = device.pump(0);
  std::array<Frame, kMaxBurst> frames;
  std::vector<double> runs;
  for (int run = 0; run < 3; ++run) {
    pump.load(stream, packets, burst, cold);
    Stopwatch watch;
    while (pump.left() != 0) {
      pump.prepare();
      watch.start();
      while (pump.pending()) {
        queue->transmit({frames.data(), queue->receive(frames)});
      }
      watch.stop();
    }
    runs.push_back(watch.cycles() / static_cast<double>(packets));
  }
  std::sort(runs.begin(), runs.end());
  return runs[1];
}

// Cost of copying the same bytes within the cache.
double memcpy_cycles(const std::vector<FrameTemplate>& templates) {
  constexpr std::size_t kSlots = 64, kSlotBytes = 2048;
  constexpr std::uint64_t kCopies = 262144;
  std::vector<std::uint8_t> from(kSlotBytes), to(kSlots * kSlotBytes);
  Stopwatch watch;
  watch.start();
  std::size_t next = 0;
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    std::memcpy(to.data() + (i % kSlots) * kSlotBytes, from.data(), templates[next].length());
    asm volatile("" : : "r"(to.data()) : "memory");
    next = next + 1 == templates.size() ? 0 : next + 1;
  }
  watch.stop();
  return watch.cycles() / static_cast<double>(kCopies);
}

}  // namespace

const std::vector<Case>& cases() {
  using What = Case::What;
  static const std::vector<Case> all = {
      {"path/local-to-fabric/pod", "settled connections to pods of another cluster, into the tunnel", Kind::kPod,
       Way::kLocalToFabric, What::kSettled},
      {"path/local-to-fabric/service", "settled connections to VIPs: translated, into the tunnel", Kind::kService,
       Way::kLocalToFabric, What::kSettled},
      {"path/fabric-to-local/pod", "their replies, out of the tunnel", Kind::kPod, Way::kFabricToLocal, What::kSettled},
      {"path/fabric-to-local/service-reply", "replies of services: out of the tunnel, translation undone",
       Kind::kService, Way::kFabricToLocal, What::kSettled},
      {"path/local-to-fabric/aliased-pod", "the same as pod, from a cluster with aliases: translated",
       Kind::kAliasedPod, Way::kLocalToFabric, What::kSettled},
      {"path/fabric-to-local/aliased-pod", "their replies: out of the tunnel, translation undone", Kind::kAliasedPod,
       Way::kFabricToLocal, What::kSettled},
      {"path/new-flow/aliased-pod", "first packets of connections of a cluster with aliases", Kind::kAliasedPod,
       Way::kLocalToFabric, What::kNewFlow},
      {"path/new-flow", "first packets of connections to VIPs, in addition to the settled ones", Kind::kService,
       Way::kLocalToFabric, What::kNewFlow},
      {"path/revalidate", "packets of settled connections to VIPs whose decision is no longer valid", Kind::kService,
       Way::kLocalToFabric, What::kRevalidate},
      {"path/drop", "tunnel packets with a source outside the sender's cluster: dropped by source validation",
       Kind::kPod, Way::kFabricToLocal, What::kDrop},
  };
  return all;
}

struct Bench::Plan {
  const Case* what = nullptr;
  Row row;
  Gateway* gateway = nullptr;
  std::vector<FrameTemplate> templates;
  std::vector<std::vector<PacketPatch>> patches;  // by worker
  std::uint64_t packets = 0;                      // per worker and pass
  unsigned passes = 1;                            // per run
};

Gateway& Bench::gateway_for(const Case& what, const Row& row) {
  GatewayOptions desired;
  desired.kind = what.kind;
  desired.state = options_.state;
  desired.driver = options_.driver;
  desired.events = options_.events;
  desired.connections = row.connections;
  // As many new ones that a run takes long: the first milliseconds after the wait for aging, in which nothing is in the
  // caches, cost three times as much.
  constexpr std::uint64_t kLeast = 16384, kMost = 131072;
  const auto spare = static_cast<std::uint32_t>(std::clamp(options_.min_packets, kLeast, kMost));
  desired.spare = what.what == Case::What::kNewFlow ? spare : 0;
  desired.workers = row.workers;
  const auto same = [&](const GatewayOptions& current) {
    return current.kind == desired.kind && current.connections == desired.connections &&
           current.spare == desired.spare && current.workers == desired.workers;
  };
  if (gateway_ == nullptr || !same(gateway_->options())) {
    gateway_.reset();
    gateway_ = std::make_unique<Gateway>(desired);
  }
  return *gateway_;
}

void Bench::prepare(Plan& plan) {
  const Row& row = plan.row;
  Gateway& gateway = *plan.gateway;
  FrameShape shape = gateway.shape_of(plan.what->way, plan.what->what == Case::What::kNewFlow ? kSyn : kAck);
  std::mt19937 random(kSeed);
  std::vector<std::uint32_t> order;
  switch (plan.what->what) {
    case Case::What::kDrop:
      shape.source = *IpAddress::parse("10.9.0.0");
      [[fallthrough]];
    case Case::What::kSettled:
      order = sequence(row.connections, row.order);
      break;
    case Case::What::kNewFlow:
      order = permutation(row.connections, gateway.options().spare, random);
      break;
    case Case::What::kRevalidate:
      order = permutation(0, row.connections, random);
      plan.passes = static_cast<unsigned>(std::max<std::uint64_t>(1, options_.min_packets / 4 / row.connections));
      break;
  }
  plan.templates = templates_of(shape, row.frame);
  std::vector<std::vector<std::uint32_t>> by_worker(row.workers);
  for (const std::uint32_t n : order) {
    by_worker[n % row.workers].push_back(n);
  }
  std::uint64_t min_share = ~std::uint64_t{0};
  for (const auto& share : by_worker) {
    plan.patches.push_back(gateway.patches_of(share, plan.what->way));
    min_share = std::min<std::uint64_t>(min_share, share.size());
  }
  if (min_share == 0) {
    fail("fewer connections than workers: increase --connections");
  }
  const bool repeats = plan.what->what == Case::What::kSettled || plan.what->what == Case::What::kDrop;
  plan.packets = repeats ? std::max(min_share, options_.min_packets / row.workers) : min_share;
}

// Runs every worker's share once. Returns the mean of the workers' cycles.
double Bench::drive_all(const Plan& plan) {
  const auto job = [&](unsigned worker) {
    return Job{plan.what->way, &plan.templates, &plan.patches[worker], plan.packets, plan.row.burst, plan.row.cold};
  };
  if (plan.row.workers == 1) {
    return plan.gateway->drive(0, job(0));
  }
  std::vector<std::thread> threads;
  std::vector<double> cycles(plan.row.workers);
  std::atomic<unsigned> ready{0};
  for (unsigned worker = 0; worker < plan.row.workers; ++worker) {
    threads.emplace_back([&, worker] {
      pin_to(options_.cores[worker % options_.cores.size()]);
      ready.fetch_add(1);
      while (ready.load() < plan.row.workers) {
      }
      cycles[worker] = plan.gateway->drive(worker, job(worker));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return std::accumulate(cycles.begin(), cycles.end(), 0.0) / plan.row.workers;
}

// Checks that every packet was handled as the case says, and that nothing else happened.
void Bench::check(const Plan& plan, const EngineCounters& before, std::uint64_t packets) {
  const EngineCounters after = plan.gateway->counters();
  const auto expect = [&](const char* what, std::uint64_t actual, std::uint64_t expected) {
    if (actual != expected) {
      fail(plan.row.name + ": " + what + " " + std::to_string(actual) + " instead of " + std::to_string(expected) +
           "; packets " + std::to_string(packets) + ", drops " + drops_text(after));
    }
  };
  const auto what = plan.what->what;
  const std::uint64_t dropped = what == Case::What::kDrop ? packets : 0;
  expect("packets in:", after.rx_packets - before.rx_packets, packets);
  expect("packets out:", after.tx_packets - before.tx_packets, packets - dropped);
  expect("packets dropped:", drops(after) - drops(before), dropped);
  if (what == Case::What::kDrop) {
    expect("packets dropped by source validation:",
           named_drops(after, "source_outside_cluster") - named_drops(before, "source_outside_cluster"), packets);
  }
  const bool hits = what == Case::What::kSettled || what == Case::What::kRevalidate;
  expect("packets without a connection:", after.misses - before.misses, hits ? 0 : packets);
  expect("connections created:", after.connections.created - before.connections.created,
         what == Case::What::kNewFlow ? packets : 0);
  // During warm-up, connections of an earlier path/revalidate row may still need revalidation.
  if (warm_) {
    expect("revalidations:", after.revalidations - before.revalidations, what == Case::What::kRevalidate ? packets : 0);
  }
}

// New connections have a timeout of a few seconds: waits until they are aged out.
void Bench::wait_for_aging(const Plan& plan) {
  constexpr int kMaxWaitMs = 60000;
  for (int waited = 0; plan.gateway->counters().connections.now != plan.row.connections; ++waited) {
    if (waited == kMaxWaitMs) {
      const auto counts = plan.gateway->counters().connections;
      fail(plan.row.name + ": new connections do not expire: " + std::to_string(counts.now) + " instead of " +
           std::to_string(plan.row.connections) + "; " + std::to_string(counts.evicted) + " have made room, " +
           std::to_string(counts.half_open_evicted) + " of them half-open");
    }
    for (unsigned worker = 0; worker < plan.row.workers; ++worker) {
      plan.gateway->idle_round(worker);
    }
    usleep(1000);
  }
}

// Cycles per packet of one run.
double Bench::once(const Plan& plan) {
  const EngineCounters before = plan.gateway->counters();
  double cycles = 0;
  for (unsigned pass = 0; pass < plan.passes; ++pass) {
    if (plan.what->what == Case::What::kRevalidate) {
      plan.gateway->move_peer();
    }
    if (warm_ && options_.before_run) {
      options_.before_run();
    }
    cycles += drive_all(plan);
    if (warm_ && options_.after_run) {
      options_.after_run();
    }
  }
  check(plan, before, plan.packets * plan.passes * plan.row.workers);
  if (plan.what->what == Case::What::kNewFlow) {
    wait_for_aging(plan);
  }
  return cycles / static_cast<double>(plan.packets * plan.passes);
}

Outcome Bench::measure(const Row& row) {
  Plan plan;
  plan.row = row;
  for (const Case& one : cases()) {
    plan.what = one.name == row.name ? &one : plan.what;
  }
  pin_to(options_.cores.front());
  plan.gateway = &gateway_for(*plan.what, row);
  prepare(plan);
  if (plan.what->what == Case::What::kSettled) {
    const Job job{plan.what->way, &plan.templates, &plan.patches[0], kChecked, row.burst, false};
    const std::string error =
        output_error(plan.what->kind, plan.what->way, plan.gateway->drive_and_keep(job, kChecked));
    if (!error.empty()) {
      fail(row.name + ": " + error);
    }
  }
  Outcome outcome;
  outcome.row = row;
  warm_ = false;
  static_cast<void>(once(plan));
  warm_ = true;
  const unsigned runs = plan.what->what == Case::What::kNewFlow ? std::min(options_.runs, 3U) : options_.runs;
  for (unsigned run = 0; run < runs; ++run) {
    static_cast<void>(take_stage_cycles());
    outcome.cycles.push_back(once(plan));
  }
  outcome.packets_per_run = plan.packets * plan.passes * row.workers;
  for (const auto& [stage, cycles] : take_stage_cycles()) {
    outcome.stages.push_back({stage, static_cast<double>(cycles) / static_cast<double>(outcome.packets_per_run)});
  }
  if (!outcome.stages.empty()) {
    double known = 0;
    for (const StageCost& stage : outcome.stages) {
      known += stage.cycles_per_packet;
    }
    outcome.stages.push_back({"driver, worker", outcome.cycles.back() - known});
  }
  std::sort(outcome.cycles.begin(), outcome.cycles.end());
  outcome.frame_bytes = mean_length(plan.templates);
  outcome.mpps = tsc_rate() / outcome.median() * row.workers / 1e6;
  outcome.driver_cycles = driver_cycles({&plan.templates, &plan.patches[0]},
                                        std::max(plan.packets, options_.min_packets), row.burst, row.cold);
  outcome.memcpy_cycles = memcpy_cycles(plan.templates);
  return outcome;
}

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = CPU_SETSIZE - 1; core >= 0; --core) {
      if (CPU_ISSET(static_cast<std::size_t>(core), &set)) {
        cores.push_back(core);
      }
    }
  }
  return cores.empty() ? std::vector<int>{0} : cores;
}

void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(core), &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    fail("cannot run on core " + std::to_string(core));
  }
}

}  // namespace isthmus::perf
