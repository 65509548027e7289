// The device kinds an engine can be given. Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/io/device.h"

namespace isthmus {

enum class XdpMode : std::uint8_t { kAuto, kNative, kGeneric };
enum class ZeroCopy : std::uint8_t { kAuto, kOff, kRequire };

struct AfXdpOptions {
  std::string interface;
  XdpMode mode = XdpMode::kAuto;
  ZeroCopy zero_copy = ZeroCopy::kAuto;
  std::uint32_t ring_entries = 2048;  // each of rx, tx, fill, completion; power of two
  std::uint32_t in_flight = 4096;     // cap of frames held by this device's rings, per queue
  std::uint32_t busy_poll_us = 0;     // 0: off
  std::uint32_t busy_poll_budget = 64;
  std::uint32_t beat_timeout_ms = 1000;       // the kernel program calls the engine gone after this
  bool fleet_traffic_when_gone_drops = true;  // false: passes to the kernel (fail open)
};
// Attaches xdp/steer (refusing a foreign XDP program by name) and prepares the rings. Needs CAP_NET_ADMIN, CAP_BPF,
// CAP_NET_RAW (and CAP_IPC_LOCK for areas over the memlock limit).
[[nodiscard]] Result<std::unique_ptr<Device>> open_af_xdp(const AfXdpOptions& options);
// Removes our steer program from an interface (the explicit clean-up; a stopping engine leaves it in place, failing
// closed). Not an error when there is none.
[[nodiscard]] Status detach_steer(const std::string& interface);

// What the steer program of an interface did with the packets since it was put there. Also readable, by another
// process, while the engine is gone.
struct SteerCounters {
  std::uint64_t passed = 0;           // to the kernel's own stack; the next three are among them
  std::uint64_t not_a_peer = 0;       // tunnel packets for us from an address that is no remote peer
  std::uint64_t tunnel_fragment = 0;  // UDP fragments for our tunnel address
  std::uint64_t foreign_source = 0;   // to a fleet destination, from a source that is not this cluster's
  std::uint64_t taken_tunnel = 0;     // handed to the engine
  std::uint64_t taken_plain = 0;
  std::uint64_t gone_dropped = 0;  // fleet traffic that found the engine gone
  std::uint64_t gone_passed = 0;
};
[[nodiscard]] Result<SteerCounters> steer_counters(const std::string& interface);

struct MemoryDeviceOptions {
  std::string name = "memory";
  MacAddress mac;
  Bytes mtu{1500};
  std::string pcap_in;   // empty: frames are injected by the caller
  std::string pcap_out;  // empty: frames are kept for the caller
};
[[nodiscard]] Result<std::unique_ptr<Device>> open_memory(const MemoryDeviceOptions& options);

}  // namespace isthmus
