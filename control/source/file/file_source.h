// A folder as a hub: watches it with inotify and reads only the files that changed. Layout: see hub_folder.h.
// Thread: control. Changes are read about 10 ms after the first of them, so that files replaced together are applied
// together. Failure: when the folder itself disappears (an unmount), everything read stays in force and the folder is
// looked up every second. What cannot be read at the start, or is empty as a mount that failed is, is not known: it has
// not been listed. The target of a link that leads out of the folder is read, but a change of that target is
// seen only when the link changes, or by reload().
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/source/file/hub_folder.h"
#include "control/source/file/hub_objects.h"
#include "control/source/source.h"

namespace isthmus {

class FileSource final : public Source {
 public:
  // `own_cluster`: whose policies are of concern; empty: nobody's.
  explicit FileSource(std::string folder, std::string own_cluster = {});
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  [[nodiscard]] Status start() override;
  [[nodiscard]] int fd() const override { return epoll_; }
  [[nodiscard]] std::vector<ObjectDelta> poll() override;
  [[nodiscard]] std::vector<SourceProblem> problems() const override;
  // Finds what inotify does not report: changed targets of links that lead out of the folder, and changes made by
  // another machine that mounts it.
  void reload() override;
  [[nodiscard]] bool synced() const override { return synced_; }
  [[nodiscard]] bool policies_listed() const override { return policies_listed_; }
  // While every file of that cluster, or of the fleet, can be read.
  [[nodiscard]] bool listed(ObjectKind kind, const std::string& cluster) const override;
  [[nodiscard]] std::string describe() const override;
  [[nodiscard]] std::optional<std::string> identity() const override;

  // Files read since start, for tests and status. A change of one file reads one file.
  [[nodiscard]] std::uint64_t files_read() const noexcept { return files_read_; }

 private:
  enum class Role : std::uint8_t { kParent, kRoot, kClusters, kLeaf };
  struct Folder {
    Role role = Role::kLeaf;
    std::string cluster;  // kLeaf only; empty: the fleet
    int watch = -1;
    int error = 0;  // errno, where it could not be listed
    std::vector<SourceProblem> problems;
  };
  struct TrackedFile {
    std::string cluster;
    FileSignature signature;
    bool failed = false;
  };

  void read_events();
  void record_event(std::uint32_t mask, int watch, const std::string& name);
  void record_file_event(const std::string& folder, std::uint32_t mask, const std::string& name);
  void arm_timer(std::uint64_t milliseconds);
  void rescan();
  void scan_structure();
  void scan_clusters(const FolderListing& clusters, std::set<std::string>& present);
  void watch_folder(const std::string& path, Role role, const std::string& cluster);
  void remove_folder(const std::string& path);
  void scan_leaf(const std::string& path);
  void read_file(const std::string& path, const std::string& cluster, bool force);
  [[nodiscard]] int error_of(const std::string& path) const;
  void find_policies();

  std::string root_, own_cluster_;
  int inotify_ = -1, timer_ = -1, epoll_ = -1;
  bool timer_armed_ = false, synced_ = false;
  bool structure_dirty_ = false, root_missing_ = false, policies_listed_ = false;
  mutable std::map<std::string, HubObjects::Hidden> hidden_;  // by cluster, as far as asked for since the last change
  std::set<std::string> dirty_folders_, dirty_files_;
  std::map<std::string, Folder> folders_;
  std::map<int, std::string> watches_;
  std::map<std::string, TrackedFile> files_;
  std::vector<SourceProblem> structure_problems_;
  HubObjects objects_;
  std::uint64_t files_read_ = 0;
};

}  // namespace isthmus
