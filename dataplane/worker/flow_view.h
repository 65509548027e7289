// Lists connections for control: copies of the table's entries, taken inside control's read section.
#pragma once

#include <functional>

#include "dataplane/api/engine.h"
#include "dataplane/conntrack/flow_table.h"
#include "dataplane/tables/snapshot.h"

namespace isthmus {

// `reader` is control's slot of the quiescence and is offline. `snapshot`: the published one, for the services; may be
// nullptr. Stops when `visit` returns false.
void view_flows(const FlowTable& flows, unsigned reader, const Snapshot* snapshot,
                const std::function<bool(const FlowRecord&)>& visit);

}  // namespace isthmus
