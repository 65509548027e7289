// The forwarders under test in an I/O benchmark, between pump and sink: frames received on u0 leave on d0 with their
// Ethernet addresses rewritten. Thread: the caller's only.
#pragma once

#include <memory>

#include "dataplane/api/devices.h"
#include "dataplane/packet/frame.h"
#include "perf/io/live_frames.h"

namespace isthmus::perf {

class RoundForwarder {
 public:
  virtual ~RoundForwarder() = default;
  // Forwards the waiting frames, at most a burst; returns how many.
  virtual unsigned round() = 0;
  // Sleeps until frames arrive, at most kMaxSleepMs.
  static constexpr int kMaxSleepMs = 100;
  virtual void wait() = 0;
};

// Options for the engine's devices; the forwarder sets the interface name.
struct ForwarderSetup {
  AfXdpOptions device;
  FramePool::Options frames{.chunks = 8192};
};

// The reference: a minimal loop over libxdp's own sockets and one UMEM.
[[nodiscard]] Result<std::unique_ptr<RoundForwarder>> make_bare_forwarder(Traffic& traffic);
// The engine's devices without its packet path: the cost of the device layer.
[[nodiscard]] Result<std::unique_ptr<RoundForwarder>> make_device_forwarder(const ForwarderSetup& setup);
// The whole packet path: connection tracking and VXLAN encapsulation; frames leave 50 bytes longer.
[[nodiscard]] Result<std::unique_ptr<RoundForwarder>> make_path_forwarder(const ForwarderSetup& setup);

}  // namespace isthmus::perf
