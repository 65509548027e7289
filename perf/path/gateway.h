// A gateway over pump devices with a published fleet of two clusters: 1,000 services of 10 backends each, 10,000
// policy entries, 100,000 endpoints. Connections are numbers: number n names its client, its L4 port and where it goes,
// and no two are equal. Any failure ends the program with a message. Thread: one, but for drive().
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

enum class Kind : std::uint8_t { kPod, kService };
enum class Way : std::uint8_t { kLocalToFabric, kFabricToLocal };

struct GatewayOptions {
  Kind kind = Kind::kPod;
  std::uint32_t connections = 0;  // established when the constructor returns
  std::uint32_t spare = 0;        // further ones that the table must hold
  std::uint32_t unreplied = 0;    // quota of connections nobody has answered; 0: all
  unsigned workers = 1;
  bool policies = true;  // the 10,000 entries; without them every pod is open
  unsigned feeds = 1;    // devices of each side that frames come in by
  std::string state;     // directory of the connection table's file, as a gateway has one; empty: anonymous memory
};

// What one worker is to forward.
struct Job {
  Way way = Way::kLocalToFabric;
  const std::vector<FrameTemplate>* templates = nullptr;
  const std::vector<PacketPatch>* patches = nullptr;
  std::uint64_t packets = 0;
  unsigned burst = kMaxBurst;  // per device and round
  bool cold = false;
};

class Gateway {
 public:
  explicit Gateway(const GatewayOptions& options);

  // The patches of these connections' packets, in that order.
  [[nodiscard]] std::vector<PacketPatch> patches_of(const std::vector<std::uint32_t>& connections, Way way) const;
  [[nodiscard]] FrameShape shape_of(Way way, std::uint8_t tcp_flags = kAck) const;

  // Runs the job to its end on the calling thread as worker `worker`; TSC cycles, without the driver's preparations.
  double drive(unsigned worker, const Job& job);
  // The same with a look at what comes out: copies of the first `count` frames.
  std::vector<std::vector<std::uint8_t>> drive_and_keep(const Job& job, std::size_t count);
  // Rounds that bring nothing: the janitor's time.
  void idle_round(unsigned worker) { engine_->run_round(WorkerId{static_cast<std::uint8_t>(worker)}); }

  // Makes every decision that rests on the peer stand no longer.
  void move_peer();

  // Changes of what the fleet looks like, other ones each time; no established connection loses its backend, and policy
  // goes on allowing what goes on. Control thread; a worker may be driven meanwhile.
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
  PumpDevice& in(Way way, unsigned feed);
  PumpDevice& out(Way way);

  GatewayOptions options_;
  MaglevRing ring_;  // of every service
  std::unique_ptr<Engine> engine_;
  std::vector<PumpDevice*> devices_;  // underlay, local, then underlay and local of each further feed
  AdjacencyId underlay_hop_, local_hop_;
  std::uint16_t peer_port_ = 8472;
  std::uint32_t changes_ = 0;
};

// Every drop so far, "no_route 3, ...".
[[nodiscard]] std::string drops_text(const EngineCounters& counters);
[[nodiscard]] std::uint64_t drops(const EngineCounters& counters);

// What is wrong with frames that have left on `way`, or nothing.
[[nodiscard]] std::string fault_of_output(Kind kind, Way way, const std::vector<std::vector<std::uint8_t>>& frames);

}  // namespace isthmus::perf
