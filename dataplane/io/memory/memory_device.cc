#include "dataplane/io/memory/memory_device.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/io/memory/frame_ring.h"
#include "dataplane/io/queue_counters.h"

namespace isthmus {

// The two rings between a worker and the other end, and the descriptor that wakes a sleeping worker.
class MemoryLane {
 public:
  explicit MemoryLane(const MemoryDeviceOptions& options) : in(options.lane_frames), out(options.lane_frames) {
    if (options.shares_with_host) {
      host.emplace(options.lane_frames);
    }
  }
  ~MemoryLane() {
    if (event >= 0) {
      close(event);
    }
  }
  MemoryLane(const MemoryLane&) = delete;
  MemoryLane& operator=(const MemoryLane&) = delete;

  [[nodiscard]] bool drained() const noexcept { return in.empty() && replayed.load(std::memory_order_acquire); }
  void wake() const noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(!write(event, &one, sizeof one));
  }

  FrameRing in, out;
  std::optional<FrameRing> host;
  int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  std::vector<FrameBytes> replay;    // frames of the capture file, before any injected one; the worker reads them
  std::atomic<bool> replayed{true};  // the worker has handed out all of `replay`
};

namespace {

std::optional<FrameBytes> oldest_of(FrameRing& ring) {
  if (ring.empty()) {
    return std::nullopt;
  }
  const auto bytes = ring.front();
  FrameBytes frame(bytes.begin(), bytes.end());
  ring.pop();
  return frame;
}

class MemoryQueue final : public DeviceQueue {
 public:
  MemoryQueue(std::shared_ptr<MemoryLane> lane, std::shared_ptr<PcapWriter> writer, FramePool& pool)
      : lane_(std::move(lane)), writer_(std::move(writer)), pool_(pool) {}

  unsigned receive(std::span<Frame> out) noexcept override {
    unsigned n = 0;
    std::uint64_t bytes = 0;
    while (n < out.size()) {
      const bool replaying = next_replay_ < lane_->replay.size();
      if (!replaying && lane_->in.empty()) {
        break;
      }
      const std::span<const std::uint8_t> source = replaying ? lane_->replay[next_replay_] : lane_->in.front();
      const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(source.size(), pool_.max_frame()));
      const std::uint32_t chunk = pool_.allocate_for(length);
      if (chunk == kNoChunk) {
        counters_.rx_no_frame.add(1);
        break;
      }
      if (source.size() <= pool_.max_frame()) {
        out[n] = Frame{pool_.chunk_start(chunk) + kFrameHeadroom, static_cast<std::uint32_t>(source.size()), chunk};
        std::memcpy(out[n].data, source.data(), source.size());
        bytes += source.size();
        ++n;
      } else {
        pool_.release(chunk);
        counters_.oversize.add(1);
      }
      consume(replaying);
    }
    counters_.rx_packets.add(n);
    counters_.rx_bytes.add(bytes);
    return n;
  }

  unsigned transmit(std::span<const Frame> frames) noexcept override {
    unsigned n = 0;
    std::uint64_t bytes = 0;
    for (const Frame& frame : frames) {
      const std::uint32_t length = padded_length(frame);
      if (writer_) {
        writer_->write({frame.data, length});
      } else if (!lane_->out.push({frame.data, length})) {
        counters_.tx_full.add(frames.size() - n);
        break;
      }
      bytes += length;
      pool_.release(frame.chunk);
      ++n;
    }
    counters_.tx_packets.add(n);
    counters_.tx_bytes.add(bytes);
    return n;
  }

  void to_host(std::span<const Frame> frames) noexcept override {
    for (const Frame& frame : frames) {
      if (lane_->host && lane_->host->push({frame.data, frame.length})) {
        counters_.to_host.add(1);
      } else {
        counters_.host_full.add(1);
      }
      pool_.release(frame.chunk);
    }
  }

  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {&lane_->event, 1}; }
  bool arm() noexcept override {
    std::uint64_t wakes = 0;
    static_cast<void>(!read(lane_->event, &wakes, sizeof wakes));
    return lane_->drained();
  }
  [[nodiscard]] QueueCounters counters() const noexcept override { return counters_.read(); }

 private:
  void consume(bool replaying) noexcept {
    if (!replaying) {
      lane_->in.pop();
    } else if (++next_replay_ == lane_->replay.size()) {
      lane_->replayed.store(true, std::memory_order_release);
    }
  }

  std::shared_ptr<MemoryLane> lane_;
  std::shared_ptr<PcapWriter> writer_;
  FramePool& pool_;
  std::size_t next_replay_ = 0;
  QueueCounterCells counters_;
};

}  // namespace

MemoryDevice::MemoryDevice(const MemoryDeviceOptions& options)
    : options_(options), kernel_{.interface_index = options.interface_index} {}
MemoryDevice::~MemoryDevice() = default;

Result<std::unique_ptr<MemoryDevice>> MemoryDevice::create(const MemoryDeviceOptions& options) {
  std::unique_ptr<MemoryDevice> device(new MemoryDevice(options));
  device->lanes_.push_back(std::make_shared<MemoryLane>(options));
  if (!options.pcap_in.empty()) {
    auto frames = read_pcap(options.pcap_in, FrameRing::kSlotBytes);
    if (!frames) {
      return frames.error();
    }
    MemoryLane& lane = *device->lanes_.front();
    lane.replay = *std::move(frames);
    lane.replayed = lane.replay.empty();
  }
  if (!options.pcap_out.empty()) {
    auto writer = PcapWriter::create(options.pcap_out);
    if (!writer) {
      return writer.error();
    }
    device->writer_ = *std::move(writer);
  }
  return device;
}

Result<std::unique_ptr<Device>> open_memory(const MemoryDeviceOptions& options) {
  auto device = MemoryDevice::create(options);
  if (!device) {
    return device.error();
  }
  return std::unique_ptr<Device>(*std::move(device));
}

MemoryLane* MemoryDevice::lane(WorkerId worker) const noexcept {
  return worker.value() < lanes_.size() ? lanes_[worker.value()].get() : nullptr;
}

bool MemoryDevice::inject(std::span<const std::uint8_t> frame, WorkerId worker) {
  MemoryLane* to = lane(worker);
  if (to == nullptr || !to->in.push(frame)) {
    return false;
  }
  to->wake();
  return true;
}

std::optional<FrameBytes> MemoryDevice::take(WorkerId worker) {
  MemoryLane* from = lane(worker);
  return from == nullptr ? std::nullopt : oldest_of(from->out);
}

std::optional<FrameBytes> MemoryDevice::take_host(WorkerId worker) {
  MemoryLane* from = lane(worker);
  return from == nullptr || !from->host ? std::nullopt : oldest_of(*from->host);
}

bool MemoryDevice::drained(WorkerId worker) const {
  const MemoryLane* of = lane(worker);
  return of == nullptr || of->drained();
}

Result<std::unique_ptr<DeviceQueue>> MemoryDevice::open_queue(WorkerId worker, unsigned workers, FramePool& pool) {
  if (worker.value() >= workers) {
    return Error{"worker " + std::to_string(worker.value()) + " of " + std::to_string(workers), options_.name};
  }
  while (lanes_.size() < workers) {
    lanes_.push_back(std::make_shared<MemoryLane>(options_));
  }
  return std::unique_ptr<DeviceQueue>(std::make_unique<MemoryQueue>(lanes_[worker.value()], writer_, pool));
}

Status MemoryDevice::steer(const SteerRules& rules) {
  rules_ = rules;
  return Ok{};
}

Status MemoryDevice::change_steer(const SteerChange& change) {
  change.apply_to(rules_);
  return Ok{};
}

std::string MemoryDevice::describe() const {
  std::string text = "memory";
  if (!options_.pcap_in.empty()) {
    text += ", from " + options_.pcap_in;
  }
  if (!options_.pcap_out.empty()) {
    text += ", to " + options_.pcap_out;
  }
  return text;
}

}  // namespace isthmus
