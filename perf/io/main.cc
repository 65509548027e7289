// io-bench: frames per second through a bare AF_XDP forwarder, through the engine's devices, through a whole gateway's
// path (VXLAN included), and through the kernel: forwarding only, and ("kernel gw") nftables DNAT and a VXLAN device.
// With --vary: the path with other device options, one changed at a time. Prints the median over turns and, in
// brackets, the interquartile range. Ratios are to the bare forwarder's turns just before and after; its own ratio
// shows the noise.
//
// Pump, forwarder and sink share core 0: the forwarder has real-time priority and sleeps when idle, so that each batch
// is forwarded before the next is pumped and nothing is lost. The result is the cost of a frame, pump and sink included
// (their share is the "pump only" row). Ratios within one run are comparable; absolute rates are not.
//
// usage: io-bench [--vary] [--only NAME]... [SECONDS [RUNS [FRAME_BYTES]]]
//        io-bench --bursts
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/io/bursts.h"
#include "perf/io/subjects.h"
#include "perf/io/turn.h"
#include "perf/io/turns.h"

namespace isthmus::perf {
namespace {

struct Plan {
  Turn turn;
  unsigned runs = 20;
  std::vector<Subject> subjects;
};

void report(const std::string& name, const TurnFigures& figures) {
  const Quartiles rate = quartiles_of(figures.rates), ratio = quartiles_of(figures.ratios);
  std::printf("%-24s %6.3f Mpps (%.3f to %.3f)  %.0f ns per frame, median of %zu turns, %.3f x bare (%.3f to %.3f)\n",
              name.c_str(), rate.median, rate.low, rate.high, 1e3 / rate.median, figures.rates.size(), ratio.median,
              ratio.low, ratio.high);
}

// Keeps the reference and the subjects in `names`; all if `names` is empty.
void select(const std::vector<std::string>& names, std::vector<Subject>& subjects) {
  std::erase_if(subjects, [&](const Subject& subject) {
    return !names.empty() && subject.name != kReference &&
           std::find(names.begin(), names.end(), subject.name) == names.end();
  });
}

std::optional<Plan> parse(int argc, char** argv) {
  Plan plan;
  bool vary = false;
  std::vector<std::string> names;
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    if (std::strcmp(argv[at], "--vary") == 0) {
      vary = true;
    } else if (std::strcmp(argv[at], "--only") == 0 && at + 1 < argc) {
      names.emplace_back(argv[++at]);
    } else {
      return std::nullopt;
    }
  }
  plan.subjects = vary ? path_variations() : all_subjects();
  select(names, plan.subjects);
  plan.turn.seconds = at < argc ? std::atof(argv[at]) : plan.turn.seconds;
  plan.runs = at + 1 < argc ? static_cast<unsigned>(std::atoi(argv[at + 1])) : plan.runs;
  plan.turn.frame_bytes = at + 2 < argc ? static_cast<unsigned>(std::atoi(argv[at + 2])) : plan.turn.frame_bytes;
  const bool valid = plan.turn.seconds > 0 && plan.runs > 0 && plan.turn.frame_bytes >= 60 &&
                     plan.turn.frame_bytes <= 1514 && at + 3 >= argc;
  return valid ? std::optional(std::move(plan)) : std::nullopt;
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  using namespace isthmus::perf;
  if (argc == 2 && std::strcmp(argv[1], "--bursts") == 0) {
    return measure_bursts() ? 0 : 1;
  }
  const std::optional<Plan> plan = parse(argc, argv);
  if (!plan) {
    std::fputs("usage: io-bench [--vary] [--only NAME]... [SECONDS [RUNS [FRAME_BYTES 60..1514]]] | --bursts\n",
               stderr);
    return 2;
  }
  std::vector<std::shared_ptr<Stand>> stands;
  for (const Subject& subject : plan->subjects) {
    stands.push_back(stand_of(subject, plan->turn));
  }
  Turns turns(std::move(stands), 't');
  for (unsigned run = 0; run < plan->runs; ++run) {
    if (!turns.take()) {
      return 1;
    }
  }
  for (std::size_t i = 0; i < turns.size(); ++i) {
    report(turns.name(i), turns.figures(i));
  }
  return 0;
}
