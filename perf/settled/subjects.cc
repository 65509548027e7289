#include "perf/settled/subjects.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>
#include <vector>

#include "perf/io/rig.h"
#include "perf/io/traffic.h"
#include "perf/io/turn.h"
#include "perf/settled/gateway.h"
#include "perf/settled/kernel_forwarder.h"

namespace isthmus::perf {
namespace {

constexpr double kSettlingTurn = 0.2;
constexpr unsigned kSettlingTurns = 600;

// Everything in a stand's process.
class SettledStand {
 public:
  SettledStand(Forwards what, const SettledRun& run) : what_(what), run_(run) {}

  Status set_up() {
    if (Status built = build_settled_rig(); !built) {
      return built;
    }
    for (const Course course : {Course::kToFabric, Course::kFromFabric}) {
      auto loaded = Traffic::load();
      if (!loaded) {
        return loaded.error();
      }
      const SettledStream stream = settled_stream(course, run_.work, run_.flows, run_.inner_frame_bytes);
      Traffic& traffic = *(traffic_[index(course)] = *std::move(loaded));
      if (Status sink = traffic.attach_sink(stream.sink); !sink) {
        return sink;
      }
      if (Status frame = traffic.set_frame(stream.pump, stream.frame, {}); !frame) {
        return frame;
      }
      if (Status spread = traffic.set_spread(stream.spread); !spread) {
        return spread;
      }
    }
    return set_up_forwarder();
  }

  double answer(char request) {
    switch (request) {
      case kSettle:
        return settle();
      case kSettlingSeconds:
        return settling_seconds_;
      case kHandDownSeconds:
        return SettledGateway::hand_down_seconds();
      case kPress:
        measures_ = under_pressure(run_.pressure, *gateway_, traffic_, run_.flows, run_.seconds);
        return measures_.empty() ? 0 : 1;
      default:
        if (request >= kFirstMeasure && request < kFirstMeasure + static_cast<char>(measures_.size())) {
          return measures_[static_cast<std::size_t>(request - kFirstMeasure)];
        }
        return turn(request == kTurnToFabric ? Course::kToFabric : Course::kFromFabric);
    }
  }

 private:
  static std::size_t index(Course course) { return static_cast<std::size_t>(course); }

  Status set_up_forwarder() {
    Traffic& traffic = *traffic_[0];
    switch (what_) {
      case Forwards::kBare:
      case Forwards::kBareCalls: {
        const char* const out = what_ == Forwards::kBare ? "bare_out" : "bare_out_calls";
        const auto work = [&](Course course) { return settled_bare(course, run_.work, run_.inner_frame_bytes); };
        Status attached = traffic.attach_bare(kInterfaceIn, out, work(Course::kToFabric), kInterfaceOut);
        return attached ? traffic.attach_bare(kInterfaceOut, "bare_back", work(Course::kFromFabric), kInterfaceIn)
                        : attached;
      }
      case Forwards::kKernel: {
        vni_ = settled_ends().their_identity;
        Status built = build_settled_kernel(run_.work);
        for (const char* interface : {kInterfaceIn, kInterfaceOut}) {
          if (built) {
            built = traffic.attach(interface, "to_kernel");
          }
        }
        return built;
      }
      case Forwards::kPrograms: {
        auto forwarder = KernelForwarder::open(run_.work, run_.flows);
        if (!forwarder) {
          return forwarder.error();
        }
        programs_ = *std::move(forwarder);
        return Ok{};
      }
      default: {
        auto gateway = SettledGateway::open(gateway_options());
        if (!gateway) {
          return gateway.error();
        }
        gateway_ = *std::move(gateway);
        return Ok{};
      }
    }
  }

  // Every flow has been seen twice on each course, and is where it should be.
  double settle() {
    const auto start = std::chrono::steady_clock::now();
    for (const Course course : {Course::kToFabric, Course::kFromFabric}) {
      Traffic& traffic = *traffic_[index(course)];
      for (unsigned turn = 0; traffic.sunk().frames < 2 * std::uint64_t{run_.flows} && turn < kSettlingTurns; ++turn) {
        if (take_turn(traffic, nullptr, kSettlingTurn) <= 0) {
          return 0;
        }
      }
    }
    for (unsigned turn = 0; turn < kSettlingTurns; ++turn) {
      if (gateway_ == nullptr || gateway_->settled()) {
        settling_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        return 1;
      }
      for (const auto& traffic : traffic_) {
        static_cast<void>(take_turn(*traffic, nullptr, kSettlingTurn));
      }
    }
    std::fprintf(stderr, "flows do not settle: %s\n", gateway_->state().c_str());
    return 0;
  }

  double turn(Course course) {
    Traffic& traffic = *traffic_[index(course)];
    static_cast<void>(traffic.take_samples());
    const std::uint64_t before = traffic.sunk().frames;
    const std::uint64_t by_decision = programs_ != nullptr ? programs_->forwarded() : 0;
    const std::uint64_t up = gateway_ != nullptr ? gateway_->received() : 0;
    const double rate = take_turn(traffic, nullptr, run_.seconds);
    const auto samples = traffic.take_samples();
    for (const Traffic::Sample& sample : samples) {
      if (const std::string error = settled_error(sample, course, run_.work, run_.flows, vni_); !error.empty()) {
        std::fprintf(stderr, "a frame is wrong at the sink: %s\n", error.c_str());
        return 0;
      }
    }
    if (samples.empty()) {
      std::fprintf(stderr, "too few frames reached the sink to look at one\n");
      return 0;
    }
    if (programs_ != nullptr && programs_->forwarded() - by_decision < traffic.sunk().frames - before) {
      std::fprintf(stderr, "frames reached the sink that no decision sent there\n");
      return 0;
    }
    const std::uint64_t frames = traffic.sunk().frames - before;
    if (what_ == Forwards::kHandedDown && (gateway_->received() - up) * 100 > frames) {
      std::fprintf(stderr, "%llu of %llu frames went through user space: %s\n",
                   static_cast<unsigned long long>(gateway_->received() - up), static_cast<unsigned long long>(frames),
                   gateway_->state().c_str());
      return 0;
    }
    return rate;
  }

  [[nodiscard]] SettledGatewayOptions gateway_options() const {
    const bool hand_down = what_ == Forwards::kHandedDown;
    if (run_.pressure != Pressure::kNone) {
      return gateway_under(run_.pressure, run_.flows, hand_down);
    }
    SettledGatewayOptions options;
    options.work = run_.work;
    options.flows = run_.flows;
    options.hand_down = hand_down;
    return options;
  }

  Forwards what_;
  SettledRun run_;
  std::uint32_t vni_ = settled_ends().our_identity;  // of frames to the fabric
  double settling_seconds_ = 0;
  std::vector<double> measures_;
  std::array<std::unique_ptr<Traffic>, 2> traffic_;  // by course
  std::unique_ptr<KernelForwarder> programs_;
  std::unique_ptr<SettledGateway> gateway_;  // null: another forwarder
};

}  // namespace

std::unique_ptr<Stand> settled_stand(std::string name, Forwards what, const SettledRun& run) {
  return std::make_unique<Stand>(std::move(name), [&]() -> Result<Stand::Answer> {
    auto stand = std::make_shared<SettledStand>(what, run);
    if (Status ready = stand->set_up(); !ready) {
      return ready.error();
    }
    return Stand::Answer([stand](char request) { return stand->answer(request); });
  });
}

}  // namespace isthmus::perf
