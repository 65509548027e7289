// The connection table under more threads than cores. Also run under ThreadSanitizer; bounded by iterations.
// Every number in a connection's blocks is derived from its key, so that a torn or recycled block is detected.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "dataplane/conntrack/flow_table.h"
#include "test/unit/conntrack/flow_fixture.h"

namespace isthmus::flow_test {
namespace {

using enum InsertOutcome;
constexpr Seconds kNow{100};
constexpr unsigned kThreads = 6;

// A barrier: releases all threads at the same time, every round. On a slow machine all threads stop early, at the same
// round, when the time is up: fewer rounds, the same checks.
class StartingLine {
 public:
  static constexpr unsigned kMinRounds = 10;
  // False: no more rounds.
  bool wait(unsigned round) {
    if (arrived_.fetch_add(1) + 1 == (round + 1) * kThreads) {
      last_round_ = round >= kMinRounds && std::chrono::steady_clock::now() > deadline_;
      open_ = round + 1;
    }
    while (open_ <= round) {
      std::this_thread::yield();
    }
    return !last_round_;
  }

 private:
  const std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  std::atomic<unsigned> arrived_{0};
  std::atomic<unsigned> open_{0};
  std::atomic<bool> last_round_{false};
};

enum class Pace { kFree, kTogether };

// Runs body(worker, round) for at most `rounds` rounds on kThreads threads, with a quiescent point, or sometimes an
// offline period, after each round. Returns the number of rounds that every thread ran.
template <typename Body>
unsigned run_workers(FlowTable& table, Quiescence& quiescence, unsigned rounds, Pace pace, Body&& body) {
  StartingLine line;
  std::array<unsigned, kThreads> done{};
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < kThreads; ++w) {
    threads.emplace_back([&, w] {
      const WorkerId worker{static_cast<std::uint8_t>(w)};
      quiescence.online(w);
      for (unsigned round = 0; round < rounds; ++round) {
        if (pace == Pace::kTogether && !line.wait(round)) {
          break;
        }
        body(worker, round);
        table.age_connections(worker, kNow, 4);
        if (round % 16 == w) {
          quiescence.offline(w);
          std::this_thread::yield();
          quiescence.online(w);
        } else {
          quiescence.quiescent(w);
        }
        done[w] = round + 1;
      }
      quiescence.offline(w);
    });
  }
  for (auto& t : threads) {
    t.join();
  }
  EXPECT_GE(done[0], std::min(rounds, StartingLine::kMinRounds));
  EXPECT_EQ(*std::min_element(done.begin(), done.end()), done[0]);
  return done[0];
}

struct Shared {
  explicit Shared(std::uint32_t connections) : quiescence(kThreads + 1) {
    auto opened = FlowTable::open(private_table(connections, kThreads), quiescence);
    EXPECT_TRUE(opened.ok());
    table = std::move(*opened);
  }
  Quiescence quiescence;
  std::unique_ptr<FlowTable> table;
};

// A block whose fields all have the value `mark`.
DirectionBlock uniform(std::uint32_t mark) {
  DirectionBlock b;
  b.encap_peer = PeerId{mark};
  b.origin = Origin(PeerId{mark}, Vni{mark});
  b.vni_word = mark;
  b.adjacency = AdjacencyId{mark};
  b.valid_until = Seconds{mark};
  b.source_identity = Identity{mark};
  return b;
}

bool is_uniform(const DirectionBlock& b) {
  const std::uint32_t mark = b.encap_peer.value();
  return b.origin == Origin(PeerId{mark}, Vni{mark}) && b.vni_word == mark && b.adjacency.value() == mark &&
         b.valid_until.value() == mark && b.source_identity.value() == mark;
}

struct SplitMix {
  std::uint64_t state;
  std::uint32_t operator()(std::uint32_t below) {
    return static_cast<std::uint32_t>((flow_hash::mix(state += 0x9e3779b97f4a7c15ULL, 0xd6e8feb86659fd93ULL) >> 33) %
                                      below);
  }
};

// All operations at once on few keys: insert, single and burst lookup, revalidate, count, remove, age, visit.
TEST(FlowStress, AllOperationsAtOnceOnFewKeys) {
  constexpr std::uint32_t kKeys = 48;
  constexpr std::uint32_t kStride = 1000;
  Shared s(32);  // fewer slots than keys: a full table is part of the test
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0}, listed{0};
  std::thread control([&] {
    while (!stop) {
      s.table->visit(kThreads, [&](const Connection& c, std::uint32_t) {
        ++listed;
        wrong += c.lines[0].key.reversed() == c.lines[1].key ? 0 : 1;
        const DirectionBlock* block = s.table->block(c, Direction::kForward);
        wrong += block == nullptr || is_uniform(*block) ? 0 : 1;
        return true;
      });
      std::this_thread::yield();
    }
  });
  run_workers(*s.table, s.quiescence, 3000, Pace::kFree, [&](WorkerId worker, unsigned round) {
    SplitMix random{(std::uint64_t{worker.value()} << 32) | round};
    std::array<FlowKey, 8> keys;
    std::array<std::uint32_t, 8> numbers;
    std::array<Hit, 8> hits;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      numbers[i] = random(kKeys);
      keys[i] = random(2) == 0 ? numbered(numbers[i]) : numbered(numbers[i]).reversed();
    }
    s.table->find_burst(worker, keys, hits);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const std::uint32_t n = numbers[i];
      const DirectionBlock block = uniform(n + kStride * random(1000));
      Hit hit = hits[i];
      if (!hit) {
        NewConnection request = direct(keys[i]);
        request.source_identity = Identity{n};
        request.forward_block = &block;
        hit = s.table->insert(worker, request, kNow).hit;
        if (!hit) {
          continue;
        }
      }
      wrong += hit.line().key == keys[i] ? 0 : 1;
      wrong += hit.shared().source_identity.value() == n ? 0 : 1;
      if (hit.block != nullptr) {
        wrong += is_uniform(*hit.block) && hit.block->encap_peer.value() % kStride == n ? 0 : 1;
      }
      s.table->account_packet(worker, hit.line(), kNow, kLength, random(4) == 0 ? tcp_flag::kFin : tcp_flag::kAck);
      switch (random(8)) {
        case 0:
          s.table->remove(worker, hit);
          break;
        case 1:
        case 2:
          if (s.table->revalidate(worker, hit, block) != RevalidateOutcome::kRemoved && hit.block != nullptr) {
            wrong += is_uniform(*hit.block) && hit.block->encap_peer.value() % kStride == n ? 0 : 1;
          }
          break;
        default:
          break;
      }
    }
  });
  stop = true;
  control.join();
  EXPECT_EQ(wrong, 0u);
  const FlowCounts counts = s.table->counts();
  EXPECT_GT(counts.removed, 100u);
  EXPECT_GT(counts.lost_races + counts.rejected_full, 0u);
  EXPECT_LE(counts.now, 32u);
  // The remaining connections match the counters, and both directions find them.
  const ReadSection section(s.quiescence, 0);
  std::uint32_t live = 0, half_open = 0;
  for (std::uint32_t n = 0; n < kKeys; ++n) {
    const Hit hit = s.table->find(WorkerId{0}, numbered(n));
    EXPECT_EQ(s.table->find(WorkerId{0}, numbered(n).reversed()).connection, hit.connection);
    live += hit ? 1 : 0;
    half_open += hit && !hit.connection->opened() ? 1 : 0;
  }
  EXPECT_EQ(live, counts.now);
  EXPECT_EQ(half_open, counts.half_open);
}

// First packets of both directions and repeated forward packets at once: one connection, one backend.
TEST(FlowStress, ConcurrentFirstPacketsCreateOneConnection) {
  constexpr unsigned kRounds = 1000;
  Shared s(kRounds + kThreads * 130);
  std::vector<std::atomic<std::uint32_t>> inserted(kRounds);
  std::vector<std::array<std::atomic<std::uint32_t>, kThreads>> backend(kRounds);
  const unsigned rounds =
      run_workers(*s.table, s.quiescence, kRounds, Pace::kTogether, [&](WorkerId worker, unsigned round) {
        const unsigned w = worker.value();
        NewConnection request = direct(w % 2 == 0 ? numbered(round) : numbered(round).reversed());
        request.source_identity = Identity{w + 1};
        const auto result = s.table->insert(worker, request, kNow);
        inserted[round] += result.outcome == kInserted ? 1 : 0;
        backend[round][w] = result.hit ? result.hit.shared().source_identity.value() : 0;
      });
  for (unsigned round = 0; round < rounds; ++round) {
    EXPECT_EQ(inserted[round], 1u) << round;
    for (unsigned w = 0; w < kThreads; ++w) {
      EXPECT_EQ(backend[round][w], backend[round][0]) << round;
      EXPECT_NE(backend[round][w], 0u);
    }
  }
  EXPECT_EQ(s.table->counts().now, rounds);
}

// Several VIPs with one backend: one connection gets each reply key, and the rejected ones leave nothing behind.
TEST(FlowStress, VipsWithOneBackendNeverShareAReplyKey) {
  constexpr unsigned kRounds = 4000;
  Shared s(kRounds + kThreads * 130);
  std::vector<std::atomic<std::uint32_t>> owners(kRounds), rejected(kRounds);
  const unsigned rounds =
      run_workers(*s.table, s.quiescence, kRounds, Pace::kTogether, [&](WorkerId worker, unsigned round) {
        NewConnection request;
        const auto port = static_cast<std::uint16_t>(1000 + round);
        request.forward = key(address("10.1.0.1"), port, IpAddress::ipv4(Be32::of(0x0ac80000 + worker.value())), 80);
        request.reply = key("10.2.0.1", 8080, "10.1.0.1", port);
        const auto outcome = s.table->insert(worker, request, kNow).outcome;
        owners[round] += outcome == kInserted ? 1 : 0;
        rejected[round] += outcome == kReplyTaken ? 1 : 0;
      });
  for (unsigned round = 0; round < rounds; ++round) {
    EXPECT_EQ(owners[round], 1u);
    EXPECT_EQ(rejected[round], kThreads - 1);
  }
  EXPECT_EQ(s.table->counts().now, rounds);
  EXPECT_EQ(s.table->counts().half_open, rounds);
}

// All workers handle packets of one direction, while its decision is replaced all the time.
TEST(FlowStress, OneDirectionOnAllWorkersUnderRevalidation) {
  Shared s(64);
  {
    const ReadSection section(s.quiescence, 0);
    const DirectionBlock block = uniform(1);
    NewConnection request = direct(numbered(1));
    request.forward_block = &block;
    ASSERT_EQ(s.table->insert(WorkerId{0}, request, kNow).outcome, kInserted);
  }
  std::atomic<std::uint64_t> wrong{0}, published{0}, superseded{0};
  run_workers(*s.table, s.quiescence, 3000, Pace::kFree, [&](WorkerId worker, unsigned round) {
    Hit hit = s.table->find(worker, numbered(1));
    if (!hit || hit.block == nullptr || !is_uniform(*hit.block)) {
      ++wrong;
      return;
    }
    s.table->account_packet(worker, hit.line(), Seconds{100 + round / 1000}, kLength, tcp_flag::kAck);
    const DirectionBlock* old = hit.block;
    const std::uint32_t mark = old->encap_peer.value();
    if (round % 2 == 0) {
      const auto outcome = s.table->revalidate(worker, hit, uniform(round + worker.value() * 10'000));
      published += outcome == RevalidateOutcome::kPublished ? 1 : 0;
      superseded += outcome == RevalidateOutcome::kSuperseded ? 1 : 0;
      wrong += hit.block != nullptr && is_uniform(*hit.block) ? 0 : 1;
    }
    wrong += is_uniform(*old) && old->encap_peer.value() == mark ? 0 : 1;  // unchanged until the quiescent point
  });
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(published + superseded, 1500u * kThreads);
  const ReadSection section(s.quiescence, 0);
  const Hit hit = s.table->find(WorkerId{0}, numbered(1));
  EXPECT_GT(hit.line().packets, 0u);
  EXPECT_LE(hit.line().packets, 3000u * kThreads) << "concurrent workers may lose counts, but never add any";
  EXPECT_EQ(s.table->counts().no_block, 0u);
}

// FINs of both ends at once: at least one worker sees the other's FIN, so the connection always closes.
TEST(FlowStress, FinsOfBothEndsAtOnceAlwaysClose) {
  constexpr unsigned kRounds = 1000;
  Shared s(kRounds + kThreads * 130);
  const unsigned rounds =
      run_workers(*s.table, s.quiescence, kRounds, Pace::kTogether, [&](WorkerId worker, unsigned round) {
        const FlowKey forward = numbered(round);
        const Hit created = s.table->insert(worker, direct(forward), kNow).hit;
        ASSERT_TRUE(created);
        const Hit hit = s.table->find(worker, worker.value() % 2 == 0 ? forward : forward.reversed());
        ASSERT_TRUE(hit);
        s.table->account_packet(worker, hit.line(), kNow, kLength, tcp_flag::kAck | tcp_flag::kFin);
      });
  const ReadSection section(s.quiescence, 0);
  for (unsigned round = 0; round < rounds; ++round) {
    const Hit hit = s.table->find(WorkerId{0}, numbered(round));
    ASSERT_TRUE(hit);
    EXPECT_TRUE(hit.connection->closing()) << round;
    EXPECT_EQ(s.table->expires_in(*hit.connection, kNow), 10u);
  }
  EXPECT_EQ(s.table->counts().half_open, 0u) << "each connection was released from the limit once";
}

// A flood against the half-open limit while others reply: the limit is never exceeded, and no count is lost.
TEST(FlowStress, HalfOpenLimitHoldsUnderAFlood) {
  constexpr std::uint32_t kLimit = 7 * kThreads;  // each has its part
  Quiescence quiescence(kThreads + 1);
  auto options = private_table(20'000, kThreads);
  options.half_open_limit = kLimit;
  auto opened = FlowTable::open(options, quiescence);
  ASSERT_TRUE(opened.ok());
  FlowTable& table = **opened;
  std::atomic<std::uint64_t> replied{0};
  run_workers(table, quiescence, 400, Pace::kFree, [&](WorkerId worker, unsigned round) {
    for (std::uint32_t nth = round * 5; nth < round * 5 + 5; ++nth) {  // half get a reply, a quarter is removed
      const std::uint32_t n = nth * kThreads + worker.value();
      const auto created = table.insert(worker, direct(numbered(n)), kNow);
      if (created.outcome == kInserted && nth % 2 == 0) {
        table.account_packet(worker, table.find(worker, numbered(n).reversed()).line(), kNow, kLength, tcp_flag::kAck);
        ++replied;
      } else if (created.outcome == kInserted && nth % 4 == 1) {
        table.remove(worker, created.hit);
      }
    }
  });
  const FlowCounts counts = table.counts();
  EXPECT_LE(counts.half_open, kLimit);
  EXPECT_EQ(counts.now, counts.half_open + replied);
  EXPECT_GT(replied, 0u);
}

}  // namespace
}  // namespace isthmus::flow_test
