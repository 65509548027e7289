// The steer program on its interface: what it takes and passes, and what it does once its engine is down.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "lab.h"
#include "xdp/loader/xdp_attachment.h"

namespace isthmus {
namespace {

using namespace lab;

constexpr std::uint16_t kPort = 7000;
constexpr std::uint16_t kTunnelPort = 8472;

class SteerLifeTest : public testing::Test {
 protected:
  void SetUp() override { lab_.at("gateway"); }
  std::unique_ptr<UdpSocket> socket_at(const std::string& where, const char* address, std::uint16_t port = 0) {
    lab_.at(where);
    auto socket = std::make_unique<UdpSocket>(address, port);
    lab_.at("gateway");
    return socket;
  }
  std::uint32_t attached_id(const char* interface = "u0") {
    const auto attached = attached_program(*find_interface(interface));
    EXPECT_TRUE(attached.ok());
    return attached.ok() && attached->has_value() ? (*attached)->id : 0;
  }
  std::uint64_t engine_down_dropped() {
    const auto counters = steer_counters("u0");
    return counters.ok() ? counters->engine_down_dropped : 0;
  }
  // Without an engine on u0: fleet traffic is dropped there, node traffic still passes.
  void expect_fail_closed() {
    auto client = socket_at("left", kLeft);
    auto right = socket_at("right", kRight, kPort);
    auto node = socket_at("gateway", kGatewayLeft, kPort);
    const std::uint64_t before = engine_down_dropped();
    ASSERT_TRUE(eventually([&] {
      client->send(kRight, kPort, "fleet");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return engine_down_dropped() > before;
    }));
    static_cast<void>(right->received());  // sent while the engine still counted as alive
    const std::uint64_t settled = engine_down_dropped();
    for (int i = 0; i < 5; ++i) {
      client->send(kRight, kPort, "fleet");
    }
    client->send(kGatewayLeft, kPort, "node");
    EXPECT_TRUE(eventually([&] { return !node->received().empty(); }));
    EXPECT_EQ(engine_down_dropped(), settled + 5);
    EXPECT_TRUE(right->received().empty());
  }
  void expect_engine_gets_fleet_traffic(Device& device) {
    Forwarder forwarder(device, nullptr);
    auto client = socket_at("left", kLeft);
    EXPECT_TRUE(eventually([&] { return forwarder.left().counters().rx_packets > 0; },
                           [&] {
                             client->send(kRight, kPort, "fleet");
                             forwarder.round();
                           }));
  }
  // Runs a process with an engine on u0 that forwards to d0, and kills it with `signal`.
  void run_engine_and_kill_it(int signal) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      auto left = open_device({.interface = "u0"});
      auto right = open_device({.interface = "d0"});
      if (!left || !right || !left->steer(left_rules()).ok() || !right->steer(right_rules()).ok()) {
        _exit(1);
      }
      Forwarder forwarder(*left, right.get());
      forwarder.round();
      static_cast<void>(!write(ready[1], "r", 1));
      for (;;) {
        forwarder.round();
      }
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    auto client = socket_at("left", kLeft);
    auto right = socket_at("right", kRight, kPort);
    client->send(kRight, kPort, "alive");
    EXPECT_TRUE(eventually([&] { return right->received().size() == 1; }));
    kill(child, signal);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
  }

  Lab lab_;
};

TEST_F(SteerLifeTest, OnlyTunnelPacketsOfRemotePeersAreTaken) {
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device);
  SteerRules rules = left_rules();
  rules.peers = {*IpAddress::parse("10.1.0.77")};
  ASSERT_TRUE(device->steer(rules).ok());
  Forwarder forwarder(*device, nullptr);
  auto kernel = socket_at("gateway", kTunnelEnd, kTunnelPort);
  auto client = socket_at("left", kLeft);
  const auto step = [&] { forwarder.round(); };
  forwarder.round();
  client->send(kTunnelEnd, kTunnelPort, "a node of our own cluster");
  EXPECT_TRUE(eventually([&] { return kernel->received().size() == 1; }, step));
  rules.peers.insert(*IpAddress::parse(kLeft));
  ASSERT_TRUE(device->steer(rules).ok());
  client->send(kTunnelEnd, kTunnelPort, "a remote peer");
  EXPECT_TRUE(eventually([&] { return forwarder.left().counters().rx_packets == 1; }, step));
  EXPECT_TRUE(kernel->received().empty());
  const auto counters = steer_counters("u0");
  ASSERT_TRUE(counters.ok());
  EXPECT_EQ(counters->not_a_peer, 1u);
  EXPECT_EQ(counters->taken_tunnel, 1u);
}

TEST_F(SteerLifeTest, AForeignProgramIsAnErrorThatNamesItAndIsLeftAlone) {
  const bpf_insn pass[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd foreign(bpf_prog_load(BPF_PROG_TYPE_XDP, "their_filter", "GPL", pass, 2, nullptr));
  ASSERT_TRUE(foreign.valid());
  const Interface interface = *find_interface("u0");
  for (const bool native : {true, false}) {
    ASSERT_TRUE(attach_program(interface, foreign.get(), native).ok());
    const std::uint32_t id = attached_id();
    for (const XdpMode mode : {XdpMode::kAuto, XdpMode::kNative, XdpMode::kGeneric}) {
      const auto opened = open_af_xdp({.interface = "u0", .mode = mode});
      ASSERT_FALSE(opened.ok());
      EXPECT_NE(opened.error().what.find("\"their_filter\" (id " + std::to_string(id) + ")"), std::string::npos);
      EXPECT_NE(opened.error().fix.find("ip link set dev u0 xdp"), std::string::npos);
    }
    EXPECT_TRUE(detach_steer("u0").ok());  // not ours: left alone
    EXPECT_EQ(attached_id(), id);
    const auto attached = attached_program(interface);
    ASSERT_TRUE(attached.ok() && attached->has_value());
    ASSERT_TRUE(remove_program(interface, **attached).ok());
  }
}

TEST_F(SteerLifeTest, AKilledEngineFailsClosedAndASuccessorTakesOver) {
  run_engine_and_kill_it(SIGKILL);
  expect_fail_closed();
  const std::uint32_t left_behind = attached_id();
  ASSERT_NE(left_behind, 0u);
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device);
  // Until the new engine has rules, the old program stays active: nothing leaks in between.
  EXPECT_EQ(attached_id(), left_behind);
  expect_fail_closed();
  ASSERT_TRUE(device->steer(left_rules()).ok());
  EXPECT_NE(attached_id(), left_behind);
  expect_engine_gets_fleet_traffic(*device);
  expect_fail_closed();  // its queues are closed again
  device.reset();
  expect_fail_closed();
}

TEST_F(SteerLifeTest, AnEngineThatStopsPollingFailsClosed) {
  auto device = open_device({.interface = "u0", .heartbeat_timeout_ms = 200});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  Forwarder stuck(*device, nullptr);
  stuck.round();
  expect_fail_closed();
}

TEST_F(SteerLifeTest, EngineDownPassLetsTheKernelForward) {
  auto device = open_device({.interface = "u0", .fleet_traffic_on_engine_down_drops = false});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  auto client = socket_at("left", kLeft);
  auto right = socket_at("right", kRight, kPort);
  client->send(kRight, kPort, "fleet");
  EXPECT_TRUE(eventually([&] { return right->received().size() == 1; }));
  EXPECT_EQ(steer_counters("u0")->engine_down_passed, 1u);
}

TEST_F(SteerLifeTest, DetachingGivesTheInterfaceBackToTheKernel) {
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  device.reset();
  expect_fail_closed();
  ASSERT_TRUE(detach_steer("u0").ok());
  ASSERT_TRUE(detach_steer("u0").ok());
  EXPECT_EQ(attached_id(), 0u);
  EXPECT_FALSE(steer_counters("u0").ok());
  auto client = socket_at("left", kLeft);
  auto right = socket_at("right", kRight, kPort);
  client->send(kRight, kPort, "plain");
  EXPECT_TRUE(eventually([&] { return right->received().size() == 1; }));
}

TEST_F(SteerLifeTest, AnInterfaceWithALiveEngineCannotBeOpened) {
  auto device = open_device({.interface = "u0"});
  ASSERT_TRUE(device && device->steer(left_rules()).ok());
  Forwarder forwarder(*device, nullptr);
  forwarder.round();
  std::jthread polling([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      forwarder.round();
    }
  });
  const std::uint32_t id = attached_id();
  const auto second = open_af_xdp({.interface = "u0"});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().what.find("another isthmus engine"), std::string::npos);
  EXPECT_EQ(attached_id(), id);
}

TEST_F(SteerLifeTest, ALeftoverProgramOfTheOtherModeIsReplacedOnRequest) {
  open_device({.interface = "u0", .mode = XdpMode::kGeneric}).reset();
  const std::uint32_t generic = attached_id();
  auto automatic = open_device({.interface = "u0"});
  ASSERT_TRUE(automatic && automatic->steer(left_rules()).ok());
  EXPECT_EQ(automatic->describe().substr(0, 14), "af_xdp generic");
  EXPECT_NE(attached_id(), generic);
  automatic.reset();
  auto native = open_device({.interface = "u0", .mode = XdpMode::kNative});
  ASSERT_TRUE(native && native->steer(left_rules()).ok());
  const auto attached = attached_program(*find_interface("u0"));
  ASSERT_TRUE(attached.ok() && attached->has_value());
  EXPECT_TRUE((*attached)->native);
  expect_engine_gets_fleet_traffic(*native);
}

TEST_F(SteerLifeTest, AnInterfaceWithoutNativeXdpFallsBackToGenericModeAndReportsIt) {
  const auto native = open_af_xdp({.interface = "lo", .mode = XdpMode::kNative});
  ASSERT_FALSE(native.ok());
  EXPECT_FALSE(native.error().fix.empty());
  auto device = open_device({.interface = "lo"});
  ASSERT_TRUE(device);
  EXPECT_EQ(device->describe().substr(0, 14), "af_xdp generic");
  EXPECT_NE(device->describe().find("native mode"), std::string::npos);
}

}  // namespace
}  // namespace isthmus
