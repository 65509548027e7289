#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "dataplane/tables/endpoint_table.h"
#include "dataplane/tables/range_map.h"

namespace isthmus {
namespace {

IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }
IpAddress numbered(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0a000000u + n)); }

TEST(RangeMap, TheLongestPrefixWins) {
  const RangeMap map({{Realm{0}, *Prefix::parse("10.0.0.0/8"), 1},
                      {Realm{0}, *Prefix::parse("10.1.0.0/16"), 2},
                      {Realm{0}, *Prefix::parse("10.1.2.3"), 3},
                      {Realm{7}, *Prefix::parse("10.1.0.0/16"), 4},
                      {Realm{0}, *Prefix::parse("fd00::/8"), 5},
                      {Realm{0}, *Prefix::parse("255.255.255.255"), 6}});
  EXPECT_EQ(map.find(Realm{0}, ip("10.2.0.1")), 1u);
  EXPECT_EQ(map.find(Realm{0}, ip("10.1.2.2")), 2u);
  EXPECT_EQ(map.find(Realm{0}, ip("10.1.2.3")), 3u);
  EXPECT_EQ(map.find(Realm{0}, ip("10.1.2.4")), 2u);
  EXPECT_EQ(map.find(Realm{0}, ip("11.0.0.0")), RangeMap::kMiss);
  EXPECT_EQ(map.find(Realm{7}, ip("10.1.9.9")), 4u);
  EXPECT_EQ(map.find(Realm{7}, ip("10.2.0.0")), RangeMap::kMiss);
  EXPECT_EQ(map.find(Realm{0}, ip("fdff::1")), 5u);
  EXPECT_EQ(map.find(Realm{0}, ip("fe00::1")), RangeMap::kMiss);
  EXPECT_EQ(map.find(Realm{0}, ip("255.255.255.255")), 6u);
  EXPECT_EQ(map.find(Realm{8}, ip("10.1.2.3")), RangeMap::kMiss);
}

TEST(RangeMap, MatchesALinearSearch) {
  std::mt19937 random(20261122);
  for (int round = 0; round < 50; ++round) {
    std::vector<RangeMap::Item> items;
    for (std::uint32_t i = 0; i < 40; ++i) {
      const IpAddress a = IpAddress::ipv4(Be32::of(random() & 0xff0f0f0fu));
      items.push_back(
          {Realm{static_cast<std::uint16_t>(random() % 2)}, Prefix(a, static_cast<std::uint8_t>(random() % 33)), i});
    }
    const RangeMap map(items);
    for (int probe = 0; probe < 500; ++probe) {
      const IpAddress a = IpAddress::ipv4(Be32::of(random() & 0xff0f0f0fu));
      const Realm realm{static_cast<std::uint16_t>(random() % 2)};
      std::uint32_t expected = RangeMap::kMiss;
      int longest = -1;
      for (const auto& item : items) {
        if (item.realm == realm && item.prefix.contains(a) && item.prefix.length() >= longest) {
          longest = item.prefix.length();
          expected = item.value;
        }
      }
      ASSERT_EQ(map.find(realm, a), expected) << a.to_string();
    }
  }
}

TEST(EndpointTable, UpdatesInPlaceAndRemembersThePreviousIdentity) {
  Quiescence quiescence(1);
  EndpointTable table(quiescence, 64);
  EndpointEntry endpoint{Realm{0}, ip("10.0.0.1"), ClusterId{2}, Identity{5}, PeerId{3}};
  EXPECT_EQ(table.upsert(endpoint, Seconds{9}), EndpointUpdate::kChanged);
  EXPECT_EQ(table.upsert(endpoint, Seconds{9}), EndpointUpdate::kUnchanged);
  endpoint.identity = Identity{6};
  EXPECT_EQ(table.upsert(endpoint, Seconds{9}), EndpointUpdate::kChanged);
  EndpointInfo info;
  ASSERT_TRUE(table.find(Realm{0}, ip("10.0.0.1"), info));
  EXPECT_EQ(info.identity, Identity{6});
  EXPECT_EQ(info.previous, Identity{5});
  EXPECT_EQ(info.grace_until, Seconds{9});
  EXPECT_EQ(info.node, PeerId{3});
  EXPECT_FALSE(table.find(Realm{1}, ip("10.0.0.1"), info));
  EXPECT_TRUE(table.remove(Realm{0}, ip("10.0.0.1")));
  EXPECT_FALSE(table.remove(Realm{0}, ip("10.0.0.1")));
  EXPECT_FALSE(table.find(Realm{0}, ip("10.0.0.1"), info));
  EXPECT_EQ(table.size(), 0u);
}

TEST(EndpointTable, AFullTableRefusesNewEndpointsAndStillUpdatesTheOthers) {
  Quiescence quiescence(1);
  EndpointTable table(quiescence, 64, 4);  // entries 1 to 3
  const auto endpoint = [](std::uint32_t n, std::uint32_t identity) {
    return EndpointEntry{Realm{0}, numbered(n), ClusterId{1}, Identity{identity}, kNoPeer};
  };
  for (std::uint32_t n = 1; n <= 3; ++n) {
    EXPECT_EQ(table.upsert(endpoint(n, 1), Seconds{0}), EndpointUpdate::kChanged);
  }
  EXPECT_EQ(table.upsert(endpoint(4, 1), Seconds{0}), EndpointUpdate::kFull);
  EXPECT_EQ(table.upsert(endpoint(3, 1), Seconds{0}), EndpointUpdate::kUnchanged);
  EXPECT_EQ(table.upsert(endpoint(3, 2), Seconds{0}), EndpointUpdate::kChanged);
  EXPECT_EQ(table.size(), 3u);
  EndpointInfo info;
  EXPECT_FALSE(table.find(Realm{0}, numbered(4), info));
  EXPECT_TRUE(table.remove(Realm{0}, numbered(1)));  // no reader is online: the entry is free at once
  EXPECT_EQ(table.upsert(endpoint(4, 1), Seconds{0}), EndpointUpdate::kChanged);
  EXPECT_TRUE(table.find(Realm{0}, numbered(4), info));
}

TEST(EndpointTable, GrowsAndShrinksDuringConcurrentLookups) {
  constexpr std::uint32_t kEndpoints = 4000;
  Quiescence quiescence(1);
  EndpointTable table(quiescence, 64);
  std::atomic<bool> stop{false};
  std::atomic<std::uint32_t> present{0};  // endpoints 0 .. present-1 are in the table and stay
  std::atomic<std::uint64_t> wrong{0}, lookups{0};
  std::thread reader([&] {
    quiescence.online(0);
    std::mt19937 random(7);
    while (!stop.load()) {
      quiescence.quiescent(0);
      const std::uint32_t count = present.load();
      if (count == 0) {
        continue;
      }
      const std::uint32_t n = static_cast<std::uint32_t>(random()) % count;
      EndpointInfo info;
      wrong += !table.find(Realm{0}, numbered(n), info) || info.identity.value() % kEndpoints != n ? 1 : 0;
      ++lookups;
    }
    quiescence.offline(0);
  });
  for (std::uint32_t n = 0; n < kEndpoints; ++n) {
    table.upsert({Realm{0}, numbered(n), ClusterId{1}, Identity{n}, kNoPeer}, Seconds{0});
    present.store(n + 1);
    table.upsert({Realm{0}, numbered(n / 2), ClusterId{1}, Identity{n / 2 + kEndpoints * (n % 3)}, kNoPeer},
                 Seconds{0});
    const IpAddress transient = numbered(1u << 20 | n);
    table.upsert({Realm{0}, transient, ClusterId{1}, Identity{1}, kNoPeer}, Seconds{0});
    table.remove(Realm{0}, transient);
  }
  while (lookups.load() < 1000) {
    std::this_thread::yield();
  }
  stop = true;
  reader.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(table.size(), kEndpoints);
}

}  // namespace
}  // namespace isthmus
