// perf-table: cost of the connection table, in TSC cycles per packet of a bulk lookup with accounting, per insert and
// removal, per revalidation, per slot visited by aging. At 1,000 connections everything is in the cache; at 1,000,000
// nothing is. One thread, one worker: no contention. Keys come in random order.
//   perf-table [--case GLOB]... [--runs N] [--quick] [--json FILE]
#include <fnmatch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "dataplane/base/quiescence.h"
#include "dataplane/conntrack/flow_table.h"
#include "perf/figures/figures.h"
#include "perf/figures/stopwatch.h"

namespace isthmus::perf {
namespace {

constexpr WorkerId kWorker{0};
constexpr Seconds kNow{100};
constexpr std::size_t kBurst = 64;

FlowKey key_of(std::uint32_t n) {
  FlowKey k;
  k.set_source(IpAddress::ipv4(Be32::of(0x0a000000 + n / 50'000)));
  k.set_destination(IpAddress::ipv4(Be32::of(0x0a800000 + n % 251)));
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
struct TableBench {
  TableBench(std::uint32_t capacity, std::uint32_t filled) : quiescence(1), random(1), fresh(filled) {
    FlowTable::Options options;
    options.keep_state = false;
    options.connections = options.half_open_limit = capacity;
    options.hash_seed = 1;
    auto opened = FlowTable::open(options, quiescence);
    if (!opened) {
      std::fprintf(stderr, "%s\n", opened.error().text().c_str());
      std::exit(1);
    }
    table = std::move(*opened);
    quiescence.online(0);
    Dependencies none;
    table->epochs().begin(none);
    none.write_to(block);
    for (std::uint32_t n = 0; n < filled; ++n) {
      if (table->insert(kWorker, connection_of(n, block), kNow).outcome != InsertOutcome::kInserted) {
        std::fprintf(stderr, "perf-table: the table does not hold %u connections\n", filled);
        std::exit(1);
      }
    }
    for (std::uint32_t n = 0; n < std::max(filled, 1u); ++n) {
      keys.push_back(key_of(n));
    }
    std::shuffle(keys.begin(), keys.end(), random);
    // Repeat the same order, so that no burst contains a connection twice.
    for (const std::size_t period = keys.size(); keys.size() % kBurst != 0 || keys.size() < 4096;) {
      keys.push_back(keys[keys.size() - period]);
    }
  }
  [[nodiscard]] std::span<const FlowKey> next_burst() {
    at = at + kBurst >= keys.size() ? 0 : at + kBurst;
    return {keys.data() + at, kBurst};
  }
  void end_round() {
    table->age_connections(kWorker, kNow, 1);
    quiescence.quiescent(0);
  }

  Quiescence quiescence;
  std::unique_ptr<FlowTable> table;
  DirectionBlock block;
  std::mt19937 random;
  std::vector<FlowKey> keys;
  std::size_t at = 0;
  std::uint32_t fresh = 0;  // first connection that is not in the table
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "perf-table: %s\n", what.c_str());
  std::exit(1);
}

// All table work of a settled packet: lookup, epoch check, counters.
void lookup(TableBench& b, std::uint64_t bursts) {
  std::array<Hit, kBurst> hits;
  std::uint64_t valid = 0;
  for (std::uint64_t burst = 0; burst < bursts; ++burst) {
    b.table->find_burst(kWorker, b.next_burst(), hits);
    for (const Hit& hit : hits) {
      valid += hit && b.table->epochs().is_current(*hit.block) ? 1 : 0;
      b.table->account_packet(kWorker, hit.line(), kNow, Bytes{64}, tcp_flag::kAck);
    }
  }
  if (valid != bursts * kBurst) {
    fail("a lookup did not find its connection, or its decision was not valid");
  }
}

void lookup_miss(TableBench& b, std::uint64_t bursts) {
  std::array<Hit, kBurst> hits;
  std::array<FlowKey, kBurst> keys;
  for (std::uint64_t burst = 0; burst < bursts; ++burst) {
    const auto next = b.next_burst();
    std::copy(next.begin(), next.end(), keys.begin());
    for (FlowKey& key : keys) {
      key.protocol = IpProtocol::kUdp;
    }
    b.table->find_burst(kWorker, keys, hits);
    if (std::any_of(hits.begin(), hits.end(), [](const Hit& hit) { return static_cast<bool>(hit); })) {
      fail("a lookup found a connection that does not exist");
    }
  }
}

// A new decision for a settled connection, including reclamation of the old one.
void revalidate(TableBench& b, std::uint64_t bursts) {
  std::array<Hit, kBurst> hits;
  for (std::uint64_t burst = 0; burst < bursts; ++burst) {
    b.table->find_burst(kWorker, b.next_burst(), hits);
    ++b.block.mtu;  // an equal decision would keep its block
    for (Hit& hit : hits) {
      if (b.table->revalidate(kWorker, hit, b.block) != RevalidateOutcome::kPublished) {
        fail("a decision was not published");
      }
    }
    b.end_round();
  }
}

// Insertion and removal of a connection.
void insert(TableBench& b, std::uint64_t bursts) {
  for (std::uint64_t burst = 0; burst < bursts; ++burst) {
    for (std::size_t i = 0; i < kBurst; ++i, ++b.fresh) {
      const auto created = b.table->insert(kWorker, connection_of(b.fresh, b.block), kNow);
      if (created.outcome != InsertOutcome::kInserted) {
        fail("the table rejected a connection");
      }
      b.table->remove(kWorker, created.hit);
    }
    b.end_round();
  }
}

// Slots visited by aging, none expired.
void aging(TableBench& b, std::uint64_t bursts) {
  for (std::uint64_t burst = 0; burst < bursts; ++burst) {
    if (b.table->age_connections(kWorker, kNow, kBurst) != 0) {
      fail("aging removed a live connection");
    }
  }
}

struct TableCase {
  const char* name;
  void (*run)(TableBench&, std::uint64_t bursts);
};
constexpr TableCase kCases[] = {{"table/lookup", lookup},
                                {"table/lookup-miss", lookup_miss},
                                {"table/insert", insert},
                                {"table/revalidate", revalidate},
                                {"table/aging", aging}};

Figure measure(const TableCase& what, TableBench& bench, std::uint32_t connections, unsigned runs) {
  constexpr std::uint64_t kBursts = 4096;
  Figure figure;
  figure.name = what.name;
  figure.device = "none";
  figure.flows = connections;
  figure.burst = static_cast<unsigned>(kBurst);
  what.run(bench, kBursts);
  for (unsigned run = 0; run < runs; ++run) {
    Stopwatch watch;
    watch.start();
    what.run(bench, kBursts);
    watch.stop();
    figure.cycles.push_back(watch.cycles() / static_cast<double>(kBursts * kBurst));
  }
  return figure;
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  using namespace isthmus::perf;
  std::vector<std::string> patterns = {"table/*"};
  std::vector<std::uint32_t> connections = {1000, 100000, 1000000};
  unsigned runs = 7;
  std::string json;
  CLI::App app("TSC cycles of the connection table's operations, one worker.", "perf-table");
  app.add_option("--case", patterns, "cases by name; * and ? match (table/*)");
  app.add_option("--connections", connections, "connections in the table (1000 100000 1000000)")
      ->check(CLI::Range(1U, 100'000'000U));
  app.add_option("--runs", runs, "timed runs of each, after a warm-up run (7)")->check(CLI::Range(1U, 1000U));
  app.add_option("--json", json, "output file for the results");
  CLI11_PARSE(app, argc, argv);
  std::vector<Figure> figures;
  for (const std::uint32_t count : connections) {
    // With more room than a nearly full table has, in which a source may not have as many.
    TableBench bench(count + count / 4 + 4096, count);
    for (const TableCase& one : kCases) {
      if (std::any_of(patterns.begin(), patterns.end(),
                      [&](const std::string& glob) { return fnmatch(glob.c_str(), one.name, 0) == 0; })) {
        figures.push_back(measure(one, bench, count, runs));
        print(figures.back());
      }
    }
  }
  if (figures.empty()) {
    std::fprintf(stderr, "perf-table: no case matches\n");
    return 1;
  }
  if (!json.empty()) {
    write_json(figures, json);
  }
}
