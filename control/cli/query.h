// The commands that ask a running gateway: find its socket, send the request, print the answer. Thread: any; blocks
// until the answer.
#pragma once

#include <chrono>
#include <string>

#include "control/admin/request.h"
#include "control/cli/views.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct QueryOptions {
  std::string socket;      // a path, a gateway's name, or empty: the only gateway that runs here
  std::string run_folder;  // where sockets are searched for
  AdminRequest request;
  ViewOptions view;
  std::chrono::milliseconds wait{0};  // drain: until peers send elsewhere; ends with the gateway
};

// Prints to stdout, errors to stderr; returns the program's exit code.
[[nodiscard]] int query(const QueryOptions& options);

// Prints "isthmus: ..." to stderr.
void complain(const Error& error);

}  // namespace isthmus
