// What the etcd source's thread hands to control: changes in order, and how its hubs stand. Thread: any; a mutex.
// The descriptor is readable while changes wait, and when the problems are other ones. A writer that is far ahead is
// told to wait.
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

  [[nodiscard]] int fd() const { return event_; }  // -1: the process has no descriptors left

  // The writer's. `deltas` is left empty. Waits while too much is untaken, unless the outbox is closed.
  void put(std::vector<ObjectDelta>& deltas);
  void set_view(std::vector<HubState> states, std::vector<SourceProblem> problems);
  void set_complete();  // what was there at the start has been put
  void close();         // by the reader: nobody takes any more

  // The reader's.
  struct Taken {
    std::vector<ObjectDelta> deltas;
    bool complete = false;
  };
  [[nodiscard]] Taken take();
  [[nodiscard]] std::vector<HubState> states() const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  int event_ = -1;
  mutable std::mutex mutex_;  // of all below
  std::condition_variable room_;
  std::vector<ObjectDelta> deltas_;
  std::vector<HubState> states_;
  std::vector<SourceProblem> problems_;
  bool complete_ = false, closed_ = false, told_ = false;
};

}  // namespace isthmus
