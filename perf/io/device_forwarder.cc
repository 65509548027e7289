#include <poll.h>

#include <cstring>

#include "perf/io/forwarders.h"
#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

class DeviceForwarder final : public RoundForwarder {
 public:
  Status open(const ForwarderSetup& setup) {
    auto pool = FramePool::create(setup.frames);
    if (!pool) {
      return pool.error();
    }
    pool_ = *std::move(pool);
    SteerRules rules;
    rules.fleet = {*Prefix::parse(kDestinations)};
    rules.local_sources = {*Prefix::parse(kSources)};
    for (End* end : {&in_, &out_}) {
      AfXdpOptions options = setup.device;
      options.interface = end->interface;
      auto device = open_af_xdp(options);
      if (!device) {
        return device.error();
      }
      end->device = *std::move(device);
      auto queue = end->device->open_queue(WorkerId{0}, 1, *pool_);
      if (!queue) {
        return queue.error();
      }
      end->queue = *std::move(queue);
      if (Status steered = end->device->steer(rules); !steered) {
        return steered;
      }
    }
    return Ok{};
  }

  unsigned round() override {
    Frame burst[kMaxBurst];
    const unsigned n = in_.queue->receive(burst);
    for (unsigned i = 0; i < n; ++i) {
      std::memcpy(burst[i].data, kForwardedAddresses.data(), kForwardedAddresses.size());
    }
    const unsigned sent = out_.queue->transmit({burst, n});
    for (unsigned i = sent; i < n; ++i) {
      pool_->release(burst[i].chunk);
    }
    out_.queue->flush();
    return n;
  }

  void wait() override {
    if (!in_.queue->arm()) {
      return;
    }
    pollfd readable{in_.queue->wait_fds().front(), POLLIN, 0};
    poll(&readable, 1, kMaxSleepMs);
  }

 private:
  struct End {
    const char* interface;
    std::unique_ptr<Device> device = nullptr;
    std::unique_ptr<DeviceQueue> queue = nullptr;
  };
  std::unique_ptr<FramePool> pool_;
  End in_{.interface = kInterfaceIn};
  End out_{.interface = kInterfaceOut};
};

}  // namespace

Result<std::unique_ptr<RoundForwarder>> make_device_forwarder(const ForwarderSetup& setup) {
  auto forwarder = std::make_unique<DeviceForwarder>();
  if (Status opened = forwarder->open(setup); !opened) {
    return opened.error();
  }
  return std::unique_ptr<RoundForwarder>(std::move(forwarder));
}

}  // namespace isthmus::perf
