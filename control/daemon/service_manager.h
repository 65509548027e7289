// Tells systemd how the gateway is doing (the sd_notify protocol): a datagram to NOTIFY_SOCKET, nothing without it.
// Thread: control. Failure: ignored, nobody depends on it.
#pragma once

#include <string_view>

namespace isthmus {

// "READY=1", "STOPPING=1", "STATUS=..."; lines may be joined by '\n'.
void notify_service_manager(std::string_view state);

}  // namespace isthmus
