// The counters of the list, from the places that count to what control reads.
#include "dataplane/api/counters.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "dataplane/api/engine.h"
#include "dataplane/io/queue_counters.h"
#include "dataplane/stats/counters.h"
#include "test/support/named_counts.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

// The n-th row of a struct, from 1, is n * factor.
template <typename Counts>
Counts numbered(std::uint64_t factor) {
  Counts counts;
  std::uint64_t n = 0;
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    counts.*row.value = ++n * factor;
  }
  return counts;
}

template <typename Counts>
void expect_numbered(const Counts& counts, std::uint64_t factor) {
  std::uint64_t n = 0;
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    EXPECT_EQ(counts.*row.value, ++n * factor) << row.name;
  }
}

// A device without packets, whose queue counts (worker + 1) times the row's number.
class NumberedDevice final : public Device {
 public:
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] MacAddress mac() const noexcept override { return {}; }
  [[nodiscard]] Bytes mtu() const noexcept override { return Bytes{1500}; }
  [[nodiscard]] unsigned queues() const noexcept override { return 2; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned, FramePool&) override {
    return std::unique_ptr<DeviceQueue>(std::make_unique<Queue>(worker.value() + 1U));
  }
  [[nodiscard]] Status steer(const SteerRules&) override { return Ok{}; }
  [[nodiscard]] Status change_steer(const SteerChange&) override { return Ok{}; }
  [[nodiscard]] std::string describe() const override { return name_; }

 private:
  class Queue final : public DeviceQueue {
   public:
    explicit Queue(std::uint64_t factor) : factor_(factor) {}
    unsigned receive(std::span<Frame>) noexcept override { return 0; }
    unsigned transmit(std::span<const Frame>) noexcept override { return 0; }
    void flush() noexcept override {}
    [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
    bool arm() noexcept override { return true; }
    [[nodiscard]] QueueCounters counters() const noexcept override { return test::numbered<QueueCounters>(factor_); }

   private:
    std::uint64_t factor_;
  };
  std::string name_ = "numbered";
};

TEST(Counters, OfADeviceAreTheSumsOverTheWorkersQueuesForEveryRow) {
  EngineOptions options;
  options.keep_state = false;
  options.connections = 1024;
  options.workers = 2;
  options.drive_by_caller = true;
  options.cluster = ClusterId{1};
  options.tunnel = tunnel_end(*IpAddress::parse("192.0.2.1"));
  auto engine = Engine::create(options);
  ASSERT_TRUE(engine);
  ASSERT_TRUE((*engine)->add_device(std::make_unique<NumberedDevice>()));
  ASSERT_TRUE((*engine)->start());
  expect_numbered((*engine)->counters().devices.at(0).counters, 1 + 2);
}

TEST(Counters, OfAWorkerAreEachAddedToTheSum) {
  WorkerCounters worker;
  std::uint64_t n = 0;
#define ISTHMUS_WORKER_COUNTER(field, ...) worker.field.add(++n);
#include "dataplane/stats/counters.def"
  WorkerCounts sum;
  worker.add_to(sum);
  expect_numbered(sum, 1);
  worker.add_to(sum);
  expect_numbered(sum, 2);
}

TEST(Counters, OfAQueueAreEachRead) {
  QueueCounterCells cells;
  std::uint64_t n = 0;
#define ISTHMUS_QUEUE_COUNTER(field, ...) cells.field.add(++n);
#include "dataplane/stats/counters.def"
  expect_numbered(cells.read(), 1);
}

template <typename Counts>
void expect_nothing_but_rows() {
  EXPECT_EQ(sizeof(Counts), kCounterRows<Counts>.size() * sizeof(std::uint64_t));
  std::set<std::string_view> paths;
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    EXPECT_TRUE(paths.insert(row.json).second) << row.json;
    EXPECT_EQ(row.lost() && row.hint.empty(), false) << row.name;
  }
}

TEST(Counters, AreAllDescribed) {
  expect_nothing_but_rows<WorkerCounts>();
  expect_nothing_but_rows<FlowCounts>();
  expect_nothing_but_rows<TableCounts>();
  expect_nothing_but_rows<QueueCounters>();
  expect_nothing_but_rows<SteerCounters>();
}

TEST(Counters, OfAPacketAreTheseAndNoOthers) {
  PathRig rig;
  const PacketSpec packet = tcp(rig.at.client, rig.at.west).with_payload(100);
  const std::uint64_t bytes = packet.ip_bytes().size(), outer = 50;
  const std::string local = rig.local().name(), underlay = rig.underlay().name();
  const NamedCounts forwarded{{"worker.rx_packets", 1},      {"worker.tx_packets", 1},
                              {"worker.encapsulated", 1},    {"worker.fabric_bytes", bytes},
                              {local + ".rx_packets", 1},    {local + ".rx_bytes", bytes + 14},
                              {underlay + ".tx_packets", 1}, {underlay + ".tx_bytes", bytes + 14 + outer}};
  NamedCounts first = forwarded, settled = forwarded;
  first.insert(
      {{"worker.misses", 1}, {"connections.created", 1}, {"connections.now", 1}, {"connections.half_open", 1}});
  settled.insert({"worker.hits", 1});
  EXPECT_EQ(rig.from_local(packet).counted, first);
  EXPECT_EQ(rig.from_local(tcp(rig.at.client, rig.at.west, kAck).with_payload(100)).counted, settled);
  const PacketSpec refused = tcp(rig.at.client, rig.at.south);
  EXPECT_EQ(rig.from_local(refused).counted, (NamedCounts{{"worker.rx_packets", 1},
                                                          {"worker.misses", 1},
                                                          {"drop.not_linked", 1},
                                                          {local + ".rx_packets", 1},
                                                          {local + ".rx_bytes", refused.ip_bytes().size() + 14}}));
}

TEST(Counters, OfTheTablesAreTheirSizesAndRefusals) {
  PathRig rig;
  const EngineCounters before = rig.counters();
  EXPECT_GT(before.endpoints, 0U);
  EXPECT_EQ(before.endpoints, rig.engine().endpoint_count());
  EXPECT_GT(before.next_hops, 0U);
  (void)rig.engine().adjacency(DeviceId{0}, *IpAddress::parse("192.0.2.99"));
  EXPECT_EQ(rig.counters().next_hops, before.next_hops + 1);
  EXPECT_EQ(rig.counters().next_hops_refused, 0U);
  while (rig.counters().next_hops < rig.counters().next_hops_capacity) {
    const auto next = static_cast<std::uint32_t>(rig.counters().next_hops);
    for (std::uint32_t i = 0; i < 1000 && next + i < before.next_hops_capacity; ++i) {
      (void)rig.engine().adjacency(DeviceId{0}, IpAddress::ipv4(Be32::of(next + i + 0x0a640000U)));
    }
  }
  EXPECT_EQ(rig.engine().adjacency(DeviceId{0}, *IpAddress::parse("192.0.2.100")), kNoAdjacency);
  EXPECT_EQ(rig.counters().next_hops_refused, 1U);
}

}  // namespace
}  // namespace isthmus::test
