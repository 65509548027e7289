// What a device does not take of the packets that are forwarded to it in the kernel is counted there, and nowhere else.
#include "xdp/loader/redirect_losses.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/packet/flow_key.h"
#include "lab.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/xdp_attachment.h"

namespace isthmus {
namespace {

using namespace lab;

constexpr std::uint16_t kFrom = 7001, kTo = 7000;
constexpr std::uint8_t kRightDevice = 1;
constexpr std::uint32_t kLease = 1, kHop = 1;

// One flow from the left host to the right one is handed down, and the engine is there to be asked for nothing.
class RedirectLossesTest : public testing::Test {
 protected:
  void SetUp() override {
    lab_.at("gateway");
    flows_ = *open_kernel_flows({.entries = 16});
    ASSERT_EQ(flows_->losses().why_not(), std::nullopt);
    left_ = open("u0");
    right_ = open("d0");
    ASSERT_TRUE(left_ && right_);
    forwarder_.emplace(*left_, right_.get());
    ASSERT_TRUE(left_->steer(left_rules()).ok() && right_->steer(right_rules()).ok());
    hand_down();
    at_right([] { sh("ethtool -K r0 gro on"); });
    at_right([&] { server_.emplace(kRight, kTo); });
    lab_.at("left");
    client_.emplace(kLeft, kFrom);
    lab_.at("gateway");
    forwarder_->round();  // a first heartbeat
  }
  std::unique_ptr<Device> open(const char* interface) {
    auto device = open_device({.interface = interface, .mode = XdpMode::kNative, .kernel_flows = flows_});
    if (device) {
      device->join(false, Realm{});
    }
    return device;
  }
  void hand_down() {
    const FlowKey key(*IpAddress::parse(kLeft), *IpAddress::parse(kRight), Be16::of(kFrom), Be16::of(kTo),
                      IpProtocol::kUdp, Realm{});
    isthmus_flow_key raw;
    std::memcpy(&raw, &key, sizeof raw);
    isthmus_flow flow{};
    flow.lease = kLease;
    flow.next_hop = kHop;
    flow.mtu = 1500;
    flow.device = kRightDevice;
    flows_->hops()[kHop] = {{2, 0, 0, 0, 2, 1, 2, 0, 0, 0, 2, 2}, 1};  // of r0 and d0
    flows_->leases()[kLease] = {0, 1, 0, 0};
    ASSERT_TRUE(flows_->set_device(kRightDevice, find_interface("d0")->index).ok());
    ASSERT_EQ(flows_->insert({&raw, 1}, {&flow, 1}), 1u);
  }
  void at_right(const std::function<void()>& what) {
    lab_.at("right");
    what();
    lab_.at("gateway");
  }
  // Returns when the kernel has forwarded them all.
  void send(unsigned packets, std::size_t bytes) {
    const std::uint64_t before = steer_counters("u0")->forwarded;
    for (unsigned i = 0; i < packets; ++i) {
      client_->send(kRight, kTo, std::string(bytes, 'x'));
    }
    EXPECT_TRUE(
        eventually([&] { return steer_counters("u0")->forwarded == before + packets; }, [&] { forwarder_->round(); }));
  }
  [[nodiscard]] static bool lost(std::uint64_t packets) {
    return eventually([&] { return steer_counters("d0")->lost_after_redirect == packets; });
  }

  Lab lab_;
  std::shared_ptr<KernelFlows> flows_;
  std::unique_ptr<Device> left_, right_;
  std::optional<Forwarder> forwarder_;
  std::optional<UdpSocket> server_, client_;
};

TEST_F(RedirectLossesTest, WhatAVethWithoutGroAtItsOtherEndDiscardsIsCounted) {
  send(3, 100);
  EXPECT_TRUE(eventually([&] { return !server_->received().empty(); }));
  EXPECT_TRUE(lost(0));
  at_right([] { sh("ethtool -K r0 gro off"); });
  send(5, 100);
  EXPECT_TRUE(lost(5));
  at_right([] { sh("ethtool -K r0 gro on"); });
  send(3, 100);
  EXPECT_TRUE(eventually([&] { return !server_->received().empty(); }));
  EXPECT_TRUE(lost(5));
  EXPECT_EQ(steer_counters("u0")->lost_after_redirect, 0u) << "of the device that they were to leave by";
}

TEST_F(RedirectLossesTest, WhatTheDriverDoesNotTakeIsCounted) {
  at_right([] { sh("ip link set r0 mtu 1000"); });
  send(4, 1400);
  EXPECT_TRUE(lost(4));
  send(1, 100);
  EXPECT_TRUE(eventually([&] { return !server_->received().empty(); }));
  EXPECT_TRUE(lost(4));
}

TEST_F(RedirectLossesTest, WhatWasToLeaveByADeviceThatIsDownIsCounted) {
  sh("ip link set d0 down");
  send(2, 100);
  EXPECT_TRUE(lost(2));
}

// Interfaces of another network namespace have the same numbers.
TEST_F(RedirectLossesTest, WhatAnotherNamespaceLosesIsNotCounted) {
  lab_.at("left");
  RedirectLosses elsewhere;
  lab_.at("gateway");
  ASSERT_EQ(elsewhere.why_not(), std::nullopt);
  const UniqueFd counters(
      bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "elsewhere", 4, sizeof(isthmus_steer_counters), 1, nullptr));
  for (const char* name : {"u0", "d0"}) {
    elsewhere.count_at(find_interface(name)->index, counters.get());
  }
  ASSERT_EQ(elsewhere.why_not(), std::nullopt);
  sh("ip link set d0 down");
  send(2, 100);
  EXPECT_TRUE(lost(2));
  std::vector<isthmus_steer_counters> counted(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  const std::uint32_t only = 0;
  ASSERT_EQ(bpf_map_lookup_elem(counters.get(), &only, counted.data()), 0);
  for (const isthmus_steer_counters& on_cpu : counted) {
    EXPECT_EQ(on_cpu.lost_after_redirect, 0u);
  }
}

TEST_F(RedirectLossesTest, AnInterfaceThatIsNotOursIsNotCountedAt) {
  flows_->losses().forget(find_interface("u0")->index);
  sh("ip link set d0 down");
  send(2, 100);
  EXPECT_TRUE(lost(0));
}

}  // namespace
}  // namespace isthmus
