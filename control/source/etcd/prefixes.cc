#include "control/source/etcd/prefixes.h"

#include <algorithm>

namespace isthmus {
namespace {

// The prefix that consists of exactly these two halves, if there is one.
std::optional<Prefix> joined(const Prefix& low, const Prefix& high) {
  if (low.length() == 0 || low.length() != high.length() || low.family() != high.family() || low == high) {
    return std::nullopt;
  }
  const Prefix parent(low.address(), static_cast<std::uint8_t>(low.length() - 1));
  return parent.contains(high) ? std::optional(parent) : std::nullopt;
}

}  // namespace

std::vector<Prefix> merge_prefixes(std::vector<Prefix> prefixes) {
  std::sort(prefixes.begin(), prefixes.end());  // a prefix before those it contains
  std::vector<Prefix> merged;
  for (const Prefix& prefix : prefixes) {
    if (!merged.empty() && merged.back().contains(prefix)) {
      continue;
    }
    merged.push_back(prefix);
    while (merged.size() > 1) {
      const auto parent = joined(merged[merged.size() - 2], merged.back());
      if (!parent) {
        break;
      }
      merged.pop_back();
      merged.back() = *parent;
    }
  }
  return merged;
}

}  // namespace isthmus
