// What XDP forwards of connections that are handed down is counted once, whenever they are taken back and whenever the
// process is killed.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <new>
#include <vector>

#include "dataplane/conntrack/flow_table.h"
#include "test/unit/conntrack/flow_fixture.h"
#include "test/unit/conntrack/killed_process.h"
#include "test/unit/conntrack/temporary_directory.h"

namespace isthmus::flow_test {
namespace {

constexpr Seconds kNow{100};
constexpr std::uint32_t kPair = 3;
using LeaseArray = std::array<isthmus_lease, 16>;

void forward(isthmus_lease& lease, std::uint64_t packets) {
  lease.packets += packets;
  lease.bytes += packets * kLength.value();
}

std::uint64_t packets(Bench& t, const Hit& hit, Direction direction) {
  const LeaseCount total = t->total(*hit.connection, direction);
  EXPECT_EQ(total.bytes, total.packets * kLength.value());
  return total.packets;
}

struct FlowLeases : testing::Test {
  FlowLeases() {
    void* const shared = mmap(nullptr, sizeof(LeaseArray), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    kernels = new (shared) LeaseArray{};
  }
  ~FlowLeases() override { munmap(kernels, sizeof(LeaseArray)); }
  FlowTable::Options options(LeaseArray& leases) const {
    auto o = private_table(16);
    o.keep_state = true;
    o.name = "leases";
    o.directory = directory.path();
    o.leases = leases;
    return o;
  }
  isthmus_lease& lease(Direction direction) const { return (*kernels)[Leases::index(kPair, direction)]; }
  [[nodiscard]] std::vector<LeaseCount> counted() const {
    std::vector<LeaseCount> counts;
    for (const isthmus_lease& each : *kernels) {
      counts.push_back({each.packets, each.bytes});
    }
    return counts;
  }
  // Opens a connection of which a worker counts two packets there and one back.
  static Hit open(Bench& t) {
    const Hit hit = t->insert(kW0, direct(numbered(1)), kNow).hit;
    t->account_packet(kW0, hit.line(), kNow, kLength, tcp_flag::kSyn);
    t->account_packet(kW0, hit.connection->line(Direction::kReply), kNow, kLength, tcp_flag::kSyn | tcp_flag::kAck);
    t->account_packet(kW0, hit.line(), kNow, kLength, tcp_flag::kAck);
    return hit;
  }
  template <typename Body>
  void opened_and_killed(Body&& body) {
    in_killed_process(options(*kernels), [&](Bench& t) { body(t, open(t)); });
  }

  TemporaryDirectory directory;
  LeaseArray* kernels = nullptr;
};

TEST_F(FlowLeases, CountsGoOnFromPairToPair) {
  Bench t(options(*kernels));
  const Hit hit = open(t);
  Connection& connection = *hit.connection;
  for (const std::uint64_t turn : {1u, 2u, 3u}) {
    t->lend(connection, kPair);
    EXPECT_FALSE(t->refresh(connection, kNow)) << "nothing has been forwarded by this lease";
    forward(lease(Direction::kForward), 10);
    forward(lease(Direction::kReply), 5);
    EXPECT_EQ(packets(t, hit, Direction::kForward), 2 + turn * 10);
    EXPECT_TRUE(t->refresh(connection, kNow));
    t->take_back(connection, kPair);
    EXPECT_EQ(packets(t, hit, Direction::kForward), 2 + turn * 10);
    EXPECT_EQ(packets(t, hit, Direction::kReply), 1 + turn * 5);
    t->leases().clear(kPair);
  }
  EXPECT_EQ(hit.line().packets, 2u) << "the line is the workers'";
  ASSERT_TRUE(t->remove(kW0, hit));
  t.age_all(kNow);
  for (unsigned i = 0; i < 16; ++i) {
    const Hit next = t->insert(kW0, direct(numbered(100 + i)), kNow).hit;
    EXPECT_EQ(packets(t, next, Direction::kForward), 0u) << "of an earlier connection in the slot";
  }
}

TEST_F(FlowLeases, ASuccessorReadsTheCountsOfWhatWasDown) {
  opened_and_killed([&](Bench& t, const Hit& hit) {
    t->lend(*hit.connection, kPair);
    forward(lease(Direction::kForward), 7);
    t->take_back(*hit.connection, kPair);
    t->leases().clear(kPair);
    t->lend(*hit.connection, kPair);
    forward(lease(Direction::kForward), 3);
  });
  LeaseArray own{};
  Bench t(options(own));
  ASSERT_TRUE(t.ok()) << t.error.text();
  const Hit hit = t->find(kW0, numbered(1));
  ASSERT_TRUE(hit);
  ASSERT_EQ(t->earlier().size(), 1u);
  EXPECT_TRUE(t->counts_earlier());
  for (const std::uint64_t more : {0u, 4u}) {  // that program still forwards
    forward(lease(Direction::kForward), more);
    t->count_earlier(counted(), kNow);
    EXPECT_EQ(packets(t, hit, Direction::kForward), 2 + 10 + more);
    EXPECT_EQ(packets(t, hit, Direction::kReply), 1u);
  }
  t->forget_earlier();
  EXPECT_FALSE(t->counts_earlier());
  t->lend(*hit.connection, 1);
  EXPECT_EQ(own[Leases::index(1, Direction::kForward)].packets, 14u);
  EXPECT_EQ(packets(t, hit, Direction::kForward), 16u);
}

TEST_F(FlowLeases, ASuccessorThatEndsBeforeItHasCountedLeavesThatToTheNextOne) {
  opened_and_killed([&](Bench& t, const Hit& hit) {
    t->lend(*hit.connection, kPair);
    forward(lease(Direction::kForward), 7);
  });
  LeaseArray own{};
  in_killed_process(options(own), [&](Bench& t) {
    const Hit hit = t->find(kW0, numbered(1));
    EXPECT_FALSE(t->refresh(*hit.connection, kNow)) << "the number is no pair of this process";
    t->leases().withdraw(hit.shared(), LeaseState::kRemoved);
  });
  Bench t(options(own));
  ASSERT_TRUE(t.ok()) << t.error.text();
  ASSERT_EQ(t->earlier().size(), 1u);
  t->count_earlier(counted(), kNow);
  t->forget_earlier();
  EXPECT_EQ(packets(t, t->find(kW0, numbered(1)), Direction::kForward), 9u);
}

TEST_F(FlowLeases, ASuccessorKeepsTheCountsOfWhatWasTakenBack) {
  opened_and_killed([&](Bench& t, const Hit& hit) {
    t->lend(*hit.connection, kPair);
    forward(lease(Direction::kForward), 7);
    t->take_back(*hit.connection, kPair);
  });
  LeaseArray own{};
  Bench t(options(own));
  ASSERT_TRUE(t.ok()) << t.error.text();
  EXPECT_TRUE(t->earlier().empty());
  EXPECT_FALSE(t->counts_earlier());
  t->count_earlier(counted(), kNow);
  EXPECT_EQ(packets(t, t->find(kW0, numbered(1)), Direction::kForward), 9u);
}

}  // namespace
}  // namespace isthmus::flow_test
