#include "perf/figures/figures.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "perf/figures/stopwatch.h"

namespace isthmus::perf {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

template <typename T>
std::string field(const char* name, const std::optional<T>& value) {
  return ", \"" + std::string(name) + "\": " + (value ? number(static_cast<double>(*value)) : "null");
}

std::string field(const char* name, const std::string& value) {
  return ", \"" + std::string(name) + "\": " + (value.empty() ? "null" : '"' + value + '"');
}

std::string json_of(const Figure& f) {
  std::string json = "{\"case\": \"" + f.name + '"' + field("device", f.device) + field("flows", f.flows) +
                     field("frame_bytes", f.frame_bytes) + field("burst", f.burst) + field("buffers", f.buffers) +
                     field("workers", std::optional<unsigned>(f.workers)) + ", \"cycles_per_packet\": ";
  if (f.cycles.empty()) {
    json += "null";
  } else {
    std::vector<double> sorted = f.cycles;
    std::sort(sorted.begin(), sorted.end());
    json += "{\"median\": " + number(sorted[sorted.size() / 2]) + ", \"min\": " + number(sorted.front()) +
            ", \"max\": " + number(sorted.back()) + ", \"runs\": " + std::to_string(sorted.size()) + "}";
  }
  json += field("mpps", f.mpps) + field("reference", f.reference) + field("ratio_to_reference", f.ratio_to_reference) +
          ", \"tsc_mhz\": " + number(tsc_rate() / 1e6) + ", \"measures\": {";
  for (const auto& [name, value] : f.measures) {
    json += (&name == &f.measures.front().first ? "\"" : ", \"") + name + "\": " + number(value);
  }
  return json + "}}";
}

}  // namespace

void print(const Figure& f) {
  std::printf("%-28s %9llu flows", f.name.c_str(), static_cast<unsigned long long>(f.flows.value_or(0)));
  if (!f.cycles.empty()) {
    std::vector<double> sorted = f.cycles;
    std::sort(sorted.begin(), sorted.end());
    std::printf("  %8.1f cycles (%.1f-%.1f)", sorted[sorted.size() / 2], sorted.front(), sorted.back());
  }
  if (f.mpps) {
    std::printf("  %8.3f Mpps", *f.mpps);
  }
  for (const auto& [name, value] : f.measures) {
    std::printf("\n    %s: %s", name.c_str(), number(value).c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
}

void write_json(const std::vector<Figure>& figures, const std::string& file) {
  std::ofstream out(file);
  out << "[\n";
  for (const Figure& one : figures) {
    out << "  " << json_of(one) << (&one == &figures.back() ? "\n" : ",\n");
  }
  out << "]\n";
  if (!out.flush()) {
    std::fprintf(stderr, "cannot write %s\n", file.c_str());
    std::exit(1);
  }
}

}  // namespace isthmus::perf
