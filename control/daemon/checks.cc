#include "control/daemon/checks.h"

#include <algorithm>
#include <set>

namespace isthmus {

HttpPage checks_page(std::string_view name, const std::vector<HealthCheck>& checks, std::string_view query) {
  bool verbose = false;
  std::set<std::string_view> excluded;
  while (!query.empty()) {
    const std::string_view word = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), word.size() + 1));
    verbose = verbose || word == "verbose" || word.starts_with("verbose=");
    constexpr std::string_view kExclude = "exclude=";
    if (word.starts_with(kExclude)) {
      excluded.insert(word.substr(kExclude.size()));
    }
  }
  bool passed = true;
  std::string lines;
  for (const HealthCheck& check : checks) {
    if (excluded.erase(check.name) != 0) {
      lines += "[+]" + check.name + " excluded: ok\n";
    } else if (check.failed.empty()) {
      lines += "[+]" + check.name + " ok\n";
    } else {
      lines += "[-]" + check.name + " failed: " + check.failed + "\n";
      passed = false;
    }
  }
  if (!excluded.empty()) {
    lines += "warn: there is no check " + std::string(*excluded.begin()) + " to exclude\n";
  }
  if (passed && !verbose && excluded.empty()) {
    return {"text/plain", "ok"};
  }
  return {"text/plain", lines + std::string(name) + " check " + (passed ? "passed\n" : "failed\n"),
          passed ? 200U : 503U};
}

}  // namespace isthmus
