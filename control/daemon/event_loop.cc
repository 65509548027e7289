#include "control/daemon/event_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace isthmus {
namespace {

Error loop_error(const char* what) { return Error{std::string(what) + ": " + std::strerror(errno), "event loop"}; }

}  // namespace

EventLoop::~EventLoop() {
  for (const int fd : {clock_, epoll_}) {
    if (fd >= 0) {
      ::close(fd);
    }
  }
}

Status EventLoop::open() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  clock_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (epoll_ < 0 || clock_ < 0) {
    return loop_error("cannot create epoll and timer descriptors");
  }
  return watch(clock_, [this] {
    std::uint64_t expirations = 0;
    [[maybe_unused]] const ssize_t got = ::read(clock_, &expirations, sizeof expirations);
  });
}

Status EventLoop::watch(int fd, Callback callback) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
    return loop_error("cannot watch a descriptor");
  }
  watched_[fd] = std::move(callback);
  return Ok{};
}

void EventLoop::unwatch(int fd) {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  watched_.erase(fd);
}

EventLoop::TimerId EventLoop::add_timer(Callback callback) {
  timers_.push_back({std::nullopt, std::move(callback)});
  return timers_.size() - 1;
}

void EventLoop::set_timer_if_idle(TimerId timer, Clock::time_point due) {
  if (!timers_[timer].due) {
    timers_[timer].due = due;
  }
}

void EventLoop::arm() {
  std::optional<Clock::time_point> earliest;
  for (const Timer& timer : timers_) {
    if (timer.due && (!earliest || *timer.due < *earliest)) {
      earliest = timer.due;
    }
  }
  itimerspec setting{};
  if (earliest) {
    // steady_clock is CLOCK_MONOTONIC; 0 would disarm, and a time in the past fires at once.
    const auto since_boot = std::chrono::duration_cast<std::chrono::nanoseconds>(earliest->time_since_epoch());
    const auto nanoseconds = std::max<std::int64_t>(since_boot.count(), 1);
    setting.it_value.tv_sec = nanoseconds / 1'000'000'000;
    setting.it_value.tv_nsec = nanoseconds % 1'000'000'000;
  }
  ::timerfd_settime(clock_, TFD_TIMER_ABSTIME, &setting, nullptr);
}

void EventLoop::serve_timers() {
  const auto now = Clock::now();
  for (std::size_t i = 0; i < timers_.size() && !stopping_; ++i) {
    if (timers_[i].due && *timers_[i].due <= now) {
      timers_[i].due.reset();
      timers_[i].callback();
    }
  }
}

Status EventLoop::run() {
  std::array<epoll_event, 16> events{};
  while (!stopping_) {
    arm();
    const int ready = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
    if (ready < 0 && errno != EINTR) {
      return loop_error("cannot wait for events");
    }
    for (int i = 0; i < ready && !stopping_; ++i) {
      const auto found = watched_.find(events[static_cast<std::size_t>(i)].data.fd);
      if (found != watched_.end()) {
        const Callback callback = found->second;  // a callback may unwatch itself
        callback();
      }
    }
    serve_timers();
  }
  return Ok{};
}

}  // namespace isthmus
