// The client of the admin socket: sends one request and waits for the answer. Used by the command line.
// Thread: any; blocks up to the timeout. Failure: nobody listens, no permission, or no answer in time, each with its
// fix.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

inline constexpr std::string_view kAdminFolder = "/run/isthmus";

// Request and answer are one line each, without the line end.
[[nodiscard]] Result<std::string> ask_gateway(const std::string& socket, std::string_view request,
                                              std::chrono::milliseconds timeout = std::chrono::seconds(10));

// The same for an answer of many lines: calls `take` with each line, until it returns false, {"end":true} arrives (not
// passed on), or the connection breaks, which is an error. The first line has to come within the timeout; the others
// may take any time.
[[nodiscard]] Status ask_gateway_for_lines(const std::string& socket, std::string_view request,
                                           const std::function<bool(std::string_view)>& take,
                                           std::chrono::milliseconds timeout = std::chrono::seconds(10));

// Whether a gateway listens there. Also true when we may not connect, since one may listen then.
[[nodiscard]] bool gateway_listens(const std::string& socket);

// The sockets of a folder (*.sock), sorted, also those that nobody listens on.
[[nodiscard]] std::vector<std::string> list_gateway_sockets(std::string_view folder = kAdminFolder);

}  // namespace isthmus
