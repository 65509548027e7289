// Anonymous network namespaces for the kernel tests: a test runs inside one, and nothing is left behind, however it
// ends. Only the calling thread moves. Needs root; tests skip without it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "control/kernel/kernel.h"

namespace isthmus::test {

// A new namespace, with lo up. The constructor leaves the current one for a moment.
class NetworkNamespace {
 public:
  NetworkNamespace() {
    const int before = current();
    EXPECT_EQ(unshare(CLONE_NEWNET), 0);
    EXPECT_EQ(std::system("ip link set lo up"), 0);
    fd_ = current();
    EXPECT_EQ(setns(before, CLONE_NEWNET), 0);
    close(before);
  }
  ~NetworkNamespace() { close(fd_); }
  NetworkNamespace(const NetworkNamespace&) = delete;
  NetworkNamespace& operator=(const NetworkNamespace&) = delete;

  // Runs `body` inside.
  void in(const std::function<void()>& body) const {
    const int before = current();
    ASSERT_EQ(setns(fd_, CLONE_NEWNET), 0);
    body();
    ASSERT_EQ(setns(before, CLONE_NEWNET), 0);
    close(before);
  }
  void enter() const { ASSERT_EQ(setns(fd_, CLONE_NEWNET), 0); }
  // For `ip link set ... netns`.
  [[nodiscard]] std::string path() const { return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_); }

  [[nodiscard]] static int current() { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

 private:
  int fd_ = -1;
};

// Runs a shell command; if it fails, the test fails.
inline void sh(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

// The test's body runs in a namespace of its own.
class KernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    before_ = NetworkNamespace::current();
    node_ = std::make_unique<NetworkNamespace>();
    node_->enter();
    auto kernel = Kernel::open();
    ASSERT_TRUE(kernel) << kernel.error().text();
    kernel_ = *std::move(kernel);
  }
  void TearDown() override {
    if (before_ >= 0) {
      kernel_.reset();
      ASSERT_EQ(setns(before_, CLONE_NEWNET), 0);
      close(before_);
    }
  }

  // Polls until `done` returns true; false after a generous timeout.
  bool poll_until(const std::function<bool(const KernelEvents&)>& done) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      pollfd waiting{.fd = kernel_->fd(), .events = POLLIN, .revents = 0};
      ::poll(&waiting, 1, 1000);
      if (done(kernel_->poll())) {
        return true;
      }
    }
    return false;
  }
  // Consumes pending events.
  void settle() {
    pollfd waiting{.fd = kernel_->fd(), .events = POLLIN, .revents = 0};
    while (::poll(&waiting, 1, 0) > 0) {
      static_cast<void>(kernel_->poll());
    }
  }

  int before_ = -1;
  std::unique_ptr<NetworkNamespace> node_;
  std::unique_ptr<Kernel> kernel_;
};

inline IpAddress address(const char* text) { return IpAddress::parse(text).value(); }
inline Prefix prefix(const char* text) { return Prefix::parse(text).value(); }

}  // namespace isthmus::test
