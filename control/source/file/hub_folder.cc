#include "control/source/file/hub_folder.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <utility>

#include "config/files/read_file.h"

namespace isthmus {
namespace {

// File systems take timestamps from the clock of the last tick; twice the longest tick (10 ms) is safe.
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

}  // namespace

Error system_error(const std::string& what, const std::string& where, const std::string& fix) {
  return {what + ": " + std::strerror(errno), where, fix};
}

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
  RegularFile read = read_regular_file(path, kMaxManifestBytes);
  FileText file;
  if (read.why.empty()) {
    file.outcome = FileText::Outcome::kRead;
    file.text = std::move(read.text);
    file.signature = signature_of(read.status);
    return file;
  }
  file.why = std::move(read.why);
  file.fix = std::move(read.fix);
  if (read.error == ENOENT) {
    struct stat link {};
    const bool missing = lstat(path.c_str(), &link) != 0 && errno == ENOENT;
    file.outcome = missing ? FileText::Outcome::kMissing : FileText::Outcome::kFailed;
    file.why = "the target of the link does not exist";
    file.fix = "link to a file that exists";
  }
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
