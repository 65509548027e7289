// A leg of an AF_XDP device: an interface with our program on it. Thread: control.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "dataplane/api/devices.h"
#include "dataplane/io/af_xdp/netdev.h"
#include "xdp/loader/steer_program.h"

namespace isthmus {

struct Leg {
  Interface interface;
  NetdevFacts facts;
  std::shared_ptr<SteerProgram> steer;
  std::optional<std::string> no_forwarding = std::nullopt;    // why its program forwards no settled flows
  std::optional<std::string> no_transmission = std::nullopt;  // why no program can send by it
  bool long_packets = false;                                  // as its program takes them
};

// Loads the program and attaches it. `long_packets`: whether sockets will have packets of up to kMaxLongPacket;
// nullopt: they will where the interface and the kernel have them. The counters of `before`, whose interface is gone,
// go on. Error: the interface is not there or is down, or the program is refused.
[[nodiscard]] Result<Leg> open_interface(const AfXdpOptions& options, std::optional<bool> long_packets = std::nullopt,
                                         const SteerProgram* before = nullptr);

}  // namespace isthmus
