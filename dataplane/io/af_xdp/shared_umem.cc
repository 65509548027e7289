#include "dataplane/io/af_xdp/shared_umem.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

namespace isthmus {
namespace {

std::map<const FramePool*, std::weak_ptr<SharedUmem>>& registry() {
  static std::map<const FramePool*, std::weak_ptr<SharedUmem>> instance;
  return instance;
}

}  // namespace

bool copy_mode_may_help(ZeroCopy request, int bind_error) noexcept {
  return request != ZeroCopy::kRequire && bind_error != 0 && bind_error != EBUSY && bind_error != EPERM;
}

std::shared_ptr<SharedUmem> SharedUmem::of(const FramePool& pool) {
  std::weak_ptr<SharedUmem>& entry = registry()[&pool];
  std::shared_ptr<SharedUmem> umem = entry.lock();
  if (!umem) {
    umem.reset(new SharedUmem(pool));
    entry = umem;
  }
  return umem;
}

SharedUmem::~SharedUmem() { registry().erase(pool_); }

Status SharedUmem::add(XskSocket& socket, ZeroCopy request, OnBound on_bound) {
  Status opened = members_.empty() ? open_first(socket, request) : open_beside(socket, request);
  return opened ? join(socket, request, std::move(on_bound)) : opened;
}

Status SharedUmem::adopt(XskSocket& socket, HandedSocket handed, ZeroCopy request, OnBound on_bound) {
  if (Status adopted = socket.adopt(std::move(handed)); !adopted) {
    return adopted;
  }
  if (!members_.empty() && socket.zero_copy() != zero_copy_) {
    return Error{"the sockets that were handed over are not all of one mode", socket.settings().interface, ""};
  }
  zero_copy_ = socket.zero_copy();
  long_frames_ = socket.long_frames();
  return join(socket, request, std::move(on_bound));
}

Status SharedUmem::join(XskSocket& socket, ZeroCopy request, OnBound on_bound) {
  if (Status bound = on_bound(socket); !bound) {
    socket.close();
    return bound;
  }
  members_.push_back({&socket, request, std::move(on_bound)});
  return Ok{};
}

Status SharedUmem::open_as(XskSocket& socket, bool zero_copy, int& error) {
  long_frames_ = false;
  if (pool_->long_chunks() != 0) {
    Status opened = socket.open({.zero_copy = zero_copy, .long_frames = true}, error);
    long_frames_ = opened.ok();
    if (opened || error == EBUSY || error == EPERM) {
      return opened;
    }
  }
  return socket.open({.zero_copy = zero_copy}, error);
}

Status SharedUmem::open_first(XskSocket& socket, ZeroCopy request) {
  int error = 0;
  if (request != ZeroCopy::kOff) {
    Status opened = open_as(socket, true, error);
    if (opened || !copy_mode_may_help(request, error)) {
      zero_copy_ = opened.ok();
      return opened;
    }
  }
  zero_copy_ = false;
  return open_as(socket, false, error);
}

Status SharedUmem::open_beside(XskSocket& socket, ZeroCopy request) {
  if (request == ZeroCopy::kRequire && !zero_copy_) {
    return Error{"zero-copy is required, but another device of this worker is in copy mode",
                 socket.settings().interface, "set zero_copy: auto on this device, or use zero-copy on both"};
  }
  int error = 0;
  if (request != ZeroCopy::kOff || !zero_copy_) {
    Status opened = socket.open(beside(members_.front().socket->fd()), error);
    if (opened || !zero_copy_ || !copy_mode_may_help(request, error)) {
      return opened;
    }
  }
  if (Status fallback = fall_back_to_copy(); !fallback) {
    return fallback;
  }
  return socket.open(beside(members_.front().socket->fd()), error);
}

Status SharedUmem::fall_back_to_copy() {
  for (const Member& member : members_) {
    if (member.request == ZeroCopy::kRequire) {
      return Error{"zero-copy is required, but another device of this worker does not support it",
                   member.socket->settings().interface, "set zero_copy: auto"};
    }
  }
  for (const Member& member : members_) {
    member.socket->close();
  }
  zero_copy_ = false;
  fell_back_ = true;
  int first = -1;
  for (const Member& member : members_) {
    int error = 0;
    Status opened = first < 0 ? open_as(*member.socket, false, error) : member.socket->open(beside(first), error);
    if (!opened) {
      return opened;
    }
    if (Status bound = member.on_bound(*member.socket); !bound) {
      return bound;
    }
    first = members_.front().socket->fd();
  }
  return Ok{};
}

void SharedUmem::remove(const XskSocket& socket) noexcept {
  std::erase_if(members_, [&](const Member& member) { return member.socket == &socket; });
}

}  // namespace isthmus
