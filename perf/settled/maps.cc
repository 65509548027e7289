#include "perf/settled/maps.h"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

#include "perf/settled/records.h"

namespace isthmus::perf {
namespace {

constexpr std::size_t kBatch = 1024;

double cpu_nanoseconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// What the kernel accounts for the map.
double mebibytes_of(int map) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(map));
  for (std::string word; info >> word;) {
    double bytes = 0;
    if (word == "memlock:" && info >> bytes) {
      return bytes / (1 << 20);
    }
  }
  return 0;
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "perf-settled: %s\n", what.c_str());
  std::exit(1);
}

}  // namespace

Figure measure_maps(const char* name, std::uint32_t flows) {
  auto made = KernelFlows::create(2 * flows);
  if (!made) {
    fail(made.error().text());
  }
  KernelFlows& maps = **made;
  const SettledRecords records = settled_records(Work::kTranslate, flows);
  const auto of_batches = [&](const auto& use) {
    const double start = cpu_nanoseconds();
    for (std::size_t at = 0; at < records.keys.size(); at += kBatch) {
      const std::size_t n = std::min(kBatch, records.keys.size() - at);
      use(std::span(records.keys).subspan(at, n), std::span(records.flows).subspan(at, n));
    }
    return (cpu_nanoseconds() - start) / static_cast<double>(records.keys.size());
  };
  const double insertion = of_batches([&](auto keys, auto values) {
    if (maps.insert(keys, values) != keys.size()) {
      fail("the flow map does not take " + std::to_string(records.keys.size()) + " entries");
    }
  });
  const double removal = of_batches([&](auto keys, auto) { maps.erase(keys); });
  Figure figure;
  figure.name = name;
  figure.device = "kernel";
  figure.flows = flows;
  double sum = 0;
  for (const KernelFlows::NamedMap& map : maps.maps(false)) {
    const double mebibytes = mebibytes_of(map.fd);
    sum += mebibytes;
    figure.measures.emplace_back(std::string(map.name) + ", MiB", mebibytes);
  }
  figure.measures.insert(figure.measures.begin(), {{"entries, two of a flow", static_cast<double>(2 * flows)},
                                                   {"memory, MiB", sum},
                                                   {"CPU ns per entry handed down", insertion},
                                                   {"CPU ns per entry taken back", removal}});
  return figure;
}

}  // namespace isthmus::perf
