// The file hub's folder on disk: what lies in a folder, and the text of one file. No state. Thread: control.
//   <hub>/fleet/*.yaml                our own kinds
//   <hub>/clusters/<cluster>/*.yaml   ordinary manifests of that cluster
// Names that begin with a dot are not read: editors' temporary files, and the versions behind Kubernetes' ..data links.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isthmus {

inline constexpr std::string_view kFleetFolder = "fleet";
inline constexpr std::string_view kClustersFolder = "clusters";

// .yaml, .yml or .json, not hidden.
[[nodiscard]] bool is_manifest_name(std::string_view name) noexcept;

struct FolderListing {
  std::vector<std::string> manifests, folders;  // names, sorted; links count as what they point to
  int error = 0;                                // errno when the folder could not be listed
};
[[nodiscard]] FolderListing list_folder(const std::string& path);

// Tells versions of a file apart without reading it.
struct FileSignature {
  dev_t device = 0;
  ino_t inode = 0;
  off_t bytes = 0;
  std::int64_t modified_ns = 0, changed_ns = 0;
  // False when the file was written so shortly before it was read that a later write may bear the same time.
  bool settled = false;
  [[nodiscard]] bool same_as(const FileSignature& other) const noexcept {
    return device == other.device && inode == other.inode && bytes == other.bytes && modified_ns == other.modified_ns &&
           changed_ns == other.changed_ns;
  }
};

struct FileText {
  enum class Outcome : std::uint8_t { kRead, kGone, kFailed };
  Outcome outcome = Outcome::kFailed;
  std::string text;
  std::string why;  // kFailed
  FileSignature signature;
};
[[nodiscard]] FileText read_file_text(const std::string& path);
// False when the file is not there or cannot be examined.
[[nodiscard]] bool file_signature(const std::string& path, FileSignature& out);

}  // namespace isthmus
