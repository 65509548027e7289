#include "perf/path/pump_device.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kLine = 64;
// Headroom used by the outer header.
constexpr std::uint32_t kHeadroomUsed = 64;
constexpr std::uint32_t kKeptFree = 2 * kMaxBurst;  // chunks that prepare() leaves to the engine

void flush_lines(const Frame& frame, std::uint32_t header_bytes) noexcept {
  for (const std::uint8_t* at = frame.data - kHeadroomUsed; at < frame.data + header_bytes; at += kLine) {
    _mm_clflush(at);
  }
}

class PumpQueue final : public DeviceQueue {
 public:
  PumpQueue(std::shared_ptr<Pump> pump, std::unique_ptr<DeviceQueue> below)
      : below_(std::move(below)), pump_(std::move(pump)) {}
  unsigned receive(std::span<Frame> out) noexcept override { return pump_->receive(out); }
  unsigned transmit(std::span<const Frame> frames) noexcept override { return pump_->transmit(frames); }
  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
  bool arm() noexcept override { return true; }
  [[nodiscard]] QueueCounters counters() const noexcept override { return {}; }

 private:
  std::unique_ptr<DeviceQueue> below_;
  std::shared_ptr<Pump> pump_;
};

}  // namespace

void Pump::load(const Stream& stream, std::uint64_t packets, unsigned burst, bool cold) {
  stream_ = stream;
  next_patch_ = stream.patches->empty() ? 0 : stream.first % stream.patches->size();
  next_template_ = 0;
  left_ = packets;
  burst_ = burst;
  cold_ = cold;
  write_payloads_ = false;
  ready_.clear();
  next_ = 0;
  ready_.reserve(std::max(pool_.chunks(), kMaxBurst));
}

// Chunks for a burst, from the pool or from the device below. Returns how many.
std::size_t Pump::take_chunks(std::span<Frame> out) noexcept {
  if (below_ != nullptr) {
    return below_->receive(out);
  }
  std::size_t taken = 0;
  for (Frame& slot : out) {
    const std::uint32_t chunk = pool_.allocate();
    if (chunk == kNoChunk) {
      break;
    }
    slot.chunk = chunk;
    slot.data = pool_.chunk_start(chunk) + kFrameHeadroom;
    ++taken;
  }
  return taken;
}

// Members are copied to local variables: the loop writes bytes, which for the compiler may alias them.
std::size_t Pump::stamp(std::span<Frame> out) noexcept {
  const FrameTemplate* const templates = stream_.templates->data();
  const std::size_t template_count = stream_.templates->size();
  const PacketPatch* const patches = stream_.patches->data();
  const std::size_t patch_count = stream_.patches->size();
  const bool payloads = write_payloads_;
  std::size_t patch = next_patch_, shape = next_template_;
  const std::size_t stamped = take_chunks(out);
  for (Frame& slot : out.first(stamped)) {
    const FrameTemplate& frame = templates[shape];
    shape = shape + 1 == template_count ? 0 : shape + 1;
    if (payloads) [[unlikely]] {
      std::memset(slot.data, 0, frame.length());
    }
    slot.length = frame.length();
    frame.stamp(patches[patch], slot.data);
    patch = patch + 1 == patch_count ? 0 : patch + 1;
  }
  next_patch_ = patch;
  next_template_ = shape;
  left_ -= stamped;
  return stamped;
}

void Pump::prepare() {
  if (!cold_ || next_ < ready_.size()) {
    return;
  }
  const std::uint32_t free = pool_.available();
  next_ = 0;
  ready_.resize(std::min<std::uint64_t>(left_, free > kKeptFree ? free - kKeptFree : 0));
  ready_.resize(stamp(ready_));
  for (const Frame& frame : ready_) {
    flush_lines(frame, (*stream_.templates)[0].header_bytes());
  }
  _mm_mfence();
}

unsigned Pump::receive(std::span<Frame> out) noexcept {
  const std::size_t max_count = std::min(out.size(), std::size_t{burst_});
  if (!cold_) {
    return left_ == 0 ? 0 : static_cast<unsigned>(stamp(out.first(std::min<std::uint64_t>(left_, max_count))));
  }
  const std::size_t count = std::min(max_count, ready_.size() - next_);
  std::copy_n(ready_.data() + next_, count, out.data());
  next_ += count;
  return static_cast<unsigned>(count);
}

unsigned Pump::transmit(std::span<const Frame> frames) noexcept {
  if (to_capture_ != 0) [[unlikely]] {
    store(frames);
  }
  std::size_t accepted = frames.size();
  if (below_ != nullptr) {
    accepted = below_->transmit(frames);
  } else {
    for (const Frame& frame : frames) {
      pool_.release(frame.chunk);
    }
  }
  sent_ += accepted;
  return static_cast<unsigned>(accepted);
}

void Pump::store(std::span<const Frame> frames) {
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
  std::unique_ptr<DeviceQueue> below;
  if (below_ != nullptr) {
    auto opened = below_->open_queue(worker, workers, pool);
    if (!opened) {
      return opened.error();
    }
    below = *std::move(opened);
  }
  pumps_.resize(workers);
  pumps_[worker.value()] = std::make_shared<Pump>(pool, below.get());
  return std::unique_ptr<DeviceQueue>(std::make_unique<PumpQueue>(pumps_[worker.value()], std::move(below)));
}

}  // namespace isthmus::perf
