// Graceful stop on SIGTERM and SIGINT. Call catch_stop_signals() once, before stop_requested().
#pragma once

namespace isthmus::load {

void catch_stop_signals();
[[nodiscard]] bool stop_requested() noexcept;

}  // namespace isthmus::load
