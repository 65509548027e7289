// The driver of the path benchmarks: a poll-mode driver reduced to what it does to the cache.
//
// Every worker has a pump of its own on every device. A pump keeps a ring of stamped frames ready and hands them out
// burst by burst; what is transmitted is counted and its chunk released.
// Hot buffers: 64 frames are stamped when the ring is empty, in chunks that were released last, so that they are in
// the cache as a NIC with direct cache access would have them.
// Cold buffers: prepare() stamps thousands of frames all over the pool and flushes their lines, header and headroom, to
// memory, and the caller takes the time only of what follows.
// Threads: a pump is used by its worker's thread only; load and the counts between runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/device.h"
#include "perf/path/frames.h"

namespace isthmus::perf {

// The packets of one run, in order: patches and templates each go round.
struct Stream {
  const std::vector<FrameTemplate>* templates = nullptr;
  const std::vector<PacketPatch>* patches = nullptr;
  std::size_t first = 0;  // patch to begin with
};

class Pump {
 public:
  explicit Pump(FramePool& pool) : pool_(pool) {}

  // What load() names outlives its use.
  void load(const Stream& stream, std::uint64_t wanted, unsigned burst, bool cold);
  // Cold: stamps and flushes as many frames as the pool gives. Hot: nothing.
  void prepare();
  // There is something to receive without another prepare().
  [[nodiscard]] bool pending() const noexcept { return next_ < ready_.size() || (!cold_ && left_ != 0); }
  [[nodiscard]] std::uint64_t left() const noexcept { return left_ + (ready_.size() - next_); }

  // Whole frames are written, their payloads zero, so that checksums can be checked. Off again after load().
  void write_payloads() { write_payloads_ = true; }
  // Keeps copies of the next `count` frames that are transmitted.
  void capture(std::size_t count) { to_capture_ = count; }
  [[nodiscard]] std::vector<std::vector<std::uint8_t>> take_captured();
  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }

  unsigned receive(std::span<Frame> out) noexcept;
  unsigned transmit(std::span<const Frame> frames) noexcept;

 private:
  // Fills `out`, as far as the pool has chunks. Returns how many.
  std::size_t stamp(std::span<Frame> out) noexcept;
  void keep(std::span<const Frame> frames);

  FramePool& pool_;
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
  PumpDevice(std::string name, Bytes mtu) : name_(std::move(name)), mtu_(mtu) {}

  // Of a worker whose queue has been opened.
  [[nodiscard]] Pump& pump(unsigned worker) { return *pumps_[worker]; }

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] MacAddress mac() const noexcept override { return MacAddress{{2, 0, 0, 0, 0, 1}}; }
  [[nodiscard]] Bytes mtu() const noexcept override { return mtu_; }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] Status steer(const SteerRules&) override { return Ok{}; }
  [[nodiscard]] std::string describe() const override { return "benchmark pump"; }

 private:
  std::string name_;
  Bytes mtu_;
  std::vector<std::shared_ptr<Pump>> pumps_;
};

}  // namespace isthmus::perf
