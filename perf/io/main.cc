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
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "perf/io/subjects.h"
#include "perf/io/turn.h"

namespace isthmus::perf {
namespace {

struct Plan {
  Turn turn;
  unsigned runs = 20;
  std::vector<Subject> subjects;
};

// Turns of other stands between two turns of the reference.
constexpr std::size_t kTurnsBetween = 3;

struct Figures {
  std::vector<double> rates, ratios;
};

// All stands of a run; the first is the reference.
class Turns {
 public:
  explicit Turns(const Plan& plan) : figures_(plan.subjects.size()) {
    for (const Subject& subject : plan.subjects) {
      stands_.push_back(std::make_unique<Stand>(subject, plan.turn));
    }
  }
  // One turn of every stand, related to the mean of the reference's turns before and after it. False: a stand forwarded
  // nothing.
  bool take() {
    const std::size_t others = stands_.size() - 1;
    double before = turn_of(0);
    for (std::size_t start = 0; start < others && before > 0; start += kTurnsBetween) {
      const std::size_t end = std::min(start + kTurnsBetween, others);
      for (std::size_t i = start; i < end; ++i) {
        if (turn_of(stand_at(i)) <= 0) {
          return false;
        }
      }
      const double after = turn_of(0);
      for (std::size_t i = start; i < end; ++i) {
        Figures& figures = figures_[stand_at(i)];
        figures.ratios.push_back(figures.rates.back() / ((before + after) / 2));
      }
      figures_[0].ratios.push_back(after / before);
      before = after;
    }
    ++first_;
    return before > 0;
  }
  [[nodiscard]] std::size_t size() const { return stands_.size(); }
  [[nodiscard]] const std::string& name(std::size_t i) const { return stands_[i]->name(); }
  [[nodiscard]] const Figures& figures(std::size_t i) const { return figures_[i]; }

 private:
  // The order rotates by one with each run, so that no stand always follows the reference.
  [[nodiscard]] std::size_t stand_at(std::size_t slot) const { return 1 + (slot + first_) % (stands_.size() - 1); }
  double turn_of(std::size_t i) {
    const double rate = stands_[i]->take_turn();
    if (rate <= 0) {
      std::fprintf(stderr, "io-bench: %s forwarded nothing\n", name(i).c_str());
    }
    figures_[i].rates.push_back(rate);
    return rate;
  }

  std::vector<std::unique_ptr<Stand>> stands_;
  std::vector<Figures> figures_;
  std::size_t first_ = 0;
};

// Median and quartiles, because other work on the machine disturbs single turns.
struct Spread {
  double low = 0, median = 0, high = 0;
};

Spread spread_of(std::vector<double> values) {
  if (values.empty()) {
    return {1, 1, 1};  // the reference alone
  }
  std::sort(values.begin(), values.end());
  return {values[values.size() / 4], values[values.size() / 2], values[values.size() * 3 / 4]};
}

void report(const std::string& name, const Figures& figures) {
  const Spread rate = spread_of(figures.rates), ratio = spread_of(figures.ratios);
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
  const std::optional<Plan> plan = parse(argc, argv);
  if (!plan) {
    std::fputs("usage: io-bench [--vary] [--only NAME]... [SECONDS [RUNS [FRAME_BYTES 60..1514]]]\n", stderr);
    return 2;
  }
  Turns turns(*plan);
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
