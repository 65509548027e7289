// A device whose interface changes under it: program taken off, made anew, another MAC or MTU, down, with offloads.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>

#include "lab.h"
#include "xdp/loader/xdp_attachment.h"

namespace isthmus {
namespace {

using namespace lab;

constexpr std::uint16_t kPort = 7000;

class DeviceLifeTest : public testing::Test {
 protected:
  // Programs are attached by netlink, so that others can take them off; LinkTest has links.
  void SetUp() override { have_bpf_file_system(false); }
  void make(const AfXdpOptions& options = {.interface = "u0"}, unsigned mtu = 1500) {
    device_.reset();
    lab_.reset();
    lab_ = std::make_unique<Lab>(mtu);
    lab_->at("gateway");
    device_ = open_device(options);
    ASSERT_TRUE(device_ && device_->steer(left_rules()).ok());
  }
  // Fleet traffic that the left host sends reaches the engine.
  void expect_received(Forwarder& forwarder) {
    lab_->at("left");
    UdpSocket client(kLeft, 0);
    lab_->at("gateway");
    const std::uint64_t before = forwarder.left().counters().rx_packets;
    EXPECT_TRUE(eventually([&] { return forwarder.left().counters().rx_packets > before; },
                           [&] {
                             client.send(kRight, kPort, "fleet");
                             forwarder.round();
                           }));
  }
  static bool names(const DeviceCondition& condition, const std::string& text) {
    return std::any_of(condition.problems.begin(), condition.problems.end(), [&](const Error& problem) {
      EXPECT_FALSE(problem.fix.empty()) << problem.text();
      return problem.text().find(text) != std::string::npos;
    });
  }
  static bool changed(const DeviceCondition& condition, const std::string& text) {
    return std::any_of(condition.changes.begin(), condition.changes.end(),
                       [&](const std::string& change) { return change.find(text) != std::string::npos; });
  }
  static std::string feature(const std::string& interface, const std::string& name) {
    const std::string test = "ethtool -k " + interface + " | grep -q '^" + name + ": off'";
    return std::system(test.c_str()) == 0 ? "off" : "on";
  }

  std::unique_ptr<Lab> lab_;
  std::unique_ptr<Device> device_;
};

TEST_F(DeviceLifeTest, AnUndisturbedDeviceIsUpWithoutProblems) {
  make();
  static_cast<void>(device_->check());  // turns offloads off
  const DeviceCondition condition = device_->check();
  EXPECT_TRUE(condition.up);
  EXPECT_FALSE(condition.reopen);
  EXPECT_TRUE(condition.problems.empty());
  EXPECT_TRUE(condition.changes.empty());
}

TEST_F(DeviceLifeTest, AProgramThatWasTakenOffIsAttachedAgainAndThatIsTold) {
  for (const XdpMode mode : {XdpMode::kNative, XdpMode::kGeneric}) {
    make({.interface = "u0", .mode = mode});
    Forwarder forwarder(*device_, nullptr);
    expect_received(forwarder);
    sh(std::string("ip link set dev u0 ") + (mode == XdpMode::kNative ? "xdpdrv" : "xdpgeneric") + " off");
    ASSERT_FALSE(attached_program(*find_interface("u0"))->has_value());
    const DeviceCondition condition = device_->check();
    EXPECT_TRUE(condition.up);
    EXPECT_TRUE(changed(condition, "attached again"));
    EXPECT_TRUE(names(condition, "another program took the XDP steer program off"));
    const auto attached = attached_program(*find_interface("u0"));
    ASSERT_TRUE(attached.ok() && attached->has_value());
    EXPECT_TRUE((*attached)->is_steer());
    EXPECT_EQ((*attached)->native, mode == XdpMode::kNative);
    expect_received(forwarder);
    EXPECT_TRUE(names(device_->check(), "another program took")) << "still told, so that a person sees it";
  }
}

TEST_F(DeviceLifeTest, AForeignProgramInOurPlaceIsNamedAndLeftAlone) {
  make();
  Forwarder forwarder(*device_, nullptr);
  const bpf_insn pass[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd foreign(bpf_prog_load(BPF_PROG_TYPE_XDP, "their_filter", "GPL", pass, 2, nullptr));
  ASSERT_TRUE(foreign.valid());
  sh("ip link set dev u0 xdpdrv off");
  ASSERT_TRUE(attach_program(*find_interface("u0"), foreign.get(), true).ok());
  const DeviceCondition condition = device_->check();
  EXPECT_FALSE(condition.up);
  EXPECT_TRUE(names(condition, "\"their_filter\""));
  EXPECT_EQ((*attached_program(*find_interface("u0")))->name, "their_filter");
  sh("ip link set dev u0 xdpdrv off");
  EXPECT_TRUE(device_->check().up);
  expect_received(forwarder);
}

TEST_F(DeviceLifeTest, AnInterfaceThatWasMadeAnewIsTakenIntoUse) {
  make();
  Forwarder forwarder(*device_, nullptr);
  expect_received(forwarder);
  const QueueCounters before = forwarder.left().counters();
  lab_->remove_left();
  DeviceCondition gone = device_->check();
  EXPECT_FALSE(gone.up);
  EXPECT_FALSE(gone.reopen);
  EXPECT_TRUE(names(gone, "removed"));
  EXPECT_TRUE(eventually([&] { return forwarder.round() == 0; })) << "what the rings still had has been taken";
  lab_->make_left();
  ASSERT_TRUE(device_->check().reopen);
  const Status reopened = device_->reopen();
  ASSERT_TRUE(reopened.ok()) << reopened.error().text();
  EXPECT_TRUE(eventually([&] { return device_->check().up; }));  // the kernel tells of a carrier a while later
  expect_received(forwarder);
  EXPECT_GT(forwarder.left().counters().rx_packets, before.rx_packets);
}

TEST_F(DeviceLifeTest, AnInterfaceThatComesBackUnderItsNumberIsTakenIntoUse) {
  make();
  Forwarder forwarder(*device_, nullptr);
  expect_received(forwarder);
  const int index = find_interface("u0")->index;
  lab_->move_left_away_and_back();
  ASSERT_EQ(find_interface("u0")->index, index);
  const DeviceCondition back = device_->check();
  EXPECT_FALSE(back.up);
  ASSERT_TRUE(back.reopen);
  const Status reopened = device_->reopen();
  ASSERT_TRUE(reopened.ok()) << reopened.error().text();
  EXPECT_TRUE(eventually([&] { return device_->check().up; }));  // the kernel tells of a carrier a while later
  expect_received(forwarder);
}

TEST_F(DeviceLifeTest, AnInterfaceMadeAnewWithTooFewQueuesIsAProblemUntilItHasThem) {
  make();
  Forwarder first(*device_, nullptr, WorkerId{0}, 2);
  Forwarder second(*device_, nullptr, WorkerId{1}, 2);
  lab_->remove_left();
  lab_->make_left();
  sh("ethtool -L u0 rx 1 tx 1");
  ASSERT_TRUE(device_->check().reopen);
  EXPECT_FALSE(device_->reopen().ok());
  const DeviceCondition condition = device_->check();
  EXPECT_FALSE(condition.up);
  EXPECT_FALSE(condition.reopen) << "not tried again at once";
  EXPECT_TRUE(names(condition, "1 queues for 2 workers"));
  EXPECT_EQ(first.round() + second.round(), 0u);
  sh("ethtool -L u0 rx 2 tx 2");
  ASSERT_TRUE(device_->reopen().ok());
  expect_received(first);
}

TEST_F(DeviceLifeTest, AnotherMacIsFollowed) {
  make();
  Forwarder forwarder(*device_, nullptr);
  expect_received(forwarder);
  sh("ip link set dev u0 address 02:00:00:00:01:77");
  EXPECT_TRUE(changed(device_->check(), "02:00:00:00:01:77"));
  EXPECT_EQ(device_->mac(), *MacAddress::parse("02:00:00:00:01:77"));
  lab_->at("left");
  sh("ip neigh replace 10.2.0.1 lladdr 02:00:00:00:01:77 dev l0");
  lab_->at("gateway");
  expect_received(forwarder);
  EXPECT_EQ(steer_counters("u0")->other_mac, 0u);
}

TEST_F(DeviceLifeTest, AnotherMtuIsFollowedAndOneThatIsTooLargeIsAProblem) {
  make({.interface = "u0", .mode = XdpMode::kGeneric});
  sh("ip link set dev u0 mtu 1400");
  EXPECT_TRUE(changed(device_->check(), "1400"));
  EXPECT_EQ(device_->mtu(), Bytes{1400});
  sh("ip link set dev u0 mtu 9000");
  EXPECT_TRUE(names(device_->check(), "MTU is 9000, but the gateway receives packets of up to 3826 bytes"));
  EXPECT_EQ(device_->mtu(), Bytes{3826});
}

TEST_F(DeviceLifeTest, ADownInterfaceIsNotUp) {
  make();
  sh("ip link set dev u0 down");
  EXPECT_TRUE(names(device_->check(), "the interface is down"));
  EXPECT_FALSE(device_->check().up);
  sh("ip link set dev u0 up");
  EXPECT_TRUE(eventually([&] { return device_->check().up; }));
  lab_->at("left");
  sh("ip link set dev l0 down");
  lab_->at("gateway");
  EXPECT_TRUE(eventually([&] { return !device_->check().up; }));  // the kernel tells a while later
  EXPECT_TRUE(names(device_->check(), "no carrier"));
}

TEST_F(DeviceLifeTest, OffloadsThatHideTagsOrMergePacketsAreTurnedOff) {
  for (const XdpMode mode : {XdpMode::kNative, XdpMode::kGeneric}) {
    lab_.reset();
    lab_ = std::make_unique<Lab>();
    lab_->at("gateway");
    sh("ethtool -K u0 gro on rxvlan on rx-gro-list on > /dev/null");
    device_ = open_device({.interface = "u0", .mode = mode});
    ASSERT_TRUE(device_ && device_->steer(left_rules()).ok());
    const DeviceCondition condition = device_->check();
    EXPECT_TRUE(changed(condition, "turned rx-vlan-hw-parse off"));
    EXPECT_EQ(feature("u0", "rx-vlan-offload"), "off");
    const bool generic = mode == XdpMode::kGeneric;
    EXPECT_EQ(changed(condition, "turned rx-gro off"), generic);
    EXPECT_EQ(feature("u0", "generic-receive-offload"), generic ? "off" : "on");
    EXPECT_EQ(feature("u0", "rx-gro-list"), generic ? "off" : "on");
    EXPECT_TRUE(condition.problems.empty());
    EXPECT_TRUE(device_->check().changes.empty());
    device_.reset();
  }
}

TEST_F(DeviceLifeTest, OnAPointToPointLinkFramesForAnyMacAreOurs) {
  make({.interface = "u0", .point_to_point = true});
  Forwarder forwarder(*device_, nullptr);
  lab_->at("left");
  sh("ip neigh replace 10.2.0.1 lladdr 02:00:00:00:99:99 dev l0");
  lab_->at("gateway");
  expect_received(forwarder);
}

}  // namespace
}  // namespace isthmus
