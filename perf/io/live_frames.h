// Traffic for benchmarks over veth: a pump that makes the kernel send copies of one frame, and a sink that counts them.
//
// Both are XDP programs run by the kernel (the pump by BPF_PROG_TEST_RUN with live frames), because no other generator
// at hand is fast enough. Threads: one, except that sunk() may run while another thread is in pump_until(). All calls
// in the network namespace of the interfaces. Needs root.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

struct bare_work;
struct bpf_object;

namespace isthmus::perf {

// What a sink has counted. Latencies are from the pump program to the sink program, with a resolution of 1/8.
struct Sunk {
  std::uint64_t frames = 0;
  std::uint64_t stamped = 0;
  std::uint64_t missing = 0;           // sequence numbers between the lowest and the highest that did not arrive
  std::vector<std::uint64_t> latency;  // frames per bucket, see LATENCY_BUCKETS
  // The latency quantile `share` (0 to 1) in nanoseconds; 0 without stamped frames.
  [[nodiscard]] double latency_at(double share) const;
};

// The BPF programs of perf/io, loaded.
class Traffic {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Traffic>> load();

  struct Flows {
    unsigned count = 1;
    unsigned offset = 0;  // of the 16-bit big-endian field that differs between flows
    unsigned first = 0;   // value of that field in the first flow
  };
  // The frame that pump_until() sends out of `interface`, at least 60 bytes; the peer interface must run an XDP
  // program. The first 128 bytes are rewritten in every copy. `stamp_at`: offset of a stamp whose sequence number and
  // time are updated in every copy; 0: none.
  [[nodiscard]] Status set_frame(const std::string& interface, std::span<const std::uint8_t> frame, const Flows& flows,
                                 unsigned stamp_at = 0);
  // Connections in scattered order instead of those of set_frame(), whose frame they are in.
  struct Spread {
    unsigned count = 2;           // a power of two
    unsigned port_at = 0;         // offset of the L4 port that differs
    unsigned lowest_port = 1024;  // ports are used before addresses
    unsigned ports = 2;           // a power of two
    unsigned address_at = 0;      // offset of the address's low half, which differs too
    unsigned first_address = 0;
    unsigned id_at = 0;       // offset of the IP header's identification, which keeps the header's checksum as it is
    unsigned payload_at = 0;  // offset of four bytes of payload, which do so for the L4 header's
  };
  [[nodiscard]] Status set_spread(const Spread& spread);
  // Sends copies, as fast as the other end's receive path takes them, until `stop` is set and a signal reaches the
  // calling thread (the kernel checks for signals between batches).
  [[nodiscard]] Status pump_until(const std::atomic<bool>& stop);

  // Frames pumped so far of a spread, modulo 2^32.
  [[nodiscard]] std::uint32_t pumped() const;

  // Sends so many copies, `batch` (at most 256) at a time; the other end's receive path runs after each batch.
  [[nodiscard]] Status pump_burst(unsigned frames, unsigned batch);

  // Counts and drops all packets that reach `interface`.
  [[nodiscard]] Status attach_sink(const std::string& interface);
  [[nodiscard]] Sunk sunk() const;
  // Beginnings of frames that the sink took since the last call, at most 64.
  struct Sample {
    std::size_t length = 0;           // of the frame
    std::vector<std::uint8_t> bytes;  // at most 192
  };
  [[nodiscard]] std::vector<Sample> take_samples();

  // Attaches "bare" (to the socket of set_bare_socket) or "to_kernel".
  [[nodiscard]] Status attach(const std::string& interface, const char* program);
  // Attaches "bare_out", "bare_out_calls" or "bare_back", whose frames leave by `to`.
  [[nodiscard]] Status attach_bare(const std::string& interface, const char* program, const bare_work& work,
                                   const std::string& to);
  [[nodiscard]] Status set_bare_socket(const char* interface, int socket);

 private:
  struct ObjectCloser {
    void operator()(bpf_object* object) const noexcept;
  };
  using Object = std::unique_ptr<bpf_object, ObjectCloser>;
  [[nodiscard]] static Object load_object();
  [[nodiscard]] Status pump(int frames, unsigned batch);  // until a signal, at most
  Object object_;
  std::vector<std::pair<std::string, Object>>
      others_;  // attached programs by interface; each object has its own socket map
  std::vector<std::uint8_t> frame_;
  int interface_index_ = 0;
};

}  // namespace isthmus::perf
