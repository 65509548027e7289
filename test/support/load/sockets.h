// Sockets and time for the load programs. Failure: a message on standard error and the end of the program, except
// where said otherwise.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace isthmus::load {

// An open file descriptor, closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  int release() noexcept;
  void reset() noexcept;

 private:
  int fd_ = -1;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
};

[[noreturn]] void fail(const std::string& what);
// An IPv4 or IPv6 address in text.
[[nodiscard]] Address parse_address(const std::string& text, std::uint16_t port);
// Bound to every address of both families.
[[nodiscard]] Descriptor bound_socket(int type, std::uint16_t port);
[[nodiscard]] Descriptor make_epoll();
// Watches `fd` for `events`, reporting `tag`; `change`: it is watched already.
void watch(int epoll, int fd, std::uint32_t events, std::uint64_t tag, bool change = false);
// The port a socket is bound to.
[[nodiscard]] std::uint16_t own_port(int fd);
// As many open files as this user may have.
void raise_file_limit();
// Monotonic milliseconds.
[[nodiscard]] std::uint64_t now_ms() noexcept;

}  // namespace isthmus::load
