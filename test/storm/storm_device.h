// A device that makes its own packets: copies of templates, many of them mutated, as fast as the path takes them; and
// that checks every frame the path sends. One worker drives it; no other thread touches it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/device.h"

namespace isthmus::storm {

using FrameText = std::vector<std::uint8_t>;

// What a frame must be to leave by a device.
struct ExitRules {
  bool tunnels = false;              // only tunnel packets, from `own` to one of `peers`; else only plain IP packets
  std::vector<IpAddress> own;        // our tunnel addresses
  std::vector<IpAddress> peers;      // of any family
  std::vector<std::uint16_t> ports;  // UDP destination ports of tunnels
};

class StormDevice final : public Device {
 public:
  struct Options {
    std::string name;
    MacAddress mac;
    std::vector<FrameText> templates;  // not empty, each 2,048 bytes long at most
    ExitRules exit;
    std::uint64_t seed = 1;
  };
  explicit StormDevice(Options options);
  ~StormDevice() override;

  // Whether receive() makes packets.
  void set_running(bool running) noexcept;
  [[nodiscard]] std::uint64_t received() const noexcept;
  [[nodiscard]] std::uint64_t sent() const noexcept;
  // Frames that are neither in the pool nor in our hands: after a round none may be missing.
  [[nodiscard]] std::uint32_t missing_frames() const noexcept;
  // The first frame that broke the rules, described; empty: none.
  [[nodiscard]] const std::string& violation() const noexcept;

  [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }
  [[nodiscard]] MacAddress mac() const noexcept override { return options_.mac; }
  [[nodiscard]] Bytes mtu() const noexcept override { return Bytes{1500}; }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] Status steer(const SteerRules&) override { return Ok{}; }
  [[nodiscard]] Status change_steer(const SteerChange&) override { return Ok{}; }
  [[nodiscard]] std::string describe() const override { return "storm"; }

 private:
  struct State;
  Options options_;
  std::shared_ptr<State> state_;  // shared with the queue
};

}  // namespace isthmus::storm
