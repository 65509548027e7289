// A memory device with the kernel programs of an interface: the engine's rules go to both, packets are given to either.
// Beside the leg's own program there is one that has nothing handed down, which tells what it would have taken.
// Threads: kernel() and without_flows() by one, the rest by control.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/io/memory/memory_device.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/steer_program.h"

namespace isthmus::test {

// What became of a frame in the kernel.
enum class KernelVerdict : std::uint8_t {
  kPassed,     // left to the kernel
  kTaken,      // goes to the engine (its socket is missing, so that the program says "drop"), or is dropped
  kForwarded,  // has the decision carried out
  kAborted,    // its bytes are lost
};
struct KernelOutcome {
  KernelVerdict verdict = KernelVerdict::kPassed;
  FrameBytes bytes;
};

class SteeredDevice final : public Device {
 public:
  // Fails the test and aborts if the programs cannot be loaded.
  SteeredDevice(std::unique_ptr<MemoryDevice> memory, KernelFlows& flows, bool fragments);

  // The longest frame that the kernel's test run takes.
  static constexpr std::size_t kLongest = 3400;
  // Frames have an Ethernet header at least, as the kernel has them.
  [[nodiscard]] KernelOutcome kernel(const FrameBytes& frame);
  [[nodiscard]] KernelOutcome without_flows(const FrameBytes& frame);
  [[nodiscard]] MemoryDevice& memory() { return *memory_; }

  [[nodiscard]] const std::string& name() const noexcept override { return memory_->name(); }
  [[nodiscard]] MacAddress mac() const noexcept override { return memory_->mac(); }
  [[nodiscard]] Bytes mtu() const noexcept override { return memory_->mtu(); }
  [[nodiscard]] unsigned queues() const noexcept override { return memory_->queues(); }
  [[nodiscard]] bool shares_with_host() const noexcept override { return memory_->shares_with_host(); }
  void join(bool underlay, Realm realm) override;
  // The loopback interface stands for every device: nothing is sent in a test run.
  [[nodiscard]] KernelEgress kernel_egress() const override {
    return sends_ ? KernelEgress{kLoopback, {}} : KernelEgress{0, "as the test has it"};
  }
  // At first they can. The engine follows at its next look.
  void set_sends(bool sends) noexcept { sends_ = sends; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override {
    return memory_->open_queue(worker, workers, pool);
  }
  [[nodiscard]] Status steer(const SteerRules& rules) override;
  [[nodiscard]] Status change_steer(const SteerChange& change) override;
  [[nodiscard]] std::string describe() const override { return memory_->describe(); }

 private:
  static constexpr int kLoopback = 1;
  [[nodiscard]] KernelOutcome run(int program, const FrameBytes& frame);

  std::unique_ptr<MemoryDevice> memory_;
  std::unique_ptr<SteerProgram> program_, plain_;
  FrameBytes out_;
  bool sends_ = true;
};

}  // namespace isthmus::test
