// The driver of the path benchmarks: simulates the cache effects of a poll-mode driver.
//
// Every worker has its own pump on every device. A pump provides stamped frames burst by burst; transmitted frames are
// counted and their chunks released.
// Hot buffers: frames are stamped as they are received, into the most recently released chunks, so that they are in the
// cache, as with a NIC with direct cache access.
// Cold buffers: prepare() stamps thousands of frames across the pool and flushes their cache lines, header and
// headroom, to memory; the caller times only what follows. Threads: a pump is used by its worker's thread only; load
// and the counters between runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/device.h"
#include "perf/path/frames.h"

namespace isthmus::perf {

// The packets of one run: packet n uses template and patch number n, each modulo its count.
struct Stream {
  const std::vector<FrameTemplate>* templates = nullptr;
  const std::vector<PacketPatch>* patches = nullptr;
  std::size_t first = 0;  // first patch
};

class Pump {
 public:
  // `below`: the queue of a device whose frames are stamped, and that sends what is transmitted; nullptr: memory alone.
  explicit Pump(FramePool& pool, DeviceQueue* below = nullptr) : pool_(pool), below_(below) {}

  // The stream's templates and patches outlive the run.
  void load(const Stream& stream, std::uint64_t packets, unsigned burst, bool cold);
  // Cold: stamps and flushes as many frames as the pool allows. Hot: does nothing.
  void prepare();
  // There are packets to receive without another prepare().
  [[nodiscard]] bool pending() const noexcept { return next_ < ready_.size() || (!cold_ && left_ != 0); }
  [[nodiscard]] std::uint64_t left() const noexcept { return left_ + (ready_.size() - next_); }

  // Writes zero payloads too, so that checksums can be verified. Reset by load().
  void write_payloads() { write_payloads_ = true; }
  // Keeps copies of the next `count` transmitted frames.
  void capture(std::size_t count) { to_capture_ = count; }
  [[nodiscard]] std::vector<std::vector<std::uint8_t>> take_captured();
  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }

  unsigned receive(std::span<Frame> out) noexcept;
  unsigned transmit(std::span<const Frame> frames) noexcept;

 private:
  // Fills `out` as far as the pool has chunks. Returns the number of frames.
  std::size_t stamp(std::span<Frame> out) noexcept;
  [[nodiscard]] std::size_t take_chunks(std::span<Frame> out) noexcept;
  void store(std::span<const Frame> frames);

  FramePool& pool_;
  DeviceQueue* below_;
  Stream stream_;
  std::size_t next_patch_ = 0, next_template_ = 0;
  std::uint64_t left_ = 0;
  unsigned burst_ = kMaxBurst;
  bool cold_ = false;
  std::vector<Frame> ready_;
  std::size_t next_ = 0;
  std::uint64_t sent_ = 0;
  std::size_t to_capture_ = 0;
  bool write_payloads_ = false;
  std::vector<std::vector<std::uint8_t>> captured_;
};

class PumpDevice final : public Device {
 public:
  // Over another device: it gives and takes frames, and what it receives is overwritten.
  PumpDevice(std::string name, Bytes mtu, std::unique_ptr<Device> below = nullptr)
      : name_(std::move(name)), mtu_(mtu), below_(std::move(below)) {}

  // The pump of a worker whose queue was opened.
  [[nodiscard]] Pump& pump(unsigned worker) { return *pumps_[worker]; }

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] MacAddress mac() const noexcept override { return MacAddress{{2, 0, 0, 0, 0, 1}}; }
  [[nodiscard]] Bytes mtu() const noexcept override { return mtu_; }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  // As an engine's frames are at most.
  static constexpr std::uint32_t kStaggered = 32;
  [[nodiscard]] std::uint32_t most_staggered() const noexcept override {
    return below_ ? below_->most_staggered() : kStaggered;
  }
  [[nodiscard]] std::uint32_t reserved_bytes() const noexcept override { return below_ ? below_->reserved_bytes() : 0; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] Status steer(const SteerRules&) override { return Ok{}; }
  [[nodiscard]] Status change_steer(const SteerChange&) override { return Ok{}; }
  [[nodiscard]] std::string describe() const override { return "benchmark pump"; }

 private:
  std::string name_;
  Bytes mtu_;
  std::unique_ptr<Device> below_;
  std::vector<std::shared_ptr<Pump>> pumps_;
};

}  // namespace isthmus::perf
