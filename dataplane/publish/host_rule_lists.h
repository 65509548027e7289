// Builds HostRules from the steer rules that devices get, a change at its own share's cost: each rule set shares the
// lists, and the pieces of them, that did not change. Owner: Publisher. Thread: control.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "dataplane/io/device.h"
#include "dataplane/tables/host_rules.h"
#include "dataplane/tables/prefix_ranges.h"

namespace isthmus {

class HostRuleLists {
 public:
  HostRuleLists();
  // Takes these rules in place of all before. The tunnel's ends stay until the next replace().
  void replace(const SteerRules& rules);
  void change(const SteerChange& change);
  // With all changes until now; the same ones, while there are none.
  [[nodiscard]] std::shared_ptr<const HostRules> rules();

 private:
  using List = HostRules::List;
  void add(const SteerRules& rules);
  void remove(const SteerRules& rules);
  [[nodiscard]] PrefixRanges& ranges(List list, Family family) {
    return lists_[static_cast<std::size_t>(list) * HostRules::kFamilies + HostRules::index_of(family)];
  }

  TunnelEnds tunnel_;
  std::vector<PrefixRanges> lists_;  // by list, then by family
  std::shared_ptr<const HostRules> rules_;
};

}  // namespace isthmus
