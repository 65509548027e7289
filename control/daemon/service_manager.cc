#include "control/daemon/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace isthmus {
namespace {

constexpr const char *kWatchdogTime = "WATCHDOG_USEC", *kWatchdogProcess = "WATCHDOG_PID";

std::optional<std::int64_t> number_of(const char* variable) {
  const char* text = std::getenv(variable);
  std::int64_t number = 0;
  if (text == nullptr) {
    return std::nullopt;
  }
  const char* const end = text + std::strlen(text);
  const auto read = std::from_chars(text, end, number);
  return read.ec == std::errc() && read.ptr == end && number > 0 ? std::optional(number) : std::nullopt;
}

}  // namespace

void notify_service_manager(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || (*path != '/' && *path != '@') || std::strlen(path) >= sizeof address.sun_path) {
    return;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (*path == '@') {
    address.sun_path[0] = '\0';  // an abstract socket
  }
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return;
  }
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  ::close(fd);
}

std::optional<std::chrono::microseconds> watchdog_time() {
  const auto time = number_of(kWatchdogTime);
  if (!time || (std::getenv(kWatchdogProcess) != nullptr && number_of(kWatchdogProcess) != ::getpid())) {
    return std::nullopt;
  }
  return std::chrono::microseconds(*time);
}

void inherit_watchdog(int before) {
  if (number_of(kWatchdogProcess) == before) {
    ::setenv(kWatchdogProcess, std::to_string(::getpid()).c_str(), 1);
  }
}

}  // namespace isthmus
