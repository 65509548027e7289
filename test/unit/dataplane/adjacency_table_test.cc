// Next hops: who gets an entry, who loses it, and that a freed one is never used by two.
#include "dataplane/tables/adjacency_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include <map>
#include <string>

#include "test/support/path_rig.h"

namespace isthmus {
namespace {

constexpr DeviceId kDevice{2};
constexpr Seconds kNow{100};
constexpr unsigned kControl = 1;

IpAddress numbered(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0a000000 + n)); }

struct AdjacencyTableTest : testing::Test {
  AdjacencyId make(std::uint32_t n, Seconds now = kNow) {
    bool created = false;
    return table.find_or_create(kDevice, numbered(n), now, created);
  }
  // A worker passes a quiescent point, so that freed entries may be used again.
  void quiesce() { quiescence.quiescent(0); }

  void SetUp() override {
    quiescence.online(0);
    table.on_release([this](const IpAddress& next_hop) { released.insert(next_hop); });
  }
  Quiescence quiescence{2};
  AdjacencyTable table{quiescence, 64};  // of which workers may make 16 that nobody claims
  std::multiset<IpAddress> released;
};

TEST_F(AdjacencyTableTest, FindDoesNotCreate) {
  EXPECT_EQ(table.find(kDevice, numbered(1)), kNoAdjacency);
  const AdjacencyId id = make(1);
  EXPECT_EQ(table.find(kDevice, numbered(1)), id);
  EXPECT_EQ(table.find(DeviceId{3}, numbered(1)), kNoAdjacency);
  EXPECT_EQ(table.counts().now, 1u);
}

TEST_F(AdjacencyTableTest, KnowsTheNextHopsOfAllDevicesWithoutUsingThem) {
  for (const DeviceId device : {kDevice, DeviceId{3}}) {
    (void)table.set_device(device, *MacAddress::parse("02:00:00:00:00:01"), Bytes{1500});
  }
  const AdjacencyId id = table.claim(DeviceId{3}, numbered(1));
  (void)table.take_used(id);
  EXPECT_TRUE(table.knows(numbered(1)));
  EXPECT_FALSE(table.knows(numbered(2)));
  EXPECT_FALSE(table.take_used(id));
  table.release(id);
  EXPECT_FALSE(table.knows(numbered(1)));
}

TEST_F(AdjacencyTableTest, AScanTakesAQuarterAndLeavesThoseInUseAlone) {
  const AdjacencyId peer = table.claim(kDevice, numbered(1));
  const AdjacencyId pod = make(2);
  EXPECT_EQ(table.claim(kDevice, numbered(2)), pod) << "control has the kernel resolve it";
  table.set_mac(pod, MacAddress::parse("02:00:00:00:00:aa"));
  for (std::uint32_t n = 1000; n < 66'536; ++n) {
    ASSERT_NE(make(n), kNoAdjacency) << n;
    quiesce();
  }
  EXPECT_EQ(table.counts().now, 2u + 16u);
  EXPECT_EQ(table.find(kDevice, numbered(1)), peer);
  EXPECT_EQ(table.find(kDevice, numbered(2)), pod);
  EXPECT_TRUE(table.resolved(pod));
  EXPECT_NE(table.claim(kDevice, numbered(3)), kNoAdjacency) << "a new peer";
  EXPECT_NE(make(4), kNoAdjacency) << "a new pod";
  EXPECT_EQ(table.find(kDevice, numbered(1000)), kNoAdjacency) << "the oldest made room";
  EXPECT_NE(table.find(kDevice, numbered(66'535)), kNoAdjacency);
  EXPECT_EQ(released.count(numbered(1000)), 1u) << "decisions that lead there are invalid";
  EXPECT_EQ(table.counts().evicted, 65'536u - 16u + 1u);
}

TEST_F(AdjacencyTableTest, AFreedEntryIsNotUsedAgainBeforeEveryWorkerHasPassed) {
  const AdjacencyId old = table.claim(kDevice, numbered(1));
  table.set_mac(old, MacAddress::parse("02:00:00:00:00:aa"));
  const std::uint32_t incarnation = table.incarnation(old);
  table.release(old);
  EXPECT_FALSE(table.resolved(old));
  EXPECT_EQ(released.count(numbered(1)), 1u);
  EXPECT_NE(table.incarnation(old), incarnation);
  std::set<AdjacencyId> taken;
  for (std::uint32_t n = 100; n < 162; ++n) {
    taken.insert(table.claim(kDevice, numbered(n)));
  }
  EXPECT_EQ(taken.count(old), 0u);
  EXPECT_EQ(table.claim(kDevice, numbered(200)), kNoAdjacency) << "full, but for the one that is not free yet";
  quiesce();
  EXPECT_EQ(table.claim(kDevice, numbered(200)), old);
  EXPECT_FALSE(table.resolved(old)) << "not with the former's MAC address";
  EXPECT_NE(table.incarnation(old), incarnation);
}

TEST_F(AdjacencyTableTest, WhatNobodyClaimsIsFreedAfterATime) {
  const AdjacencyId claimed = make(1), forgotten = make(2);
  EXPECT_EQ(table.claim(kDevice, numbered(1)), claimed);
  (void)make(3, Seconds{125});
  table.age(Seconds{129}, Seconds{30});
  EXPECT_EQ(table.find(kDevice, numbered(2)), forgotten);
  table.age(Seconds{130}, Seconds{30});
  EXPECT_EQ(table.find(kDevice, numbered(2)), kNoAdjacency);
  EXPECT_EQ(table.find(kDevice, numbered(1)), claimed);
  EXPECT_NE(table.find(kDevice, numbered(3)), kNoAdjacency);
}

TEST_F(AdjacencyTableTest, WhatIsGivenBackIsFreedUnlessControlWantsIt) {
  const AdjacencyId mine = make(1), wanted = make(2);
  EXPECT_EQ(table.claim(kDevice, numbered(2)), wanted);
  table.give_back(mine);
  table.give_back(wanted);
  table.give_back(mine);  // another worker's, of the same entry
  EXPECT_EQ(table.find(kDevice, numbered(1)), kNoAdjacency);
  EXPECT_EQ(table.find(kDevice, numbered(2)), wanted);
  EXPECT_EQ(table.counts().now, 1u);
}

TEST_F(AdjacencyTableTest, TellsWhetherADecisionTookAnEntry) {
  const AdjacencyId id = table.claim(kDevice, numbered(1));
  (void)table.take_used(id);
  EXPECT_EQ(released.count(numbered(1)), 1u) << "who still needs it must ask again";
  EXPECT_FALSE(table.take_used(id));
  EXPECT_EQ(table.find(kDevice, numbered(1)), id);
  EXPECT_TRUE(table.take_used(id));
}

TEST_F(AdjacencyTableTest, TheMacAddressesAreWrittenOnceResolved) {
  table.set_device(kDevice, *MacAddress::parse("02:00:00:00:00:02"), Bytes{1500});
  const AdjacencyId id = table.claim(kDevice, numbered(3));
  std::uint8_t ethernet[14] = {};
  EXPECT_FALSE(table.write_addresses(id, ethernet));
  table.set_mac(id, MacAddress::parse("02:00:00:00:00:aa"));
  ASSERT_TRUE(table.write_addresses(id, ethernet));
  EXPECT_EQ(ethernet[5], 0xaa);
  EXPECT_EQ(ethernet[11], 0x02);
  table.set_mac(id, std::nullopt);
  EXPECT_FALSE(table.resolved(id));
}

TEST(AdjacencyTable, ConcurrentCallersGetOneEntryPerNextHop) {
  constexpr unsigned kWorkers = 3;
  Quiescence quiescence(kWorkers + kControl);
  AdjacencyTable table(quiescence, 4096);
  std::atomic<int> created_count{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kWorkers; ++t) {
    threads.emplace_back([&, t] {
      const ReadSection section(quiescence, t);
      for (std::uint32_t n = 0; n < 500; ++n) {
        bool created = false;
        const AdjacencyId id = table.find_or_create(kDevice, numbered(n), kNow, created);
        EXPECT_EQ(table.next_hop(id), numbered(n));
        created_count += created ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(created_count.load(), 500);
}

// Workers look up and make entries while others are evicted: within a read section, an entry that was found stays that
// of its next hop.
TEST(AdjacencyTable, EntriesFoundWhileOthersAreEvictedAreTheRightOnes) {
  constexpr unsigned kWorkers = 3;
  Quiescence quiescence(kWorkers + kControl);
  AdjacencyTable table(quiescence, 64);
  std::atomic<std::uint64_t> wrong{0}, none{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kWorkers; ++t) {
    threads.emplace_back([&, t] {
      quiescence.online(t);
      for (std::uint32_t n = 0; n < 100'000; ++n) {
        bool created = false;
        const IpAddress address = numbered((n * (t + 1)) % 200);
        const AdjacencyId id = table.find_or_create(kDevice, address, kNow, created);
        none += id == kNoAdjacency ? 1 : 0;
        for (int again = 0; again < 4 && id != kNoAdjacency; ++again) {
          wrong += table.next_hop(id) == address ? 0 : 1;
        }
        quiescence.quiescent(t);
      }
      quiescence.offline(t);
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_LE(table.counts().unclaimed, 16u);
}

}  // namespace

namespace test {
namespace {

const Actors at;

PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kWestIdentity); }
PacketSpec from_north(PacketSpec spec) { return spec.in_tunnel(at.north_gateway, at.gateway, kNorthIdentity); }

PathRig::Options on_link() {
  PathRig::Options options;
  options.local_routes_on_link = true;
  options.engine.connections = 131'072;
  options.engine.half_open_limit = 131'072;
  return options;
}

// The /16 of this cluster, address by address, from a pod of west. Another pod of west and one of north each want one
// that is new.
TEST(NextHops, AScanOfALocalPrefixHurtsNobodyElse) {
  PathRig rig(on_link());
  constexpr std::uint32_t kBurst = 32;
  const auto scan = [&](std::uint32_t from, std::uint32_t to) {
    for (std::uint32_t n = from; n < to; ++n) {
      const Endpoint target{IpAddress::ipv4(Be32::of(0x0a010000 + n)), 80};
      ASSERT_TRUE(rig.underlay().inject(from_west(tcp(at.west, target)).bytes()));
      if (n % kBurst == kBurst - 1) {
        rig.engine().run_round(WorkerId{0});
        (void)rig.engine().poll_events();
      }
    }
  };
  scan(0x8000, 0x10000);
  EXPECT_LT(rig.counters().next_hops, 8192u) << "128 a second";
  EXPECT_NE(rig.engine().adjacency(DeviceId{0}, Actors::ip("192.0.2.77")), kNoAdjacency) << "a new peer";
  const Endpoint other{Actors::ip("10.2.0.77"), 40000}, wanted{Actors::ip("10.1.2.3"), 80};
  const Outcome others = rig.from_underlay(from_west(tcp(other, wanted)));
  EXPECT_EQ(others.counted.count("connections.created"), 1u) << others.text();
  (void)rig.engine().poll_events();
  // The first packet waits, through the rest of the scan; control resolves it, the packet is delivered.
  EXPECT_TRUE(rig.from_underlay(from_north(tcp(at.north, at.client))).out.empty());
  const EngineEvents events = rig.engine().poll_events();
  ASSERT_FALSE(events.neighbours.empty());
  EXPECT_EQ(events.neighbours.back().address, at.client.address);
  const std::uint64_t waits = rig.counters().neighbour_waits;
  scan(0x8000, 0x8200);
  EXPECT_GT(rig.counters().neighbour_waits, waits + 64) << "more than may wait at once";
  rig.engine().set_adjacency(rig.engine().adjacency(events.neighbours.back().device, at.client.address),
                             MacAddress::parse("02:00:00:00:00:99"));
  EXPECT_EQ(rig.idle().only().packet.destination_mac, "02:00:00:00:00:99");
}

// What the gateway says about a packet goes back to the MAC address that sent it.
TEST(NextHops, AnIcmpErrorNeedsNone) {
  PathRig rig(on_link());
  const std::uint64_t before = rig.counters().next_hops;
  const PacketSpec packet = tcp(at.client, at.empty_service);
  const Outcome refused = rig.from_local(packet);
  EXPECT_EQ(refused.drops, (std::map<std::string, std::uint64_t>{{"no_live_backend", 1}}));
  EXPECT_FALSE(refused.only().underlay);
  EXPECT_EQ(refused.only().packet.destination, at.client.address);
  EXPECT_EQ(refused.only().packet.destination_mac, dissect(packet.bytes()).source_mac);
  EXPECT_EQ(refused.only().packet.source_mac, dissect(packet.bytes()).destination_mac);
  EXPECT_EQ(rig.counters().next_hops, before);
  FrameBytes forged = packet.bytes();
  forged[6] |= std::uint8_t{1};
  EXPECT_TRUE(rig.raw(false, forged).out.empty()) << "from a group address";
}

TEST(NextHops, ARefusedPacketMakesNone) {
  PathRig rig(on_link());
  const std::uint64_t before = rig.counters().next_hops;
  const Outcome refused = rig.from_underlay(from_west(tcp(at.west, at.client, kRst)));
  EXPECT_EQ(refused.drops, (std::map<std::string, std::uint64_t>{{"midstream", 1}}));
  EXPECT_EQ(rig.counters().next_hops, before);
}

// Control releases the next hop of a live connection, and another neighbour gets its entry: the connection's packets
// must never be sent to that one.
TEST(NextHops, AConnectionWhoseNextHopWasFreedIsDecidedAgain) {
  PathRig rig(on_link());
  const auto resolve = [&](const IpAddress& address, const char* mac) {
    const AdjacencyId id = rig.engine().adjacency(DeviceId{1}, address);
    rig.engine().set_adjacency(id, MacAddress::parse(mac));
    return id;
  };
  const AdjacencyId first = resolve(at.client.address, "02:00:00:00:00:99");
  EXPECT_EQ(rig.from_underlay(from_west(tcp(at.west, at.client))).only().packet.destination_mac, "02:00:00:00:00:99");
  rig.engine().release_adjacency(first);
  AdjacencyId other = kNoAdjacency;
  for (std::uint32_t n = 1; other != first && n < 65'536; ++n) {
    other = resolve(IpAddress::ipv4(Be32::of(0x0a018000 + n)), "02:00:00:00:00:66");
  }
  ASSERT_EQ(other, first) << "the entry is used again";
  const Outcome outcome = rig.from_underlay(from_west(tcp(at.west, at.client, kAck)));
  EXPECT_TRUE(outcome.out.empty()) << outcome.text();
  (void)resolve(at.client.address, "02:00:00:00:00:9a");
  EXPECT_EQ(rig.idle().only().packet.destination_mac, "02:00:00:00:00:9a");
}

}  // namespace
}  // namespace test
}  // namespace isthmus
