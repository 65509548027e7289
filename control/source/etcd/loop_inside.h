// What loop.cc and client.cc share: the completion queue and what completes on it. Internal to this folder.
// Thread: the loop's. Included by .cc files only, as it brings gRPC in.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "control/source/etcd/loop.h"

namespace isthmus {

// Something pending on the completion queue. It deletes itself, or lets go of itself, in its last completed().
class EtcdPending {
 public:
  virtual ~EtcdPending() = default;
  virtual void completed(bool ok) = 0;
};

struct EtcdLoop::Inside {
  grpc::CompletionQueue queue;
  std::size_t pending = 0;  // calls that have completions to come

  std::mutex mutex;            // of the next two
  std::vector<Action> posted;  // in order
  bool waking = false;         // an alarm is on its way
  std::atomic<bool> stop{false};

  std::map<std::pair<Clock::time_point, std::uint64_t>, Action> timers;
  std::map<std::uint64_t, Clock::time_point> timer_times;
  std::uint64_t last_timer = 0;

  void wake();
  void complete_ready();
  void run_posted();
  void run_due();
  [[nodiscard]] Clock::time_point next_due(Clock::time_point latest) const;
};

}  // namespace isthmus
