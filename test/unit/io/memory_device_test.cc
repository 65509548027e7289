#include "dataplane/io/memory/memory_device.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <thread>
#include <utility>

namespace isthmus {
namespace {

FrameBytes frame_of(std::size_t length, std::uint8_t value) { return FrameBytes(length, value); }

class MemoryDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto pool = FramePool::create({.chunks = 256, .chunk_bytes = 2048});
    ASSERT_TRUE(pool.ok());
    pool_ = *std::move(pool);
  }
  void TearDown() override {
    for (const std::string& path : files_) {
      unlink(path.c_str());
    }
  }
  std::string temporary(const std::string& suffix) {
    files_.push_back(testing::TempDir() + "isthmus-io-" + std::to_string(getpid()) + suffix);
    return files_.back();
  }
  std::unique_ptr<MemoryDevice> device(const MemoryDeviceOptions& options) {
    auto created = MemoryDevice::create(options);
    EXPECT_TRUE(created.ok()) << (created.ok() ? "" : created.error().text());
    return created.ok() ? *std::move(created) : nullptr;
  }
  std::unique_ptr<DeviceQueue> queue(MemoryDevice& of, WorkerId worker = WorkerId{0}, unsigned workers = 1) {
    auto opened = of.open_queue(worker, workers, *pool_);
    EXPECT_TRUE(opened.ok());
    return *std::move(opened);
  }

  std::unique_ptr<FramePool> pool_;
  std::vector<std::string> files_;
};

TEST_F(MemoryDeviceTest, AShortFrameIsPaddedWithZeros) {
  auto dev = device({});
  auto q = queue(*dev);
  for (const std::size_t length : {1u, 42u, 59u, 60u, 61u}) {
    ASSERT_TRUE(dev->inject(frame_of(90, 0xee)));
    ASSERT_TRUE(dev->inject(frame_of(length, 7)));
    Frame burst[2];
    ASSERT_EQ(q->receive(burst), 2u);
    std::swap(burst[0].length, burst[1].length);  // the long one is cut, as by the removal of a header
    EXPECT_EQ(q->transmit({burst, 1}), 1u);
    FrameBytes sent = frame_of(length, 0xee);
    sent.resize(std::max<std::size_t>(length, 60), 0);
    EXPECT_EQ(dev->take(), sent);
    pool_->release(burst[1].chunk);
  }
}

TEST_F(MemoryDeviceTest, InjectedFramesArriveInOrderWithHeadroomAndSentFramesCanBeTaken) {
  auto dev = device({});
  auto q = queue(*dev);
  for (std::uint8_t i = 0; i < 70; ++i) {
    ASSERT_TRUE(dev->inject(frame_of(60u + i, i)));
  }
  Frame burst[kMaxBurst];
  ASSERT_EQ(q->receive(burst), 64u);
  for (unsigned i = 0; i < 64; ++i) {
    EXPECT_EQ(burst[i].length, 60 + i);
    EXPECT_EQ(burst[i].data[0], i);
    EXPECT_GE(burst[i].data - pool_->chunk_start(burst[i].chunk), static_cast<long>(kFrameHeadroom));
  }
  EXPECT_EQ(q->transmit(burst), 64u);
  EXPECT_EQ(pool_->available(), pool_->chunks());
  EXPECT_EQ(q->receive(burst), 6u);
  EXPECT_TRUE(dev->drained());
  for (std::uint8_t i = 0; i < 64; ++i) {
    EXPECT_EQ(dev->take(), frame_of(60u + i, i));
  }
  EXPECT_EQ(dev->take(), std::nullopt);
  const QueueCounters c = q->counters();
  EXPECT_EQ(c.rx_packets, 70u);
  EXPECT_EQ(c.tx_packets, 64u);
  EXPECT_EQ(c.tx_bytes, 64u * 60 + 63 * 64 / 2);
}

TEST_F(MemoryDeviceTest, EachWorkerHasItsOwnLane) {
  auto dev = device({});
  EXPECT_FALSE(dev->inject(frame_of(60, 1), WorkerId{1}));
  auto first = queue(*dev, WorkerId{0}, 2);
  auto second = queue(*dev, WorkerId{1}, 2);
  EXPECT_TRUE(dev->inject(frame_of(60, 1), WorkerId{1}));
  Frame burst[kMaxBurst];
  EXPECT_EQ(first->receive(burst), 0u);
  EXPECT_EQ(second->receive(burst), 1u);
  pool_->release(burst[0].chunk);
  EXPECT_FALSE(dev->open_queue(WorkerId{2}, 2, *pool_).ok());
}

TEST_F(MemoryDeviceTest, FullLanesAndEmptyPoolsAreCountedAndRecover) {
  auto dev = device({});
  auto q = queue(*dev);
  unsigned accepted = 0;
  while (dev->inject(frame_of(60, 9))) {
    ++accepted;
  }
  EXPECT_EQ(accepted, MemoryDevice::kLaneFrames);
  std::vector<Frame> all(300);
  EXPECT_EQ(q->receive(all), 256u);
  EXPECT_EQ(q->counters().rx_no_frame, 1u);
  EXPECT_EQ(q->transmit({all.data(), 256}), 256u);
  EXPECT_EQ(q->receive(all), 256u);
}

TEST_F(MemoryDeviceTest, TheHostHasALaneOfItsOwnWhereItIsSharedWith) {
  MemoryDeviceOptions options;
  options.lane_frames = 2;
  for (const bool shares : {true, false}) {
    options.shares_with_host = shares;
    auto dev = device(options);
    EXPECT_EQ(dev->shares_with_host(), shares);
    auto q = queue(*dev);
    for (unsigned round = 0; round < 200; ++round) {  // more than the pool has frames
      ASSERT_TRUE(dev->inject(frame_of(20, 1)));
      ASSERT_TRUE(dev->inject(frame_of(70, 2)));
      Frame burst[2];
      ASSERT_EQ(q->receive(burst), 2u);
      q->to_host(burst);
      EXPECT_EQ(dev->take(), std::nullopt);
      if (round == 0) {
        EXPECT_EQ(q->counters().to_host, shares ? 2u : 0u);
        EXPECT_EQ(dev->take_host(), shares ? std::optional(frame_of(20, 1)) : std::nullopt) << "not padded";
        EXPECT_EQ(dev->take_host(), shares ? std::optional(frame_of(70, 2)) : std::nullopt);
        EXPECT_EQ(dev->take_host(), std::nullopt);
      }
    }
    EXPECT_EQ(q->counters().to_host, shares ? 4u : 0u) << "two lie there";
    EXPECT_EQ(q->counters().host_full, shares ? 396u : 400u);
    EXPECT_EQ(q->counters().tx_packets, 0u);
  }
}

TEST_F(MemoryDeviceTest, FramesLongerThanAChunkAreCountedAndSkipped) {
  auto dev = device({});
  auto q = queue(*dev);
  EXPECT_FALSE(dev->inject(frame_of(4000, 1)));
  EXPECT_TRUE(dev->inject(frame_of(3000, 1)));  // this pool's chunks hold 1792 bytes
  EXPECT_TRUE(dev->inject(frame_of(1792, 2)));
  Frame burst[4];
  ASSERT_EQ(q->receive(burst), 1u);
  EXPECT_EQ(burst[0].length, 1792u);
  EXPECT_EQ(q->counters().oversize, 1u);
}

TEST_F(MemoryDeviceTest, AnInjectedFrameWakesASleepingWorker) {
  auto dev = device({});
  auto q = queue(*dev);
  ASSERT_TRUE(q->arm());
  ASSERT_EQ(q->wait_fds().size(), 1u);
  pollfd wait{q->wait_fds()[0], POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, 0), 0);
  std::thread injector([&] { EXPECT_TRUE(dev->inject(frame_of(60, 1))); });
  EXPECT_EQ(poll(&wait, 1, 10'000), 1);
  injector.join();
  EXPECT_FALSE(q->arm());
}

TEST_F(MemoryDeviceTest, ACaptureFileIsReplayedAndTheOutputIsIdentical) {
  MemoryDeviceOptions write_only;
  write_only.pcap_out = temporary(".in.pcap");
  {
    auto dev = device(write_only);
    auto q = queue(*dev);
    Frame burst[3];
    for (std::uint8_t i = 0; i < 3; ++i) {
      burst[i].chunk = pool_->allocate();
      burst[i].data = pool_->chunk_start(burst[i].chunk) + kFrameHeadroom;
      burst[i].length = 100u + i;
      std::fill_n(burst[i].data, burst[i].length, i);
    }
    EXPECT_EQ(q->transmit(burst), 3u);
    EXPECT_EQ(dev->take(), std::nullopt);
  }
  MemoryDeviceOptions both;
  both.pcap_in = write_only.pcap_out;
  both.pcap_out = temporary(".out.pcap");
  {
    auto dev = device(both);
    EXPECT_FALSE(dev->drained());
    auto q = queue(*dev);
    EXPECT_FALSE(q->arm());
    Frame burst[kMaxBurst];
    ASSERT_EQ(q->receive(burst), 3u);
    EXPECT_TRUE(dev->drained());
    EXPECT_EQ(q->transmit({burst, 3}), 3u);
  }
  const auto frames = read_pcap(both.pcap_out, 2000);
  ASSERT_TRUE(frames.ok()) << frames.error().text();
  EXPECT_EQ(*frames, (std::vector<FrameBytes>{frame_of(100, 0), frame_of(101, 1), frame_of(102, 2)}));
  EXPECT_EQ(pool_->available(), pool_->chunks());
}

TEST_F(MemoryDeviceTest, FilesThatCannotBeReplayedAreErrorsThatNameThem) {
  MemoryDeviceOptions options;
  options.pcap_in = "/nonexistent/x.pcap";
  EXPECT_NE(MemoryDevice::create(options).error().text().find("/nonexistent/x.pcap"), std::string::npos);
  options.pcap_in = temporary(".garbage");
  std::ofstream(options.pcap_in) << "this is not a capture";
  EXPECT_FALSE(open_memory(options).ok());
  options.pcap_in.clear();
  options.pcap_out = "/nonexistent/x.pcap";
  EXPECT_FALSE(open_memory(options).ok());
}

TEST_F(MemoryDeviceTest, FramesBeyondTheLimitAndTruncatedFilesAreErrors) {
  const std::string path = temporary(".pcap");
  {
    auto writer = PcapWriter::create(path);
    ASSERT_TRUE(writer.ok());
    (*writer)->write(frame_of(1500, 1));
  }
  EXPECT_TRUE(read_pcap(path, 1500).ok());
  const auto long_frame = read_pcap(path, 1499);
  ASSERT_FALSE(long_frame.ok());
  EXPECT_NE(long_frame.error().text().find("frame 1"), std::string::npos);
  ASSERT_EQ(truncate(path.c_str(), 200), 0);
  EXPECT_FALSE(read_pcap(path, 1500).ok());
}

}  // namespace
}  // namespace isthmus
