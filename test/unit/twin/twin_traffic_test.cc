// Packets between workers and the kernel's stack, through a real TAP.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>

#include "test/unit/twin/twin_rig.h"

namespace isthmus::test {
namespace {

// Another worker that gives frames without a pause, until it ends.
class Flood {
 public:
  Flood(TwinQueue& queue, const FrameContent& content)
      : thread_([this, &queue, content] {
          const auto pool = *FramePool::create({.chunks = 128, .pages = FramePages::kOrdinary});
          std::array<Frame, 32> frames;
          while (!stop_) {
            for (Frame& frame : frames) {
              const std::uint32_t chunk = pool->allocate();
              frame =
                  Frame{pool->chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(content.size()), chunk};
              std::copy(content.begin(), content.end(), frame.data);
            }
            queue.give(frames, *pool);
            given_ += frames.size();
          }
        }) {}
  ~Flood() { stop(); }
  std::uint64_t stop() {
    stop_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
    return given_;
  }
  [[nodiscard]] std::uint64_t given() const { return given_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> given_{0};
  std::thread thread_;
};

// The thread at a descriptor that blocks, so that its rounds can be told apart: it stands where the other end neither
// sends nor receives.
class HostThreadTest : public testing::Test {
 protected:
  HostThreadTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    near_ = UniqueFd(ends[0]);
    far_ = UniqueFd(ends[1]);
    const int least = 1;  // a few frames
    EXPECT_EQ(setsockopt(near_.get(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    shared_->open = true;
    shared_->longest = 1514;
    EXPECT_TRUE(shared_->thread.open() && shared_->worker.open());
    for (const bool takes : {true, false}) {
      queues_.push_back(std::make_unique<TwinQueue>(shared_, TwinQueue::Sizes{}, takes));
    }
    pool_ = *FramePool::create({.chunks = 1024, .pages = FramePages::kOrdinary});
  }
  ~HostThreadTest() override {
    far_.reset();  // what it waits for fails
    thread_.stop();
  }
  // 512 frames of each worker's.
  void fill() {
    const FrameContent content = numbered(0);
    for (unsigned i = 0; i < 1024; ++i) {
      const std::uint32_t chunk = pool_->allocate();
      const Frame frame{pool_->chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(content.size()), chunk};
      std::copy(content.begin(), content.end(), frame.data);
      queues_[i % 2]->give({&frame, 1}, *pool_);
    }
  }
  void host_sends(unsigned frames) {
    const FrameContent content = numbered(0);
    for (unsigned i = 0; i < frames; ++i) {
      ASSERT_EQ(send(far_.get(), content.data(), content.size(), MSG_DONTWAIT), static_cast<ssize_t>(content.size()));
    }
  }
  [[nodiscard]] bool host_receives(unsigned frames) {
    std::array<char, 2048> frame;
    return wait_until([&] {
      while (frames != 0 && recv(far_.get(), frame.data(), frame.size(), MSG_DONTWAIT) > 0) {
        --frames;
      }
      return frames == 0;
    });
  }
  [[nodiscard]] bool worker_takes(unsigned count) {
    std::array<Frame, 16> frames;
    unsigned taken = 0;
    return wait_until([&] {
      for (unsigned n; (n = queues_[0]->take(frames, *pool_)) != 0;) {
        taken += n;
        for (const Frame& frame : std::span(frames).first(n)) {
          pool_->release(frame.chunk);
        }
      }
      return taken >= count;
    });
  }

  std::shared_ptr<TwinShared> shared_ = std::make_shared<TwinShared>();
  std::vector<std::unique_ptr<TwinQueue>> queues_;
  std::unique_ptr<FramePool> pool_;
  UniqueFd near_, far_;
  HostThread thread_{shared_, queues_, FrameRing::kSlotBytes};
};

TEST_F(HostThreadTest, what_is_for_the_host_takes_no_more_than_its_share_of_a_round) {
  fill();
  host_sends(128);
  thread_.start(near_.get());
  // So many, and a few that the socket holds: then the thread stands, while most of them still wait.
  ASSERT_TRUE(host_receives(60));
  EXPECT_TRUE(worker_takes(64)) << "the first round's";
}

TEST_F(HostThreadTest, what_the_host_sends_takes_no_more_than_its_share_of_a_round) {
  fill();
  host_sends(64);  // after these, the thread stands
  thread_.start(near_.get());
  EXPECT_TRUE(host_receives(64)) << "the second round's";
}

TEST_F(TwinTest, the_kernel_answers_what_is_given_to_it) {
  open_twin();
  shell("ip addr add 192.0.2.1/24 dev nic0host");
  EXPECT_TRUE(host_answers());
  EXPECT_EQ(counters().to_host, 1u);
  EXPECT_GE(counters().from_host, 1u);
}

TEST_F(TwinTest, frames_of_both_directions_arrive_whole_and_in_order) {
  open_twin();
  PacketSocket host(kTwin);
  constexpr MacAddress kElsewhere{{2, 0, 0, 0, 0, 9}};
  constexpr std::uint32_t kFrames = 200, kAtOnce = 20;
  std::uint32_t taken = 0;
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    give(numbered(i, 14 + i * 7));
    ASSERT_TRUE(host.send(numbered(1000 + i, 60 + i * 7, kTestType, kElsewhere)));
    if ((i + 1) % kAtOnce != 0) {
      continue;
    }
    for (std::uint32_t received = i + 1 - kAtOnce; received <= i; ++received) {
      FrameContent frame;
      ASSERT_TRUE(wait_until([&] { return !(frame = host.receive()).empty(); })) << received;
      ASSERT_EQ(frame, numbered(received, 14 + received * 7));
    }
    ASSERT_TRUE(wait_until([&] {
      for (const FrameContent& frame : take()) {
        if (frame[12] == 0x88 && frame[13] == 0xb5) {
          EXPECT_EQ(frame, numbered(1000 + taken, 60 + taken * 7, kTestType, kElsewhere));
          ++taken;
        }
      }
      return taken == i + 1;
    })) << i;
  }
  EXPECT_EQ(counters().to_host, kFrames);
  EXPECT_EQ(pool_->available(), 4096u);
}

TEST_F(TwinTest, a_flood_for_the_host_is_bounded_and_all_of_it_is_accounted_for) {
  open_twin();
  Flood flood(twin_->queue(WorkerId{1}), numbered(0));
  ASSERT_TRUE(wait_until([&] { return counters(1).host_full > 10'000; })) << "the rings do not fill";
  const std::uint64_t given = flood.stop();
  EXPECT_EQ(counters(1).to_host + counters(1).host_full, given);
  EXPECT_TRUE(wait_until([&] { return kernel_counts().received == counters(1).to_host; }));
  EXPECT_EQ(counters(1).host_refused, 0u);
}

TEST_F(TwinTest, a_flood_for_the_host_does_not_starve_what_it_sends_or_other_workers_or_what_is_urgent) {
  open_twin();
  shell("ip addr add 192.0.2.1/24 dev nic0host");
  Flood flood(twin_->queue(WorkerId{1}), numbered(0));
  ASSERT_TRUE(wait_until([&] { return counters(1).host_full > 1'000; }));
  PacketSocket host(kTwin);
  const std::uint64_t before = flood.given();
  for (std::uint32_t i = 0; i < 100; ++i) {
    const FrameContent sent = numbered(i, 80, kTestType, MacAddress{{2, 0, 0, 0, 0, 9}});
    ASSERT_TRUE(host.send(sent));
    ASSERT_TRUE(take_until([&](const FrameContent& frame) { return frame == sent; })) << i;
    ASSERT_TRUE(host_answers(static_cast<std::uint8_t>(2 + i % 200))) << i;
  }
  EXPECT_EQ(counters(0).host_full + counters(0).from_host_full, 0u);
  EXPECT_TRUE(wait_until([&] { return flood.given() > before + 10'000; })) << "the worker that floods goes on, too";
}

TEST_F(TwinTest, what_is_urgent_gets_through_the_flood_of_its_own_worker) {
  open_twin();
  shell("ip addr add 192.0.2.1/24 dev nic0host");
  std::uint64_t lost_ordinary = 0;
  for (std::uint8_t i = 2; i < 102; ++i) {
    const std::uint64_t before = counters().host_full;
    while (counters().host_full < before + 100) {
      give(numbered(0), kMaxBurst);  // the lane is full at this moment
    }
    lost_ordinary += counters().host_full - before;
    const std::uint64_t full = counters().host_full;
    give(arp_request(i));
    ASSERT_EQ(counters().host_full, full);
    ASSERT_TRUE(take_until([i](const FrameContent& frame) { return is_arp_reply(frame, i); })) << unsigned{i};
  }
  EXPECT_GE(lost_ordinary, 10'000u);
}

TEST_F(TwinTest, a_flood_that_the_host_sends_does_not_keep_it_from_receiving) {
  open_twin();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> sent{0};
  PacketSocket host(kTwin);
  std::thread flood([&, content = numbered(7, 80, kTestType, MacAddress{{2, 0, 0, 0, 0, 9}})] {
    while (!stop) {
      sent += host.send(content) ? 1 : 0;
    }
  });
  // Nobody takes: the ring is full, and stays so.
  EXPECT_TRUE(wait_until([&] { return counters().from_host_full > 1'000; }));
  const std::uint64_t before = kernel_counts().received;
  for (std::uint32_t i = 1; i <= 200; ++i) {
    give(numbered(i));
    ASSERT_TRUE(wait_until([&] { return kernel_counts().received >= before + i; })) << i;
  }
  stop = true;
  flood.join();
  EXPECT_EQ(counters().to_host, 200u);
  EXPECT_EQ(counters().host_full, 0u);
  std::uint64_t taken = 0;
  for (std::size_t n; (n = take().size()) != 0;) {
    taken += n;
  }
  EXPECT_GE(taken, 512u) << "what was in the ring";
}

TEST_F(TwinTest, a_sleeping_worker_is_woken_by_each_frame_of_the_host) {
  open_twin();
  PacketSocket host(kTwin);
  TwinQueue& queue = twin_->queue(WorkerId{0});
  for (std::uint32_t i = 0; i < 2'000; ++i) {
    const FrameContent content = numbered(i, 80, kTestType, MacAddress{{2, 0, 0, 0, 0, 9}});
    ASSERT_TRUE(host.send(content));
    bool seen = false;
    while (!seen) {
      if (queue.arm()) {
        pollfd wait{queue.wait_fd(), POLLIN, 0};
        ASSERT_EQ(::poll(&wait, 1, 30'000), 1) << "slept past a frame, " << i;
      }
      for (const FrameContent& frame : take()) {
        seen = seen || frame == content;
      }
    }
  }
}

TEST_F(TwinTest, a_sleeping_thread_is_woken_by_each_frame_for_the_host) {
  open_twin();
  PacketSocket host(kTwin);
  for (std::uint32_t i = 0; i < 2'000; ++i) {
    give(numbered(i));
    ASSERT_TRUE(host_receives(host, numbered(i))) << i;
  }
}

}  // namespace
}  // namespace isthmus::test
