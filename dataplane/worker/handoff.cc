#include "dataplane/worker/handoff.h"

#include <unistd.h>

#include <cstring>

#include "dataplane/base/prefetch.h"

namespace isthmus {

Handoff::Handoff(unsigned workers, const TunnelEnds& tunnel, std::uint64_t secret)
    : workers_(workers), numbers_(tunnel, secret), lanes_(std::size_t{workers} * workers), places_(workers) {
  for (unsigned from = 0; from < workers; ++from) {
    for (unsigned to = 0; to < workers; ++to) {
      if (from != to) {
        lanes_[from * workers + to] = std::make_unique<Lane>();
      }
    }
  }
}

HandedOut Handoff::hand_out(unsigned worker, DeviceId device, std::span<Frame> frames) noexcept {
  HandedOut out;
  std::uint64_t told = 0;  // a bit for each worker
  for (const Frame& frame : frames) {
    prefetch_line(frame.data);
    prefetch_line(frame.data + kCacheLineBytes);
  }
  for (const Frame& frame : frames) {
    const auto number = numbers_.of(frame.data, frame.length);
    const unsigned to = number ? static_cast<unsigned>(std::uint64_t{*number} * workers_ >> 32) : worker;
    if (to != worker) {
      Lane& other = lane(worker, to);
      if (other.away < kLane && other.there.push({frame, device})) {
        ++other.away;
        ++out.handed;
        told |= std::uint64_t{1} << (to % 64);
        continue;
      }
      ++out.no_room;
    }
    frames[out.stays++] = frame;
  }
  for (unsigned to = 0; told != 0 && to < workers_; ++to) {
    if ((told >> (to % 64) & 1) != 0 && is_asleep(to)) [[unlikely]] {
      wake(to);
    }
  }
  return out;
}

void Handoff::take_back(unsigned worker, FramePool& pool) noexcept {
  for (unsigned to = 0; to < workers_; ++to) {
    if (to != worker && lane(worker, to).away != 0) {
      Lane& other = lane(worker, to);
      other.away -= static_cast<unsigned>(other.back.consume_all([&](std::uint32_t chunk) { pool.release(chunk); }));
    }
  }
}

unsigned Handoff::receive(unsigned worker, FramePool& pool, std::span<Frame> out, DeviceId& device) noexcept {
  unsigned count = 0;
  for (unsigned from = 0; from < workers_; ++from) {
    if (from == worker) {
      continue;
    }
    Lane& other = lane(from, worker);
    for (std::size_t left = other.there.read_available(); left > 0 && count < out.size(); --left) {
      const Parcel& parcel = other.there.front();
      if (count != 0 && parcel.device != device) {
        return count;
      }
      const std::uint32_t chunk = pool.allocate_for(parcel.frame.length);
      if (chunk == kNoChunk) {
        break;
      }
      device = parcel.device;
      std::uint8_t* const data = pool.chunk_start(chunk) + kFrameHeadroom;
      std::memcpy(data, parcel.frame.data, parcel.frame.length);
      out[count++] = {data, parcel.frame.length, chunk};
      static_cast<void>(other.back.push(parcel.frame.chunk));
      other.there.pop();
    }
  }
  return count;
}

bool Handoff::sleep(unsigned worker, int wake_fd) noexcept {
  places_[worker].wake_fd.exchange(wake_fd, std::memory_order_acq_rel);
  for (unsigned from = 0; from < workers_; ++from) {
    if (from != worker && lane(from, worker).there.read_available() != 0) {
      awake(worker);
      return false;
    }
  }
  return true;
}

void Handoff::wake(unsigned worker) noexcept {
  if (const int fd = places_[worker].wake_fd.exchange(-1, std::memory_order_relaxed); fd >= 0) {
    const std::uint64_t one = 1;
    static_cast<void>(!write(fd, &one, sizeof one));
  }
}

bool Handoff::empty() const noexcept {
  for (const auto& lane : lanes_) {
    if (lane != nullptr && lane->there.read_available() != 0) {
      return false;
    }
  }
  return true;
}

std::uint64_t handed_out(WorkerHandoff mode, std::span<const std::unique_ptr<Device>> devices) {
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < devices.size() && mode != WorkerHandoff::kOff; ++i) {
    out |= std::uint64_t{mode == WorkerHandoff::kOn || !devices[i]->divides_flows()} << i;
  }
  return out;
}

}  // namespace isthmus
