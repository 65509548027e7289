// The one way in which the program reads a file it is given by name: configurations, kubeconfigs, tokens, certificates,
// keys, manifests. A folder, a pipe, a device and a socket are errors, and never block or run without end; what is
// larger than its bound is an error too, also where the file grows while it is read. Follows links, as Secrets need.
// Owner: the caller, plain values. Thread: any; blocks for the disk only. Nothing throws.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <string>

#include "dataplane/api/types.h"

namespace isthmus {

inline constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;       // our configuration, an etcd client's
inline constexpr std::size_t kMaxCredentialBytes = std::size_t{4} << 20;   // tokens, keys, bundles of certificates
inline constexpr std::size_t kMaxKubeconfigBytes = std::size_t{16} << 20;  // thousands of clusters with their keys
inline constexpr std::size_t kMaxManifestBytes = std::size_t{64} << 20;

// The whole of the regular file at `path`. Error: what is "cannot be read: ...", where is the path.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t max_bytes) noexcept;

// The same for callers that tell a missing file from an unreadable one, or versions of a file apart.
struct RegularFile {
  std::string text;
  std::string why;        // why it could not be read; empty: it was
  std::string fix;        // what to do then
  int error = 0;          // errno of a failed system call; 0: none failed
  struct stat status {};  // of the file that was opened, from before it was read
};
[[nodiscard]] RegularFile read_regular_file(const std::string& path, std::size_t max_bytes) noexcept;

}  // namespace isthmus
