#include "control/kernel/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace isthmus {
namespace {
std::string path_of(const std::string& name) { return "/proc/sys/net/" + name; }

// A container that is not privileged has /proc/sys read-only; a pod has the node's mounted where Cilium's agents have
// it. Either shows the settings of the network namespace of the thread that opens it.
int open_for_writing(const std::string& name) {
  const int fd = open(path_of(name).c_str(), O_WRONLY | O_CLOEXEC);
  if (fd >= 0 || errno != EROFS) {
    return fd;
  }
  const int mounted = open(("/host" + path_of(name)).c_str(), O_WRONLY | O_CLOEXEC);
  errno = mounted < 0 && errno == ENOENT ? EROFS : errno;
  return mounted;
}
}  // namespace

std::optional<std::string> read_sysctl(const std::string& name) {
  const int fd = open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return std::nullopt;
  }
  std::array<char, 256> buffer{};
  const ssize_t length = read(fd, buffer.data(), buffer.size());
  close(fd);
  if (length < 0) {
    return std::nullopt;
  }
  std::string text(buffer.data(), static_cast<std::size_t>(length));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

Status write_sysctl(const std::string& name, const std::string& value) {
  const auto current = read_sysctl(name);
  if (!current || *current == value) {
    return Ok{};
  }
  const int fd = open_for_writing(name);
  const ssize_t written = fd < 0 ? -1 : write(fd, value.data(), value.size());
  const int code = errno;
  if (fd >= 0) {
    close(fd);
  }
  if (written != static_cast<ssize_t>(value.size())) {
    return Error{"cannot set it to " + value + " (it is " + *current + "): " + std::strerror(code), path_of(name),
                 "in a container, mount the node's /proc/sys/net at /host/proc/sys/net; or set it in advance"};
  }
  return Ok{};
}

}  // namespace isthmus
