// The AF_XDP memory area of one FramePool, shared by the sockets of all devices that a worker was given with that pool,
// so that a frame received by one is sent by another without a copy.
//
// The first socket registers the area and fixes zero-copy or copy for all. Where a later device cannot do zero-copy,
// all fall back to copy mode: a frame that had to be copied between areas would cost as much, in a place of our own
// making. Owner: the queues over the pool. Control thread only, while the worker does not run.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/af_xdp/xsk_socket.h"

namespace isthmus {

class SharedUmem {
 public:
  // What is to happen after a socket was bound, also when it is bound anew in another mode.
  using OnBound = std::function<Status(XskSocket&)>;

  // The area of `pool`; made with its first socket, gone with its last.
  [[nodiscard]] static std::shared_ptr<SharedUmem> of(const FramePool& pool);
  ~SharedUmem();
  SharedUmem(const SharedUmem&) = delete;
  SharedUmem& operator=(const SharedUmem&) = delete;

  // Opens `socket` beside those already here. kRequire is an error where another socket already fixed copy mode, or the
  // driver cannot.
  [[nodiscard]] Status add(XskSocket& socket, ZeroCopy wish, OnBound on_bound);
  void remove(const XskSocket& socket) noexcept;
  // Binds every socket anew in copy mode.
  [[nodiscard]] Status fall_back_to_copy();
  [[nodiscard]] bool zero_copy() const noexcept { return zero_copy_; }
  [[nodiscard]] FramePages pages() const noexcept { return pool_->pages(); }
  // A device that could not do zero-copy made the others give it up.
  [[nodiscard]] bool fell_back() const noexcept { return fell_back_; }

 private:
  struct Member {
    XskSocket* socket;
    ZeroCopy wish;
    OnBound on_bound;
  };
  explicit SharedUmem(const FramePool& pool) : pool_(&pool) {}
  [[nodiscard]] Status open_first(XskSocket& socket, ZeroCopy wish);
  [[nodiscard]] Status open_beside(XskSocket& socket, ZeroCopy wish);

  const FramePool* pool_;
  std::vector<Member> members_;
  bool zero_copy_ = false;
  bool fell_back_ = false;
};

}  // namespace isthmus
