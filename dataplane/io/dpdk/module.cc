#include "dataplane/io/dpdk/module.h"

#include "dataplane/io/dpdk/dpdk_device.h"

static_assert(isthmus::kDpdkReserved == isthmus::FrameMempool::kReserved);

extern "C" [[gnu::visibility("default")]] const isthmus::DpdkModule* isthmus_dpdk_module() {
  static constexpr isthmus::DpdkModule module{isthmus::kDpdkModuleAbi, isthmus::dpdk_module_layout(), ISTHMUS_VERSION,
                                              isthmus::DpdkDevice::open};
  return &module;
}
