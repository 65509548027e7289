#include "perf/io/turn.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

#include "perf/io/live_frames.h"
#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

constexpr unsigned kFlows = 64;
constexpr int kPumpPriority = 5;
constexpr auto kPause = std::chrono::milliseconds(1);
constexpr unsigned kMaxPauses = 5000;
constexpr std::uint64_t kWarmUpFrames = 10'000;

// Runs the pump and, if there is one, the forwarder on core 0 for the lifetime of the object.
class TrafficRun {
 public:
  TrafficRun(Traffic& traffic, RoundForwarder* forwarder) {
    struct sigaction ignore {};
    ignore.sa_handler = [](int) {};
    sigaction(SIGUSR1, &ignore, nullptr);
    if (forwarder != nullptr) {
      forward_ = std::thread([this, forwarder] {
        pin_to(0);
        set_realtime_priority(kForwarderPriority);
        while (!stop_.load()) {
          if (forwarder->round() == 0) {
            forwarder->wait();
          }
        }
      });
    }
    pump_ = std::thread([this, &traffic] {
      pin_to(0);
      set_realtime_priority(kPumpPriority);
      const Status pumped = traffic.pump_until(stop_);
      if (!pumped) {
        std::fprintf(stderr, "io-bench: %s\n", pumped.error().text().c_str());
      }
    });
  }
  ~TrafficRun() {
    stop_ = true;
    pthread_kill(pump_.native_handle(), SIGUSR1);
    pump_.join();
    if (forward_.joinable()) {
      forward_.join();
    }
  }
  TrafficRun(const TrafficRun&) = delete;
  TrafficRun& operator=(const TrafficRun&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread pump_, forward_;
};

// Million frames per second that reach the sink during `seconds`.
double measure(const Traffic& traffic, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const std::uint64_t before = traffic.sunk().frames;
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const std::uint64_t after = traffic.sunk().frames;
  return static_cast<double>(after - before) / std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// The pump needs a while before its first frame; a few frames may be left from the previous turn.
bool warm_up(const Traffic& traffic) {
  const std::uint64_t before = traffic.sunk().frames;
  for (unsigned pause = 0; pause < kMaxPauses; ++pause) {
    if (traffic.sunk().frames > before + kWarmUpFrames) {
      return true;
    }
    std::this_thread::sleep_for(kPause);
  }
  return false;
}

// In the stand's process.
Result<Stand::Answer> set_up(const Subject& subject, const Turn& turn) {
  if (Status built = build_rig(); !built) {
    return built.error();
  }
  auto loaded = Traffic::load();
  if (!loaded) {
    return loaded.error();
  }
  const std::shared_ptr<Traffic> traffic = *std::move(loaded);
  auto made = subject.make(*traffic);
  if (!made) {
    return made.error();
  }
  const std::shared_ptr<RoundForwarder> forwarder = *std::move(made);
  if (Status sink = traffic->attach_sink(subject.sink != nullptr ? subject.sink : kInterfaceSink); !sink) {
    return sink.error();
  }
  const Status frame = traffic->set_frame(kInterfacePump, bench_frame(turn.frame_bytes),
                                          {.count = kFlows, .offset = kSourcePortOffset, .first = 40000});
  if (!frame) {
    return frame.error();
  }
  return Stand::Answer(
      [traffic, forwarder, seconds = turn.seconds](char) { return take_turn(*traffic, forwarder.get(), seconds); });
}

}  // namespace

void set_realtime_priority(int priority) {
  const sched_param parameters{.sched_priority = priority};
  static_cast<void>(sched_setscheduler(0, SCHED_FIFO, &parameters));  // without the privilege, results are noisier
}

double take_turn(Traffic& traffic, RoundForwarder* forwarder, double seconds) {
  const TrafficRun run(traffic, forwarder);
  if (!warm_up(traffic)) {
    return 0;
  }
  return measure(traffic, seconds);
}

std::unique_ptr<Stand> stand_of(const Subject& subject, const Turn& turn) {
  return std::make_unique<Stand>(subject.name, [&] { return set_up(subject, turn); });
}

}  // namespace isthmus::perf
