// How long a worker sleeps: no longer than the most impatient of its queues allows.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "test/support/path_rig.h"

namespace {

std::atomic<long> longest_ns{0}, calls{0};  // of this test's workers

}  // namespace

// In place of the C library's, for this program: notes how long it is asked to wait.
extern "C" int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* signals) {
  if (timeout != nullptr) {
    const long ns = timeout->tv_sec * 1'000'000'000 + timeout->tv_nsec;
    long most = longest_ns.load();
    while (ns > most && !longest_ns.compare_exchange_weak(most, ns)) {
    }
    calls.fetch_add(1);
  }
  constexpr std::size_t kKernelSignals = 8;  // bytes of the kernel's signal set
  timespec left = timeout != nullptr ? *timeout : timespec{};
  return static_cast<int>(
      syscall(SYS_ppoll, fds, count, timeout != nullptr ? &left : nullptr, signals, kKernelSignals));
}

namespace isthmus::test {
namespace {

// A queue without packets that has to be looked at from time to time.
class ImpatientQueue final : public DeviceQueue {
 public:
  explicit ImpatientQueue(std::uint32_t us) : us_(us) {}
  unsigned receive(std::span<Frame>) noexcept override { return 0; }
  unsigned transmit(std::span<const Frame>) noexcept override { return 0; }
  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
  [[nodiscard]] std::uint32_t longest_sleep_us() const noexcept override { return us_; }
  bool arm() noexcept override { return true; }
  [[nodiscard]] QueueCounters counters() const noexcept override { return {}; }

 private:
  std::uint32_t us_;
};

class ImpatientDevice final : public Device {
 public:
  explicit ImpatientDevice(std::uint32_t us) : us_(us) {}
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] MacAddress mac() const noexcept override { return {}; }
  [[nodiscard]] Bytes mtu() const noexcept override { return Bytes{1500}; }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId, unsigned, FramePool&) override {
    return std::unique_ptr<DeviceQueue>(std::make_unique<ImpatientQueue>(us_));
  }
  [[nodiscard]] Status steer(const SteerRules&) override { return Ok{}; }
  [[nodiscard]] Status change_steer(const SteerChange&) override { return Ok{}; }
  [[nodiscard]] std::string describe() const override { return name_; }

 private:
  std::uint32_t us_;
  std::string name_ = "impatient";
};

// The longest sleep of a worker with such queues, nanoseconds.
long longest_sleep(std::initializer_list<std::uint32_t> queues) {
  EngineOptions options;
  options.cluster = ClusterId{1};
  options.keep_state = false;
  options.tunnel = tunnel_end(Actors::ip("192.0.2.1"));
  options.connections = 64, options.frames = 64;
  auto engine = std::move(*Engine::create(options));
  for (const std::uint32_t us : queues) {
    EXPECT_TRUE(engine->add_device(std::make_unique<ImpatientDevice>(us)));
  }
  longest_ns = calls = 0;
  EXPECT_TRUE(engine->start());
  while (calls.load() < 3) {
    std::this_thread::yield();
  }
  engine->stop();
  return longest_ns.load();
}

TEST(WorkerSleep, IsNoLongerThanTheMostImpatientQueueAllows) {
  constexpr long kDefault = 50'000'000;
  EXPECT_EQ(longest_sleep({0, 0}), kDefault);
  EXPECT_EQ(longest_sleep({0, 250}), 250'000);
  EXPECT_EQ(longest_sleep({700, 0, 250}), 250'000);
  EXPECT_EQ(longest_sleep({250, 700}), 250'000);
  EXPECT_EQ(longest_sleep({90'000}), kDefault) << "and no longer than is good for the heartbeat";
}

}  // namespace
}  // namespace isthmus::test
