#include "control/source/etcd/loop.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/source/etcd/loop_impl.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kMaxWait{1000};
constexpr std::chrono::microseconds kMaxBatchTime{200};

// An alarm that completes at once and so ends the loop's wait.
class Wake final : public EtcdPending {
 public:
  explicit Wake(grpc::CompletionQueue& queue) { alarm_.Set(&queue, gpr_time_0(GPR_CLOCK_MONOTONIC), this); }
  void completed(bool) override { delete this; }

 private:
  grpc::Alarm alarm_;
};

// gRPC errors reach us as failures of calls; its own log is only for debugging.
void log_quietly(gpr_log_func_args* args) { spdlog::debug("grpc: {}:{}: {}", args->file, args->line, args->message); }

}  // namespace

EtcdLoop::EtcdLoop() : impl_(std::make_unique<Impl>()) {
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(log_quietly); });
}

EtcdLoop::~EtcdLoop() {
  // A cancelled call still has to fetch its status, which is not allowed on a queue that was shut down.
  void* tag = nullptr;
  bool ok = false;
  while (impl_->pending > 0 && impl_->queue.Next(&tag, &ok)) {
    static_cast<EtcdPending*>(tag)->completed(ok);
  }
  impl_->queue.Shutdown();
  while (impl_->queue.Next(&tag, &ok)) {
    static_cast<EtcdPending*>(tag)->completed(ok);
  }
}

void EtcdLoop::run(const Action& after_each) {
  Impl& in = *impl_;
  while (!in.stop.exchange(false)) {
    in.run_posted();
    in.run_due();
    after_each();
    if (in.stop.load()) {
      continue;
    }
    void* tag = nullptr;
    bool ok = false;
    const auto wait = in.next_due(Clock::now() + kMaxWait) - Clock::now();
    const auto until =
        std::chrono::system_clock::now() + std::max(std::chrono::duration_cast<std::chrono::microseconds>(wait), {});
    if (in.queue.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::GOT_EVENT) {
      static_cast<EtcdPending*>(tag)->completed(ok);
      in.complete_ready();
    }
  }
}

void EtcdLoop::stop() {
  impl_->stop.store(true);
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->wake();
}

void EtcdLoop::post(Action action) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->posted.push_back(std::move(action));
  impl_->wake();
}

// Precondition: the mutex is held.
void EtcdLoop::Impl::wake() {
  if (!waking) {
    waking = true;
    new Wake(queue);
  }
}

// Handles what has arrived in one batch: the events of one transaction arrive on the streams of several prefixes.
void EtcdLoop::Impl::complete_ready() {
  void* tag = nullptr;
  bool ok = false;
  const auto end = Clock::now() + kMaxBatchTime;
  while (Clock::now() < end &&
         queue.AsyncNext(&tag, &ok, std::chrono::system_clock::time_point()) == grpc::CompletionQueue::GOT_EVENT) {
    static_cast<EtcdPending*>(tag)->completed(ok);
  }
}

void EtcdLoop::Impl::run_posted() {
  std::vector<Action> now;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    now.swap(posted);
    waking = false;
  }
  for (const Action& action : now) {
    action();
  }
}

void EtcdLoop::Impl::run_due() {
  const auto now = Clock::now();
  while (!timers.empty() && timers.begin()->first.first <= now) {
    const Action action = std::move(timers.begin()->second);
    timer_times.erase(timers.begin()->first.second);
    timers.erase(timers.begin());
    action();
  }
}

EtcdLoop::Clock::time_point EtcdLoop::Impl::next_due(Clock::time_point latest) const {
  return timers.empty() ? latest : std::min(latest, timers.begin()->first.first);
}

void EtcdTimer::set(std::chrono::milliseconds from_now, EtcdLoop::Action action) {
  cancel();
  EtcdLoop::Impl& in = loop_.impl();
  const auto when = EtcdLoop::Clock::now() + from_now;
  const std::uint64_t id = id_ = ++in.last_timer;
  in.timer_times[id] = when;
  in.timers[{when, id}] = [this, action = std::move(action)] {
    id_ = 0;
    action();
  };
}

void EtcdTimer::cancel() {
  EtcdLoop::Impl& in = loop_.impl();
  if (const auto found = in.timer_times.find(id_); id_ != 0 && found != in.timer_times.end()) {
    in.timers.erase({found->second, id_});
    in.timer_times.erase(found);
  }
  id_ = 0;
}

}  // namespace isthmus
