// Hands changes, hub states and problems from the etcd source's thread to control. Thread: any; guarded by a mutex.
// The descriptor is readable while changes are queued and after the problems changed. The writer blocks while the queue
// is full.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
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
  void set_complete();  // the initial state has been put
  void close();         // called by the reader, which takes no more: unblocks the writer

  // Called by the reader.
  struct Batch {
    std::vector<ObjectDelta> deltas;
    bool complete = false;
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
  bool complete_ = false, closed_ = false, signalled_ = false;
};

}  // namespace isthmus
