// An event loop that runs in a thread of its own, for servers under test.
// Owner: the test. Thread: everything but do_now() and turns() before start() or after stop() only.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "control/loop/event_loop.h"

namespace isthmus {

class LoopThread {
 public:
  LoopThread() {
    const Status opened = loop_.open();
    EXPECT_TRUE(opened.ok()) << opened.error().text();
  }
  ~LoopThread() { stop(); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  [[nodiscard]] EventLoop& loop() { return loop_; }
  void start() {
    stopping_ = false;
    thread_ = std::thread([this] {
      while (!stopping_) {
        loop_.io().run_one();
        ++turns_;
      }
    });
  }
  void stop() {
    if (thread_.joinable()) {
      loop_.post([this] { stopping_ = true; });
      thread_.join();
    }
  }
  // Runs `action` in the loop's thread and waits for its result.
  template <typename Action>
  auto do_now(Action action) {
    const auto task = std::make_shared<std::packaged_task<decltype(action())()>>(std::move(action));
    auto result = task->get_future();
    loop_.post([task] { (*task)(); });
    return result.get();
  }
  // Times that the loop had something to do.
  [[nodiscard]] std::uint64_t turns() const { return turns_; }

 private:
  EventLoop loop_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> turns_{0};
};

}  // namespace isthmus
