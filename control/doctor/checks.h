// The list of checks, each a pure function of the facts. Adding one: a function in the file of its subject, its
// declaration in check_list.h, a row in checks.cc, a row in test/unit/doctor for each of its levels. Thread: any.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "control/doctor/facts.h"
#include "control/doctor/finding.h"

namespace isthmus {

struct DoctorCheck {
  std::string_view name, what;
  void (*run)(const Facts& facts, Findings& findings);
  bool needs_config = true;  // without a configuration it has nothing to say
};
[[nodiscard]] std::span<const DoctorCheck> doctor_checks();
// Of all checks, in their order.
[[nodiscard]] std::vector<Finding> examine(const Facts& facts);

}  // namespace isthmus
