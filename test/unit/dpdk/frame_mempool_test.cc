// A worker's frames as DPDK's mempool, where other threads than the worker take and give buffers: those of DPDK that
// start and stop queues of a NIC that comes and goes.
#include "dataplane/io/dpdk/frame_mempool.h"

#include <gtest/gtest.h>
#include <rte_eal.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace isthmus {
namespace {

class FrameMempoolTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::vector<const char*> words{"test",           "--no-huge", "--no-shconf", "--iova-mode=va",     "--no-pci",
                                   "--no-telemetry", "-m",        "64",          "--log-level=*:error"};
    ASSERT_GE(rte_eal_init(static_cast<int>(words.size()), const_cast<char**>(words.data())), 0);
  }
  void SetUp() override {
    FramePool::Options options;
    options.chunks = 1024;
    options.reserved = FrameMempool::kReserved;
    pool_ = std::move(*FramePool::create(options));
    mempool_ = std::move(*FrameMempool::create(*pool_, 0));
  }
  void TearDown() override {
    mempool_.reset();
    EXPECT_EQ(pool_->available(), pool_->chunks()) << "whatever was in the reserve";
  }
  static void on_another_thread(const std::function<void()>& work) { std::thread(work).join(); }

  std::unique_ptr<FramePool> pool_;
  std::unique_ptr<FrameMempool> mempool_;
  std::vector<void*> kept_;
};

TEST_F(FrameMempoolTest, OthersTakeFromTheReserveAlone) {
  ASSERT_TRUE(mempool_->keep_reserve(200).ok());
  mempool_->claim();
  EXPECT_EQ(pool_->available(), 824U);
  on_another_thread([this] {
    std::array<void*, 200> taken;
    EXPECT_EQ(rte_mempool_get_bulk(mempool_->get(), taken.data(), 200), 0);
    EXPECT_EQ(rte_mempool_get_bulk(mempool_->get(), taken.data(), 1), -ENOBUFS);
    EXPECT_EQ(pool_->available(), 824U);
    rte_mempool_put_bulk(mempool_->get(), taken.data(), 200);
    EXPECT_EQ(pool_->available(), 824U);
  });
}

TEST_F(FrameMempoolTest, TheWorkerFillsTheReserveAndTakesWhatIsMoreBack) {
  ASSERT_TRUE(mempool_->keep_reserve(100).ok());
  mempool_->claim();
  std::array<void*, 100> others, own;
  on_another_thread([&] { EXPECT_EQ(rte_mempool_get_bulk(mempool_->get(), others.data(), 100), 0); });
  EXPECT_EQ(rte_mempool_get_bulk(mempool_->get(), own.data(), 100), 0);
  EXPECT_EQ(pool_->available(), 824U);
  for (unsigned round = 0; round < 4; ++round) {
    mempool_->tend_reserve();
  }
  EXPECT_EQ(pool_->available(), 724U) << "full again";
  on_another_thread([&] {
    rte_mempool_put_bulk(mempool_->get(), others.data(), 100);
    rte_mempool_put_bulk(mempool_->get(), own.data(), 100);
  });
  for (unsigned round = 0; round < 8; ++round) {
    mempool_->tend_reserve();
  }
  EXPECT_EQ(pool_->available(), 924U);
}

TEST_F(FrameMempoolTest, AWorkerWithFewFramesLeftKeepsThem) {
  ASSERT_TRUE(mempool_->keep_reserve(100).ok());
  mempool_->claim();
  on_another_thread([this] {
    std::array<void*, 100> taken;
    EXPECT_EQ(rte_mempool_get_bulk(mempool_->get(), taken.data(), 100), 0);
    rte_mempool_put_bulk(mempool_->get(), taken.data(), 40);
    for (unsigned i = 40; i < 100; ++i) {
      kept_.push_back(taken[i]);
    }
  });
  std::vector<std::uint32_t> chunks;
  while (pool_->available() > 200) {
    chunks.push_back(pool_->allocate());
  }
  mempool_->tend_reserve();
  EXPECT_EQ(pool_->available(), 200U);
  for (const std::uint32_t chunk : chunks) {
    pool_->release(chunk);
  }
  rte_mempool_put_bulk(mempool_->get(), kept_.data(), static_cast<unsigned>(kept_.size()));
}

TEST_F(FrameMempoolTest, NoBufferIsTwoThreadsAtATime) {
  ASSERT_TRUE(mempool_->keep_reserve(128).ok());
  std::vector<std::atomic<int>> holders(pool_->chunks());
  std::atomic<bool> stop{false};
  std::atomic<unsigned> twice{0}, turns{0};
  const auto work = [&](unsigned most) {
    std::array<void*, 64> taken;
    if (rte_mempool_get_bulk(mempool_->get(), taken.data(), most) != 0) {
      return;
    }
    for (unsigned i = 0; i < most; ++i) {
      twice += holders[mempool_->chunk_of(taken[i])]++ != 0 ? 1 : 0;
    }
    for (unsigned i = 0; i < most; ++i) {
      --holders[mempool_->chunk_of(taken[i])];
    }
    rte_mempool_put_bulk(mempool_->get(), taken.data(), most);
    ++turns;
  };
  mempool_->claim();
  std::thread other([&] {
    while (!stop) {
      work(48);
    }
  });
  for (unsigned round = 0; round < 200'000; ++round) {
    work(64);
    mempool_->tend_reserve();
  }
  stop = true;
  other.join();
  EXPECT_EQ(twice, 0U);
  EXPECT_GT(turns, 200'000U) << "the other one had some, too";
}

}  // namespace
}  // namespace isthmus
