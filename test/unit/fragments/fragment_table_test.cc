// The table of fragmented datagrams: what one sender can take of it, how long, and by several workers at once.
#include "dataplane/fragments/fragment_table.h"

#include <gtest/gtest.h>

#include <thread>

namespace isthmus::test {
namespace {

using Step = FragmentOutcome::Step;
constexpr std::uint64_t kHold = 1000;

const IpAddress kDestination = *IpAddress::parse("10.2.0.1");
const DatagramPorts kPorts{Be16::of(5), Be16::of(53), IpProtocol::kUdp};

DatagramKey key(std::uint32_t source, std::uint32_t id) {
  return {IpAddress::ipv4(Be32::of(0x0a010000 + source)), kDestination, Origin{}, id, Realm{}, IpProtocol::kUdp, false};
}

FragmentPart part(std::uint32_t offset, std::uint32_t bytes, bool more) {
  static const std::array<std::uint8_t, 4096> kData{};
  return {0, IpProtocol::kUdp, offset, bytes, kData.data(), more};
}

ArrivedFragment arrived(std::size_t bytes = 100) {
  static const std::array<std::uint8_t, 4096> kFrame{1, 2, 3};
  ArrivedFragment fragment;
  fragment.frame = {kFrame.data(), bytes};
  fragment.frame_bytes = static_cast<std::uint32_t>(bytes);
  return fragment;
}

std::size_t count(FragmentTable& table, std::uint32_t list) {
  std::size_t n = 0;
  for (; list != kNoPlace; list = table.kept()[list].next) {
    ++n;
  }
  return n;
}

TEST(FragmentTable, GivesLaterFragmentsThePortsOfTheFirst) {
  FragmentTable table({64, kHold});
  EXPECT_EQ(table.first(key(1, 7), part(0, 16, true), kPorts, 1, 0).step, Step::kForward);
  EXPECT_EQ(table.later(key(1, 8), part(16, 16, true), arrived(), 1, 0).step, Step::kKept) << "another datagram";
  EXPECT_EQ(table.later(key(2, 7), part(16, 16, true), arrived(), 1, 0).step, Step::kKept) << "another source";
  const FragmentOutcome later = table.later(key(1, 7), part(16, 8, true), arrived(), 1, 0);
  EXPECT_EQ(later.step, Step::kForward);
  EXPECT_EQ(later.ports.destination, kPorts.destination);
  EXPECT_EQ(table.now(), 3u);
  EXPECT_EQ(table.later(key(1, 7), part(24, 8, false), arrived(), 1, 0).step, Step::kForward);
  EXPECT_EQ(table.now(), 2u) << "nothing is kept of a datagram of which all has come";
}

TEST(FragmentTable, GivesOutWhatHasWaitedAsItCame) {
  FragmentTable table({64, kHold});
  ArrivedFragment tail = arrived(77);
  tail.peer = kDestination;
  tail.device = DeviceId{3};
  EXPECT_EQ(table.later(key(1, 7), part(32, 8, false), tail, 1, 0).step, Step::kKept);
  EXPECT_EQ(table.later(key(1, 7), part(16, 16, true), arrived(), 1, 0).step, Step::kKept);
  EXPECT_EQ(table.kept().frames(), 2u);
  const FragmentOutcome first = table.first(key(1, 7), part(0, 16, true), kPorts, 1, 0);
  ASSERT_EQ(first.step, Step::kForward);
  ASSERT_EQ(count(table, first.list), 2u);
  const KeptFragment& last = table.kept()[table.kept()[first.list].next];
  EXPECT_EQ(last.length, 77);
  EXPECT_EQ(last.bytes[2], 3);
  EXPECT_EQ(last.peer, kDestination);
  EXPECT_EQ(last.device, DeviceId{3});
  table.kept().release(first.list);
  EXPECT_EQ(table.kept().frames(), 0u);
  EXPECT_EQ(table.now(), 0u);
}

TEST(FragmentTable, RefusesAllOfADatagramWhoseFragmentsOverlap) {
  FragmentTable table({64, kHold});
  EXPECT_EQ(table.later(key(1, 7), part(16, 16, true), arrived(), 1, 0).step, Step::kKept);
  const FragmentOutcome overlap = table.first(key(1, 7), part(0, 24, true), kPorts, 1, 0);
  EXPECT_EQ(overlap.step, Step::kDrop);
  EXPECT_EQ(overlap.reason, DropReason::kFragmentOverlap);
  EXPECT_EQ(count(table, overlap.lost.list), 1u) << "what has waited is dropped with it";
  EXPECT_EQ(overlap.lost.reason, DropReason::kFragmentOverlap);
  table.kept().release(overlap.lost.list);
  const FragmentOutcome next = table.first(key(1, 7), part(0, 16, true), kPorts, 1, 0);
  EXPECT_EQ(next.step, Step::kDrop);
  EXPECT_EQ(next.reason, DropReason::kFragmentOverlap);
}

TEST(FragmentTable, ForgetsADatagramWhenItsTimeHasPassed) {
  FragmentTable table({64, kHold});
  EXPECT_EQ(table.later(key(1, 7), part(16, 16, false), arrived(), 1, 5).step, Step::kKept);
  std::size_t lost = 0;
  for (const std::uint64_t now : {5 + kHold, 6 + kHold}) {
    lost = 0;
    for (std::uint32_t bucket = 0; bucket < table.buckets(); ++bucket) {
      const LostFragments expired = table.expire(bucket, now);
      lost += count(table, expired.list);
      table.kept().release(expired.list);
    }
    EXPECT_EQ(lost, now == 6 + kHold ? 1u : 0u);
  }
  EXPECT_EQ(table.now(), 0u);
  EXPECT_EQ(table.kept().frames(), 0u);
}

// A sender may use identifications again before a worker has looked: what is left of the old datagram is lost.
TEST(FragmentTable, TakesANewDatagramForAnOldOneOfTheSameNumber) {
  FragmentTable table({64, kHold});
  EXPECT_EQ(table.later(key(1, 7), part(16, 16, true), arrived(), 1, 0).step, Step::kKept);
  const FragmentOutcome first = table.first(key(1, 7), part(0, 24, true), kPorts, 1, kHold + 1);
  EXPECT_EQ(first.step, Step::kForward);
  EXPECT_EQ(first.list, kNoPlace);
  EXPECT_EQ(count(table, first.lost.list), 1u);
  EXPECT_EQ(first.lost.reason, DropReason::kFragmentTimeout);
}

TEST(FragmentTable, LeavesRoomForOthersWhateverOneSenderDoes) {
  constexpr std::uint32_t kDatagrams = 1024;
  FragmentTable table({kDatagrams, kHold});
  std::size_t refused = 0, lost = 0, kept = 0;
  for (std::uint32_t id = 0; id < 10 * kDatagrams; ++id) {
    const FragmentOutcome outcome = table.later(key(1, id), part(16, 16, true), arrived(), 1, 0);
    kept += outcome.step == Step::kKept ? 1 : 0;
    refused += outcome.step == Step::kDrop ? 1 : 0;
    EXPECT_TRUE(outcome.step != Step::kDrop || outcome.reason == DropReason::kFragmentLimit);
    lost += count(table, outcome.lost.list);
    table.kept().release(outcome.lost.list);
  }
  EXPECT_EQ(kept + refused, 10u * kDatagrams) << "each is accounted for";
  EXPECT_EQ(table.kept().frames(), kept - lost);
  EXPECT_LE(table.now(), kDatagrams / 8);
  EXPECT_LE(table.kept().frames(), FragmentTable::places_for(kDatagrams) / 4);
  unsigned passed = 0;
  for (std::uint32_t other = 2; other < 10; ++other) {  // the flood and eight more do not fill it
    const bool waits = table.later(key(other, 1), part(16, 16, false), arrived(), other, 0).step == Step::kKept;
    passed += waits && table.first(key(other, 1), part(0, 16, true), kPorts, other, 0).step == Step::kForward ? 1 : 0;
  }
  EXPECT_GE(passed, 5u) << "one in 256 is charged as the flood is";
}

TEST(FragmentTable, MakesRoomAtTheCostOfThoseThatHaveMost) {
  FragmentTable table({8, kHold});  // a single bucket; a sender may have one of it
  for (std::uint32_t sender = 1; sender <= 8; ++sender) {
    EXPECT_EQ(table.first(key(sender, 1), part(0, 16, true), kPorts, sender, sender).step, Step::kForward);
  }
  EXPECT_EQ(table.first(key(9, 1), part(0, 16, true), kPorts, 9, 9).step, Step::kForward);
  EXPECT_LE(table.now(), 8u);
  EXPECT_EQ(table.later(key(9, 1), part(16, 16, false), arrived(), 9, 9).step, Step::kForward)
      << "the newest one stays";
}

TEST(FragmentTable, PutsTunnelPacketsTogether) {
  FragmentTable table({64, kHold});
  const std::array<std::uint8_t, 34> headers{9};
  const auto put = [&](std::uint32_t offset, std::uint32_t bytes, bool more, std::uint8_t ecn) {
    return table.assemble(key(1, 7), part(offset, bytes, more), arrived(60), headers, ecn, 1, 0);
  };
  EXPECT_EQ(put(1600, 400, false, 2).step, Step::kKept);
  EXPECT_EQ(put(0, 800, true, 3).step, Step::kKept);
  const FragmentOutcome whole = put(800, 800, true, 2);
  ASSERT_EQ(whole.step, Step::kComplete);
  EXPECT_EQ(whole.ecn_seen, 1 << 2 | 1 << 3);
  const KeptFragment& packet = table.kept()[whole.list];
  EXPECT_EQ(packet.length, 34 + 2000);
  EXPECT_EQ(packet.bytes[packet.start], 9);
  EXPECT_EQ(packet.frames, 3u);
  EXPECT_EQ(packet.frame_bytes, 180u);
  EXPECT_EQ(table.now(), 0u);
  table.kept().release(whole.list);
  EXPECT_EQ(put(3600, 400, false, 0).reason, DropReason::kFragmentTooLong);
  EXPECT_EQ(put(0, 800, true, 0).reason, DropReason::kFragmentTooLong) << "nor is any other of its fragments taken";
}

// Two workers, one with the first fragments and one with the others: whichever is first, each datagram's later fragment
// is forwarded once, by one of them.
TEST(FragmentTable, IsForAllWorkers) {
  constexpr std::uint32_t kRounds = 20'000, kWindow = 16;
  FragmentTable table({4096, 1'000'000'000});
  std::atomic<std::uint32_t> firsts{0}, laters{0};
  std::uint32_t released = 0, at_once = 0, kept = 0, lost = 0;
  const auto wait_for = [&](const std::atomic<std::uint32_t>& other, std::uint32_t mine) {
    while (mine > other.load(std::memory_order_acquire) + kWindow) {
      std::this_thread::yield();
    }
  };
  std::thread worker([&] {
    for (std::uint32_t id = 0; id < kRounds; ++id) {
      wait_for(laters, id);
      const FragmentOutcome first = table.first(key(1, id), part(0, 16, true), kPorts, 1, 0);
      lost += first.step == Step::kForward ? 0 : 1;
      released += static_cast<std::uint32_t>(count(table, first.list));
      table.kept().release(first.list);
      firsts.store(id + 1, std::memory_order_release);
    }
  });
  for (std::uint32_t id = 0; id < kRounds; ++id) {
    wait_for(firsts, id);
    const FragmentOutcome later = table.later(key(1, id), part(16, 16, false), arrived(), 1, 0);
    at_once += later.step == Step::kForward ? 1 : 0;
    kept += later.step == Step::kKept ? 1 : 0;
    laters.store(id + 1, std::memory_order_release);
  }
  worker.join();
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(at_once + kept, kRounds);
  EXPECT_EQ(released, kept);
  EXPECT_EQ(table.now(), 0u);
  EXPECT_EQ(table.kept().frames(), 0u);
}

// A part that found no room is lost: what comes later must not complete the tunnel packet around it.
TEST(FragmentTable, NeverCompletesATunnelPacketOfWhichAPartWasDropped) {
  FragmentTable table({256, kHold});  // a sender may have eight tunnel packets begun
  const auto tunnel = [](std::uint32_t id) {
    DatagramKey of = key(1, id);
    of.tunnel = true;
    return of;
  };
  const std::array<std::uint8_t, 34> headers{};
  const auto of = [](std::uint8_t byte) {
    static std::array<std::uint8_t, 16> bytes;
    bytes.fill(byte);
    FragmentPart made = part(0, 16, true);
    made.data = bytes.data();
    return made;
  };
  const auto assemble = [&](std::uint32_t id, std::uint8_t byte, std::uint32_t offset, bool more) {
    FragmentPart made = of(byte);
    made.offset = offset;
    made.more = more;
    return table.assemble(tunnel(id), made, arrived(), headers, 0, 1, 0);
  };
  for (std::uint32_t id = 0; id < 8; ++id) {
    ASSERT_EQ(assemble(id, 0x11, 16, false).step, Step::kKept);
  }
  const FragmentOutcome refused = assemble(8, 0x22, 16, false);
  ASSERT_EQ(refused.step, Step::kDrop);
  ASSERT_EQ(refused.reason, DropReason::kFragmentLimit);
  const FragmentOutcome whole = assemble(0, 0x11, 0, true);
  ASSERT_EQ(whole.step, Step::kComplete);
  table.kept().release(whole.list);  // now there is room again
  const FragmentOutcome other = assemble(8, 0x22, 0, true);
  EXPECT_NE(other.step, Step::kComplete) << "half of it has been dropped";
  if (other.step == Step::kComplete) {
    const KeptFragment& made = table.kept()[other.list];
    EXPECT_NE(made.bytes[FragmentTable::kHeaderRoom + 16], 0x11) << "bytes of another tunnel packet";
    EXPECT_EQ(made.frames, 2u);
  }
}

// Those that were there before it are returned, not lost.
TEST(FragmentTable, WhatIsRefusedAtOnceReturnsWhatItHasTakenThePlaceOf) {
  FragmentTable table({64, kHold});
  const std::array<std::uint8_t, 34> headers{};
  const std::array<std::uint8_t, 16> bytes{};
  const auto assemble = [&](std::uint32_t id, std::uint32_t offset, std::uint64_t now) {
    DatagramKey of = key(1, id);
    of.tunnel = true;
    FragmentPart made = part(offset, 16, true);
    made.data = bytes.data();
    return table.assemble(of, made, arrived(), headers, 0, 1, now);
  };
  ASSERT_EQ(assemble(1, 0, 0).step, Step::kKept);
  const FragmentOutcome refused = assemble(1, FragmentTable::kLongestAssembled, kHold + 1);
  EXPECT_EQ(refused.reason, DropReason::kFragmentTooLong);
  EXPECT_EQ(refused.lost.reason, DropReason::kFragmentTimeout);
  EXPECT_NE(refused.lost.list, kNoPlace);
}

}  // namespace
}  // namespace isthmus::test
