// The twins of DPDK devices whose NICs have an interface of the kernel, too: each takes over its NIC's addresses and
// routes while the gateway runs, and gives them back when it stops. After a crash they stay at the twin, which the next
// start adopts; a start without DPDK for that NIC, and `isthmus clean-up`, give them back.
// Owner: the Node. Thread: control. Failure: errors; then all is where it was.
#pragma once

#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/kernel/kernel.h"

namespace isthmus {

class StandingTwins {
 public:
  explicit StandingTwins(Kernel& kernel) : kernel_(&kernel) {}

  // What an earlier gateway has left at a twin of a NIC that is not DPDK's any more.
  [[nodiscard]] Status give_back_unused(const GatewayConfig& config);
  // From the kernel's interface of the device, if it has one; the twin is there and up. `devargs`: as DPDK has them.
  [[nodiscard]] Status take_over(const std::string& devargs, const std::string& twin);
  // After routes or addresses of the node changed.
  void note();
  // Whether there is anything to keep, and what keeps it from being so: puts back what a twin had that was removed and
  // made anew.
  [[nodiscard]] std::vector<Error> keep();
  // The gateway stops, and with it the twins' packets.
  void give_back();

 private:
  struct One {
    StandingTwin twin;
    int index = 0;  // of the interface that has the addresses; another one was made anew
    std::vector<Error> problems;
  };
  Kernel* kernel_;
  std::vector<One> twins_;
};

}  // namespace isthmus
