// The gateway's log on stderr. Logging never blocks: lines wait in a bounded queue for a thread that writes them; where
// nobody reads stderr, the oldest lines are lost, counted, and told once it can be written again.
//
// Owner: run(). Thread: one of its own, with all signals blocked, writes; any may log (spdlog). Failure: without a
// thread the log is written in place.
#pragma once

#include <cstdint>
#include <memory>

#include "config/model/gateway_config.h"

namespace isthmus {

// From its construction the default logger writes to stderr as described; one at a time.
class Log {
 public:
  explicit Log(const GatewayConfig& config);
  // Writes what waits, but waits for a reader of stderr no longer than a second.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Lines since the log was opened. Any thread.
[[nodiscard]] std::uint64_t log_lines_lost();
[[nodiscard]] std::uint64_t log_lines_written();

}  // namespace isthmus
