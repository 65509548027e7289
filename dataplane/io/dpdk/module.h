// What the module isthmus-dpdk.so and the program must agree about.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "dataplane/api/devices.h"

namespace isthmus {

// What the two share, beside the version: counted up when it changes in a way that shows in no size.
inline constexpr unsigned kDpdkModuleAbi = 1;
inline constexpr std::size_t kDpdkModuleSizes[] = {
    sizeof(DpdkOptions), sizeof(DeviceCondition), sizeof(FramePool),     sizeof(FramePool::Options),
    sizeof(Frame),       sizeof(HandedQueue),     sizeof(QueueCounters), sizeof(SteerRules)};
// Of the sizes of all types that pass between them, as FNV-1a.
[[nodiscard]] constexpr std::uint64_t dpdk_module_layout() noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::size_t size : kDpdkModuleSizes) {
    hash = (hash ^ size) * 0x100000001b3;
  }
  return hash;
}

struct DpdkModule {
  unsigned abi;
  std::uint64_t layout;  // dpdk_module_layout()
  const char* version;
  Result<std::unique_ptr<Device>> (*open)(const DpdkOptions& options);
};

// The one symbol that the program looks up in it.
inline constexpr const char* kDpdkModuleSymbol = "isthmus_dpdk_module";

}  // namespace isthmus
