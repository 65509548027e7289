// Devices: bursts in, bursts out, frames with headroom.
//
// A Device is one network interface (or a stand-in); the control thread opens it and sets its steer rules. A
// DeviceQueue is one worker's share of it: one or more of its rings behind one receive/transmit pair, used by that
// worker only, with frames of that worker's FramePool. Every ring of the device is bound by exactly one worker.
// Hot path (receive, transmit, flush): no allocation, lock or log; system calls only here, per burst.
// Adding a device kind: one folder beside this file and a line in dataplane/api/devices.h.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/counters.h"
#include "dataplane/api/encapsulation.h"
#include "dataplane/api/handed_over.h"
#include "dataplane/base/result.h"
#include "dataplane/net/ip_address.h"
#include "dataplane/packet/frame.h"

namespace isthmus {

// What the kernel program of a device hands to the gateway; everything else stays with the kernel's own stack.
struct SteerRules {
  TunnelEnds tunnel;               // outer destinations that are ours
  std::set<IpAddress> peers;       // remote peers: only their tunnel packets are taken
  std::set<Prefix> fleet;          // remote prefixes, VIPs, our translation addresses: inner or plain destinations
  std::set<Prefix> local_sources;  // plain packets are taken only from these
  std::set<Prefix> native;         // of the local sources, other clusters': also what they send to the others
  friend bool operator==(const SteerRules&, const SteerRules&) = default;
};

// What has come and gone of the lists; the tunnel's ends stay.
struct SteerChange {
  SteerRules added, removed;
  [[nodiscard]] bool empty() const {
    const auto none = [](const SteerRules& rules) {
      return rules.peers.empty() && rules.fleet.empty() && rules.local_sources.empty() && rules.native.empty();
    };
    return none(added) && none(removed);
  }
  void apply_to(SteerRules& rules) const {
    const auto apply = [](auto& list, const auto& added_there, const auto& removed_there) {
      list.insert(added_there.begin(), added_there.end());
      for (const auto& each : removed_there) {
        list.erase(each);
      }
    };
    apply(rules.peers, added.peers, removed.peers);
    apply(rules.fleet, added.fleet, removed.fleet);
    apply(rules.local_sources, added.local_sources, removed.local_sources);
    apply(rules.native, added.native, removed.native);
  }
  // Becomes what it and then `later` change together.
  void append(const SteerChange& later) {
    const auto turn = [](auto& from, auto& into, const auto& turned) {
      for (const auto& each : turned) {
        if (from.erase(each) == 0) {
          into.insert(each);
        }
      }
    };
    const auto follow = [&](auto list) {
      turn(removed.*list, added.*list, later.added.*list);
      turn(added.*list, removed.*list, later.removed.*list);
    };
    follow(&SteerRules::peers);
    for (const auto list : {&SteerRules::fleet, &SteerRules::local_sources, &SteerRules::native}) {
      follow(list);
    }
  }
};

class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;
  // Fills at most out.size() frames; each starts with kFrameHeadroom free bytes or more in front. Returns how many.
  // Also updates the heartbeat by which the kernel program knows that this worker is alive.
  virtual unsigned receive(std::span<Frame> out) noexcept = 0;
  // Takes frames from the front; returns how many were accepted (their chunks now belong to the queue and go back to
  // the pool when sent). The rest stays with the caller.
  virtual unsigned transmit(std::span<const Frame> frames) noexcept = 0;
  // Frames that are the kernel's, of a device that shares_with_host(). All are taken; what finds no room is lost, and
  // counted.
  virtual void to_host(std::span<const Frame> frames) noexcept { static_cast<void>(frames); }
  // End of a worker round: kicks the kernel where needed, collects completions.
  virtual void flush() noexcept = 0;
  // File descriptors that become readable when frames arrive; empty for devices that can only be polled.
  [[nodiscard]] virtual std::span<const int> wait_fds() const noexcept = 0;
  // How long a worker may sleep without looking, microseconds; 0: until a descriptor is readable.
  [[nodiscard]] virtual std::uint32_t longest_sleep_us() const noexcept { return 0; }
  // Before the worker sleeps: asks for a wake-up. Returns false if frames are already waiting (do not sleep).
  virtual bool arm() noexcept = 0;
  // For a successor process; nothing, where there is nothing to hand over. Control thread, while the worker stands.
  [[nodiscard]] virtual HandedQueue describe() const { return {}; }
  // Written by the worker with relaxed single-writer stores, read by control at any time.
  [[nodiscard]] virtual QueueCounters counters() const noexcept = 0;
};

// What a look at a device found.
struct DeviceCondition {
  bool up = true;       // packets can arrive and leave: the interface is there and running, with our program on it
  bool reopen = false;  // the interface was made anew: reopen() takes it into use
  std::vector<Error> problems = {};
  std::vector<std::string> changes = {};  // what it changed on the node, for the log
};

// What XDP programs can do at a device.
struct KernelEgress {
  int interface_index = 0;  // by which they can send what leaves by it; 0: they cannot
  std::string why_not = {};
  bool forwards = true;  // the program of the device forwards what arrives there
  bool generic = false;  // in generic mode, from which any interface sends
};

class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual MacAddress mac() const noexcept = 0;
  // Longest IP packet, bytes (1500 for plain Ethernet).
  [[nodiscard]] virtual Bytes mtu() const noexcept = 0;
  [[nodiscard]] virtual unsigned queues() const noexcept = 0;
  // Whether what arrives is divided by flows among as many queues as there are workers: by the interface, by where
  // senders run, or because nothing can be gained. Else workers divide it. After open_queue().
  [[nodiscard]] virtual bool divides_flows() const noexcept { return true; }
  // What the interface counts as a whole, beside what its queues count. Control thread.
  [[nodiscard]] virtual QueueCounters counters() const { return {}; }
  // Whether frames longer than a chunk can arrive: the pools of its queues should have long chunks.
  [[nodiscard]] virtual bool has_long_packets() const noexcept { return false; }
  // Bytes in front of each chunk that it needs for itself: FramePool::Options::reserved is the most of an engine's.
  [[nodiscard]] virtual std::uint32_t reserved_bytes() const noexcept { return 0; }
  // By how many cache lines its frames may be staggered (FramePool::Options::staggered): a power of two, 1 where it
  // decides by itself at which place of a chunk a frame begins.
  [[nodiscard]] virtual std::uint32_t most_staggered() const noexcept { return 1; }
  // Whether everything that arrives at its interface comes to the queues: what is not ours by the rules of steer() goes
  // back to the kernel by DeviceQueue::to_host().
  [[nodiscard]] virtual bool shares_with_host() const noexcept { return false; }
  // Whether it is the one that tunnels go through, and the realm of the engine's flow keys. Control thread, once,
  // before open_queue().
  virtual void join(bool underlay, Realm realm) { static_cast<void>(underlay), static_cast<void>(realm); }
  // Control thread; may change with reopen().
  [[nodiscard]] virtual KernelEgress kernel_egress() const { return {0, "the device has no interface of the kernel"}; }
  // What the leases of an earlier engine on the interface count, whose program may run still; empty: there was none.
  [[nodiscard]] virtual std::vector<LeaseCount> earlier_leases() const { return {}; }
  // They are not needed any more: the kernel may free the maps of that engine.
  virtual void forget_earlier() {}
  // Binds the rings q with q % workers == worker. Called once per worker, before it starts, from the control thread.
  [[nodiscard]] virtual Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                        FramePool& pool) = 0;
  // The same with what another process had of the device, and has still: nothing of it changes before begin().
  [[nodiscard]] virtual Result<std::unique_ptr<DeviceQueue>> adopt_queue(WorkerId worker, unsigned workers,
                                                                         FramePool& pool, HandedQueue handed) {
    static_cast<void>(worker), static_cast<void>(workers), static_cast<void>(pool), static_cast<void>(handed);
    return Error{"this kind of device cannot be handed over", name(), ""};
  }
  // Of one that was opened beside another engine: takes the interface over from it, when the queues are open and their
  // worker is about to start. Control thread.
  [[nodiscard]] virtual Status begin() { return Ok{}; }
  // Replaces the kernel program's rules by `rules`. Devices without such a program ignore it. Control thread.
  [[nodiscard]] virtual Status steer(const SteerRules& rules) = 0;
  // Changes the rules of the last steer(). After an error, which rules are in force is open until the next steer().
  [[nodiscard]] virtual Status change_steer(const SteerChange& change) = 0;
  // Looks at the interface again: follows its MAC and MTU, and puts back what others changed and can be put back while
  // the workers run. Control thread, a few times a second and whenever the interface changed.
  [[nodiscard]] virtual DeviceCondition check() { return {}; }
  // Opens an interface that was made anew, for the queues that are open. Control thread, while no worker runs. After an
  // error, the device stays down, and check() asks for it again.
  [[nodiscard]] virtual Status reopen() { return Ok{}; }
  // Mode and queues, for `isthmus status` ("af_xdp native copy, 2 queues").
  [[nodiscard]] virtual std::string describe() const = 0;
};

}  // namespace isthmus
