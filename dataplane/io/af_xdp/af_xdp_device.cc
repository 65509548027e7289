// The AF_XDP device: one interface, its steer program, and the sockets on its receive queues.
#include <algorithm>
#include <bit>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/af_xdp/af_xdp_queue.h"
#include "dataplane/io/af_xdp/leg.h"
#include "dataplane/io/af_xdp/netdev.h"
#include "dataplane/io/af_xdp/offloads.h"
#include "dataplane/io/af_xdp/shared_umem.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/steer_program.h"
#include "xdp/loader/transmit_probe.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kEthernetHeader = 14;
constexpr std::uint32_t kMinFrames = 64;
// How long it is told that another program took ours off, and how long a failed reopen() is not tried again.
constexpr auto kTellRemoval = std::chrono::minutes(10);
constexpr auto kReopenPause = std::chrono::seconds(5);
// How often a frame is sent to find out whether the interface sends what XDP redirects to it, where the kernel does not
// tell.
constexpr auto kTrialPause = std::chrono::seconds(30);

class AfXdpDevice final : public Device {
 public:
  AfXdpDevice(AfXdpOptions options, Leg leg) : options_(std::move(options)), leg_(std::move(leg)) {
    long_packets_ = leg_.long_packets;
  }

  [[nodiscard]] const std::string& name() const noexcept override { return leg_.interface.name; }
  [[nodiscard]] MacAddress mac() const noexcept override { return leg_.facts.mac; }
  [[nodiscard]] Bytes mtu() const noexcept override { return std::min(Bytes{leg_.facts.mtu}, longest()); }
  [[nodiscard]] bool has_long_packets() const noexcept override { return leg_.long_packets; }
  [[nodiscard]] unsigned queues() const noexcept override { return leg_.facts.rx_queues; }
  void join(bool underlay, Realm realm) override { role_ = {underlay, realm}; }
  [[nodiscard]] KernelEgress kernel_egress() const override;
  [[nodiscard]] std::vector<LeaseCount> earlier_leases() const override { return leg_.steer->earlier_leases(); }
  void forget_earlier() override { leg_.steer->forget_earlier(); }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> adopt_queue(WorkerId worker, unsigned workers, FramePool& pool,
                                                                 HandedQueue handed) override;
  [[nodiscard]] Status begin() override;
  [[nodiscard]] Status steer(const SteerRules& rules) override;
  [[nodiscard]] Status change_steer(const SteerChange& change) override;
  [[nodiscard]] DeviceCondition check() override;
  [[nodiscard]] Status reopen() override;
  [[nodiscard]] std::string describe() const override;

 private:
  using Clock = std::chrono::steady_clock;

  // What sockets take, the program may not let through.
  [[nodiscard]] Bytes longest() const noexcept {
    return long_packets_ && leg_.long_packets ? kMaxLongPacket : kMaxAfXdpPacket;
  }
  [[nodiscard]] Status check_queues(unsigned workers, const FramePool& pool) const;
  [[nodiscard]] XskSettings socket_settings(unsigned queue, unsigned queues_of_worker, const FramePool& pool) const;
  // `handed`: adopts those of another process.
  [[nodiscard]] Status open_sockets(AfXdpQueue& queue, HandedQueue* handed = nullptr) const;
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> make_queue(const AfXdpQueue::Share& share, FramePool& pool,
                                                                HandedQueue* handed);
  [[nodiscard]] Status open_leg();
  [[nodiscard]] Status start_forwarding();
  void check_transmission();
  // It may have come back with the same number.
  [[nodiscard]] bool lost_interface() const {
    return std::any_of(open_->begin(), open_->end(), [](const AfXdpQueue* queue) { return queue->lost_interface(); });
  }
  [[nodiscard]] std::string describe_forwarding() const;
  void check_facts(const NetdevFacts& now, DeviceCondition& condition);
  void check_program(DeviceCondition& condition);
  void check_offloads(DeviceCondition& condition) const;

  AfXdpOptions options_;
  Leg leg_;
  struct Role {
    bool underlay = false;
    Realm realm;
  };
  std::optional<Role> role_;
  bool long_packets_ = false;  // sockets have them, or are to
  bool ours_ = true;           // at the last check(): the interface is the one that was opened
  std::optional<SteerRules> rules_;
  std::shared_ptr<std::set<AfXdpQueue*>> open_ = std::make_shared<std::set<AfXdpQueue*>>();
  std::vector<std::weak_ptr<SharedUmem>> umems_;  // one per worker, for describe()
  std::optional<Clock::time_point> taken_off_;    // when another program last took ours off
  std::optional<Error> reopen_error_;
  Clock::time_point next_reopen_, next_trial_;
};

Status AfXdpDevice::check_queues(unsigned workers, const FramePool& pool) const {
  const unsigned usable = std::min(leg_.facts.rx_queues, leg_.facts.tx_queues);
  if (workers == 0 || usable < workers) {
    return Error{std::to_string(usable) + " queues for " + std::to_string(workers) +
                     " workers; every worker needs one of its own",
                 leg_.interface.name,
                 "add queues with `ethtool -L " + leg_.interface.name +
                     " combined N` (a veth: `rx N tx N`), or lower "
                     "`workers`"};
  }
  if (mtu().value() + kEthernetHeader > pool.max_frame()) {
    return Error{"an MTU of " + std::to_string(mtu().value()) + " does not fit frames of " +
                     std::to_string(pool.chunk_bytes()) + " bytes",
                 leg_.interface.name, "use frames of 4096 bytes"};
  }
  return Ok{};
}

XskSettings AfXdpDevice::socket_settings(unsigned queue, unsigned queues_of_worker, const FramePool& pool) const {
  XskSettings settings;
  settings.interface = leg_.interface.name;
  settings.interface_index = leg_.interface.index;
  settings.queue = queue;
  settings.ring_entries = options_.ring_entries;
  // Two devices with full fill rings leave half of the frames for packets in processing and transmission, and one whose
  // transmission is stuck leaves the other a quarter. Of a worker's queues, one transmits.
  settings.fill_target = std::min(options_.ring_entries, pool.chunks() / (4 * queues_of_worker));
  settings.transmit_cap = std::min(options_.ring_entries, pool.chunks() / 4);
  settings.long_cap = pool.long_chunks() - pool.long_chunks() / 4;
  settings.busy_poll_us = options_.busy_poll_us;
  settings.busy_poll_budget = options_.busy_poll_budget;
  return settings;
}

Status AfXdpDevice::open_sockets(AfXdpQueue& queue, HandedQueue* handed) const {
  const unsigned worker = queue.share().worker.value(), workers = queue.share().workers;
  if (Status fits = check_queues(workers, queue.pool()); !fits) {
    return fits;
  }
  const unsigned own = (leg_.facts.rx_queues - worker + workers - 1) / workers;
  if (handed != nullptr && handed->sockets.size() != own) {
    return Error{"the interface has another number of queues than sockets were handed over", leg_.interface.name, ""};
  }
  // The kernel allows zero-copy only with a native program.
  const ZeroCopy zero_copy = leg_.steer->native() ? options_.zero_copy : ZeroCopy::kOff;
  for (unsigned q = worker; q < leg_.facts.rx_queues; q += workers) {
    XskSettings settings = socket_settings(q, own, queue.pool());
    if (settings.fill_target < kMinFrames) {
      return Error{
          "too few frames: " + std::to_string(queue.pool().chunks()) + " for " + std::to_string(own) + " queues",
          leg_.interface.name, "raise the number of frames, or lower the number of queues"};
    }
    settings.transmits = q == worker;
    Status added = handed == nullptr ? queue.add_socket(settings, zero_copy)
                                     : queue.adopt_socket(settings, zero_copy, std::move(handed->sockets[q / workers]));
    if (!added) {
      return added;
    }
  }
  return Ok{};
}

Result<std::unique_ptr<DeviceQueue>> AfXdpDevice::open_queue(WorkerId worker, unsigned workers, FramePool& pool) {
  return make_queue({worker, workers, open_}, pool, nullptr);
}

Result<std::unique_ptr<DeviceQueue>> AfXdpDevice::adopt_queue(WorkerId worker, unsigned workers, FramePool& pool,
                                                              HandedQueue handed) {
  return make_queue({worker, workers, open_}, pool, &handed);
}

Result<std::unique_ptr<DeviceQueue>> AfXdpDevice::make_queue(const AfXdpQueue::Share& share, FramePool& pool,
                                                             HandedQueue* handed) {
  long_packets_ = long_packets_ && pool.long_chunks() != 0;
  if (Status fits = check_queues(share.workers, pool); !fits) {
    return fits.error();
  }
  auto umem = SharedUmem::of(pool);
  auto queue = std::make_unique<AfXdpQueue>(leg_.steer, umem, pool, share);
  if (Status opened = open_sockets(*queue, handed); !opened) {
    return opened.error();
  }
  long_packets_ = umem->long_frames();
  umems_.push_back(umem);
  return std::unique_ptr<DeviceQueue>(std::move(queue));
}

Status AfXdpDevice::steer(const SteerRules& rules) {
  rules_ = rules;
  Status forwards = options_.beside && umems_.empty() ? Status(Ok{}) : start_forwarding();
  return forwards ? leg_.steer->apply(rules) : forwards;
}

// Beside another engine the rules come before the sockets, which tell whether the program is to forward.
Status AfXdpDevice::begin() {
  if (!options_.beside) {
    return Ok{};
  }
  Status forwards = start_forwarding();
  return forwards ? leg_.steer->begin() : forwards;
}

// Where frames are not copied to the engine, it is as fast as the kernel, and knows more.
Status AfXdpDevice::start_forwarding() {
  const bool zero_copy = std::any_of(umems_.begin(), umems_.end(), [](const auto& weak) {
    const auto umem = weak.lock();
    return umem && umem->zero_copy();
  });
  if (zero_copy && options_.kernel_forwarding == KernelForwarding::kAuto && !leg_.no_forwarding) {
    leg_.no_forwarding = "AF_XDP works without copying";
  }
  return leg_.no_forwarding || !role_ ? Status(Ok{}) : leg_.steer->join(role_->underlay, role_->realm);
}

KernelEgress AfXdpDevice::kernel_egress() const {
  return {.interface_index = ours_ ? leg_.interface.index : 0,  // another interface may have the number by now
          .why_not = leg_.no_transmission.value_or(""),
          .forwards = !leg_.no_forwarding && options_.kernel_flows != nullptr,
          .generic = !leg_.steer->native()};
}

Status AfXdpDevice::change_steer(const SteerChange& change) {
  if (!rules_) {
    return Error{"a change of rules before the first rules", leg_.interface.name};
  }
  change.apply_to(*rules_);
  return leg_.steer->change(change);
}

std::string AfXdpDevice::describe() const {
  std::string text = "af_xdp " + std::string(leg_.steer->native() ? "native" : "generic");
  for (const auto& weak : umems_) {
    if (const auto umem = weak.lock()) {
      text += umem->zero_copy() ? " zero-copy" : " copy";
      text += umem->fell_back() ? " (another device does not support zero-copy)" : "";
      text += umem->pages() == FramePages::kReserved ? ", frames on reserved huge pages" : "";
      break;
    }
  }
  text += ", " + std::to_string(leg_.facts.rx_queues) + (leg_.facts.rx_queues == 1 ? " queue" : " queues");
  if (!leg_.steer->native_error().empty()) {
    text += " (" + leg_.steer->native_error() + ")";
  }
  if (const Bytes most = longest(); leg_.facts.mtu > most.value()) {
    text += ", packets up to " + std::to_string(most.value()) + " bytes of MTU " + std::to_string(leg_.facts.mtu);
  }
  return text + describe_forwarding();
}

std::string AfXdpDevice::describe_forwarding() const {
  if (options_.kernel_flows == nullptr) {
    return options_.no_kernel_flows.empty() ? "" : ", the engine forwards all flows (" + options_.no_kernel_flows + ")";
  }
  std::string text = leg_.no_forwarding ? ", the engine forwards all flows (" + *leg_.no_forwarding + ")"
                                        : ", XDP forwards settled flows";
  if (!leg_.no_forwarding && leg_.steer->ends_with_engine()) {
    text += ", not while the engine is away (no BPF file system at " + std::string(kBpfFolder) + ")";
  }
  if (leg_.no_transmission) {
    text += leg_.steer->native() ? ", none that leave here" : ", of those that leave here what arrives in generic mode";
    text += " (" + *leg_.no_transmission + ")";
  }
  if (const auto& why_not = options_.kernel_flows->losses().why_not()) {
    text += ", what it loses of those sent here is not counted (" + *why_not + ")";
  }
  return text;
}

DeviceCondition AfXdpDevice::check() {
  DeviceCondition condition;
  const std::string& name = leg_.interface.name;
  const auto now = netdev_facts(name);
  ours_ = now && now->index == leg_.interface.index && !lost_interface();
  if (!now) {
    condition.up = false;
    condition.problems.push_back(
        {"the interface was removed", name, "make it again: the gateway then takes it into use by itself"});
  } else if (now->index != leg_.interface.index || reopen_error_ || lost_interface()) {
    condition.up = false;
    condition.reopen = now->up && Clock::now() >= next_reopen_;
    condition.problems.push_back(reopen_error_.value_or(Error{"the interface was made anew and is not in use yet", name,
                                                              "bring it up: `ip link set dev " + name + " up`"}));
  } else {
    check_facts(*now, condition);
    check_program(condition);
    check_offloads(condition);
    check_transmission();
  }
  return condition;
}

void AfXdpDevice::check_facts(const NetdevFacts& now, DeviceCondition& condition) {
  const std::string& name = leg_.interface.name;
  if (!now.running) {
    condition.up = false;
    condition.problems.push_back(
        now.up ? Error{"the interface has no carrier", name, "check the link"}
               : Error{"the interface is down", name, "bring it up: `ip link set dev " + name + " up`"});
  }
  if (now.rx_queues != leg_.facts.rx_queues) {
    condition.problems.push_back({"the interface had " + std::to_string(leg_.facts.rx_queues) +
                                      " receive queues when it was opened, and has " + std::to_string(now.rx_queues),
                                  name, "restart the gateway, or set the number back with `ethtool -L`"});
  }
  if (const std::string most = std::to_string(longest().value()); now.mtu > longest().value()) {
    const bool after_start = !leg_.long_packets && SteerProgram::kernel_gathers();
    condition.problems.push_back(
        {"its MTU is " + std::to_string(now.mtu) + ", but the gateway receives packets of up to " + most +
             " bytes; longer ones are lost",
         name,
         std::string(after_start ? "restart the gateway, which takes longer ones since then; or " : "") +
             "let nothing longer be sent to it: an MTU of " + most +
             " on the interface and on the senders' routes to fleet prefixes"});
  }
  if (now.mac != leg_.facts.mac) {
    if (Status followed = leg_.steer->set_mac(now.mac); !followed) {
      condition.problems.push_back(followed.error());
      return;  // the next check tries again
    }
    condition.changes.push_back(name + ": MAC address is now " + now.mac.to_string());
  }
  if (now.mtu != leg_.facts.mtu) {
    condition.changes.push_back(name + ": MTU is now " + std::to_string(now.mtu));
  }
  leg_.facts.mac = now.mac;
  leg_.facts.mtu = now.mtu;
}

void AfXdpDevice::check_program(DeviceCondition& condition) {
  const auto attached = leg_.steer->ensure_attached();
  if (!attached) {
    condition.up = false;
    condition.problems.push_back({"the steer program is not on the interface: " + attached.error().what,
                                  leg_.interface.name, attached.error().fix});
    return;
  }
  if (*attached) {
    condition.changes.push_back(leg_.interface.name + ": another program took the steer program off; attached again");
    taken_off_ = Clock::now();
  }
  if (taken_off_ && Clock::now() - *taken_off_ < kTellRemoval) {
    condition.problems.push_back(
        {"another program took the XDP steer program off this interface; it was attached again", leg_.interface.name,
         "find what does it, for example a CNI agent that restarts, and keep it from this interface"});
  }
}

// Where the kernel does not tell, only a trial shows what has changed.
void AfXdpDevice::check_transmission() {
  if (options_.kernel_flows == nullptr) {
    return;
  }
  if (Clock::now() >= next_trial_) {
    next_trial_ = Clock::now() + kTrialPause;
    leg_.no_transmission = why_not_transmitting(leg_.interface, leg_.no_transmission);
  } else {
    leg_.no_transmission = why_not_transmitting_now(leg_.interface, leg_.no_transmission);
  }
}

void AfXdpDevice::check_offloads(DeviceCondition& condition) const {
  const std::string& name = leg_.interface.name;
  const auto offloads = disable_receive_offloads(name, !leg_.steer->native());
  if (!offloads) {
    condition.problems.push_back(offloads.error());
    return;
  }
  for (const std::string& disabled : offloads->disabled) {
    condition.changes.push_back(name + ": turned " + disabled + " off");
  }
  for (const std::string& fixed : offloads->fixed) {
    const bool vlan = fixed.find("vlan") != std::string::npos;
    condition.problems.push_back(
        {fixed + " stays on: " + (vlan ? "VLAN-tagged packets are taken for untagged ones" : "merged packets are lost"),
         name, "turn it off: `ethtool -K " + name + " " + fixed + " off`"});
  }
}

Status AfXdpDevice::reopen() {
  Status opened = open_leg();
  reopen_error_.reset();
  if (!opened) {
    reopen_error_ = opened.error();
    next_reopen_ = Clock::now() + kReopenPause;
  }
  return opened;
}

// The old program's rules are in force on the new interface before a socket is open: nothing passes in clear.
Status AfXdpDevice::open_leg() {
  auto leg = open_interface(options_, long_packets_, leg_.steer.get());
  if (!leg) {
    return leg.error();
  }
  if (options_.kernel_flows != nullptr && leg->interface.index != leg_.interface.index) {
    options_.kernel_flows->losses().forget(leg_.interface.index);
  }
  leg_ = *std::move(leg);
  for (AfXdpQueue* queue : *open_) {
    queue->use(leg_.steer);
  }
  if (Status forwards = start_forwarding(); !forwards) {
    return forwards;
  }
  if (rules_) {
    if (Status applied = leg_.steer->apply(*rules_); !applied) {
      return applied;
    }
  }
  for (AfXdpQueue* queue : *open_) {
    if (Status bound = open_sockets(*queue); !bound) {
      return bound;
    }
  }
  return Ok{};
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
  auto leg = open_interface(options);
  if (!leg) {
    return leg.error();
  }
  return std::unique_ptr<Device>(std::make_unique<AfXdpDevice>(options, *std::move(leg)));
}

}  // namespace isthmus
