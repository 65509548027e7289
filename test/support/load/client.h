// The client: many concurrent connections, every received byte verified. One thread.
//
// Prints one line of JSON a second, and one at the end, on standard output:
//   {"open": 9990, "greeted": 9990, "failed": 10, "rounds": 123456, "min_rounds": 11, "bytes": 99999999,
//    "longest_wait_ms": 812, "retries": 3,
//    "backends": {"east-web-0": {"connections": 3300, "failed": 10, "min_rounds": 11}},
//    "failures": {"east-web-0 reset": 10}, "stuck": [{"port": 40001, "backend": "east-web-0", "ms": 12000}]}
// "greeted": connections that have received the server's name. "min_rounds": rounds completed by the slowest connection
// that has not failed. "stuck": up to five connections, by local port, that have waited ten seconds or more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "test/support/load/sockets.h"
#include "test/support/load/wire.h"

namespace isthmus::load {

struct ClientOptions {
  std::vector<Address> targets;  // assigned round-robin
  bool udp = false;
  Mode mode = Mode::kEcho;
  std::uint32_t connections = 100;
  std::uint32_t per_second = 2000;   // new connections per second
  std::uint32_t bytes = 256;         // per round
  std::uint32_t interval_ms = 1000;  // between rounds of one connection
  std::uint32_t stall_ms = 60000;    // a connection without an answer for so long has failed
};

// Runs until SIGTERM or SIGINT.
void run_client(const ClientOptions& options);

}  // namespace isthmus::load
