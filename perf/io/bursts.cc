#include "perf/io/bursts.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "perf/io/forwarders.h"
#include "perf/io/rig.h"
#include "perf/io/stand.h"
#include "perf/io/turn.h"

namespace isthmus::perf {
namespace {

constexpr unsigned kFrameBytes = 60;
constexpr unsigned kShortest = 64, kLengths = 7;  // each twice as long as the one before
constexpr unsigned kBursts = 10;
// On one core, as many as a softirq takes before the forwarder has its turn; from another core, without a pause.
constexpr unsigned kBatchOneCore = 256, kBatchTwoCores = 64;
constexpr auto kPause = std::chrono::milliseconds(20);  // longer than any burst takes to be forwarded

unsigned length_of(unsigned step) { return kShortest << step; }

// A stand's forwarder, which runs on core 0 all the time.
class BurstStand {
 public:
  explicit BurstStand(unsigned pump_core) : pump_core_(pump_core) {}
  ~BurstStand() {
    stop_ = true;
    if (forward_.joinable()) {
      forward_.join();
    }
  }
  BurstStand(const BurstStand&) = delete;
  BurstStand& operator=(const BurstStand&) = delete;

  Status set_up(std::uint32_t ring_entries) {
    if (Status built = build_rig(); !built) {
      return built;
    }
    auto loaded = Traffic::load();
    if (!loaded) {
      return loaded.error();
    }
    traffic_ = *std::move(loaded);
    ForwarderSetup setup;
    setup.device.ring_entries = ring_entries;
    auto made = make_path_forwarder(setup);
    if (!made) {
      return made.error();
    }
    forwarder_ = *std::move(made);
    if (Status sink = traffic_->attach_sink(kInterfaceSink); !sink) {
      return sink;
    }
    if (Status frame = traffic_->set_frame(kInterfacePump, bench_frame(kFrameBytes), {}); !frame) {
      return frame;
    }
    forward_ = std::thread([this] {
      pin_to(0);
      set_realtime_priority(kForwarderPriority);
      while (!stop_.load()) {
        if (forwarder_->round() == 0) {
          forwarder_->wait();
        }
      }
    });
    pin_to(pump_core_);
    return Ok{};
  }

  // 1 plus the share of frames that were lost of bursts of this length. 0: failed.
  double lose(unsigned length) {
    const std::uint64_t before = traffic_->sunk().frames;
    for (unsigned burst = 0; burst < kBursts; ++burst) {
      if (Status sent = traffic_->pump_burst(length, pump_core_ == 0 ? kBatchOneCore : kBatchTwoCores); !sent) {
        std::fprintf(stderr, "io-bench: %s\n", sent.error().text().c_str());
        return 0;
      }
      std::this_thread::sleep_for(kPause);
    }
    const auto arrived = static_cast<double>(traffic_->sunk().frames - before);
    return 2 - arrived / (double{kBursts} * length);
  }

 private:
  unsigned pump_core_;
  std::unique_ptr<Traffic> traffic_;
  std::unique_ptr<RoundForwarder> forwarder_;
  std::atomic<bool> stop_{false};
  std::thread forward_;
};

std::unique_ptr<Stand> burst_stand(std::uint32_t ring_entries, unsigned pump_core) {
  return std::make_unique<Stand>("rings-" + std::to_string(ring_entries), [&]() -> Result<Stand::Answer> {
    auto stand = std::make_shared<BurstStand>(pump_core);
    if (Status ready = stand->set_up(ring_entries); !ready) {
      return ready.error();
    }
    return Stand::Answer([stand](char step) { return stand->lose(length_of(static_cast<unsigned>(step - '0'))); });
  });
}

}  // namespace

bool measure_bursts() {
  for (const unsigned pump_core : {0u, 1u}) {
    for (const std::uint32_t ring_entries : {128u, 256u, 512u, 1024u, 2048u}) {
      const auto stand = burst_stand(ring_entries, pump_core);
      std::printf("%-12s %s, lost of bursts of", stand->name().c_str(), pump_core == 0 ? "one core" : "two cores");
      for (unsigned step = 0; step < kLengths; ++step) {
        const double answer = stand->ask(static_cast<char>('0' + step));
        if (answer <= 0) {
          return false;
        }
        std::printf("  %u: %.2f %%", length_of(step), 100 * (answer - 1));
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return true;
}

}  // namespace isthmus::perf
