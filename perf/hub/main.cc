// perf-hub: a synthetic fleet in a real etcd, and a gateway that follows it. Measures the time to full sync, memory,
// and the latency from etcd's acknowledgement of a write to the first packet handled with the new table, under churn.
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <new>
#include <random>
#include <thread>

#include "perf/figures/figures.h"
#include "perf/hub/probe.h"
#include "perf/hub/subject.h"
#include "perf/hub/writer.h"
#include "perf/path/gateway.h"

extern char** environ;

namespace isthmus::perf {
namespace {

struct Options {
  SyntheticFleet fleet;
  std::vector<std::uint32_t> sizes{10'000, 100'000, 1'000'000};  // endpoints of the whole fleet
  double seconds = 20;
  std::uint32_t churn = 1000;  // changes per second
  std::string folder = "/dev/shm", json, subject;
};

// Results of the writing side.
struct Run {
  double load_seconds = 0, churn_seconds = 0;
  std::uint64_t changes = 0;
  Latencies quiet, churn;
  std::uint32_t lost = 0;  // probes without a packet that passed
};

// Writes the whole fleet with several writers in parallel. Returns the seconds taken.
double load(const SyntheticFleet& fleet, const std::string& address) {
  constexpr unsigned kWriters = 4;
  constexpr std::size_t kBatch = 120;
  const auto started = Clock::now();
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      Writer writer(address);
      for (std::uint32_t c = 1 + w; c <= fleet.clusters; c += kWriters) {
        const std::vector<KeyValue> entries = cluster_entries(fleet, c);
        for (std::size_t at = 0; at < entries.size(); at += kBatch) {
          writer.put({entries.begin() + static_cast<std::ptrdiff_t>(at),
                      entries.begin() + static_cast<std::ptrdiff_t>(std::min(at + kBatch, entries.size()))});
        }
        writer.put(completion_marks(c));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  Writer(address).put({{"cilium/.heartbeat", "2026-01-01T00:00:00Z"}});
  return seconds_since(started);
}

// Changes the identities of random endpoints, in batches of ten, until `stop`; not of those with connections or the
// probed one. Returns the number of changes.
std::uint64_t churn(const Options& options, const SyntheticFleet& fleet, const std::string& address,
                    const std::atomic<bool>& stop) {
  constexpr std::uint32_t kBatch = 10;
  Writer writer(address);
  std::mt19937 generator(1);
  const auto random = [&](std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(generator);
  };
  std::uint64_t changes = 0;
  auto due = Clock::now();
  while (!stop) {
    std::vector<KeyValue> batch;
    while (batch.size() < kBatch) {
      const std::uint32_t cluster = 1 + random(fleet.clusters), endpoint = random(fleet.endpoints);
      if (endpoint % kIdentities > kProbeEndpoint) {
        batch.push_back(endpoint_entry(cluster, endpoint, identity_of(cluster, random(kIdentities))));
      }
    }
    std::sort(batch.begin(), batch.end(), [](const KeyValue& a, const KeyValue& b) { return a.key < b.key; });
    batch.erase(std::unique(batch.begin(), batch.end(), [](const auto& a, const auto& b) { return a.key == b.key; }),
                batch.end());
    writer.put(batch);
    changes += batch.size();
    due += std::chrono::microseconds(1'000'000ULL * kBatch / options.churn);
    std::this_thread::sleep_until(due);
  }
  return changes;
}

double quantile(const std::vector<double>& sorted, double q) {
  return sorted.empty()
             ? 0
             : sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

// Appends the quantiles of one phase's latencies.
void append(std::vector<std::pair<std::string, double>>& measures, const std::string& phase,
            const Latencies& latencies) {
  measures.push_back({phase + ": probes", static_cast<double>(latencies.write_to_packet.size())});
  const std::pair<const char*, const std::vector<double>&> rows[] = {
      {"write to packet", latencies.write_to_packet},
      {"write to bare watcher", latencies.write_to_bare_watcher},
      {"bare watcher to packet", latencies.bare_watcher_to_packet},
      {"write sent to packet", latencies.sent_to_packet}};
  for (const auto& [name, samples] : rows) {
    measures.push_back({phase + ": " + name + ", median ms", quantile(samples, 0.5)});
    measures.push_back({phase + ": " + name + ", p99 ms", quantile(samples, 0.99)});
    measures.push_back({phase + ": " + name + ", p99.9 ms", quantile(samples, 0.999)});
  }
}

// Buckets of the endpoint table: a power of two, at least two per endpoint.
double buckets_of(double endpoints) {
  double buckets = 131072;  // initial size
  while (buckets < 2 * endpoints) {
    buckets *= 2;
  }
  return buckets;
}

Figure figure_of(const SyntheticFleet& fleet, const Shared& shared, const Run& run) {
  const double entry_bytes = 48 + 4 * buckets_of(shared.endpoints) / shared.endpoints;  // entry plus buckets
  const double ring_kib = shared.ring_slots * 2 / 1024;
  const double engine_kib = shared.base_kib + shared.endpoints * entry_bytes / 1024 + ring_kib;
  Figure figure;
  figure.name = "hub";
  figure.device = "memory";
  figure.flows = static_cast<std::uint64_t>(fleet.clusters) * fleet.endpoints;
  figure.measures = {{"clusters", static_cast<double>(fleet.clusters)},
                     {"nodes", static_cast<double>(fleet.clusters * fleet.nodes())},
                     {"endpoints in the table", shared.endpoints},
                     {"objects in the model", shared.objects},
                     {"seconds to write the fleet", run.load_seconds},
                     {"seconds to full sync", shared.sync_seconds},
                     {"seconds until it serves", shared.serve_seconds},
                     {"control side after sync, MiB", (shared.synced_kib - engine_kib) / 1024},
                     {"control side, peak MiB", (shared.peak_kib - engine_kib) / 1024},
                     {"bytes per endpoint in the data plane", entry_bytes},
                     {"rings", shared.rings},
                     {"ring memory, MiB", ring_kib / 1024},
                     {"changes per second under churn", static_cast<double>(run.changes) / run.churn_seconds},
                     {"probes lost", static_cast<double>(run.lost)},
                     {"cycles per packet, quiet", shared.cycles[0]},
                     {"cycles per packet, churn", shared.cycles[1]},
                     {"revalidations per second, quiet", shared.revalidations[0] / std::max(shared.seconds[0], 1e-9)},
                     {"revalidations per second, churn", shared.revalidations[1] / std::max(shared.seconds[1], 1e-9)},
                     {"packets", shared.packets[0] + shared.packets[1]},
                     {"packets lost", shared.lost[0] + shared.lost[1]}};
  append(figure.measures, "quiet", run.quiet);
  append(figure.measures, "churn", run.churn);
  return figure;
}

Shared* map_shared(const std::string& file) {
  const int fd = open(file.c_str(), O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Shared)) != 0) {
    fail("cannot create " + file);
  }
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) {
    fail("cannot map " + file);
  }
  return static_cast<Shared*>(memory);
}

std::string shared_file(const std::string& folder) { return folder + "/shared"; }
std::string client_file(const std::string& folder) { return folder + "/client.yaml"; }

// Starts this program again as the gateway's process (gRPC does not support fork without exec).
pid_t start_subject(const SyntheticFleet& fleet, const std::string& folder) {
  std::vector<std::string> words{"perf-hub",
                                 "--subject",
                                 folder,
                                 "--clusters",
                                 std::to_string(fleet.clusters),
                                 "--endpoints",
                                 std::to_string(fleet.clusters * fleet.endpoints),
                                 "--services",
                                 std::to_string(fleet.services)};
  std::vector<char*> args;
  for (std::string& word : words) {
    args.push_back(word.data());
  }
  args.push_back(nullptr);
  pid_t child = -1;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, args.data(), environ) != 0) {
    fail("cannot start the gateway's process");
  }
  return child;
}

void wait_ready(const Shared& shared, pid_t child) {
  while (!shared.ready) {
    if (waitpid(child, nullptr, WNOHANG) == child) {
      fail("the gateway's process ended early");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Figure measure(const Options& options, const SyntheticFleet& fleet) {
  const EtcdProcess etcd(options.folder);
  Run run;
  run.load_seconds = load(fleet, etcd.address());
  std::ofstream(client_file(etcd.folder()))
      << "endpoints:\n- http://" << etcd.address() << "\ninsecure-transport: true\n";
  Shared& shared = *new (map_shared(shared_file(etcd.folder()))) Shared;
  const pid_t child = start_subject(fleet, etcd.folder());
  wait_ready(shared, child);
  Prober prober(etcd.address(), shared);
  shared.phase = Phase::kQuiet;
  run.quiet = prober.probe(options.seconds / 4);
  shared.phase = Phase::kChurn;
  std::atomic<bool> stop{false};
  const auto started = Clock::now();
  std::thread writer([&] { run.changes = churn(options, fleet, etcd.address(), stop); });
  run.churn = prober.probe(options.seconds);
  stop = true;
  writer.join();
  run.churn_seconds = seconds_since(started);
  run.lost = prober.lost();
  shared.phase = Phase::kDone;
  waitpid(child, nullptr, 0);
  const Figure figure = figure_of(fleet, shared, run);
  munmap(&shared, sizeof shared);
  return figure;
}

int run(const Options& options) {
  std::vector<Figure> figures;
  for (const std::uint32_t size : options.sizes) {
    SyntheticFleet fleet = options.fleet;
    fleet.endpoints = std::max(kProbeEndpoint + 1, size / fleet.clusters);
    if (!options.subject.empty()) {
      run_subject(fleet, client_file(options.subject), *map_shared(shared_file(options.subject)));
      return 0;
    }
    figures.push_back(measure(options, fleet));
    print(figures.back());
  }
  if (!options.json.empty()) {
    write_json(figures, options.json);
  }
  return 0;
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  isthmus::perf::Options options;
  CLI::App app("A synthetic fleet in a real etcd, and a gateway that follows it.", "perf-hub");
  app.add_option("--endpoints", options.sizes, "endpoints of the whole fleet, one run per value (10000 100000 1000000)")
      ->check(CLI::Range(1U, 4'000'000U));
  app.add_option("--clusters", options.fleet.clusters, "clusters (250)")->check(CLI::Range(4U, 254U));
  app.add_option("--services", options.fleet.services, "global services (5000)")->check(CLI::Range(1U, 50000U));
  app.add_option("--churn", options.churn, "endpoint changes per second (1000)")->check(CLI::Range(1U, 100000U));
  app.add_option("--seconds", options.seconds, "duration of the churn phase in seconds (20)")
      ->check(CLI::Range(0.5, 3600.0));
  app.add_option("--folder", options.folder, "parent directory for etcd's temporary data (/dev/shm)");
  app.add_option("--json", options.json, "output file for the results");
  app.add_option("--subject", options.subject, "internal: run as the gateway of a run in this folder")->group("");
  CLI11_PARSE(app, argc, argv);
  return isthmus::perf::run(options);
}
