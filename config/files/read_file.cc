#include "config/files/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace isthmus {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

std::string size_text(std::size_t bytes) {
  constexpr std::size_t kMebibyte = std::size_t{1} << 20;
  return bytes >= kMebibyte && bytes % kMebibyte == 0 ? std::to_string(bytes / kMebibyte) + " MiB"
                                                      : std::to_string(bytes) + " bytes";
}

const char* kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "it is a folder";
    case S_IFIFO:
      return "it is a pipe";
    case S_IFSOCK:
      return "it is a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "it is a device";
    default:
      return "it is not a regular file";
  }
}

void fail(RegularFile& file, std::string why, std::string fix) {
  file.text.clear();
  file.why = std::move(why);
  file.fix = std::move(fix);
}

void fail_by_errno(RegularFile& file) {
  file.error = errno;
  const char* fix = "check the path and its permissions";
  if (file.error == ENOENT || file.error == ENOTDIR) {
    fix = "name a file that exists";
  } else if (file.error == EACCES || file.error == EPERM) {
    fix = "let the user that isthmus runs as read it";
  }
  fail(file, std::strerror(file.error), fix);
}

void fail_by_kind(RegularFile& file, mode_t mode) {
  fail(file, kind_of(mode), "name a regular file that this user may read");
}

void fail_by_size(RegularFile& file, std::size_t max_bytes) {
  fail(file, "it is larger than " + size_text(max_bytes), "name a file of at most " + size_text(max_bytes));
}

// Up to one byte more than `max_bytes`; false with errno when the file cannot be read on.
bool read_all(int fd, std::size_t max_bytes, std::string& text) {
  std::array<char, 65536> buffer;
  while (text.size() <= max_bytes) {
    const std::size_t room = std::min(buffer.size(), max_bytes + 1 - text.size());
    const ssize_t got = read(fd, buffer.data(), room);
    if (got == 0) {
      return true;
    }
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void read_into(RegularFile& file, const std::string& path, std::size_t max_bytes) {
  // Not blocking: opening a pipe waits for its writer otherwise. No terminal becomes ours by being named.
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd.get() < 0) {
    const int why = errno;
    struct stat other {};
    if (why == ENXIO && stat(path.c_str(), &other) == 0 && !S_ISREG(other.st_mode)) {
      fail_by_kind(file, other.st_mode);  // a socket cannot be opened at all
      return;
    }
    errno = why;
    fail_by_errno(file);
    return;
  }
  if (fstat(fd.get(), &file.status) != 0) {
    fail_by_errno(file);
    return;
  }
  if (!S_ISREG(file.status.st_mode)) {
    fail_by_kind(file, file.status.st_mode);
    return;
  }
  const auto bytes = static_cast<std::size_t>(std::max<off_t>(file.status.st_size, 0));
  if (bytes > max_bytes) {
    fail_by_size(file, max_bytes);
    return;
  }
  file.text.reserve(bytes);
  if (!read_all(fd.get(), max_bytes, file.text)) {
    fail_by_errno(file);
  } else if (file.text.size() > max_bytes) {
    fail_by_size(file, max_bytes);
  }
}

}  // namespace

RegularFile read_regular_file(const std::string& path, std::size_t max_bytes) noexcept {
  RegularFile file;
  try {
    read_into(file, path, max_bytes);
  } catch (const std::bad_alloc&) {
    file.text = std::string();
    file.error = ENOMEM;
    file.why = "no memory";  // short enough to need none
  }
  return file;
}

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) noexcept {
  RegularFile file = read_regular_file(path, max_bytes);
  if (file.why.empty()) {
    return std::move(file.text);
  }
  try {
    return Error{"cannot be read: " + file.why, path, std::move(file.fix)};
  } catch (const std::bad_alloc&) {
    return Error{"no memory"};
  }
}

}  // namespace isthmus
