// Hands out numbers from 1 up. A number given back waits behind `quarantine` others before it is used again, so that
// whoever still holds it (a cached decision, a flow listed a moment ago) does not see it mean something else at once.
// Plain value, one thread.
#pragma once

#include <cstddef>
#include <deque>

namespace isthmus {

template <typename Id>
class IdPool {
 public:
  explicit IdPool(std::size_t quarantine) : quarantine_(quarantine) {}
  [[nodiscard]] Id take() {
    if (given_back_.size() > quarantine_) {
      const Id id = given_back_.front();
      given_back_.pop_front();
      return id;
    }
    return Id{++last_};
  }
  void give_back(Id id) { given_back_.push_back(id); }

 private:
  std::size_t quarantine_;
  typename Id::Value last_ = 0;
  std::deque<Id> given_back_;
};

}  // namespace isthmus
