// Traffic for benchmarks over veth: a pump that makes the kernel send copies of one frame, and a sink that counts them.
//
// Both are XDP programs run by the kernel (BPF_PROG_TEST_RUN with live frames), because no other generator here keeps
// up with what is measured. Threads: one, but sunk() and a pump_until()
// on another may run together; all in the network namespace of the interfaces. Needs root.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

struct bpf_object;

namespace isthmus::perf {

// What a sink has seen. Latencies are from the pump's program to the sink's, known to an eighth.
struct Sunk {
  std::uint64_t frames = 0;
  std::uint64_t stamped = 0;
  std::uint64_t missing = 0;  // sequence numbers between the lowest and the highest that never came
  std::vector<std::uint64_t> latency;
  // Nanoseconds that this share (0 to 1) of the stamped frames did not exceed; 0 without any.
  [[nodiscard]] double latency_at(double share) const;
};

// The BPF programs of perf/io, loaded.
class Traffic {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Traffic>> load();

  struct Flows {
    unsigned count = 1;
    unsigned offset = 0;  // of 16 bits in the frame, big endian
    unsigned first = 0;   // their first value
  };
  // What pump() sends out of `interface`; its other end must run an XDP program. At least 60 bytes; the first
  // 128 are written anew for every copy. `stamp_at`: offset of a stamp whose number and time every copy gets anew.
  [[nodiscard]] Status set_frame(const std::string& interface, std::span<const std::uint8_t> frame, const Flows& flows,
                                 unsigned stamp_at = 0);
  // Sends copies, as fast as the other end's receive path takes them, until `stop` is set and a signal reaches the
  // calling thread (the kernel looks for one between batches).
  [[nodiscard]] Status pump_until(const std::atomic<bool>& stop);

  // Ends all packets that reach `interface`.
  [[nodiscard]] Status attach_sink(const std::string& interface);
  [[nodiscard]] Sunk sunk() const;

  // Attaches "bare" (to the socket of set_bare_socket) or "to_kernel".
  [[nodiscard]] Status attach(const std::string& interface, const char* program);
  [[nodiscard]] Status set_bare_socket(const char* interface, int socket);

 private:
  struct ObjectCloser {
    void operator()(bpf_object* object) const noexcept;
  };
  using Object = std::unique_ptr<bpf_object, ObjectCloser>;
  [[nodiscard]] static Object load_object();
  Object object_;
  std::vector<std::pair<std::string, Object>> others_;  // one object, and so one socket map, per interface of "bare"
  std::vector<std::uint8_t> frame_;
  int interface_index_ = 0;
};

}  // namespace isthmus::perf
