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

std::shared_ptr<SharedUmem> SharedUmem::of(const FramePool& pool) {
  std::weak_ptr<SharedUmem>& known = registry()[&pool];
  std::shared_ptr<SharedUmem> umem = known.lock();
  if (!umem) {
    umem.reset(new SharedUmem(pool));
    known = umem;
  }
  return umem;
}

SharedUmem::~SharedUmem() { registry().erase(pool_); }

Status SharedUmem::add(XskSocket& socket, ZeroCopy wish, OnBound on_bound) {
  Status opened = members_.empty() ? open_first(socket, wish) : open_beside(socket, wish);
  if (!opened) {
    return opened;
  }
  if (Status bound = on_bound(socket); !bound) {
    socket.close();
    return bound;
  }
  members_.push_back({&socket, wish, std::move(on_bound)});
  return Ok{};
}

Status SharedUmem::open_first(XskSocket& socket, ZeroCopy wish) {
  int error = 0;
  if (wish != ZeroCopy::kOff) {
    Status opened = socket.open({.zero_copy = true}, error);
    // Drivers give several reasons for "cannot"; a queue in use, or a missing right, is the same in copy mode.
    if (opened || wish == ZeroCopy::kRequire || error == EBUSY || error == EPERM || error == 0) {
      zero_copy_ = opened.ok();
      return opened;
    }
  }
  zero_copy_ = false;
  return socket.open({.zero_copy = false}, error);
}

Status SharedUmem::open_beside(XskSocket& socket, ZeroCopy wish) {
  if (wish == ZeroCopy::kRequire && !zero_copy_) {
    return Error{"zero-copy is required, and another device of this worker is in copy mode",
                 socket.settings().interface, "set zero_copy: auto on it, or require zero-copy of both"};
  }
  int error = 0;
  if (wish != ZeroCopy::kOff || !zero_copy_) {
    Status opened = socket.open({.shared_with = members_.front().socket->fd()}, error);
    if (opened || !zero_copy_ || error == EBUSY || error == 0) {
      return opened;
    }
  }
  if (Status fallen = fall_back_to_copy(); !fallen) {
    return fallen;
  }
  return socket.open({.shared_with = members_.front().socket->fd()}, error);
}

Status SharedUmem::fall_back_to_copy() {
  for (const Member& member : members_) {
    if (member.wish == ZeroCopy::kRequire) {
      return Error{"zero-copy is required here, and another device of this worker cannot do it",
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
    if (Status opened = member.socket->open({.shared_with = first}, error); !opened) {
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
