// perf-path: TSC cycles per packet of the complete path over a memory device. See perf-path --help for options;
// perf/run runs the matrix of the README.
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "perf/figures/stopwatch.h"
#include "perf/path/cases.h"

namespace isthmus::perf {
namespace {

struct Choice {
  std::vector<std::string> cases = {"path/*"};
  std::vector<std::uint32_t> connections = {1000, 1000000};
  std::vector<std::string> orders = {"random"}, frames = {"64"}, buffers = {"hot"};
  std::vector<unsigned> bursts = {64}, workers = {1};
  std::string plan, json, state, driver;
  unsigned runs = 7;
  bool list = false;
};

const std::map<std::string, Order> kOrders = {{"random", Order::kRandom}, {"zipf", Order::kZipf}};
const std::map<std::string, FrameMix> kFrames = {
    {"64", FrameMix::k64}, {"imix", FrameMix::kImix}, {"1500", FrameMix::k1500}};
const std::map<std::string, bool> kBuffers = {{"hot", false}, {"cold", true}};
constexpr std::uint32_t kMaxConnections = 100'000'000;

const char* name_of(Order order) { return order == Order::kZipf ? "zipf" : "random"; }

void add_rows(const Choice& choice, const std::string& name, std::vector<Row>& rows) {
  for (const std::uint32_t connections : choice.connections) {
    for (const unsigned workers : choice.workers) {
      for (const unsigned burst : choice.bursts) {
        for (const std::string& frame : choice.frames) {
          for (const std::string& buffers : choice.buffers) {
            for (const std::string& order : choice.orders) {
              rows.push_back(
                  {name, connections, kOrders.at(order), kFrames.at(frame), burst, kBuffers.at(buffers), workers});
            }
          }
        }
      }
    }
  }
}

std::vector<Row> rows_of(const Choice& choice) {
  std::vector<Row> rows;
  for (const Case& one : cases()) {
    const bool selected = std::any_of(choice.cases.begin(), choice.cases.end(),
                                      [&](const std::string& glob) { return fnmatch(glob.c_str(), one.name, 0) == 0; });
    if (selected) {
      add_rows(choice, one.name, rows);
    }
  }
  return rows;
}

// Lines "case connections order frame burst buffers workers"; errors name the line.
std::vector<Row> read_plan(const std::string& file) {
  std::ifstream in(file);
  if (!in) {
    fail("cannot read " + file);
  }
  std::vector<Row> rows;
  std::string line;
  for (unsigned number = 1; std::getline(in, line); ++number) {
    std::istringstream words(line);
    std::string name, order, frame, buffers, more;
    Row row;
    words >> row.name >> row.connections >> order >> frame >> row.burst >> buffers >> row.workers;
    const bool known = std::any_of(cases().begin(), cases().end(), [&](const Case& c) { return c.name == row.name; });
    if (!words || (words >> more) || !known || kOrders.count(order) == 0 || kFrames.count(frame) == 0 ||
        kBuffers.count(buffers) == 0 || row.connections == 0 || row.connections > kMaxConnections || row.burst == 0 ||
        row.burst > kMaxBurst || row.workers == 0 || row.workers > kMaxWorkers) {
      fail(file + ":" + std::to_string(number) +
           ": not \"case connections order frame burst buffers workers\": " + line);
    }
    row.order = kOrders.at(order);
    row.frame = kFrames.at(frame);
    row.cold = kBuffers.at(buffers);
    rows.push_back(row);
  }
  return rows;
}

// Orders rows so that those that can share a gateway are adjacent.
void sort_by_gateway(std::vector<Row>& rows) {
  const auto key = [](const Row& row) {
    const bool service = row.name.find("service") != std::string::npos || row.name == "path/revalidate";
    const bool spare = row.name.starts_with("path/new-flow");
    return std::make_tuple(row.connections, row.workers, spare, service);
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return key(a) < key(b); });
}

void print_head() {
  std::printf("%-36s %11s %-6s %5s %5s %4s %1s %28s %7s %7s %7s\n", "case", "connections", "order", "frame", "burst",
              "buf", "w", "cycles/packet (min-max)", "Mpps", "driver", "memcpy");
}

void print(const Outcome& o) {
  std::printf("%-36s %11u %-6s %5s %5u %4s %1u %9.1f (%7.1f-%7.1f) %8.3f %7.1f %7.1f\n", o.row.name.c_str(),
              o.row.connections, name_of(o.row.order), name_of(o.row.frame), o.row.burst, o.row.cold ? "cold" : "hot",
              o.row.workers, o.median(), o.cycles.front(), o.cycles.back(), o.mpps, o.driver_cycles, o.memcpy_cycles);
  for (const StageCost& stage : o.stages) {
    std::printf("    %-16s %8.1f\n", stage.stage.c_str(), stage.cycles_per_packet);
  }
  std::fflush(stdout);
}

std::string json_of(const Outcome& o) {
  char text[1024];
  std::snprintf(text, sizeof text,
                "{\"case\": \"%s\", \"device\": \"memory\", \"flows\": %u, \"order\": \"%s\", \"frame\": \"%s\", "
                "\"frame_bytes\": %.1f, \"burst\": %u, \"buffers\": \"%s\", "
                "\"workers\": %u, \"cycles_per_packet\": {\"median\": %.2f, \"min\": %.2f, \"max\": %.2f, \"runs\": "
                "%zu}, \"packets_per_run\": %llu, \"mpps\": %.4f, \"reference\": \"driver\", \"ratio_to_reference\": "
                "%.3f, \"references\": {\"driver\": %.2f, \"memcpy\": %.2f}, \"tsc_mhz\": %.1f",
                o.row.name.c_str(), o.row.connections, name_of(o.row.order), name_of(o.row.frame), o.frame_bytes,
                o.row.burst, o.row.cold ? "cold" : "hot", o.row.workers, o.median(), o.cycles.front(), o.cycles.back(),
                o.cycles.size(), static_cast<unsigned long long>(o.packets_per_run), o.mpps,
                o.median() / o.driver_cycles, o.driver_cycles, o.memcpy_cycles, tsc_rate() / 1e6);
  std::string json = text;
  if (!o.stages.empty()) {
    json += ", \"stages\": {";
    for (const StageCost& stage : o.stages) {
      std::snprintf(text, sizeof text, "%s\"%s\": %.2f", &stage == &o.stages.front() ? "" : ", ", stage.stage.c_str(),
                    stage.cycles_per_packet);
      json += text;
    }
    json += "}";
  }
  return json + "}";
}

void write_json(const std::vector<Outcome>& outcomes, const std::string& file) {
  std::ofstream out(file);
  out << "[\n";
  for (const Outcome& one : outcomes) {
    out << "  " << json_of(one) << (&one == &outcomes.back() ? "\n" : ",\n");
  }
  out << "]\n";
  if (!out.flush()) {
    fail("cannot write " + file);
  }
}

int run(const Choice& choice) {
  if (choice.list) {
    for (const Case& one : cases()) {
      std::printf("%-36s %s\n", one.name, one.text);
    }
    return 0;
  }
  std::vector<Row> rows = choice.plan.empty() ? rows_of(choice) : read_plan(choice.plan);
  if (rows.empty()) {
    fail("no case matches; --list shows all cases");
  }
  sort_by_gateway(rows);
  print_head();
  BenchOptions options;
  options.runs = choice.runs;
  options.state = choice.state;
  options.driver = choice.driver;
  options.cores = usable_cores();
  Bench bench(std::move(options));
  std::vector<Outcome> outcomes;
  for (const Row& row : rows) {
    outcomes.push_back(bench.measure(row));
    print(outcomes.back());
  }
  if (!choice.json.empty()) {
    write_json(outcomes, choice.json);
  }
  return 0;
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  using namespace isthmus::perf;
  Choice choice;
  CLI::App app(
      "TSC cycles per packet of Isthmus's packet path on one core, over memory devices: no I/O, no kernel.\n"
      "All combinations of the options' values are measured.",
      "perf-path");
  app.add_option("--case", choice.cases, "cases by name; * and ? match (path/*)");
  app.add_option("--connections", choice.connections, "connections in the table (1000 1000000)")
      ->check(CLI::Range(1U, kMaxConnections));
  app.add_option("--order", choice.orders,
                 "random: each connection once, in random order; zipf: drawn with exponent 1.0 (random)")
      ->check(CLI::IsMember(kOrders));
  app.add_option("--frame", choice.frames, "frame sizes: 64, imix or 1500 bytes (64)")->check(CLI::IsMember(kFrames));
  app.add_option("--burst", choice.bursts, "packets of a round (64)")->check(CLI::Range(1U, isthmus::kMaxBurst));
  app.add_option("--buffers", choice.buffers, "hot: in the cache; cold: flushed to memory first (hot)")
      ->check(CLI::IsMember(kBuffers));
  app.add_option("--workers", choice.workers, "threads, one core each (1)")
      ->check(CLI::Range(1U, isthmus::kMaxWorkers));
  app.add_option("--runs", choice.runs, "timed runs of each, after a warm-up run (7)")->check(CLI::Range(1U, 1000U));
  app.add_option("--state", choice.state,
                 "keep the connection table in a file in this directory, as a gateway does, instead of in anonymous "
                 "memory on huge pages")
      ->check(CLI::ExistingDirectory);
  app.add_option("--over", choice.driver,
                 "a driver of DPDK's that gives and takes the frames, without its number: net_null (memory devices)");
  app.add_option(
      "--plan", choice.plan,
      "file with lines \"case connections order frame burst buffers workers\", instead of the options above");
  app.add_option("--json", choice.json, "output file for the results");
  app.add_flag("--list", choice.list, "list the cases and what they measure");
  CLI11_PARSE(app, argc, argv);
  return isthmus::perf::run(choice);
}
