#include "control/source/etcd/loop.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/source/etcd/loop_inside.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kLongestWait{1000};
constexpr std::chrono::microseconds kLongestGather{200};

// Completes at once, and so ends the loop's wait.
class Wake final : public EtcdPending {
 public:
  explicit Wake(grpc::CompletionQueue& queue) { alarm_.Set(&queue, gpr_time_0(GPR_CLOCK_MONOTONIC), this); }
  void completed(bool) override { delete this; }

 private:
  grpc::Alarm alarm_;
};

// What gRPC has to say comes to us as failures of calls; its own words are for those who look for them.
void log_quietly(gpr_log_func_args* args) { spdlog::debug("grpc: {}:{}: {}", args->file, args->line, args->message); }

}  // namespace

EtcdLoop::EtcdLoop() : inside_(std::make_unique<Inside>()) {
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(log_quietly); });
}

EtcdLoop::~EtcdLoop() {
  // New work may not be put on a queue that is shut down, and a cancelled call still has its status to fetch.
  void* tag = nullptr;
  bool ok = false;
  while (inside_->pending > 0 && inside_->queue.Next(&tag, &ok)) {
    static_cast<EtcdPending*>(tag)->completed(ok);
  }
  inside_->queue.Shutdown();
  while (inside_->queue.Next(&tag, &ok)) {
    static_cast<EtcdPending*>(tag)->completed(ok);
  }
}

void EtcdLoop::run(const Action& after_each) {
  Inside& in = *inside_;
  while (!in.stop.exchange(false)) {
    in.run_posted();
    in.run_due();
    after_each();
    if (in.stop.load()) {
      continue;
    }
    void* tag = nullptr;
    bool ok = false;
    const auto wait = in.next_due(Clock::now() + kLongestWait) - Clock::now();
    const auto until =
        std::chrono::system_clock::now() + std::max(std::chrono::duration_cast<std::chrono::microseconds>(wait), {});
    if (in.queue.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::GOT_EVENT) {
      static_cast<EtcdPending*>(tag)->completed(ok);
      in.complete_ready();
    }
  }
}

void EtcdLoop::stop() {
  inside_->stop.store(true);
  const std::lock_guard<std::mutex> lock(inside_->mutex);
  inside_->wake();
}

void EtcdLoop::post(Action action) {
  const std::lock_guard<std::mutex> lock(inside_->mutex);
  inside_->posted.push_back(std::move(action));
  inside_->wake();
}

// Precondition: the mutex is held.
void EtcdLoop::Inside::wake() {
  if (!waking) {
    waking = true;
    new Wake(queue);
  }
}

// What came together is handled together: one transaction's events reach us by the streams of many prefixes.
void EtcdLoop::Inside::complete_ready() {
  void* tag = nullptr;
  bool ok = false;
  const auto end = Clock::now() + kLongestGather;
  while (Clock::now() < end &&
         queue.AsyncNext(&tag, &ok, std::chrono::system_clock::time_point()) == grpc::CompletionQueue::GOT_EVENT) {
    static_cast<EtcdPending*>(tag)->completed(ok);
  }
}

void EtcdLoop::Inside::run_posted() {
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

void EtcdLoop::Inside::run_due() {
  const auto now = Clock::now();
  while (!timers.empty() && timers.begin()->first.first <= now) {
    const Action action = std::move(timers.begin()->second);
    timer_times.erase(timers.begin()->first.second);
    timers.erase(timers.begin());
    action();
  }
}

EtcdLoop::Clock::time_point EtcdLoop::Inside::next_due(Clock::time_point latest) const {
  return timers.empty() ? latest : std::min(latest, timers.begin()->first.first);
}

void EtcdTimer::set(std::chrono::milliseconds from_now, EtcdLoop::Action action) {
  cancel();
  EtcdLoop::Inside& in = loop_.inside();
  const auto when = EtcdLoop::Clock::now() + from_now;
  const std::uint64_t id = id_ = ++in.last_timer;
  in.timer_times[id] = when;
  in.timers[{when, id}] = [this, action = std::move(action)] {
    id_ = 0;
    action();
  };
}

void EtcdTimer::cancel() {
  EtcdLoop::Inside& in = loop_.inside();
  if (const auto found = in.timer_times.find(id_); id_ != 0 && found != in.timer_times.end()) {
    in.timers.erase({found->second, id_});
    in.timer_times.erase(found);
  }
  id_ = 0;
}

}  // namespace isthmus
