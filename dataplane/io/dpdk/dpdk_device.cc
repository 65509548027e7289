#include "dataplane/io/dpdk/dpdk_device.h"

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <map>

#include "dataplane/io/dpdk/eal.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kEthernetHeader = 14;

// domain:bus:device.function, or without the domain.
bool is_pci_address(const std::string& name) {
  const std::string address = name.substr(0, name.find(','));
  return address.find_first_not_of("0123456789abcdefABCDEF:.") == std::string::npos &&
         address.find(':') != std::string::npos && address.find('.') != std::string::npos;
}

// Drivers that know no largest MTU know a largest frame, its checksum included.
Bytes largest_mtu(const rte_eth_dev_info& info) {
  constexpr std::uint32_t kOverhead = kEthernetHeader + RTE_ETHER_CRC_LEN;
  return Bytes{info.max_mtu != UINT16_MAX ? info.max_mtu : std::max(info.max_rx_pktlen, kOverhead) - kOverhead};
}

// One for each pool, shared by all devices of its worker. Control thread.
std::shared_ptr<FrameMempool> known_mempool(const FramePool& pool, std::shared_ptr<FrameMempool> made) {
  static std::map<const FramePool*, std::weak_ptr<FrameMempool>> known;
  std::erase_if(known, [](const auto& each) { return each.second.expired(); });
  if (made != nullptr) {
    known[&pool] = made;
    return made;
  }
  const auto found = known.find(&pool);
  return found == known.end() ? nullptr : found->second.lock();
}

Result<std::shared_ptr<FrameMempool>> mempool_of(FramePool& pool, int socket) {
  if (auto known = known_mempool(pool, nullptr)) {
    return known;
  }
  auto made = FrameMempool::create(pool, socket);
  if (!made) {
    return made.error();
  }
  return known_mempool(pool, *std::move(made));
}

// Drivers over NICs that may be taken away and come back, which they see to by themselves, on a thread of DPDK's.
bool comes_and_goes(std::string_view driver) noexcept { return driver == "net_netvsc"; }

// Looks at a NIC that was taken away between two attempts to take it again, for which all workers pause.
constexpr unsigned kMostLooks = 32;

}  // namespace

Error DpdkDevice::failure(const std::string& what, int error, const std::string& fix) const {
  const std::string said = take_dpdk_log();
  return Error{what + ": " + rte_strerror(error < 0 ? -error : error) + (said.empty() ? "" : "; DPDK says: " + said),
               options_.device, fix};
}

Result<std::unique_ptr<Device>> DpdkDevice::open(const DpdkOptions& options) {
  if (Status started = start_eal(options.memory, is_pci_address(options.device)); !started) {
    return started.error();
  }
  std::unique_ptr<DpdkDevice> device(new DpdkDevice(options));
  for (const auto step : {&DpdkDevice::probe, &DpdkDevice::read_facts, &DpdkDevice::open_twin}) {
    if (Status done = (device.get()->*step)(); !done) {
      return done.error();
    }
  }
  return std::unique_ptr<Device>(std::move(device));
}

// DPDK has no driver for it (it cannot even read the name), or its driver has tried and failed.
Error DpdkDevice::probe_failure(int error) const {
  const bool tried = error != -EFAULT && error != -ENOENT;
  const bool physical = is_pci_address(options_.device);
  return failure(tried ? "DPDK's driver cannot take the device" : "DPDK has no driver that takes the device", error,
                 physical && tried
                     ? "end the process that has it (`fuser -v /dev/vfio/*`), or bind the NIC to vfio-pci again"
                 : physical ? "bind the NIC to vfio-pci (`dpdk-devbind.py --status` shows who has it), install the "
                              "driver (librte-net-*), or correct the address"
                 : tried    ? "end the process that has it, or correct its arguments"
                            : "write a PCI address, or devargs such as net_memif0,role=client");
}

Status DpdkDevice::probe() {
  static_cast<void>(take_dpdk_log());  // what it has said of other devices
  const char* const devargs = options_.device.c_str();
  if (const int error = rte_dev_probe(devargs); error != 0) {
    return probe_failure(error);
  }
  rte_dev_iterator iterator;
  std::uint16_t port = RTE_MAX_ETHPORTS, first = RTE_MAX_ETHPORTS;
  RTE_ETH_FOREACH_MATCHING_DEV(port, devargs, &iterator) { first = std::min(first, port); }
  if (first == RTE_MAX_ETHPORTS) {
    return failure("the device has no Ethernet port", ENODEV, "name a network device");
  }
  rte_eth_dev_info info{};
  static_cast<void>(rte_eth_dev_info_get(first, &info));
  if (std::string_view(info.driver_name) == "net_failsafe") {
    DpdkPort(first, info.device).close();
    return Error{"DPDK's failsafe driver ends the process when its NIC is taken away under traffic", options_.device,
                 "name the NIC itself, which is taken into use again when it comes back; on Azure, that of netvsc"};
  }
  port_ = std::make_shared<DpdkPort>(first, info.device);
  return Ok{};
}

Status DpdkDevice::read_facts() {
  if (const int error = rte_eth_dev_info_get(port_->number(), &info_); error != 0) {
    return failure("DPDK does not tell what the device can do", error, "see what its driver needs");
  }
  rte_ether_addr address{};
  if (const int error = rte_eth_macaddr_get(port_->number(), &address); error != 0) {
    return failure("the device has no MAC address", error, "give it one");
  }
  std::memcpy(mac_.bytes.data(), address.addr_bytes, RTE_ETHER_ADDR_LEN);
  std::uint16_t mtu = 0;
  if (const int error = rte_eth_dev_get_mtu(port_->number(), &mtu); error != 0) {
    return failure("the device has no MTU", error, "give it one");
  }
  mtu_ = Bytes{options_.mtu != 0 ? options_.mtu : mtu};
  if (mtu_ > kMaxDpdkPacket) {
    return Error{"an MTU of " + std::to_string(mtu_.value()) + ", and a frame of one buffer holds packets of " +
                     std::to_string(kMaxDpdkPacket.value()) + " bytes",
                 options_.device, "set its mtu to " + std::to_string(kMaxDpdkPacket.value()) + " at most"};
  }
  if (const Bytes most = largest_mtu(info_); mtu_ > most && options_.mtu != 0) {
    return Error{"an MTU of " + std::to_string(mtu_.value()) + ", and its driver takes " +
                     std::to_string(most.value()) + " at most",
                 options_.device, "set its mtu to " + std::to_string(most.value()) + " at most"};
  }
  return Ok{};
}

Status DpdkDevice::open_twin() {
  if (options_.twin.empty()) {
    return Ok{};
  }
  TwinOptions options;
  options.interface = options_.twin;
  options.mac = mac_;
  options.mtu = mtu_;
  options.link = true;  // as check() finds it
  options.workers = options_.workers;
  options.cores = options_.cores;
  auto twin = Twin::open(options);
  if (!twin) {
    return twin.error();
  }
  twin_ = *std::move(twin);
  return Ok{};
}

// What a chunk has room for beside the longest packet.
std::uint32_t DpdkDevice::most_staggered() const noexcept {
  return std::bit_floor(1 + (kMaxDpdkPacket.value() - mtu_.value()) / kCacheLineBytes);
}

Status DpdkDevice::configure(unsigned workers) {
  if (info_.max_tx_queues < workers) {
    return Error{std::to_string(info_.max_tx_queues) + " transmit queues for " + std::to_string(workers) +
                     " workers; every worker needs one of its own",
                 options_.device, "lower engine.workers, or give the device more queues"};
  }
  receive_queues_ = std::min<unsigned>(info_.max_rx_queues, workers);
  rte_eth_conf conf{};
  conf.rxmode.mtu = mtu_.value();
  conf.intr_conf.rxq = 1;
  conf.intr_conf.rmv = (*info_.dev_flags & RTE_ETH_DEV_INTR_RMV) != 0 ? 1 : 0;
  if (receive_queues_ > 1 && info_.flow_type_rss_offloads != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = info_.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP |
                                                                       RTE_ETH_RSS_UDP | RTE_ETH_RSS_LEVEL_INNERMOST);
  }
  // Senders of tunnel packets have the flow inside in the source port.
  divides_flows_ = workers == 1 || (receive_queues_ == workers && conf.rxmode.mq_mode == RTE_ETH_MQ_RX_RSS &&
                                    (info_.flow_type_rss_offloads & RTE_ETH_RSS_NONFRAG_IPV4_UDP) != 0);
  const auto receive = static_cast<std::uint16_t>(receive_queues_), transmit = static_cast<std::uint16_t>(workers);
  if (const int error = rte_eth_dev_configure(port_->number(), receive, transmit, &conf); error != 0) {
    return failure("the device cannot be configured with " + std::to_string(workers) + " queues", error,
                   "lower engine.workers, or give the device more queues");
  }
  if (options_.mtu != 0) {
    const int error = rte_eth_dev_set_mtu(port_->number(), static_cast<std::uint16_t>(options_.mtu));
    if (error != 0 && error != -ENOTSUP) {  // a driver that does not support it has none of its own
      return failure("the device does not take an MTU of " + std::to_string(options_.mtu), error,
                     "the driver takes " + std::to_string(info_.min_mtu) + " to " + std::to_string(info_.max_mtu));
    }
  }
  receive_entries_ = transmit_entries_ =
      static_cast<std::uint16_t>(std::min<std::uint32_t>(options_.ring_entries, 32768));
  if (const int error = rte_eth_dev_adjust_nb_rx_tx_desc(port_->number(), &receive_entries_, &transmit_entries_);
      error != 0) {
    return failure("the device has no rings of " + std::to_string(options_.ring_entries) + " entries", error,
                   "lower ring_entries");
  }
  return Ok{};
}

Status DpdkDevice::set_up(std::uint16_t queue, const FrameMempool& mempool) {
  const auto socket = static_cast<unsigned>(std::max(rte_eth_dev_socket_id(port_->number()), 0));
  if (queue < receive_queues_) {
    if (const int error =
            rte_eth_rx_queue_setup(port_->number(), queue, receive_entries_, socket, nullptr, mempool.get());
        error != 0) {
      return failure("a receive queue cannot be made", error, "raise engine.dpdk.memory_mb, or lower ring_entries");
    }
  }
  if (const int error = rte_eth_tx_queue_setup(port_->number(), queue, transmit_entries_, socket, nullptr);
      error != 0) {
    return failure("a transmit queue cannot be made", error, "raise engine.dpdk.memory_mb, or lower ring_entries");
  }
  return Ok{};
}

Result<std::unique_ptr<DeviceQueue>> DpdkDevice::open_queue(WorkerId worker, unsigned workers, FramePool& pool) {
  if (worker.value() >= workers) {
    return Error{"worker " + std::to_string(worker.value()) + " of " + std::to_string(workers), options_.device};
  }
  if (twin_ != nullptr && workers > options_.workers) {
    return Error{"the twin was opened for fewer workers", options_.device, ""};
  }
  if (worker.value() == 0) {
    if (Status configured = configure(workers); !configured) {
      return configured.error();
    }
  }
  // The rings of this device, those of another one, and bursts between them.
  if (const std::uint32_t need = std::uint32_t{receive_entries_} + transmit_entries_; pool.chunks() < 2 * need) {
    return Error{std::to_string(pool.chunks()) + " frames for rings of " + std::to_string(need) + " entries",
                 options_.device, "raise engine.frames to " + std::to_string(2 * need) + ", or lower ring_entries"};
  }
  auto mempool = mempool_of(pool, rte_eth_dev_socket_id(port_->number()));
  if (!mempool) {
    return mempool.error();
  }
  if (Status made = set_up(worker.value(), **mempool); !made) {
    return made.error();
  }
  const bool moves = comes_and_goes(info_.driver_name);
  if (moves) {
    if (Status kept = (*mempool)->keep_reserve(receive_entries_); !kept) {
      return kept.error();
    }
  }
  const bool receives = worker.value() < receive_queues_;
  auto queue = std::make_unique<DpdkQueue>(DpdkQueue::Setup{port_, worker.value(), receives, *std::move(mempool), moves,
                                                            twin_, twin_ == nullptr ? nullptr : &twin_->queue(worker)});
  queues_.push_back(queue.get());
  if (worker.value() + 1U == workers) {
    if (Status started = start(); !started) {
      return started.error();
    }
  }
  return std::unique_ptr<DeviceQueue>(std::move(queue));
}

Status DpdkDevice::start() {
  if (const int error = rte_eth_dev_start(port_->number()); error != 0) {
    return failure("the device does not start", error, "raise engine.frames, or see what its driver needs");
  }
  for (DpdkQueue* queue : queues_) {
    queue->use_interrupts();
  }
  static_cast<void>(take_dpdk_log());  // that a driver has no interrupts
  return Ok{};
}

bool DpdkDevice::has_link() const noexcept {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(port_->number(), &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

Status DpdkDevice::take_again() {
  const MacAddress mac = mac_;
  for (const auto step : {&DpdkDevice::probe, &DpdkDevice::read_facts}) {
    if (Status done = (this->*step)(); !done) {
      return done;
    }
  }
  if (!(mac_ == mac)) {  // the twin, and all who know us, have the one before
    rte_ether_addr address{};
    std::memcpy(address.addr_bytes, mac.bytes.data(), RTE_ETHER_ADDR_LEN);
    if (rte_eth_dev_default_mac_addr_set(port_->number(), &address) == 0) {
      mac_ = mac;
    }
  }
  if (Status configured = configure(static_cast<unsigned>(queues_.size())); !configured) {
    return configured;
  }
  for (DpdkQueue* queue : queues_) {
    if (Status made = set_up(queue->number(), queue->mempool()); !made) {
      return made;
    }
    queue->rebind(port_);
  }
  return start();
}

Status DpdkDevice::reopen() {
  port_->close();
  Status taken = take_again();
  if (taken) {
    looks_ = 1;
  } else {
    port_->close();  // what was begun; it is gone as the one before is
    not_back_ = taken.error().what;
    looks_ = std::min(2 * looks_, kMostLooks);
  }
  looks_left_ = looks_;
  return taken;
}

DeviceCondition DpdkDevice::check() {
  DeviceCondition condition;
  if (port_->gone()) {
    condition.up = false;
    looks_left_ -= looks_left_ == 0 ? 0 : 1;
    condition.reopen = looks_left_ == 0;
    condition.problems.push_back(Error{"the NIC was taken away" + (not_back_.empty() ? "" : ": " + not_back_), name(),
                                       "give it back to the machine, bound to the same driver; it is taken into use "
                                       "again by itself"});
  } else {
    condition.up = has_link();
    not_back_.clear();
  }
  if (!condition.up && !port_->gone()) {
    condition.problems.push_back(
        Error{"the device has no link", name(), "see its cable, its other end, or its virtual function"});
  }
  if (twin_ != nullptr) {
    if (const Status followed = twin_->set_link(condition.up); !followed) {
      condition.problems.push_back(followed.error());
    }
    twin_->check(condition);
  }
  return condition;
}

QueueCounters DpdkDevice::counters() const {
  QueueCounters counts;
  rte_eth_stats stats{};
  if (rte_eth_stats_get(port_->number(), &stats) == 0) {
    counts.rx_overrun = stats.imissed;
    counts.rx_no_frame = stats.rx_nombuf;
    counts.rx_errors = stats.ierrors;
    // What its ring has no room for stays with us, and is not lost.
    counts.tx_refused = std::string_view(info_.driver_name) == "net_ring" ? 0 : stats.oerrors;
  }
  return counts;
}

std::string DpdkDevice::describe() const {
  const std::string which = options_.twin.empty() ? "" : " " + options_.device.substr(0, options_.device.find(','));
  return "dpdk " + std::string(info_.driver_name) + which + ", " + std::to_string(receive_queues_) +
         (receive_queues_ == 1 ? " queue" : " queues");
}

}  // namespace isthmus
