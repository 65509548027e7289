// The address of a Unix socket, for those who listen on one or connect to it. Pure functions, any thread.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "dataplane/api/types.h"

namespace isthmus {

// Error: the path is empty or too long for one.
[[nodiscard]] inline Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error{"the path of a Unix socket has 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes", path,
                 "choose a shorter admin.socket"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

[[nodiscard]] inline const sockaddr* as_sockaddr(const sockaddr_un& address) noexcept {
  return reinterpret_cast<const sockaddr*>(&address);
}

// What errno says of `what`.
[[nodiscard]] inline Error socket_error(const std::string& what, const std::string& where, std::string fix = {}) {
  return Error{what + ": " + std::strerror(errno), where, std::move(fix)};
}

}  // namespace isthmus
