// perf-count: runs every path case once, so that callgrind can count instructions. Run by perf/baseline/check as
//   valgrind --tool=callgrind --instr-atstart=no perf-count
// Prints a line "case packets" for each; callgrind writes a file for each, with the case in its description.
#include <valgrind/callgrind.h>

#include <cstdio>

#include "perf/path/cases.h"

int main(int argc, char** argv) {
  using namespace isthmus::perf;
  constexpr std::uint32_t kConnections = 1000;
  if (argc != 1) {
    std::fprintf(stderr, "usage: valgrind --tool=callgrind --instr-atstart=no %s\n", argv[0]);
    return 2;
  }
  std::string current;
  BenchOptions options;
  options.runs = 1;
  options.cores = usable_cores();
  options.min_packets = 8192;
  options.events = false;  // at this pace a large part of the packets would have one, at full pace one in thousands
  options.before_run = [] {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
  };
  options.after_run = [&current] {
    CALLGRIND_DUMP_STATS_AT(current.c_str());
    CALLGRIND_STOP_INSTRUMENTATION;
  };
  Bench bench(std::move(options));
  for (const Case& one : cases()) {
    current = one.name;
    Row row;
    row.name = one.name;
    row.connections = kConnections;
    const Outcome outcome = bench.measure(row);
    std::printf("%s %llu\n", one.name, static_cast<unsigned long long>(outcome.packets_per_run));
    std::fflush(stdout);
  }
}
