#include "control/loop/turns.h"

#include <pthread.h>

#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

namespace isthmus {

struct Turns::Impl : std::enable_shared_from_this<Turns::Impl> {
  explicit Impl(EventLoop& l) : loop(l) {}

  void advance();
  void run();
  void serve_question();
  // The work that was given as number `n` has ended.
  void ended(std::uint64_t n);

  EventLoop& loop;
  // The loop's.
  std::deque<Turn> waiting, last;
  Part done;
  bool busy = false;       // work is under way, or its `done` is to come
  bool advancing = false;  // a part runs on the loop
  std::uint64_t given = 0;
  std::thread thread;

  // Both threads'.
  std::mutex mutex;
  std::condition_variable changed;
  Part work;                       // empty: none
  const Part* question = nullptr;  // what the loop is asked for
  bool stopping = false;
};

Turns::Turns(EventLoop& loop) : impl_(std::make_shared<Impl>(loop)) {}

Turns::~Turns() {
  wait();
  impl_->waiting.clear();
  impl_->last.clear();
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  if (impl_->thread.joinable()) {
    impl_->thread.join();
  }
}

Status Turns::start() {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::optional<std::string> failed;
  try {
    impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
    ::pthread_setname_np(impl_->thread.native_handle(), "compile");
  } catch (const std::system_error& error) {
    failed = error.what();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed) {
    return Error{"cannot start a thread: " + *failed, "control", "raise the limit of processes (ulimit -u)"};
  }
  return Ok{};
}

void Turns::take(Turn turn) {
  impl_->waiting.push_back(std::move(turn));
  impl_->advance();
}

void Turns::take_last(Turn turn) {
  impl_->last.push_back(std::move(turn));
  impl_->advance();
}

bool Turns::working() const { return impl_->busy; }

void Turns::Impl::advance() {
  while (!busy && !advancing && !(waiting.empty() && last.empty())) {
    advancing = true;
    std::deque<Turn>& from = waiting.empty() ? last : waiting;
    Turn turn = std::move(from.front());
    from.pop_front();
    if (turn.prepare) {
      turn.prepare();
    }
    if (turn.work) {
      busy = true;
      done = std::move(turn.done);
      {
        const std::lock_guard lock(mutex);
        work = std::move(turn.work);
        ++given;
      }
      changed.notify_all();
    } else if (turn.done) {
      turn.done();
    }
    advancing = false;
  }
}

void Turns::Impl::run() {
  std::unique_lock lock(mutex);
  while (true) {
    changed.wait(lock, [this] { return work || stopping; });
    if (!work) {
      return;
    }
    const std::uint64_t n = given;
    lock.unlock();
    work();
    lock.lock();
    work = nullptr;
    changed.notify_all();
    loop.post([weak = weak_from_this(), n] {
      if (const auto self = weak.lock()) {
        self->ended(n);
      }
    });
  }
}

void Turns::Impl::ended(std::uint64_t n) {
  if (!busy || n != given) {  // wait() was here first
    return;
  }
  busy = false;
  advancing = true;
  if (const Part part = std::exchange(done, nullptr)) {
    part();
  }
  advancing = false;
  advance();
}

void Turns::wait() {
  if (!impl_->busy) {
    return;
  }
  std::unique_lock lock(impl_->mutex);
  while (impl_->work) {
    impl_->changed.wait(lock, [this] { return !impl_->work || impl_->question != nullptr; });
    if (impl_->question != nullptr) {
      lock.unlock();
      impl_->serve_question();
      lock.lock();
    }
  }
  impl_->busy = false;
  impl_->done = nullptr;
  impl_->loop.post([weak = impl_->weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->advance();
    }
  });
}

void Turns::ask_loop(const Part& action) {
  std::unique_lock lock(impl_->mutex);
  impl_->question = &action;
  impl_->changed.notify_all();
  impl_->loop.post([weak = impl_->weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->serve_question();
    }
  });
  impl_->changed.wait(lock, [this] { return impl_->question == nullptr; });
}

void Turns::Impl::serve_question() {
  const Part* action = nullptr;
  {
    const std::lock_guard lock(mutex);
    action = question;
  }
  if (action == nullptr) {  // served within wait()
    return;
  }
  (*action)();
  {
    const std::lock_guard lock(mutex);
    question = nullptr;
  }
  changed.notify_all();
}

}  // namespace isthmus
