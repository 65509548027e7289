// Where the exports of one Service by several clusters disagree: the oldest decides, ties go by the cluster's name.
// Every cluster of a mesh comes to the same result. Thread: any; a pure function.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/source/etcd/values.h"

namespace isthmus {

// `service`: "namespace/name"; `exports` by cluster. One problem for each cluster that disagrees.
[[nodiscard]] std::vector<SourceProblem> export_conflicts(const std::string& service,
                                                          const std::map<std::string, ServiceExportValue>& exports);

}  // namespace isthmus
