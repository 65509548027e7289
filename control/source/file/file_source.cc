#include "control/source/file/file_source.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/file/hub_folder.h"

namespace isthmus {
namespace {

constexpr std::uint64_t kSettleMs = 10, kRetryMs = 1000;
constexpr std::uint32_t kWatched = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr std::uint32_t kWatchedParent = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR;

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

FileSource::FileSource(std::string folder, std::string own_cluster)
    : root_(std::move(folder)), own_cluster_(std::move(own_cluster)) {
  while (root_.size() > 1 && root_.back() == '/') {
    root_.pop_back();
  }
}

FileSource::~FileSource() {
  for (const int fd : {epoll_, timer_, inotify_}) {
    if (fd >= 0) {
      close(fd);
    }
  }
}

Status FileSource::start() {
  struct stat s {};
  if (stat(root_.c_str(), &s) != 0) {
    return system_error("cannot open the hub's folder", root_, "create it with the folders fleet/ and clusters/");
  }
  if (!S_ISDIR(s.st_mode)) {
    return Error{"the hub is not a folder", root_, "name the folder that holds fleet/ and clusters/"};
  }
  inotify_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify_ < 0) {
    return system_error("cannot watch the hub's folder", root_, "raise sysctl fs.inotify.max_user_instances");
  }
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (timer_ < 0 || epoll_ < 0) {
    return system_error("cannot watch the hub's folder", root_, "raise the limit of open files (ulimit -n)");
  }
  for (const int fd : {inotify_, timer_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      return system_error("cannot watch the hub's folder", root_, "raise sysctl fs.epoll.max_user_watches");
    }
  }
  scan_structure();
  if (!root_missing_) {
    arm_timer(0);
  }
  return Ok{};
}

std::vector<ObjectDelta> FileSource::poll() {
  read_events();
  std::uint64_t expirations = 0;
  const bool expired = read(timer_, &expirations, sizeof expirations) == static_cast<ssize_t>(sizeof expirations);
  if (expired) {
    timer_armed_ = false;
    structure_dirty_ = structure_dirty_ || root_missing_;
    rescan();
  } else if (!timer_armed_ && (structure_dirty_ || !dirty_folders_.empty() || !dirty_files_.empty())) {
    timer_armed_ = true;
    arm_timer(kSettleMs);
  }
  if (expired || !synced_) {
    hidden_.clear();
    find_policies();
  }
  synced_ = true;
  return objects_.take_deltas();
}

// ENOENT also before it was looked for.
int FileSource::error_of(const std::string& path) const {
  const auto folder = folders_.find(path);
  return folder == folders_.end() ? ENOENT : folder->second.error;
}

bool FileSource::listed(ObjectKind kind, const std::string& cluster) const {
  const bool fleet = is_of_fleet(kind);
  const std::string fleet_path = root_ + "/" + std::string(kFleetFolder);
  const std::string clusters_path = root_ + "/" + std::string(kClustersFolder);
  const std::string of = fleet ? std::string() : cluster;
  const std::string path = fleet ? fleet_path : clusters_path + "/" + cluster;
  if (!synced_ || root_missing_ || error_of(fleet ? fleet_path : clusters_path) != 0) {
    return false;
  }
  if (const int error = error_of(path); error != 0 && error != ENOENT) {
    return false;
  }
  const auto [hidden, fresh] = hidden_.try_emplace(of);
  if (fresh) {
    hidden->second = objects_.hidden(of);
  }
  return !hidden->second.anything && hidden->second.kinds.count(kind) == 0;
}

// Once they were all read they are known. A hub without clusters/ has none, unless it is empty as a whole.
void FileSource::find_policies() {
  const std::string clusters = root_ + "/" + std::string(kClustersFolder);
  const int fleet = error_of(root_ + "/" + std::string(kFleetFolder)), all = error_of(clusters);
  const int own = error_of(clusters + "/" + own_cluster_);
  if (policies_listed_ || root_missing_ || (fleet != 0 && all != 0) || (all != 0 && all != ENOENT)) {
    return;
  }
  policies_listed_ = own_cluster_.empty() || ((own == 0 || own == ENOENT) && !objects_.hidden(own_cluster_).anything);
}

void FileSource::reload() {
  for (auto& [path, file] : files_) {
    file.signature.settled = false;
  }
  structure_dirty_ = true;
  timer_armed_ = true;
  arm_timer(0);
}

std::vector<SourceProblem> FileSource::problems() const {
  std::vector<SourceProblem> out = structure_problems_;
  for (const auto& [path, folder] : folders_) {
    out.insert(out.end(), folder.problems.begin(), folder.problems.end());
  }
  std::vector<SourceProblem> in_files = objects_.problems();
  out.insert(out.end(), std::make_move_iterator(in_files.begin()), std::make_move_iterator(in_files.end()));
  if (synced_ && !policies_listed_) {
    out.push_back({{root_, 0},
                   "the folder is empty, or a file of this cluster is empty or cannot be read, so that this cluster's "
                   "policies are not known",
                   "see that the folder is mounted and that every file in it can be read; delete empty ones"});
  }
  return out;
}

std::string FileSource::describe() const {
  const HubObjects::Counts counts = objects_.counts();
  return "folder " + root_ + ": " + std::to_string(counts.objects) + " objects from " + std::to_string(counts.files) +
         " files, " + std::to_string(counts.ignored) + " of kinds not read";
}

std::optional<std::string> FileSource::identity() const { return "folder " + root_; }

void FileSource::arm_timer(std::uint64_t milliseconds) {
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(milliseconds / 1000);
  when.it_value.tv_nsec = milliseconds == 0 ? 1 : static_cast<long>(milliseconds % 1000) * 1'000'000;
  timerfd_settime(timer_, 0, &when, nullptr);
}

void FileSource::read_events() {
  alignas(inotify_event) std::array<char, 16384> buffer;
  while (true) {
    const ssize_t got = read(inotify_, buffer.data(), buffer.size());
    if (got <= 0) {
      if (got < 0 && errno == EINTR) {
        continue;
      }
      return;
    }
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      record_event(event.mask, event.wd,
                   event.len > 0 ? std::string(buffer.data() + at + sizeof event) : std::string());
      at += sizeof event + event.len;
    }
  }
}

void FileSource::record_event(std::uint32_t mask, int watch, const std::string& name) {
  if ((mask & IN_Q_OVERFLOW) != 0) {
    structure_dirty_ = true;
    return;
  }
  const auto found = watches_.find(watch);
  if (found == watches_.end()) {
    return;
  }
  const std::string path = found->second;
  const Role role = folders_[path].role;
  if ((mask & IN_IGNORED) != 0) {
    watches_.erase(found);
    folders_[path].watch = -1;
  }
  if ((mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0) {
    structure_dirty_ = true;
  } else if (role == Role::kLeaf) {
    record_file_event(path, mask, name);
  } else if (role == Role::kParent) {
    structure_dirty_ = structure_dirty_ || name == name_of(root_);
  } else if (!name.starts_with('.') || name.starts_with("..")) {
    structure_dirty_ = true;
  }
}

void FileSource::record_file_event(const std::string& folder, std::uint32_t mask, const std::string& name) {
  // Kubernetes replaces the link ..data: every file behind it changes at once.
  if (name.empty() || name.starts_with("..") || (mask & IN_ISDIR) != 0) {
    dirty_folders_.insert(folder);
    return;
  }
  if (!is_manifest_name(name)) {
    return;
  }
  const std::string path = folder + "/" + name;
  if ((mask & IN_ATTRIB) != 0) {
    const auto file = files_.find(path);
    if (file == files_.end() || !file->second.failed) {
      return;
    }
  }
  if ((mask & IN_CREATE) != 0) {
    // A file being written is read when its writer closes it. A new link has its content already.
    struct stat s {};
    if (lstat(path.c_str(), &s) != 0 || (!S_ISLNK(s.st_mode) && s.st_nlink < 2)) {
      return;
    }
  }
  dirty_files_.insert(path);
}

// Reads the folders and files marked dirty since the last call.
void FileSource::rescan() {
  const std::set<std::string> folders = std::exchange(dirty_folders_, {});
  const std::set<std::string> files = std::exchange(dirty_files_, {});
  if (std::exchange(structure_dirty_, false)) {
    scan_structure();
  } else {
    for (const std::string& path : folders) {
      scan_leaf(path);
    }
  }
  for (const std::string& path : files) {
    const auto folder = folders_.find(parent_of(path));
    if (folder != folders_.end()) {
      read_file(path, folder->second.cluster, true);
    }
  }
}

void FileSource::scan_structure() {
  structure_problems_.clear();
  watch_folder(parent_of(root_), Role::kParent, "");
  watch_folder(root_, Role::kRoot, "");
  const FolderListing root = list_folder(root_);
  root_missing_ = root.error != 0;
  if (root_missing_) {
    structure_problems_.push_back({{root_, 0},
                                   std::string("the hub's folder cannot be read: ") + std::strerror(root.error) +
                                       "; what was read from it before stays in force",
                                   "restore the folder"});
    arm_timer(kRetryMs);
    return;
  }
  for (const std::string& name : root.manifests) {
    structure_problems_.push_back({{root_ + "/" + name, 0},
                                   "a file directly in the hub's folder is not read",
                                   "move it to fleet/ or clusters/<cluster>/"});
  }
  std::set<std::string> present{parent_of(root_), root_};
  for (const std::string_view name : {kFleetFolder, kClustersFolder}) {
    const std::string path = root_ + "/" + std::string(name);
    const bool is_fleet = name == kFleetFolder;
    watch_folder(path, is_fleet ? Role::kLeaf : Role::kClusters, "");
    const FolderListing listing = list_folder(path);
    present.insert(path);
    folders_[path].error = listing.error;
    if (listing.error != 0) {
      structure_problems_.push_back(
          {{path, 0},
           std::string("the folder cannot be read: ") + std::strerror(listing.error) +
               "; what was read from it before stays in force",
           is_fleet ? "create it, with a Cluster for each member" : "create it, with a folder for each cluster"});
    }
    if (!is_fleet) {
      scan_clusters(listing, present);
    }
  }
  std::vector<std::string> leaves;
  for (const auto& [path, folder] : folders_) {
    if (folder.role == Role::kLeaf) {
      leaves.push_back(path);
    }
  }
  for (const std::string& path : leaves) {
    scan_leaf(path);
  }
}

// Watches the folders of the clusters that exist and removes the others.
void FileSource::scan_clusters(const FolderListing& clusters, std::set<std::string>& present) {
  if (clusters.error != 0) {
    return;
  }
  const std::string base = root_ + "/" + std::string(kClustersFolder) + "/";
  std::vector<std::string> names;
  for (const std::string& name : clusters.folders) {
    if (is_label(name, kClusterNameLength)) {
      names.push_back(name);
      present.insert(base + name);
    } else {
      structure_problems_.push_back({{base + name, 0},
                                     "the folder's name is not a valid cluster name; the folder is not read",
                                     "name it like its Cluster in fleet/: 1 to 32 characters of a-z, 0-9 and -"});
    }
  }
  for (const std::string& name : clusters.manifests) {
    structure_problems_.push_back(
        {{base + name, 0}, "a file directly in clusters/ is not read", "move it to the folder of its cluster"});
  }
  std::vector<std::string> removed;
  for (const auto& [path, folder] : folders_) {
    if (!present.contains(path)) {
      removed.push_back(path);
    }
  }
  // Before the new ones are added, because a renamed folder keeps its watch descriptor.
  for (const std::string& path : removed) {
    remove_folder(path);
  }
  for (const std::string& name : names) {
    watch_folder(base + name, Role::kLeaf, name);
  }
}

void FileSource::watch_folder(const std::string& path, Role role, const std::string& cluster) {
  const int watch = inotify_add_watch(inotify_, path.c_str(), role == Role::kParent ? kWatchedParent : kWatched);
  if (watch < 0 && errno != ENOENT && errno != ENOTDIR && role != Role::kParent) {
    structure_problems_.push_back({{path, 0},
                                   std::string("changes cannot be watched: ") + std::strerror(errno),
                                   "raise sysctl fs.inotify.max_user_watches, or make the folder readable"});
  }
  Folder& folder = folders_[path];
  folder.role = role;
  folder.cluster = cluster;
  if (folder.watch != watch && folder.watch >= 0 && watches_.erase(folder.watch) > 0) {
    inotify_rm_watch(inotify_, folder.watch);
  }
  folder.watch = watch;
  if (watch >= 0) {
    watches_[watch] = path;
  }
}

void FileSource::remove_folder(const std::string& path) {
  const auto folder = folders_.find(path);
  if (folder->second.watch >= 0 && watches_.erase(folder->second.watch) > 0) {
    inotify_rm_watch(inotify_, folder->second.watch);
  }
  folders_.erase(folder);
  const std::string prefix = path + "/";
  for (auto file = files_.lower_bound(prefix); file != files_.end() && file->first.starts_with(prefix);) {
    objects_.remove(file->first);
    file = files_.erase(file);
  }
}

void FileSource::scan_leaf(const std::string& path) {
  const auto found = folders_.find(path);
  if (found == folders_.end()) {
    return;
  }
  Folder& folder = found->second;
  const FolderListing listing = list_folder(path);
  folder.problems.clear();
  folder.error = listing.error;
  if (listing.error != 0) {
    // scan_structure() reports the fleet's folder, and removes the folder of a cluster that no longer exists.
    if (!folder.cluster.empty() && listing.error != ENOENT) {
      folder.problems.push_back({{path, 0},
                                 std::string("the folder cannot be read: ") + std::strerror(listing.error) +
                                     "; what was read from it before stays in force",
                                 "make it readable"});
    }
    return;
  }
  for (const std::string& name : listing.folders) {
    folder.problems.push_back({{path + "/" + name, 0},
                               "a folder in a cluster's folder is not read",
                               "move its files up into the cluster's folder"});
  }
  const std::string prefix = path + "/";
  const std::set<std::string> present(listing.manifests.begin(), listing.manifests.end());
  for (auto file = files_.lower_bound(prefix); file != files_.end() && file->first.starts_with(prefix);) {
    if (present.contains(file->first.substr(prefix.size()))) {
      ++file;
      continue;
    }
    objects_.remove(file->first);
    file = files_.erase(file);
  }
  for (const std::string& name : listing.manifests) {
    read_file(prefix + name, folder.cluster, false);
  }
}

void FileSource::read_file(const std::string& path, const std::string& cluster, bool force) {
  const auto known = files_.find(path);
  FileSignature signature;
  if (!force && known != files_.end() && !known->second.failed && known->second.signature.settled &&
      file_signature(path, signature) && signature.same_as(known->second.signature)) {
    return;
  }
  const FileText file = read_file_text(path);
  ++files_read_;
  switch (file.outcome) {
    case FileText::Outcome::kMissing:
      objects_.remove(path);
      files_.erase(path);
      return;
    case FileText::Outcome::kFailed:
      objects_.set_unreadable(path, cluster, "the file cannot be read: " + file.why, file.fix + ", or delete it");
      files_[path] = {cluster, {}, true};
      return;
    case FileText::Outcome::kRead:
      objects_.set_text(path, cluster, file.text);
      files_[path] = {cluster, file.signature, false};
      return;
  }
}

}  // namespace isthmus
