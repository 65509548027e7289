// What an engine cannot be started with, and what its workers need. Plain functions. Thread: any.
#pragma once

#include <memory>
#include <span>

#include "dataplane/api/engine.h"
#include "dataplane/io/device.h"
#include "dataplane/packet/frame.h"

namespace isthmus {

// The number of workers; or what is wrong, with its fix.
[[nodiscard]] Result<unsigned> check_options(const EngineOptions& options);
// The packet buffers of a worker of these devices.
[[nodiscard]] FramePool::Options frames_of_worker(const EngineOptions& options,
                                                  std::span<const std::unique_ptr<Device>> devices);

}  // namespace isthmus
