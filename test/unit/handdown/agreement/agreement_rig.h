// A gateway at work in all its threads: workers, the hand-down thread, a thread that is the wire on either side of the
// workers, one that gives packets to the real kernel programs (in test runs), and the caller, who is control. Checks
// what XDP forwards by order: what control had published before the run, and nothing has changed until after it.
//
// Workers and hand-down thread are the engine's own, or threads that drive it as fast as they can. The clock of
// connections is the caller's; each turn is a second of it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "test/support/path_rig.h"
#include "test/unit/handdown/agreement/connection_script.h"
#include "test/unit/handdown/agreement/standing_order.h"
#include "test/unit/xdp/differential/dice.h"
#include "test/unit/xdp/differential/steered_device.h"
#include "xdp/loader/kernel_flows.h"

namespace isthmus::test {

class AgreementRig {
 public:
  explicit AgreementRig(bool threads_of_the_engine);
  ~AgreementRig();

  // Every connection, with nothing else at work.
  void open_all();
  // Traffic and kernel runs, while control changes something in each turn; ends with all of it standing still.
  void work(unsigned turns);
  // Takes back all that is down.
  void take_all_back();
  void stop();

  // Differences between what was sent of each connection and what its record says.
  [[nodiscard]] std::string wrong_counts();
  // What is left in the kernel's maps after take_all_back() and stop().
  [[nodiscard]] std::string left_in_maps();
  // The first thing that XDP has done against what was published; empty: nothing.
  [[nodiscard]] std::string violation();
  [[nodiscard]] EngineCounters counters() const { return rig_->counters(); }
  [[nodiscard]] std::uint64_t forwarded() const { return forwarded_; }
  [[nodiscard]] std::uint64_t checked_runs() const { return checked_; }
  [[nodiscard]] std::uint64_t resets() const { return resets_; }

 private:
  static constexpr unsigned kWorkers = 2;
  // Of threads that wait, so that the others get on where there are few processors.
  static constexpr auto kPause = std::chrono::microseconds(20);
  struct Lane {
    bool underlay;
    unsigned worker;
  };

  void start_threads();
  // Until `reached`; a failure, if that never comes. False: it has not.
  bool await(const char* what, const std::function<bool()>& reached);
  // Control.
  void change(unsigned turn);
  void deny(bool denied);
  void use_gateway(bool other);
  void use_port(bool other);
  void use_hop(bool other);
  void let_send(bool sends);
  void publish(const TableDelta& delta);
  // The wire.
  void carry();
  void carry_some(Dice& dice);
  void collect();
  void took(const LeftFrame& frame);
  void fence();
  void reopen(Dice& dice, std::size_t resets);
  void send_opening(const std::vector<std::size_t>& which, Stage stage);
  [[nodiscard]] std::size_t choose(Dice& dice) const;
  [[nodiscard]] MemoryDevice& memory(bool underlay) { return underlay ? rig_->underlay() : rig_->local(); }
  [[nodiscard]] static unsigned worker_of(std::size_t connection, bool underlay) {
    return static_cast<unsigned>(connection + (underlay ? 1 : 0)) % kWorkers;
  }
  // The kernel.
  void run_programs();
  void run_program(Dice& dice);
  void check(const FrameBytes& sent, Direction direction, Standing standing);
  void violated(const std::string& what);

  bool threads_of_the_engine_;
  std::shared_ptr<KernelFlows> maps_;
  SteeredDevice* underlay_ = nullptr;
  SteeredDevice* local_ = nullptr;
  std::unique_ptr<PathRig> rig_;
  std::unique_ptr<ConnectionScript> script_;
  AdjacencyId hop_;
  StandingOrder order_;
  std::vector<std::thread> engine_threads_;
  std::atomic<bool> stopping_{false}, still_{false};
  std::array<std::uint64_t, kWorkers> fences_{};          // that have come through
  std::atomic<std::size_t> in_program_{~std::size_t{0}};  // connection of the packet in a test run
  std::atomic<std::uint64_t> rounds_{0};                  // of hand-down, where the engine does not drive it
  std::atomic<std::uint64_t> carried_{0}, runs_{0}, forwarded_{0}, checked_{0}, resets_{0};
  std::mutex mutex_;
  std::string violation_;  // under mutex_
};

}  // namespace isthmus::test
