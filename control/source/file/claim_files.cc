#include "control/source/file/claim_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <thread>

#include "control/source/file/hub_folder.h"
#include "control/source/file/hub_objects.h"

namespace isthmus {
namespace {

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno != EINTR) {
      return false;
    }
    text.remove_prefix(put > 0 ? static_cast<std::size_t>(put) : 0);
  }
  return true;
}

Status read_folder(const std::string& path, const std::string& cluster, HubObjects& objects) {
  const FolderListing listing = list_folder(path);
  if (listing.error != 0) {
    return Error{std::string("cannot read the folder: ") + std::strerror(listing.error), path,
                 "name the hub's folder, with fleet/ and clusters/ in it"};
  }
  for (const std::string& name : listing.manifests) {
    const std::string file_path = path + "/" + name;
    const FileText file = read_file_text(file_path);
    if (file.outcome == FileText::Outcome::kFailed) {
      return Error{"cannot read the file: " + file.why, file_path, file.fix + ", or delete it: it may contain claims"};
    }
    if (file.outcome == FileText::Outcome::kRead) {
      objects.set_text(file_path, cluster, file.text);
    }
  }
  return Ok{};
}

// Makes the names in a folder outlive a crash of the machine.
Status sync_folder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // EINVAL: the file system syncs no folders by themselves.
  const bool synced = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
  const int why = errno;
  if (fd >= 0) {
    close(fd);
  }
  errno = why;
  return synced ? Status(Ok{})
                : system_error("the claim may be lost if the machine crashes now", folder,
                               "check the file system, then allocate again: the claim is found and returned");
}

}  // namespace

HubLock::~HubLock() {
  if (held_) {
    unlink(path_.c_str());
  }
}

Status HubLock::acquire(std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0) {
      held_ = true;
      const bool written = write_all(fd, "process " + std::to_string(getpid()) + "\n");
      const int why = errno;
      close(fd);
      errno = why;
      return written ? Status(Ok{}) : system_error("cannot lock the hub", path_, "free disk space");
    }
    if (errno != EEXIST) {
      return system_error(
          "cannot lock the hub", path_,
          errno == ENOENT ? "name a folder that is there" : "run as a user who may write to the hub's folder");
    }
    if (std::chrono::steady_clock::now() >= end) {
      std::string holder = read_file_text(path_).text;
      holder.erase(std::find(holder.begin(), holder.end(), '\n'), holder.end());
      return Error{"the hub is locked by " + (holder.empty() ? std::string("another allocation") : holder), path_,
                   "wait for it to finish; if no such process runs, remove the file"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Result<std::vector<std::string>> visit_hub(const std::string& hub, const std::set<ObjectKind>& kinds,
                                           const std::function<void(const ObjectDelta&)>& visit) {
  HubObjects objects;
  const std::string clusters = hub + "/" + std::string(kClustersFolder);
  if (auto read = read_folder(hub + "/" + std::string(kFleetFolder), "", objects); !read) {
    return read.error();
  }
  const FolderListing listing = list_folder(clusters);
  if (listing.error != 0) {
    return Error{std::string("cannot read the folder: ") + std::strerror(listing.error), clusters,
                 "name the hub's folder, with fleet/ and clusters/ in it"};
  }
  for (const std::string& cluster : listing.folders) {
    if (auto read = read_folder(clusters + "/" + cluster, cluster, objects); !read) {
      return read.error();
    }
  }
  for (const ObjectDelta& delta : objects.take_deltas()) {
    visit(delta);
  }
  const auto hidden = objects.problems_hiding(kinds);
  if (!hidden.empty()) {
    return Error{hidden.front().what + "; it may contain a claim or an address in use",
                 hidden.front().provenance.text(), hidden.front().fix};
  }
  return listing.folders;
}

Status write_claim(const std::string& folder, const std::string& name, const std::string& text) {
  const bool new_folder = mkdir(folder.c_str(), 0755) == 0;
  if (!new_folder && errno != EEXIST) {
    return system_error("cannot create the cluster's folder", folder,
                        "run as a user who may write to the hub's folder");
  }
  const std::string path = folder + "/" + name;
  const std::string temporary = folder + "/." + name + ".tmp";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0) {
    return system_error("cannot write the claim", temporary, "run as a user who may write to the hub's folder");
  }
  const bool written = write_all(fd, text) && fsync(fd) == 0;
  const int why = errno;
  close(fd);
  errno = why;
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    const Error error =
        system_error("cannot write the claim", path, "free disk space, and run as a user who may write to it");
    unlink(temporary.c_str());
    return error;
  }
  if (new_folder) {
    if (auto synced = sync_folder(folder.substr(0, folder.rfind('/'))); !synced) {
      return synced;
    }
  }
  return sync_folder(folder);
}

}  // namespace isthmus
