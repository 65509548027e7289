// The AF_XDP memory area of one FramePool, shared by the sockets of all devices that a worker was given with that pool,
// so that a frame received by one is sent by another without a copy.
//
// The first socket registers the area and fixes zero-copy or copy mode for all. Where a later device cannot do
// zero-copy, all fall back to copy mode: copying frames between two areas ourselves would cost as much.
// Owner: the queues over the pool. Control thread only, while the worker does not run.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/af_xdp/xsk_socket.h"

namespace isthmus {

// Whether a socket that could not be bound in zero-copy mode may be tried in copy mode: not where zero-copy is
// required, nor after an error that copy mode has too (a busy queue, a missing privilege, none of bind() itself: 0).
// Drivers report the lack of zero-copy by several others.
[[nodiscard]] bool copy_mode_may_help(ZeroCopy request, int bind_error) noexcept;

class SharedUmem {
 public:
  // Called after a socket was bound, also when it is rebound in another mode.
  using OnBound = std::function<Status(XskSocket&)>;

  // The area of `pool`; created on first use, destroyed with its last owner.
  [[nodiscard]] static std::shared_ptr<SharedUmem> of(const FramePool& pool);
  ~SharedUmem();
  SharedUmem(const SharedUmem&) = delete;
  SharedUmem& operator=(const SharedUmem&) = delete;

  // Opens `socket` beside those already here. kRequire is an error if another socket already fixed copy mode or if the
  // driver cannot do zero-copy.
  [[nodiscard]] Status add(XskSocket& socket, ZeroCopy request, OnBound on_bound);
  // Puts a socket of another process here, which is open already.
  [[nodiscard]] Status adopt(XskSocket& socket, HandedSocket handed, ZeroCopy request, OnBound on_bound);
  void remove(const XskSocket& socket) noexcept;
  // Rebinds every socket in copy mode. An error, without any change, if one of them requires zero-copy.
  [[nodiscard]] Status fall_back_to_copy();
  [[nodiscard]] bool zero_copy() const noexcept { return zero_copy_; }
  // Whether its sockets receive and send frames that are longer than a chunk.
  [[nodiscard]] bool long_frames() const noexcept { return long_frames_; }
  [[nodiscard]] FramePages pages() const noexcept { return pool_->pages(); }
  // True if a device that cannot do zero-copy forced the others into copy mode.
  [[nodiscard]] bool fell_back() const noexcept { return fell_back_; }

 private:
  struct Member {
    XskSocket* socket;
    ZeroCopy request;
    OnBound on_bound;
  };
  explicit SharedUmem(const FramePool& pool) : pool_(&pool) {}
  [[nodiscard]] Status join(XskSocket& socket, ZeroCopy request, OnBound on_bound);
  // As the first one, with long frames where the pool and the driver have them.
  [[nodiscard]] Status open_as(XskSocket& socket, bool zero_copy, int& error);
  [[nodiscard]] XskSocket::Umem beside(int socket) const noexcept { return {socket, zero_copy_, long_frames_}; }
  [[nodiscard]] Status open_first(XskSocket& socket, ZeroCopy request);
  [[nodiscard]] Status open_beside(XskSocket& socket, ZeroCopy request);

  const FramePool* pool_;
  std::vector<Member> members_;
  bool zero_copy_ = false, long_frames_ = false;
  bool fell_back_ = false;
};

}  // namespace isthmus
