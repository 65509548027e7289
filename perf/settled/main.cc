// perf-settled: settled flows on their course through a node, each course, on one core: with our gateway, handed down
// to the kernel's XDP programs and not; with the kernel doing the same work; and with the least that an XDP program
// does to the same bytes (the reference).
//   io/xdp/vxlan/*    pods talk to pods of another cluster
//   io/xdp/service/*  to a service: translated, tracked
//   io/xdp/hand-down  how soon a gateway has handed down flows that are hot at once, and CPU time of the thread
//   io/xdp/maps       the maps of as many flows as the largest number asked for: memory, and CPU time per entry
//   io/xdp/reload     settled flows while tables are published without a pause: what is lost
//   io/xdp/flood      settled flows beside a flood of connections without a reply: what is lost
//   io/xdp/new-flows  short connections, with hand-down and without: what it adds to their cost
//   io/xdp/helper-calls  the reference with more helper calls: what one costs, the machine's mitigations included
// Pump, forwarder and sink share core 0, so that a rate is the cost of a frame, theirs included. Frames are looked at
// at the sink: a wrong one ends the run, and so do figures below the floors. Stands take turns, so that all see the
// same machine conditions.
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "perf/figures/figures.h"
#include "perf/io/traffic.h"
#include "perf/io/turns.h"
#include "perf/settled/maps.h"
#include "perf/settled/subjects.h"

namespace isthmus::perf {
namespace {

struct Options {
  std::vector<std::string> cases = {"*"};
  std::vector<std::uint32_t> flows = {1024, 65536, 1048576};
  std::vector<std::string> only;  // names of stands; empty: all
  SettledRun run;
  unsigned runs = 10;
  std::string json;
};

struct CourseName {
  const char* name;
  char request;
};
constexpr CourseName kCourses[] = {{"to-fabric", kTurnToFabric}, {"from-fabric", kTurnFromFabric}};
constexpr struct {
  const char* name;
  Work work;
} kWorks[] = {{"vxlan", Work::kForward}, {"service", Work::kTranslate}};

constexpr const char* kHelperCalls = "io/xdp/helper-calls";
constexpr const char* kHandDown = "io/xdp/hand-down";
constexpr const char* kMaps = "io/xdp/maps";
constexpr const char* kReload = "io/xdp/reload";
constexpr const char* kFlood = "io/xdp/flood";
constexpr const char* kNewFlows = "io/xdp/new-flows";
constexpr double kPressedSeconds = 5;

std::string case_of(const char* work, const CourseName& course) {
  return std::string("io/xdp/") + work + "/" + course.name;
}

bool wanted(const Options& options, const std::string& name) {
  return std::any_of(options.cases.begin(), options.cases.end(),
                     [&](const std::string& glob) { return fnmatch(glob.c_str(), name.c_str(), 0) == 0; });
}

// A gateway finds only so many hot flows in a second; the maps of more are filled by the benchmark.
constexpr std::uint32_t kMostFlowsOfAGateway = 65536;

using Stands = std::vector<std::shared_ptr<Stand>>;

// The kernel's translation has room for so many flows; it is one number for all network namespaces.
std::uint32_t conntrack_room() {
  std::uint32_t room = 0;
  std::ifstream("/proc/sys/net/netfilter/nf_conntrack_max") >> room;
  return room;
}

Stands stands_for(const Options& options, const SettledRun& run) {
  Stands stands;
  const auto add = [&](const char* name, Forwards what) {
    const bool named = std::find(options.only.begin(), options.only.end(), name) != options.only.end();
    if (options.only.empty() || named || stands.empty()) {
      stands.push_back(settled_stand(name, what, run));
    }
  };
  add("bare XDP redirect", Forwards::kBare);
  add("handed down", run.flows <= kMostFlowsOfAGateway ? Forwards::kHandedDown : Forwards::kPrograms);
  if (run.work == Work::kTranslate && run.flows > conntrack_room()) {
    std::fprintf(stderr, "without the kernel's path: %u flows do not fit; raise net.netfilter.nf_conntrack_max\n",
                 run.flows);
  } else {
    add("kernel", Forwards::kKernel);
  }
  add("AF_XDP", Forwards::kAfXdp);
  return stands;
}

// The median over turns of one stand's rate divided by another's in the same round.
double times(const TurnFigures& one, const TurnFigures& other) {
  std::vector<double> ratios;
  for (std::size_t turn = 0; turn < std::min(one.rates.size(), other.rates.size()); ++turn) {
    ratios.push_back(one.rates[turn] / other.rates[turn]);
  }
  return quartiles_of(ratios).median;
}

Figure figure_of(const std::string& name, const Turns& turns, const SettledRun& run) {
  const TurnFigures& ours = turns.figures(1);
  const Quartiles rate = quartiles_of(ours.rates), ratio = quartiles_of(ours.ratios);
  Figure figure;
  figure.name = name;
  figure.device = "veth";
  figure.flows = run.flows;
  figure.frame_bytes = run.inner_frame_bytes;
  figure.mpps = rate.median;
  figure.reference = turns.name(0);
  figure.ratio_to_reference = ratio.median;
  figure.measures = {{"ratio to the reference, lower quartile", ratio.low},
                     {"ratio to the reference, upper quartile", ratio.high}};
  for (std::size_t i = 0; i < turns.size(); ++i) {
    figure.measures.emplace_back(turns.name(i) + ", Mpps", quartiles_of(turns.figures(i).rates).median);
    if (i > 1) {
      figure.measures.emplace_back("times the rate of " + turns.name(i), times(ours, turns.figures(i)));
    }
  }
  return figure;
}

Turns take_turns(const Options& options, const Stands& stands, char request) {
  Turns turns(stands, request);
  for (unsigned n = 0; n < options.runs; ++n) {
    if (!turns.take()) {
      std::exit(1);
    }
  }
  return turns;
}

// Far below what is expected, because machines are noisy.
constexpr std::uint32_t kFewFlows = 1024;
constexpr double kFloorOfReference = 0.5, kFloorOfKernel = 2;

// Whether the figure of few flows, which are in the caches, is above the floors.
bool above_floors(const Figure& figure, const Turns& turns) {
  bool above = true;
  const auto check = [&](const std::string& what, double is, double floor) {
    if (is < floor) {
      std::fprintf(stderr, "perf-settled: %s: %.2f of the rate of %s, floor %.2f\n", figure.name.c_str(), is,
                   what.c_str(), floor);
      above = false;
    }
  };
  check(turns.name(0), *figure.ratio_to_reference, kFloorOfReference);
  for (std::size_t i = 2; i < turns.size(); ++i) {
    if (turns.name(i) == "kernel") {
      check(turns.name(i), times(turns.figures(1), turns.figures(i)), kFloorOfKernel);
    }
  }
  return above;
}

// All that is asked for of one kind of work, with so many flows.
void measure(const Options& options, const char* work_name, const SettledRun& run, std::vector<Figure>& figures) {
  if (std::none_of(std::begin(kCourses), std::end(kCourses),
                   [&](const CourseName& course) { return wanted(options, case_of(work_name, course)); })) {
    return;
  }
  const Stands stands = stands_for(options, run);
  for (const auto& stand : stands) {
    if (stand->ask(kSettle) <= 0) {
      std::fprintf(stderr, "perf-settled: %s is not ready\n", stand->name().c_str());
      std::exit(1);
    }
  }
  for (const CourseName& course : kCourses) {
    if (!wanted(options, case_of(work_name, course))) {
      continue;
    }
    const Turns turns = take_turns(options, stands, course.request);
    figures.push_back(figure_of(case_of(work_name, course), turns, run));
    print(figures.back());
    if (options.only.empty() && run.flows <= kFewFlows && !above_floors(figures.back(), turns)) {
      std::exit(1);
    }
  }
}

// The reference, and the same program with BARE_CALLS more calls.
Figure helper_calls(const Options& options, const std::string& name) {
  SettledRun run = options.run;
  run.flows = options.flows.front();
  const Stands stands = {settled_stand("bare XDP redirect", Forwards::kBare, run),
                         settled_stand("with more helper calls", Forwards::kBareCalls, run)};
  const Turns turns = take_turns(options, stands, kTurnToFabric);
  Figure figure = figure_of(name, turns, run);
  std::vector<double> costs;
  for (const double ratio : turns.figures(1).ratios) {
    costs.push_back((1 / ratio - 1) * 1e3 / quartiles_of(turns.figures(0).rates).median / BARE_CALLS);
  }
  const Quartiles cost = quartiles_of(costs);
  figure.measures.insert(figure.measures.end(), {{"calls", BARE_CALLS},
                                                 {"ns per call", cost.median},
                                                 {"ns per call, lower quartile", cost.low},
                                                 {"ns per call, upper quartile", cost.high}});
  return figure;
}

// Flows that all are new and hot at once.
Figure hand_down(const Options& options, const std::string& name) {
  SettledRun run = options.run;
  run.flows = std::min(*std::max_element(options.flows.begin(), options.flows.end()), kMostFlowsOfAGateway);
  const auto stand = settled_stand("handed down", Forwards::kHandedDown, run);
  if (stand->ask(kSettle) <= 0) {
    std::exit(1);
  }
  const double seconds = stand->ask(kSettlingSeconds), cpu = stand->ask(kHandDownSeconds);
  Figure figure;
  figure.name = name;
  figure.device = "veth";
  figure.flows = run.flows;
  figure.measures = {{"seconds until all were down, both directions", seconds},
                     {"flows a second", run.flows / seconds},
                     {"CPU us of the hand-down thread per flow", cpu * 1e6 / run.flows}};
  return figure;
}

// Of a gateway that hands down, or not.
template <std::size_t n>
std::array<double, n> press(Pressure pressure, const std::array<const char*, n>& names, bool hand_down) {
  SettledRun run;
  run.flows = kFewFlows;
  run.seconds = kPressedSeconds;
  run.pressure = pressure;
  const auto stand = settled_stand("under pressure", hand_down ? Forwards::kHandedDown : Forwards::kAfXdp, run);
  if (stand->ask(kSettle) <= 0 || stand->ask(kPress) <= 0) {
    std::exit(1);
  }
  std::array<double, n> measures{};
  for (std::size_t i = 0; i < names.size(); ++i) {
    measures[i] = stand->ask(static_cast<char>(kFirstMeasure + i));
  }
  return measures;
}

template <std::size_t n>
Figure figure_under(const std::string& name, const std::array<const char*, n>& names,
                    const std::array<double, n>& measures) {
  Figure figure;
  figure.name = name;
  figure.device = "veth";
  figure.flows = kFewFlows;
  for (std::size_t i = 0; i < n; ++i) {
    figure.measures.emplace_back(names[i], measures[i]);
    if (std::string_view(names[i]) == "frames lost" && measures[i] != 0) {
      std::fprintf(stderr, "perf-settled: %s: %.0f frames lost\n", name.c_str(), measures[i]);
      std::exit(1);
    }
  }
  return figure;
}

// Three turns of each, for the machine's clock changes.
Figure short_connections(const std::string& name) {
  constexpr std::size_t kWorker = 3;
  constexpr unsigned kTurns = 3;
  std::array<double, kNewFlowsMeasures.size()> with{};
  std::vector<double> more;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    const auto without = press(Pressure::kNewFlows, kNewFlowsMeasures, false);
    with = press(Pressure::kNewFlows, kNewFlowsMeasures, true);
    more.push_back(with[kWorker] / without[kWorker]);
  }
  Figure figure = figure_under(name, kNewFlowsMeasures, with);
  figure.reference = "without hand-down";
  figure.ratio_to_reference = quartiles_of(more).median;
  figure.measures.emplace_back("times the worker's CPU without hand-down, median of three", *figure.ratio_to_reference);
  return figure;
}

int run(Options& options) {
  std::vector<Figure> figures;
  if (wanted(options, kReload)) {
    figures.push_back(figure_under(kReload, kReloadMeasures, press(Pressure::kReload, kReloadMeasures, true)));
    print(figures.back());
  }
  if (wanted(options, kFlood)) {
    figures.push_back(figure_under(kFlood, kFloodMeasures, press(Pressure::kFlood, kFloodMeasures, true)));
    print(figures.back());
  }
  if (wanted(options, kNewFlows)) {
    figures.push_back(short_connections(kNewFlows));
    print(figures.back());
  }
  if (wanted(options, kHelperCalls)) {
    figures.push_back(helper_calls(options, kHelperCalls));
    print(figures.back());
  }
  if (wanted(options, kHandDown)) {
    figures.push_back(hand_down(options, kHandDown));
    print(figures.back());
  }
  if (wanted(options, kMaps)) {
    figures.push_back(measure_maps(kMaps, *std::max_element(options.flows.begin(), options.flows.end())));
    print(figures.back());
  }
  for (const std::uint32_t flows : options.flows) {
    for (const auto& work : kWorks) {
      options.run.flows = flows;
      options.run.work = work.work;
      measure(options, work.name, options.run, figures);
    }
  }
  if (figures.empty()) {
    std::fprintf(stderr,
                 "perf-settled: no case matches; the cases are io/xdp/{vxlan,service}/{to,from}-fabric, %s, %s, %s, "
                 "%s, %s and %s\n",
                 kHandDown, kMaps, kReload, kFlood, kNewFlows, kHelperCalls);
    return 1;
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
  CLI::App app("Settled flows handed down to XDP, beside the kernel's path and a bare redirect.", "perf-settled");
  app.add_option("--case", options.cases, "io/xdp/vxlan/to-fabric and others; * and ? match (*)");
  app.add_option("--only", options.only, "beside the reference only: handed down, kernel, AF_XDP");
  app.add_option("--flows", options.flows, "powers of two (1024 65536 1048576)")->check(CLI::Range(2U, 4'194'304U));
  app.add_option("--frame", options.run.inner_frame_bytes, "bytes of the inner frame (60)")
      ->check(CLI::Range(60U, 1514U));
  app.add_option("--seconds", options.run.seconds, "length of a turn (0.1)")->check(CLI::Range(0.01, 60.0));
  app.add_option("--runs", options.runs, "turns of each (10)")->check(CLI::Range(1U, 10'000U));
  app.add_option("--json", options.json, "output file for the results");
  CLI11_PARSE(app, argc, argv);
  return isthmus::perf::run(options);
}
