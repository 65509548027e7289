// A gateway on pump devices with a published fleet of two clusters: 1,000 services of 10 backends each, 10,000 policy
// entries, 100,000 endpoints. Connections are numbered: the number determines client, L4 port and destination, and all
// are different. Any failure ends the program with a message. Threads: one, except for drive().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/engine.h"
#include "perf/path/frames.h"
#include "perf/path/pump_device.h"

namespace isthmus::perf {

// Ends the program with "perf-path: ..." and status 1.
[[noreturn]] void fail(const std::string& what);
template <typename T>
T need(Result<T> result) {
  if (!result) {
    fail(result.error().text());
  }
  return std::move(*result);
}

// kAliasedPod: as kPod, and our pods have aliases.
enum class Kind : std::uint8_t { kPod, kService, kAliasedPod };
enum class Way : std::uint8_t { kLocalToFabric, kFabricToLocal };

struct GatewayOptions {
  Kind kind = Kind::kPod;
  std::uint32_t connections = 0;      // established by the constructor
  std::uint32_t spare = 0;            // capacity for further connections
  std::uint32_t half_open_limit = 0;  // limit of connections without a reply; 0: no limit
  unsigned workers = 1;
  bool policies = true;  // the 10,000 entries; false: no policy
  bool events = true;    // flow events, as many as a gateway reports
  std::string state;     // directory of the connection table's file; empty: anonymous memory
  // Beginning of DPDK's devargs, behind which each device has a name of its own ("net_null"); empty: memory devices.
  std::string driver;
};

// Packets for one worker to forward.
struct Job {
  Way way = Way::kLocalToFabric;
  const std::vector<FrameTemplate>* templates = nullptr;
  const std::vector<PacketPatch>* patches = nullptr;
  std::uint64_t packets = 0;
  unsigned burst = kMaxBurst;  // of a round
  bool cold = false;
};

class Gateway {
 public:
  explicit Gateway(const GatewayOptions& options);

  // The patches of these connections' packets, in the same order.
  [[nodiscard]] std::vector<PacketPatch> patches_of(const std::vector<std::uint32_t>& connections, Way way) const;
  [[nodiscard]] FrameShape shape_of(Way way, std::uint8_t tcp_flags = kAck) const;

  // Runs the job on the calling thread as worker `worker`. Returns TSC cycles, without the driver's prepare().
  double drive(unsigned worker, const Job& job);
  // The same, but returns copies of the first `count` output frames.
  std::vector<std::vector<std::uint8_t>> drive_and_keep(const Job& job, std::size_t count);
  // A round without packets: runs aging.
  void idle_round(unsigned worker) { engine_->run_round(WorkerId{static_cast<std::uint8_t>(worker)}); }

  // Changes the peer, which invalidates every decision that depends on it.
  void move_peer();

  // Change the fleet, differently on each call. No established connection loses its backend, and policy still allows
  // the benchmark's traffic. Control thread; a worker may be driven concurrently.
  void change_services();
  void change_endpoints();
  void change_policies();

  [[nodiscard]] EngineCounters counters() const { return engine_->counters(); }
  [[nodiscard]] std::uint64_t sent(Way way, unsigned worker);
  [[nodiscard]] const GatewayOptions& options() const { return options_; }

 private:
  struct Ends;  // addresses and ports of a connection, low halves in host order
  [[nodiscard]] Ends ends_of(std::uint32_t connection) const;
  void publish();
  void establish();
  PumpDevice& in(Way way);
  PumpDevice& out(Way way);

  GatewayOptions options_;
  MaglevRing ring_;  // of every service
  std::unique_ptr<Engine> engine_;
  std::vector<PumpDevice*> devices_;  // underlay, local
  AdjacencyId underlay_hop_, local_hop_;
  std::uint16_t peer_port_ = 8472;
  std::uint32_t changes_ = 0;
};

// All drops so far, as "no_route 3, ...".
[[nodiscard]] std::string drops_text(const EngineCounters& counters);
[[nodiscard]] std::uint64_t drops(const EngineCounters& counters);

// What is wrong with frames sent on `way`; empty: nothing.
[[nodiscard]] std::string output_error(Kind kind, Way way, const std::vector<std::vector<std::uint8_t>>& frames);

}  // namespace isthmus::perf
