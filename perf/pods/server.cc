#include "perf/pods/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "perf/pods/sockets.h"

namespace isthmus::perf {
namespace {

constexpr std::size_t kStreamBuffer = 256 << 10;

[[noreturn]] void answer_datagrams(const UniqueFd& socket) {
  std::array<std::byte, 2048> datagram;
  for (;;) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t got =
        recvfrom(socket.get(), datagram.data(), datagram.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (got > 0 && sendto(socket.get(), datagram.data(), static_cast<std::size_t>(got), 0,
                          reinterpret_cast<const sockaddr*>(&from), length) != got) {
      end_with(std::string("sendto: ") + std::strerror(errno));
    }
  }
}

void answer_requests(const UniqueFd& connection) {
  std::array<std::byte, kRequestBytes> request;
  while (receive_all(connection.get(), request)) {
    send_all(connection.get(), request);
  }
}

void take_stream(const UniqueFd& connection) {
  std::vector<std::byte> buffer(kStreamBuffer);
  while (recv(connection.get(), buffer.data(), buffer.size(), 0) > 0) {
  }
}

[[noreturn]] void accept_for_ever(const UniqueFd& listener, void (*serve)(const UniqueFd&)) {
  for (;;) {
    UniqueFd connection(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) {
      continue;
    }
    const int on = 1;
    static_cast<void>(setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    std::thread([serve, connection = std::move(connection)] { serve(connection); }).detach();
  }
}

}  // namespace

void serve_pod() {
  const UniqueFd datagrams = listening_socket(SOCK_DGRAM, kAnswerPort);
  const UniqueFd requests = listening_socket(SOCK_STREAM, kAnswerPort);
  const UniqueFd streams = listening_socket(SOCK_STREAM, kStreamPort);
  std::printf("ready\n");
  std::fflush(stdout);
  std::thread([&] { answer_datagrams(datagrams); }).detach();
  std::thread([&] { accept_for_ever(requests, answer_requests); }).detach();
  accept_for_ever(streams, take_stream);
}

}  // namespace isthmus::perf
