// Results in the format that perf/run reads, for all benchmark programs except perf-path: medians with their spread,
// and further measures of a case. Thread: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace isthmus::perf {

struct Figure {
  std::string name;  // of the case
  std::string device = "none";
  std::optional<std::uint64_t> flows;
  std::optional<double> frame_bytes;
  std::optional<unsigned> burst;
  std::string buffers;  // "hot", "cold" or empty
  unsigned workers = 1;
  std::vector<double> cycles;  // per packet (or slot), one value per run; may be empty
  std::optional<double> mpps;
  std::string reference;  // empty: none
  std::optional<double> ratio_to_reference;
  std::vector<std::pair<std::string, double>> measures;
};

// Prints the figure in readable form.
void print(const Figure& figure);
// Ends the program with status 1 when the file cannot be written.
void write_json(const std::vector<Figure>& figures, const std::string& file);

}  // namespace isthmus::perf
