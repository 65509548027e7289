// The AF_XDP device: one interface, its steer program, and the sockets on its receive queues.
#include <algorithm>
#include <bit>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/af_xdp/af_xdp_queue.h"
#include "dataplane/io/af_xdp/netdev.h"
#include "dataplane/io/af_xdp/shared_umem.h"
#include "xdp/loader/steer_program.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kEthernetHeader = 14;
// What a 4096-byte chunk holds behind the headroom, and what native XDP takes in one buffer.
constexpr std::uint32_t kMaxPacket = 4096 - kFrameHeadroom - kEthernetHeader;
constexpr unsigned kMaxSingleBufferMtu = 3506;
constexpr std::uint32_t kMinFrames = 64;

class AfXdpDevice final : public Device {
 public:
  AfXdpDevice(AfXdpOptions options, Interface interface, const NetdevFacts& facts, std::shared_ptr<SteerProgram> steer)
      : options_(std::move(options)), interface_(std::move(interface)), facts_(facts), steer_(std::move(steer)) {}

  [[nodiscard]] const std::string& name() const noexcept override { return interface_.name; }
  [[nodiscard]] MacAddress mac() const noexcept override { return facts_.mac; }
  [[nodiscard]] Bytes mtu() const noexcept override { return Bytes{std::min(facts_.mtu, kMaxPacket)}; }
  [[nodiscard]] unsigned queues() const noexcept override { return facts_.rx_queues; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] Status steer(const SteerRules& rules) override { return steer_->apply(rules); }
  [[nodiscard]] std::string describe() const override;

 private:
  [[nodiscard]] Status check(unsigned workers, const FramePool& pool) const;
  [[nodiscard]] XskSettings socket_settings(unsigned queue, unsigned queues_of_worker, const FramePool& pool) const;

  AfXdpOptions options_;
  Interface interface_;
  NetdevFacts facts_;
  std::shared_ptr<SteerProgram> steer_;
  std::vector<std::weak_ptr<SharedUmem>> umems_;  // one per worker, for describe()
};

Status AfXdpDevice::check(unsigned workers, const FramePool& pool) const {
  const unsigned usable = std::min(facts_.rx_queues, facts_.tx_queues);
  if (workers == 0 || usable < workers) {
    return Error{std::to_string(usable) + " queues for " + std::to_string(workers) +
                     " workers; every worker needs one of its own",
                 interface_.name,
                 "add queues with `ethtool -L " + interface_.name +
                     " combined N` (a veth: `rx N tx N`), or lower "
                     "`workers`"};
  }
  if (mtu().value() + kEthernetHeader > pool.max_frame()) {
    return Error{"an MTU of " + std::to_string(mtu().value()) + " does not fit frames of " +
                     std::to_string(pool.chunk_bytes()) + " bytes",
                 interface_.name, "use frames of 4096 bytes"};
  }
  return Ok{};
}

XskSettings AfXdpDevice::socket_settings(unsigned queue, unsigned queues_of_worker, const FramePool& pool) const {
  XskSettings settings;
  settings.interface = interface_.name;
  settings.interface_index = interface_.index;
  settings.queue = queue;
  settings.ring_entries = options_.ring_entries;
  // Two devices with full fill rings leave half of the frames for packets in processing and transmission, and one whose
  // transmission is stuck leaves the other a quarter. Of a worker's queues, one transmits.
  settings.fill_target = std::min(options_.ring_entries, pool.chunks() / (4 * queues_of_worker));
  settings.transmit_cap = std::min(options_.ring_entries, pool.chunks() / 4);
  settings.busy_poll_us = options_.busy_poll_us;
  settings.busy_poll_budget = options_.busy_poll_budget;
  return settings;
}

Result<std::unique_ptr<DeviceQueue>> AfXdpDevice::open_queue(WorkerId worker, unsigned workers, FramePool& pool) {
  if (Status fits = check(workers, pool); !fits) {
    return fits.error();
  }
  auto umem = SharedUmem::of(pool);
  auto queue = std::make_unique<AfXdpQueue>(steer_, umem, pool);
  const unsigned own = (facts_.rx_queues - worker.value() + workers - 1) / workers;
  // The kernel allows zero-copy only with a native program.
  const ZeroCopy zero_copy = steer_->native() ? options_.zero_copy : ZeroCopy::kOff;
  for (unsigned q = worker.value(); q < facts_.rx_queues; q += workers) {
    XskSettings settings = socket_settings(q, own, pool);
    if (settings.fill_target < kMinFrames) {
      return Error{"too few frames: " + std::to_string(pool.chunks()) + " for " + std::to_string(own) + " queues",
                   interface_.name, "raise the number of frames, or lower the number of queues"};
    }
    settings.transmits = q == worker.value();
    if (Status added = queue->add_socket(settings, zero_copy); !added) {
      return added.error();
    }
  }
  umems_.push_back(umem);
  return std::unique_ptr<DeviceQueue>(std::move(queue));
}

std::string AfXdpDevice::describe() const {
  std::string text = "af_xdp " + std::string(steer_->native() ? "native" : "generic");
  for (const auto& weak : umems_) {
    if (const auto umem = weak.lock()) {
      text += umem->zero_copy() ? " zero-copy" : " copy";
      text += umem->fell_back() ? " (another device does not support zero-copy)" : "";
      text += umem->pages() == FramePages::kReserved ? ", frames on reserved huge pages" : "";
      break;
    }
  }
  text += ", " + std::to_string(facts_.rx_queues) + (facts_.rx_queues == 1 ? " queue" : " queues");
  if (!steer_->native_error().empty()) {
    text += " (" + steer_->native_error() + ")";
  }
  if (facts_.mtu > kMaxPacket) {
    text += ", packets up to " + std::to_string(kMaxPacket) + " bytes of MTU " + std::to_string(facts_.mtu);
  }
  return text;
}

[[nodiscard]] Status check_options(const AfXdpOptions& options) {
  if (!std::has_single_bit(options.ring_entries) || options.ring_entries < kMinFrames || options.ring_entries > 32768) {
    return Error{"invalid ring_entries: " + std::to_string(options.ring_entries), options.interface,
                 "use a power of two from 64 to 32768"};
  }
  if (options.zero_copy == ZeroCopy::kRequire && options.mode == XdpMode::kGeneric) {
    return Error{"zero_copy: require is not possible with xdp: generic", options.interface, "set xdp: native"};
  }
  return Ok{};
}

}  // namespace

Result<std::unique_ptr<Device>> open_af_xdp(const AfXdpOptions& options) {
  if (Status valid = check_options(options); !valid) {
    return valid.error();
  }
  auto interface = find_interface(options.interface);
  if (!interface) {
    return interface.error();
  }
  auto facts = netdev_facts(options.interface);
  if (!facts) {
    return facts.error();
  }
  if (!facts->up) {
    return Error{"the interface is down", options.interface,
                 "bring it up: `ip link set dev " + options.interface + " up`"};
  }
  SteerProgram::Settings settings;
  settings.queues = facts->rx_queues;
  settings.heartbeat_timeout_ms = options.heartbeat_timeout_ms;
  settings.engine_down_passes = !options.fleet_traffic_on_engine_down_drops;
  settings.fragments = facts->mtu > kMaxSingleBufferMtu;
  auto steer = SteerProgram::load(settings);
  if (!steer) {
    return steer.error();
  }
  if (Status attached = (*steer)->attach(*interface, options.mode); !attached) {
    return attached.error();
  }
  return std::unique_ptr<Device>(std::make_unique<AfXdpDevice>(options, *std::move(interface), *facts,
                                                               std::shared_ptr<SteerProgram>(*std::move(steer))));
}

}  // namespace isthmus
