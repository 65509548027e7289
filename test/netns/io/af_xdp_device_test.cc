// Packets between kernel sockets, forwarded through AF_XDP devices.
#include <gtest/gtest.h>
#include <poll.h>

#include <set>

#include "dataplane/io/af_xdp/shared_umem.h"
#include "lab.h"
#include "xdp/loader/steer_program.h"

namespace isthmus {
namespace {

using namespace lab;

constexpr std::uint16_t kPort = 7000;

class AfXdpDeviceTest : public testing::Test {
 protected:
  void make(unsigned mtu = 1500) {
    lab_ = std::make_unique<Lab>(mtu);
    lab_->at("gateway");
  }
  void open(AfXdpOptions options) {
    options.interface = "u0";
    left_ = open_device(options);
    options.interface = "d0";
    right_ = open_device(options);
    ASSERT_TRUE(left_ && right_);
    ASSERT_TRUE(left_->steer(left_rules()).ok());
    ASSERT_TRUE(right_->steer(right_rules()).ok());
  }
  std::unique_ptr<UdpSocket> socket_at(const std::string& where, const char* address, std::uint16_t port = 0) {
    lab_->at(where);
    auto socket = std::make_unique<UdpSocket>(address, port);
    lab_->at("gateway");
    return socket;
  }
  // Runs `step` for a first heartbeat, then sends from 32 flows and waits until every datagram has arrived exactly
  // once, while `step` forwards.
  // Of an interface with a larger MTU, before Linux 6.6.
  [[nodiscard]] static bool receives_short_packets_only(const Device& device) {
    if (SteerProgram::kernel_gathers()) {
      return false;
    }
    EXPECT_EQ(device.mtu(), kMaxAfXdpPacket);
    return true;
  }
  void expect_all_arrive(const char* from, const char* from_where, const char* to, const char* to_where, unsigned count,
                         std::size_t length, const std::function<void()>& step) {
    auto server = socket_at(to_where, to, kPort);
    std::vector<std::unique_ptr<UdpSocket>> clients;
    for (unsigned i = 0; i < 32; ++i) {
      clients.push_back(socket_at(from_where, from));
    }
    std::multiset<std::string> sent, arrived;
    const auto collect = [&] {
      for (const std::string& datagram : server->received()) {
        arrived.insert(datagram);
      }
    };
    step();
    for (unsigned i = 0; i < count; ++i) {
      std::string payload = std::to_string(i) + ":";
      payload.resize(length, 'x');
      clients[i % clients.size()]->send(to, kPort, payload);
      sent.insert(payload);
      step();
      collect();
    }
    EXPECT_TRUE(eventually(
        [&] {
          collect();
          return arrived.size() >= sent.size();
        },
        step));
    EXPECT_EQ(arrived.size(), count);
    EXPECT_TRUE(arrived == sent);
  }

  std::unique_ptr<Lab> lab_;
  std::unique_ptr<Device> left_, right_;
};

class EveryMode : public AfXdpDeviceTest, public testing::WithParamInterface<XdpMode> {};

TEST_P(EveryMode, ForwardsBothWaysBetweenDevicesThatShareFrames) {
  make();
  AfXdpOptions options;
  options.mode = GetParam();
  open(options);
  EXPECT_EQ(left_->queues(), 2u);
  EXPECT_EQ(left_->mtu(), Bytes{1500});
  EXPECT_EQ(left_->mac(), *MacAddress::parse("02:00:00:00:01:02"));
  Forwarder forwarder(*left_, right_.get());
  const std::string mode = GetParam() == XdpMode::kGeneric ? "generic" : "native";
  EXPECT_EQ(left_->describe(), "af_xdp " + mode + " copy, 2 queues");
  const auto step = [&] { forwarder.round(); };
  expect_all_arrive(kLeft, "left", kRight, "right", 500, 100, step);
  expect_all_arrive(kRight, "right", kLeft, "left", 500, 1472, step);
  const QueueCounters left = forwarder.left().counters();
  const QueueCounters right = forwarder.right().counters();
  EXPECT_EQ(left.rx_packets, 500u);
  EXPECT_EQ(left.tx_packets, 500u);
  EXPECT_EQ(right.rx_bytes, 500u * (1472 + 42));
  EXPECT_EQ(right.tx_bytes, 500u * (100 + 42));
  EXPECT_EQ(left.tx_full + left.rx_no_frame + left.rx_overrun + left.oversize, 0u);
  const auto counters = steer_counters("u0");
  ASSERT_TRUE(counters.ok());
  EXPECT_EQ(counters->taken_plain, 500u);
  EXPECT_EQ(counters->engine_down_dropped, 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryMode, testing::Values(XdpMode::kNative, XdpMode::kGeneric, XdpMode::kAuto));

TEST_F(AfXdpDeviceTest, QueuesAreDividedAmongWorkers) {
  make();
  open({});
  Forwarder first(*left_, right_.get(), WorkerId{0}, 2);
  Forwarder second(*left_, right_.get(), WorkerId{1}, 2);
  expect_all_arrive(kLeft, "left", kRight, "right", 600, 100, [&] {
    first.round();
    second.round();
  });
  EXPECT_EQ(first.left().counters().rx_packets + second.left().counters().rx_packets, 600u);
  EXPECT_GT(first.left().counters().rx_packets, 0u);
  EXPECT_GT(second.left().counters().rx_packets, 0u);
}

TEST_F(AfXdpDeviceTest, ForwardsWithBusyPolling) {
  make();
  AfXdpOptions options;
  options.busy_poll_us = 20;
  options.busy_poll_budget = 128;
  open(options);
  Forwarder forwarder(*left_, right_.get());
  expect_all_arrive(kLeft, "left", kRight, "right", 200, 100, [&] { forwarder.round(); });
}

TEST_F(AfXdpDeviceTest, ShortFramesArePadded) {
  make();
  open({});
  Forwarder forwarder(*left_, right_.get());
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 6, [&] { forwarder.round(); });
  EXPECT_EQ(forwarder.left().counters().rx_bytes, 50u * (6 + 42));
  EXPECT_EQ(forwarder.right().counters().tx_bytes, 50u * 60);
}

TEST_F(AfXdpDeviceTest, PacketsOfTheLargestSingleBufferMtuAreForwarded) {
  make(3506);
  AfXdpOptions options;
  options.mode = XdpMode::kNative;
  open(options);
  EXPECT_EQ(left_->mtu(), Bytes{3506});
  Forwarder forwarder(*left_, right_.get());
  expect_all_arrive(kLeft, "left", kRight, "right", 100, 3506 - 28, [&] { forwarder.round(); });
}

TEST_P(EveryMode, PacketsOfAJumboInterfaceAreForwardedWhole) {
  make(9000);
  AfXdpOptions options;
  options.mode = GetParam();
  open(options);
  if (receives_short_packets_only(*left_)) {
    return;
  }
  EXPECT_EQ(left_->mtu(), Bytes{9000});
  Forwarder forwarder(*left_, right_.get());
  const auto step = [&] { forwarder.round(); };
  const std::uint32_t all = forwarder.pool().long_available();
  ASSERT_GT(all, 0u);
  std::uint64_t bytes = 0;
  for (const std::size_t length : {8972, 100, 3786, 3798, 3799, 4068, 5000, 7626, 7680, 7682}) {
    expect_all_arrive(kLeft, "left", kRight, "right", 50, length, step);
    expect_all_arrive(kRight, "right", kLeft, "left", 50, length, step);
    bytes += 50 * (length + 42);
  }
  for (const QueueCounters& counters : {forwarder.left().counters(), forwarder.right().counters()}) {
    EXPECT_EQ(counters.rx_packets, 500u);
    EXPECT_EQ(counters.tx_packets, 500u);
    EXPECT_EQ(counters.rx_bytes, bytes);
    EXPECT_EQ(counters.tx_bytes, bytes);
    EXPECT_EQ(counters.tx_full + counters.rx_no_frame + counters.rx_overrun + counters.oversize, 0u);
  }
  EXPECT_TRUE(eventually([&] { return forwarder.pool().long_available() == all; }, step));
}

// More at once than there are long chunks: what finds none is counted, and none is lost.
TEST_F(AfXdpDeviceTest, ABurstOfJumboPacketsTakesNoMoreLongChunksThanThereAre) {
  make(9000);
  open({});
  if (receives_short_packets_only(*left_)) {
    return;
  }
  Forwarder forwarder(*left_, right_.get(), WorkerId{0}, 1, 1024);
  const auto step = [&] { forwarder.round(); };
  const std::uint32_t all = forwarder.pool().long_available();
  auto server = socket_at("right", kRight, kPort);
  auto client = socket_at("left", kLeft);
  step();  // for a first heartbeat
  for (unsigned i = 0; i < 60; ++i) {
    client->send(kRight, kPort, std::string(8000, 'x'));
  }
  std::size_t arrived = 0;
  EXPECT_TRUE(eventually(
      [&] {
        arrived += server->received().size();  // which takes less than all of them at once
        const QueueCounters now = forwarder.left().counters();
        return arrived > 0 && now.rx_packets + now.rx_no_frame + now.rx_overrun + now.oversize == 60 &&
               now.rx_packets == forwarder.right().counters().tx_packets + forwarder.right().counters().tx_full;
      },
      step))
      << arrived;
  EXPECT_GT(arrived, 0u);
  EXPECT_EQ(forwarder.left().counters().oversize, 0u) << "none is too long";
  EXPECT_TRUE(eventually([&] { return forwarder.pool().long_available() == all; }, step));
  server.reset();
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 8972, step);
}

// An interface that has its large MTU later than the other one.
TEST_F(AfXdpDeviceTest, AnMtuThatIsRaisedBesideAJumboInterfaceIsCarriedOrToldAsAProblem) {
  make(9000);
  lab_->at("gateway");
  sh("ip link set dev d0 mtu 3600");
  open({});
  if (receives_short_packets_only(*left_)) {
    return;
  }
  Forwarder forwarder(*left_, right_.get());
  const auto step = [&] { forwarder.round(); };
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 3000, step);
  sh("ip link set dev d0 mtu 9000");
  const DeviceCondition condition = right_->check();
  if (right_->mtu() == Bytes{9000}) {
    EXPECT_TRUE(condition.problems.empty());
    expect_all_arrive(kRight, "right", kLeft, "left", 50, 8000, step);
  } else {
    EXPECT_EQ(right_->mtu(), Bytes{3826});
    EXPECT_FALSE(condition.problems.empty());
  }
}

// What was made anew with a larger MTU is as it would have been from the start.
TEST_F(AfXdpDeviceTest, AnInterfaceMadeAnewAsJumboBesideAnotherCarriesJumboPackets) {
  make(9000);
  lab_->at("gateway");
  sh("ip link set dev u0 mtu 1500");
  open({});
  if (receives_short_packets_only(*right_)) {
    return;
  }
  Forwarder forwarder(*left_, right_.get());
  const auto step = [&] { forwarder.round(); };
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 1000, step);
  lab_->remove_left();
  lab_->make_left();
  lab_->at("gateway");
  ASSERT_TRUE(left_->check().reopen);
  ASSERT_TRUE(left_->reopen().ok());
  EXPECT_TRUE(left_->check().problems.empty());
  EXPECT_EQ(left_->mtu(), Bytes{9000});
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 8972, step);
}

// The frames that wait for it are not all that there are.
TEST_F(AfXdpDeviceTest, AnInterfaceThatDoesNotSendLeavesLongChunksToOthers) {
  make(9000);
  open({});
  if (receives_short_packets_only(*left_)) {
    return;
  }
  Forwarder forwarder(*left_, right_.get());
  const std::uint32_t all = forwarder.pool().long_available();
  auto client = socket_at("left", kLeft);
  forwarder.round();
  sh("ip link set dev d0 down");
  for (unsigned i = 0; i < 600; ++i) {
    client->send(kRight, kPort, std::string(8000, 'x'));
    forwarder.round();
  }
  EXPECT_EQ(forwarder.left().counters().rx_no_frame, 0u);
  EXPECT_GT(forwarder.right().counters().tx_full, 0u);
  EXPECT_GE(forwarder.pool().long_available(), all / 4);
  sh("ip link set dev d0 up");
  EXPECT_TRUE(eventually([&] { return forwarder.pool().long_available() == all; }, [&] { forwarder.round(); }));
}

TEST_F(AfXdpDeviceTest, AnInterfaceWithAnMtuAboveLongChunksReportsItsReducedMtu) {
  make(16'000);
  AfXdpOptions options;
  options.mode = XdpMode::kNative;
  open(options);
  if (receives_short_packets_only(*left_)) {
    return;
  }
  EXPECT_EQ(left_->mtu(), Bytes{3 * 4096 - 256 - 14});
  Forwarder forwarder(*left_, right_.get());
  expect_all_arrive(kLeft, "left", kRight, "right", 100, 3000, [&] { forwarder.round(); });
  expect_all_arrive(kLeft, "left", kRight, "right", 100, 3 * 4096 - 256 - 42, [&] { forwarder.round(); });
  // A longer packet is dropped and counted; others are not affected.
  auto client = socket_at("left", kLeft);
  client->send(kRight, kPort, std::string(15'000, 'x'));
  expect_all_arrive(kLeft, "left", kRight, "right", 100, 3000, [&] { forwarder.round(); });
  const auto counters = steer_counters("u0");
  ASSERT_TRUE(counters.ok());
  EXPECT_EQ(counters->longer_than_buffer, 1u);
  // Node traffic of any size passes.
  auto node = socket_at("gateway", kGatewayLeft, kPort);
  client->send(kGatewayLeft, kPort, std::string(15'000, 'y'));
  EXPECT_TRUE(eventually([&] { return node->received().size() == 1; }));
}

TEST_F(AfXdpDeviceTest, ASleepingWorkerIsWokenByAPacket) {
  make();
  open({});
  Forwarder forwarder(*left_, nullptr);
  auto client = socket_at("left", kLeft);
  while (forwarder.round() > 0) {
  }
  ASSERT_TRUE(forwarder.left().arm());
  std::vector<pollfd> waits;
  for (const int fd : forwarder.left().wait_fds()) {
    waits.push_back({fd, POLLIN, 0});
  }
  ASSERT_EQ(waits.size(), 2u);
  EXPECT_EQ(poll(waits.data(), waits.size(), 0), 0);
  client->send(kRight, kPort, "wake");
  EXPECT_EQ(poll(waits.data(), waits.size(), 20'000), 1);
  EXPECT_FALSE(forwarder.left().arm());
  EXPECT_EQ(forwarder.round(), 1u);
}

TEST_F(AfXdpDeviceTest, FramesReturnToThePoolWhenSentAndWhenQueuesClose) {
  make();
  AfXdpOptions options;
  options.ring_entries = 256;
  options.interface = "u0";
  left_ = open_device(options);
  ASSERT_TRUE(left_);
  auto pool = FramePool::create({.chunks = 4096});
  ASSERT_TRUE(pool.ok());
  auto queue = left_->open_queue(WorkerId{0}, 1, **pool);
  ASSERT_TRUE(queue.ok()) << queue.error().text();
  const std::uint32_t ready = (*pool)->available();
  EXPECT_EQ(ready, 4096u - 2 * 256);
  // A frame for no receiver, of valid length: it is sent and its chunk returned.
  unsigned accepted = 0;
  for (unsigned round = 0; round < 40; ++round) {
    Frame burst[kMaxBurst];
    for (Frame& frame : burst) {
      frame.chunk = (*pool)->allocate();
      ASSERT_NE(frame.chunk, kNoChunk);
      frame.data = (*pool)->chunk_start(frame.chunk) + kFrameHeadroom;
      frame.length = 60;
      std::fill_n(frame.data, 60, std::uint8_t{2});
    }
    const unsigned n = (*queue)->transmit(burst);
    accepted += n;
    for (unsigned i = n; i < kMaxBurst; ++i) {
      (*pool)->release(burst[i].chunk);
    }
  }
  EXPECT_GT(accepted, 256u);
  EXPECT_TRUE(eventually([&] { return (*pool)->available() == ready; }, [&] { (*queue)->flush(); }));
  EXPECT_EQ((*queue)->counters().tx_packets, accepted);
  // A frame that crosses its chunk boundary would be lost in the kernel.
  Frame bad{(*pool)->chunk_start(0) + 4000, 200, (*pool)->allocate()};
  bad.data = (*pool)->chunk_start(bad.chunk) + 4000;
  EXPECT_EQ((*queue)->transmit({&bad, 1}), 1u);
  EXPECT_EQ((*queue)->counters().oversize, 1u);
  queue = Error{"closed"};
  EXPECT_EQ((*pool)->available(), 4096u);
}

TEST_F(AfXdpDeviceTest, AQueueCanBeReboundImmediately) {
  make();
  open({});
  for (int i = 0; i < 3; ++i) {
    Forwarder forwarder(*left_, right_.get());
    expect_all_arrive(kLeft, "left", kRight, "right", 20, 100, [&] { forwarder.round(); });
  }
}

TEST_F(AfXdpDeviceTest, FallingBackToCopyKeepsTheDevicesForwarding) {
  make();
  open({});
  Forwarder forwarder(*left_, right_.get());
  const auto step = [&] { forwarder.round(); };
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 100, step);
  ASSERT_TRUE(SharedUmem::of(forwarder.pool())->fall_back_to_copy().ok());
  EXPECT_NE(left_->describe().find("another device does not support zero-copy"), std::string::npos);
  expect_all_arrive(kLeft, "left", kRight, "right", 50, 100, step);
}

TEST_F(AfXdpDeviceTest, OverrunsAreCountedAndForwardingContinues) {
  make();
  AfXdpOptions options;
  options.ring_entries = 64;
  open(options);
  Forwarder forwarder(*left_, right_.get());
  forwarder.round();
  auto client = socket_at("left", kLeft);
  for (int i = 0; i < 2000; ++i) {
    client->send(kRight, kPort, "flood");
  }
  while (forwarder.round() > 0) {
  }
  const QueueCounters c = forwarder.left().counters();
  EXPECT_GT(c.rx_no_frame + c.rx_overrun, 0u);
  EXPECT_EQ(c.oversize, 0u);
  expect_all_arrive(kLeft, "left", kRight, "right", 100, 100, [&] { forwarder.round(); });
}

TEST_F(AfXdpDeviceTest, OpenErrorsNameTheCauseAndTheFix) {
  make();
  const auto error_of = [](const AfXdpOptions& options) {
    const auto opened = open_af_xdp(options);
    EXPECT_FALSE(opened.ok());
    return opened.ok() ? std::string() : opened.error().text();
  };
  EXPECT_NE(error_of({.interface = "nosuch0"}).find("nosuch0: no such network interface"), std::string::npos);
  EXPECT_NE(error_of({.interface = "u0", .ring_entries = 1000}).find("power of two"), std::string::npos);
  sh("ip link set u0 down");
  EXPECT_NE(error_of({.interface = "u0"}).find("ip link set dev u0 up"), std::string::npos);
  sh("ip link set u0 up");
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device);
  auto pool = FramePool::create({.chunks = 4096});
  const auto three = device->open_queue(WorkerId{0}, 3, **pool);
  ASSERT_FALSE(three.ok());
  EXPECT_NE(three.error().text().find("ethtool -L u0"), std::string::npos);
  auto few = FramePool::create({.chunks = 128});
  EXPECT_FALSE(device->open_queue(WorkerId{0}, 1, **few).ok());
  device.reset();
  ASSERT_TRUE(detach_steer("u0").ok());
  AfXdpOptions zero_copy{.interface = "u0", .zero_copy = ZeroCopy::kRequire};
  device = open_device(zero_copy);
  const auto failed = device->open_queue(WorkerId{0}, 1, **pool);
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().text().find("zero_copy"), std::string::npos);
  EXPECT_EQ((*pool)->available(), 4096u);
}

}  // namespace
}  // namespace isthmus
