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
  void set_listed(std::set<std::string> clusters, bool all);
  void set_complete();  // the initial state has been put
  void close();         // called by the reader, which takes no more: unblocks the writer

  // Called by the reader.
  struct Batch {
    std::vector<ObjectDelta> deltas;
    bool complete = false;
    // Of the clusters whose first lists are complete with these deltas; whether all clusters' are. Only if they have
    // changed since the last take().
    std::optional<std::set<std::string>> listed;
    bool all_listed = false;
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
  std::set<std::string> listed_;
  bool all_listed_ = false, listed_changed_ = false;
  bool complete_ = false, closed_ = false, signalled_ = false;
};

}  // namespace isthmus
