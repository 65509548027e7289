#include "perf/io/turn.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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
constexpr int kForwarderPriority = 10;
constexpr auto kPause = std::chrono::milliseconds(1);
constexpr unsigned kMaxPauses = 5000;
constexpr std::uint64_t kWarmUpFrames = 10'000;
constexpr char kTurn = 't', kEnd = 'e';  // an explicit end, because other stands' processes hold the link open too

void pin_to(unsigned core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  static_cast<void>(sched_setaffinity(0, sizeof cores, &cores));  // ignored on a machine with fewer cores
}

void set_realtime_priority(int priority) {
  const sched_param parameters{.sched_priority = priority};
  static_cast<void>(sched_setscheduler(0, SCHED_FIFO, &parameters));  // without the privilege, results are noisier
}

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

double one_turn(Traffic& traffic, RoundForwarder* forwarder, double seconds) {
  const TrafficRun run(traffic, forwarder);
  if (!warm_up(traffic)) {
    return 0;
  }
  return measure(traffic, seconds);
}

// In the stand's process: sets up, then runs turns on request until the end is requested.
Status serve(const Subject& subject, const Turn& turn, int link) {
  pin_to(1);
  if (Status built = build_rig(); !built) {
    return built;
  }
  auto traffic = Traffic::load();
  if (!traffic) {
    return traffic.error();
  }
  auto forwarder = subject.make(**traffic);
  if (!forwarder) {
    return forwarder.error();
  }
  if (Status sink = (*traffic)->attach_sink(subject.sink != nullptr ? subject.sink : kInterfaceSink); !sink) {
    return sink;
  }
  const Status frame = (*traffic)->set_frame(kInterfacePump, bench_frame(turn.frame_bytes),
                                             {.count = kFlows, .offset = kSourcePortOffset, .first = 40000});
  if (!frame) {
    return frame;
  }
  for (char request = 0; read(link, &request, 1) == 1 && request == kTurn;) {
    const double rate = one_turn(**traffic, forwarder->get(), turn.seconds);
    if (write(link, &rate, sizeof rate) != sizeof rate) {
      break;
    }
  }
  return Ok{};
}

}  // namespace

Stand::Stand(Subject subject, const Turn& turn) : subject_(std::move(subject)) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return;
  }
  link_ = UniqueFd(ends[0]);
  const UniqueFd far(ends[1]);
  process_ = fork();
  if (process_ == 0) {
    static_cast<void>(prctl(PR_SET_PDEATHSIG, SIGKILL));  // the link alone does not show that the parent was killed
    link_ = UniqueFd();
    const Status served = serve(subject_, turn, far.get());
    if (!served) {
      std::fprintf(stderr, "io-bench: %s: %s\n", subject_.name.c_str(), served.error().text().c_str());
    }
    _exit(served ? 0 : 1);
  }
}

Stand::~Stand() {
  if (process_ > 0) {
    static_cast<void>(write(link_.get(), &kEnd, 1) == 1);
    link_ = UniqueFd();
    waitpid(process_, nullptr, 0);
  }
}

double Stand::take_turn() {
  double rate = 0;
  const bool taken =
      process_ > 0 && write(link_.get(), &kTurn, 1) == 1 && read(link_.get(), &rate, sizeof rate) == sizeof rate;
  return taken ? rate : 0;
}

}  // namespace isthmus::perf
