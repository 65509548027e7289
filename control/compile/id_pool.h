// Allocates numbers from 1 up. A released number is reused only after `quarantine` more have been released, so that a
// stale reference to it (a cached decision, a flow just listed) does not resolve to something else at once.
// Plain value, one thread.
#pragma once

#include <cstddef>
#include <deque>

namespace isthmus {

template <typename Id>
class IdPool {
 public:
  explicit IdPool(std::size_t quarantine) : quarantine_(quarantine) {}
  [[nodiscard]] Id allocate() {
    if (released_.size() > quarantine_) {
      const Id id = released_.front();
      released_.pop_front();
      return id;
    }
    return Id{++last_};
  }
  void release(Id id) { released_.push_back(id); }

 private:
  std::size_t quarantine_;
  typename Id::Value last_ = 0;
  std::deque<Id> released_;
};

}  // namespace isthmus
