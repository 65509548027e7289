// The latest flows, in a ring: the newest overwrite the oldest. Entries are numbered from 0 and keep their number, so
// that a reader only stores the number to read next. Thread: control only. Failure: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "control/observe/flow.h"

namespace isthmus {

class FlowRing {
 public:
  // `capacity` >= 1.
  explicit FlowRing(std::size_t capacity) : entries_(capacity) {}

  void push(FlowEntry entry) { entries_[end_++ % entries_.size()] = std::move(entry); }

  // The ring holds the numbers begin() to end() - 1.
  [[nodiscard]] std::uint64_t begin() const { return end_ - size(); }
  [[nodiscard]] std::uint64_t end() const { return end_; }
  [[nodiscard]] std::size_t size() const { return end_ < entries_.size() ? end_ : entries_.size(); }
  [[nodiscard]] std::size_t capacity() const { return entries_.size(); }
  [[nodiscard]] const FlowEntry& at(std::uint64_t number) const { return entries_[number % entries_.size()]; }

 private:
  std::vector<FlowEntry> entries_;
  std::uint64_t end_ = 0;
};

}  // namespace isthmus
