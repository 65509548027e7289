// The steer program (xdp/steer.bpf.c), loaded for one interface: one object with maps of its own, and with
// isthmus_forward (xdp/forward.bpf.c) where settled flows are handed down.
//
// Life cycle: load → attach → (join, set_socket, apply)* → destroy. Destruction leaves the program on the interface:
// without its engine it drops fleet traffic and passes the rest; what is handed down it forwards for a time, if there
// is a BPF file system (kBpfFolder). A restarted engine finds it there (see attach).
// Control thread only, except that the polling threads write their entries of heartbeats().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/base/result.h"
#include "xdp/abi.h"
#include "xdp/loader/steer_maps.h"
#include "xdp/loader/xdp_attachment.h"

struct bpf_object;

namespace isthmus {

class KernelFlows;

class SteerProgram {
 public:
  struct Settings {
    unsigned queues = 1;  // receive queues of the interface
    std::uint32_t heartbeat_timeout_ms = 1000;
    // Settled flows are forwarded for so long without a heartbeat, but at least for heartbeat_timeout_ms.
    std::uint32_t orphan_timeout_ms = 60'000;
    bool engine_down_passes = false;  // fleet traffic goes to the kernel while the engine is down
    bool beside = false;              // another engine runs on the interface until begin()
    bool fragments = false;           // multi-buffer frames: needed for native XDP with an MTU above 3506
    Bytes longest = kMaxAfXdpPacket;  // the longest packet that sockets take of such frames, where kernel_gathers()
    // The interface's own: frames for another are left to the kernel. None: a point-to-point link, all are for us.
    std::optional<MacAddress> mac = std::nullopt;
    // Where settled flows are handed down to; outlives the program. nullptr: nowhere.
    KernelFlows* kernel_flows = nullptr;
  };
  [[nodiscard]] static Result<std::unique_ptr<SteerProgram>> load(const Settings& settings);
  // Since Linux 6.6 a redirect to a socket takes frames in several buffers, and puts them into one chunk, or into
  // several where the socket has such frames; before, it drops them.
  [[nodiscard]] static bool kernel_gathers();
  ~SteerProgram();
  SteerProgram(const SteerProgram&) = delete;
  SteerProgram& operator=(const SteerProgram&) = delete;

  // Attaches the program to the interface. A foreign XDP program there is an error that names it, and so is a steer
  // program whose engine is alive. One left by an earlier run stays active, with its rules, until the first apply(),
  // which replaces it atomically, so that fleet traffic never reaches the kernel. kAuto tries native, then generic.
  // The counters of the program that it replaces, or else of `before`, go on.
  [[nodiscard]] Status attach(const Interface& interface, XdpMode mode, const SteerProgram* before = nullptr);
  // Looks whether the program is still on the interface, once apply() has put it there, and if another program took it
  // off, attaches it again. True: it was attached again. Error: it is not there now; a foreign program in its place is
  // named and left alone.
  [[nodiscard]] Result<bool> ensure_attached();
  // Of one that is loaded beside another engine's: takes that one's place. Until then the rules of apply() are written
  // and not in force.
  [[nodiscard]] Status begin();
  // Replaces the program's rules.
  [[nodiscard]] Status apply(const SteerRules& rules);
  // Changes the rules of the last apply(), which has succeeded.
  [[nodiscard]] Status change(const SteerChange& change) { return maps_->change(change); }
  // Whether the device has the underlay role, and the realm of the engine's flow keys: from then on packets of flows
  // handed down are forwarded here. Nothing changes without Settings::kernel_flows.
  [[nodiscard]] Status join(bool underlay, Realm realm);
  // What the leases of the program count that was found on the interface; empty: there was none, or it had none.
  [[nodiscard]] std::vector<LeaseCount> earlier_leases() const;
  // Lets them go, whose maps stay as long as somebody has one of them.
  void forget_earlier() noexcept { earlier_leases_.reset(); }
  // Settled flows are forwarded no longer than the engine lives: there is nowhere to pin what keeps them.
  [[nodiscard]] bool ends_with_engine() const noexcept { return attached_ && !pinned_; }
  // The interface has another MAC address now. Nothing changes on a point-to-point link.
  [[nodiscard]] Status set_mac(const MacAddress& mac);
  // Packets taken on `queue` go to this AF_XDP socket. The kernel removes a closed socket by itself.
  [[nodiscard]] Status set_socket(unsigned queue, int socket);

  // One entry per receive queue.
  [[nodiscard]] std::span<isthmus_heartbeat> heartbeats() const noexcept { return {heartbeats_, settings_.queues}; }
  [[nodiscard]] bool native() const noexcept { return native_; }
  // Why kAuto fell back to generic mode; empty otherwise.
  [[nodiscard]] const std::string& native_error() const noexcept { return native_error_; }
  [[nodiscard]] int program() const noexcept { return program_; }
  // Descriptor of the map of its counters.
  [[nodiscard]] int counters() const noexcept;

 private:
  struct ObjectCloser {
    void operator()(bpf_object* object) const noexcept;
  };
  explicit SteerProgram(const Settings& settings);
  [[nodiscard]] Status load_object();
  // Before loading.
  [[nodiscard]] Status prepare_forwarding();
  [[nodiscard]] Status map_heartbeats();
  [[nodiscard]] Status attach_new(XdpMode mode);
  [[nodiscard]] Status attach_here(bool native) const;
  [[nodiscard]] Status take_over();
  // Forwarding outlives the engine where the program is attached and the array is pinned.
  void pin_programs() noexcept;
  // Best effort: a program of another version may have other counters.
  void continue_counters(int of_map) noexcept;

  Settings settings_;
  std::unique_ptr<bpf_object, ObjectCloser> object_;
  std::unique_ptr<SteerMaps> maps_;
  std::uint32_t id_ = 0;  // of the program
  int program_ = -1;      // descriptors of object_
  int sockets_ = -1;
  int programs_ = -1;
  isthmus_heartbeat* heartbeats_ = nullptr;
  std::size_t heartbeats_bytes_ = 0;
  Interface interface_;
  std::optional<AttachedProgram> predecessor_;  // still attached
  std::optional<UniqueFd> earlier_leases_;      // its map
  bool attached_ = false;
  bool pinned_ = false;  // the array with isthmus_forward
  bool native_ = false;
  std::string native_error_;
};

}  // namespace isthmus
