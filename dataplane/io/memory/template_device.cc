#include "dataplane/io/memory/template_device.h"

#include <cstring>
#include <utility>

#include "dataplane/io/queue_counters.h"

namespace isthmus {
namespace {

class TemplateQueue final : public DeviceQueue {
 public:
  TemplateQueue(std::shared_ptr<const TemplateDeviceOptions> options, FramePool& pool)
      : options_(std::move(options)), pool_(pool) {}

  unsigned receive(std::span<Frame> out) noexcept override {
    const std::vector<FrameBytes>& templates = options_->templates;
    unsigned n = 0;
    std::uint64_t bytes = 0;
    for (; n < out.size() && !templates.empty(); ++n) {
      const std::uint32_t chunk = pool_.allocate();
      if (chunk == kNoChunk) {
        counters_.rx_no_frame.add(1);
        break;
      }
      const FrameBytes& source = templates[next_];
      next_ = next_ + 1 == templates.size() ? 0 : next_ + 1;
      out[n] = Frame{pool_.chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(source.size()), chunk};
      std::memcpy(out[n].data, source.data(), source.size());
      bytes += source.size();
    }
    counters_.rx_packets.add(n);
    counters_.rx_bytes.add(bytes);
    return n;
  }

  unsigned transmit(std::span<const Frame> frames) noexcept override {
    std::uint64_t bytes = 0;
    for (const Frame& frame : frames) {
      bytes += frame.length;
      pool_.release(frame.chunk);
    }
    counters_.tx_packets.add(frames.size());
    counters_.tx_bytes.add(bytes);
    return static_cast<unsigned>(frames.size());
  }

  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
  bool arm() noexcept override { return options_->templates.empty(); }
  [[nodiscard]] QueueCounters counters() const noexcept override { return counters_.read(); }

 private:
  std::shared_ptr<const TemplateDeviceOptions> options_;
  FramePool& pool_;
  std::size_t next_ = 0;
  QueueCounterCells counters_;
};

[[nodiscard]] Status all_fit(const TemplateDeviceOptions& options, std::size_t max_bytes) {
  for (const FrameBytes& frame : options.templates) {
    if (frame.size() > max_bytes) {
      return Error{"a template of " + std::to_string(frame.size()) + " bytes does not fit a chunk", options.name,
                   "keep templates within " + std::to_string(max_bytes) + " bytes"};
    }
  }
  return Ok{};
}

}  // namespace

TemplateDevice::TemplateDevice(TemplateDeviceOptions options)
    : options_(std::make_shared<const TemplateDeviceOptions>(std::move(options))) {}

Result<std::unique_ptr<TemplateDevice>> TemplateDevice::create(TemplateDeviceOptions options) {
  constexpr std::size_t kMaxChunkBytes = 4096;
  if (Status fit = all_fit(options, kMaxChunkBytes - kFrameHeadroom); !fit) {
    return fit.error();
  }
  return std::unique_ptr<TemplateDevice>(new TemplateDevice(std::move(options)));
}

Result<std::unique_ptr<DeviceQueue>> TemplateDevice::open_queue(WorkerId, unsigned, FramePool& pool) {
  if (Status fit = all_fit(*options_, pool.max_frame()); !fit) {
    return fit.error();
  }
  return std::unique_ptr<DeviceQueue>(std::make_unique<TemplateQueue>(options_, pool));
}

Status TemplateDevice::steer(const SteerRules&) { return Ok{}; }
Status TemplateDevice::change_steer(const SteerChange&) { return Ok{}; }

std::string TemplateDevice::describe() const {
  return "template, " + std::to_string(options_->templates.size()) + " frames in rotation";
}

}  // namespace isthmus
