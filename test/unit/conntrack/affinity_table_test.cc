// What clients keep: for how long, of which services, and how much of it at most; and that a connection keeps it.
#include "dataplane/conntrack/affinity_table.h"

#include <gtest/gtest.h>

#include "test/unit/conntrack/flow_fixture.h"

namespace isthmus {
namespace {

using namespace flow_test;

constexpr Seconds kNow{1000}, kTimeout{60};
const FrontendKey kWeb{Realm{}, address("10.200.0.10"), IpProtocol::kTcp, L4Port{80}};
const IpAddress kClient = address("10.1.0.10");
const AffinityTable::Backend kOne{address("10.2.0.1"), L4Port{8080}}, kTwo{address("10.2.0.2"), L4Port{8080}};

Seconds after(std::uint32_t seconds) { return Seconds{kNow.value() + seconds}; }
IpAddress client(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0b000000 + n)); }

TEST(AffinityTable, KeepsABackendFromOneUseUntilTheTimeoutAfterIt) {
  AffinityTable table;
  EXPECT_EQ(table.find(kWeb, kClient, kNow, kTimeout), std::nullopt);
  EXPECT_EQ(table.size(), 0u);
  table.pin(kWeb, kClient, kOne, kNow);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.find(kWeb, kClient, after(59), kTimeout), kOne);
  EXPECT_EQ(table.find(kWeb, kClient, after(60), kTimeout), std::nullopt);
  table.keep(kWeb, kClient, kOne, after(50));
  EXPECT_EQ(table.find(kWeb, kClient, after(109), kTimeout), kOne);
  table.keep(kWeb, kClient, kOne, after(20));  // by another worker, whose connection was used before
  EXPECT_EQ(table.find(kWeb, kClient, after(109), kTimeout), kOne);
  EXPECT_EQ(table.find(kWeb, kClient, Seconds{kNow.value() - 1}, kTimeout), kOne) << "a clock that is behind";
}

TEST(AffinityTable, IsOfOneClientAndOneFrontend) {
  AffinityTable table;
  table.pin(kWeb, kClient, kOne, kNow);
  FrontendKey port = kWeb, protocol = kWeb, vip = kWeb, realm = kWeb;
  port.port = L4Port{81};
  protocol.protocol = IpProtocol::kUdp;
  vip.vip = address("10.200.0.11");
  realm.realm = Realm{1};
  for (const FrontendKey& other : {port, protocol, vip, realm}) {
    EXPECT_EQ(table.find(other, kClient, kNow, kTimeout), std::nullopt);
  }
  EXPECT_EQ(table.find(kWeb, address("10.1.0.11"), kNow, kTimeout), std::nullopt);
}

TEST(AffinityTable, AnOlderConnectionDoesNotBringItsBackendBack) {
  AffinityTable table;
  table.pin(kWeb, kClient, kOne, kNow);
  table.pin(kWeb, kClient, kTwo, after(1));
  table.keep(kWeb, kClient, kOne, after(5));
  EXPECT_EQ(table.find(kWeb, kClient, after(5), kTimeout), kTwo);
}

TEST(AffinityTable, IsBoundedAndWhoIsUsedStays) {
  AffinityTable table;
  table.pin(kWeb, kClient, kOne, kNow);
  constexpr std::uint32_t kFlood = 4 * AffinityTable::kPins;
  for (std::uint32_t n = 0; n < kFlood; ++n) {
    table.pin(kWeb, client(n), kTwo, after(n / 1000));
    table.keep(kWeb, kClient, kOne, after(n / 1000 + 1));
  }
  std::size_t kept = 0;
  for (std::uint32_t n = 0; n < kFlood; ++n) {
    kept += table.find(kWeb, client(n), after(kFlood / 1000), Seconds{86400}).has_value();
  }
  EXPECT_LT(kept, AffinityTable::kPins);
  EXPECT_GT(kept, AffinityTable::kPins * 9 / 10) << "room is used";
  EXPECT_EQ(table.size(), kept + 1) << "those of the flood, and who was there before";
  EXPECT_EQ(table.capacity(), AffinityTable::kPins);
  EXPECT_EQ(table.find(kWeb, kClient, after(kFlood / 1000), kTimeout), kOne);
}

// Aging tells of connections that have been idle for hours, again and again.
TEST(AffinityTable, WhatWasUsedLongAgoTakesNoPlaceOfWhatWasUsedSince) {
  AffinityTable table;
  constexpr unsigned kClients = 60'000;
  const auto client = [](unsigned n) { return IpAddress::ipv4(Be32::of(0x0a000000U + n)); };
  const auto known = [&] {
    unsigned count = 0;
    for (unsigned n = 0; n < kClients; ++n) {
      count += table.find(kWeb, client(n), Seconds{20'010}, kTimeout) ? 1 : 0;
    }
    return count;
  };
  for (unsigned n = 0; n < kClients; ++n) {
    table.pin(kWeb, client(n), kOne, Seconds{20'000});
  }
  const unsigned before = known();
  EXPECT_GT(before, kClients / 2);
  for (unsigned n = kClients; n < 2 * kClients; ++n) {
    table.keep(kWeb, client(n), kOne, Seconds{100});
  }
  EXPECT_EQ(known(), before);
}

TEST(AffinityTable, AConnectionKeepsTheBackendOfItsClientWhileItIsUsed) {
  Bench t(private_table(64));
  NewConnection pinned = direct(key("10.1.0.10", 4000, "10.200.0.10", 80));
  pinned.reply.set_source(kOne.address);
  pinned.reply.source_port = Be16::of(8080);
  NewConnection other = direct(key("10.1.0.11", 4000, "10.200.0.10", 80));
  other.reply.set_source(kOne.address);
  const InsertResult made = t->insert(kW0, pinned, kNow);
  ASSERT_EQ(made.outcome, InsertOutcome::kInserted);
  put(t, other, kNow);
  made.hit.shared().set_pin();
  t->account_packet(kW0, made.hit.line(), after(20), kLength, tcp_flag::kSyn);
  t.age_all(after(25));
  EXPECT_EQ(t->affinities().find(kWeb, kClient, after(79), kTimeout), kOne) << "as after a restart, without a pin";
  EXPECT_EQ(t->affinities().find(kWeb, kClient, after(80), kTimeout), std::nullopt);
  EXPECT_EQ(t->affinities().find(kWeb, address("10.1.0.11"), after(25), kTimeout), std::nullopt);
  EXPECT_EQ(t->counts().affinities, 1u);
  t->account_packet(kW0, made.hit.line(), after(40), kLength, tcp_flag::kSyn);
  t.age_all(after(45));
  EXPECT_EQ(t->affinities().find(kWeb, kClient, after(99), kTimeout), kOne);
}

TEST(AffinityTable, ABackendThatAnswersPastUsIsKeptLikeAnother) {
  Bench t(private_table(64));
  DirectionBlock forward;
  forward.ipv4_destination = kOne.address.as_ipv4();
  forward.destination_port = Be16::of(kOne.port.value());
  NewConnection pinned = direct(key("10.1.0.10", 4000, "10.200.0.10", 80));
  pinned.direct_return = true;
  pinned.forward_block = &forward;
  const InsertResult made = t->insert(kW0, pinned, kNow);
  ASSERT_EQ(made.outcome, InsertOutcome::kInserted);
  made.hit.shared().set_pin();
  t->account_packet(kW0, made.hit.line(), after(20), kLength, tcp_flag::kSyn);
  t.age_all(after(25));
  EXPECT_EQ(t->affinities().find(kWeb, kClient, after(79), kTimeout), kOne);
}

}  // namespace
}  // namespace isthmus
