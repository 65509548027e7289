// What is sent and received over DPDK's rings, null devices and shared memory: bytes, chunks, counts, and who owns
// what.
#include <algorithm>
#include <fstream>
#include <set>

#include "test/unit/dpdk/dpdk_rig.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kLongest = 4096 - kDpdkReserved - kFrameHeadroom;

// Classic pcap, microseconds, Ethernet (pcap-savefile(5)).
void write_capture(const std::string& path, const std::vector<FrameBytes>& frames) {
  std::ofstream file(path, std::ios::binary);
  const auto words = [&file](std::initializer_list<std::uint32_t> values) {
    for (const std::uint32_t value : values) {
      file.write(reinterpret_cast<const char*>(&value), sizeof value);
    }
  };
  words({0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1});
  for (const FrameBytes& frame : frames) {
    const auto length = static_cast<std::uint32_t>(frame.size());
    words({0, 0, length, length});
    file.write(reinterpret_cast<const char*>(frame.data()), static_cast<std::streamsize>(frame.size()));
  }
}

TEST(DpdkDevice, WhatIsSentComesBackInTheSameChunkUnchanged) {
  DpdkEnd end("net_ring_same");
  for (const std::size_t length : {std::size_t{60}, std::size_t{61}, std::size_t{1514}, std::size_t{kLongest}}) {
    const FrameBytes bytes = pattern(length);
    const Frame sent = end.make(bytes);
    end.send({sent});
    const std::vector<Frame> received = end.receive();
    ASSERT_EQ(received.size(), 1U) << length;
    EXPECT_EQ(received[0].chunk, sent.chunk);
    EXPECT_EQ(received[0].data, sent.data);
    EXPECT_EQ(bytes_of(received[0]), bytes);
    end.pool->release(received[0].chunk);
  }
  EXPECT_EQ(end.queue->counters().copied, 0U);
  EXPECT_EQ(end.pool->available(), end.pool->chunks());
}

TEST(DpdkDevice, StaggeredFramesBeginWhereTheirChunkDoes) {
  DpdkEnd end("net_null_staggered,size=64", 512, 64, 32);
  const std::vector<Frame> received = end.receive();
  ASSERT_EQ(received.size(), kMaxBurst);
  std::set<std::size_t> places;
  for (const Frame& frame : received) {
    EXPECT_EQ(frame.data, end.pool->chunk_start(frame.chunk) + kFrameHeadroom);
    places.insert(static_cast<std::size_t>(frame.data - end.pool->base()) % 4096);
  }
  EXPECT_EQ(places.size(), 32U);
  EXPECT_EQ(end.queue->transmit(received), received.size());
  EXPECT_EQ(end.pool->available(), end.pool->chunks());
  EXPECT_EQ(end.device->most_staggered(), 32U);
}

TEST(DpdkDevice, ShortFramesArePaddedWithZeros) {
  DpdkEnd end("net_ring_short");
  FrameBytes bytes = pattern(14);
  end.send({end.make(bytes)});
  const std::vector<Frame> received = end.receive();
  ASSERT_EQ(received.size(), 1U);
  bytes.resize(60);
  EXPECT_EQ(bytes_of(received[0]), bytes);
  end.pool->release(received[0].chunk);
}

// Long outer headers begin before DPDK's own headroom does.
TEST(DpdkDevice, FramesMayBeginAnywhereInTheirHeadroom) {
  DpdkEnd end("net_ring_low");
  for (const std::uint32_t headroom : {0U, 1U, 127U, 128U, 129U, 255U, 256U, 1000U}) {
    const FrameBytes bytes = pattern(300, headroom);
    end.send({end.make(bytes, headroom)});
    const std::vector<Frame> received = end.receive();
    ASSERT_EQ(received.size(), 1U) << headroom;
    EXPECT_EQ(bytes_of(received[0]), bytes) << headroom;
    end.pool->release(received[0].chunk);
  }
}

// A buffer that was sent from its very beginning is received into as any other afterwards: with its headroom.
TEST(DpdkDevice, AChunkThatWasSentFromItsBeginningHasItsHeadroomAgain) {
  DpdkEnd end("net_null_low,size=64", 512, 64);
  std::vector<Frame> frames;
  while (end.pool->available() != 0) {
    frames.push_back(end.make(pattern(100), 0));
  }
  for (std::size_t at = 0; at < frames.size(); at += 32) {
    ASSERT_EQ(end.queue->transmit({frames.data() + at, std::min<std::size_t>(32, frames.size() - at)}),
              std::min<std::size_t>(32, frames.size() - at));
  }
  ASSERT_EQ(end.pool->available(), end.pool->chunks());
  std::set<std::uint32_t> chunks;
  std::vector<Frame> all;
  for (std::vector<Frame> some = end.receive(); !some.empty(); some = end.receive()) {
    all.insert(all.end(), some.begin(), some.end());
  }
  EXPECT_EQ(all.size(), end.pool->chunks());
  for (const Frame& frame : all) {
    EXPECT_EQ(frame.data, end.pool->chunk_start(frame.chunk) + kFrameHeadroom);
    EXPECT_TRUE(chunks.insert(frame.chunk).second);
    end.pool->release(frame.chunk);
  }
}

TEST(DpdkDevice, WithoutFreeFramesNothingIsReceivedAndNothingLost) {
  DpdkEnd end("net_null_empty,size=64", 512, 64);
  std::vector<std::uint32_t> taken;
  while (end.pool->available() != 0) {
    taken.push_back(end.pool->allocate());
  }
  EXPECT_TRUE(end.receive().empty());
  for (const std::uint32_t chunk : taken) {
    end.pool->release(chunk);
  }
  const std::vector<Frame> received = end.receive();
  EXPECT_EQ(received.size(), kMaxBurst);
  for (const Frame& frame : received) {
    end.pool->release(frame.chunk);
  }
}

TEST(DpdkDevice, AFullRingLeavesTheRestToTheCaller) {
  DpdkEnd end("net_ring_full", 8192, 512);
  std::vector<Frame> frames;
  unsigned sent = 0;
  while (sent == frames.size()) {
    frames.clear();
    for (unsigned i = 0; i < 32; ++i) {
      frames.push_back(end.make(pattern(200, i), i % 2 == 0 ? 0 : kFrameHeadroom));
    }
    sent = end.queue->transmit(frames);
  }
  EXPECT_EQ(end.queue->counters().tx_full, frames.size() - sent);
  for (std::size_t i = sent; i < frames.size(); ++i) {  // they are the caller's still, and can be sent again
    EXPECT_EQ(bytes_of(frames[i]), pattern(200, static_cast<unsigned>(i)));
  }
  for (const Frame& frame : end.receive()) {
    end.pool->release(frame.chunk);
  }
  EXPECT_EQ(end.queue->transmit({frames.data() + sent, frames.size() - sent}), frames.size() - sent);
  std::size_t received = 0;
  for (std::vector<Frame> some = end.receive(); !some.empty(); some = end.receive()) {
    received += some.size();
    for (const Frame& frame : some) {
      end.pool->release(frame.chunk);
    }
  }
  EXPECT_EQ(end.queue->counters().tx_packets, end.queue->counters().rx_packets);
  EXPECT_EQ(end.pool->available(), end.pool->chunks());
}

// A capture file's driver chains buffers for what is longer than one.
TEST(DpdkDevice, FramesInSeveralBuffersAreGatheredIntoLongChunks) {
  const std::string file = ::testing::TempDir() + "isthmus-dpdk-long.pcap";
  write_capture(file, {pattern(9000), pattern(1000), pattern(kLongest + 1), pattern(12'500), pattern(60)});
  FramePool::Options memory;
  memory.chunks = 1024;
  memory.long_chunks = 4;
  memory.reserved = kDpdkReserved;
  auto pool = std::move(*FramePool::create(memory));
  auto device = std::move(*open_dpdk(DpdkEnd::options("net_pcap_long,rx_pcap=" + file)));
  auto queue = std::move(*device->open_queue(WorkerId{0}, 1, *pool));
  std::vector<Frame> received(16);
  received.resize(queue->receive(received));
  ASSERT_EQ(received.size(), 4U);
  EXPECT_EQ(bytes_of(received[0]), pattern(9000));
  EXPECT_TRUE(pool->is_long(received[0].chunk));
  EXPECT_EQ(bytes_of(received[1]), pattern(1000));
  EXPECT_EQ(bytes_of(received[2]), pattern(kLongest + 1));
  EXPECT_EQ(bytes_of(received[3]), pattern(60));
  EXPECT_EQ(queue->counters().oversize, 1U);
  EXPECT_EQ(queue->counters().copied, 2U);
  for (const Frame& frame : received) {
    pool->release(frame.chunk);
  }
  queue.reset();
  EXPECT_EQ(pool->available(), pool->chunks());
  EXPECT_EQ(pool->long_available(), pool->long_chunks());
}

// Another device of the engine may receive into long chunks.
TEST(DpdkDevice, FramesInLongChunksAreCopiedWhereTheyFit) {
  DpdkEnd end("net_ring_long");
  FramePool::Options memory;
  memory.chunks = 1024;
  memory.long_chunks = 2;
  memory.reserved = kDpdkReserved;
  auto pool = std::move(*FramePool::create(memory));
  auto device = std::move(*open_dpdk(DpdkEnd::options("net_ring_long2")));
  auto queue = std::move(*device->open_queue(WorkerId{0}, 1, *pool));
  const FrameBytes bytes = pattern(1500);
  const std::uint32_t fits = pool->allocate_long(), longer = pool->allocate_long();
  const std::vector<Frame> frames{{pool->chunk_start(fits) + 10, 1500, fits},
                                  {pool->chunk_start(longer) + 10, 5000, longer}};
  std::memcpy(frames[0].data, bytes.data(), bytes.size());
  EXPECT_EQ(queue->transmit(frames), 2U);
  EXPECT_EQ(pool->long_available(), 2U);
  EXPECT_EQ(queue->counters().tx_refused, 1U);
  EXPECT_EQ(queue->counters().tx_packets, 1U);
  EXPECT_EQ(queue->counters().tx_bytes, 1500U);
  std::vector<Frame> received(8);
  ASSERT_EQ(queue->receive(received), 1U);
  EXPECT_EQ(bytes_of(received[0]), bytes);
  pool->release(received[0].chunk);
  queue.reset();
  EXPECT_EQ(pool->available(), pool->chunks());
}

TEST(DpdkDevice, AClosedDeviceCanBeOpenedAgain) {
  for (int round = 0; round < 3; ++round) {
    DpdkEnd end("net_ring_again");
    for (unsigned i = 0; i < 20; ++i) {
      end.send({end.make(pattern(100))});
    }
    const std::vector<Frame> received = end.receive(12);
    ASSERT_EQ(received.size(), 12U);
    for (const Frame& frame : received) {
      end.pool->release(frame.chunk);
    }
    end.queue.reset();
    EXPECT_EQ(end.pool->available(), end.pool->chunks() - 8);  // the driver leaves what lies in its ring
  }
}

TEST(DpdkDevice, TellsWhatItIs) {
  DpdkEnd end("net_null_told,size=64");
  EXPECT_EQ(end.device->describe(), "dpdk net_null, 1 queue");
  EXPECT_EQ(end.device->name(), "net_null_told,size=64");
  EXPECT_EQ(end.device->mtu(), Bytes{1500});
  EXPECT_TRUE(end.device->check().up);
  EXPECT_EQ(end.device->kernel_egress().interface_index, 0);
}

}  // namespace
}  // namespace isthmus
