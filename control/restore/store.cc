#include "control/restore/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace isthmus {
namespace {

// Of what the store says about itself. Sorts before every key: those begin with a CBOR array.
const std::string kFormatKey("\0format", 7);
constexpr std::size_t kWriteBuffer = 4 << 20;
constexpr const char* kFix =
    "make it writable for this process alone, or set another state.last_known_directory; state.last_known_age: 0 does "
    "without";

Error last_error(const char* what, const std::string& path) {
  return Error{std::string(what) + ": " + std::strerror(errno), path, kFix};
}

// Why a directory must not be used; empty when it may.
std::string unsafe(const struct stat& info, mode_t forbidden) {
  if (!S_ISDIR(info.st_mode)) {
    return "is not a directory";
  }
  if (info.st_uid != geteuid() && info.st_uid != 0) {
    return "belongs to user " + std::to_string(info.st_uid);
  }
  return (info.st_mode & forbidden) != 0 ? "is open to other users" : "";
}

// The directory above: made if need be. Others may read it; who may write it could exchange what is in it.
Status make_parent(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return last_error("cannot create the directory of the last known state", directory);
  }
  struct stat info {};
  if (stat(directory.c_str(), &info) != 0) {
    return last_error("cannot read the directory of the last known state", directory);
  }
  const bool shared = (info.st_mode & S_ISVTX) != 0;  // as /tmp: what is ours there stays ours
  if (const std::string why = unsafe(info, shared ? 0 : 0022); !why.empty()) {
    return Error{"the directory of the last known state " + why, directory, kFix};
  }
  return Ok{};
}

// Why what lies in our own directory must not be used; empty when it may.
std::string unsafe_content(const std::string& path) {
  const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat info {};
  if (directory < 0 || fstat(directory, &info) != 0) {
    const std::string why = std::strerror(errno);
    if (directory >= 0) {
      ::close(directory);
    }
    return "cannot be opened as a directory: " + why;
  }
  std::string why = info.st_uid == geteuid() ? unsafe(info, 0077) : "belongs to user " + std::to_string(info.st_uid);
  DIR* entries = why.empty() ? fdopendir(directory) : nullptr;
  if (entries == nullptr) {
    ::close(directory);
    return why.empty() ? "cannot be read" : why;
  }
  while (const dirent* entry = why.empty() ? readdir(entries) : nullptr) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") {
      continue;
    }
    if (fstatat(directory, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) {
      why = "holds " + name + ", which is not a regular file";
    } else if (info.st_uid != geteuid() || info.st_nlink != 1) {
      why = "holds " + name + ", which belongs to another user or has several links";
    }
  }
  closedir(entries);
  return why;
}

std::string format_text(std::uint32_t format) { return "isthmus " + std::to_string(format); }

leveldb::Options database_options() {
  leveldb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.write_buffer_size = kWriteBuffer;
  options.max_open_files = 64;
  return options;
}

// Whether the system refuses for now what the files could give: not damage. LevelDB hands errno on as text only.
bool not_at_present(const leveldb::Status& status) {
  const std::string text = status.ToString();
  const auto says = [&](int error) { return text.ends_with(std::strerror(error)); };
  return status.IsIOError() && (says(ENOSPC) || says(EDQUOT) || says(EFBIG) || says(EMFILE) || says(ENFILE) ||
                                says(EACCES) || says(EPERM) || says(EROFS) || says(EIO) || says(ENOMEM));
}

}  // namespace

struct Store::Database {
  std::unique_ptr<leveldb::DB> db;
};

Store::Store(std::string path, std::uint32_t format)
    : path_(std::move(path)), format_(format), database_(std::make_unique<Database>()) {}

Store::~Store() = default;

std::string Store::path_of(const std::string& directory, const std::string& name) {
  return directory + "/" + name + ".known";
}

Result<std::unique_ptr<Store>> Store::open(const std::string& directory, const std::string& name,
                                           std::uint32_t format) {
  std::unique_ptr<Store> store(new Store(path_of(directory, name), format));
  Status opened = store->open_database();
  if (!opened) {
    return opened.error();
  }
  store->holds_ = !store->new_;
  return store;
}

// The store's own directory: what is there is taken if only this user can have written it, and removed otherwise. Made
// anew, it must not be there again: in a directory that others may write to, somebody else would have made it.
Status Store::make_own() {
  if (Status above = make_parent(std::filesystem::path(path_).parent_path().string()); !above) {
    return above;
  }
  if (mkdir(path_.c_str(), 0700) == 0) {
    return Ok{};
  }
  if (errno != EEXIST) {
    return last_error("cannot create the last known state", path_);
  }
  const std::string why = unsafe_content(path_);
  if (why.empty()) {
    return Ok{};
  }
  reason_ = path_ + " " + why;
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) {
    return Error{"cannot remove the last known state, which " + why + ": " + error.message(), path_, "remove it"};
  }
  return mkdir(path_.c_str(), 0700) == 0 ? Status(Ok{})
                                         : Status(last_error("cannot create the last known state", path_));
}

Store::Place Store::place() const {
  struct stat info {};
  return lstat((path_ + "/CURRENT").c_str(), &info) == 0 ? Place{info.st_dev, info.st_ino} : Place{};
}

// An error that is LevelDB's lock means that another process has it; every other one that what is there is damaged.
Status Store::open_database() {
  for (const bool again : {false, true}) {
    if (Status own = make_own(); !own) {
      return own;
    }
    leveldb::DB* db = nullptr;
    leveldb::Status status = leveldb::DB::Open(database_options(), path_, &db);
    database_->db.reset(db);
    std::string text;
    new_ = false;
    if (status.ok()) {
      place_ = place();
      status = db->Get({}, kFormatKey, &text);
      if (status.IsNotFound()) {
        const std::unique_ptr<leveldb::Iterator> any(db->NewIterator({}));
        any->SeekToFirst();
        status = any->status();
        if (status.ok() && !any->Valid()) {
          text = format_text(format_);
          status = db->Put({}, kFormatKey, text);
          new_ = true;
        }
      }
    }
    if (status.ok() && text == format_text(format_)) {
      return Ok{};
    }
    database_->db.reset();
    if (status.IsIOError() && status.ToString().find("/LOCK: ") != std::string::npos) {
      return Error{"the last known state is in use: " + status.ToString(), path_,
                   "stop the other gateway of this name, or give this one another name"};
    }
    if (again || not_at_present(status)) {
      return Error{"cannot open the last known state: " + status.ToString(), path_, kFix};
    }
    reason_ = status.ok() ? "it was written by another version (" + (text.empty() ? "unknown" : text) + ")"
                          : "it is damaged: " + status.ToString();
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  return Ok{};
}

// Does not follow links: remove_all() removes a link itself.
Status Store::remove(const std::string& directory, const std::string& name) {
  std::error_code error;
  std::filesystem::remove_all(path_of(directory, name), error);
  return error ? Status(Error{"cannot remove the last known state: " + error.message(), path_of(directory, name),
                              "remove it"})
               : Status(Ok{});
}

bool Store::visit(const std::function<bool(std::string_view, std::string_view)>& visit) {
  if (!database_->db) {
    return true;
  }
  leveldb::ReadOptions options;
  options.verify_checksums = true;
  options.fill_cache = false;
  std::string why;
  {
    const std::unique_ptr<leveldb::Iterator> at(database_->db->NewIterator(options));
    for (at->SeekToFirst(); at->Valid(); at->Next()) {
      const std::string_view key(at->key().data(), at->key().size());
      if (key != kFormatKey && !visit(key, {at->value().data(), at->value().size()})) {
        why = "it holds what this program does not write";
        break;
      }
    }
    if (why.empty() && !at->status().ok()) {
      why = "it is damaged: " + at->status().ToString();
    }
  }
  if (!why.empty()) {
    clear(why);
  }
  return why.empty();
}

void Store::close() { database_->db.reset(); }

void Store::clear(const std::string& why) {
  database_->db.reset();
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  Status opened = open_database();
  holds_ = false;
  reason_ = opened.ok() ? why : why + "; " + opened.error().text();
}

Status Store::write(const std::vector<Change>& changes) {
  if (database_->db && !(place() == place_)) {
    database_->db.reset();
  }
  if (!database_->db) {
    const std::string before = std::exchange(reason_, "");
    Status opened = open_database();
    if (opened && new_ && reason_.empty()) {
      reason_ = holds_ ? "it was removed while it was in use" : "";
    }
    emptied_ = holds_ && !reason_.empty();
    holds_ = holds_ && !emptied_;
    reason_ = reason_.empty() ? before : reason_;
    if (!opened || emptied_) {
      return opened ? Status(Error{reason_, path_, kFix}) : opened;
    }
  }
  leveldb::WriteBatch batch;
  for (const auto& [key, value] : changes) {
    if (value) {
      batch.Put(key, *value);
    } else {
      batch.Delete(key);
    }
  }
  leveldb::WriteOptions options;
  options.sync = true;
  const leveldb::Status status = database_->db->Write(options, &batch);
  if (!status.ok()) {
    database_->db.reset();
  }
  holds_ = holds_ || status.ok();
  return status.ok() ? Status(Ok{})
                     : Status(Error{"cannot write the last known state: " + status.ToString(), path_,
                                    "make room on its disk, and see that this process can write to it"});
}

}  // namespace isthmus
