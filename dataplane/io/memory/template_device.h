// The device of benchmarks: every receive() is a full burst of prepared frames copied into pool chunks, every
// transmit() is counted and its chunks released at once. Nothing blocks, so only the path in between is measured.
// Chunks are allocated and released last-in first-out: the few in use stay in the cache, as with a NIC that has direct
// cache access. Thread: one worker (each opened queue walks the templates by itself).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/memory/pcap_file.h"

namespace isthmus {

struct TemplateDeviceOptions {
  std::string name = "template";
  MacAddress mac;
  Bytes mtu{1500};
  std::vector<FrameBytes> templates;  // received in round-robin order; empty: the device never receives
};

class TemplateDevice final : public Device {
 public:
  // Error: a template is longer than a 4096-byte chunk can hold.
  [[nodiscard]] static Result<std::unique_ptr<TemplateDevice>> create(TemplateDeviceOptions options);

  [[nodiscard]] const std::string& name() const noexcept override { return options_->name; }
  [[nodiscard]] MacAddress mac() const noexcept override { return options_->mac; }
  [[nodiscard]] Bytes mtu() const noexcept override { return options_->mtu; }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  // Error: the pool's chunks are smaller than a template needs.
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] Status steer(const SteerRules& rules) override;
  [[nodiscard]] Status change_steer(const SteerChange& change) override;
  [[nodiscard]] std::string describe() const override;

 private:
  explicit TemplateDevice(TemplateDeviceOptions options);
  std::shared_ptr<const TemplateDeviceOptions> options_;  // shared with the queues
};

}  // namespace isthmus
