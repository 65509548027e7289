#include "control/loop/event_loop.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

Error loop_error(const char* what, const ErrorCode& why) {
  return Error{std::string(what) + ": " + why.message(), "event loop"};
}

}  // namespace

struct EventLoop::Impl {
  class Watch;
  struct Timer {
    std::optional<Clock::time_point> due;
    Callback callback;
  };

  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::steady_timer clock{io};  // set to the earliest timer
  std::optional<Clock::time_point> armed;
  std::map<int, std::shared_ptr<Watch>> watched;
  std::deque<Timer> timers;  // a timer may be added while another is served
  bool stopping = false;

  void arm();
  void serve_timers();
};

// A descriptor that another owns. Alive as long as it is watched or a wait for it is pending.
class EventLoop::Impl::Watch : public std::enable_shared_from_this<Watch> {
 public:
  Watch(asio::io_context& io, EventLoop::Callback callback) : descriptor_(io), callback_(std::move(callback)) {}

  [[nodiscard]] ErrorCode begin(int fd) {
    ErrorCode failed;
    descriptor_.assign(fd, failed);
    if (!failed) {
      wait();
    }
    return failed;
  }
  void end() {
    ended_ = true;
    if (descriptor_.is_open()) {
      descriptor_.release();
    }
  }

 private:
  // Every wait looks anew at whether there is something to read.
  void wait() {
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](ErrorCode) {
      if (!self->ended_) {
        self->callback_();
      }
      if (!self->ended_) {
        self->wait();
      }
    });
  }

  asio::posix::stream_descriptor descriptor_;
  EventLoop::Callback callback_;
  bool ended_ = false;
};

EventLoop::EventLoop() = default;

EventLoop::~EventLoop() {
  if (impl_ != nullptr) {
    for (const auto& [fd, watch] : impl_->watched) {
      watch->end();
    }
  }
}

Status EventLoop::open() {
  try {
    impl_ = std::make_unique<Impl>();
    asio::posix::stream_descriptor makes_the_reactor(impl_->io);
  } catch (const boost::system::system_error& error) {
    impl_.reset();
    return loop_error("cannot create epoll and timer descriptors", error.code());
  }
  return Ok{};
}

Status EventLoop::watch(int fd, Callback callback) {
  auto watch = std::make_shared<Impl::Watch>(impl_->io, std::move(callback));
  if (const ErrorCode failed = watch->begin(fd); failed) {
    watch->end();
    return loop_error("cannot watch a descriptor", failed);
  }
  impl_->watched[fd] = std::move(watch);
  return Ok{};
}

void EventLoop::unwatch(int fd) {
  const auto found = impl_->watched.find(fd);
  if (found != impl_->watched.end()) {
    found->second->end();
    impl_->watched.erase(found);
  }
}

void EventLoop::post(Callback action) { asio::post(impl_->io, std::move(action)); }

EventLoop::TimerId EventLoop::add_timer(Callback callback) {
  impl_->timers.push_back({std::nullopt, std::move(callback)});
  return impl_->timers.size() - 1;
}

void EventLoop::set_timer(TimerId timer, Clock::time_point due) {
  impl_->timers[timer].due = due;
  impl_->arm();
}

void EventLoop::set_timer_if_idle(TimerId timer, Clock::time_point due) {
  if (!impl_->timers[timer].due) {
    set_timer(timer, due);
  }
}

void EventLoop::cancel_timer(TimerId timer) {
  impl_->timers[timer].due.reset();
  impl_->arm();
}

void EventLoop::Impl::arm() {
  std::optional<Clock::time_point> earliest;
  for (const Timer& timer : timers) {
    if (timer.due && (!earliest || *timer.due < *earliest)) {
      earliest = timer.due;
    }
  }
  if (earliest == armed) {
    return;
  }
  armed = earliest;
  if (!earliest) {
    clock.cancel();
    return;
  }
  clock.expires_at(*earliest);
  clock.async_wait([this](ErrorCode aborted) {
    if (!aborted) {
      armed.reset();
      serve_timers();
      arm();
    }
  });
}

void EventLoop::Impl::serve_timers() {
  const auto now = Clock::now();
  std::vector<std::pair<Clock::time_point, std::size_t>> due;  // in their order, however late this is
  for (std::size_t i = 0; i < timers.size(); ++i) {
    if (timers[i].due && *timers[i].due <= now) {
      due.emplace_back(*timers[i].due, i);
    }
  }
  std::sort(due.begin(), due.end());
  for (const auto& [when, i] : due) {
    if (!stopping && timers[i].due && *timers[i].due <= now) {
      timers[i].due.reset();
      timers[i].callback();
    }
  }
}

void EventLoop::run() { impl_->io.run(); }

void EventLoop::stop() {
  impl_->stopping = true;
  impl_->io.stop();
}

asio::io_context& EventLoop::io() { return impl_->io; }

}  // namespace isthmus
