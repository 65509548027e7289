#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

#include <cerrno>
#include <cstring>

#include "perf/io/forwarders.h"
#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kChunks = 4096;
constexpr std::uint32_t kChunkBytes = XSK_UMEM__DEFAULT_FRAME_SIZE;
constexpr std::uint32_t kReady = 1024;
constexpr std::uint32_t kBurst = 64;

class BareForwarder final : public RoundForwarder {
 public:
  ~BareForwarder() override {
    for (xsk_socket* socket : {in_.socket, out_.socket}) {
      if (socket != nullptr) {
        xsk_socket__delete(socket);
      }
    }
    if (umem_ != nullptr) {
      xsk_umem__delete(umem_);
    }
    if (area_ != MAP_FAILED) {
      munmap(area_, std::size_t{kChunks} * kChunkBytes);
    }
  }

  Status open(Traffic& traffic) {
    const std::size_t bytes = std::size_t{kChunks} * kChunkBytes;
    area_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (area_ == MAP_FAILED) {
      return Error{"out of memory for frames", "bare forwarder"};
    }
    int error = xsk_umem__create(&umem_, area_, bytes, &in_.fill, &in_.completion, nullptr);
    if (error != 0) {
      return failure("cannot register the frames' memory area", error);
    }
    for (Leg* leg : {&in_, &out_}) {
      if (Status attached = traffic.attach(leg->interface, "bare"); !attached) {
        return attached;
      }
      xsk_socket_config config{};
      config.rx_size = config.tx_size = XSK_RING_CONS__DEFAULT_NUM_DESCS;
      config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
      config.bind_flags = XDP_COPY | XDP_USE_NEED_WAKEUP;
      error = xsk_socket__create_shared(&leg->socket, leg->interface, 0, umem_, &leg->rx, &leg->tx, &leg->fill,
                                        &leg->completion, &config);
      if (error != 0) {
        return failure("cannot open an AF_XDP socket", error);
      }
      if (Status assigned = traffic.set_bare_socket(leg->interface, xsk_socket__fd(leg->socket)); !assigned) {
        return assigned;
      }
    }
    std::uint32_t at = 0;
    if (xsk_ring_prod__reserve(&in_.fill, kReady, &at) != kReady) {
      return Error{"the fill ring is too short", "bare forwarder"};
    }
    for (std::uint32_t i = 0; i < kReady; ++i) {
      *xsk_ring_prod__fill_addr(&in_.fill, at + i) = std::uint64_t{i} * kChunkBytes;
    }
    xsk_ring_prod__submit(&in_.fill, kReady);
    return Ok{};
  }

  unsigned round() override {
    std::uint32_t from = 0, to = 0;
    const std::uint32_t n = xsk_ring_cons__peek(&in_.rx, kBurst, &from);
    if (n > 0 && xsk_ring_prod__reserve(&out_.tx, n, &to) == n) {
      for (std::uint32_t i = 0; i < n; ++i) {
        const xdp_desc descriptor = *xsk_ring_cons__rx_desc(&in_.rx, from + i);
        std::memcpy(xsk_umem__get_data(area_, descriptor.addr), kForwardedAddresses.data(), kForwardedAddresses.size());
        *xsk_ring_prod__tx_desc(&out_.tx, to + i) = descriptor;
      }
      xsk_ring_cons__release(&in_.rx, n);
      xsk_ring_prod__submit(&out_.tx, n);
      while (sendto(xsk_socket__fd(out_.socket), nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 &&
             (errno == EAGAIN || errno == EBUSY)) {
      }
    }
    recycle();
    return n;
  }

  void wait() override {
    pollfd readable{xsk_socket__fd(in_.socket), POLLIN, 0};
    poll(&readable, 1, kMaxSleepMs);
  }

 private:
  struct Leg {
    const char* interface;
    xsk_socket* socket = nullptr;
    xsk_ring_prod fill{}, tx{};
    xsk_ring_cons completion{}, rx{};
  };
  static Error failure(const char* what, int error) {
    return Error{std::string(what) + ": " + std::strerror(-error), "bare forwarder", "run as root"};
  }
  // Moves chunks of completed transmissions back to the fill ring.
  void recycle() {
    std::uint32_t done = 0, ready = 0;
    const std::uint32_t n = xsk_ring_cons__peek(&out_.completion, kReady, &done);
    if (n > 0 && xsk_ring_prod__reserve(&in_.fill, n, &ready) == n) {
      for (std::uint32_t i = 0; i < n; ++i) {
        const std::uint64_t sent = *xsk_ring_cons__comp_addr(&out_.completion, done + i);
        *xsk_ring_prod__fill_addr(&in_.fill, ready + i) = sent & ~std::uint64_t{kChunkBytes - 1};
      }
      xsk_ring_prod__submit(&in_.fill, n);
      xsk_ring_cons__release(&out_.completion, n);
    }
  }

  void* area_ = MAP_FAILED;
  xsk_umem* umem_ = nullptr;
  Leg in_{.interface = kInterfaceIn};
  Leg out_{.interface = kInterfaceOut};
};

}  // namespace

Result<std::unique_ptr<RoundForwarder>> make_bare_forwarder(Traffic& traffic) {
  auto forwarder = std::make_unique<BareForwarder>();
  if (Status opened = forwarder->open(traffic); !opened) {
    return opened.error();
  }
  return std::unique_ptr<RoundForwarder>(std::move(forwarder));
}

}  // namespace isthmus::perf
