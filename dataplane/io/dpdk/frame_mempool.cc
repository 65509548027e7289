#include "dataplane/io/dpdk/frame_mempool.h"

#include <rte_errno.h>
#include <rte_memory.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#include "dataplane/base/memory_area.h"

namespace isthmus {
namespace {

constexpr const char* kOperations = "isthmus_frames";

FrameMempool* mempool_behind(const rte_mempool* mempool) noexcept {
  return static_cast<FrameMempool*>(mempool->pool_data);
}

// Once for the process: the operations are found by their name. Negative: -errno.
int register_operations() noexcept {
  static const int index = [] {
    rte_mempool_ops ops{};
    std::strncpy(ops.name, kOperations, sizeof ops.name - 1);
    ops.alloc = [](rte_mempool* mempool) {
      mempool->pool_data = mempool->pool_config;
      return 0;
    };
    ops.free = [](rte_mempool*) {};
    ops.enqueue = [](rte_mempool* mempool, void* const* objects, unsigned count) {
      return mempool_behind(mempool)->enqueue(objects, count);
    };
    ops.dequeue = [](rte_mempool* mempool, void** objects, unsigned count) {
      return mempool_behind(mempool)->dequeue(objects, count);
    };
    ops.populate = [](rte_mempool* mempool, unsigned /*most*/, void* memory, rte_iova_t iova, std::size_t bytes,
                      rte_mempool_populate_obj_cb_t* take, void* argument) {
      return static_cast<int>(mempool_behind(mempool)->populate(memory, bytes, iova, take, argument));
    };
    ops.get_count = [](const rte_mempool* mempool) { return mempool_behind(mempool)->frames().available(); };
    return rte_mempool_register_ops(&ops);
  }();
  return index;
}

std::size_t page_bytes(const FramePool& pool) noexcept {
  return pool.pages() == FramePages::kReserved ? kHugePageBytes : static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

Error no_mempool(int error) {
  return Error{"DPDK cannot make a mempool of the frames: " + std::string(rte_strerror(error)), "engine.frames",
               "lower engine.frames, or raise engine.dpdk.memory_mb"};
}

}  // namespace

thread_local const char FrameMempool::this_thread_ = 0;

FrameMempool::FrameMempool(FramePool& pool)
    : pool_(pool), shift_(static_cast<unsigned>(std::countr_zero(pool.chunk_bytes()))) {}

Result<std::unique_ptr<FrameMempool>> FrameMempool::create(FramePool& pool, int socket) {
  if (pool.reserved() < kReserved) {
    return Error{"frames leave " + std::to_string(pool.reserved()) + " bytes to devices, and DPDK needs " +
                     std::to_string(kReserved),
                 "frame pool", "make the pool with what its devices reserve"};
  }
  std::unique_ptr<FrameMempool> mempool(new FrameMempool(pool));
  if (Status populated = mempool->make(socket); !populated) {
    return populated.error();
  }
  return mempool;
}

Status FrameMempool::make(int socket) {
  if (const int index = register_operations(); index < 0) {
    return no_mempool(-index);
  }
  static unsigned number = 0;
  const std::string name = "isthmus-" + std::to_string(number++);
  mempool_ = rte_mempool_create_empty(
      name.c_str(), pool_.chunks(), pool_.chunk_bytes() - pool_.most_stagger() - kObjectHeader, 0,
      sizeof(rte_pktmbuf_pool_private), socket, RTE_MEMPOOL_F_NO_SPREAD | RTE_MEMPOOL_F_SP_PUT | RTE_MEMPOOL_F_SC_GET);
  if (mempool_ == nullptr) {
    return no_mempool(rte_errno);
  }
  if (mempool_->header_size != kObjectHeader || mempool_->trailer_size != 0) {
    return Error{"DPDK keeps more beside each object than this build knows", "frame pool",
                 "install the isthmus-dpdk that was built for this DPDK"};
  }
  if (const int error = rte_mempool_set_ops_byname(mempool_, kOperations, this); error != 0) {
    return no_mempool(-error);
  }
  rte_pktmbuf_pool_private buffers{};
  buffers.mbuf_data_room_size = static_cast<std::uint16_t>(pool_.chunk_bytes() - pool_.most_stagger() - kBuffer);
  buffers.mbuf_priv_size = kPrivate;
  rte_pktmbuf_pool_init(mempool_, &buffers);
  const std::size_t bytes = std::size_t{pool_.chunks()} * pool_.chunk_bytes();
  auto* base = reinterpret_cast<char*>(pool_.base());
  const int made = rte_mempool_populate_virt(mempool_, base, bytes, page_bytes(pool_), nullptr, nullptr);
  if (made < 0 || static_cast<std::uint32_t>(made) != pool_.chunks()) {
    return no_mempool(made < 0 ? -made : ENOMEM);
  }
  rte_mempool_obj_iter(mempool_, rte_pktmbuf_init, nullptr);
  populated_ = true;
  return Ok{};
}

Status FrameMempool::keep_reserve(std::uint32_t chunks) {
  if (reserve_ != nullptr) {
    reserved_chunks_ = std::max(reserved_chunks_, chunks);
  } else {
    const std::string name = std::string(mempool_->name) + "-reserve";
    reserve_ = rte_ring_create(name.c_str(), rte_align32pow2(pool_.chunks() + 1), mempool_->socket_id, 0);
    if (reserve_ == nullptr) {
      return no_mempool(rte_errno);
    }
    reserved_chunks_ = chunks;
  }
  while (rte_ring_count(reserve_) < reserved_chunks_ && pool_.available() > pool_.chunks() / 2) {
    tend_reserve();
  }
  return Ok{};
}

void FrameMempool::tend_reserve() noexcept {
  if (reserve_ == nullptr) {
    return;
  }
  std::array<void*, kMaxBurst> objects;
  const std::uint32_t there = rte_ring_count(reserve_);
  if (there > reserved_chunks_) [[unlikely]] {
    const std::uint32_t most = std::min<std::uint32_t>(there - reserved_chunks_, kMaxBurst);
    const unsigned taken = rte_ring_dequeue_burst(reserve_, objects.data(), most, nullptr);
    for (unsigned i = 0; i < taken; ++i) {
      pool_.release(chunk_of(objects[i]));
    }
  } else if (there < reserved_chunks_ && pool_.available() > pool_.chunks() / 4) [[unlikely]] {
    const std::uint32_t most = std::min<std::uint32_t>(reserved_chunks_ - there, kMaxBurst);
    for (std::uint32_t i = 0; i < most; ++i) {
      objects[i] = mbuf_of(pool_.allocate());
    }
    rte_ring_enqueue_bulk(reserve_, objects.data(), most, nullptr);  // there is room for all that exist
  }
}

FrameMempool::~FrameMempool() {
  if (reserve_ != nullptr) {
    void* object = nullptr;
    while (rte_ring_dequeue(reserve_, &object) == 0) {
      pool_.release(chunk_of(object));
    }
    rte_ring_free(reserve_);
  }
  populated_ = false;
  rte_mempool_free(mempool_);
}

unsigned FrameMempool::populate(void* memory, std::size_t bytes, rte_iova_t iova, rte_mempool_populate_obj_cb_t* take,
                                void* argument) noexcept {
  const auto before = static_cast<std::size_t>(static_cast<std::uint8_t*>(memory) - pool_.base());
  const auto first = static_cast<std::uint32_t>(before >> shift_);
  const auto count = static_cast<std::uint32_t>(bytes >> shift_);
  for (std::uint32_t chunk = first; chunk < first + count; ++chunk) {
    rte_mbuf* mbuf = mbuf_of(chunk);
    const auto offset = static_cast<std::size_t>(reinterpret_cast<std::uint8_t*>(mbuf) - pool_.base()) - before;
    take(mempool_, argument, mbuf, iova == RTE_BAD_IOVA ? RTE_BAD_IOVA : iova + offset);
  }
  return count;
}

// While the mempool is made and ended, each object is given to it and taken from it once: the chunks are not concerned.
int FrameMempool::enqueue(void* const* objects, unsigned count) noexcept {
  if (!populated_) [[unlikely]] {
    return 0;
  }
  for (unsigned i = 0; i < count; ++i) {
    end_send(*static_cast<rte_mbuf*>(objects[i]));
  }
  if (reserve_ != nullptr && is_foreign()) [[unlikely]] {
    return rte_ring_enqueue_bulk(reserve_, objects, count, nullptr) == count ? 0 : -ENOBUFS;
  }
  for (unsigned i = 0; i < count; ++i) {
    pool_.release(chunk_of(objects[i]));
  }
  return 0;
}

int FrameMempool::dequeue(void** objects, unsigned count) noexcept {
  if (!populated_) [[unlikely]] {
    std::fill_n(objects, count, nullptr);
    return 0;
  }
  if (reserve_ != nullptr && is_foreign()) [[unlikely]] {
    return rte_ring_dequeue_bulk(reserve_, objects, count, nullptr) == count ? 0 : -ENOBUFS;
  }
  if (pool_.available() < count) [[unlikely]] {
    return -ENOBUFS;
  }
  for (unsigned i = 0; i < count; ++i) {
    objects[i] = mbuf_of(pool_.allocate());
  }
  return 0;
}

}  // namespace isthmus
