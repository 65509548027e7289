// The pod that is asked: answers requests over UDP and TCP with what they hold, and takes in what is streamed.
// Threads: its own, until the process ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace isthmus::perf {

inline constexpr std::uint16_t kAnswerPort = 7100, kStreamPort = 7101;
inline constexpr std::size_t kRequestBytes = 64;

// Prints "ready" when it listens; does not return.
[[noreturn]] void serve_pod();

}  // namespace isthmus::perf
