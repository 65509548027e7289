// Turns of several stands, each compared with the mean of the reference's turns just before and after. Thread: one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "perf/io/stand.h"

namespace isthmus::perf {

// Of one stand; one value for each of its turns.
struct TurnFigures {
  std::vector<double> rates, ratios;
};

class Turns {
 public:
  // The first stand is the reference. `request`: what they are asked for; its answer is a rate.
  Turns(std::vector<std::shared_ptr<Stand>> stands, char request);
  // One turn of every stand. False: a stand forwarded nothing, and standard error tells which.
  [[nodiscard]] bool take();
  [[nodiscard]] std::size_t size() const { return stands_.size(); }
  [[nodiscard]] const std::string& name(std::size_t i) const { return stands_[i]->name(); }
  [[nodiscard]] const TurnFigures& figures(std::size_t i) const { return figures_[i]; }

 private:
  [[nodiscard]] std::size_t stand_at(std::size_t slot) const;
  double turn_of(std::size_t i);

  std::vector<std::shared_ptr<Stand>> stands_;
  char request_;
  std::vector<TurnFigures> figures_;
  std::size_t first_ = 0;
};

// Median and quartiles, because other work on the machine disturbs single turns.
struct Quartiles {
  double low = 0, median = 0, high = 0;
};
[[nodiscard]] Quartiles quartiles_of(std::vector<double> values);  // of none: 1

}  // namespace isthmus::perf
