#include "perf/io/turns.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace isthmus::perf {
namespace {

// Turns of other stands between two turns of the reference.
constexpr std::size_t kTurnsBetween = 3;

}  // namespace

Turns::Turns(std::vector<std::shared_ptr<Stand>> stands, char request)
    : stands_(std::move(stands)), request_(request), figures_(stands_.size()) {}

bool Turns::take() {
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
      TurnFigures& figures = figures_[stand_at(i)];
      figures.ratios.push_back(figures.rates.back() / ((before + after) / 2));
    }
    figures_[0].ratios.push_back(after / before);
    before = after;
  }
  ++first_;
  return before > 0;
}

// The order rotates by one with each run, so that no stand always follows the reference.
std::size_t Turns::stand_at(std::size_t slot) const { return 1 + (slot + first_) % (stands_.size() - 1); }

double Turns::turn_of(std::size_t i) {
  const double rate = stands_[i]->ask(request_);
  if (rate <= 0) {
    std::fprintf(stderr, "%s forwarded nothing\n", name(i).c_str());
  }
  figures_[i].rates.push_back(rate);
  return rate;
}

Quartiles quartiles_of(std::vector<double> values) {
  if (values.empty()) {
    return {1, 1, 1};  // the reference alone
  }
  std::sort(values.begin(), values.end());
  return {values[values.size() / 4], values[values.size() / 2], values[values.size() * 3 / 4]};
}

}  // namespace isthmus::perf
