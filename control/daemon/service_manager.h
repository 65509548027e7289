// Reports the gateway's state to systemd (sd_notify protocol): a datagram to NOTIFY_SOCKET; does nothing where that is
// not set. Thread: control. Failure: ignored.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace isthmus {

// "READY=1", "STOPPING=1", "STATUS=..."; lines may be joined by '\n'.
void notify_service_manager(std::string_view state);

// Within which time it wants to hear "WATCHDOG=1" again and again (WATCHDOG_USEC); nullopt: not from this process.
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_time();
// For a process that another has made: the service manager's watchdog is its concern now, if it was `before`'s.
void inherit_watchdog(int before);

}  // namespace isthmus
