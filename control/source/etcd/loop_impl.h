// The completion queue of the loop and what completes on it; shared by loop.cc and client.cc. Internal to this folder.
// Thread: the loop's. Included by .cc files only, because it includes gRPC.
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

// An operation pending on the completion queue. It deletes or releases itself in its last completed().
class EtcdPending {
 public:
  virtual ~EtcdPending() = default;
  virtual void completed(bool ok) = 0;
};

struct EtcdLoop::Impl {
  grpc::CompletionQueue queue;
  std::size_t pending = 0;  // calls with outstanding completions

  std::mutex mutex;            // guards posted and waking
  std::vector<Action> posted;  // in order
  bool waking = false;         // a Wake is pending
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
