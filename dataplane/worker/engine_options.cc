#include "dataplane/worker/engine_options.h"

#include <algorithm>

namespace isthmus {

Result<unsigned> check_options(const EngineOptions& options) {
  if (options.cluster == kNoCluster) {
    return Error{"no cluster id", "engine", "set the id in the Cluster object of this gateway's cluster"};
  }
  const TunnelEnds& ends = options.tunnel;
  if ((ends.ipv4.is_unspecified() && ends.ipv6.is_unspecified()) ||
      (!ends.ipv4.is_unspecified() && !ends.ipv4.is_ipv4()) || ends.ipv6.is_ipv4() ||
      ends.port(ends.kind) == L4Port{0}) {
    return Error{"no tunnel address of either family, or no port", "engine", "give the gateway an underlayAddress"};
  }
  if (options.translation_first > options.translation_last || options.translation_first == 0) {
    return Error{"empty range of translation ports", "translation.ports",
                 "write it as first-last, for example 32768-65535"};
  }
  const auto workers = options.cores.empty() ? options.workers : static_cast<unsigned>(options.cores.size());
  if (workers == 0 || workers > kMaxWorkers) {
    return Error{"number of workers must be 1 to 64", "engine.workers",
                 "list 1 to 64 cores in engine.cores, or set engine.workers to 1 to 64"};
  }
  return workers;
}

FramePool::Options frames_of_worker(const EngineOptions& options, std::span<const std::unique_ptr<Device>> devices) {
  constexpr std::uint32_t kChunksBesideLong = 16;
  FramePool::Options memory;
  memory.chunks = options.frames;
  const bool with_long =
      std::any_of(devices.begin(), devices.end(), [](const auto& device) { return device->has_long_packets(); });
  memory.long_chunks = with_long ? memory.chunks / kChunksBesideLong : 0;
  constexpr std::uint32_t kMostStaggered = 32;
  memory.staggered = devices.empty() ? 1 : kMostStaggered;
  for (const auto& device : devices) {
    memory.reserved = std::max(memory.reserved, device->reserved_bytes());
    memory.staggered = std::min(memory.staggered, device->most_staggered());
  }
  return memory;
}

}  // namespace isthmus
