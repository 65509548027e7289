// The cases of the path benchmark, and their measurement.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/path/gateway.h"

namespace isthmus::perf {

enum class Order : std::uint8_t { kRandom, kZipf };

// Parameters of one measurement: one line of the table.
struct Row {
  std::string name;  // of a case in cases()
  std::uint32_t connections = 1000;
  Order order = Order::kRandom;
  FrameMix frame = FrameMix::k64;
  unsigned burst = kMaxBurst;
  bool cold = false;
  unsigned workers = 1;
};

struct Case {
  const char* name;
  const char* text;
  Kind kind;
  Way way;
  enum class What : std::uint8_t { kSettled, kNewFlow, kRevalidate, kDrop } what;
};
[[nodiscard]] const std::vector<Case>& cases();

struct StageCost {
  std::string stage;
  double cycles_per_packet = 0;
};

struct Outcome {
  Row row;
  double frame_bytes = 0;                       // mean, as received
  std::vector<double> cycles;                   // per packet and worker, one value per run, sorted
  double mpps = 0;                              // all workers together, from the median
  double driver_cycles = 0, memcpy_cycles = 0;  // per packet: the pump alone; copying the same bytes
  std::uint64_t packets_per_run = 0;
  std::vector<StageCost> stages;  // of the last run; empty unless the program measures stages
  [[nodiscard]] double median() const { return cycles[cycles.size() / 2]; }
};

struct BenchOptions {
  unsigned runs = 7;
  std::vector<int> cores;                       // of the workers, round robin
  std::uint64_t min_packets = 262'144;          // per run: some tens of milliseconds
  std::string state;                            // GatewayOptions::state
  std::string driver;                           // GatewayOptions::driver
  bool events = true;                           // GatewayOptions::events
  std::function<void()> before_run, after_run;  // called around each timed section; may be empty
};

// Measures rows; re-uses the gateway for the next row if possible. Ends the program when a packet is lost or comes out
// wrong.
class Bench {
 public:
  explicit Bench(BenchOptions options) : options_(std::move(options)) {}
  [[nodiscard]] Outcome measure(const Row& row);

 private:
  struct Plan;
  Gateway& gateway_for(const Case& what, const Row& row);
  void prepare(Plan& plan);
  double once(const Plan& plan);
  double drive_all(const Plan& plan);
  void check(const Plan& plan, const EngineCounters& before, std::uint64_t packets);
  void wait_for_aging(const Plan& plan);

  BenchOptions options_;
  bool warm_ = false;
  std::unique_ptr<Gateway> gateway_;
};

// Cores this process may use, highest first: the first core of a machine usually handles its interrupts.
[[nodiscard]] std::vector<int> usable_cores();
void pin_to(int core);

}  // namespace isthmus::perf
