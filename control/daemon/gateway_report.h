// What this gateway makes of a hub's objects: put together from the problems of all its parts, which name where their
// objects are, and from what the compiler uses. Pure. Owner: Gateway. Thread: control, in a turn.
#pragma once

#include <string>
#include <vector>

#include "control/admin/replies.h"
#include "control/compile/compiler.h"
#include "control/model/model.h"
#include "control/source/object_report.h"

namespace isthmus {

struct ReportParts {
  const std::string& gateway;
  const std::string& cluster;
  const Model& model;
  const Compiler& compiler;
  const std::vector<SourceProblem>& refused;  // by hubs: those with an object have refused it
  const std::vector<ProblemRow>& problems;    // of all parts
};

// Without what it says of the gateway itself, but for where its object is.
[[nodiscard]] GatewayReport report_objects(const ReportableObjects& objects, const ReportParts& parts);

}  // namespace isthmus
