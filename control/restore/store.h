// Keys and values on disk that survive a restart: a LevelDB (checksums, atomic batches, compaction) in a directory of
// its own, with access for this user only.
//
// Owner: Keeper. Thread: one at a time; LevelDB compacts in a thread of its own. Failure: what cannot be trusted (a
// directory or file of somebody else, links, a wrong checksum, another format) is removed and the store starts empty,
// with `reason` saying why; what cannot be opened at all is an error. LevelDB takes nothing more after a write that
// failed: the next one opens it again. It goes on writing to files that were removed: each write looks whether
// its own are still there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

class Store {
 public:
  // A key with its value; no value: it is removed.
  using Change = std::pair<std::string, std::optional<std::string>>;

  // Opens `<directory>/<name>.known`, created where it is missing; `directory` too, one level. `format`: of what is
  // kept; a store of another format starts empty.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(const std::string& directory, const std::string& name,
                                                           std::uint32_t format);
  // Removes the store; nothing where there is none.
  [[nodiscard]] static Status remove(const std::string& directory, const std::string& name);
  [[nodiscard]] static std::string path_of(const std::string& directory, const std::string& name);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Calls `visit` for each pair, in order of key, until it returns false: the pair makes no sense. After that, and
  // after a wrong checksum, the store is empty. True: all were visited.
  [[nodiscard]] bool visit(const std::function<bool(std::string_view key, std::string_view value)>& visit);
  // All of it or nothing, and on the disk when it returns. An error with emptied(): what was there before is lost, and
  // none of this is written.
  [[nodiscard]] Status write(const std::vector<Change>& changes);
  // Whether a write() since the last call has found what was there damaged or gone. The store is empty then.
  [[nodiscard]] bool emptied() { return std::exchange(emptied_, false); }
  // Lets another process have it; the next write() opens it again.
  void close();
  // Removes everything, for this reason.
  void clear(const std::string& why);

  // Why what was kept before is not used; empty: it is, or there was nothing.
  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  struct Database;
  Store(std::string path, std::uint32_t format);
  struct Place {
    std::uint64_t device = 0, inode = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  [[nodiscard]] Status open_database();
  [[nodiscard]] Status make_own();
  [[nodiscard]] Place place() const;  // of the file that LevelDB begins with and writes when it is opened

  std::string path_, reason_;
  std::uint32_t format_;
  bool emptied_ = false;
  bool new_ = false;    // the database that is open was made by opening it
  bool holds_ = false;  // something was there, or has been written
  Place place_;         // of the database that is open
  std::unique_ptr<Database> database_;
};

}  // namespace isthmus
