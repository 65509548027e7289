#include "dataplane/io/twin/twin.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/net/headers.h"

namespace isthmus {
namespace {

// Of an Ethernet header with one VLAN tag.
constexpr std::uint32_t kLongestEthernet = sizeof(net::Ethernet) + 4;

}  // namespace

Twin::Twin(const TwinOptions& options)
    : options_(options),
      frame_bytes_(std::max(FrameRing::kSlotBytes, options.mtu.value() + kLongestEthernet)),
      thread_(shared_, queues_, frame_bytes_, options.cores) {
  const TwinQueue::Sizes sizes{options.ring_frames, options.urgent_ring_frames, frame_bytes_};
  for (unsigned worker = 0; worker < options.workers; ++worker) {
    queues_.push_back(std::make_unique<TwinQueue>(shared_, sizes, worker == 0));
  }
}

Result<std::shared_ptr<Twin>> Twin::open(const TwinOptions& options) {
  std::shared_ptr<Twin> twin(new Twin(options));
  if (!twin->shared_->thread.open() || !twin->shared_->worker.open()) {
    return Error{std::string("cannot make an event descriptor: ") + std::strerror(errno), options.interface,
                 "raise the limit of open files"};
  }
  const std::lock_guard lock(twin->control_);
  if (auto made = twin->make(); !made) {
    return made.error();
  }
  return twin;
}

// Without a TAP, and with the thread stopped: to the state of a twin that runs, or no further.
Status Twin::make() {
  auto tap = Tap::open(options_.interface);
  if (!tap) {
    return tap.error();
  }
  tap_ = *std::move(tap);
  Status done = Ok{};
  if (auto facts = tap_->facts(); facts) {
    std::vector<std::string> changes;
    done = follow(*facts, changes);
  } else {
    done = facts.error();
  }
  done = done ? tap_->set_carrier(options_.link) : done;
  done = done ? tap_->bring_up() : done;
  if (!done) {
    tap_.reset();
    return done;
  }
  thread_.start(tap_->fd());
  return Ok{};
}

// MAC address and MTU as the NIC has them.
Status Twin::follow(const TapFacts& facts, std::vector<std::string>& changes) {
  shared_->longest.store(options_.mtu.value() + static_cast<std::uint32_t>(sizeof(net::Ethernet)),
                         std::memory_order_relaxed);
  if (facts.mac != options_.mac) {
    if (auto set = tap_->set_mac(options_.mac); !set) {
      return set;
    }
    changes.push_back(options_.interface + ": set the MAC address of the NIC again");
  }
  if (facts.mtu != options_.mtu) {
    if (auto set = tap_->set_mtu(options_.mtu); !set) {
      return set;
    }
    changes.push_back(options_.interface + ": set the MTU of the NIC again");
  }
  return Ok{};
}

Status Twin::set_link(bool up) {
  const std::lock_guard lock(control_);
  options_.link = up;
  return tap_ && shared_->open.load(std::memory_order_acquire) ? tap_->set_carrier(up) : Status(Ok{});
}

Status Twin::set_mac(MacAddress mac) {
  const std::lock_guard lock(control_);
  options_.mac = mac;
  return tap_ && shared_->open.load(std::memory_order_acquire) ? tap_->set_mac(mac) : Status(Ok{});
}

Status Twin::set_mtu(Bytes mtu) {
  const std::lock_guard lock(control_);
  if (mtu.value() + kLongestEthernet > frame_bytes_) {
    return Error{"the NIC's MTU is now " + std::to_string(mtu.value()) + ", but the buffers of its twin hold " +
                     std::to_string(frame_bytes_ - kLongestEthernet),
                 options_.interface, "lower the MTU, or restart isthmus"};
  }
  options_.mtu = mtu;
  shared_->longest.store(mtu.value() + static_cast<std::uint32_t>(sizeof(net::Ethernet)), std::memory_order_relaxed);
  return tap_ && shared_->open.load(std::memory_order_acquire) ? tap_->set_mtu(mtu) : Status(Ok{});
}

void Twin::check(DeviceCondition& condition) {
  const std::lock_guard lock(control_);
  if (!shared_->open.load(std::memory_order_acquire)) {
    thread_.stop();
    tap_.reset();
    if (auto made = make(); !made) {
      condition.problems.push_back(made.error());
      return;
    }
    condition.changes.push_back(options_.interface +
                                ": made the NIC's twin again, which was removed, and its addresses and routes with it");
  }
  const auto facts = tap_->facts();
  if (!facts) {
    condition.problems.push_back(facts.error());
    return;
  }
  if (auto followed = follow(*facts, condition.changes); !followed) {
    condition.problems.push_back(followed.error());
  }
  if (!facts->up) {
    condition.problems.push_back({"the NIC's twin is down: the host is not reachable by it", options_.interface,
                                  "ip link set " + options_.interface + " up"});
  } else if (facts->running != options_.link) {
    if (auto set = tap_->set_carrier(options_.link); !set) {
      condition.problems.push_back(set.error());
    }
  }
}

Status Twin::forget() {
  const std::lock_guard lock(control_);
  return tap_ && shared_->open.load(std::memory_order_acquire) ? tap_->forget() : Status(Ok{});
}

}  // namespace isthmus
