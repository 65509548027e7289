// perf-hub: a synthetic fleet in a real etcd, and a gateway that follows it. Measures the time to full sync, memory,
// and the latency from etcd's acknowledgement of a write to the first packet handled with the new table, under churn.
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <new>
#include <numeric>
#include <thread>

#include "perf/figures/figures.h"
#include "perf/hub/churn.h"
#include "perf/hub/probe.h"
#include "perf/hub/subject.h"
#include "perf/hub/writer.h"
#include "perf/path/gateway.h"

extern char** environ;

namespace isthmus::perf {
namespace {

constexpr std::array<const char*, kPhases> kPhaseNames{"quiet", "endpoint churn", "node churn", "service churn",
                                                       "policy churn"};

struct Options {
  SyntheticFleet fleet;
  std::vector<std::uint32_t> sizes{10'000, 100'000, 1'000'000};  // endpoints of the whole fleet
  double seconds = 20;
  ChurnRates rates;
  std::string folder = "/dev/shm", json, subject;
};

// Results of the writing side.
struct Run {
  double load_seconds = 0;
  std::array<double, kPhases> seconds{};
  std::array<Latencies, kPhases> latencies;
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

void append_costs(std::vector<std::pair<std::string, double>>& measures, const std::string& phase,
                  const ChangeCost& cost, double seconds) {
  measures.push_back({phase + ": changes per second", cost.changes / seconds});
  measures.push_back({phase + ": publishes with such a change", cost.publishes});
  measures.push_back({phase + ": control CPU per publish, median ms", cost.median_ms});
  measures.push_back({phase + ": control CPU per publish, p99 ms", cost.p99_ms});
  measures.push_back({phase + ": control CPU per publish, most ms", cost.max_ms});
  measures.push_back({phase + ": control CPU per change, mean ms", cost.total_ms / std::max(cost.changes, 1.0)});
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
                     {"probes lost", static_cast<double>(run.lost)},
                     {"packets", std::accumulate(shared.packets.begin(), shared.packets.end(), 0.0)},
                     {"packets lost", std::accumulate(shared.lost.begin(), shared.lost.end(), 0.0)}};
  for (std::size_t i = 0; i < kPhases; ++i) {
    const std::string phase = kPhaseNames[i];
    const double seconds = std::max(shared.seconds[i], 1e-9);
    figure.measures.push_back({phase + ": cycles per packet", shared.cycles[i]});
    figure.measures.push_back({phase + ": revalidations per second", shared.revalidations[i] / seconds});
    if (i != 0) {
      append_costs(figure.measures, phase, shared.costs[i], run.seconds[i]);
    }
    append(figure.measures, phase, run.latencies[i]);
  }
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
pid_t start_subject(const SyntheticFleet& fleet, const ChurnRates& rates, const std::string& folder) {
  std::vector<std::string> words{"perf-hub",
                                 "--subject",
                                 folder,
                                 "--clusters",
                                 std::to_string(fleet.clusters),
                                 "--endpoints",
                                 std::to_string(fleet.clusters * fleet.endpoints),
                                 "--services",
                                 std::to_string(fleet.services),
                                 "--policies",
                                 std::to_string(fleet.policies),
                                 "--policy-churn",
                                 std::to_string(rates.policies)};
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
  const pid_t child = start_subject(fleet, options.rates, etcd.folder());
  wait_ready(shared, child);
  Prober prober(etcd.address(), shared);
  for (std::size_t i = 0; i < kPhases; ++i) {
    const auto phase = static_cast<Phase>(static_cast<std::size_t>(Phase::kQuiet) + i);
    shared.phase = phase;
    std::atomic<bool> stop{false};
    const auto started = Clock::now();
    std::thread writer([&] { churn(phase, options.rates, fleet, etcd.address(), stop); });
    run.latencies[i] = prober.probe(i == 0 ? options.seconds / 4 : options.seconds);
    stop = true;
    writer.join();
    run.seconds[i] = seconds_since(started);
  }
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
      run_subject(fleet, options.rates.policies, client_file(options.subject),
                  *map_shared(shared_file(options.subject)));
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
  app.add_option("--policies", options.fleet.policies, "policies of our cluster (100)")->check(CLI::Range(0U, 50000U));
  app.add_option("--churn", options.rates.endpoints, "endpoint changes per second (1000)")
      ->check(CLI::Range(1U, 100000U));
  app.add_option("--node-churn", options.rates.nodes, "nodes with a new prefix per second (25)")
      ->check(CLI::Range(1U, 1000U));
  app.add_option("--service-churn", options.rates.services, "changes of a service's backends per second (100)")
      ->check(CLI::Range(1U, 10000U));
  app.add_option("--policy-churn", options.rates.policies, "changes of a policy per second (25)")
      ->check(CLI::Range(1U, 1000U));
  app.add_option("--seconds", options.seconds, "duration of each phase of churn in seconds (20)")
      ->check(CLI::Range(0.5, 3600.0));
  app.add_option("--folder", options.folder, "parent directory for etcd's temporary data (/dev/shm)");
  app.add_option("--json", options.json, "output file for the results");
  app.add_option("--subject", options.subject, "internal: run as the gateway of a run in this folder")->group("");
  CLI11_PARSE(app, argc, argv);
  return isthmus::perf::run(options);
}
