// A nearly full table of open connections: who makes room for whom.
#include <gtest/gtest.h>

#include "test/unit/conntrack/flow_fixture.h"
#include "test/unit/conntrack/temporary_directory.h"

namespace isthmus::flow_test {
namespace {

using enum InsertOutcome;
constexpr std::uint32_t kConnections = 16384, kReserve = kConnections / 16, kFew = 64;

IpAddress pod(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0a010000 + n)); }
FlowKey from(std::uint32_t number, std::uint32_t n) {
  return key(pod(number), static_cast<std::uint16_t>(1024 + n % 60'000), address("10.200.0.1"),
             static_cast<std::uint16_t>(80 + n / 60'000), IpProtocol::kUdp);
}

class FlowRoom {
 public:
  explicit FlowRoom(FlowTable::Options options) : table(std::move(options)) {}

  // One that is answered at once. Without a peer it comes from the local side.
  InsertOutcome open(const FlowKey& forward, const char* peer = nullptr, ClusterId cluster = kNoCluster) {
    NewConnection request = direct(forward);
    if (peer != nullptr) {
      request.from = Side::kFabric;
      request.peer = address(peer);
      request.cluster = cluster;
    }
    const Seconds now{100 + opened_++ / 1000};
    const InsertResult result = table->insert(kW0, request, now);
    if (result.outcome == kInserted) {
      table->account_packet(kW0, result.hit.line(), now, kLength, 0);
      const Hit reply = table->find(kW0, forward.reversed());
      table->account_packet(kW0, reply.line(), now, kLength, 0);
    }
    table->age_connections(kW0, Seconds{100}, 16);
    table.quiesce();
    return result.outcome;
  }
  // Connections of 100 pods that have four each: how many of the 400 are refused, or gone in the end. `others` runs in
  // between. A pod shares the number of a given other one by chance, one in 16,383, and then its fate.
  template <typename Others>
  std::uint32_t lost(Others&& others, const char* peer = nullptr) {
    std::uint32_t gone = 0;
    for (std::uint32_t n = 0; n < 400; ++n) {
      others(n);
      (void)open(from(50'000 + n / 4, n), peer);
    }
    for (std::uint32_t n = 0; n < 400; ++n) {
      gone += table->find(kW0, from(50'000 + n / 4, n)) ? 0 : 1;
    }
    return gone;
  }

  Bench table;

 private:
  std::uint32_t opened_ = 0;
};

TEST(FlowRoom, OneSourceHasTheTableUntilOthersWantIt) {
  FlowRoom t(private_table(kConnections));
  std::uint32_t n = 0;
  for (; n < kConnections - kReserve; ++n) {
    ASSERT_EQ(t.open(from(1, n)), kInserted) << n;
  }
  EXPECT_EQ(t.table->counts().evicted, 0u);
  EXPECT_LE(t.lost([&](std::uint32_t) {
    for (unsigned i = 0; i < 20; ++i) {
      (void)t.open(from(1, n++));
    }
  }),
            4u);
  EXPECT_GT(t.table->counts().evicted, 4000u) << "its own";
}

TEST(FlowRoom, ManySourcesThatEachHaveLessThanAShareMakeRoomToo) {
  FlowRoom t(private_table(kConnections));
  std::uint32_t n = 0, refused = 0;
  for (; n < 2 * kConnections; ++n) {
    refused += t.open(from(n % 32, n)) == kInserted ? 0 : 1;
  }
  EXPECT_GT(refused, kConnections / 2) << "equals do not push each other out";
  EXPECT_EQ(t.table->counts().rejected_full, refused);
  EXPECT_LE(t.lost([&](std::uint32_t) {
    for (unsigned i = 0; i < 20; ++i, ++n) {
      (void)t.open(from(n % 32, n));
    }
  }),
            12u);
}

// Behind one peer, with many addresses that have few connections each.
TEST(FlowRoom, APeerHasHalfOfItAtMost) {
  FlowRoom t(private_table(kConnections));
  std::uint32_t n = 0;
  for (; n < 2 * kConnections; ++n) {
    (void)t.open(from(n % 8000, n), "192.0.2.9");
  }
  EXPECT_LE(t.lost(
                [&](std::uint32_t) {
                  for (unsigned i = 0; i < 20; ++i, ++n) {
                    (void)t.open(from(n % 8000, n), "192.0.2.9");
                  }
                },
                "192.0.2.8"),
            12u);
}

TEST(FlowRoom, AClusterHasHalfOfItAtMostThroughAllItsGateways) {
  FlowRoom t(private_table(kConnections));
  std::uint32_t n = 0;
  const auto one = [&] { (void)t.open(from(n % 8000, n), n % 2 == 0 ? "192.0.2.8" : "192.0.2.9", ClusterId{7}); };
  for (; n < 2 * kConnections; ++n) {
    one();
  }
  EXPECT_LE(t.lost(
                [&](std::uint32_t) {
                  for (unsigned i = 0; i < 20; ++i, ++n) {
                    one();
                  }
                },
                "192.0.2.7"),
            12u);
}

// None of them has a share of its own, and together they have all. Some two of the hundred pods share the number of one
// of them; nine do in one run of ten thousand.
TEST(FlowRoom, SourcesThatHaveFewMakeRoomForThoseThatHaveFewer) {
  FlowRoom t(private_table(kConnections));
  std::uint32_t n = 0;
  for (; n < 2 * kConnections; ++n) {
    (void)t.open(from(n % 300, n));
  }
  EXPECT_LE(t.lost([&](std::uint32_t) { (void)t.open(from(n % 300, n)), ++n; }), 36u);
}

TEST(FlowRoom, EqualsKeepWhatTheyHave) {
  FlowRoom t(private_table(kConnections));
  constexpr std::uint32_t kPods = kConnections / kFew;
  std::uint32_t refused = 0;
  for (std::uint32_t n = 0; n < 2 * kConnections; ++n) {
    refused += t.open(from(n % kPods, n)) == kInserted ? 0 : 1;
  }
  EXPECT_LT(t.table->counts().evicted, kConnections / 40) << "of those that share a number by chance";
  EXPECT_GT(t.table->counts().now, kConnections - kReserve - 64);
  EXPECT_GT(refused, kConnections - kReserve);
}

TEST(FlowRoom, AdoptedConnectionsCount) {
  TemporaryDirectory directory;
  auto options = private_table(kConnections);
  options.keep_state = true;
  options.directory = directory.path();
  std::uint32_t n = 0;
  {
    FlowRoom t(options);
    for (; n < kConnections - kReserve; ++n) {
      ASSERT_EQ(t.open(from(1, n)), kInserted);
    }
  }
  FlowRoom t(options);
  EXPECT_EQ(t.table->counts().adopted, n);
  EXPECT_LE(t.lost([&](std::uint32_t) { (void)t.open(from(1, n++)); }), 4u);
  EXPECT_GT(t.table->counts().evicted, 300u);
}

TEST(FlowRoom, WhatIsRemovedIsNotCountedAnyMore) {
  FlowRoom t(private_table(kConnections));
  for (unsigned round = 0; round < 3; ++round) {
    for (std::uint32_t n = 0; n < kConnections / 2; ++n) {
      ASSERT_EQ(t.open(from(1, n)), kInserted);
    }
    EXPECT_EQ(t.table.age_all(Seconds{10'000}), kConnections / 2);
  }
  for (std::uint32_t n = 0; n < kConnections - kReserve; ++n) {
    ASSERT_EQ(t.open(from(2 + n, n)), kInserted) << n;
  }
  ASSERT_EQ(t.open(from(1, 0)), kInserted) << "it has none, and the rest is for such as it";
  EXPECT_EQ(t.table->counts().evicted, 0u);
}

}  // namespace
}  // namespace isthmus::flow_test
