// The gateway's answers as tables for people, or as indented JSON for programs.
// Thread: any. The answers come from another process: these functions return text or an error whatever they hold.
#pragma once

#include <string>
#include <string_view>

#include "control/admin/request.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct ViewOptions {
  bool json = false;
  bool all_drops = false;     // drops: also reasons at zero
  bool hub = false;           // status: every part of the hubs
  bool counters = false;      // status: every counter
  bool each_backend = false;  // services: one line per backend instead of one per cluster
};

// `answer` is the line that the gateway sent. An error reply is returned as that error.
[[nodiscard]] Result<std::string> show_answer(AdminCommand command, std::string_view answer,
                                              const ViewOptions& options);

}  // namespace isthmus
