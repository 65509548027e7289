// A restarted engine adopts the connections of its predecessor, whenever that one was killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "dataplane/conntrack/flow_table.h"
#include "test/unit/conntrack/flow_fixture.h"
#include "test/unit/conntrack/killed_process.h"
#include "test/unit/conntrack/temporary_directory.h"

namespace isthmus::flow_test {
namespace {

using enum InsertOutcome;
constexpr Seconds kNow{100};

struct FlowAdoption : testing::Test {
  FlowTable::Options options() const {
    auto o = private_table(256);
    o.keep_state = true;
    o.name = "adopt";
    o.directory = directory.path();
    return o;
  }
  TemporaryDirectory directory;
};

TEST_F(FlowAdoption, ConnectionsSurviveKill9) {
  in_killed_process(options(), [](Bench& t) {
    for (std::uint32_t n = 0; n < 100; ++n) {
      const DirectionBlock block = block_to(n + 1);
      NewConnection request = direct(numbered(n));
      request.forward_block = &block;
      request.peer = IpAddress::ipv4(Be32::of(0xc0000200 + n));
      const auto created = t->insert(kW0, request, kNow);
      t->account_packet(kW0, created.hit.line(), kNow, kLength, tcp_flag::kSyn);
      if (n % 4 == 0) {
        t->account_packet(kW0, t->find(kW0, numbered(n).reversed()).line(), Seconds{105}, kLength, tcp_flag::kAck);
      }
    }
    t->remove(kW0, t->find(kW0, numbered(50)));
  });
  Bench t(options());
  ASSERT_TRUE(t.ok()) << t.error.text();
  EXPECT_EQ(t->start_reason(), "");
  EXPECT_EQ(t->counts().adopted, 99u);
  EXPECT_EQ(t->counts().now, 99u);
  EXPECT_EQ(t->counts().half_open, 74u);
  for (std::uint32_t n = 0; n < 100; ++n) {
    const Hit hit = t->find(kW0, numbered(n));
    ASSERT_EQ(static_cast<bool>(hit), n != 50) << n;
    if (hit) {
      EXPECT_EQ(hit.shared().peer.load(), IpAddress::ipv4(Be32::of(0xc0000200 + n)));
      EXPECT_EQ(hit.block->encap_peer, kNoPeer) << "the last decision's numbers mean nothing now";
      EXPECT_FALSE(t->epochs().is_current(*hit.block)) << "but not valid";
      EXPECT_EQ(hit.line().packets, 1u);
      EXPECT_EQ(t->find(kW0, numbered(n).reversed()).connection, hit.connection);
    }
  }
}

TEST_F(FlowAdoption, AdoptedConnectionsBehaveLikeAnyOther) {
  in_killed_process(options(), [](Bench& t) {
    const DirectionBlock block = block_to(1);
    for (std::uint32_t n = 0; n < 256; ++n) {
      NewConnection request = direct(numbered(n));
      request.forward_block = &block;
      put(t, request, kNow);
    }
  });
  Bench t(options());
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->counts().half_open, 256u);
  Hit hit = t->find(kW0, numbered(3));
  EXPECT_EQ(t->revalidate(kW0, hit, block_to(2)), RevalidateOutcome::kPublished);
  t->account_packet(kW0, t->find(kW0, numbered(3).reversed()).line(), Seconds{120}, kLength, tcp_flag::kAck);
  EXPECT_EQ(t->insert(kW0, direct(numbered(256)), kNow).outcome, kFull) << "their slots are in use";
  EXPECT_EQ(t.age_all(Seconds{160}), 255u);
  EXPECT_TRUE(t->find(kW0, numbered(3)));
  EXPECT_EQ(t->counts().half_open, 0u);
  // Every slot and block was freed exactly once: the table fills to its capacity again.
  for (std::uint32_t n = 1000; n < 1255; ++n) {
    ASSERT_EQ(t->insert(kW0, direct(numbered(n)), Seconds{160}).outcome, kInserted) << n;
  }
  EXPECT_EQ(t->insert(kW0, direct(numbered(2000)), Seconds{160}).outcome, kFull);
}

// What has answered them meanwhile is not known.
TEST_F(FlowAdoption, HowAdoptedConnectionsOpenIsNotWatched) {
  in_killed_process(options(), [](Bench& t) {
    NewConnection request = direct(numbered(1));
    request.watched = true;
    request.user_flags = 16;
    ASSERT_TRUE(t->insert(kW0, request, kNow).hit.shared().is_watched());
  });
  Bench t(options());
  ASSERT_TRUE(t.ok()) << t.error.text();
  const Hit hit = t->find(kW0, numbered(1));
  ASSERT_TRUE(hit);
  EXPECT_FALSE(hit.shared().is_watched());
  EXPECT_EQ(hit.shared().user_flags(), 16u);
}

TEST_F(FlowAdoption, IncompleteSlotsAreReset) {
  in_killed_process(options(), [](Bench& t) {
    for (std::uint32_t n = 0; n < 6; ++n) {
      put(t, direct(numbered(n)), kNow);
    }
    // What a crash in the middle of an update, or a stray write, can leave behind.
    t->find(kW0, numbered(0)).shared().checksum = 0;                 // filled, no checksum yet
    t->find(kW0, numbered(1)).line().key.source_port = Be16::of(9);  // key does not match the checksum
    t->find(kW0, numbered(2)).shared().checksum.fetch_xor(4);        // wrong checksum
    t->find(kW0, numbered(3)).line().block = 0x7fffffff;             // no such block
    const Hit from = t->find(kW0, numbered(4));                      // a copy of a valid slot
    std::memcpy(static_cast<void*>(t->find(kW0, numbered(5)).connection), from.connection, sizeof(Connection));
  });
  Bench t(options());
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->counts().adopted, 2u);
  EXPECT_FALSE(t->find(kW0, numbered(0)));
  EXPECT_FALSE(t->find(kW0, numbered(1)));
  EXPECT_FALSE(t->find(kW0, numbered(2)));
  const Hit without_block = t->find(kW0, numbered(3));
  ASSERT_TRUE(without_block) << "a bad block number costs a revalidation, not the connection";
  EXPECT_EQ(without_block.block, nullptr);
  EXPECT_TRUE(t->find(kW0, numbered(4)));
  EXPECT_FALSE(t->find(kW0, numbered(5)));
  unsigned filled = 0;
  while (t->insert(kW0, direct(numbered(1000 + filled)), kNow).outcome == kInserted) {
    ++filled;
  }
  EXPECT_EQ(filled, 254u) << "the reset slots are free again";
}

TEST_F(FlowAdoption, BlockNumberUsedByTwoDirectionsIsKeptForOne) {
  in_killed_process(options(), [](Bench& t) {
    const DirectionBlock block = block_to(1);
    for (std::uint32_t n = 0; n < 2; ++n) {
      NewConnection request = direct(numbered(n));
      request.forward_block = &block;
      put(t, request, kNow);
    }
    t->find(kW0, numbered(1)).line().block = t->find(kW0, numbered(0)).block_number;
  });
  Bench t(options());
  const Hit a = t->find(kW0, numbered(0));
  const Hit b = t->find(kW0, numbered(1));
  ASSERT_TRUE(a && b);
  EXPECT_EQ((a.block != nullptr) + (b.block != nullptr), 1);
}

TEST_F(FlowAdoption, EpochWordsAreIncrementedAtEveryAdoption) {
  in_killed_process(options(), [](Bench&) {});
  std::uint32_t before = 0;
  {
    Bench t(options());
    before = t->epochs().load(77);
  }
  Bench t(options());
  EXPECT_EQ(t->epochs().load(77), before + 1);
}

TEST_F(FlowAdoption, NameOfARunningEngineIsRejected) {
  Bench first(options());
  ASSERT_TRUE(first.ok());
  Bench second(options());
  EXPECT_FALSE(second.ok());
  EXPECT_NE(second.error.text().find("another engine"), std::string::npos);
}

TEST_F(FlowAdoption, OtherCapacityDiscardsStateAndGivesTheReason) {
  in_killed_process(options(), [](Bench& t) { put(t, direct(numbered(1)), kNow); });
  auto larger = options();
  larger.connections = 512;
  Bench t(larger);
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(t->start_reason(), "capacity was 256, is 512");
  EXPECT_EQ(t->counts().now, 0u);
}

TEST_F(FlowAdoption, NumberOfWorkersMayChange) {
  in_killed_process(options(), [](Bench& t) { put(t, direct(numbered(1)), kNow); });
  auto more = options();
  more.workers = 3;
  Bench t(more);
  EXPECT_EQ(t->counts().adopted, 1u);
}

// The process is killed at arbitrary moments while it inserts, revalidates and removes. Afterwards both keys of every
// remaining connection must find it, and the table must accept exactly as many new ones as it has room for.
TEST_F(FlowAdoption, StressStateIsConsistentWheneverTheProcessIsKilled) {
  std::mt19937 random(42);
  for (unsigned round = 0; round < 12; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Bench t(options());
      for (std::uint32_t n = round * 1'000'000;; ++n) {
        const DirectionBlock block = block_to(n);
        NewConnection request = direct(numbered(n % 400));
        request.forward_block = request.reply_block = &block;
        auto created = t->insert(kW0, request, kNow);
        if (created.outcome == kExists) {
          EXPECT_EQ(t->revalidate(kW0, created.hit, block), RevalidateOutcome::kPublished);
        }
        if (Hit old = t->find(kW0, numbered((n * 7) % 400)); old && n % 3 == 0) {
          t->remove(kW0, old);
        }
        t->age_connections(kW0, kNow, 1);
        t.quiesce();
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 20));
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);

    Bench t(options());
    ASSERT_TRUE(t.ok()) << t.error.text();
    ASSERT_EQ(t->start_reason(), round == 0 ? t->start_reason() : "");
    std::uint32_t live = 0;
    std::set<std::uint32_t> blocks;
    t->visit(t.control(), [&](const Connection& c, std::uint32_t slot) {
      ++live;
      EXPECT_EQ(t->find(kW0, c.lines[0].key).slot, slot);
      EXPECT_EQ(t->find(kW0, c.lines[1].key).slot, slot);
      EXPECT_EQ(c.lines[0].key.reversed(), c.lines[1].key);
      for (const DirectionLine& line : c.lines) {
        EXPECT_TRUE(line.block == kNoBlock || blocks.insert(line.block).second) << "a block with two owners";
      }
      return true;
    });
    EXPECT_EQ(live, t->counts().adopted);
    unsigned added = 0;
    while (live + added < 256 && t->insert(kW0, direct(numbered(10'000 + added)), kNow).outcome == kInserted) {
      ++added;
    }
    EXPECT_EQ(live + added, 256u);
    t.age_all(Seconds{1'000'000});
    EXPECT_EQ(t->counts().now, 0u);
  }
}

}  // namespace
}  // namespace isthmus::flow_test
