// Conflicts between the exports of one Service by several clusters. The oldest export takes precedence, ties are
// resolved by cluster name, so that every cluster of a mesh gets the same result. Thread: any; a pure function.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/source/etcd/values.h"

namespace isthmus {

// `service`: "namespace/name"; `exports`: by cluster. One problem for each cluster in conflict with an older export.
[[nodiscard]] std::vector<SourceProblem> export_conflicts(const std::string& service,
                                                          const std::map<std::string, ServiceExportValue>& exports);

}  // namespace isthmus
