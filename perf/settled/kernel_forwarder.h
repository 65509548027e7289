// The kernel programs of a gateway whose flows are all handed down, without its engine: on u0 and d0 of the topology in
// perf/io/rig.h, with maps that are filled as an engine fills them. Thread: one.
#pragma once

#include <memory>

#include "perf/settled/streams.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/steer_program.h"

namespace isthmus::perf {

class KernelForwarder {
 public:
  [[nodiscard]] static Result<std::unique_ptr<KernelForwarder>> open(Work work, std::uint32_t flows);
  // Packets that have been forwarded by decisions handed down.
  [[nodiscard]] std::uint64_t forwarded() const;

 private:
  [[nodiscard]] Status attach(std::unique_ptr<SteerProgram>& leg, const char* interface, const MacAddress& mac,
                              std::uint32_t number);

  std::unique_ptr<KernelFlows> maps_;
  std::unique_ptr<SteerProgram> underlay_, local_;
};

}  // namespace isthmus::perf
