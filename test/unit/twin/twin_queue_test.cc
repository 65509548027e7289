// The queue by itself, without a thread at its other end: what fits, what is lost, and how that is counted.
#include <gtest/gtest.h>
#include <poll.h>

#include "test/unit/twin/twin_rig.h"

namespace isthmus::test {
namespace {

class TwinQueueTest : public testing::Test {
 protected:
  TwinQueueTest() {
    shared_->open = true;
    shared_->longest = 1514;
    EXPECT_TRUE(shared_->thread.open() && shared_->worker.open());
    pool_ = *FramePool::create({.chunks = 256, .pages = FramePages::kOrdinary});
  }
  [[nodiscard]] std::unique_ptr<TwinQueue> queue(bool takes = true) {
    return std::make_unique<TwinQueue>(shared_, TwinQueue::Sizes{.frames = 8, .urgent_frames = 4}, takes);
  }
  void give(TwinQueue& queue, const FrameContent& content, unsigned copies = 1) {
    std::array<Frame, kMaxBurst> frames;
    for (unsigned i = 0; i < copies; ++i) {
      const std::uint32_t chunk = pool_->allocate();
      frames[i] = Frame{pool_->chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(content.size()), chunk};
      std::copy(content.begin(), content.end(), frames[i].data);
    }
    queue.give({frames.data(), copies}, *pool_);
    EXPECT_EQ(pool_->available(), 256u) << "all are taken, whatever becomes of them";
  }
  [[nodiscard]] static QueueCounters counters(const TwinQueue& queue) {
    QueueCounters counts;
    queue.add_to(counts);
    return counts;
  }
  [[nodiscard]] static bool readable(int fd) {
    pollfd wait{fd, POLLIN, 0};
    return ::poll(&wait, 1, 0) == 1;
  }
  // Whether it goes by the urgent lane.
  [[nodiscard]] bool urgent(const FrameContent& content) {
    const auto fresh = queue();
    give(*fresh, content);
    EXPECT_NE(fresh->urgent().empty(), fresh->ordinary().empty());
    return !fresh->urgent().empty();
  }

  std::shared_ptr<TwinShared> shared_ = std::make_shared<TwinShared>();
  std::unique_ptr<FramePool> pool_;
};

TEST_F(TwinQueueTest, a_full_lane_loses_what_comes_then_and_counts_it) {
  const auto full = queue();
  give(*full, numbered(1), 8);
  give(*full, numbered(2), 56);
  EXPECT_EQ(counters(*full).to_host, 8u);
  EXPECT_EQ(counters(*full).host_full, 56u);
  EXPECT_EQ(counters(*full).host_refused, 0u);
  EXPECT_TRUE(std::ranges::equal(full->ordinary().front(), numbered(1)));
}

TEST_F(TwinQueueTest, a_full_lane_takes_nothing_from_the_other_one) {
  const auto full = queue();
  give(*full, numbered(1), 64);
  give(*full, arp_request(2), 5);
  EXPECT_EQ(counters(*full).to_host, 8u + 4u);
  EXPECT_EQ(counters(*full).host_full, 56u + 1u);
}

TEST_F(TwinQueueTest, what_keeps_the_host_reachable_is_urgent) {
  EXPECT_TRUE(urgent(arp_request(2)));
  FrameContent tagged = arp_request(2);
  const std::array<std::uint8_t, 4> tag = {0x81, 0x00, 0x00, 0x07};
  tagged.insert(tagged.begin() + 12, tag.begin(), tag.end());
  EXPECT_TRUE(urgent(tagged));

  FrameContent ipv4 = numbered(0, 60, 0x0800);
  ipv4[14] = 0x45;
  for (const auto& [tos, expected] :
       std::array<std::pair<std::uint8_t, bool>, 4>{{{0x00, false}, {0xb8, false}, {0xc0, true}, {0xe0, true}}}) {
    ipv4[15] = tos;
    EXPECT_EQ(urgent(ipv4), expected) << unsigned{tos};
  }
  EXPECT_FALSE(urgent(FrameContent(ipv4.begin(), ipv4.begin() + 15))) << "too short to tell";
  EXPECT_FALSE(urgent(FrameContent(tagged.begin(), tagged.begin() + 15))) << "too short to tell";

  FrameContent ipv6 = numbered(0, 80, 0x86dd);
  ipv6[14] = 0x60;
  ipv6[15] = 0x00;
  ipv6[20] = 58;
  for (const auto& [type, expected] : std::array<std::pair<std::uint8_t, bool>, 5>{
           {{128, false}, {132, false}, {133, true}, {137, true}, {138, false}}}) {
    ipv6[54] = type;
    EXPECT_EQ(urgent(ipv6), expected) << unsigned{type};
  }
  ipv6[54] = 135;
  ipv6[20] = 17;
  EXPECT_FALSE(urgent(ipv6)) << "a byte of UDP's";
  ipv6[14] = 0x6c;  // traffic class 0xc0
  EXPECT_TRUE(urgent(ipv6));
  EXPECT_FALSE(urgent(numbered(0, 14)));
}

TEST_F(TwinQueueTest, what_the_interface_cannot_take_is_refused_and_counted) {
  const auto one = queue();
  give(*one, numbered(0, 13));
  give(*one, numbered(0, 1515));
  EXPECT_EQ(counters(*one).host_refused, 2u);
  give(*one, numbered(0, 14));
  give(*one, numbered(0, 1514));
  give(*one, numbered(0, 1518, 0x8100));  // its tag beside the MTU
  EXPECT_EQ(counters(*one).to_host, 3u);
  give(*one, numbered(0, 1519, 0x8100));
  give(*one, {});
  EXPECT_EQ(counters(*one).host_refused, 4u);
  shared_->open = false;
  give(*one, numbered(0));
  EXPECT_EQ(counters(*one).host_refused, 5u) << "without an interface";
  EXPECT_EQ(counters(*one).to_host + counters(*one).host_full, 3u);
}

TEST_F(TwinQueueTest, frames_of_the_host_wait_where_the_pool_has_none_and_are_lost_where_the_ring_is_full) {
  const auto one = queue();
  for (std::uint32_t i = 0; i < 10; ++i) {
    one->put(numbered(i));
  }
  EXPECT_EQ(counters(*one).from_host_full, 2u);
  std::vector<std::uint32_t> chunks;
  while (pool_->available() > 3) {
    chunks.push_back(pool_->allocate());
  }
  std::array<Frame, 16> frames;
  ASSERT_EQ(one->take(frames, *pool_), 3u);
  EXPECT_EQ(one->take(frames, *pool_), 0u);
  for (const std::uint32_t chunk : chunks) {
    pool_->release(chunk);
  }
  ASSERT_EQ(one->take(frames, *pool_), 5u);
  EXPECT_TRUE(std::ranges::equal(std::span(frames[4].data, frames[4].length), numbered(7)));
  EXPECT_EQ(counters(*one).from_host, 8u);
  one->not_sent(3);
  EXPECT_EQ(counters(*one).from_host_full, 5u);
}

TEST_F(TwinQueueTest, frames_of_the_host_that_no_device_takes_are_refused) {
  const auto one = queue();
  one->put(numbered(0, 13));
  one->put(numbered(0, 1519));
  EXPECT_EQ(counters(*one).host_refused, 2u);
  shared_->longest = 3800;
  one->put(numbered(0, 3800));  // longer than a chunk of this pool holds
  const auto small = *FramePool::create({.chunks = 4, .chunk_bytes = 2048, .pages = FramePages::kOrdinary});
  one->put(numbered(1));
  std::array<Frame, 16> frames;
  ASSERT_EQ(one->take(frames, *small), 1u);
  EXPECT_TRUE(std::ranges::equal(std::span(frames[0].data, frames[0].length), numbered(1)));
  EXPECT_EQ(counters(*one).host_refused, 3u);
}

TEST_F(TwinQueueTest, only_one_worker_takes) {
  const auto other = queue(false);
  std::array<Frame, 4> frames;
  EXPECT_FALSE(other->takes());
  EXPECT_EQ(other->take(frames, *pool_), 0u);
  EXPECT_TRUE(other->arm());
}

TEST_F(TwinQueueTest, the_thread_is_woken_by_a_system_call_only_where_it_sleeps) {
  const auto one = queue();
  give(*one, numbered(0));
  EXPECT_FALSE(readable(shared_->thread.fd()));
  shared_->thread.lie_down();
  give(*one, numbered(0), 3);
  EXPECT_TRUE(readable(shared_->thread.fd()));
  shared_->thread.get_up();
  give(*one, numbered(0));
  EXPECT_FALSE(readable(shared_->thread.fd()));
  shared_->thread.lie_down();
  give(*one, numbered(0, 13));
  EXPECT_FALSE(readable(shared_->thread.fd())) << "nothing was put into a lane";
}

TEST_F(TwinQueueTest, a_worker_that_armed_is_woken_and_does_not_sleep_past_waiting_frames) {
  const auto one = queue();
  ASSERT_TRUE(one->arm());
  EXPECT_FALSE(readable(one->wait_fd()));
  one->put(numbered(0));
  shared_->worker.wake();
  EXPECT_TRUE(readable(one->wait_fd()));
  EXPECT_FALSE(one->arm());
  std::array<Frame, 4> frames;
  ASSERT_EQ(one->take(frames, *pool_), 1u);
  pool_->release(frames[0].chunk);
  EXPECT_TRUE(one->arm());
  EXPECT_FALSE(readable(one->wait_fd())) << "the wake-up of before is taken back";
}

}  // namespace
}  // namespace isthmus::test
