// The slow path's loop where the tables change while it decides.
#include "dataplane/slowpath/admit.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "dataplane/api/maglev.h"
#include "dataplane/publish/publisher.h"
#include "dataplane/slowpath/steps.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

const Actors at;

// One worker's slow path over published tables, without a worker.
struct AdmitRig {
  AdmitRig() : shared(options(), 1), publisher(shared) {
    FlowTable::Options table;
    table.keep_state = false;
    table.connections = 64;
    auto flows = FlowTable::open(table, shared.quiescence);
    EXPECT_TRUE(flows.ok());
    shared.flows = std::move(*flows);
    FramePool::Options memory;
    memory.chunks = 4;
    memory.pages = FramePages::kOrdinary;
    auto created = FramePool::create(memory);
    EXPECT_TRUE(created.ok());
    pool = std::move(*created);
    context = std::make_unique<SlowContext>(shared, WorkerId{0}, *pool, mailbox, *events);
    TableDelta delta;
    delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}}};
    delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{0}, AdjacencyId{1}}};
    EXPECT_TRUE(publisher.apply(delta).ok());
  }

  // What becomes of a SYN between two of our own.
  Packet& admit_one(std::uint16_t port) {
    const ReadSection section(shared.quiescence, 0);
    shared.flows->age_connections(WorkerId{0}, Seconds{1}, 1);  // frees what has been removed
    Packet& packet = burst->packets[0];
    packet.begin(kSyn);
    packet.key = {at.client.address, at.local_backend.address, Be16::of(port), Be16::of(1), IpProtocol::kTcp, Realm{0}};
    packet.hash = shared.flows->hash(packet.key);
    packet.line = nullptr;
    burst->count = burst->undecided.count = 1;
    burst->undecided.index[0] = 0;
    context->snapshot = shared.snapshot.load();
    context->now = Seconds{1};
    admit(*context, *burst);
    return packet;
  }

  SharedState shared;
  Publisher publisher;
  Mailbox mailbox;
  std::unique_ptr<FlowEventQueue> events = std::make_unique<FlowEventQueue>(1);
  std::unique_ptr<FramePool> pool;
  std::unique_ptr<SlowContext> context;
  std::unique_ptr<Burst> burst = std::make_unique<Burst>();

 private:
  static EngineOptions options() {
    EngineOptions options;
    options.cluster = ClusterId{1};
    return options;
  }
};

TEST(Admit, APacketWhoseTablesChangeAtEveryAttemptIsContendedAndOpensNothing) {
  AdmitRig rig;
  const Snapshot* const published = rig.shared.snapshot.load();
  const auto copies = std::make_unique<std::array<Snapshot, 64>>();
  copies->fill(*published);
  std::atomic<bool> done{false};
  std::thread changes([&] {
    for (std::size_t next = 0; !done; ++next) {
      rig.shared.snapshot.store(&(*copies)[next % copies->size()]);
    }
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::uint64_t opened = 0;
  bool contended = false;
  while (!contended && std::chrono::steady_clock::now() < deadline) {
    const Packet& packet = rig.admit_one(static_cast<std::uint16_t>(opened + 1));
    contended = packet.verdict == Verdict::kDrop && packet.reason == DropReason::kContended;
    opened += packet.alive() ? 1 : 0;
    if (packet.alive()) {
      const ReadSection section(rig.shared.quiescence, 0);
      rig.shared.flows->remove(WorkerId{0}, rig.shared.flows->hit(packet.line));
    }
  }
  done = true;
  changes.join();
  rig.shared.snapshot.store(published);
  EXPECT_TRUE(contended);
  EXPECT_EQ(rig.shared.flows->counts().created, opened);
  EXPECT_TRUE(rig.admit_one(60'000).alive()) << "once the tables stand still";
}

// A ring of 16,381 slots with one backend: the walk does not go round it in search of another.
TEST(BackendWalk, EndsAfterTheOnlyBackend) {
  BackendSet set;
  set.backends = {backend(1, at.west, 2)};
  set.ring = maglev_ring(std::array{MaglevBackend{at.west.address, L4Port{at.west.port}}});
  BackendWalk walk;
  walk.set = &set;
  walk.single = BackendIndex(set).accepting() == 1;
  EXPECT_NE(walk.next(), nullptr);
  EXPECT_EQ(walk.next(), nullptr);
  EXPECT_LE(walk.steps, 1u);
}

TEST(BackendWalk, FindsTheOthersAndEnds) {
  BackendSet set;
  std::vector<MaglevBackend> on_ring;
  for (std::uint32_t n = 0; n < 3; ++n) {
    const Endpoint where{IpAddress::ipv4(Be32::of(0x0a020010 + n)), 80};
    set.backends.push_back(backend(n + 1, where, 2));
    on_ring.push_back({where.address, L4Port{where.port}});
  }
  set.ring = maglev_ring(on_ring);
  EXPECT_EQ(BackendIndex(set).accepting(), 3u);
  BackendWalk walk;
  walk.set = &set;
  std::set<const BackendEntry*> found;
  std::uint32_t steps = 0;
  for (const BackendEntry* one = walk.next(); one != nullptr; one = walk.next()) {
    found.insert(one);
    ASSERT_LE(++steps, set.ring.size());
  }
  EXPECT_EQ(found.size(), 3u);
}

}  // namespace
}  // namespace isthmus::test
