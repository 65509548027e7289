// The bound for half-open connections: who makes room for whom.
#include "dataplane/conntrack/half_open.h"

#include <gtest/gtest.h>

#include "test/unit/conntrack/flow_fixture.h"
#include "test/unit/conntrack/temporary_directory.h"

namespace isthmus::flow_test {
namespace {

using enum InsertOutcome;
constexpr Seconds kNow{100};

FlowTable::Options limited(std::uint32_t limit, unsigned workers = 1) {
  auto options = private_table(16384, workers);
  options.half_open_limit = limit;
  return options;
}

IpAddress pod(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0x0a010000 + n)); }
// Connection `n` of a pod.
FlowKey from(std::uint32_t number, std::uint32_t n, IpProtocol protocol = IpProtocol::kTcp) {
  return key(pod(number), static_cast<std::uint16_t>(1024 + n), address("10.200.0.1"),
             static_cast<std::uint16_t>(80 + (n >> 15)), protocol);
}

InsertOutcome open(Bench& t, const FlowKey& forward, Seconds now = kNow, const char* peer = nullptr) {
  NewConnection request = direct(forward);
  if (peer != nullptr) {
    request.from = Side::kFabric;
    request.peer = address(peer);
  }
  const InsertResult result = t->insert(kW0, request, now);
  if (result.hit) {
    t->account_packet(kW0, result.hit.line(), now, kLength, tcp_flag::kSyn);
  }
  t->age_connections(kW0, now, 64);
  t.quiesce();
  return result.outcome;
}

void packet(Bench& t, const FlowKey& k, std::uint8_t flags, Seconds now = kNow) {
  const Hit hit = t->find(kW0, k);
  ASSERT_TRUE(hit);
  t->account_packet(kW0, hit.line(), now, kLength, flags);
}

void handshake(Bench& t, const FlowKey& forward, Seconds now = kNow) {
  ASSERT_EQ(open(t, forward, now), kInserted);
  packet(t, forward.reversed(), tcp_flag::kSyn | tcp_flag::kAck, now);
  packet(t, forward, tcp_flag::kAck, now);
}

TEST(HalfOpen, ASynAckAloneDoesNotOpenAConnection) {
  Bench t(limited(64));
  ASSERT_EQ(open(t, from(1, 1)), kInserted);
  EXPECT_EQ(t->counts().half_open, 1u);
  packet(t, from(1, 1).reversed(), tcp_flag::kSyn | tcp_flag::kAck);
  EXPECT_EQ(t->counts().half_open, 1u);
  for (int n = 0; n < 5; ++n) {
    packet(t, from(1, 1), tcp_flag::kAck);
    packet(t, from(1, 1).reversed(), tcp_flag::kAck);
  }
  EXPECT_EQ(t->counts().half_open, 0u) << "counted once, not per packet";
}

TEST(HalfOpen, OlderOnesMakeRoomAndOpenOnesStay) {
  Bench t(limited(64));
  handshake(t, from(1, 0));
  for (std::uint32_t n = 1; n <= 1000; ++n) {
    ASSERT_EQ(open(t, from(n, n)), kInserted) << n;
  }
  const FlowCounts counts = t->counts();
  EXPECT_EQ(counts.half_open, 64u);
  EXPECT_EQ(counts.half_open_evicted, 1000u - 64u);
  EXPECT_EQ(counts.rejected_half_open_limit, 0u);
  EXPECT_EQ(counts.now, 65u);
  EXPECT_TRUE(t->find(kW0, from(1, 0)));
}

// One pod floods, with its own address.
TEST(HalfOpen, WhoFloodsHurtsOnlyHimself) {
  Bench t(limited(256));
  for (std::uint32_t n = 0; n < 20; ++n) {  // slow servers: not answered yet
    ASSERT_EQ(open(t, from(100 + n, n)), kInserted);
  }
  for (std::uint32_t n = 0; n < 5000; ++n) {
    (void)open(t, from(1, n));
    if (n % 50 == 0) {
      handshake(t, from(200 + n, n));
    }
  }
  std::uint32_t lost = 0;
  for (std::uint32_t n = 0; n < 20; ++n) {
    lost += t->find(kW0, from(100 + n, n)) ? 0 : 1;
  }
  EXPECT_LE(lost, 1u) << "one in some 1,000 is counted under the flood's number";
  for (std::uint32_t n = 0; n < 5000; n += 50) {
    EXPECT_TRUE(t->find(kW0, from(200 + n, n))) << n;
  }
  EXPECT_LT(t->counts().half_open, 256u) << "the flood keeps about its share";
  EXPECT_GT(t->counts().half_open_evicted, 4000u);
}

// One pod floods with its neighbours' addresses: their own new connections are opened during it.
TEST(HalfOpen, NeighboursWhoseAddressesAreForgedOpenConnections) {
  Bench t(limited(1024));
  std::uint32_t second = 100, failed = 0, extra = 200'000;
  for (std::uint32_t n = 0; n < 30'000; ++n) {
    const Seconds now{second + n / 500};
    EXPECT_EQ(open(t, from(n % 4, n), now), kInserted);
    if (n % 100 == 0) {
      const FlowKey own = from(n % 4, ++extra);
      ASSERT_EQ(open(t, own, now), kInserted);
      for (std::uint32_t more = 0; more < 10; ++more) {  // of the flood, within the round trip
        ASSERT_EQ(open(t, from(more % 4, ++extra), now), kInserted);
      }
      failed += t->find(kW0, own) ? 0 : 1;
    }
  }
  EXPECT_LE(failed, 1u) << "of 300; by chance, one in some 100,000 is drawn";
}

// A cluster behind one peer floods with addresses of its own.
TEST(HalfOpen, APeerHasAShareToo) {
  Bench t(limited(256));
  for (std::uint32_t n = 0; n < 60; ++n) {
    ASSERT_EQ(open(t, from(n, 0)), kInserted);
  }
  for (std::uint32_t n = 0; n < 5000; ++n) {
    ASSERT_EQ(open(t, from(1000 + n, 0), kNow, "192.0.2.7"), kInserted);
  }
  std::uint32_t left = 0;
  for (std::uint32_t n = 0; n < 60; ++n) {
    left += t->find(kW0, from(n, 0)) ? 1 : 0;
  }
  EXPECT_EQ(left, 60u) << "none of another peer";
  EXPECT_LT(t->counts().half_open, 256u);
}

TEST(HalfOpen, TheTimeoutIsShortAndThePlacesAreFree) {
  Bench t(limited(64));
  for (std::uint32_t n = 0; n < 64; ++n) {
    ASSERT_EQ(open(t, from(n, n), kNow), kInserted);
  }
  EXPECT_EQ(t.age_all(Seconds{129}), 0u);
  EXPECT_EQ(t.age_all(Seconds{130}), 64u);
  EXPECT_EQ(t->counts().half_open, 0u);
  for (std::uint32_t n = 0; n < 64; ++n) {
    ASSERT_EQ(open(t, from(n, n), Seconds{130}), kInserted);
  }
  EXPECT_EQ(t->counts().half_open_evicted, 0u);
}

// Connections that another worker opens or removes free their places, too.
TEST(HalfOpen, PlacesComeBackFromOtherWorkers) {
  Bench t(limited(128, 2));
  for (std::uint32_t n = 0; n < 2000; ++n) {
    const FlowKey forward = from(n, 0);
    ASSERT_EQ(t->insert(kW0, direct(forward), kNow).outcome, kInserted) << n;
    if (n % 2 == 0) {
      t->account_packet(kW1, t->find(kW1, forward.reversed()).line(), kNow, kLength, tcp_flag::kAck);
    } else {
      t->remove(kW1, t->find(kW1, forward));
    }
    t->age_connections(kW0, kNow, 64);
    t->age_connections(kW1, kNow, 64);
    t.quiesce();
  }
  EXPECT_EQ(t->counts().half_open, 0u);
  EXPECT_EQ(t->counts().half_open_evicted, 0u);
}

TEST(HalfOpen, AFullTableOfOpenConnectionsGetsRoomFromTheHalfOpenOnes) {
  auto options = limited(64);
  options.connections = 256;
  Bench t(options);
  std::uint32_t opened = 0;
  for (; opened < 200; ++opened) {
    handshake(t, from(opened, 0));
  }
  for (std::uint32_t n = 0; n < 56; ++n) {
    ASSERT_EQ(open(t, from(1000 + n, 0)), kInserted);
  }
  EXPECT_EQ(open(t, from(2000, 0)), kFull);
  EXPECT_EQ(open(t, from(2000, 0)), kInserted) << "the sender's second attempt";
}

TEST(HalfOpen, ALimitOfTheWholeTableIsNone) {
  Bench t(private_table(4096));
  for (std::uint32_t n = 0; n < 4000; ++n) {
    ASSERT_EQ(open(t, from(n / 16, n)), kInserted);
  }
  EXPECT_EQ(t->counts().half_open, 4000u);
  EXPECT_EQ(t->counts().half_open_evicted, 0u);
}

TEST(HalfOpen, AdoptedConnectionsHavePlaces) {
  TemporaryDirectory directory;
  auto options = limited(64);
  options.keep_state = true;
  options.directory = directory.path();
  {
    Bench t(options);
    for (std::uint32_t n = 0; n < 60; ++n) {
      ASSERT_EQ(open(t, from(n, 0)), kInserted);
    }
    handshake(t, from(500, 0));
  }
  Bench t(options);
  EXPECT_EQ(t->counts().half_open, 60u);
  for (std::uint32_t n = 0; n < 1000; ++n) {
    ASSERT_EQ(open(t, from(1000 + n, 0)), kInserted);
  }
  EXPECT_EQ(t->counts().half_open, 64u);
  EXPECT_TRUE(t->find(kW0, from(500, 0)));
}

}  // namespace
}  // namespace isthmus::flow_test
