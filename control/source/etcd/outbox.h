// Hands changes, hub states and problems from the etcd source's thread to control. Thread: any; guarded by a mutex.
// The descriptor is readable while changes are queued and after the problems changed. The writer blocks while the queue
// is full.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/source/source.h"

namespace isthmus {

// What first lists are complete.
struct EtcdListed {
  std::set<std::string> clusters;                   // whose lists are
  std::optional<std::set<std::string>> configured;  // clusters; no other is a member. Nothing: that is not known
  bool all = false;                                 // those of all clusters
  [[nodiscard]] bool has(const std::string& cluster) const {
    return all || clusters.contains(cluster) || (!cluster.empty() && configured && !configured->contains(cluster));
  }
  friend bool operator==(const EtcdListed&, const EtcdListed&) = default;
};

class EtcdOutbox {
 public:
  EtcdOutbox();
  ~EtcdOutbox();
  EtcdOutbox(const EtcdOutbox&) = delete;
  EtcdOutbox& operator=(const EtcdOutbox&) = delete;

  [[nodiscard]] int fd() const { return event_; }  // -1: the process has no file descriptors left

  // Called by the writer. Appends `deltas` and leaves it empty. Blocks while the queue is full and not closed.
  void put(std::vector<ObjectDelta>& deltas);
  void set_view(std::vector<HubState> states, std::vector<SourceProblem> problems);
  // All changes that were read before have been put.
  void set_listed(EtcdListed listed);
  void set_complete();  // the initial state has been put
  void close();         // called by the reader, which takes no more: unblocks the writer

  // Called by the reader.
  struct Batch {
    std::vector<ObjectDelta> deltas;
    bool complete = false;
    std::optional<EtcdListed> listed;  // with these deltas; only if it has changed since the last take()
  };
  [[nodiscard]] Batch take();
  [[nodiscard]] std::vector<HubState> states() const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  int event_ = -1;
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable not_full_;
  std::vector<ObjectDelta> deltas_;
  std::vector<HubState> states_;
  std::vector<SourceProblem> problems_;
  EtcdListed listed_;
  bool listed_changed_ = false;
  bool complete_ = false, closed_ = false, signalled_ = false;
};

}  // namespace isthmus
