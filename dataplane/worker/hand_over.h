// What a worker hands to its successor in another process, and what the successor makes of it
// (dataplane/api/handed_over.h). Thread: control, while the workers stand. Failure: an error; nothing has changed.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "dataplane/api/handed_over.h"
#include "dataplane/base/result.h"
#include "dataplane/io/device.h"
#include "dataplane/worker/worker.h"

namespace isthmus {

// With an empty queue for each device of a kind that cannot be handed over.
[[nodiscard]] HandedWorker describe_worker(Worker& worker, unsigned devices);

// Fills in pool and queues. `frames`: of each worker, as configured.
[[nodiscard]] Status adopt_worker(HandedWorker handed, unsigned workers, std::uint32_t frames,
                                  std::span<const std::unique_ptr<Device>> devices, Worker::Setup& setup);

}  // namespace isthmus
