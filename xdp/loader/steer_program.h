// xdp/steer, loaded for one interface: one object with maps of its own.
//
// Life: load → attach → (set_socket, apply)* → destroy. Destruction leaves the program on the interface: with its
// engine gone it drops fleet traffic and passes the rest. An engine that starts again finds it there (see attach).
// Control thread only, except that the polling threads write their entries of beats().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dataplane/api/devices.h"
#include "dataplane/base/result.h"
#include "xdp/abi.h"
#include "xdp/loader/steer_maps.h"
#include "xdp/loader/xdp_attachment.h"

struct bpf_object;

namespace isthmus {

class SteerProgram {
 public:
  struct Settings {
    unsigned queues = 1;  // receive queues of the interface
    std::uint32_t beat_timeout_ms = 1000;
    bool gone_passes = false;  // fleet traffic goes to the kernel while the engine is gone
    bool fragments = false;    // frames of several buffers: needed for native XDP over an MTU of 3506
  };
  [[nodiscard]] static Result<std::unique_ptr<SteerProgram>> load(const Settings& settings);
  ~SteerProgram();
  SteerProgram(const SteerProgram&) = delete;
  SteerProgram& operator=(const SteerProgram&) = delete;

  // Puts the program on the interface. A foreign XDP program there is an error that names it, and so is a steer program
  // whose engine is alive. One left by an earlier run stays in force, with its rules, until the first apply(), which
  // replaces it in one step: at no moment does fleet traffic reach the kernel. kAuto tries native, then generic.
  [[nodiscard]] Status attach(const Interface& interface, XdpMode mode);
  // Makes the rules those of the program.
  [[nodiscard]] Status apply(const SteerRules& rules);
  // Packets taken on `queue` go to this AF_XDP socket. The kernel forgets a socket that is closed.
  [[nodiscard]] Status set_socket(unsigned queue, int socket);

  // One entry per receive queue.
  [[nodiscard]] std::span<isthmus_beat> beats() const noexcept { return {beats_, settings_.queues}; }
  [[nodiscard]] bool native() const noexcept { return native_; }
  // Why kAuto ended in generic mode; empty otherwise.
  [[nodiscard]] const std::string& native_refusal() const noexcept { return native_refusal_; }
  [[nodiscard]] int program() const noexcept { return program_; }

 private:
  struct ObjectCloser {
    void operator()(bpf_object* object) const noexcept;
  };
  explicit SteerProgram(const Settings& settings);
  [[nodiscard]] Status load_object();
  [[nodiscard]] Status map_beats();
  [[nodiscard]] Status attach_first(XdpMode mode);
  [[nodiscard]] Status take_over();

  Settings settings_;
  std::unique_ptr<bpf_object, ObjectCloser> object_;
  std::unique_ptr<SteerMaps> maps_;
  int program_ = -1;  // descriptors of object_
  int sockets_ = -1;
  isthmus_beat* beats_ = nullptr;
  std::size_t beats_bytes_ = 0;
  Interface interface_;
  std::optional<AttachedProgram> predecessor_;  // still in force
  bool attached_ = false;
  bool native_ = false;
  std::string native_refusal_;
};

}  // namespace isthmus
