// A device without a network: frames come from a capture file or from inject(), and go to a capture file or to take().
//
// Each worker that opened a queue has a lane of its own: one ring of incoming and one of outgoing frames, and
// one of frames for the host, if it shares with it. Threads: the
// worker at one end of its lane, one other thread (a test, a tool) at the other; lanes are independent of each other.
// All of `pcap_in` is queued for worker 0.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/memory/pcap_file.h"

namespace isthmus {

class MemoryLane;

class MemoryDevice final : public Device {
 public:
  // Frames that one lane holds in each direction, unless the options say otherwise.
  static constexpr std::uint32_t kLaneFrames = kDefaultLaneFrames;

  [[nodiscard]] static Result<std::unique_ptr<MemoryDevice>> create(const MemoryDeviceOptions& options);
  ~MemoryDevice() override;

  // Queues a whole Ethernet frame for `worker`. False: the lane is full, the frame is longer than a chunk can hold, or
  // that worker has no queue (worker 0's lane exists from the start).
  [[nodiscard]] bool inject(std::span<const std::uint8_t> frame, WorkerId worker = WorkerId{0});
  // The oldest frame that `worker` sent and that was not taken yet. Always empty with `pcap_out`.
  [[nodiscard]] std::optional<FrameBytes> take(WorkerId worker = WorkerId{0});
  // The same of what it gave to the host, of a device that shares with it.
  [[nodiscard]] std::optional<FrameBytes> take_host(WorkerId worker = WorkerId{0});
  // The worker has received everything that was queued for it.
  [[nodiscard]] bool drained(WorkerId worker = WorkerId{0}) const;
  // The rules in force.
  [[nodiscard]] const SteerRules& rules() const noexcept { return rules_; }

  [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }
  [[nodiscard]] MacAddress mac() const noexcept override { return options_.mac; }
  [[nodiscard]] Bytes mtu() const noexcept override { return options_.mtu; }
  // As if its interface had another MTU now; the engine follows at its next look. Control thread.
  void set_mtu(Bytes mtu) noexcept { options_.mtu = mtu; }
  [[nodiscard]] KernelEgress kernel_egress() const override {
    return kernel_.interface_index != 0 ? kernel_ : Device::kernel_egress();
  }
  // As if that were what XDP programs could do there now; the engine follows at its next look. Control thread.
  void set_kernel_egress(KernelEgress kernel) { kernel_ = std::move(kernel); }
  [[nodiscard]] unsigned queues() const noexcept override { return static_cast<unsigned>(lanes_.size()); }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] bool shares_with_host() const noexcept override { return options_.shares_with_host; }
  // As if its interface had another address now; the engine follows at its next look. Control thread.
  void set_mac(const MacAddress& mac) noexcept { options_.mac = mac; }
  [[nodiscard]] Status steer(const SteerRules& rules) override;
  [[nodiscard]] Status change_steer(const SteerChange& change) override;
  [[nodiscard]] std::string describe() const override;

 private:
  explicit MemoryDevice(const MemoryDeviceOptions& options);
  [[nodiscard]] MemoryLane* lane(WorkerId worker) const noexcept;

  MemoryDeviceOptions options_;
  KernelEgress kernel_;
  SteerRules rules_;
  std::shared_ptr<PcapWriter> writer_;
  std::vector<std::shared_ptr<MemoryLane>> lanes_;  // shared with the queues, which may outlive the device
};

}  // namespace isthmus
