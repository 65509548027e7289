// What cannot be opened says what is wrong, where, and what to do.
#include <gmock/gmock.h>

#include "test/unit/dpdk/dpdk_rig.h"

namespace isthmus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Error error_of(const DpdkOptions& options) {
  auto opened = open_dpdk(options);
  EXPECT_FALSE(opened.ok()) << options.device;
  return opened.ok() ? Error{} : opened.error();
}

TEST(DpdkErrors, ADriverThatIsNotThere) {
  const Error error = error_of(DpdkEnd::options("net_nobody0"));
  EXPECT_EQ(error.where, "net_nobody0");
  EXPECT_THAT(error.what, HasSubstr("no driver"));
  EXPECT_THAT(error.fix, HasSubstr("devargs"));
}

TEST(DpdkErrors, ANicWithoutHugePages) {
  const Error error = error_of(DpdkEnd::options("0000:00:1f.7"));
  EXPECT_THAT(error.text(), Not(HasSubstr("devargs")));
  EXPECT_FALSE(error.fix.empty());
}

TEST(DpdkErrors, ArgumentsThatTheDriverDoesNotTake) {
  const Error error = error_of(DpdkEnd::options("net_null7,sise=64"));
  EXPECT_EQ(error.where, "net_null7,sise=64");
  EXPECT_FALSE(error.fix.empty());
}

TEST(DpdkErrors, OtherMemoryThanTheFirstDevice) {
  DpdkEnd first("net_null_first");
  DpdkOptions options = DpdkEnd::options("net_null_second");
  options.memory.megabytes = 128;
  EXPECT_THAT(error_of(options).what, HasSubstr("other memory"));
}

TEST(DpdkErrors, AnMtuBeyondOneBuffer) {
  DpdkOptions options = DpdkEnd::options("net_null_mtu");
  options.mtu = kMaxDpdkPacket.value() + 1;
  EXPECT_THAT(error_of(options).text(), HasSubstr(std::to_string(kMaxDpdkPacket.value())));
}

TEST(DpdkErrors, MoreWorkersThanQueues) {
  auto device = std::move(*open_dpdk(DpdkEnd::options("net_null_queues")));
  FramePool::Options memory;
  memory.chunks = 1024;
  memory.reserved = kDpdkReserved;
  auto pool = std::move(*FramePool::create(memory));
  const auto queue = device->open_queue(WorkerId{0}, 5000, *pool);
  ASSERT_FALSE(queue.ok());
  EXPECT_THAT(queue.error().text(), HasSubstr("5000 workers"));
}

TEST(DpdkErrors, FewerFramesThanRings) {
  auto device = std::move(*open_dpdk(DpdkEnd::options("net_null_few", 2048)));
  FramePool::Options memory;
  memory.chunks = 1024;
  memory.reserved = kDpdkReserved;
  auto pool = std::move(*FramePool::create(memory));
  const auto queue = device->open_queue(WorkerId{0}, 1, *pool);
  ASSERT_FALSE(queue.ok());
  EXPECT_THAT(queue.error().fix, HasSubstr("engine.frames"));
}

TEST(DpdkErrors, FramesThatLeaveNoRoomForMessageBuffers) {
  auto device = std::move(*open_dpdk(DpdkEnd::options("net_null_room")));
  FramePool::Options memory;
  memory.chunks = 1024;
  auto pool = std::move(*FramePool::create(memory));
  const auto queue = device->open_queue(WorkerId{0}, 1, *pool);
  ASSERT_FALSE(queue.ok());
  EXPECT_THAT(queue.error().what, HasSubstr(std::to_string(kDpdkReserved)));
}

}  // namespace
}  // namespace isthmus
