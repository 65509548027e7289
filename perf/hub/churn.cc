#include "perf/hub/churn.h"

#include <algorithm>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "perf/hub/subject.h"
#include "perf/hub/writer.h"

namespace isthmus::perf {
namespace {

using Generator = std::mt19937;

std::uint32_t below(Generator& generator, std::uint32_t limit) {
  return std::uniform_int_distribution<std::uint32_t>(0, limit - 1)(generator);
}

// Other identities for random endpoints; not for those with connections or the probed one.
std::vector<KeyValue> changed_endpoints(const SyntheticFleet& fleet, Generator& generator, std::size_t count) {
  std::vector<KeyValue> batch;
  while (batch.size() < count) {
    const std::uint32_t cluster = 1 + below(generator, fleet.clusters), endpoint = below(generator, fleet.endpoints);
    if (endpoint % kIdentities > kProbeEndpoint) {
      batch.push_back(endpoint_entry(cluster, endpoint, identity_of(cluster, below(generator, kIdentities))));
    }
  }
  std::sort(batch.begin(), batch.end(), [](const KeyValue& a, const KeyValue& b) { return a.key < b.key; });
  batch.erase(std::unique(batch.begin(), batch.end(), [](const auto& a, const auto& b) { return a.key == b.key; }),
              batch.end());
  return batch;
}

}  // namespace

void churn(Phase phase, const ChurnRates& rates, const SyntheticFleet& fleet, const std::string& address,
           const std::atomic<bool>& stop) {
  Generator generator(1);
  std::uint32_t number = 0;
  std::uint32_t batches_per_second = 0;
  std::function<std::vector<KeyValue>()> next;
  switch (phase) {
    case Phase::kEndpoints: {
      constexpr std::uint32_t kBatch = 10;
      batches_per_second = std::max(1U, rates.endpoints / kBatch);
      next = [&, size = std::min(kBatch, rates.endpoints)] { return changed_endpoints(fleet, generator, size); };
      break;
    }
    case Phase::kNodes:
      batches_per_second = rates.nodes;
      next = [&] { return std::vector<KeyValue>{new_node_entry(fleet, number++)}; };
      break;
    case Phase::kServices:
      batches_per_second = rates.services;
      next = [&] {
        return std::vector<KeyValue>{
            changed_service_entry(fleet, below(generator, fleet.services), below(generator, fleet.endpoints))};
      };
      break;
    default:
      return;
  }
  Writer writer(address);
  auto due = Clock::now();
  while (!stop) {
    writer.put(next());
    due += std::chrono::microseconds(1'000'000ULL / batches_per_second);
    std::this_thread::sleep_until(due);
  }
}

}  // namespace isthmus::perf
