// What the kernel's program passes, an engine whose devices share with the host gives to the host, byte for byte, and
// nothing else: packets of settled flows, which it does not ask its rules about, and others, in fleets that change.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "test/unit/xdp/differential/length.h"
#include "test/unit/xdp/differential/open_flow.h"
#include "test/unit/xdp/differential/rule_frames.h"
#include "test/unit/xdp/differential/varied_packet.h"

namespace isthmus::test {
namespace {

constexpr std::size_t kFlows = 48, kAttempts = 600;
constexpr std::uint64_t kFleets = 8, kFrames = 6000, kFramesPerChange = 300;

struct HostTally {
  std::uint64_t passed = 0, taken = 0, sent = 0, of_flows = 0;
};

std::vector<FrameBytes> to_host(RandomFleet& fleet, DeviceId device) {
  std::vector<FrameBytes> frames;
  while (auto frame = fleet.device(device).memory().take_host()) {
    frames.push_back(*std::move(frame));
  }
  return frames;
}

RulePool pool_of(RandomFleet& fleet, DeviceId device) {
  RulePool pool;
  pool.mac = fleet.device(device).mac();
  pool.tunnel = fleet.tunnel();
  const auto add = [](std::vector<IpAddress>& list, const char* text) { list.push_back(*IpAddress::parse(text)); };
  for (const FleetPod& pod : fleet.pods()) {
    pool.ends.push_back(pod.address);
  }
  for (const FleetService& service : fleet.services()) {
    pool.ends.push_back(service.vip.address);
  }
  for (const char* other :
       {"10.1.255.1", "fd00:1::ff:1", "198.51.100.1", "2001:db8:99::1", "10.99.0.1", "0.0.0.0", "::"}) {
    add(pool.ends, other);
    add(pool.peers, other);
  }
  for (const IpAddress& own : {pool.tunnel.ipv4, pool.tunnel.ipv6}) {
    pool.ends.push_back(own);
  }
  Dice dice(1);
  for (const PodHome home :
       {PodHome::kOwnNode, PodHome::kWest, PodHome::kNorth, PodHome::kUnlinked, PodHome::kRemoteNode}) {
    const PeerEntry* peer = fleet.sender_of(home, dice);
    pool.peers.insert(pool.peers.end(), 4, peer->underlay);
  }
  return pool;
}

// True: as the kernel's program says.
bool same_verdict(RandomFleet& fleet, DeviceId device, const FrameBytes& frame, HostTally& tally) {
  const bool passed = fleet.device(device).without_flows(frame).verdict == KernelVerdict::kPassed;
  const std::vector<SentFrame> sent = fleet.engine_turn(device, frame);
  (passed ? tally.passed : tally.taken) += 1;
  tally.sent += passed || sent.empty() ? 0 : 1;
  bool same = true;
  for (std::uint8_t id = 0; id < RandomFleet::kDevices; ++id) {
    const std::vector<FrameBytes> host = to_host(fleet, DeviceId{id});
    const bool here = passed && DeviceId{id} == device;
    same = same && (here ? host == std::vector<FrameBytes>{frame} : host.empty());
  }
  return same;
}

void open_some(RandomFleet& fleet, Dice& dice, std::vector<OpenFlow>& flows, std::uint16_t& port) {
  std::erase_if(flows, [&](const OpenFlow&) { return dice.one_in(3); });
  for (std::size_t i = 0; i < kAttempts && flows.size() < kFlows; ++i) {
    if (auto flow = open_flow(fleet, dice, port++)) {
      flows.push_back(*std::move(flow));
    }
  }
  ASSERT_FALSE(flows.empty());
}

void run_fleet(std::uint64_t seed, HostTally& tally) {
  RandomFleet fleet(seed, true);
  Dice dice(seed ^ 0x4057);
  std::vector<OpenFlow> flows;
  std::uint16_t port = 10'000;
  ASSERT_NO_FATAL_FAILURE(open_some(fleet, dice, flows, port));
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    fleet.pass(Nanoseconds{1'000'000});
    if (i % kFramesPerChange == kFramesPerChange - 1) {
      fleet.change(dice);
      fleet.serve_neighbours();
      ASSERT_NO_FATAL_FAILURE(open_some(fleet, dice, flows, port));
    }
    DeviceId device{static_cast<std::uint8_t>(dice.below(RandomFleet::kDevices))};
    FrameBytes frame;
    std::string what;
    if (dice.one_in(2)) {
      const VariedPacket packet = vary(fleet, dice.of(flows).directions[dice.below(2)], dice);
      device = packet.device, frame = packet.frame.bytes, what = "of a flow: " + packet.what;
      ++tally.of_flows;
    } else {
      RuleFrame odd = random_rule_frame(pool_of(fleet, device), dice);
      frame = std::move(odd.bytes), what = odd.shape;
    }
    ASSERT_TRUE(same_verdict(fleet, device, frame, tally)) << fleet.text() << ", frame " << i << ", " << what;
  }
}

TEST(HostPathDifferential, WhatTheKernelsProgramPassesGoesToTheHostAndNothingElse) {
  HostTally tally;
  for (std::uint64_t i = 0; i < kFleets; ++i) {
    ASSERT_NO_FATAL_FAILURE(run_fleet(differential_length().seed + i, tally));
  }
  EXPECT_GT(tally.passed, kFleets * kFrames / 8);
  EXPECT_GT(tally.taken, kFleets * kFrames / 4);
  EXPECT_GT(tally.sent, kFleets * kFrames / 8) << "settled flows";
}

}  // namespace
}  // namespace isthmus::test
