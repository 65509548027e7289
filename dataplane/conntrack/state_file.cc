#include "dataplane/conntrack/state_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace isthmus {
namespace {

constexpr const char* kOwnDirectory = "/isthmus";

Error last_error(const char* what, const std::string& path, std::string fix) {
  return Error{std::string(what) + ": " + std::strerror(errno), path, std::move(fix)};
}

std::string owner_text(const struct stat& info) { return "belongs to user " + std::to_string(info.st_uid); }

// Opens our own directory, creating it if need be. The value is a file descriptor, or -1 with `reason` set.
Result<int> open_own_directory(const std::string& path, std::string& reason) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return last_error("cannot create the directory of the connection table", path,
                      "create the directory above it and make it writable for this process (state.directory)");
  }
  const int directory = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat info {};
  if (directory < 0) {
    reason = path + " is not a directory that this process can open: " + std::strerror(errno);
    return -1;
  }
  if (fstat(directory, &info) != 0 || info.st_uid != geteuid()) {
    reason = path + " " + owner_text(info);
  } else if ((info.st_mode & 0077) != 0 && fchmod(directory, 0700) != 0) {
    reason = path + " is open to other users: " + std::strerror(errno);
  } else {
    return directory;
  }
  close(directory);
  return -1;
}

// Why a file must not be used; empty when it may.
std::string unsafe(const struct stat& info) {
  if (!S_ISREG(info.st_mode)) {
    return "was not a regular file";
  }
  if (info.st_uid != geteuid()) {
    return "belonged to user " + std::to_string(info.st_uid);
  }
  if (info.st_nlink != 1) {
    return "had " + std::to_string(info.st_nlink) + " links";
  }
  return (info.st_mode & 0077) != 0 ? "was open to other users" : "";
}

// Removes what must not be used. The name alone: whatever else refers to the file stays as it is.
Status remove_unsafe(int directory, const std::string& entry, const std::string& path, std::string& reason) {
  struct stat info {};
  if (fstatat(directory, entry.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    return Ok{};  // none, as a rule; opening it says so otherwise
  }
  const std::string why = unsafe(info);
  if (why.empty()) {
    return Ok{};
  }
  if (unlinkat(directory, entry.c_str(), 0) != 0) {
    return last_error("cannot replace what is in the connection table's place", path, "remove it");
  }
  reason = path + " " + why;
  return Ok{};
}

Status lock_table(int file, const std::string& name, const std::string& path, std::size_t process_offset) {
  if (flock(file, LOCK_EX | LOCK_NB) == 0) {
    return Ok{};
  }
  std::uint32_t process = 0;
  const bool known = pread(file, &process, sizeof process, static_cast<off_t>(process_offset)) == sizeof process;
  return Error{
      "another engine named '" + name + "' is running" + (known ? " (process " + std::to_string(process) + ")" : ""),
      path, "stop it, or give this gateway another name"};
}

Result<StateFile> open_in(int directory, const std::string& name, StateFile state, std::size_t process_offset) {
  const std::string entry = name + ".flows";
  if (Status status = remove_unsafe(directory, entry, state.path, state.reason); !status) {
    return status.error();
  }
  state.file = openat(directory, entry.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (state.file < 0) {
    return last_error("cannot open the connection table", state.path, "remove it");
  }
  struct stat info {};
  const bool safe = fstat(state.file, &info) == 0 && unsafe(info).empty();
  Status locked = safe ? lock_table(state.file, name, state.path, process_offset)
                       : Status(Error{"changed while it was opened", state.path, "start again"});
  if (!locked) {
    close(state.file);
    return locked.error();
  }
  return state;
}

}  // namespace

std::string state_file_path(const std::string& directory, const std::string& name) {
  return directory + kOwnDirectory + "/" + name + ".flows";
}

Status lock_state_file(int file, const std::string& directory, const std::string& name, std::size_t process_offset) {
  struct stat info {};
  const std::string path = state_file_path(directory, name);
  if (fstat(file, &info) != 0 || !unsafe(info).empty()) {
    return Error{"the connection table was removed or changed meanwhile", path, "start again"};
  }
  return lock_table(file, name, path, process_offset);
}

Result<StateFile> open_running_state_file(const std::string& directory, const std::string& name) {
  StateFile state;
  state.path = state_file_path(directory, name);
  state.file = open(state.path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  struct stat info {};
  const bool safe = state.file >= 0 && fstat(state.file, &info) == 0 && unsafe(info).empty();
  if (!safe) {
    Error error{"cannot open the connection table of the gateway that runs", state.path, "stop that gateway first"};
    if (state.file >= 0) {
      close(state.file);
    }
    return error;
  }
  return state;
}

Result<StateFile> open_state_file(const std::string& directory, const std::string& name, std::size_t process_offset) {
  if (name.empty() || name.find('/') != std::string::npos) {
    return Error{"a gateway's name must not be empty or contain '/'", "name '" + name + "'", "choose another name"};
  }
  StateFile state;
  state.path = state_file_path(directory, name);
  const auto own = open_own_directory(directory + kOwnDirectory, state.reason);
  if (!own) {
    return own.error();
  }
  if (*own < 0) {
    return state;
  }
  auto opened = open_in(*own, name, std::move(state), process_offset);
  close(*own);
  return opened;
}

}  // namespace isthmus
