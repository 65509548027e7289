#include "dataplane/conntrack/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "dataplane/conntrack/source_ports.h"
#include "test/unit/conntrack/flow_fixture.h"

namespace isthmus::flow_test {
namespace {

using enum InsertOutcome;
constexpr Seconds kNow{100};

TEST(FlowTable, FindsAConnectionByBothKeysWithTheRightDirectionAndBlock) {
  Bench t(private_table(64));
  const DirectionBlock forward = block_to(7);
  const DirectionBlock reply = block_to(8);
  NewConnection request = direct(key("10.1.0.1", 4000, "10.2.0.1", 80));
  request.forward_block = &forward;
  request.reply_block = &reply;
  request.peer = address("2001:db8::6");
  request.source_identity = Identity{70000};
  request.from = Side::kFabric;
  const auto created = t->insert(kW0, request, kNow);
  ASSERT_EQ(created.outcome, kInserted);

  const Hit f = t->find(kW0, request.forward);
  const Hit r = t->find(kW0, request.reply);
  ASSERT_TRUE(f && r);
  EXPECT_EQ(f.connection, r.connection);
  EXPECT_EQ(f.connection, created.hit.connection);
  EXPECT_EQ(f.direction, Direction::kForward);
  EXPECT_EQ(r.direction, Direction::kReply);
  EXPECT_EQ(f.block->encap_peer, PeerId{7});
  EXPECT_EQ(r.block->encap_peer, PeerId{8});
  EXPECT_EQ(f.shared().peer.load(), address("2001:db8::6"));
  EXPECT_EQ(f.shared().source_identity, Identity{70000});
  EXPECT_EQ(f.shared().from, Side::kFabric);
  EXPECT_EQ(f.shared().created, kNow);
  EXPECT_FALSE(t->find(kW0, key("10.1.0.1", 4001, "10.2.0.1", 80)));
}

TEST(FlowTable, RealmSeparatesEqualTuples) {
  Bench t(private_table(64));
  FlowKey other = numbered(1);
  other.realm = Realm{1};
  ASSERT_EQ(t->insert(kW0, direct(numbered(1)), kNow).outcome, kInserted);
  EXPECT_FALSE(t->find(kW0, other));
  EXPECT_EQ(t->insert(kW0, direct(other), kNow).outcome, kInserted);
}

TEST(FlowTable, SecondInsertReturnsTheExistingConnection) {
  Bench t(private_table(64));
  NewConnection request = direct(numbered(1));
  request.source_identity = Identity{1};
  const auto winner = t->insert(kW0, request, kNow);
  request.source_identity = Identity{2};
  const auto loser = t->insert(kW0, request, kNow);
  EXPECT_EQ(loser.outcome, kExists);
  EXPECT_EQ(loser.hit.connection, winner.hit.connection);
  EXPECT_EQ(loser.hit.direction, Direction::kForward);
  EXPECT_EQ(loser.hit.shared().source_identity, Identity{1});
  EXPECT_EQ(t->counts().now, 1u);
  EXPECT_EQ(t->counts().lost_races, 1u);
}

TEST(FlowTable, FirstPacketsOfBothDirectionsCreateOneConnection) {
  Bench t(private_table(64));
  const auto first = t->insert(kW0, direct(numbered(1)), kNow);
  const auto second = t->insert(kW0, direct(numbered(1).reversed()), kNow);
  EXPECT_EQ(second.outcome, kExists);
  EXPECT_EQ(second.hit.connection, first.hit.connection);
  EXPECT_EQ(second.hit.direction, Direction::kReply) << "its forward key is the reply key of the existing connection";
}

// A connection to a VIP whose reply comes from a backend.
NewConnection through_vip(const char* vip, const char* backend, std::uint16_t client_port = 4000) {
  NewConnection c;
  c.forward = key("10.1.0.1", client_port, vip, 80);
  c.reply = key(backend, 8080, "10.1.0.1", client_port);
  return c;
}

TEST(FlowTable, TwoVipsWithOneBackendDoNotShareAReplyKey) {
  Bench t(private_table(64));
  const auto first = t->insert(kW0, through_vip("10.200.0.1", "10.2.0.1"), kNow);
  ASSERT_EQ(first.outcome, kInserted);
  const auto second = t->insert(kW0, through_vip("10.200.0.2", "10.2.0.1"), kNow);
  EXPECT_EQ(second.outcome, kReplyTaken);
  EXPECT_FALSE(t->find(kW0, key("10.1.0.1", 4000, "10.200.0.2", 80)))
      << "the rejected connection leaves nothing behind";
  EXPECT_EQ(t->find(kW0, key("10.2.0.1", 8080, "10.1.0.1", 4000)).connection, first.hit.connection);
  EXPECT_EQ(t->insert(kW0, through_vip("10.200.0.2", "10.2.0.2"), kNow).outcome, kInserted) << "the next backend";
  EXPECT_EQ(t->counts().reply_taken, 1u);
}

TEST(FlowTable, DirectConnectionKeepsItsReplyKeyAgainstAVip) {
  Bench t(private_table(64));
  ASSERT_EQ(t->insert(kW0, direct(key("10.1.0.1", 4000, "10.2.0.1", 8080)), kNow).outcome, kInserted);
  EXPECT_EQ(t->insert(kW0, through_vip("10.200.0.1", "10.2.0.1"), kNow).outcome, kReplyTaken);
}

TEST(FlowTable, ExpiredConnectionFreesItsReplyKeyForANewOne) {
  Bench t(private_table(64));
  ASSERT_EQ(t->insert(kW0, through_vip("10.200.0.1", "10.2.0.1"), kNow).outcome, kInserted);
  EXPECT_EQ(t->insert(kW0, through_vip("10.200.0.2", "10.2.0.1"), Seconds{129}).outcome, kReplyTaken);
  EXPECT_EQ(t->insert(kW0, through_vip("10.200.0.2", "10.2.0.1"), Seconds{130}).outcome, kInserted);
  EXPECT_FALSE(t->find(kW0, key("10.1.0.1", 4000, "10.200.0.1", 80)));
  EXPECT_EQ(t->counts().now, 1u);
}

TEST(FlowTable, ConnectionWithEqualForwardAndReplyKeysIsRejected) {
  Bench t(private_table(64));
  EXPECT_EQ(t->insert(kW0, direct(key("10.1.0.1", 80, "10.1.0.1", 80)), kNow).outcome, kReplyTaken);
  EXPECT_EQ(t->counts().half_open, 0u);
}

TEST(FlowTable, SourcePortsAreUniquePerBackendUntilTheRangeIsExhausted) {
  Bench t(private_table(64));
  const PortRange range{40000, 40003};
  std::set<std::uint16_t> used;
  const auto open = [&](std::uint16_t client_port) {
    SourcePorts ports(range, L4Port{client_port}, 12345);
    while (const auto port = ports.next()) {
      NewConnection c;
      c.forward = key("10.1.0.9", client_port, "10.200.0.1", 80);
      c.reply = key("10.1.0.5", 8080, "10.1.255.1", port->value());
      if (t->insert(kW0, c, kNow).outcome == kInserted) {
        used.insert(port->value());
        return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(open(1));
  EXPECT_TRUE(open(2));
  EXPECT_TRUE(open(3));
  EXPECT_TRUE(open(4));
  EXPECT_FALSE(open(5));
  EXPECT_EQ(used.size(), 4u);
}

TEST(FlowTable, FullTableRejectsUntilRemovalAndGracePeriod) {
  auto options = private_table(100);
  options.half_open_limit = 1000;
  Bench t(options);
  for (std::uint32_t n = 0; n < 100; ++n) {
    ASSERT_EQ(t->insert(kW0, direct(numbered(n)), kNow).outcome, kInserted) << n;
  }
  EXPECT_EQ(t->insert(kW0, direct(numbered(100)), kNow).outcome, kFull);
  EXPECT_EQ(t->counts().rejected_full, 1u);
  EXPECT_TRUE(t->remove(kW0, t->find(kW0, numbered(50))));
  EXPECT_EQ(t->insert(kW0, direct(numbered(100)), kNow).outcome, kFull) << "a reader may still hold the slot";
  t.quiesce();
  EXPECT_EQ(t->insert(kW0, direct(numbered(100)), kNow).outcome, kInserted);
  for (std::uint32_t n = 0; n <= 100; ++n) {
    EXPECT_EQ(static_cast<bool>(t->find(kW0, numbered(n))), n != 50) << n;
    EXPECT_EQ(static_cast<bool>(t->find(kW0, numbered(n).reversed())), n != 50) << n;
  }
}

// Few connections of each of many clients.
FlowKey sparse(std::uint32_t n) {
  return key(IpAddress::ipv4(Be32::of(0x0a000000 + (n >> 2))), static_cast<std::uint16_t>(1024 + (n & 3)),
             address("10.2.0.1"), 80);
}

// But for the last slots, for which flow_room.cc decides who may have them.
constexpr std::uint32_t kCapacity = 100'000, kFilled = kCapacity - kCapacity / 16;

TEST(FlowTable, LargeTableFillsToItsCapacity) {
  Bench t(private_table(kCapacity));
  for (std::uint32_t n = 0; n < kFilled; ++n) {
    ASSERT_EQ(t->insert(kW0, direct(sparse(n)), kNow).outcome, kInserted) << n;
  }
  for (std::uint32_t n = 0; n < kFilled; ++n) {
    ASSERT_TRUE(t->find(kW0, sparse(n))) << n;
    ASSERT_TRUE(t->find(kW0, sparse(n).reversed())) << n;
  }
}

// Regression: with these seeds a weaker hash concentrated consecutive ports in few regions of the index.
TEST(FlowTable, ConsecutivePortsSpreadUnderAnySeed) {
  for (const std::uint64_t seed : {410, 456, 765}) {
    FlowTable::Options options = private_table(kCapacity);
    options.hash_seed = seed;
    Bench t(options);
    for (std::uint32_t n = 0; n < kFilled; ++n) {
      ASSERT_EQ(t->insert(kW0, direct(sparse(n)), kNow).outcome, kInserted) << "seed " << seed << ", key " << n;
    }
  }
}

TEST(FlowTable, BurstLookupAgreesWithSingleLookups) {
  Bench t(private_table(4096));
  for (std::uint32_t n = 0; n < 4000; n += 2) {
    const DirectionBlock block = block_to(n);
    NewConnection request = direct(numbered(n));
    request.forward_block = &block;
    ASSERT_EQ(t->insert(kW0, request, kNow).outcome, kInserted);
  }
  std::vector<FlowKey> keys;
  for (std::uint32_t n = 0; n < 150; ++n) {  // more than one internal burst; hits, misses, both directions
    keys.push_back(n % 3 == 0 ? numbered(n * 13).reversed() : numbered(n * 13));
  }
  std::vector<Hit> hits(keys.size());
  t->find_burst(kW0, keys, hits);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Hit single = t->find(kW0, keys[i]);
    EXPECT_EQ(hits[i].connection, single.connection) << i;
    EXPECT_EQ(hits[i].direction, single.direction) << i;
    EXPECT_EQ(hits[i].block, single.block) << i;
  }
}

TEST(FlowTable, AccountPacketCountsEachDirection) {
  Bench t(private_table(64));
  const auto created = t->insert(kW0, direct(numbered(1)), kNow);
  t->account_packet(kW0, created.hit.line(), kNow, Bytes{60}, tcp_flag::kSyn);
  t->account_packet(kW0, created.hit.line(), kNow, Bytes{1500}, tcp_flag::kAck);
  const Hit reply = t->find(kW0, numbered(1).reversed());
  t->account_packet(kW0, reply.line(), kNow, Bytes{40}, tcp_flag::kAck);
  EXPECT_EQ(created.hit.line().packets, 2u);
  EXPECT_EQ(created.hit.line().bytes, 1560u);
  EXPECT_EQ(reply.line().packets, 1u);
  EXPECT_EQ(reply.line().bytes, 40u);
  EXPECT_EQ(t->idle(*reply.connection, Seconds{103}), 3u);
  EXPECT_EQ(t->expires_in(*reply.connection, Seconds{103}), 7997u);
}

TEST(FlowTable, RemovalReleasesOnlyHalfOpenConnectionsFromTheLimit) {
  Bench t(private_table(100));
  ASSERT_EQ(t->insert(kW0, direct(numbered(1)), kNow).outcome, kInserted);
  ASSERT_EQ(t->insert(kW0, direct(numbered(2)), kNow).outcome, kInserted);
  t->account_packet(kW0, t->find(kW0, numbered(1).reversed()).line(), kNow, kLength, tcp_flag::kAck);
  EXPECT_EQ(t->counts().half_open, 1u);
  t->remove(kW0, t->find(kW0, numbered(1)));
  EXPECT_EQ(t->counts().half_open, 1u);
  t->remove(kW0, t->find(kW0, numbered(2)));
  EXPECT_EQ(t->counts().half_open, 0u);
}

TEST(FlowTable, RemovedConnectionIsNotFoundButReadableUntilTheQuiescentPoint) {
  Bench t(private_table(64, 2));
  const DirectionBlock block = block_to(7);
  NewConnection request = direct(numbered(1));
  request.forward_block = &block;
  ASSERT_EQ(t->insert(kW0, request, kNow).outcome, kInserted);
  Hit held = t->find(kW1, numbered(1));
  EXPECT_TRUE(t->remove(kW0, held));
  EXPECT_FALSE(t->remove(kW1, held)) << "only one removal counts";
  EXPECT_EQ(held.block->encap_peer, PeerId{7}) << "the decision stays readable";
  EXPECT_EQ(held.line().key, numbered(1));
  EXPECT_FALSE(t->find(kW0, numbered(1)));
  EXPECT_FALSE(t->find(kW0, numbered(1).reversed()));
  EXPECT_EQ(t->revalidate(kW1, held, block), RevalidateOutcome::kRemoved);
  EXPECT_EQ(held.block, nullptr);
}

TEST(FlowTable, AnEqualDecisionKeepsItsBlockAndIsStampedAnew) {
  Bench t(private_table(64));
  DirectionBlock block = block_to(7);
  NewConnection request = direct(numbered(1));
  request.forward_block = &block;
  ASSERT_EQ(t->insert(kW0, request, kNow).outcome, kInserted);
  Hit hit = t->find(kW0, numbered(1));
  const std::uint32_t number = hit.block_number;
  block.epoch_sum = 1234;
  EXPECT_EQ(t->revalidate(kW0, hit, block), RevalidateOutcome::kPublished);
  EXPECT_EQ(hit.block_number, number);
  EXPECT_EQ(hit.block->epoch_sum, 1234u);
  block.mtu = 99;
  EXPECT_EQ(t->revalidate(kW0, hit, block), RevalidateOutcome::kPublished);
  EXPECT_NE(hit.block_number, number);
  EXPECT_EQ(hit.block->mtu, 99u);
}

TEST(FlowTable, AForgottenDecisionLeavesTheConnection) {
  Bench t(private_table(64));
  const DirectionBlock block = block_to(7);
  NewConnection request = direct(numbered(1));
  request.forward_block = request.reply_block = &block;
  ASSERT_EQ(t->insert(kW0, request, kNow).outcome, kInserted);
  Hit reply = t->find(kW0, numbered(1).reversed());
  ASSERT_NE(reply.block, nullptr);
  t->forget(kW0, reply.line());
  t->forget(kW0, reply.line());
  reply = t->find_locked(kW0, numbered(1).reversed(), t->hash(numbered(1).reversed()));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply.block, nullptr);
  EXPECT_NE(t->find(kW0, numbered(1)).block, nullptr);
}

TEST(FlowTable, ReferenceOutlivesReadSectionsAndDetectsSlotReuse) {
  Bench t(private_table(1));
  const auto created = t->insert(kW0, direct(numbered(1)), kNow);
  const FlowRef ref = FlowTable::ref(created.hit);
  t.quiesce();
  EXPECT_EQ(t->find(kW0, ref, Direction::kReply).connection, created.hit.connection);
  t->remove(kW0, created.hit);
  EXPECT_FALSE(t->find(kW0, ref, Direction::kForward));
  t.age_all(kNow);
  ASSERT_EQ(t->insert(kW0, direct(numbered(2)), kNow).hit.slot, ref.slot);
  EXPECT_FALSE(t->find(kW0, ref, Direction::kForward)) << "another connection in the same slot";
}

TEST(FlowTable, RevalidationSwapsTheBlockAndKeepsTheOldOneReadable) {
  Bench t(private_table(64));
  const DirectionBlock first = block_to(1);
  NewConnection request = direct(numbered(1));
  request.forward_block = &first;
  ASSERT_EQ(t->insert(kW0, request, kNow).outcome, kInserted);
  Hit hit = t->find(kW0, numbered(1));
  const DirectionBlock* old = hit.block;
  EXPECT_EQ(t->revalidate(kW0, hit, block_to(2)), RevalidateOutcome::kPublished);
  EXPECT_EQ(hit.block->encap_peer, PeerId{2});
  EXPECT_EQ(old->encap_peer, PeerId{1});
  EXPECT_EQ(t->find(kW0, numbered(1)).block->encap_peer, PeerId{2});
  // First decision of a direction without one.
  Hit reply = t->find(kW0, numbered(1).reversed());
  EXPECT_EQ(reply.block, nullptr);
  EXPECT_EQ(t->revalidate(kW0, reply, block_to(3)), RevalidateOutcome::kPublished);
  EXPECT_EQ(t->find(kW0, numbered(1).reversed()).block->encap_peer, PeerId{3});
}

TEST(FlowTable, OfTwoConcurrentRevalidationsTheSecondGetsTheFirstDecision) {
  Bench t(private_table(64, 2));
  ASSERT_EQ(t->insert(kW0, direct(numbered(1)), kNow).outcome, kInserted);
  Hit a = t->find(kW0, numbered(1));
  Hit b = t->find(kW1, numbered(1));
  EXPECT_EQ(t->revalidate(kW0, a, block_to(1)), RevalidateOutcome::kPublished);
  EXPECT_EQ(t->revalidate(kW1, b, block_to(2)), RevalidateOutcome::kSuperseded);
  EXPECT_EQ(b.block->encap_peer, PeerId{1});
}

TEST(FlowTable, BlocksDoNotRunOutWhileReadersAreQuiescent) {
  Bench t(private_table(4));
  ASSERT_EQ(t->insert(kW0, direct(numbered(1)), kNow).outcome, kInserted);
  for (std::uint32_t n = 0; n < 50'000; ++n) {
    Hit hit = t->find(kW0, numbered(1));
    ASSERT_EQ(t->revalidate(kW0, hit, block_to(n)), RevalidateOutcome::kPublished) << n;
    if (n % 32 == 0) {
      t->age_connections(kW0, kNow, 1);
      t.quiesce();
    }
  }
}

TEST(FlowTable, WithoutQuiescentPointsBlocksRunOutAndTheLastDecisionStays) {
  Bench t(private_table(4));
  ASSERT_EQ(t->insert(kW0, direct(numbered(1)), kNow).outcome, kInserted);
  Hit hit = t->find(kW0, numbered(1));
  std::uint32_t n = 1;
  while (t->revalidate(kW0, hit, block_to(n)) == RevalidateOutcome::kPublished) {
    ++n;
  }
  EXPECT_GT(n, 4000u);
  EXPECT_EQ(t->find(kW0, numbered(1)).block->encap_peer, PeerId{n - 1});
  EXPECT_GE(t->counts().no_block, 1u);
  t.age_all(kNow);
  EXPECT_EQ(t->revalidate(kW0, hit, block_to(n)), RevalidateOutcome::kPublished);
}

TEST(FlowTable, SynOnAClosingConnectionMayReplaceIt) {
  Bench t(private_table(64));
  const auto created = t->insert(kW0, direct(numbered(1)), kNow);
  t->account_packet(kW0, created.hit.line(), kNow, kLength, tcp_flag::kSyn);
  const Hit reply = t->find(kW0, numbered(1).reversed());
  t->account_packet(kW0, reply.line(), kNow, kLength, tcp_flag::kSyn | tcp_flag::kAck);
  EXPECT_FALSE(FlowTable::reopens(created.hit, tcp_flag::kSyn)) << "a repeated SYN belongs to the live connection";
  t->account_packet(kW0, created.hit.line(), kNow, kLength, tcp_flag::kFin | tcp_flag::kAck);
  EXPECT_TRUE(FlowTable::reopens(created.hit, tcp_flag::kSyn)) << "one FIN is enough";
  t->account_packet(kW0, reply.line(), kNow, kLength, tcp_flag::kFin | tcp_flag::kAck);
  EXPECT_FALSE(FlowTable::reopens(created.hit, tcp_flag::kAck)) << "the last ACK";
  EXPECT_FALSE(FlowTable::reopens(reply, tcp_flag::kSyn | tcp_flag::kAck));
  ASSERT_TRUE(FlowTable::reopens(created.hit, tcp_flag::kSyn));
  EXPECT_TRUE(t->remove(kW0, created.hit));
  const auto again = t->insert(kW0, direct(numbered(1)), kNow);
  EXPECT_EQ(again.outcome, kInserted);
  EXPECT_NE(again.hit.slot, created.hit.slot) << "the old slot waits for its grace period";
  EXPECT_FALSE(again.hit.connection->closing());
}

TEST(FlowTable, AgingRemovesExpiredConnectionsOnly) {
  Bench t(private_table(300, 3));
  for (std::uint32_t n = 0; n < 200; ++n) {
    const auto created = t->insert(kW0, direct(numbered(n, IpProtocol::kUdp)), kNow);
    ASSERT_EQ(created.outcome, kInserted);
    t->account_packet(kW0, created.hit.line(), n % 2 == 0 ? kNow : Seconds{115}, kLength, 0);
  }
  EXPECT_EQ(t.age_all(Seconds{129}), 0u);
  EXPECT_EQ(t.age_all(Seconds{130}), 100u);
  for (std::uint32_t n = 0; n < 200; ++n) {
    EXPECT_EQ(static_cast<bool>(t->find(kW0, numbered(n, IpProtocol::kUdp))), n % 2 == 1) << n;
  }
  EXPECT_EQ(t->counts().expired, 100u);
  EXPECT_EQ(t->counts().now, 100u);
  EXPECT_EQ(t->counts().half_open, 100u);
}

TEST(FlowTable, AgingStaysWithinItsBudgetAndShare) {
  Bench t(private_table(64, 2));
  for (std::uint32_t n = 0; n < 64; ++n) {
    // Both workers allocate, so that no cache keeps slots from the other.
    const WorkerId w{static_cast<std::uint8_t>(n % 2)};
    ASSERT_EQ(t->insert(w, direct(numbered(n)), kNow).outcome, kInserted) << n;
  }
  const Seconds later{1000};
  EXPECT_EQ(t->age_connections(kW0, later, 5), 5u);
  EXPECT_EQ(t->age_connections(kW0, later, 1000), 27u) << "the rest of its share";
  EXPECT_EQ(t->age_connections(kW0, later, 1000), 0u);
  EXPECT_EQ(t->age_connections(kW1, later, 1000), 32u);
  EXPECT_EQ(t->counts().now, 0u);
}

TEST(FlowTable, PacketKeepsAConnectionFromExpiring) {
  Bench t(private_table(8));
  const auto created = t->insert(kW0, direct(numbered(1, IpProtocol::kUdp)), kNow);
  t->account_packet(kW0, created.hit.line(), Seconds{159}, kLength, 0);
  EXPECT_EQ(t.age_all(Seconds{160}), 0u);
  EXPECT_TRUE(t->find(kW0, numbered(1, IpProtocol::kUdp)));
}

TEST(FlowTable, VisitSeesLiveConnectionsAndStopsOnRequest) {
  Bench t(private_table(1000));
  const DirectionBlock block = block_to(9);
  for (std::uint32_t n = 0; n < 600; ++n) {
    NewConnection request = direct(numbered(n));
    request.forward_block = &block;
    ASSERT_EQ(t->insert(kW0, request, kNow).outcome, kInserted);
  }
  t->remove(kW0, t->find(kW0, numbered(5)));
  unsigned seen = 0;
  t->visit(t.control(), [&](const Connection& c, std::uint32_t) {
    EXPECT_NE(c.lines[0].key, numbered(5));
    EXPECT_EQ(t->block(c, Direction::kForward)->encap_peer, PeerId{9});
    EXPECT_EQ(t->block(c, Direction::kReply), nullptr);
    ++seen;
    return true;
  });
  EXPECT_EQ(seen, 599u);
  seen = 0;
  t->visit(t.control(), [&](const Connection&, std::uint32_t) { return ++seen < 10; });
  EXPECT_EQ(seen, 10u);
  EXPECT_FALSE(t.quiescence().inside(t.control()));
}

TEST(FlowTable, OpenRejectsInvalidSizes) {
  EXPECT_FALSE(Bench(private_table(0)).ok());
  EXPECT_FALSE(Bench(private_table(0xffffffff)).ok());
  EXPECT_FALSE(Bench(private_table(10, 65)).ok());
}

TEST(FlowTable, ClockStartsSmallAndCountsSeconds) {
  Bench t(private_table(8));
  EXPECT_GE(t->now().value(), 1u);
  EXPECT_LE(t->now().value(), 10u);
  const Seconds now = t->seconds_at(Nanoseconds{10'000'000'000'000'000});
  EXPECT_EQ(t->seconds_at(Nanoseconds{10'000'005'000'000'000}).value(), now.value() + 5);
}

}  // namespace
}  // namespace isthmus::flow_test
