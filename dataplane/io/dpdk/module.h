// What the module isthmus-dpdk.so and the program must agree about.
#pragma once

#include <memory>

#include "dataplane/api/devices.h"

namespace isthmus {

// Counted up when what the two share changes; beside it the version of the build is compared.
inline constexpr unsigned kDpdkModuleAbi = 1;

struct DpdkModule {
  unsigned abi;
  const char* version;
  Result<std::unique_ptr<Device>> (*open)(const DpdkOptions& options);
};

// The one symbol that the program looks up in it.
inline constexpr const char* kDpdkModuleSymbol = "isthmus_dpdk_module";

}  // namespace isthmus
