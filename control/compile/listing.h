// Problems of one kind, as many as a person reads: a mistake that touches every pod of a cluster must not make every
// compilation list every pod.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "control/model/model.h"

namespace isthmus {

inline constexpr std::size_t kMostListed = 100;  // of one kind

// Calls append(item, problems) for the first kMostListed items, and says how many more `what` there are.
template <typename Items, typename Append>
void list_problems(const Items& items, const std::string& what, std::vector<Problem>& problems, Append&& append) {
  std::size_t listed = 0;
  for (const auto& item : items) {
    if (listed++ == kMostListed) {
      problems.push_back({std::to_string(items.size() - kMostListed) + " more " + what,
                          {},
                          "mend those listed first; they may have one cause"});
      return;
    }
    append(item, problems);
  }
}

}  // namespace isthmus
