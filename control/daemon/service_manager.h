// Reports the gateway's state to systemd (sd_notify protocol): a datagram to NOTIFY_SOCKET; does nothing where that is
// not set. Thread: control. Failure: ignored.
#pragma once

#include <string_view>

namespace isthmus {

// "READY=1", "STOPPING=1", "STATUS=..."; lines may be joined by '\n'.
void notify_service_manager(std::string_view state);

}  // namespace isthmus
