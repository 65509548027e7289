// The pages /readyz and /livez: named checks, as Kubernetes' own servers write them. Pure; thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/observe/http_server.h"

namespace isthmus {

struct HealthCheck {
  std::string name;    // "own-objects"
  std::string failed;  // why; empty: it passes
};

// "ok" where all pass, else status 503 and a line for each. `query`: "verbose" shows each in any case, "exclude=NAME"
// leaves one out, joined by '&'. `name`: that of the page.
[[nodiscard]] HttpPage checks_page(std::string_view name, const std::vector<HealthCheck>& checks,
                                   std::string_view query);

}  // namespace isthmus
