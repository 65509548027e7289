// The file hub's folder on disk: lists a folder and reads one file. No state. Thread: control; blocks on the disk.
//   <hub>/fleet/*.yaml                our own kinds
//   <hub>/clusters/<cluster>/*.yaml   ordinary manifests of that cluster
// Names that begin with a dot are skipped: editors' temporary files, and the versions behind Kubernetes' ..data links.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// errno as an error of the hub's files.
[[nodiscard]] Error system_error(const std::string& what, const std::string& where, const std::string& fix);

inline constexpr std::string_view kFleetFolder = "fleet";
inline constexpr std::string_view kClustersFolder = "clusters";

// .yaml, .yml or .json, not hidden.
[[nodiscard]] bool is_manifest_name(std::string_view name) noexcept;

struct FolderListing {
  std::vector<std::string> manifests, folders;  // names, sorted; links are resolved
  int error = 0;                                // errno when the folder could not be listed
};
[[nodiscard]] FolderListing list_folder(const std::string& path);

// Identifies a version of a file without reading it.
struct FileSignature {
  dev_t device = 0;
  ino_t inode = 0;
  off_t bytes = 0;
  std::int64_t modified_ns = 0, changed_ns = 0;
  // False: the file was written so shortly before it was read that a later write may carry the same timestamp.
  bool settled = false;
  [[nodiscard]] bool same_as(const FileSignature& other) const noexcept {
    return device == other.device && inode == other.inode && bytes == other.bytes && modified_ns == other.modified_ns &&
           changed_ns == other.changed_ns;
  }
};

struct FileText {
  enum class Outcome : std::uint8_t { kRead, kMissing, kFailed };
  Outcome outcome = Outcome::kFailed;
  std::string text;
  std::string why, fix;  // kFailed
  FileSignature signature;
};
[[nodiscard]] FileText read_file_text(const std::string& path);
// False when the file does not exist or stat() fails.
[[nodiscard]] bool file_signature(const std::string& path, FileSignature& out);

}  // namespace isthmus
