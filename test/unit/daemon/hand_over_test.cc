#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "control/daemon/hand_over_fit.h"
#include "control/handover/codec.h"

namespace isthmus {
namespace {

std::pair<HandOverChannel, HandOverChannel> connected() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {HandOverChannel(UniqueFd(ends[0])), HandOverChannel(UniqueFd(ends[1]))};
}

// A file whose size tells it from others.
UniqueFd file_of_size(off_t size) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), size), 0);
  return file;
}

off_t size_of(const UniqueFd& file) {
  struct stat info {};
  return ::fstat(file.get(), &info) == 0 ? info.st_size : -1;
}

// More descriptors than fit one message.
HandedEngine large_engine() {
  HandedEngine engine;
  engine.table = file_of_size(1);
  for (unsigned w = 0; w < 3; ++w) {
    HandedWorker worker;
    worker.memory = file_of_size(100 + w);
    worker.chunks = 16384;
    worker.chunk_bytes = 4096;
    for (unsigned device = 0; device < 2; ++device) {
      HandedQueue queue;
      for (unsigned q = 0; q < 40; ++q) {
        HandedSocket socket;
        socket.fd = file_of_size(1000 + 100 * w + 50 * device + q);
        socket.interface_index = static_cast<int>(7 + device);
        socket.queue = q;
        socket.ring_entries = 2048;
        socket.transmits = q == 0;
        socket.filled = 2;
        socket.outstanding = 1;
        socket.chunks = {q, 100 + q, 200 + q};
        queue.sockets.push_back(std::move(socket));
      }
      worker.queues.push_back(std::move(queue));
    }
    engine.workers.push_back(std::move(worker));
  }
  return engine;
}

TEST(HandOver, AnEngineArrivesAsItWasDescribedWithAllItsDescriptors) {
  auto [from, to] = connected();
  const HandedEngine sent = large_engine();
  ASSERT_TRUE(send_engine(from, sent).ok());
  const auto until = HandOverChannel::Clock::now() + std::chrono::seconds(10);
  auto first = to.receive(until);
  ASSERT_TRUE(first && first->kind == HandOverKind::kState);
  const auto got = receive_engine(to, *std::move(first), until);
  ASSERT_TRUE(got.ok()) << got.error().text();
  EXPECT_EQ(size_of(got->table), 1);
  ASSERT_EQ(got->workers.size(), sent.workers.size());
  for (std::size_t w = 0; w < sent.workers.size(); ++w) {
    EXPECT_EQ(size_of(got->workers[w].memory), static_cast<off_t>(100 + w));
    EXPECT_EQ(got->workers[w].chunks, 16384u);
    EXPECT_EQ(got->workers[w].chunk_bytes, 4096u);
    ASSERT_EQ(got->workers[w].queues.size(), 2u);
    for (std::size_t device = 0; device < 2; ++device) {
      ASSERT_EQ(got->workers[w].queues[device].sockets.size(), 40u);
      for (std::size_t q = 0; q < 40; ++q) {
        const HandedSocket& was = sent.workers[w].queues[device].sockets[q];
        const HandedSocket& is = got->workers[w].queues[device].sockets[q];
        EXPECT_EQ(size_of(is.fd), size_of(was.fd));
        EXPECT_EQ(is.interface_index, was.interface_index);
        EXPECT_EQ(is.queue, was.queue);
        EXPECT_EQ(is.ring_entries, was.ring_entries);
        EXPECT_EQ(is.transmits, was.transmits);
        EXPECT_EQ(is.filled, was.filled);
        EXPECT_EQ(is.outstanding, was.outstanding);
        EXPECT_EQ(is.chunks, was.chunks);
      }
    }
  }
}

TEST(HandOver, WhatIsNotCompleteIsAnErrorWhereverItEndsAndWhateverItsWordsAre) {
  auto [from, to] = connected();
  HandedEngine engine = large_engine();
  engine.workers.resize(1);
  engine.workers[0].queues[0].sockets.resize(1);
  engine.workers[0].queues[1].sockets.resize(1);
  ASSERT_TRUE(send_engine(from, engine).ok());
  const auto until = HandOverChannel::Clock::now() + std::chrono::seconds(10);
  auto first = to.receive(until);
  ASSERT_TRUE(first.has_value());
  std::vector<std::uint32_t> words(static_cast<std::size_t>(size_of(first->descriptors[0])) / 4);
  ASSERT_EQ(::pread(first->descriptors[0].get(), words.data(), words.size() * 4, 0),
            static_cast<ssize_t>(words.size() * 4));
  const auto received = [&, &channel = to](const std::vector<std::uint32_t>& changed, std::size_t descriptors) {
    HandOverMessage message{HandOverKind::kState, std::to_string(descriptors), {}};
    message.descriptors.push_back(file_of_size(0));
    EXPECT_EQ(::write(message.descriptors[0].get(), changed.data(), changed.size() * 4),
              static_cast<ssize_t>(changed.size() * 4));
    for (std::size_t i = 1; i < descriptors; ++i) {
      message.descriptors.push_back(UniqueFd::duplicate(first->descriptors[i].get()));
    }
    return receive_engine(channel, std::move(message), HandOverChannel::Clock::now()).ok();
  };
  const std::size_t all = first->descriptors.size();
  EXPECT_TRUE(received(words, all));
  EXPECT_FALSE(received(words, all - 1));
  for (std::size_t length = 0; length < words.size(); ++length) {
    EXPECT_FALSE(received({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(length)}, all)) << length;
  }
  for (std::size_t at = 0; at < words.size(); ++at) {
    std::vector<std::uint32_t> changed = words;
    changed[at] = 0xffffffff;
    static_cast<void>(received(changed, all));  // no more than an error
  }
  words.push_back(0);
  EXPECT_FALSE(received(words, all));
}

TEST(HandOver, NothingArrivesAfterTheLastMessage) {
  auto [from, to] = connected();
  ASSERT_TRUE(from.send(HandOverKind::kTaken));
  const auto last = to.last();
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->kind, HandOverKind::kTaken);
  EXPECT_FALSE(from.send(HandOverKind::kTaken));
  EXPECT_FALSE(to.receive(HandOverChannel::Clock::now()).has_value());
}

TEST(HandOver, WhoHasClosedIsToldFromWhoSaysNothing) {
  auto [from, to] = connected();
  EXPECT_FALSE(to.receive(HandOverChannel::Clock::now()).has_value());
  EXPECT_FALSE(to.closed());
  { const HandOverChannel closing = std::move(from); }
  EXPECT_FALSE(to.receive(std::nullopt).has_value());
  EXPECT_TRUE(to.closed());
}

GatewayConfig a_gateway() {
  GatewayConfig config;
  config.name = "east-1";
  config.cluster = "east";
  config.underlay.interface = "eth0";
  config.local.device.interface = "isthmus0";
  return config;
}

TEST(HandOver, AGatewayFitsOneOfTheSameParameters) {
  const std::string ours = hand_over_hello(a_gateway());
  GatewayConfig theirs = a_gateway();
  theirs.health_interval_ms += 1;  // nothing that is handed over depends on it
  EXPECT_EQ(hand_over_fit(ours, hand_over_hello(theirs)).kind, HandOverKind::kWelcome);
}

TEST(HandOver, OfOtherParametersTheFirstIsNamedWithBothValues) {
  const std::string ours = hand_over_hello(a_gateway());
  GatewayConfig theirs = a_gateway();
  theirs.frames = 777;
  const HandOverPort::Fit fit = hand_over_fit(ours, hand_over_hello(theirs));
  EXPECT_EQ(fit.kind, HandOverKind::kDifferent);
  EXPECT_EQ(fit.why, "engine.frames was " + std::to_string(a_gateway().frames) + ", is 777");
  theirs = a_gateway();
  theirs.underlay.ring_entries = 64;
  EXPECT_EQ(hand_over_fit(ours, hand_over_hello(theirs)).kind, HandOverKind::kDifferent);
  EXPECT_EQ(hand_over_fit(ours, ours + "a parameter of a later version=1\n").kind, HandOverKind::kDifferent);
}

TEST(HandOver, ADpdkDeviceIsNotHandedOver) {
  GatewayConfig with_dpdk = a_gateway();
  with_dpdk.local.device.dpdk = "0000:00:05.0";
  const std::string without = hand_over_hello(a_gateway()), with = hand_over_hello(with_dpdk);
  for (const auto& [ours, theirs] : {std::pair{with, with}, std::pair{with, without}, std::pair{without, with}}) {
    const HandOverPort::Fit fit = hand_over_fit(ours, theirs);
    EXPECT_EQ(fit.kind, HandOverKind::kDifferent);
    EXPECT_NE(fit.why.find("a DPDK device, 0000:00:05.0, cannot be handed over"), std::string::npos) << fit.why;
  }
  EXPECT_EQ(without.find("dpdk"), std::string::npos) << "versions without such devices do not say it";
}

TEST(HandOver, AnotherGatewayIsRefusedWhateverElseItHas) {
  const std::string ours = hand_over_hello(a_gateway());
  GatewayConfig theirs = a_gateway();
  theirs.name = "east-2";
  theirs.frames = 777;
  EXPECT_EQ(hand_over_fit(ours, hand_over_hello(theirs)).kind, HandOverKind::kRefused);
  EXPECT_EQ(hand_over_fit(ours, "").kind, HandOverKind::kRefused);
  EXPECT_EQ(hand_over_fit(ours, std::string(3, '\0')).kind, HandOverKind::kRefused);
}

}  // namespace
}  // namespace isthmus
