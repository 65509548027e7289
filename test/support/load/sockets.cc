#include "test/support/load/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace isthmus::load {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int Descriptor::release() noexcept { return std::exchange(fd_, -1); }

void Descriptor::reset() noexcept {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

void fail(const std::string& what) {
  std::fprintf(stderr, "fleet-load: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

Address parse_address(const std::string& text, std::uint16_t port) {
  Address address;
  sockaddr_in ipv4{};
  sockaddr_in6 ipv6{};
  if (inet_pton(AF_INET, text.c_str(), &ipv4.sin_addr) == 1) {
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(port);
    std::memcpy(&address.storage, &ipv4, sizeof ipv4);
    address.length = sizeof ipv4;
  } else if (inet_pton(AF_INET6, text.c_str(), &ipv6.sin6_addr) == 1) {
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = htons(port);
    std::memcpy(&address.storage, &ipv6, sizeof ipv6);
    address.length = sizeof ipv6;
  } else {
    errno = EINVAL;
    fail(text);
  }
  return address;
}

Descriptor bound_socket(int type, std::uint16_t port) {
  Descriptor fd(socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  const int off = 0;
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  any.sin6_port = htons(port);
  if (!fd.valid() || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    fail("bind port " + std::to_string(port));
  }
  return fd;
}

Descriptor make_epoll() {
  Descriptor fd(epoll_create1(EPOLL_CLOEXEC));
  if (!fd.valid()) fail("epoll_create1");
  return fd;
}

void watch(int epoll, int fd, std::uint32_t events, std::uint64_t tag, bool change) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (epoll_ctl(epoll, change ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

std::uint16_t own_port(int fd) {
  Address own;
  own.length = sizeof own.storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own.storage), &own.length) != 0) {
    return 0;
  }
  // The port has the same offset in both families' addresses.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&own.storage)->sin_port);
}

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit");
}

std::uint64_t now_ms() noexcept {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

}  // namespace isthmus::load
