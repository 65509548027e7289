// io-bench: frames per second through a bare AF_XDP forwarder, through the engine's devices, through a whole gateway's
// path (VXLAN included), and through the kernel: forwarding only, and ("kernel gw") nftables DNAT and a VXLAN device.
//
// Pump, forwarder and sink share core 0: the forwarder has real-time priority and sleeps when nothing waits, so that
// each batch is forwarded before the next is pumped and nothing is lost. The figure is the cost of a frame, pump and
// sink included (their share is the "pump only" row). Ratios within one run are comparable; absolute figures are not.
//
// usage: io-bench [SECONDS [RUNS [FRAME_BYTES]]]
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "perf/io/forwarders.h"
#include "perf/io/live_frames.h"
#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

constexpr unsigned kFlows = 64;
constexpr int kPumpPriority = 5;
constexpr int kForwarderPriority = 10;

struct Plan {
  double seconds = 1;
  unsigned runs = 5;
  unsigned frame_bytes = 60;
};

void pin_to(unsigned core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  static_cast<void>(sched_setaffinity(0, sizeof cores, &cores));  // on a machine with fewer cores, anywhere
}

void run_before_others(int priority) {
  const sched_param parameters{.sched_priority = priority};
  static_cast<void>(sched_setscheduler(0, SCHED_FIFO, &parameters));  // without the right, the figures are noisier
}

// The pump and, where there is one, the forwarder at work on core 0, for as long as this lives.
class Work {
 public:
  Work(Traffic& traffic, RoundForwarder* forwarder) {
    struct sigaction ignore {};
    ignore.sa_handler = [](int) {};
    sigaction(SIGUSR1, &ignore, nullptr);
    if (forwarder != nullptr) {
      forward_ = std::thread([this, forwarder] {
        pin_to(0);
        run_before_others(kForwarderPriority);
        while (!stop_.load()) {
          if (forwarder->round() == 0) {
            forwarder->wait();
          }
        }
      });
    }
    pump_ = std::thread([this, &traffic] {
      pin_to(0);
      run_before_others(kPumpPriority);
      const Status pumped = traffic.pump_until(stop_);
      if (!pumped) {
        std::fprintf(stderr, "io-bench: %s\n", pumped.error().text().c_str());
      }
    });
  }
  ~Work() {
    stop_ = true;
    pthread_kill(pump_.native_handle(), SIGUSR1);
    pump_.join();
    if (forward_.joinable()) {
      forward_.join();
    }
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread pump_, forward_;
};

// Million frames per second that reach the sink.
double measure(const Traffic& traffic, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const std::uint64_t before = traffic.sunk().frames;
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const std::uint64_t after = traffic.sunk().frames;
  return static_cast<double>(after - before) / std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void report(const char* name, const std::vector<double>& rates, const std::vector<double>& bare) {
  const double median = median_of(rates);
  std::vector<double> distances, ratios;
  for (std::size_t turn = 0; turn < rates.size(); ++turn) {
    distances.push_back(std::abs(rates[turn] - median));
    ratios.push_back(rates[turn] / bare[turn]);
  }
  std::printf("%-10s %6.3f Mpps  median of %zu, median deviation %.3f, %.0f ns per frame, %.3f x bare\n", name, median,
              rates.size(), median_of(distances), 1e3 / median, median_of(ratios));
}

Result<std::unique_ptr<RoundForwarder>> forwarder_for(const std::string& what, Traffic& traffic) {
  if (what == "bare") {
    return make_bare_forwarder(traffic);
  }
  if (what == "device") {
    return make_device_forwarder();
  }
  if (what == "path") {
    return make_path_forwarder();
  }
  if (what == "kernel" || what == "kernel gw") {
    if (what == "kernel gw") {
      if (Status built = build_kernel_gateway(); !built) {
        return built.error();
      }
    }
    if (Status attached = traffic.attach(kInterfaceIn, "to_kernel"); !attached) {
      return attached.error();
    }
  }
  return std::unique_ptr<RoundForwarder>();
}

// One turn of one forwarder: million frames per second.
Result<double> run(const std::string& what, const Plan& plan) {
  pin_to(1);
  if (Status built = build_rig(); !built) {
    return built.error();
  }
  auto traffic = Traffic::load();
  if (!traffic) {
    return traffic.error();
  }
  auto forwarder = forwarder_for(what, **traffic);
  if (!forwarder) {
    return forwarder.error();
  }
  if (Status sink = (*traffic)->attach_sink(what == "pump only" ? kInterfaceIn : kInterfaceSink); !sink) {
    return sink.error();
  }
  const Status frame = (*traffic)->set_frame(kInterfacePump, bench_frame(plan.frame_bytes),
                                             {.count = kFlows, .offset = kSourcePortOffset, .first = 40000});
  if (!frame) {
    return frame.error();
  }
  const Work work(**traffic, forwarder->get());
  static_cast<void>(measure(**traffic, std::max(0.3, plan.seconds / 4)));
  return measure(**traffic, plan.seconds);
}

// The same in a process of its own, and so in a namespace that goes with it. 0: nothing arrived, or it failed and said
// why.
double run_apart(const char* what, const Plan& plan) {
  int ends[2];
  if (pipe(ends) != 0) {
    return 0;
  }
  const pid_t child = fork();
  if (child == 0) {
    const Result<double> rate = run(what, plan);
    if (!rate) {
      std::fprintf(stderr, "io-bench: %s: %s\n", what, rate.error().text().c_str());
    }
    _exit(rate && write(ends[1], &*rate, sizeof(double)) == sizeof(double) ? 0 : 1);
  }
  close(ends[1]);
  double rate = 0;
  if (read(ends[0], &rate, sizeof rate) != sizeof rate) {
    rate = 0;
  }
  close(ends[0]);
  int status = 0;
  const bool ended = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return ended ? rate : 0;
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  isthmus::perf::Plan plan;
  plan.seconds = argc > 1 ? std::atof(argv[1]) : plan.seconds;
  plan.runs = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : plan.runs;
  plan.frame_bytes = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : plan.frame_bytes;
  if (plan.seconds <= 0 || plan.runs == 0 || plan.frame_bytes < 60 || plan.frame_bytes > 1514) {
    std::fputs("usage: io-bench [SECONDS [RUNS [FRAME_BYTES 60..1514]]]\n", stderr);
    return 2;
  }
  const std::vector<const char*> all = {"pump only", "kernel", "kernel gw", "bare", "device", "path"};
  std::map<std::string, std::vector<double>> rates;
  for (unsigned turn = 0; turn < plan.runs; ++turn) {
    for (const char* what : all) {
      const double rate = isthmus::perf::run_apart(what, plan);
      if (rate <= 0) {
        std::fprintf(stderr, "io-bench: %s forwarded nothing\n", what);
        return 1;
      }
      rates[what].push_back(rate);
    }
  }
  for (const char* what : all) {
    isthmus::perf::report(what, rates[what], rates["bare"]);
  }
  return 0;
}
