// What stands between pump and sink in an I/O benchmark: frames of u0 leave by d0, with the Ethernet addresses
// rewritten and nothing else looked at. Thread: one, the caller's.
#pragma once

#include <memory>

#include "dataplane/api/devices.h"
#include "dataplane/packet/frame.h"
#include "perf/io/live_frames.h"

namespace isthmus::perf {

class RoundForwarder {
 public:
  virtual ~RoundForwarder() = default;
  // Forwards what waits; returns how many frames.
  virtual unsigned round() = 0;
  // Sleeps until frames wait, or for a tenth of a second.
  virtual void wait() = 0;
};

// How the engine's devices are opened; the interface's name is the forwarder's.
struct ForwarderSetup {
  AfXdpOptions device;
  FramePool::Options frames{.chunks = 8192};
};

// The reference: libxdp's own sockets, one UMEM, a loop of a few lines.
[[nodiscard]] Result<std::unique_ptr<RoundForwarder>> make_bare_forwarder(Traffic& traffic);
// The engine's devices without its packet path: what our device layer costs.
[[nodiscard]] Result<std::unique_ptr<RoundForwarder>> make_device_forwarder(const ForwarderSetup& setup);
// The whole path: tracked, encapsulated in VXLAN, 50 bytes longer when it leaves.
[[nodiscard]] Result<std::unique_ptr<RoundForwarder>> make_path_forwarder(const ForwarderSetup& setup);

}  // namespace isthmus::perf
