// perf-reload: the effect of changes and floods on live connections.
//   reload          packets lost, and blocked time (packets lost / offered rate), while a control thread publishes
//                   services, endpoints and policies continuously and a worker forwards both ways. Goal: 0.
//   flood/syn       a flood of new connections beside live ones: live ones lose nothing, memory stays constant, the
//                   half-open limit and aging hold.
//   policy/settled  cost of policy for settled connections: none is expected, since decisions are cached.
// See perf-reload --help for options.
#include <fnmatch.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <random>
#include <thread>

#include "perf/figures/figures.h"
#include "perf/figures/stopwatch.h"
#include "perf/path/cases.h"
#include "perf/path/gateway.h"

namespace isthmus::perf {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::vector<std::string> cases = {"*"};
  std::uint32_t connections = 100'000;
  double seconds = 5;
  std::string json;
};

constexpr std::uint64_t kJobPackets = 65536;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// Frames of live connections in both directions, in random order.
struct Live {
  explicit Live(const Gateway& gateway) {
    std::vector<std::uint32_t> order(gateway.options().connections);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    for (const Way way : {Way::kLocalToFabric, Way::kFabricToLocal}) {
      templates.push_back(templates_of(gateway.shape_of(way), FrameMix::k64));
      patches.push_back(gateway.patches_of(order, way));
    }
  }
  [[nodiscard]] Job job(unsigned side) const {
    return {side == 0 ? Way::kLocalToFabric : Way::kFabricToLocal,
            &templates[side],
            &patches[side],
            kJobPackets,
            kMaxBurst,
            false};
  }
  std::vector<std::vector<FrameTemplate>> templates;
  std::vector<std::vector<PacketPatch>> patches;
};

struct Drive {
  std::uint64_t offered = 0, lost = 0;
  double seconds = 0, longest_ms = 0;
  std::vector<double> cycles;  // per packet, one value per job
};

// Cost of `busy` relative to `quiet`, the same load without the changes. The caller adds the measures.
Figure figure_of(const char* name, std::uint32_t connections, const Drive& busy, const Drive& quiet,
                 const char* reference) {
  Figure figure;
  figure.name = name;
  figure.device = "memory";
  figure.flows = connections;
  figure.frame_bytes = 60;
  figure.burst = kMaxBurst;
  figure.buffers = "hot";
  figure.cycles = busy.cycles;
  figure.mpps = tsc_rate() / median_of(busy.cycles) / 1e6;
  figure.reference = reference;
  figure.ratio_to_reference = median_of(busy.cycles) / median_of(quiet.cycles);
  return figure;
}

// One job in each direction.
void drive_both(Gateway& gateway, const Live& live, Drive& drive) {
  for (unsigned side = 0; side < 2; ++side) {
    const Job job = live.job(side);
    const std::uint64_t before = gateway.sent(job.way, 0);
    const auto start = Clock::now();
    drive.cycles.push_back(gateway.drive(0, job) / static_cast<double>(kJobPackets));
    const double took = seconds_since(start);
    drive.seconds += took;
    drive.longest_ms = std::max(drive.longest_ms, 1e3 * took);
    drive.offered += kJobPackets;
    drive.lost += kJobPackets - (gateway.sent(job.way, 0) - before);
  }
}

Figure reload(const Options& options, const std::vector<int>& cores) {
  GatewayOptions setup;
  setup.kind = Kind::kService;
  setup.connections = options.connections;
  Gateway gateway(setup);
  const Live live(gateway);
  Drive quiet, busy;
  std::atomic<bool> changing{false}, stop{false};
  std::thread worker([&] {
    pin_to(cores.front());
    drive_both(gateway, live, quiet);  // warm-up
    quiet = {};
    for (const auto start = Clock::now(); seconds_since(start) < options.seconds / 4;) {
      drive_both(gateway, live, quiet);
    }
    changing = true;
    while (!stop) {
      drive_both(gateway, live, busy);
    }
  });
  if (cores.size() > 1) {
    pin_to(cores[1]);
  }
  while (!changing) {
    usleep(1000);
  }
  const EngineCounters before = gateway.counters();
  std::uint64_t publishes = 0;
  const auto start = Clock::now();
  while (seconds_since(start) < options.seconds) {
    gateway.change_services();
    gateway.change_endpoints();
    gateway.change_policies();
    publishes += 3;
  }
  const double took = seconds_since(start);
  stop = true;
  worker.join();
  const EngineCounters after = gateway.counters();
  Figure figure = figure_of("reload", options.connections, busy, quiet, "no changes");
  const double rate = static_cast<double>(busy.offered) / busy.seconds;
  figure.measures = {{"packets offered", static_cast<double>(busy.offered)},
                     {"packets lost", static_cast<double>(busy.lost + quiet.lost)},
                     {"blocked time, us", 1e6 * static_cast<double>(busy.lost) / rate},
                     {"publishes per second", static_cast<double>(publishes) / took},
                     {"revalidations", static_cast<double>(after.revalidations - before.revalidations)},
                     {"longest job of 65536 packets, ms", busy.longest_ms}};
  if (busy.lost + quiet.lost != 0) {
    fail("lost packets under change: " + drops_text(after));
  }
  return figure;
}

double resident_mib() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

struct Flood {
  std::uint64_t offered = 0, peak_connections = 0, peak_half_open = 0;
  std::vector<double> cycles;
};

// One packet each of new connections.
void drive_flood(Gateway& gateway, std::uint32_t& next, const std::vector<FrameTemplate>& templates, Flood& flood) {
  std::vector<std::uint32_t> fresh(kJobPackets);
  std::iota(fresh.begin(), fresh.end(), next);
  next += static_cast<std::uint32_t>(kJobPackets);
  const auto patches = gateway.patches_of(fresh, Way::kLocalToFabric);
  const Job job{Way::kLocalToFabric, &templates, &patches, kJobPackets, kMaxBurst, false};
  flood.cycles.push_back(gateway.drive(0, job) / static_cast<double>(kJobPackets));
  flood.offered += kJobPackets;
  const EngineCounters now = gateway.counters();
  flood.peak_connections = std::max(flood.peak_connections, now.connections.now);
  flood.peak_half_open = std::max(flood.peak_half_open, now.connections.half_open);
}

Figure flood_syn(const Options& options, const std::vector<int>& cores) {
  constexpr std::uint32_t kHalfOpenLimit = 16384, kMaxFresh = 200'000'000;  // kMaxFresh: highest connection number
  pin_to(cores.front());
  GatewayOptions setup;
  setup.kind = Kind::kService;
  setup.connections = options.connections;
  setup.spare = 2 * kHalfOpenLimit;
  setup.half_open_limit = kHalfOpenLimit;
  Gateway gateway(setup);
  const Live live(gateway);
  const auto templates = templates_of(gateway.shape_of(Way::kLocalToFabric, kSyn), FrameMix::k64);
  Drive quiet, busy;
  drive_both(gateway, live, quiet);
  quiet = {};
  for (const auto start = Clock::now(); seconds_since(start) < options.seconds / 4;) {
    drive_both(gateway, live, quiet);
  }
  const EngineCounters before = gateway.counters();
  const double resident = resident_mib();
  Flood flood;
  std::uint32_t next = options.connections;
  for (const auto start = Clock::now(); seconds_since(start) < options.seconds && next < kMaxFresh;) {
    drive_flood(gateway, next, templates, flood);
    drive_both(gateway, live, busy);
  }
  const EngineCounters after = gateway.counters();
  const double grown = resident_mib() - resident;
  const auto ended = Clock::now();
  while (gateway.counters().connections.now != options.connections && seconds_since(ended) < 60) {
    gateway.idle_round(0);
    usleep(500);
  }
  const double aged = seconds_since(ended);
  const std::uint64_t evicted = after.connections.half_open_evicted;
  Figure figure = figure_of("flood/syn", options.connections, busy, quiet, "no flood");
  figure.measures = {
      {"live packets", static_cast<double>(busy.offered)},
      {"live packets lost", static_cast<double>(busy.lost)},
      {"live connections afterwards", static_cast<double>(gateway.counters().connections.now)},
      {"flood packets", static_cast<double>(flood.offered)},
      {"flood cycles per packet", median_of(flood.cycles)},
      {"flood connections created", static_cast<double>(after.connections.created - before.connections.created)},
      {"flood connections that made room for others", static_cast<double>(evicted)},
      {"half-open limit", kHalfOpenLimit},
      {"max half-open connections", static_cast<double>(flood.peak_half_open)},
      {"max connections", static_cast<double>(flood.peak_connections)},
      {"capacity", static_cast<double>(after.connections.capacity)},
      {"resident memory grown, MiB", grown},
      {"seconds until the flood was aged out", aged}};
  if (busy.lost + quiet.lost != 0 || gateway.counters().connections.now != options.connections ||
      flood.peak_half_open > kHalfOpenLimit || evicted == 0) {
    print(figure);
    fail("flood/syn: a live connection lost packets, or the half-open limit did not hold; drops: " + drops_text(after));
  }
  return figure;
}

// The two gateways are measured alternately, so that other load on the machine affects both.
Figure policy_cost(const Options& options, const std::vector<int>& cores) {
  pin_to(cores.front());
  GatewayOptions setup;
  setup.kind = Kind::kService;
  setup.connections = options.connections;
  Gateway policed(setup);
  setup.policies = false;
  Gateway open(setup);
  const Live of_policed(policed), of_open(open);
  Drive with, without;
  drive_both(policed, of_policed, with);  // warm-up
  drive_both(open, of_open, without);
  with = without = {};
  for (const auto start = Clock::now(); seconds_since(start) < options.seconds;) {
    drive_both(policed, of_policed, with);
    drive_both(open, of_open, without);
  }
  Figure figure = figure_of("policy/settled", options.connections, with, without, "no policies");
  figure.measures = {{"cycles per packet without policies", median_of(without.cycles)},
                     {"packets lost", static_cast<double>(with.lost + without.lost)}};
  return figure;
}

int run(const Options& options) {
  const std::vector<int> cores = usable_cores();
  const struct {
    const char* name;
    Figure (*run)(const Options&, const std::vector<int>&);
  } kCases[] = {{"reload", reload}, {"flood/syn", flood_syn}, {"policy/settled", policy_cost}};
  std::vector<Figure> figures;
  for (const auto& one : kCases) {
    if (std::any_of(options.cases.begin(), options.cases.end(),
                    [&](const std::string& glob) { return fnmatch(glob.c_str(), one.name, 0) == 0; })) {
      figures.push_back(one.run(options, cores));
      print(figures.back());
    }
  }
  if (figures.empty()) {
    fail("no case matches; the cases are reload, flood/syn, policy/settled");
  }
  if (!options.json.empty()) {
    write_json(figures, options.json);
  }
  return 0;
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  isthmus::perf::Options options;
  CLI::App app("The effect of changes and floods on live connections: a gateway over memory devices.", "perf-reload");
  app.add_option("--case", options.cases, "reload, flood/syn, policy/settled; * and ? match (*)");
  app.add_option("--connections", options.connections, "live connections (100000)")->check(CLI::Range(1U, 10'000'000U));
  app.add_option("--seconds", options.seconds, "length of each case (5)")->check(CLI::Range(0.1, 3600.0));
  app.add_option("--json", options.json, "output file for the results");
  CLI11_PARSE(app, argc, argv);
  return isthmus::perf::run(options);
}
