// From the worker to the reader: the real engine over memory devices, the real compiler's names, the ring and its
// readers.
#include "control/observe/observer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using nlohmann::json;
using test::Actors;
using test::PathRig;
using test::tcp;

const Actors at;

test::PathRig::Options unlimited() {
  PathRig::Options options;
  options.engine.flow_events_per_second = 100'000'000;
  return options;
}

class ObserverTest : public ::testing::Test {
 protected:
  ObserverTest() {
    fleet.pod("east", "client-0", {"10.1.0.10"});
    fleet.cilium_endpoint("east", "client-0", "10.1.0.10", test::kClientIdentity);
    fleet.put(ObjectKind::kIdentity, "east", "", std::to_string(test::kClientIdentity),
              IdentityObject{Identity{test::kClientIdentity}, {{"k8s:app", "client"}}});
    fleet.pod("west", "web-0", {"10.2.0.10"});
    fleet.cilium_endpoint("west", "web-0", "10.2.0.10", test::kWestIdentity);
    fleet.service("east", fleet_test::global_service({"10.200.0.10"}));
    (void)fleet.compile();
    names.emplace(*fleet.compiler, fleet.model);
    observer.emplace(ObserverOptions{"east/east-1", 15}, rig.engine(), *names);
  }

  // All lines that a reader has at present.
  static std::vector<json> lines(const FlowReader& reader) {
    std::vector<json> all;
    for (auto text = reader(); text && !text->empty(); text = reader()) {
      std::istringstream stream(*text);
      for (std::string line; std::getline(stream, line);) {
        all.push_back(json::parse(line));
      }
    }
    return all;
  }
  FlowReader read(const FlowQuery& query) {
    auto reader = observer->read(query);
    EXPECT_TRUE(reader.ok()) << reader.error().text();
    return *reader;
  }
  // A dropped packet for each of `count` ports.
  void drop(std::uint16_t count, std::uint16_t first = 1000) {
    for (std::uint16_t i = 0; i < count; ++i) {
      (void)rig.from_local(tcp({at.client.address, static_cast<std::uint16_t>(first + i)}, at.south));
    }
    observer->poll();
  }

  PathRig rig{unlimited()};
  fleet_test::Fleet3 fleet;
  std::optional<FlowNames> names;
  std::optional<Observer> observer;
};

TEST_F(ObserverTest, AFlowHasTheNamesOfItsIds) {
  (void)rig.from_local(tcp(at.client, at.west));
  observer->poll();
  const auto all = lines(read({}));
  ASSERT_EQ(all.size(), 1u);
  const json& flow = all[0]["flow"];
  EXPECT_EQ(all[0]["node_name"], "east/east-1");
  EXPECT_EQ(flow["source"], json::parse(R"({"identity": 65636, "namespace": "shop", "pod_name": "client-0",
      "cluster_name": "east", "labels": ["k8s:app=client"]})"));
  EXPECT_EQ(flow["destination"]["pod_name"], "web-0");
  EXPECT_EQ(flow["destination"]["cluster_name"], "west");
  EXPECT_EQ(flow["destination"]["identity"], test::kWestIdentity);
  EXPECT_EQ(flow["verdict"], "FORWARDED");
}

TEST_F(ObserverTest, NamesFollowTheModel) {
  (void)rig.from_local(tcp(at.client, at.north));
  observer->poll();
  fleet.pod("north", "db-0", {"10.3.0.10"});
  (void)fleet.compile();
  names->forget();
  (void)rig.from_local(tcp({at.client.address, 7}, at.north));
  observer->poll();
  const auto all = lines(read({}));
  ASSERT_EQ(all.size(), 2u);
  EXPECT_FALSE(all[0]["flow"]["destination"].contains("pod_name")) << "as it was when the flow was received";
  EXPECT_EQ(all[0]["flow"]["destination"]["cluster_name"], "north") << "by its prefix";
  EXPECT_EQ(all[1]["flow"]["destination"]["pod_name"], "db-0");
}

TEST_F(ObserverTest, TheRingKeepsTheNewestAndLastTakesTheNewestOfThem) {
  drop(40);
  EXPECT_EQ(observer->counts().seen, 40u);
  EXPECT_EQ(observer->counts().kept, 15u);
  FlowQuery query;
  query.last = 3;
  const auto all = lines(read(query));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["flow"]["l4"]["TCP"]["source_port"], 1037);
  EXPECT_EQ(all[2]["flow"]["l4"]["TCP"]["source_port"], 1039);
  query.last = 100;
  EXPECT_EQ(lines(read(query)).size(), 15u);
  query.filters["port"] = {"1038"};
  query.last = 5;
  EXPECT_EQ(lines(read(query)).size(), 1u);
  query.filters["port"] = {"1"};
  EXPECT_EQ(lines(read(query)).size(), 0u);
}

TEST_F(ObserverTest, AFinishedReaderSaysSo) {
  drop(2);
  const FlowReader reader = read({});
  EXPECT_EQ(lines(reader).size(), 2u);
  EXPECT_FALSE(reader().has_value());
}

TEST_F(ObserverTest, AFollowerSeesNewFlowsAndHowManyItMissed) {
  drop(5);
  FlowQuery query;
  query.follow = true;
  const FlowReader reader = read(query);
  EXPECT_EQ(observer->counts().readers, 1u);
  EXPECT_TRUE(lines(reader).empty()) << "from now on";
  drop(3, 2000);
  EXPECT_EQ(lines(reader).size(), 3u);
  drop(20, 3000);
  const auto late = lines(reader);
  ASSERT_EQ(late.size(), 16u);
  EXPECT_EQ(late[0]["lost_events"], json::parse(R"({"source": "HUBBLE_RING_BUFFER", "num_events_lost": "5"})"));
  EXPECT_EQ(late[1]["flow"]["l4"]["TCP"]["source_port"], 3005);
  EXPECT_EQ(observer->counts().overtaken, 5u);
  ASSERT_TRUE(reader().has_value()) << "a follower never ends";
}

TEST_F(ObserverTest, AReaderThatOutlivesItHasEnded) {
  drop(2);
  FlowQuery query;
  query.follow = true;
  const FlowReader follower = read(query), reader = read({});
  observer.reset();
  EXPECT_FALSE(follower().has_value());
  EXPECT_FALSE(reader().has_value());
}

TEST_F(ObserverTest, NewFlowsAreAnnounced) {
  int news = 0;
  observer->on_flows([&] { ++news; });
  observer->poll();
  EXPECT_EQ(news, 0);
  drop(1);
  EXPECT_EQ(news, 1);
}

TEST_F(ObserverTest, AnInvalidQueryIsAnError) {
  FlowQuery query;
  query.filters["drop-reason"] = {"bad_luck"};
  EXPECT_FALSE(observer->read(query).ok());
  query.filters = {};
  query.since = "soon";
  EXPECT_FALSE(observer->read(query).ok());
}

// Two workers by their own threads, while control publishes, removes endpoints, reads counters, connections and
// flows.
TEST(ObserverThreads, ReportEveryEventOnceWhileTablesChange) {
  constexpr unsigned kWorkers = 2;
  constexpr std::uint16_t kTurns = 300;
  PathRig::Options options = unlimited();
  options.threads = true;
  options.engine.workers = kWorkers;
  options.engine.identity_grace = Seconds{3600};
  PathRig rig(options);
  fleet_test::Fleet3 fleet;
  (void)fleet.compile();
  FlowNames names(*fleet.compiler, fleet.model);
  Observer observer({"east/east-1", 127}, rig.engine(), names);
  const EndpointEntry west{Realm{0}, at.west.address, ClusterId{2}, Identity{test::kWestIdentity}, kNoPeer};
  std::uint64_t sent = 0, out = 0;
  const auto dropped = [&] {
    std::uint64_t sum = 0;
    for (const DropCount& drop : rig.counters().drops) {
      sum += drop.packets;
    }
    return sum;
  };
  const auto take_output = [&] {
    for (std::uint8_t w = 0; w < kWorkers; ++w) {
      for (MemoryDevice* device : {&rig.underlay(), &rig.local()}) {
        while (device->take(WorkerId{w})) {
          ++out;
        }
      }
    }
  };
  for (std::uint16_t turn = 0; turn < kTurns; ++turn) {
    for (std::uint8_t w = 0; w < kWorkers; ++w) {
      const test::Endpoint client{at.client.address, static_cast<std::uint16_t>(1000 + turn % 50)};
      for (const auto& packet : {tcp(client, at.west), tcp(client, at.west, test::kAck), tcp(client, at.south),
                                 tcp(client, at.west, test::kFin | test::kAck)}) {
        ASSERT_TRUE(rig.local().inject(packet.bytes(), WorkerId{w}));
        ++sent;
      }
    }
    test::PolicyDelta change;
    turn % 4 == 0 ? change.egress(test::kClientIdentity, test::enforced()) : change.without(test::kClientIdentity);
    ASSERT_TRUE(rig.engine().publish(change.delta).ok());
    if (turn % 3 == 0) {
      rig.engine().remove_endpoints(Realm{0}, {&at.west.address, 1});
    } else {
      rig.engine().upsert_endpoints({&west, 1});
    }
    observer.poll();
    (void)rig.flows();
    take_output();
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (sent != out + dropped() && std::chrono::steady_clock::now() < deadline) {
    take_output();
    std::this_thread::yield();
  }
  ASSERT_EQ(sent, out + dropped());
  rig.engine().stop();
  observer.poll();
  std::uint64_t events = 0, reported = 0;
  for (const FlowEventCount& count : rig.engine().flow_event_counts()) {
    events += count.reported + count.sampled_out + count.lost;
    reported += count.reported;
  }
  const ObserverCounts counts = observer.counts();
  EXPECT_EQ(counts.seen, reported);
  EXPECT_EQ(counts.seen + counts.unseen, events);
  const FlowEventCount drops = rig.engine().flow_event_counts()[static_cast<std::size_t>(FlowVerdict::kDropped)];
  EXPECT_EQ(drops.reported + drops.sampled_out + drops.lost, dropped());
  EXPECT_GE(dropped(), std::uint64_t{kWorkers} * kTurns) << "south is not linked";
  EXPECT_GT(out, 0u);
}

// Millions of dropped packets: each is counted, the ring keeps its size, and the number of unseen ones is reported.
TEST(ObserverFlood, IsCountedExactlyInBoundedMemory) {
  PathRig::Options options;
  options.engine.flow_events_per_second = 1000;
  PathRig rig(options);
  fleet_test::Fleet3 fleet;
  (void)fleet.compile();
  FlowNames names(*fleet.compiler, fleet.model);
  Observer observer({"east/east-1", 127}, rig.engine(), names);
  const auto frame = tcp(at.client, at.south).bytes();
  constexpr std::uint64_t kBursts = 40'000, kFlood = kBursts * kMaxBurst;
  for (std::uint64_t burst = 0; burst < kBursts; ++burst) {
    for (unsigned i = 0; i < kMaxBurst; ++i) {
      ASSERT_TRUE(rig.local().inject(frame));
    }
    (void)rig.engine().run_round(WorkerId{0});
    if (burst % 100 == 0) {
      observer.poll();
    }
  }
  observer.poll();
  const EngineCounters counters = rig.counters();
  const auto dropped = std::find_if(counters.drops.begin(), counters.drops.end(),
                                    [](const DropCount& drop) { return drop.name == "not_linked"; });
  EXPECT_EQ(dropped->packets, kFlood);
  EXPECT_EQ(dropped->egress, kFlood);
  const ObserverCounts counts = observer.counts();
  EXPECT_EQ(counts.seen + counts.unseen, kFlood);
  EXPECT_GT(counts.unseen, counts.seen);
  EXPECT_LE(counts.kept, 127u);
  EXPECT_EQ(observer.ring().capacity(), 127u);
}

}  // namespace
}  // namespace isthmus
