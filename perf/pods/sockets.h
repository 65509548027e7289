// Sockets of perf-pods, over IPv4. Any thread. Failure: a message on standard error, and the program ends with
// status 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dataplane/io/unique_fd.h"

namespace isthmus::perf {

[[noreturn]] void end_with(const std::string& what);

// `type`: SOCK_STREAM or SOCK_DGRAM, on all addresses.
[[nodiscard]] UniqueFd listening_socket(int type, std::uint16_t port);
// Tries for some seconds; requests leave at once (TCP_NODELAY). A receive that gets nothing within a second fails.
[[nodiscard]] UniqueFd connected_socket(int type, const std::string& address, std::uint16_t port);

void send_all(int fd, std::span<const std::byte> bytes);
// False: closed, or nothing came within the socket's time.
[[nodiscard]] bool receive_all(int fd, std::span<std::byte> bytes);

}  // namespace isthmus::perf
