// The kinds of devices that an engine can use. Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/counters.h"
#include "dataplane/base/defaults.h"
#include "dataplane/io/device.h"

namespace isthmus {

// The kernel's maps of handed-down flows (xdp/loader/kernel_flows.h): one for an engine and all of its AF_XDP devices.
class KernelFlows;

struct KernelFlowsOptions {
  std::uint32_t entries = kDefaultKernelFlows;  // of both directions together
};
inline constexpr std::uint32_t kLeastKernelFlows = 16;
// Needs CAP_BPF. Their memory is taken at once: 160 to 168 bytes for an entry, and 9 MiB. Error: fewer than the least,
// or more than 16 M.
[[nodiscard]] Result<std::shared_ptr<KernelFlows>> open_kernel_flows(const KernelFlowsOptions& options);

enum class XdpMode : std::uint8_t { kAuto, kNative, kGeneric };
enum class ZeroCopy : std::uint8_t { kAuto, kOff, kRequire };
// Whether a device's XDP program forwards settled flows. kAuto: where packets would be copied to the engine.
enum class KernelForwarding : std::uint8_t { kAuto, kOn, kOff };

struct AfXdpOptions {
  std::string interface;
  XdpMode mode = XdpMode::kAuto;
  ZeroCopy zero_copy = ZeroCopy::kAuto;
  std::uint32_t ring_entries = kDefaultRingEntries;  // each of rx, tx, fill, completion; power of two
  std::uint32_t busy_poll_us = 0;                    // 0: off
  std::uint32_t busy_poll_budget = 64;
  std::uint32_t heartbeat_timeout_ms = 1000;       // without a heartbeat for this long, the engine counts as down
  bool fleet_traffic_on_engine_down_drops = true;  // false: pass it to the kernel (fail open)
  KernelForwarding kernel_forwarding = KernelForwarding::kAuto;
  std::uint32_t kernel_forwarding_hold_ms = 60'000;  // settled flows go on for so long without a heartbeat
  // Another engine runs on the interface: it stays in charge there until Device::begin().
  bool beside = false;
  bool point_to_point = false;  // every frame is for us, whatever its destination MAC: the engine end of our veth pair
  // Where settled flows are handed down to: those of EngineOptions::hand_down. nullptr: nowhere.
  std::shared_ptr<KernelFlows> kernel_flows = nullptr;
  std::string no_kernel_flows = {};  // why there is nowhere, for describe(); empty: nothing to say
};
// The longest IP packet that an AF_XDP device receives and sends: what a 4096-byte chunk holds behind the headroom and
// the Ethernet header. A longer one is lost, so that a device's MTU is never above it.
inline constexpr Bytes kMaxAfXdpPacket{4096 - kFrameHeadroom - 14};
// The same where the interface's MTU is larger at start, on Linux 6.6 or later: what a long chunk holds.
inline constexpr Bytes kMaxLongPacket{kChunksOfLong * 4096 - kFrameHeadroom - 14};
// The longest IP packet, its tunnel header included, that XDP programs forward on a veth: one page, behind the kernel's
// headroom (XDP_PACKET_HEADROOM, 256) and before its trailer (skb_shared_info, 320), with the Ethernet header. Longer
// ones lie in several buffers and go to the engine.
inline constexpr Bytes kMaxForwardedPacket{4096 - 256 - 320 - 14};
// Attaches xdp/steer and creates the rings. Fails, naming it, if another XDP program is attached. Needs CAP_NET_ADMIN,
// CAP_BPF, CAP_NET_RAW (and CAP_IPC_LOCK if memory areas exceed the memlock limit).
[[nodiscard]] Result<std::unique_ptr<Device>> open_af_xdp(const AfXdpOptions& options);
// Removes our steer program from an interface: explicit clean-up, since a stopping engine leaves it attached (fail
// closed). Not an error when there is none.
[[nodiscard]] Status detach_steer(const std::string& interface);

// Counters of an interface's steer program. Fails where there is none, or one of another version.
[[nodiscard]] Result<SteerCounters> steer_counters(const std::string& interface);

// The memory that DPDK has for itself (rings, descriptors; frames are the engine's), and its pages.
enum class DpdkPages : std::uint8_t {
  kAuto,
  kHuge,
  kOrdinary
};  // kAuto: huge ones if any are free, or a NIC needs them
struct DpdkMemory {
  DpdkPages pages = DpdkPages::kAuto;
  std::uint32_t megabytes = 64;
  friend bool operator==(const DpdkMemory&, const DpdkMemory&) = default;
};
struct DpdkOptions {
  // What DPDK's devargs name: an address of the PCI bus ("0000:00:05.0"), or a driver of its own with a number
  // ("net_memif0"); with arguments behind commas.
  std::string device;
  std::uint32_t ring_entries = kDefaultRingEntries;  // of each queue; drivers may have other limits
  std::uint32_t mtu = 0;                             // 0: as it is
  // The interface by which the kernel has the device, too, and by whose name it goes; empty: all that arrives is ours.
  std::string twin;
  unsigned workers = 1;    // of the engine
  std::vector<int> cores;  // CPUs that they are pinned to, which other threads leave to them
  DpdkMemory memory;       // the same for all devices of a process
};
// The longest IP packet that a DPDK device receives and sends: what a chunk holds behind DPDK's message buffer.
inline constexpr std::uint32_t kDpdkReserved = 192;
inline constexpr Bytes kMaxDpdkPacket{4096 - kDpdkReserved - kFrameHeadroom - 14};
// Loads the module isthmus-dpdk.so (package isthmus-dpdk), which brings DPDK's libraries. Error: it is not there or of
// another version, DPDK does not start, or the device cannot be used.
[[nodiscard]] Result<std::unique_ptr<Device>> open_dpdk(const DpdkOptions& options);
// Only the first of these: whether it could be loaded. Starts nothing of DPDK's.
[[nodiscard]] Status load_dpdk_module();

// Frames that one lane of a memory device holds in each direction.
inline constexpr std::uint32_t kDefaultLaneFrames = 4096;

struct MemoryDeviceOptions {
  std::string name = "memory";
  MacAddress mac;
  Bytes mtu{1500};
  std::string pcap_in;                             // empty: frames are injected by the caller
  std::string pcap_out;                            // empty: frames are kept for the caller
  std::uint32_t lane_frames = kDefaultLaneFrames;  // a power of two
  // The interface by which XDP programs send what leaves by this device; 0: none. A device without a network has no
  // program of its own, but what is handed down can name it.
  int interface_index = 0;
  // As a device that receives all that arrives at its interface: what is not the gateway's is kept for take_host().
  bool shares_with_host = false;
};
[[nodiscard]] Result<std::unique_ptr<Device>> open_memory(const MemoryDeviceOptions& options);

}  // namespace isthmus
