// A device that hands out copies of prepared frames, burst by burst, until it has given the wanted number, and takes
// whatever it is sent. Buffers are hot: chunks are taken and released last-in first-out. One thread.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/device.h"

namespace isthmus::perf {

class PumpDevice final : public Device {
 public:
  using Frames = std::vector<std::vector<std::uint8_t>>;
  explicit PumpDevice(std::string name) : state_(std::make_shared<State>()), name_(std::move(name)) {}

  // `frames` outlives its use. Starts from the first frame, goes round when more are wanted.
  void load(const Frames& frames, std::uint64_t wanted) {
    state_->frames = &frames;
    state_->next = 0;
    state_->left = wanted;
  }
  [[nodiscard]] std::uint64_t sent() const { return state_->sent; }

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] MacAddress mac() const noexcept override { return MacAddress{{2, 0, 0, 0, 0, 1}}; }
  [[nodiscard]] Bytes mtu() const noexcept override { return Bytes{1500}; }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId, unsigned, FramePool& pool) override {
    return std::unique_ptr<DeviceQueue>(std::make_unique<Queue>(state_, pool));
  }
  [[nodiscard]] Status steer(const SteerRules&) override { return Ok{}; }
  [[nodiscard]] std::string describe() const override { return "benchmark pump"; }

 private:
  struct State {
    const Frames* frames = nullptr;
    std::size_t next = 0;
    std::uint64_t left = 0;
    std::uint64_t sent = 0;
  };
  class Queue final : public DeviceQueue {
   public:
    Queue(std::shared_ptr<State> state, FramePool& pool) : state_(std::move(state)), pool_(pool) {}
    unsigned receive(std::span<Frame> out) noexcept override {
      State& s = *state_;
      const auto count = static_cast<unsigned>(std::min<std::uint64_t>(out.size(), s.left));
      for (unsigned i = 0; i < count; ++i) {
        const auto& frame = (*s.frames)[s.next];
        s.next = s.next + 1 == s.frames->size() ? 0 : s.next + 1;
        const std::uint32_t chunk = pool_.allocate();
        std::uint8_t* data = pool_.chunk_start(chunk) + kFrameHeadroom;
        std::memcpy(data, frame.data(), frame.size());
        out[i] = {data, static_cast<std::uint32_t>(frame.size()), chunk};
      }
      s.left -= count;
      return count;
    }
    unsigned transmit(std::span<const Frame> frames) noexcept override {
      for (const Frame& frame : frames) {
        pool_.release(frame.chunk);
      }
      state_->sent += frames.size();
      return static_cast<unsigned>(frames.size());
    }
    void flush() noexcept override {}
    [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
    bool arm() noexcept override { return true; }
    [[nodiscard]] QueueCounters counters() const noexcept override { return {}; }

   private:
    std::shared_ptr<State> state_;
    FramePool& pool_;
  };
  std::shared_ptr<State> state_;
  std::string name_;
};

}  // namespace isthmus::perf
