#include "dataplane/io/memory/template_device.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

TEST(TemplateDevice, ReceivesFreshCopiesOfTheTemplatesInRotation) {
  auto pool = FramePool::create({.chunks = 8, .chunk_bytes = 2048});
  ASSERT_TRUE(pool.ok());
  TemplateDeviceOptions options;
  options.templates = {FrameBytes(60, 1), FrameBytes(90, 2), FrameBytes(120, 3)};
  auto device = TemplateDevice::create(options);
  ASSERT_TRUE(device.ok());
  auto queue = (*device)->open_queue(WorkerId{0}, 1, **pool);
  ASSERT_TRUE(queue.ok());
  Frame burst[4];
  ASSERT_EQ((*queue)->receive(burst), 4u);
  EXPECT_EQ(burst[3].length, 60u);
  EXPECT_EQ(burst[3].data[59], 1);
  burst[0].data[0] = 99;
  EXPECT_EQ((*queue)->transmit(burst), 4u);
  EXPECT_EQ((*pool)->available(), 8u);
  ASSERT_EQ((*queue)->receive({burst, 3}), 3u);
  EXPECT_EQ(burst[2].length, 60u);
  EXPECT_EQ(burst[2].data[0], 1);
  const QueueCounters c = (*queue)->counters();
  EXPECT_EQ(c.rx_packets, 7u);
  EXPECT_EQ(c.tx_bytes, 60u + 90 + 120 + 60);
}

TEST(TemplateDevice, AnExhaustedPoolShortensTheBurstAndIsCounted) {
  auto pool = FramePool::create({.chunks = 2, .chunk_bytes = 2048});
  ASSERT_TRUE(pool.ok());
  TemplateDeviceOptions options;
  options.templates = {FrameBytes(60, 1)};
  auto device = TemplateDevice::create(options);
  ASSERT_TRUE(device.ok());
  auto queue = (*device)->open_queue(WorkerId{0}, 1, **pool);
  ASSERT_TRUE(queue.ok());
  Frame burst[4];
  EXPECT_EQ((*queue)->receive(burst), 2u);
  EXPECT_EQ((*queue)->counters().rx_no_frame, 1u);
}

TEST(TemplateDevice, TemplatesThatDoNotFitAChunkAreErrors) {
  TemplateDeviceOptions options;
  options.templates = {FrameBytes(3900, 1)};
  EXPECT_FALSE(TemplateDevice::create(options).ok());
  options.templates = {FrameBytes(3000, 1)};
  auto device = TemplateDevice::create(options);
  ASSERT_TRUE(device.ok());
  auto small = FramePool::create({.chunks = 2, .chunk_bytes = 2048});
  ASSERT_TRUE(small.ok());
  EXPECT_FALSE((*device)->open_queue(WorkerId{0}, 1, **small).ok());
}

}  // namespace
}  // namespace isthmus
