// What workers hand to each other: by the flow inside the tunnel, and nothing is lost on the way.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <set>
#include <thread>

#include "dataplane/packet/flow_number.h"
#include "dataplane/worker/handoff.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;
constexpr WorkerId kFirst{0}, kSecond{1};

FlowNumbers numbers(std::uint64_t secret = 7) {
  TunnelEnds ends;
  ends.ports = {L4Port{8472}, L4Port{6081}};
  ends.ports[static_cast<std::size_t>(EncapsulationKind::kVxlan)] = L4Port{8472};
  ends.ports[static_cast<std::size_t>(EncapsulationKind::kGeneve)] = L4Port{6081};
  return {ends, secret};
}

std::optional<std::uint32_t> number_of(const PacketSpec& packet) {
  const FrameBytes bytes = packet.bytes();
  return numbers().of(bytes.data(), static_cast<std::uint32_t>(bytes.size()));
}

Endpoint with_port(Endpoint end, unsigned port) {
  end.port = static_cast<std::uint16_t>(port);
  return end;
}

PacketSpec in_geneve(PacketSpec inner, FrameBytes options) {
  inner.in_tunnel(at.west_gateway, at.gateway, kWestIdentity);
  inner.tunnel->kind = EncapsulationKind::kGeneve;
  inner.tunnel->port = 6081;
  inner.tunnel->flags = 0x6558;
  inner.tunnel->options = std::move(options);
  return inner;
}

TEST(FlowNumber, IsThatOfThePacketInside) {
  for (const auto& [client, server] : {std::pair(at.client, at.west), std::pair(at.client6, at.west6)}) {
    const auto plain = number_of(tcp(client, server, kSyn));
    ASSERT_TRUE(plain);
    EXPECT_EQ(number_of(tcp(server, client, kAck)), plain) << "both ways";
    EXPECT_EQ(number_of(tcp(client, server, kSyn).in_tunnel(at.west_gateway, at.gateway, 2)), plain);
    EXPECT_EQ(number_of(tcp(client, server, kSyn).in_tunnel(at.west_other, at.gateway, 3)), plain);
    EXPECT_EQ(number_of(in_geneve(tcp(client, server, kSyn), {})), plain);
    EXPECT_EQ(number_of(in_geneve(tcp(client, server, kSyn), FrameBytes(12))), plain);
    EXPECT_NE(number_of(tcp(with_port(client, 40001), server, kSyn)), plain);
    EXPECT_NE(number_of(udp(client, server)), plain);
    EXPECT_EQ(number_of(udp(client, server).in_tunnel(at.west_gateway, at.gateway, 2)), number_of(udp(client, server)));
  }
}

TEST(FlowNumber, OfFragmentsIsThatOfTheirAddresses) {
  PacketSpec first = udp(at.client, at.west), last = first;
  first.fragment_offset = 0x2000;
  last.fragment_offset = 100;
  ASSERT_TRUE(number_of(first));
  EXPECT_EQ(number_of(first), number_of(last));
  EXPECT_NE(number_of(first), number_of(udp(at.client, at.west)));
}

TEST(FlowNumber, IsThereForAllLengthsOrNot) {
  for (const PacketSpec& packet :
       {tcp(at.client, at.west, kSyn), tcp(at.client6, at.west6, kSyn).in_tunnel(at.west_gateway, at.gateway, 2),
        in_geneve(udp(at.client, at.west), FrameBytes(20))}) {
    const FrameBytes whole = packet.bytes();
    for (std::size_t length = 0; length <= whole.size(); ++length) {
      const FrameBytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));  // for the sanitizers
      (void)numbers().of(part.data(), static_cast<std::uint32_t>(length));
    }
    FrameBytes other = whole;
    other[12] = 0x88, other[13] = 0xcc;
    EXPECT_EQ(numbers().of(other.data(), static_cast<std::uint32_t>(other.size())), std::nullopt);
    other = whole;
    for (unsigned byte = 0; byte < 256; ++byte) {  // lengths of headers that lie
      for (const std::size_t place : {std::size_t{14}, std::size_t{42}, std::size_t{64}}) {
        other = whole;
        other[std::min(place, other.size() - 1)] = static_cast<std::uint8_t>(byte);
        (void)numbers().of(other.data(), static_cast<std::uint32_t>(other.size()));
      }
    }
  }
}

TEST(FlowNumber, DividesFlowsEvenlyAndByTheSecret) {
  std::array<unsigned, 8> places{};
  unsigned moved = 0;
  for (unsigned port = 0; port < 8000; ++port) {
    const FrameBytes bytes = tcp(with_port(at.client, 1024 + port), at.west, kSyn).bytes();
    const auto length = static_cast<std::uint32_t>(bytes.size());
    const auto place = numbers().of(bytes.data(), length).value() >> 29;
    ++places[place];
    moved += numbers(99).of(bytes.data(), length).value() >> 29 != place ? 1 : 0;
  }
  for (const unsigned count : places) {
    EXPECT_GT(count, 800u);
    EXPECT_LT(count, 1200u);
  }
  EXPECT_GT(moved, 6000u);
}

class HandoffTest : public testing::Test {
 protected:
  static PathRig::Options two_workers() {
    PathRig::Options options;
    options.engine.workers = 2;
    options.engine.worker_handoff = WorkerHandoff::kOn;
    options.lane_frames = 2048;
    return options;
  }
  // Packets of so many flows from west to a pod here; all arrive at the first worker.
  static void inject(PathRig& rig, unsigned flows, unsigned first = 0) {
    for (unsigned flow = first; flow < first + flows; ++flow) {
      const PacketSpec packet = udp(at.west, with_port(at.client, 1024 + flow));
      ASSERT_TRUE(
          rig.underlay().inject(PacketSpec(packet).in_tunnel(at.west_gateway, at.gateway, kWestIdentity).bytes()));
    }
  }
  static std::vector<FrameBytes> taken(MemoryDevice& device, WorkerId worker) {
    std::vector<FrameBytes> frames;
    while (auto frame = device.take(worker)) {
      frames.push_back(*frame);
    }
    return frames;
  }
  static void rounds(PathRig& rig, WorkerId worker, unsigned count) {
    for (unsigned round = 0; round < count; ++round) {
      rig.engine().run_round(worker);
    }
  }
};

TEST_F(HandoffTest, WorkersDivideTheFlowsOfOnePeer) {
  PathRig rig(two_workers());
  inject(rig, 400);
  for (unsigned round = 0; round < 20; ++round) {
    rounds(rig, kFirst, 1);
    rounds(rig, kSecond, 1);
  }
  const std::size_t own = taken(rig.local(), kFirst).size(), others = taken(rig.local(), kSecond).size();
  EXPECT_EQ(own + others, 400u);
  EXPECT_GT(own, 120u);
  EXPECT_GT(others, 120u);
  EXPECT_EQ(rig.counters().handed, others);
  EXPECT_EQ(rig.counters().handoff_full, 0u);
  EXPECT_EQ(rig.counters().rx_packets, 400u) << "counted once";
  EXPECT_EQ(rig.counters().decapsulated, 400u);
}

TEST_F(HandoffTest, AFlowStaysWithItsWorkerInOrder) {
  PathRig rig(two_workers());
  for (unsigned packet = 0; packet < 200; ++packet) {
    PacketSpec spec = udp(at.west, with_port(at.client, 1024 + packet % 8)).with_payload(40);
    spec.first_byte = static_cast<std::uint8_t>(packet);
    ASSERT_TRUE(rig.underlay().inject(spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity).bytes()));
    rounds(rig, packet % 3 == 0 ? kSecond : kFirst, 1);
  }
  rounds(rig, kFirst, 10);
  rounds(rig, kSecond, 10);
  std::set<std::uint8_t> seen;
  for (const WorkerId worker : {kFirst, kSecond}) {
    std::array<int, 8> last;
    last.fill(-1);
    for (const FrameBytes& frame : taken(rig.local(), worker)) {
      const int number = frame[14 + 20 + 8];  // the first byte behind Ethernet, IPv4 and UDP
      EXPECT_GT(number, last[static_cast<std::size_t>(number % 8)]);
      last[static_cast<std::size_t>(number % 8)] = number;
      EXPECT_TRUE(seen.insert(static_cast<std::uint8_t>(number)).second);
    }
  }
  EXPECT_EQ(seen.size(), 200u);
}

TEST_F(HandoffTest, WhatFindsNoRoomStaysAndIsCounted) {
  PathRig rig(two_workers());
  inject(rig, 1200);
  rounds(rig, kFirst, 40);
  const std::size_t own = taken(rig.local(), kFirst).size();
  EXPECT_EQ(own, 1200u - 256u) << "a lane full of the other's";
  EXPECT_EQ(rig.counters().handed, 256u);
  EXPECT_GT(rig.counters().handoff_full, 200u);
  rounds(rig, kSecond, 20);
  EXPECT_EQ(taken(rig.local(), kSecond).size(), 256u);
  inject(rig, 100, 1200);
  rounds(rig, kFirst, 10);
  EXPECT_GT(rig.counters().handed, 256u) << "the lane is free again";
  for (const DropCount& drop : rig.counters().drops) {
    EXPECT_EQ(drop.packets, 0u) << drop.name;
  }
}

TEST_F(HandoffTest, WhatIsOnItsWayWhenTheEngineStopsGoesItsWay) {
  PathRig::Options options = two_workers();
  options.engine.frames = 1024;
  PathRig rig(options);
  std::size_t sent = 0, came = 0;
  for (unsigned turn = 0; turn < 20; ++turn) {  // more frames than a pool has
    inject(rig, 200, turn * 200);
    rounds(rig, kFirst, 8);
    rig.engine().stop();
    sent += 200;
    came += taken(rig.local(), kFirst).size() + taken(rig.local(), kSecond).size();
    EXPECT_EQ(came, sent) << turn;
  }
}

// Between the pools of two workers, of which the second one has one long chunk.
TEST(Handoff, LongFramesComeAlongAndWaitForAChunk) {
  const auto pool_of = [](std::uint32_t long_chunks) {
    FramePool::Options options;
    options.chunks = 64;
    options.long_chunks = long_chunks;
    return std::move(*FramePool::create(options));
  };
  auto first = pool_of(8), second = pool_of(1);
  TunnelEnds ends;
  Handoff handoff(2, ends, 1);
  std::vector<FrameBytes> sent;
  for (unsigned port = 0; sent.size() < 2; ++port) {
    const FrameBytes bytes = udp(at.west, with_port(at.client, 1024 + port)).with_payload(8000).bytes();
    std::array<Frame, 1> frames;
    const std::uint32_t chunk = first->allocate_for(static_cast<std::uint32_t>(bytes.size()));
    ASSERT_NE(chunk, kNoChunk);
    frames[0] = {first->chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(bytes.size()), chunk};
    std::copy(bytes.begin(), bytes.end(), frames[0].data);
    if (handoff.hand_out(0, DeviceId{3}, frames).handed == 1) {
      sent.push_back(bytes);
    } else {
      first->release(chunk);
    }
  }
  for (const FrameBytes& bytes : sent) {
    std::array<Frame, kMaxBurst> got;
    DeviceId device;
    ASSERT_EQ(handoff.receive(1, *second, got, device), 1u) << "of two, as there is one chunk";
    EXPECT_EQ(device, DeviceId{3});
    EXPECT_EQ(FrameBytes(got[0].data, got[0].data + got[0].length), bytes);
    const std::uint32_t chunk = got[0].chunk;
    EXPECT_EQ(handoff.receive(1, *second, got, device), 0u);
    second->release(chunk);
  }
  EXPECT_TRUE(handoff.empty());
  EXPECT_EQ(first->long_available(), 6u);
  handoff.take_back(0, *first);
  EXPECT_EQ(first->long_available(), 8u);
}

TEST_F(HandoffTest, WhatIsTheHostsComesToItByAnyWorker) {
  PathRig::Options options = two_workers();
  options.shares_with_host = true;
  PathRig rig(options);
  const IpAddress stranger = *IpAddress::parse("198.51.100.9");
  for (unsigned flow = 0; flow < 64; ++flow) {
    FrameBytes bytes = udp({stranger, static_cast<std::uint16_t>(2000 + flow)}, {at.gateway, 22}).bytes();
    const auto mac = rig.underlay().mac().bytes;
    std::copy(mac.begin(), mac.end(), bytes.begin());
    ASSERT_TRUE(rig.underlay().inject(bytes));
  }
  rounds(rig, kFirst, 4);
  rounds(rig, kSecond, 4);
  std::size_t first = 0, second = 0;
  while (rig.underlay().take_host(kFirst)) {
    ++first;
  }
  while (rig.underlay().take_host(kSecond)) {
    ++second;
  }
  EXPECT_EQ(first + second, 64u);
  EXPECT_GT(second, 8u);
}

TEST_F(HandoffTest, IsOffWhereTheDeviceDividesOrTheConfigurationSaysSo) {
  for (const WorkerHandoff mode : {WorkerHandoff::kAuto, WorkerHandoff::kOff}) {
    PathRig::Options options = two_workers();
    options.engine.worker_handoff = mode;
    PathRig rig(options);
    inject(rig, 100);
    rounds(rig, kFirst, 4);
    EXPECT_EQ(taken(rig.local(), kFirst).size(), 100u);
    EXPECT_EQ(rig.counters().handed, 0u);
  }
}

TEST_F(HandoffTest, AWorkerThatSleepsIsWoken) {
  PathRig::Options options = two_workers();
  options.threads = true;
  PathRig rig(options);
  std::size_t came = 0;
  for (unsigned turn = 0; turn < 50; ++turn) {
    inject(rig, 20, turn * 20);
    for (unsigned wait = 0; wait < 1000 && came < (turn + 1) * 20; ++wait) {
      came += taken(rig.local(), kFirst).size() + taken(rig.local(), kSecond).size();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_EQ(came, (turn + 1) * 20);
  }
  EXPECT_GT(rig.counters().handed, 300u);
}

}  // namespace
}  // namespace isthmus::test
