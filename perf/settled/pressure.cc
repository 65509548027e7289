#include "perf/settled/pressure.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "dataplane/base/defaults.h"
#include "perf/io/stand.h"
#include "perf/io/turn.h"
#include "perf/settled/streams.h"

namespace isthmus::perf {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPumpPriority = 5;
constexpr unsigned kPumpBatch = 64, kSettledFrames = 65536, kOtherFrames = 16384, kSmallest = 60;
constexpr std::uint32_t kRounds = 64, kHalfOpenLimit = 4096;
constexpr auto kDrain = std::chrono::milliseconds(100);

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Runs `pumping` where pumps run.
template <typename Pumping>
bool pump(const Pumping& pumping) {
  Status done = Ok{};
  std::thread([&] {
    pin_to(0);
    set_realtime_priority(kPumpPriority);
    done = pumping();
  }).join();
  std::this_thread::sleep_for(kDrain);
  if (!done) {
    std::fprintf(stderr, "perf-settled: %s\n", done.error().text().c_str());
  }
  return bool{done};
}

Status burst(Traffic& traffic, unsigned frames) { return traffic.pump_burst(frames, kPumpBatch); }

// All that is counted about the traffic of a gateway, from its construction on.
class Account {
 public:
  Account(const SettledGateway& gateway, std::vector<const Traffic*> pumps, std::vector<const Traffic*> sinks)
      : gateway_(gateway), pumps_(std::move(pumps)), sinks_(std::move(sinks)), before_(now()) {}
  [[nodiscard]] double pumped() const { return now().pumped - before_.pumped; }
  [[nodiscard]] double received() const { return now().received - before_.received; }
  [[nodiscard]] double dropped() const { return now().dropped - before_.dropped; }
  [[nodiscard]] double lost() const { return pumped() - (now().sunk - before_.sunk) - dropped(); }

 private:
  struct Sums {
    double pumped = 0, sunk = 0, received = 0, dropped = 0;
  };
  [[nodiscard]] Sums now() const {
    Sums sums;
    for (const Traffic* traffic : pumps_) {
      sums.pumped += traffic->pumped();
    }
    for (const Traffic* traffic : sinks_) {
      sums.sunk += static_cast<double>(traffic->sunk().frames);
    }
    sums.received = static_cast<double>(gateway_.received());
    for (const DropCount& drop : gateway_.counters().drops) {
      sums.dropped += static_cast<double>(drop.packets);
    }
    return sums;
  }

  const SettledGateway& gateway_;
  std::vector<const Traffic*> pumps_, sinks_;
  Sums before_;
};

double share_down(const SettledGateway& gateway, std::uint32_t flows) {
  return 100.0 * static_cast<double>(gateway.counters().handed_down_now) / flows;
}

using Pumps = std::array<std::unique_ptr<Traffic>, 2>;

// Connections that are none of the settled ones.
class Others {
 public:
  static Result<std::unique_ptr<Others>> load() {
    auto others = std::make_unique<Others>();
    for (const Course course : {Course::kToFabric, Course::kFromFabric}) {
      auto loaded = Traffic::load();
      if (!loaded) {
        return loaded.error();
      }
      Traffic& traffic = *(others->traffic_[static_cast<std::size_t>(course)] = *std::move(loaded));
      const SettledStream stream = settled_other_stream(course, kOtherFrames, 0, kSmallest);
      if (Status set = traffic.set_frame(stream.pump, stream.frame, {}); !set) {
        return set.error();
      }
    }
    return others;
  }
  // One frame of each of the n-th client's.
  Status send(Course course, std::uint32_t n) {
    Traffic& traffic = of(course);
    if (Status set = traffic.set_spread(settled_other_stream(course, kOtherFrames, n, kSmallest).spread); !set) {
      return set;
    }
    return burst(traffic, kOtherFrames);
  }
  [[nodiscard]] Traffic& of(Course course) const { return *traffic_[static_cast<std::size_t>(course)]; }

 private:
  Pumps traffic_;
};

std::vector<double> reload(SettledGateway& gateway, const Pumps& settled, std::uint32_t flows, double seconds) {
  const Account account(gateway, {settled[0].get(), settled[1].get()}, {settled[0].get(), settled[1].get()});
  std::atomic<bool> stop{false};
  std::uint64_t publishes = 0;
  Status published = Ok{};
  const auto start = Clock::now();
  std::thread control([&] {
    for (; !stop && published; publishes += 3) {
      published = gateway.change();
    }
  });
  const bool pumped = pump([&]() -> Status {
    Status done = Ok{};
    while (done && seconds_since(start) < seconds) {
      done = burst(*settled[0], kSettledFrames);
      done = done ? burst(*settled[1], kSettledFrames) : done;
    }
    return done;
  });
  stop = true;
  control.join();
  const double took = seconds_since(start);
  if (!published) {
    std::fprintf(stderr, "perf-settled: %s\n", published.error().text().c_str());
  }
  if (!pumped || !published) {
    return {};
  }
  return {account.pumped(), account.lost(), 100 * account.received() / account.pumped(),
          static_cast<double>(publishes) / took, share_down(gateway, flows)};
}

std::vector<double> flood(SettledGateway& gateway, const Pumps& settled, Others& others, std::uint32_t flows) {
  Traffic& fresh = others.of(Course::kToFabric);
  const Account account(gateway, {settled[0].get(), settled[1].get(), &fresh}, {settled[0].get(), settled[1].get()});
  const std::uint32_t before = fresh.pumped();
  const bool pumped = pump([&]() -> Status {
    Status done = Ok{};
    for (std::uint32_t n = 0; done && n < kRounds; ++n) {
      done = others.send(Course::kToFabric, n);
      for (const auto& traffic : settled) {
        done = done ? burst(*traffic, kSettledFrames) : done;
      }
    }
    return done;
  });
  if (!pumped) {
    return {};
  }
  const double offered = fresh.pumped() - before;
  return {account.pumped() - offered,
          account.lost(),
          std::max(account.received() - offered, 0.0),
          offered,
          account.dropped(),
          share_down(gateway, flows)};
}

std::vector<double> new_flows(SettledGateway& gateway, const Pumps& settled, Others& others, std::uint32_t flows) {
  const Account account(
      gateway, {settled[0].get(), settled[1].get(), &others.of(Course::kToFabric), &others.of(Course::kFromFabric)},
      {settled[0].get(), settled[1].get()});
  const double worker = SettledGateway::worker_seconds(), thread = SettledGateway::hand_down_seconds();
  const auto start = Clock::now();
  const bool pumped = pump([&]() -> Status {
    Status done = Ok{};
    for (std::uint32_t n = 0; done && n < kRounds; ++n) {
      for (const Course course : {Course::kToFabric, Course::kFromFabric, Course::kToFabric}) {
        done = done ? others.send(course, n) : done;
      }
    }
    return done;
  });
  const double took = seconds_since(start), connections = kRounds * kOtherFrames;
  if (!pumped) {
    return {};
  }
  if (account.lost() + account.dropped() != 0) {
    std::fprintf(stderr, "perf-settled: %.0f frames lost and %.0f dropped: %s\n", account.lost(), account.dropped(),
                 gateway.state().c_str());
  }
  return {connections,
          connections / took,
          account.lost() + account.dropped(),
          1e6 * (SettledGateway::worker_seconds() - worker) / connections,
          1e6 * (SettledGateway::hand_down_seconds() - thread) / connections,
          share_down(gateway, flows)};
}

}  // namespace

SettledGatewayOptions gateway_under(Pressure pressure, std::uint32_t flows, bool hand_down) {
  SettledGatewayOptions options;
  options.flows = flows;
  options.hand_down = hand_down;
  options.hot = kDefaultHotPacketsPerSecond;
  options.pods = kRounds;
  options.policy = pressure == Pressure::kReload;
  options.spare = pressure == Pressure::kNewFlows ? 2 * kRounds * kOtherFrames : 2 * kHalfOpenLimit;
  options.half_open = pressure == Pressure::kFlood ? kHalfOpenLimit : 0;
  return options;
}

std::vector<double> under_pressure(Pressure pressure, SettledGateway& gateway, const Pumps& settled,
                                   std::uint32_t flows, double seconds) {
  if (pressure == Pressure::kReload) {
    return reload(gateway, settled, flows, seconds);
  }
  const auto others = Others::load();
  if (!others) {
    std::fprintf(stderr, "perf-settled: %s\n", others.error().text().c_str());
    return {};
  }
  return pressure == Pressure::kFlood ? flood(gateway, settled, **others, flows)
                                      : new_flows(gateway, settled, **others, flows);
}

}  // namespace isthmus::perf
