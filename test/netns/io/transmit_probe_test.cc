// Whether a veth sends what XDP programs redirect to it: what the kernel says, and what a frame shows.
#include "xdp/loader/transmit_probe.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "lab.h"
#include "xdp/loader/xdp_features.h"

namespace isthmus {
namespace {

using namespace lab;

// A veth with a program has NAPI, which GRO at the other end of the pair asks for too.
class TransmitProbeTest : public testing::Test {
 protected:
  void SetUp() override {
    lab_.at("gateway");
    device_ = open_device({.interface = "u0", .mode = XdpMode::kNative});
    ASSERT_TRUE(device_ && device_->steer(left_rules()).ok());
  }
  void TearDown() override {
    device_.reset();
    EXPECT_TRUE(detach_steer("u0").ok());
  }
  void gro_at_other_end(const char* state) {
    lab_.at("left");
    sh(std::string("ethtool -K l0 gro ") + state);
    lab_.at("gateway");
  }
  static Trial by_trial() {
    int error = 0;
    return try_transmission(*find_interface("u0"), error);
  }

  Lab lab_;
  std::unique_ptr<Device> device_;
};

TEST_F(TransmitProbeTest, AVethSendsOnlyWhileItsOtherEndHasGroOrAProgram) {
  for (const char* state : {"on", "off", "on"}) {
    gro_at_other_end(state);
    const bool sends = std::string(state) == "on";
    EXPECT_EQ(by_trial(), sends ? Trial::kSends : Trial::kDoesNotSend) << state;
    const auto reason = why_not_transmitting(*find_interface("u0"));
    EXPECT_EQ(reason.has_value(), !sends) << state;
    EXPECT_TRUE(sends || reason->find("ethtool -K") != std::string::npos) << *reason;
  }
}

TEST_F(TransmitProbeTest, WhatOtherDevicesSendShowsNothingOfThisOne) {
  gro_at_other_end("off");
  lab_.at("right");
  sh("ethtool -K r0 gro on");
  lab_.at("gateway");
  std::atomic<bool> stop{false};
  std::thread others([&] {  // of this process, in its namespace
    int error = 0;
    EXPECT_EQ(try_transmission(*find_interface("d0"), error), Trial::kSends);
    while (!stop) {
      static_cast<void>(try_transmission(*find_interface("d0"), error));
    }
  });
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(by_trial(), Trial::kDoesNotSend) << i;
  }
  stop = true;
  others.join();
}

TEST_F(TransmitProbeTest, AnInterfaceThatIsDownShowsNothing) {
  gro_at_other_end("on");
  sh("ip link set u0 down");
  EXPECT_EQ(by_trial(), Trial::kShowsNothing);
  sh("ip link set u0 up");
  EXPECT_EQ(by_trial(), Trial::kSends);
}

TEST_F(TransmitProbeTest, AnInterfaceThatIsGoneDoesNotSend) {
  const Interface gone{"u9", 999'999};
  EXPECT_TRUE(why_not_transmitting(gone).has_value());
}

}  // namespace
}  // namespace isthmus
