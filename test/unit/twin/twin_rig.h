// A twin in a network namespace of the test's own, with the kernel at its other end. Needs root; tests skip without.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/io/af_xdp/netdev.h"
#include "dataplane/io/twin/twin.h"

namespace isthmus::test {

using FrameContent = std::vector<std::uint8_t>;

inline constexpr const char* kTwin = "nic0host";
inline constexpr MacAddress kNicMac{{0x02, 0x11, 0x22, 0x33, 0x44, 0x55}};
inline constexpr std::uint16_t kTestType = 0x88b5;  // IEEE 802: for experiments

inline void shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

// Polls until `done`; false after a generous timeout.
inline bool wait_until(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

// An Ethernet frame to `destination`; `number` stands in it.
inline FrameContent numbered(std::uint32_t number, std::uint32_t length = 100, std::uint16_t type = kTestType,
                             MacAddress destination = kNicMac) {
  FrameContent frame(std::max(length, 18u), 0x5a);
  std::copy(destination.bytes.begin(), destination.bytes.end(), frame.begin());
  frame[6] = 0x02;
  frame[12] = static_cast<std::uint8_t>(type >> 8);
  frame[13] = static_cast<std::uint8_t>(type);
  for (std::size_t i = 0; i < 4; ++i) {
    frame[14 + i] = static_cast<std::uint8_t>(number >> (24 - 8 * i));
  }
  frame.resize(length);
  return frame;
}

// Who has 192.0.2.1? 192.0.2.`last`, at 02:00:00:00:00:`last`, asks.
inline FrameContent arp_request(std::uint8_t last) {
  return {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,   0, 0, 0,    0, last, 8, 6, 0, 1, 8,   0, 6, 4, 0, 1,  //
          2,    0,    0,    0,    0,    last, 192, 0, 2, last, 0, 0,    0, 0, 0, 0, 192, 0, 2, 1};
}
inline bool is_arp_reply(const FrameContent& frame, std::uint8_t last) {
  return frame.size() >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2 && frame[41] == last &&
         std::equal(kNicMac.bytes.begin(), kNicMac.bytes.end(), frame.begin() + 22);
}

// The names of this process's threads.
inline unsigned threads_named(const std::string& name) {
  unsigned count = 0;
  std::unique_ptr<FILE, int (*)(FILE*)> list(
      popen(("cat /proc/" + std::to_string(getpid()) + "/task/*/comm").c_str(), "r"), pclose);
  std::array<char, 64> line;
  while (std::fgets(line.data(), line.size(), list.get()) != nullptr) {
    count += std::string(line.data()) == name + "\n" ? 1 : 0;
  }
  return count;
}

// What the kernel counts at an interface of this thread's namespace.
struct KernelCounts {
  std::uint64_t received = 0, sent = 0;
};
inline KernelCounts kernel_counts(const std::string& interface = kTwin) {
  std::ifstream file("/proc/thread-self/net/dev");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos ||
        line.substr(line.find_first_not_of(' '), colon - line.find_first_not_of(' ')) != interface) {
      continue;
    }
    std::istringstream words(line.substr(colon + 1));
    std::vector<std::uint64_t> values;
    for (std::uint64_t value; words >> value;) {
      values.push_back(value);
    }
    return {values.at(1), values.at(9)};
  }
  return {};
}

// Sends and receives whole frames at the kernel's side of an interface, as the stack would.
class PacketSocket {
 public:
  explicit PacketSocket(const std::string& interface) : fd_(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0)) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(kTestType);
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  [[nodiscard]] bool send(const FrameContent& frame) {
    return ::send(fd_.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
  }
  // Empty: nothing has come.
  [[nodiscard]] FrameContent receive() {
    FrameContent frame(9216);
    const ssize_t length = recv(fd_.get(), frame.data(), frame.size(), 0);
    frame.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
    return frame;
  }

 private:
  UniqueFd fd_;
};

class TwinTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    before_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    auto pool = FramePool::create({.chunks = 4096, .pages = FramePages::kOrdinary, .long_chunks = 16});
    ASSERT_TRUE(pool) << pool.error().text();
    pool_ = *std::move(pool);
  }
  void TearDown() override {
    twin_.reset();
    if (before_ >= 0) {
      ASSERT_EQ(setns(before_, CLONE_NEWNET), 0);
      close(before_);
    }
  }

  [[nodiscard]] static TwinOptions options() {
    TwinOptions options;
    options.interface = kTwin;
    options.mac = kNicMac;
    options.workers = 2;
    return options;
  }
  void open_twin(const TwinOptions& options) {
    auto twin = Twin::open(options);
    ASSERT_TRUE(twin) << twin.error().text();
    twin_ = *std::move(twin);
  }
  void open_twin() { open_twin(options()); }

  // By a pool of the caller's thread.
  static void give(TwinQueue& queue, FramePool& pool, const FrameContent& content, unsigned copies = 1) {
    std::array<Frame, kMaxBurst> frames;
    for (unsigned i = 0; i < copies; ++i) {
      const std::uint32_t chunk = pool.allocate_for(static_cast<std::uint32_t>(content.size()));
      ASSERT_NE(chunk, kNoChunk);
      frames[i] = Frame{pool.chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(content.size()), chunk};
      std::copy(content.begin(), content.end(), frames[i].data);
    }
    queue.give({frames.data(), copies}, pool);
  }
  void give(const FrameContent& content, unsigned copies = 1) {
    give(twin_->queue(WorkerId{0}), *pool_, content, copies);
  }
  // All frames that wait for worker 0.
  [[nodiscard]] std::vector<FrameContent> take() {
    std::vector<FrameContent> taken;
    std::array<Frame, 8> frames;
    for (unsigned n; (n = twin_->queue(WorkerId{0}).take(frames, *pool_)) != 0;) {
      for (const Frame& frame : std::span(frames).first(n)) {
        taken.emplace_back(frame.data, frame.data + frame.length);
        EXPECT_GE(frame.data - pool_->chunk_start(frame.chunk), kFrameHeadroom);
        pool_->release(frame.chunk);
      }
    }
    return taken;
  }
  // Takes until one is wanted; others are ignored: the kernel's own.
  [[nodiscard]] bool take_until(const std::function<bool(const FrameContent&)>& wanted) {
    bool seen = false;
    return wait_until([&] {
      for (const FrameContent& frame : take()) {
        seen = seen || wanted(frame);
      }
      return seen;
    });
  }
  [[nodiscard]] bool host_receives(PacketSocket& host, const FrameContent& expected) {
    return wait_until([&] { return host.receive() == expected; });
  }
  // ARP: the kernel's stack answers.
  [[nodiscard]] bool host_answers(std::uint8_t last = 2) {
    give(arp_request(last));
    return take_until([last](const FrameContent& frame) { return is_arp_reply(frame, last); });
  }
  [[nodiscard]] QueueCounters counters(unsigned worker = 0) {
    QueueCounters counts;
    twin_->queue(WorkerId{static_cast<std::uint8_t>(worker)}).add_to(counts);
    return counts;
  }
  [[nodiscard]] DeviceCondition check() {
    DeviceCondition condition;
    twin_->check(condition);
    return condition;
  }

  int before_ = -1;
  std::unique_ptr<FramePool> pool_;
  std::shared_ptr<Twin> twin_;
};

}  // namespace isthmus::test
