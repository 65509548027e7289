// Flows for people, one line each, in the compact form of `hubble observe`. Thread: any. The lines come from another
// process: these functions return text whatever the lines hold.
#pragma once

#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

// The line before the flows: the error in it, if there is one.
[[nodiscard]] Status check_flows_answer(std::string_view line);

// `line`: one flow, or a record of lost ones, as control/observe/flow_json.h writes it. Returns text with its line end;
// times are local.
[[nodiscard]] std::string compact_flow(std::string_view line);

}  // namespace isthmus
