#include "control/cli/doctor_view.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/cli/table.h"

namespace isthmus {
namespace {

std::size_t count(const std::vector<Finding>& findings, FindingLevel level) {
  return static_cast<std::size_t>(
      std::count_if(findings.begin(), findings.end(), [&](const Finding& finding) { return finding.level == level; }));
}

}  // namespace

std::string findings_text(const std::vector<Finding>& findings, bool all) {
  constexpr std::size_t kLevelWidth = 7, kCheckWidth = 18;
  std::string text;
  for (const FindingLevel level : {FindingLevel::kFails, FindingLevel::kSlow, FindingLevel::kNote, FindingLevel::kOk}) {
    for (const Finding& finding : findings) {
      if (finding.level != level || (level == FindingLevel::kOk && !all)) {
        continue;
      }
      const std::string name(level_name(level));
      const std::string indent(kLevelWidth + kCheckWidth, ' ');
      text += name + std::string(kLevelWidth - name.size(), ' ') + finding.check +
              std::string(finding.check.size() < kCheckWidth ? kCheckWidth - finding.check.size() : 1, ' ') +
              printable(finding.found) + "\n";
      if (!finding.why.empty()) {
        text += indent + "why: " + printable(finding.why) + "\n";
      }
      if (!finding.fix.empty()) {
        text += indent + "fix: " + printable(finding.fix) + "\n";
      }
    }
  }
  return text + std::to_string(count(findings, FindingLevel::kFails)) + " fail, " +
         std::to_string(count(findings, FindingLevel::kSlow)) + " slow, " +
         std::to_string(count(findings, FindingLevel::kNote)) + " to note, " +
         std::to_string(count(findings, FindingLevel::kOk)) + " ok" + (all ? "" : " (--all shows them)") + "\n";
}

std::string findings_json(const std::vector<Finding>& findings) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    all.push_back({{"check", finding.check},
                   {"level", level_name(finding.level)},
                   {"found", finding.found},
                   {"why", finding.why},
                   {"fix", finding.fix}});
  }
  nlohmann::ordered_json answer{{"findings", std::move(all)}};
  for (const FindingLevel level : {FindingLevel::kFails, FindingLevel::kSlow, FindingLevel::kNote, FindingLevel::kOk}) {
    answer[std::string(level_name(level))] = count(findings, level);
  }
  return answer.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

bool any_fails(const std::vector<Finding>& findings) { return count(findings, FindingLevel::kFails) != 0; }

}  // namespace isthmus
