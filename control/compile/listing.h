// Lists problems of one kind up to a limit: a mistake that affects every pod of a cluster must not make every
// compilation list every pod.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "control/model/model.h"

namespace isthmus {

inline constexpr std::size_t kMaxListed = 100;  // of one kind

// Calls append(item, problems) for the first kMaxListed items, then adds one problem that counts the rest as `what`.
template <typename Items, typename Append>
void list_problems(const Items& items, const std::string& what, std::vector<Problem>& problems, Append&& append) {
  std::size_t listed = 0;
  for (const auto& item : items) {
    if (listed++ == kMaxListed) {
      problems.push_back({std::to_string(items.size() - kMaxListed) + " more " + what,
                          {},
                          "fix the problems listed first; they may share a cause"});
      return;
    }
    append(item, problems);
  }
}

}  // namespace isthmus
