// Sockets and time for fleet-load. On failure, functions print a message on standard error and exit the program.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace isthmus::load {

// Owns a file descriptor.
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
// Parses a textual IPv4 or IPv6 address.
[[nodiscard]] Address parse_address(const std::string& text, std::uint16_t port);
// A non-blocking socket bound to the wildcard address of both families.
[[nodiscard]] Descriptor bound_socket(int type, std::uint16_t port);
[[nodiscard]] Descriptor make_epoll();
// Adds `fd` to `epoll` with `events` and `tag`, or with `change` modifies an existing registration.
void watch(int epoll, int fd, std::uint32_t events, std::uint64_t tag, bool change = false);
// The local port of a socket; 0 if it is unknown.
[[nodiscard]] std::uint16_t own_port(int fd);
// Raises the limit of open files to the hard limit.
void raise_file_limit();
// Monotonic milliseconds.
[[nodiscard]] std::uint64_t now_ms() noexcept;

}  // namespace isthmus::load
