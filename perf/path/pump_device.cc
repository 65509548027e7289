#include "perf/path/pump_device.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kLine = 64;
// Frames start this many different lines into their chunks, so that the headers of a burst do not share a cache set.
constexpr std::uint32_t kStagger = 32;
// Headroom that an outer header is written to.
constexpr std::uint32_t kHeadroomUsed = 64;
constexpr std::uint32_t kKeptFree = 2 * kMaxBurst;  // chunks that prepare() leaves to the engine

void flush_lines(const Frame& frame, std::uint32_t header_bytes) noexcept {
  for (const std::uint8_t* at = frame.data - kHeadroomUsed; at < frame.data + header_bytes; at += kLine) {
    _mm_clflush(at);
  }
}

class PumpQueue final : public DeviceQueue {
 public:
  explicit PumpQueue(std::shared_ptr<Pump> pump) : pump_(std::move(pump)) {}
  unsigned receive(std::span<Frame> out) noexcept override { return pump_->receive(out); }
  unsigned transmit(std::span<const Frame> frames) noexcept override { return pump_->transmit(frames); }
  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
  bool arm() noexcept override { return true; }
  [[nodiscard]] QueueCounters counters() const noexcept override { return {}; }

 private:
  std::shared_ptr<Pump> pump_;
};

}  // namespace

void Pump::load(const Stream& stream, std::uint64_t wanted, unsigned burst, bool cold) {
  stream_ = stream;
  next_patch_ = stream.patches->empty() ? 0 : stream.first % stream.patches->size();
  next_template_ = 0;
  left_ = wanted;
  burst_ = burst;
  cold_ = cold;
  write_payloads_ = false;
  ready_.clear();
  next_ = 0;
  ready_.reserve(std::max(pool_.chunks(), kMaxBurst));
}

void Pump::stamp_ready(std::size_t count) noexcept {
  ready_.clear();
  next_ = 0;
  const std::vector<FrameTemplate>& templates = *stream_.templates;
  const std::vector<PacketPatch>& patches = *stream_.patches;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t chunk = pool_.allocate();
    if (chunk == kNoChunk) {
      break;
    }
    const FrameTemplate& frame = templates[next_template_];
    next_template_ = next_template_ + 1 == templates.size() ? 0 : next_template_ + 1;
    std::uint8_t* data = pool_.chunk_start(chunk) + kFrameHeadroom + chunk % kStagger * kLine;
    if (write_payloads_) [[unlikely]] {
      std::memset(data, 0, frame.length());
    }
    frame.stamp(patches[next_patch_], data);
    next_patch_ = next_patch_ + 1 == patches.size() ? 0 : next_patch_ + 1;
    ready_.push_back({data, frame.length(), chunk});
  }
  left_ -= ready_.size();
}

void Pump::prepare() {
  if (!cold_ || next_ < ready_.size()) {
    return;
  }
  const std::uint32_t free = pool_.available();
  stamp_ready(std::min<std::uint64_t>(left_, free > kKeptFree ? free - kKeptFree : 0));
  for (const Frame& frame : ready_) {
    flush_lines(frame, (*stream_.templates)[0].header_bytes());
  }
  _mm_mfence();
}

unsigned Pump::receive(std::span<Frame> out) noexcept {
  if (next_ == ready_.size()) {
    if (cold_ || left_ == 0) {
      return 0;
    }
    stamp_ready(std::min<std::uint64_t>(left_, kMaxBurst));
  }
  const auto count = static_cast<unsigned>(std::min({out.size(), std::size_t{burst_}, ready_.size() - next_}));
  std::copy_n(ready_.data() + next_, count, out.data());
  next_ += count;
  return count;
}

unsigned Pump::transmit(std::span<const Frame> frames) noexcept {
  if (to_capture_ != 0) [[unlikely]] {
    keep(frames);
  }
  for (const Frame& frame : frames) {
    pool_.release(frame.chunk);
  }
  sent_ += frames.size();
  return static_cast<unsigned>(frames.size());
}

void Pump::keep(std::span<const Frame> frames) {
  for (const Frame& frame : frames) {
    if (to_capture_ == 0) {
      return;
    }
    captured_.emplace_back(frame.data, frame.data + frame.length);
    --to_capture_;
  }
}

std::vector<std::vector<std::uint8_t>> Pump::take_captured() {
  to_capture_ = 0;
  return std::exchange(captured_, {});
}

Result<std::unique_ptr<DeviceQueue>> PumpDevice::open_queue(WorkerId worker, unsigned workers, FramePool& pool) {
  pumps_.resize(workers);
  pumps_[worker.value()] = std::make_shared<Pump>(pool);
  return std::unique_ptr<DeviceQueue>(std::make_unique<PumpQueue>(pumps_[worker.value()]));
}

}  // namespace isthmus::perf
