// Flows as a person reads them, one line each, as `hubble observe` prints them in its compact form. Thread: any. The
// lines come from another process: whatever they hold, these return text.
#pragma once

#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

// The line that comes before the flows: the error it holds, if it is one.
[[nodiscard]] Status check_flows_answer(std::string_view line);

// `line`: one flow, or a note of lost ones, as control/observe/flow_json.h writes it. With the line's end; local time.
[[nodiscard]] std::string compact_flow(std::string_view line);

}  // namespace isthmus
