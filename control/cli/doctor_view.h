// Findings as text. Pure; thread: any.
#pragma once

#include <string>
#include <vector>

#include "control/doctor/finding.h"

namespace isthmus {

// The worst first; what is well only with `all`.
[[nodiscard]] std::string findings_text(const std::vector<Finding>& findings, bool all);
// {"findings": [{"check", "level", "found", "why", "fix"}], "fails": 0, "slow": 0, "note": 0, "ok": 0}, in the order of
// the checks.
[[nodiscard]] std::string findings_json(const std::vector<Finding>& findings);
[[nodiscard]] bool any_fails(const std::vector<Finding>& findings);

}  // namespace isthmus
