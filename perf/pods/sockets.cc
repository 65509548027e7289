#include "perf/pods/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace isthmus::perf {
namespace {

constexpr timeval kPatience{.tv_sec = 1, .tv_usec = 0};
constexpr unsigned kAttempts = 50;
constexpr std::chrono::milliseconds kBetweenAttempts{100};

void set_option(int fd, int level, int option, const void* value, socklen_t bytes) {
  if (setsockopt(fd, level, option, value, bytes) != 0) {
    end_with(std::string("setsockopt: ") + std::strerror(errno));
  }
}

UniqueFd socket_of(int type) {
  UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    end_with(std::string("socket: ") + std::strerror(errno));
  }
  return fd;
}

}  // namespace

void end_with(const std::string& what) {
  std::fprintf(stderr, "perf-pods: %s\n", what.c_str());
  std::_Exit(1);
}

UniqueFd listening_socket(int type, std::uint16_t port) {
  UniqueFd fd = socket_of(type);
  const int on = 1;
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 ||
      (type == SOCK_STREAM && listen(fd.get(), SOMAXCONN) != 0)) {
    end_with("port " + std::to_string(port) + ": " + std::strerror(errno));
  }
  return fd;
}

UniqueFd connected_socket(int type, const std::string& address, std::uint16_t port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) {
    end_with(address + " is not an IPv4 address");
  }
  for (unsigned attempt = 0;; ++attempt) {
    UniqueFd fd = socket_of(type);
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
      set_option(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
      if (type == SOCK_STREAM) {
        const int on = 1;
        set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      }
      return fd;
    }
    if (attempt == kAttempts) {
      end_with(address + ": " + std::strerror(errno));
    }
    std::this_thread::sleep_for(kBetweenAttempts);
  }
}

void send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      end_with(std::string("send: ") + std::strerror(errno));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

bool receive_all(int fd, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = recv(fd, bytes.data(), bytes.size(), 0);
    if (got <= 0) {
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

}  // namespace isthmus::perf
