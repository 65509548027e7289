// The other end of the admin socket: asks one question and waits for the answer. Used by the command line.
// Thread: any; blocks up to the timeout. Failure: nobody there, not allowed, or no answer in time, each with its
// remedy.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

inline constexpr std::string_view kAdminFolder = "/run/isthmus";

// `request` is one line without its end; so is what comes back.
[[nodiscard]] Result<std::string> ask_gateway(const std::string& socket, std::string_view request,
                                              std::chrono::milliseconds timeout = std::chrono::seconds(10));

// The same, for an answer of many lines: calls `take` with each line, until it returns false, {"end":true} comes (which
// is not given to it), or the gateway is gone, which is an error. The first line comes within the timeout; the others
// may take any time.
[[nodiscard]] Status ask_gateway_for_lines(const std::string& socket, std::string_view request,
                                           const std::function<bool(std::string_view)>& take,
                                           std::chrono::milliseconds timeout = std::chrono::seconds(10));

// Whether somebody listens there (or we may not ask, which also means that somebody may).
[[nodiscard]] bool gateway_listens(const std::string& socket);

// The sockets of a folder (*.sock), sorted, also those nobody listens on.
[[nodiscard]] std::vector<std::string> list_gateway_sockets(std::string_view folder = kAdminFolder);

}  // namespace isthmus
