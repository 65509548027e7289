// Cycles per packet of the whole path over a memory device, at 1 thousand and 1 million connections, beside the same
// device with nothing in between (copy in, release). Both keys of every connection are in the table, connections come
// in random order, counters and times are written.
//   perf-path [--connections N]... [--json FILE]
#include <x86intrin.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

#include "dataplane/api/engine.h"
#include "dataplane/api/maglev.h"
#include "perf/path/frames.h"
#include "perf/path/pump_device.h"

namespace isthmus::perf {
namespace {

constexpr unsigned kRuns = 5;
constexpr std::uint32_t kServices = 1000;
constexpr std::uint32_t kClients = 4000;  // pods of our cluster
constexpr std::uint32_t kServers = 4000;  // pods of the other one

IpAddress address(std::uint32_t base, std::uint32_t n) { return IpAddress::ipv4(Be32::of(base + n)); }
const IpAddress kOurs = *IpAddress::parse("192.0.2.1"), kTheirs = *IpAddress::parse("192.0.2.2");
constexpr std::uint32_t kLocalBase = 0x0a010000, kRemoteBase = 0x0a020000, kVipBase = 0x0ac80000;

struct Measurement {
  double median, lowest, highest;
};

struct Row {
  std::string name;
  std::uint32_t connections;
  std::size_t frame_bytes;
  Measurement cycles, reference;
};

template <typename T>
T need(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "perf-path: %s\n", result.error().text().c_str());
    std::exit(1);
  }
  return std::move(*result);
}

// An engine with two pumps and a published fleet of two clusters.
class Bench {
 public:
  explicit Bench(std::uint32_t connections) {
    EngineOptions options;
    options.drive_by_caller = true;
    options.keep_state = false;
    options.cluster = ClusterId{1};
    options.tunnel_address = kOurs;
    options.connections = std::max<std::uint32_t>(connections + connections / 4, 4096);
    options.unreplied = options.connections;
    engine_ = need(Engine::create(options));
    auto underlay = std::make_unique<PumpDevice>("underlay");
    auto local = std::make_unique<PumpDevice>("local");
    underlay_ = underlay.get();
    local_ = local.get();
    need(engine_->add_device(std::move(underlay)));
    need(engine_->add_device(std::move(local)));
    need(engine_->start());
    publish();
  }

  // Cycles per packet until all `frames` were forwarded once.
  double run(bool from_underlay, const PumpDevice::Frames& frames, std::uint64_t packets) {
    PumpDevice& in = from_underlay ? *underlay_ : *local_;
    PumpDevice& out = from_underlay ? *local_ : *underlay_;
    const std::uint64_t before = out.sent();
    in.load(frames, packets);
    const std::uint64_t start = __rdtsc();
    while (engine_->run_round(WorkerId{0}) != 0) {
    }
    const std::uint64_t cycles = __rdtsc() - start;
    if (out.sent() - before != packets) {
      std::fprintf(stderr, "perf-path: %llu of %llu packets came out\n",
                   static_cast<unsigned long long>(out.sent() - before), static_cast<unsigned long long>(packets));
      for (const DropCount& drop : engine_->counters().drops) {
        if (drop.packets != 0) {
          std::fprintf(stderr, "  %s %llu\n", std::string(drop.name).c_str(),
                       static_cast<unsigned long long>(drop.packets));
        }
      }
      std::exit(1);
    }
    return static_cast<double>(cycles) / static_cast<double>(packets);
  }

 private:
  void publish() {
    TableDelta delta;
    const AdjacencyId underlay_hop = engine_->adjacency(DeviceId{0}, *IpAddress::parse("192.0.2.254"));
    const AdjacencyId local_hop = engine_->adjacency(DeviceId{1}, *IpAddress::parse("169.254.0.1"));
    engine_->set_adjacency(underlay_hop, MacAddress{{2, 0, 0, 0, 0, 9}});
    engine_->set_adjacency(local_hop, MacAddress{{2, 0, 0, 0, 0, 8}});
    delta.upsert_peers = {{PeerId{1}, ClusterId{2}, kTheirs, L4Port{8472}, underlay_hop, true}};
    delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}},
                      {ClusterId{2}, false, true, {*Prefix::parse("10.2.0.0/16")}, {PeerId{1}}}};
    delta.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, local_hop}};
    for (std::uint32_t s = 0; s < kServices; ++s) {
      auto set = std::make_shared<BackendSet>();
      set->backends = {{BackendId{s + 1}, address(kRemoteBase, s % kServers), L4Port{8080}, ClusterId{2}}};
      set->ring = maglev_ring(std::vector<MaglevBackend>{{set->backends[0].address, L4Port{8080}}});
      delta.upsert_frontends.push_back(
          {{Realm{0}, address(kVipBase, s), IpProtocol::kTcp, L4Port{80}}, ServiceId{s + 1}, false, std::move(set)});
    }
    need(engine_->publish(delta));
    std::vector<EndpointEntry> endpoints;
    for (std::uint32_t n = 0; n < 50000; ++n) {
      endpoints.push_back({Realm{0}, address(kLocalBase, n), ClusterId{1}, Identity{1u << 16 | 7}, kNoPeer});
      endpoints.push_back({Realm{0}, address(kRemoteBase, n), ClusterId{2}, Identity{2u << 16 | 7}, kNoPeer});
    }
    engine_->upsert_endpoints(endpoints);
  }

  std::unique_ptr<Engine> engine_;
  PumpDevice* underlay_ = nullptr;
  PumpDevice* local_ = nullptr;
};

// The device alone: a copy in, a release out.
double bare(const PumpDevice::Frames& frames, std::uint64_t packets) {
  PumpDevice device("bare");
  FramePool::Options memory;
  auto pool = need(FramePool::create(memory));
  auto queue = need(device.open_queue(WorkerId{0}, 1, *pool));
  device.load(frames, packets);
  std::array<Frame, kMaxBurst> burst;
  const std::uint64_t start = __rdtsc();
  while (const unsigned count = queue->receive(burst)) {
    queue->transmit({burst.data(), count});
  }
  return static_cast<double>(__rdtsc() - start) / static_cast<double>(packets);
}

template <typename Once>
Measurement measure(Once once) {
  std::vector<double> runs;
  for (unsigned i = 0; i < kRuns; ++i) {
    runs.push_back(once());
  }
  std::sort(runs.begin(), runs.end());
  return {runs[kRuns / 2], runs.front(), runs.back()};
}

struct Traffic {
  PumpDevice::Frames open, forward, reply;
};

// Connection n: client n mod kClients, its port so that no two are equal; direct, or to a VIP.
Traffic traffic_of(std::uint32_t connections, bool service) {
  std::vector<std::uint32_t> order(connections);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(20261122));
  Traffic t;
  for (const std::uint32_t n : order) {
    Flow flow;
    flow.source = address(kLocalBase, 1 + n % kClients);
    flow.source_port = static_cast<std::uint16_t>(1024 + n / kClients);
    flow.destination = service ? address(kVipBase, n % kServices) : address(kRemoteBase, n % kServers);
    flow.destination_port = service ? 80 : 9000;
    Flow back{service ? address(kRemoteBase, n % kServices) : flow.destination, flow.source,
              static_cast<std::uint16_t>(service ? 8080 : 9000), flow.source_port};
    t.open.push_back(tcp_frame(flow, kSyn));
    t.forward.push_back(tcp_frame(flow, kAck));
    t.reply.push_back(tunnel_frame(back, kAck, kTheirs, kOurs, 2u << 16 | 7));
  }
  return t;
}

void cases(std::uint32_t connections, std::vector<Row>& rows) {
  const std::uint64_t packets = std::max<std::uint64_t>(connections, 1'000'000);
  for (const bool service : {false, true}) {
    const Traffic t = traffic_of(connections, service);
    const std::string kind = service ? "service" : "pod";
    Bench bench(connections);
    const double opened = bench.run(false, t.open, connections);
    rows.push_back({"path/new-flow/" + kind, connections, 60, {opened, opened, opened}, measure([&] {
                      return bare(t.open, packets);
                    })});
    bench.run(true, t.reply, connections);
    bench.run(false, t.forward, connections);
    rows.push_back({"path/local-to-fabric/" + kind, connections, 60,
                    measure([&] { return bench.run(false, t.forward, packets); }),
                    measure([&] { return bare(t.forward, packets); })});
    rows.push_back({"path/fabric-to-local/" + kind + (service ? "-reply" : ""), connections, 110,
                    measure([&] { return bench.run(true, t.reply, packets); }),
                    measure([&] { return bare(t.reply, packets); })});
  }
}

void print(const std::vector<Row>& rows) {
  std::printf("%-34s %11s %6s %24s %16s %6s\n", "case", "connections", "bytes", "cycles/packet (min-max)",
              "bare device", "ratio");
  for (const Row& r : rows) {
    std::printf("%-34s %11u %6zu %8.0f (%5.0f-%5.0f) %20.0f %6.1f\n", r.name.c_str(), r.connections, r.frame_bytes,
                r.cycles.median, r.cycles.lowest, r.cycles.highest, r.reference.median,
                r.cycles.median / r.reference.median);
  }
}

void write_json(const std::vector<Row>& rows, const char* file) {
  std::FILE* out = std::fopen(file, "w");
  if (out == nullptr) {
    std::fprintf(stderr, "perf-path: cannot write %s\n", file);
    std::exit(1);
  }
  std::fputs("[\n", out);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    std::fprintf(
        out,
        "  {\"case\": \"%s\", \"device\": \"memory\", \"flows\": %u, \"frame_bytes\": %zu, \"burst\": %u, \"buffers\": "
        "\"hot\", \"workers\": 1, \"cycles_per_packet\": {\"median\": %.1f, \"min\": %.1f, \"max\": %.1f, \"runs\": "
        "%u}, "
        "\"reference\": \"bare device\", \"ratio_to_reference\": %.2f}%s\n",
        r.name.c_str(), r.connections, r.frame_bytes, kMaxBurst, r.cycles.median, r.cycles.lowest, r.cycles.highest,
        kRuns, r.cycles.median / r.reference.median, i + 1 < rows.size() ? "," : "");
  }
  std::fputs("]\n", out);
  std::fclose(out);
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  std::vector<std::uint32_t> connections;
  const char* json = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--connections") == 0 && i + 1 < argc) {
      connections.push_back(static_cast<std::uint32_t>(std::strtoul(argv[++i], nullptr, 10)));
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--connections N]... [--json FILE]\n", argv[0]);
      return 2;
    }
  }
  if (connections.empty()) {
    connections = {1000, 1000000};
  }
  std::vector<isthmus::perf::Row> rows;
  for (const std::uint32_t n : connections) {
    if (n == 0 || n > 100'000'000) {
      std::fprintf(stderr, "perf-path: --connections takes 1 to 100000000\n");
      return 2;
    }
    isthmus::perf::cases(n, rows);
  }
  isthmus::perf::print(rows);
  if (json != nullptr) {
    isthmus::perf::write_json(rows, json);
  }
}
