#include "control/source/file/hub_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>

namespace isthmus {
namespace {

constexpr off_t kLargestFile = off_t{64} << 20;
// File systems stamp with the clock of the last tick; twice the longest tick is safe.
constexpr std::int64_t kTickNs = 20'000'000;

std::int64_t nanoseconds(const timespec& t) { return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

FileSignature signature_of(const struct stat& s) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  FileSignature signature{s.st_dev, s.st_ino, s.st_size, nanoseconds(s.st_mtim), nanoseconds(s.st_ctim), false};
  const std::int64_t latest = std::max(signature.modified_ns, signature.changed_ns);
  signature.settled = nanoseconds(now) - latest > kTickNs;
  return signature;
}

bool read_all(int fd, std::string& text, off_t bytes) {
  text.reserve(static_cast<std::size_t>(bytes));
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got == 0) {
      return true;
    }
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (errno != EINTR) {
      return false;
    }
    if (text.size() > static_cast<std::size_t>(kLargestFile)) {
      errno = EFBIG;
      return false;
    }
  }
}

}  // namespace

bool is_manifest_name(std::string_view name) noexcept {
  return !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"));
}

FolderListing list_folder(const std::string& path) {
  FolderListing listing;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) {
    listing.error = errno;
    return listing;
  }
  errno = 0;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with('.')) {
      continue;
    }
    struct stat s {};
    const bool is_folder = stat((path + "/" + name).c_str(), &s) == 0 && S_ISDIR(s.st_mode);
    if (is_folder) {
      listing.folders.push_back(name);
    } else if (is_manifest_name(name)) {
      listing.manifests.push_back(name);
    }
    errno = 0;
  }
  listing.error = errno;
  std::sort(listing.manifests.begin(), listing.manifests.end());
  std::sort(listing.folders.begin(), listing.folders.end());
  return listing;
}

FileText read_file_text(const std::string& path) {
  FileText file;
  // Not blocking: a pipe under a manifest's name must not stop control.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    struct stat link {};
    const int why = errno;
    const bool gone = why == ENOENT && lstat(path.c_str(), &link) != 0 && errno == ENOENT;
    file.outcome = gone ? FileText::Outcome::kGone : FileText::Outcome::kFailed;
    file.why = why == ENOENT ? "the link points to nothing" : std::strerror(why);
    return file;
  }
  struct stat s {};
  if (fstat(fd, &s) != 0) {
    file.why = std::strerror(errno);
  } else if (!S_ISREG(s.st_mode)) {
    file.why = "not a regular file";
  } else if (s.st_size > kLargestFile || !read_all(fd, file.text, s.st_size)) {
    file.why = s.st_size > kLargestFile || errno == EFBIG ? "larger than 64 MiB" : std::strerror(errno);
  } else {
    file.outcome = FileText::Outcome::kRead;
    file.signature = signature_of(s);
  }
  close(fd);
  return file;
}

bool file_signature(const std::string& path, FileSignature& out) {
  struct stat s {};
  if (stat(path.c_str(), &s) != 0) {
    return false;
  }
  out = signature_of(s);
  return true;
}

}  // namespace isthmus
