// A NIC that is taken away under traffic and comes back, as a cloud's host does when it is serviced: a ring, whose
// removal is told as a driver of cards tells it.
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "test/unit/dpdk/dpdk_rig.h"

// DPDK's, for drivers: of no header that is installed.
extern "C" {
struct rte_eth_dev;
rte_eth_dev* rte_eth_dev_get_by_name(const char* name);
int rte_eth_dev_callback_process(rte_eth_dev* device, rte_eth_event_type event, void* data);
}

namespace isthmus {
namespace {

bool wait_for(const std::function<bool()>& condition) {
  for (unsigned ms = 0; ms < 20'000; ++ms) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

void take_away(const char* name) {
  rte_eth_dev* const nic = rte_eth_dev_get_by_name(name);
  ASSERT_NE(nic, nullptr);
  rte_eth_dev_callback_process(nic, RTE_ETH_EVENT_INTR_RMV, nullptr);
}

// Sends a burst and receives what comes back, again and again, as a worker does.
class Traffic {
 public:
  explicit Traffic(DpdkEnd& end) : end_(end) {}
  ~Traffic() { stop(); }
  void start() {
    stopping_ = false;
    thread_ = std::thread([this] { run(); });
  }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  [[nodiscard]] bool goes_on() const {
    const std::uint64_t before = came;
    return wait_for([&] { return came > before + 1000; });
  }
  std::atomic<std::uint64_t> came{0}, damaged{0};

 private:
  void run() {
    const FrameBytes bytes = pattern(200);
    while (!stopping_) {
      std::vector<Frame> frames;
      while (frames.size() < 16 && end_.pool->available() > 0) {
        frames.push_back(end_.make(bytes));
      }
      const unsigned sent = end_.queue->transmit(frames);
      for (std::size_t i = sent; i < frames.size(); ++i) {
        end_.pool->release(frames[i].chunk);
      }
      end_.queue->flush();
      for (const Frame& frame : end_.receive()) {
        damaged += bytes_of(frame) != bytes ? 1 : 0;
        ++came;
        end_.pool->release(frame.chunk);
      }
    }
  }

  DpdkEnd& end_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

TEST(DpdkRemoval, ANicThatIsTakenAwayAndComesBackGoesOn) {
  DpdkEnd end("net_ring_serviced", 2048);
  ASSERT_NE(end.queue, nullptr);
  Traffic traffic(end);
  traffic.start();
  ASSERT_TRUE(traffic.goes_on());
  for (unsigned turn = 0; turn < 5; ++turn) {
    take_away("net_ring_serviced");
    DeviceCondition condition = end.device->check();
    EXPECT_FALSE(condition.up);
    ASSERT_EQ(condition.problems.size(), 1U);
    EXPECT_EQ(condition.problems[0].what, "the NIC was taken away");
    const std::uint64_t before = traffic.came;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_LE(traffic.came, before + kMaxBurst) << "what the worker had in hand";
    while (!condition.reopen) {
      condition = end.device->check();
    }
    traffic.stop();  // as the engine does
    const Status reopened = end.device->reopen();
    ASSERT_TRUE(reopened.ok()) << reopened.error().text();
    traffic.start();
    EXPECT_TRUE(end.device->check().problems.empty());
    EXPECT_TRUE(end.device->check().up);
    ASSERT_TRUE(traffic.goes_on()) << turn;
  }
  traffic.stop();
  EXPECT_EQ(traffic.damaged, 0U);
  end.queue.reset();
  EXPECT_EQ(end.pool->available(), end.pool->chunks());
}

TEST(DpdkRemoval, ANicThatIsNotBackIsAskedForLessAndLessOften) {
  const std::string capture = testing::TempDir() + "/isthmus-removal.pcap";
  std::ofstream(capture, std::ios::binary)
      << std::string("\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0", 24);
  DpdkEnd end("net_pcap_gone,rx_pcap=" + capture, 2048);
  ASSERT_NE(end.queue, nullptr);
  take_away("net_pcap_gone");
  std::filesystem::rename(capture, capture + ".away");
  std::vector<unsigned> looks;  // between two attempts
  for (unsigned attempt = 0; attempt < 8; ++attempt) {
    looks.push_back(1);
    while (!end.device->check().reopen) {
      ++looks.back();
    }
    EXPECT_FALSE(end.device->reopen().ok());
    EXPECT_TRUE(end.receive().empty());
    const DeviceCondition condition = end.device->check();
    ASSERT_EQ(condition.problems.size(), 1U);
    EXPECT_EQ(condition.problems[0].what.find("the NIC was taken away: DPDK"), 0U) << condition.problems[0].what;
  }
  EXPECT_TRUE(std::is_sorted(looks.begin(), looks.end()));
  EXPECT_EQ(looks.back(), 31U);
  std::filesystem::rename(capture + ".away", capture);
  EXPECT_TRUE(end.device->reopen().ok());
  EXPECT_TRUE(end.device->check().problems.empty());
  std::filesystem::remove(capture);
}

// What a driver hands over in two buffers, and says to be longer than they are.
TEST(DpdkDriver, ABufferThatIsShorterThanItSaysIsLostAndCounted) {
  DpdkEnd end("net_ring_lies");
  rte_mempool* const pool = rte_pktmbuf_pool_create("lies", 64, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
  ASSERT_NE(pool, nullptr);
  rte_ring* const ring = rte_ring_lookup("ETH_RXTX0_net_ring_lies");
  ASSERT_NE(ring, nullptr);
  for (const std::uint32_t says : {100U, 101U, 3000U, 0U}) {
    rte_mbuf *first = rte_pktmbuf_alloc(pool), *second = rte_pktmbuf_alloc(pool);
    rte_pktmbuf_append(first, 60);
    rte_pktmbuf_append(second, 40);
    ASSERT_EQ(rte_pktmbuf_chain(first, second), 0);
    first->pkt_len = says;
    ASSERT_EQ(rte_ring_enqueue(ring, first), 0);
    for (const Frame& frame : end.receive()) {
      EXPECT_EQ(frame.length, 100U);
      end.pool->release(frame.chunk);
    }
  }
  EXPECT_EQ(end.queue->counters().rx_errors, 3U);
  EXPECT_EQ(end.queue->counters().rx_packets, 1U);
  EXPECT_EQ(end.pool->available(), end.pool->chunks());
  EXPECT_EQ(rte_mempool_avail_count(pool), 64U);
}

TEST(DpdkRemoval, FailsafeIsRefusedWithWhatToDo) {
  auto opened = open_dpdk(DpdkEnd::options("net_failsafe_refused,dev(net_ring_inside)"));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().text().find("net_failsafe_refused") != std::string::npos, true) << opened.error().text();
  EXPECT_NE(opened.error().text().find("name the NIC itself"), std::string::npos) << opened.error().text();
}

}  // namespace
}  // namespace isthmus
