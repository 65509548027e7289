#include "dataplane/worker/hand_over.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace isthmus {
namespace {

// Of the sockets, parts of long ones by themselves; nullopt: one is named twice, or there is none of that number.
[[nodiscard]] std::optional<std::vector<bool>> chunks_in_use(const HandedWorker& handed) {
  std::vector<bool> used(std::size_t{handed.chunks} + std::size_t{handed.long_chunks} * kChunksOfLong);
  for (const HandedQueue& queue : handed.queues) {
    for (const HandedSocket& socket : queue.sockets) {
      for (const std::uint32_t chunk : socket.chunks) {
        if (chunk >= used.size() || used[chunk]) {
          return std::nullopt;
        }
        used[chunk] = true;
      }
    }
  }
  return used;
}

}  // namespace

HandedWorker describe_worker(Worker& worker, unsigned devices) {
  HandedWorker handed;
  handed.memory = UniqueFd::duplicate(worker.pool().memory());
  handed.chunks = worker.pool().chunks();
  handed.chunk_bytes = worker.pool().chunk_bytes();
  handed.long_chunks = worker.pool().long_chunks();
  for (unsigned device = 0; device < devices; ++device) {
    handed.queues.push_back(worker.queue(DeviceId{static_cast<std::uint8_t>(device)}).describe());
  }
  return handed;
}

Status adopt_worker(HandedWorker handed, unsigned workers, std::uint32_t frames,
                    std::span<const std::unique_ptr<Device>> devices, Worker::Setup& setup) {
  FramePool::Options memory;
  const auto used = handed.chunks == frames && handed.long_chunks <= frames ? chunks_in_use(handed) : std::nullopt;
  if (!used || handed.chunk_bytes != memory.chunk_bytes || handed.queues.size() != devices.size()) {
    return Error{"what was handed over does not fit: other frames, or other devices", "engine", ""};
  }
  memory.chunks = frames;
  memory.long_chunks = handed.long_chunks;
  auto pool = FramePool::adopt(handed.memory.release(), memory);
  if (!pool) {
    return pool.error();
  }
  setup.pool = std::move(*pool);
  for (std::size_t device = 0; device < devices.size(); ++device) {
    auto queue = devices[device]->adopt_queue(setup.id, workers, *setup.pool, std::move(handed.queues[device]));
    if (!queue) {
      return queue.error();
    }
    setup.queues.push_back(std::move(*queue));
  }
  for (std::uint32_t chunk = frames; chunk-- > 0;) {
    if (!(*used)[chunk]) {
      setup.pool->release(chunk);
    }
  }
  for (std::uint32_t chunk = setup.pool->numbers(); chunk > frames; chunk -= kChunksOfLong) {
    const auto parts = used->begin() + (chunk - kChunksOfLong);
    if (std::none_of(parts, parts + kChunksOfLong, [](bool each) { return each; })) {
      setup.pool->release(chunk - kChunksOfLong);
    }
  }
  return Ok{};
}

}  // namespace isthmus
