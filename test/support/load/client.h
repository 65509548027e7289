// The asking end: many connections at once, every byte that comes back compared. One thread.
//
// Once a second, and at the end, one line of JSON on standard output:
//   {"open": 9990, "greeted": 9990, "failed": 10, "rounds": 123456, "slowest": 11, "bytes": 99999999,
//    "longest_wait_ms": 812, "retries": 3,
//    "backends": {"east-web-0": {"connections": 3300, "failed": 10, "slowest": 11}},
//    "failures": {"east-web-0 reset": 10}, "stuck": [{"port": 40001, "backend": "east-web-0", "ms": 12000}]}
// "slowest" is the number of rounds of the connection that has had fewest; failed ones do not count for it. "stuck"
// names up to five connections, by their own port, that have waited for an answer for ten seconds or more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "test/support/load/sockets.h"
#include "test/support/load/wire.h"

namespace isthmus::load {

struct ClientOptions {
  std::vector<Address> targets;  // connections take turns
  bool udp = false;
  Mode mode = Mode::kEcho;
  std::uint32_t connections = 100;
  std::uint32_t per_second = 2000;   // new connections
  std::uint32_t bytes = 256;         // of one round
  std::uint32_t interval_ms = 1000;  // between rounds of one connection
  std::uint32_t stall_ms = 60000;    // no answer for so long: failed
};

// Runs until SIGTERM or SIGINT.
void run_client(const ClientOptions& options);

}  // namespace isthmus::load
