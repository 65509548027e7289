// The hub that is a folder: follows it with inotify and reads again only what changed. Layout in hub_folder.h.
// Thread: control. Changes settle for about 10 ms before they are read, so that files replaced together are one step.
// When the folder itself goes (an unmount), everything read stays in force and the folder is looked for every second.
// A link's target outside of the folder is read, but its changes are seen only when the link changes, or by reread().
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
  explicit FileSource(std::string folder);
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  [[nodiscard]] Status start() override;
  [[nodiscard]] int fd() const override { return epoll_; }
  [[nodiscard]] std::vector<ObjectDelta> poll() override;
  [[nodiscard]] std::vector<SourceProblem> problems() const override;
  // Also files whose links lead out of the folder, and changes made on another machine's mount of it.
  void reread() override;
  [[nodiscard]] bool synced() const override { return synced_; }
  [[nodiscard]] std::string describe() const override;

  // Files read since start, for tests and status: a change reads one.
  [[nodiscard]] std::uint64_t files_read() const noexcept { return files_read_; }

 private:
  enum class Role : std::uint8_t { kParent, kRoot, kClusters, kLeaf };
  struct Folder {
    Role role = Role::kLeaf;
    std::string cluster;  // leaves; empty: the fleet
    int watch = -1;
    std::vector<SourceProblem> problems;
  };
  struct Following {
    std::string cluster;
    FileSignature signature;
    bool failed = false;
  };

  void drain_events();
  void note_event(std::uint32_t mask, int watch, const std::string& name);
  void note_file_event(const std::string& folder, std::uint32_t mask, const std::string& name);
  void arm_timer(std::uint64_t milliseconds);
  void look();
  void scan_structure();
  void scan_clusters(const FolderListing& clusters, std::set<std::string>& present);
  void follow_folder(const std::string& path, Role role, const std::string& cluster);
  void forget_folder(const std::string& path);
  void scan_leaf(const std::string& path);
  void read_file(const std::string& path, const std::string& cluster, bool even_if_unchanged);

  std::string root_;
  int inotify_ = -1, timer_ = -1, epoll_ = -1;
  bool timer_armed_ = false, synced_ = false;
  bool structure_dirty_ = false, root_missing_ = false;
  std::set<std::string> dirty_folders_, dirty_files_;
  std::map<std::string, Folder> folders_;
  std::map<int, std::string> watches_;
  std::map<std::string, Following> files_;
  std::vector<SourceProblem> structure_problems_;
  HubObjects objects_;
  std::uint64_t files_read_ = 0;
};

}  // namespace isthmus
