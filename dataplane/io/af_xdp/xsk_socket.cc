#include "dataplane/io/af_xdp/xsk_socket.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace isthmus {
namespace {

// The kernel releases a closed socket's queue asynchronously.
constexpr int kBindAttempts = 50;
constexpr useconds_t kBindPause = 20'000;
// Refilling in batches keeps traffic on the shared indexes low.
constexpr std::uint32_t kRefillBatch = 32;
// A copy-mode send takes up to 32 frames per call.
constexpr unsigned kKicksPerFlush = 64;
// Copy-mode sends are charged to the socket's buffer; large enough that only the tx ring limits them.
constexpr int kSendBuffer = 32 << 20;

[[nodiscard]] std::string fix_of(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return "run as root, or with CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK";
    case ENOBUFS:
    case ENOMEM:
      return "give the process CAP_IPC_LOCK, raise its memlock limit, or lower the number of frames";
    case ENETDOWN:
      return "bring the interface up: `ip link set dev NAME up`";
    case EBUSY:
      return "another program has an AF_XDP socket on this queue; stop it";
    case EOPNOTSUPP:
      return "the driver cannot do this; set zero_copy: off, or xdp: generic";
    case EINVAL:
      return "the number of queues may have changed; see `ethtool -l`";
    case EAFNOSUPPORT:
      return "this kernel is built without CONFIG_XDP_SOCKETS";
    default:
      return "";
  }
}

}  // namespace

XskSocket::XskSocket(const XskSettings& settings, FramePool& pool, QueueCounterCells& counters)
    : settings_(settings),
      pool_(pool),
      counters_(counters),
      chunk_shift_(static_cast<unsigned>(std::countr_zero(pool.chunk_bytes()))),
      retained_(pool.numbers(), 0),
      reader_(pool, counters) {}

XskSocket::~XskSocket() { close(); }

Error XskSocket::failure(const char* what, int error) const {
  return Error{std::string(what) + ": " + std::strerror(error),
               settings_.interface + " queue " + std::to_string(settings_.queue), fix_of(error)};
}

Status XskSocket::open(const Umem& umem, int& error_number) {
  error_number = 0;
  fd_ = UniqueFd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd_.valid()) {
    error_number = errno;
    return failure("cannot create an AF_XDP socket", error_number);
  }
  Status status = setup(umem);
  if (status) {
    status = bind(umem, error_number);
  }
  if (!status) {
    close();
    return status;
  }
  read_mode();
  long_frames_ = umem.long_frames;
  refill();
  return Ok{};
}

void XskSocket::read_mode() noexcept {
  xdp_options options{};
  socklen_t size = sizeof options;
  zero_copy_ =
      getsockopt(fd_.get(), SOL_XDP, XDP_OPTIONS, &options, &size) == 0 && (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
}

Status XskSocket::setup(const Umem& umem) {
  if (umem.shared_with < 0) {
    xdp_umem_reg area{};
    area.addr = reinterpret_cast<std::uintptr_t>(pool_.base());
    area.len = pool_.bytes();
    area.chunk_size = pool_.chunk_bytes();
    area.headroom = pool_.reserved();
    if (setsockopt(fd_.get(), SOL_XDP, XDP_UMEM_REG, &area, sizeof area) != 0) {
      return failure("cannot register the frames' memory area", errno);
    }
  }
  const std::uint32_t entries = settings_.ring_entries;
  for (const int ring : {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING}) {
    if (Status created = set_ring(ring, entries); !created) {
      return created;
    }
  }
  if (settings_.transmits) {
    if (Status created = set_ring(XDP_TX_RING, entries); !created) {
      return created;
    }
    static_cast<void>(setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer));
  }
  if (Status mapped = map_rings(); !mapped) {
    return mapped;
  }
  return settings_.busy_poll_us > 0 ? set_busy_poll() : Status(Ok{});
}

Status XskSocket::set_ring(int option, std::uint32_t entries) {
  if (setsockopt(fd_.get(), SOL_XDP, option, &entries, sizeof entries) != 0) {
    return failure("cannot create a ring", errno);
  }
  return Ok{};
}

Status XskSocket::map_rings() {
  xdp_mmap_offsets offsets{};
  socklen_t size = sizeof offsets;
  if (getsockopt(fd_.get(), SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) != 0 || size != sizeof offsets) {
    return failure("cannot read the layout of the rings (needs Linux 5.4 or later)", errno);
  }
  const auto fill = map_ring(offsets.fr, sizeof(std::uint64_t), XDP_UMEM_PGOFF_FILL_RING);
  const auto completion = map_ring(offsets.cr, sizeof(std::uint64_t), XDP_UMEM_PGOFF_COMPLETION_RING);
  const auto rx = map_ring(offsets.rx, sizeof(xdp_desc), XDP_PGOFF_RX_RING);
  for (const auto* ring : {&fill, &completion, &rx}) {
    if (!*ring) {
      return ring->error();
    }
  }
  fill_ = XskProducer<std::uint64_t>(*fill);
  completion_ = XskConsumer<std::uint64_t>(*completion);
  rx_ = XskConsumer<xdp_desc>(*rx);
  if (settings_.transmits) {
    const auto tx = map_ring(offsets.tx, sizeof(xdp_desc), XDP_PGOFF_TX_RING);
    if (!tx) {
      return tx.error();
    }
    tx_ = XskProducer<xdp_desc>(*tx);
  }
  return Ok{};
}

Result<XskRingMemory> XskSocket::map_ring(const xdp_ring_offset& offset, std::size_t entry_bytes, std::uint64_t page) {
  const std::size_t length = offset.desc + settings_.ring_entries * entry_bytes;
  void* address =
      mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(), static_cast<off_t>(page));
  if (address == MAP_FAILED) {
    return failure("cannot map a ring", errno);
  }
  mappings_.push_back({address, length});
  return XskRingMemory{static_cast<std::byte*>(address), offset, settings_.ring_entries};
}

Status XskSocket::set_busy_poll() noexcept {
  struct Option {
    int name;
    int value;
  };
  const Option options[] = {{SO_PREFER_BUSY_POLL, 1},
                            {SO_BUSY_POLL, static_cast<int>(settings_.busy_poll_us)},
                            {SO_BUSY_POLL_BUDGET, static_cast<int>(settings_.busy_poll_budget)}};
  for (const Option& option : options) {
    if (setsockopt(fd_.get(), SOL_SOCKET, option.name, &option.value, sizeof option.value) != 0) {
      return failure("cannot set busy polling (needs Linux 5.11 or later; set busy_poll_us: 0)", errno);
    }
  }
  return Ok{};
}

Status XskSocket::bind(const Umem& umem, int& error_number) {
  sockaddr_xdp address{};
  address.sxdp_family = AF_XDP;
  address.sxdp_ifindex = static_cast<std::uint32_t>(settings_.interface_index);
  address.sxdp_queue_id = settings_.queue;
  if (umem.shared_with >= 0) {
    address.sxdp_flags = XDP_SHARED_UMEM;  // mode and wake-up flag are those of the first socket
    address.sxdp_shared_umem_fd = static_cast<std::uint32_t>(umem.shared_with);
  } else {
    address.sxdp_flags = static_cast<std::uint16_t>(XDP_USE_NEED_WAKEUP | (umem.zero_copy ? XDP_ZEROCOPY : XDP_COPY) |
                                                    (umem.long_frames ? XDP_USE_SG : 0));
  }
  for (int attempt = 0; attempt < kBindAttempts; ++attempt) {
    if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      error_number = 0;
      return Ok{};
    }
    error_number = errno;
    if (error_number != EBUSY) {
      break;
    }
    usleep(kBindPause);
  }
  return failure(umem.zero_copy ? "cannot bind in zero-copy mode" : "cannot bind", error_number);
}

void XskSocket::close() noexcept {
  const KernelCounters last = kernel_counters();  // the kernel forgets them with the socket
  counters_.rx_no_frame.add(last.no_frame);
  counters_.rx_overrun.add(last.ring_full);
  counters_.oversize.add(last.too_long);
  counters_.tx_refused.add(last.refused);
  before_ = {};
  for (std::uint32_t chunk = 0; chunk < retained_.size(); ++chunk) {
    if (retained_[chunk] != 0) {
      retained_[chunk] = 0;
      give_back(chunk);
    }
  }
  reader_.reset();
  drop();
}

// Leaves the pool as it is.
void XskSocket::drop() noexcept {
  for (const Mapping& mapping : mappings_) {
    munmap(mapping.address, mapping.length);
  }
  mappings_.clear();
  fill_ = {};
  completion_ = {};
  rx_ = {};
  tx_ = {};
  fd_.reset();
  std::fill(retained_.begin(), retained_.end(), std::uint8_t{0});
  filled_ = 0;
  outstanding_ = 0;
  long_outstanding_ = 0;
}

bool XskSocket::release(std::uint64_t chunk) noexcept {
  if (chunk >= retained_.size() || retained_[chunk] == 0) {
    return false;
  }
  retained_[chunk] = 0;
  return true;
}

void XskSocket::give_back(std::uint32_t chunk) noexcept {
  if (pool_.is_long(chunk)) [[unlikely]] {
    chunk = pool_.long_of(chunk);
    const auto parts = retained_.begin() + chunk;
    if (std::any_of(parts, parts + kChunksOfLong, [](std::uint8_t each) { return each != 0; })) {
      return;
    }
    --long_outstanding_;
  }
  pool_.release(chunk);
}

unsigned XskSocket::receive(std::span<Frame> out) noexcept {
  const auto room = static_cast<std::uint32_t>(out.size());
  const std::uint32_t waiting = std::min(rx_.available(room), room);
  unsigned n = 0;
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < waiting || (reader_.unfinished() && rx_.available(1) > 0); ++i) {
    const xdp_desc descriptor = rx_.pop();
    const std::uint64_t chunk = descriptor.addr >> chunk_shift_;
    --filled_;
    if (!release(chunk)) {
      counters_.oversize.add(1);
      continue;
    }
    const auto index = static_cast<std::uint32_t>(chunk);
    if (reader_.is_part(descriptor)) [[unlikely]] {
      if (reader_.take(descriptor, index, out[n])) {
        bytes += out[n++].length;
      }
      continue;
    }
    if (descriptor.len > pool_.max_short_frame()) {
      counters_.oversize.add(1);
      pool_.release(index);
      continue;
    }
    out[n++] = Frame{pool_.base() + descriptor.addr, descriptor.len, index};
    bytes += descriptor.len;
  }
  if (waiting > 0) {
    rx_.release();
    counters_.rx_packets.add(n);
    counters_.rx_bytes.add(bytes);
  }
  refill();
  return n;
}

void XskSocket::refill() noexcept {
  const std::uint32_t missing = settings_.fill_target - std::min(settings_.fill_target, filled_);
  if (missing < std::min(kRefillBatch, settings_.fill_target)) {
    return;
  }
  std::uint32_t added = 0;
  while (added < missing && fill_.free(1) > 0) {
    const std::uint32_t chunk = pool_.allocate();
    if (chunk == kNoChunk) {
      break;
    }
    retain(chunk);
    fill_.push(std::uint64_t{chunk} << chunk_shift_);
    ++added;
  }
  if (added > 0) {
    fill_.publish();
    filled_ += added;
  }
}

bool XskSocket::push_long(const Frame& frame, std::uint32_t room, std::uint32_t& queued) noexcept {
  if (!long_frames_ || frame.length == 0 || !pool_.is_long(frame.chunk)) {
    counters_.oversize.add(1);
    pool_.release(frame.chunk);
    return true;
  }
  const LongFrameParts descriptors(frame, pool_);
  if (descriptors.parts().size() > room - queued) {
    return false;
  }
  for (const xdp_desc& part : descriptors.parts()) {
    retain(static_cast<std::uint32_t>(part.addr >> chunk_shift_));
    tx_.push(part);
    ++queued;
  }
  ++long_outstanding_;
  counters_.tx_packets.add(1);
  counters_.tx_bytes.add(frame.length);
  return true;
}

unsigned XskSocket::transmit(std::span<const Frame> frames) noexcept {
  const auto count = static_cast<std::uint32_t>(frames.size());
  const std::uint32_t most = long_frames_ ? count * kChunksOfLong : count;
  if (outstanding_ + most > settings_.transmit_cap || tx_.free(most) < most ||
      (long_outstanding_ != 0 && long_outstanding_ + count > settings_.long_cap)) {
    flush();
  }
  const std::uint32_t room = std::min(settings_.transmit_cap - outstanding_, tx_.free(most));
  std::uint32_t accepted = 0, queued = 0, packets = 0;  // `queued`: descriptors
  std::uint64_t bytes = 0;
  for (const Frame& frame : frames) {
    const bool is_long = pool_.is_long(frame.chunk);
    if (queued == room || (is_long && long_outstanding_ >= settings_.long_cap)) {
      break;
    }
    const auto offset = static_cast<std::uint64_t>(frame.data - pool_.base());
    // The kernel drops a descriptor that crosses a chunk boundary and never completes it: the chunk would leak.
    if (frame.length == 0 ||
        (offset & (pool_.chunk_bytes() - 1)) + std::max(frame.length, kShortestFrame) > pool_.chunk_bytes()) {
      if (!push_long(frame, room, queued)) {
        break;
      }
      ++accepted;
      continue;
    }
    retain(frame.chunk);
    long_outstanding_ += is_long ? 1 : 0;
    const std::uint32_t length = padded_length(frame);
    tx_.push(xdp_desc{offset, length, 0});
    bytes += length;
    ++queued;
    ++packets;
    ++accepted;
  }
  if (queued > 0) {
    tx_.publish();
    outstanding_ += queued;
    counters_.tx_packets.add(packets);
    counters_.tx_bytes.add(bytes);
  }
  if (accepted < count) {
    counters_.tx_full.add(count - accepted);
  }
  return accepted;
}

void XskSocket::flush() noexcept {
  if (outstanding_ == 0) {
    return;
  }
  for (unsigned kick = 0; kick < kKicksPerFlush && tx_.pending() > 0 && tx_.needs_wakeup(); ++kick) {
    const ssize_t sent = sendto(fd_.get(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
    // EAGAIN: more frames than one call takes. EBUSY: the device lost one frame, for want of a carrier for example.
    counters_.tx_refused.add(sent < 0 && errno == EBUSY ? 1 : 0);
    if (zero_copy_ || (sent < 0 && errno != EAGAIN && errno != EBUSY)) {
      break;
    }
  }
  complete();
}

void XskSocket::complete() noexcept {
  const std::uint32_t done = completion_.available(settings_.ring_entries);
  for (std::uint32_t i = 0; i < done; ++i) {
    const std::uint64_t chunk = completion_.pop() >> chunk_shift_;
    --outstanding_;
    if (release(chunk)) {
      give_back(static_cast<std::uint32_t>(chunk));
    }
  }
  if (done > 0) {
    completion_.release();
  }
}

void XskSocket::poll_driver() noexcept {
  if (settings_.busy_poll_us > 0 || fill_.needs_wakeup()) {
    static_cast<void>(recvfrom(fd_.get(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr));
  }
}

XskSocket::KernelCounters XskSocket::kernel_counters() const noexcept {
  KernelCounters counters = all_counters();
  // Never negative: what is read is not of one instant.
  const auto since = [](std::uint64_t& all, std::uint64_t before) { all -= std::min(all, before); };
  since(counters.no_frame, before_.no_frame);
  since(counters.ring_full, before_.ring_full);
  since(counters.too_long, before_.too_long);
  since(counters.refused, before_.refused);
  return counters;
}

// The kernel tells once.
bool XskSocket::lost_interface() noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == ENETDOWN) {
    lost_interface_ = true;
  }
  return lost_interface_;
}

XskSocket::KernelCounters XskSocket::all_counters() const noexcept {
  xdp_statistics statistics{};
  socklen_t size = sizeof statistics;
  KernelCounters counters;
  if (getsockopt(fd_.get(), SOL_XDP, XDP_STATISTICS, &statistics, &size) != 0) {
    return counters;
  }
  counters.refused = statistics.tx_invalid_descs;
  counters.no_frame = statistics.rx_fill_ring_empty_descs;
  counters.ring_full = statistics.rx_ring_full;
  // rx_dropped counts frames longer than a chunk, and also those that found no chunk.
  // One in several chunks that finds some of them only is in the first number alone, and what is longer than all does
  // not get here: the kernel program has counted it.
  const std::uint64_t rest =
      statistics.rx_dropped - std::min(statistics.rx_dropped, statistics.rx_fill_ring_empty_descs);
  (long_frames_ ? counters.no_frame : counters.too_long) += rest;
  return counters;
}

}  // namespace isthmus
