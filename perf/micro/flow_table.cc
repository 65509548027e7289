// What the connection table costs: time per packet of a bulk lookup with counting, per insert and removal, per
// re-admission, per slot a janitor visits. At 1,000 connections everything is in the cache; at 1,000,000 nothing is.
// One thread, one worker: the price without contention. Keys come in random order.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "dataplane/flow/flow_table.h"
#include "dataplane/publish/quiescence.h"

namespace isthmus {
namespace {

constexpr WorkerId kWorker{0};
constexpr Seconds kNow{100};
constexpr std::size_t kBurst = 64;

FlowKey key_of(std::uint32_t n) {
  FlowKey k;
  k.source = IpAddress::ipv4(Be32::of(0x0a000000 + n / 50'000));
  k.destination = IpAddress::ipv4(Be32::of(0x0a800000 + n % 251));
  k.source_port = Be16::of(static_cast<std::uint16_t>(1024 + n % 50'000));
  k.destination_port = Be16::of(443);
  return k;
}

NewConnection connection_of(std::uint32_t n, const DirectionBlock& block) {
  NewConnection c;
  c.forward = key_of(n);
  c.reply = c.forward.reversed();
  c.forward_block = c.reply_block = &block;
  return c;
}

// A table with connections 0..filled-1, and their forward keys in random order.
struct Bench {
  Bench(std::uint32_t capacity, std::uint32_t filled) : quiescence(1), random(1) {
    FlowTable::Options options;
    options.keep_state = false;
    options.connections = options.unreplied = capacity;
    options.hash_seed = 1;
    auto opened = FlowTable::open(options, quiescence);
    if (!opened) {
      std::fprintf(stderr, "%s\n", opened.error().text().c_str());
      std::exit(1);
    }
    table = std::move(*opened);
    quiescence.online(0);
    table->epochs().sample_none(block);
    for (std::uint32_t n = 0; n < filled; ++n) {
      if (table->insert(kWorker, connection_of(n, block), kNow).outcome != InsertOutcome::kInserted) {
        std::fprintf(stderr, "the table does not take %u connections\n", filled);
        std::exit(1);
      }
    }
    for (std::uint32_t n = 0; n < std::max(filled, 1u); ++n) {
      keys.push_back(key_of(n));
    }
    std::shuffle(keys.begin(), keys.end(), random);
    while (keys.size() % kBurst != 0 || keys.size() < 4096) {
      keys.push_back(keys[random() % keys.size()]);
    }
  }
  [[nodiscard]] std::span<const FlowKey> next_burst() {
    at = at + kBurst >= keys.size() ? 0 : at + kBurst;
    return {keys.data() + at, kBurst};
  }
  void end_round() {
    table->sweep(kWorker, kNow, 1);
    quiescence.quiescent(0);
  }

  Quiescence quiescence;
  std::unique_ptr<FlowTable> table;
  DirectionBlock block;
  std::mt19937 random;
  std::vector<FlowKey> keys;
  std::size_t at = 0;
};

// One bench per size for all benchmarks that leave it as it is.
Bench& filled_with(std::uint32_t connections) {
  static std::map<std::uint32_t, std::unique_ptr<Bench>> benches;
  auto& bench = benches[connections];
  if (!bench) {
    bench = std::make_unique<Bench>(std::max(connections, 1024u), connections);
  }
  return *bench;
}

void report_per_packet(benchmark::State& state) {
  state.counters["per_packet"] = benchmark::Counter(static_cast<double>(state.iterations()) * kBurst,
                                                    benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// The table's whole share of a settled packet: lookup, epochs, counters.
void BM_LookupBurst(benchmark::State& state) {
  Bench& b = filled_with(static_cast<std::uint32_t>(state.range(0)));
  std::array<Hit, kBurst> hits;
  for (auto _ : state) {
    b.table->find_burst(kWorker, b.next_burst(), hits);
    std::uint64_t standing = 0;
    for (const Hit& hit : hits) {
      standing += b.table->epochs().stands(*hit.block) ? 1 : 0;
      b.table->track(kWorker, hit, kNow, Bytes{64}, tcp_flag::kAck);
    }
    benchmark::DoNotOptimize(standing);
  }
  report_per_packet(state);
}
BENCHMARK(BM_LookupBurst)->Arg(1'000)->Arg(1'000'000);

void BM_LookupBurstMiss(benchmark::State& state) {
  Bench& b = filled_with(static_cast<std::uint32_t>(state.range(0)));
  std::array<Hit, kBurst> hits;
  std::array<FlowKey, kBurst> keys;
  for (auto _ : state) {
    const auto burst = b.next_burst();
    std::copy(burst.begin(), burst.end(), keys.begin());
    for (FlowKey& key : keys) {
      key.protocol = IpProtocol::kUdp;
    }
    b.table->find_burst(kWorker, keys, hits);
    benchmark::DoNotOptimize(hits);
  }
  report_per_packet(state);
}
BENCHMARK(BM_LookupBurstMiss)->Arg(1'000)->Arg(1'000'000);

// A new decision for a settled connection, with the grace period of the old one.
void BM_Readmit(benchmark::State& state) {
  Bench& b = filled_with(static_cast<std::uint32_t>(state.range(0)));
  std::array<Hit, kBurst> hits;
  for (auto _ : state) {
    b.table->find_burst(kWorker, b.next_burst(), hits);
    for (Hit& hit : hits) {
      benchmark::DoNotOptimize(b.table->readmit(kWorker, hit, b.block));
    }
    b.end_round();
  }
  report_per_packet(state);
}
BENCHMARK(BM_Readmit)->Arg(1'000)->Arg(1'000'000);

// A connection's birth and death, beside so many others.
void BM_InsertAndRemove(benchmark::State& state) {
  const auto others = static_cast<std::uint32_t>(state.range(0));
  Bench b(others + 4096, others);
  std::uint32_t n = others;
  for (auto _ : state) {
    for (std::size_t i = 0; i < kBurst; ++i, ++n) {
      const auto made = b.table->insert(kWorker, connection_of(n, b.block), kNow);
      if (made.outcome != InsertOutcome::kInserted) {
        state.SkipWithError("refused");
        return;
      }
      b.table->remove(kWorker, made.hit);
    }
    b.end_round();
  }
  report_per_packet(state);
}
BENCHMARK(BM_InsertAndRemove)->Arg(1'000)->Arg(1'000'000);

// Slots visited by the janitor where nothing has expired. per_packet is per slot.
void BM_Sweep(benchmark::State& state) {
  Bench& b = filled_with(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(b.table->sweep(kWorker, kNow, kBurst));
  }
  report_per_packet(state);
}
BENCHMARK(BM_Sweep)->Arg(1'000)->Arg(1'000'000);

}  // namespace
}  // namespace isthmus
