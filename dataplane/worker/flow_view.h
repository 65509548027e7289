// Lists connections for control: copies of the table's entries, taken inside control's read section.
#pragma once

#include <functional>

#include "dataplane/api/engine.h"
#include "dataplane/conntrack/flow_table.h"

namespace isthmus {

// `reader` is control's slot of the quiescence and is offline. Stops when `visit` returns false.
void view_flows(const FlowTable& flows, unsigned reader, const std::function<bool(const FlowRecord&)>& visit);

}  // namespace isthmus
