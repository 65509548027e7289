// The file in which a connection table outlives its process: `<directory>/isthmus/<name>.flows`.
//
// `<directory>` may be one that every user may write to, such as /dev/shm. The directory `isthmus` in it is ours alone,
// mode 0700, so that no other user can put a file, or a link to one, in the table's place. Where that name is taken by
// somebody else, the table is not kept, and the reason says what to remove: others must not be able to prevent a start.
// Thread: control, at open. Failure: an Error where the configuration is wrong or another engine uses the file.
#pragma once

#include <string>

#include "dataplane/base/result.h"

namespace isthmus {

struct StateFile {
  int file = -1;       // open and locked; -1: none can be kept. The caller closes it.
  std::string path;    // of the file
  std::string reason;  // why none can be kept, or why a file in its place was removed; else empty
};

[[nodiscard]] std::string state_file_path(const std::string& directory, const std::string& name);
// `process_offset`: where the file's user has stored its process number, 32 bits, for the error message.
[[nodiscard]] Result<StateFile> open_state_file(const std::string& directory, const std::string& name,
                                                std::size_t process_offset);
// The file of another engine that runs: without its lock, which comes from that engine, or by lock_state_file() when
// that one has ended.
[[nodiscard]] Result<StateFile> open_running_state_file(const std::string& directory, const std::string& name);
[[nodiscard]] Status lock_state_file(int file, const std::string& directory, const std::string& name,
                                     std::size_t process_offset);

}  // namespace isthmus
