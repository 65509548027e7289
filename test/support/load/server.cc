#include "test/support/load/server.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <unordered_map>
#include <vector>

#include "test/support/load/signals.h"
#include "test/support/load/sockets.h"
#include "test/support/load/wire.h"

namespace isthmus::load {
namespace {

constexpr std::uint64_t kListenTag = 0, kDatagramTag = 1, kFirstConnectionTag = 2;
constexpr int kTickMs = 10;

struct Connection {
  Descriptor fd;
  Hello hello;
  std::size_t hello_bytes = 0;
  std::uint64_t pushed = 0;  // bytes of the pattern sent or queued in `out`
  std::uint64_t next_push_ms = 0;
  std::vector<std::uint8_t> out;
  bool greeted = false, waiting_to_write = false;
};

class Server {
 public:
  Server(const std::string& name, std::uint16_t port)
      : epoll_(make_epoll()), listener_(bound_socket(SOCK_STREAM, port)), datagrams_(bound_socket(SOCK_DGRAM, port)) {
    std::copy_n(name.begin(), std::min(name.size(), kNameSize), name_.begin());
    if (listen(listener_.get(), 4096) != 0) fail("listen");
    watch(epoll_.get(), listener_.get(), EPOLLIN, kListenTag);
    watch(epoll_.get(), datagrams_.get(), EPOLLIN, kDatagramTag);
  }

  void run() {
    std::array<epoll_event, 256> events{};
    while (!stop_requested()) {
      const int ready =
          epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), pushing_ ? kTickMs : 500);
      for (int i = 0; i < ready; ++i) {
        const std::uint64_t tag = events[static_cast<std::size_t>(i)].data.u64;
        if (tag == kListenTag) {
          accept_all();
        } else if (tag == kDatagramTag) {
          echo_datagrams();
        } else {
          serve_connection(tag);
        }
      }
      if (pushing_) push_due();
    }
  }

 private:
  void accept_all() {
    for (;;) {
      Descriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) return;
      const std::uint64_t tag = next_tag_++;
      auto connection = std::make_unique<Connection>();
      connection->fd = std::move(fd);
      connection->out.assign(name_.begin(), name_.end());
      watch(epoll_.get(), connection->fd.get(), EPOLLIN, tag);
      Connection& kept = *connections_.emplace(tag, std::move(connection)).first->second;
      if (!write_out(kept, tag)) connections_.erase(tag);
    }
  }

  void echo_datagrams() {
    std::array<std::uint8_t, 65536> buffer{};
    std::copy(name_.begin(), name_.end(), buffer.begin());
    for (;;) {
      sockaddr_storage peer{};
      socklen_t length = sizeof peer;
      const ssize_t got = recvfrom(datagrams_.get(), buffer.data() + kNameSize, buffer.size() - kNameSize, 0,
                                   reinterpret_cast<sockaddr*>(&peer), &length);
      if (got < 0) return;
      // If the socket buffer is full the answer is lost; the client retransmits.
      (void)!sendto(datagrams_.get(), buffer.data(), kNameSize + static_cast<std::size_t>(got), 0,
                    reinterpret_cast<const sockaddr*>(&peer), length);
    }
  }

  void serve_connection(std::uint64_t tag) {
    const auto found = connections_.find(tag);
    if (found == connections_.end()) return;
    Connection& connection = *found->second;
    if (!write_out(connection, tag) || !read_all(connection) || !write_out(connection, tag)) connections_.erase(found);
  }

  // False when the connection is closed or broken.
  bool read_all(Connection& connection) {
    std::array<std::uint8_t, 65536> buffer{};
    while (connection.out.size() < buffer.size()) {
      const ssize_t got = recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
      if (got == 0) return false;
      if (got < 0) return errno == EAGAIN || errno == EINTR;
      std::span<const std::uint8_t> bytes(buffer.data(), static_cast<std::size_t>(got));
      bytes = consume_hello(connection, bytes);
      if (connection.hello.mode == Mode::kEcho) {
        connection.out.insert(connection.out.end(), bytes.begin(), bytes.end());
      }
    }
    return true;
  }

  // Consumes the Hello at the start of the stream; returns the bytes after it.
  std::span<const std::uint8_t> consume_hello(Connection& connection, std::span<const std::uint8_t> bytes) {
    if (connection.hello_bytes == sizeof(Hello)) return bytes;
    const std::size_t part = std::min(sizeof(Hello) - connection.hello_bytes, bytes.size());
    std::memcpy(reinterpret_cast<std::uint8_t*>(&connection.hello) + connection.hello_bytes, bytes.data(), part);
    connection.hello_bytes += part;
    if (connection.hello_bytes == sizeof(Hello) && connection.hello.mode == Mode::kPush) pushing_ = true;
    return bytes.subspan(part);
  }

  bool write_out(Connection& connection, std::uint64_t tag) {
    std::size_t sent = 0;
    while (sent < connection.out.size()) {
      const ssize_t wrote =
          send(connection.fd.get(), connection.out.data() + sent, connection.out.size() - sent, MSG_NOSIGNAL);
      if (wrote < 0 && errno != EAGAIN && errno != EINTR) return false;
      if (wrote < 0) break;
      sent += static_cast<std::size_t>(wrote);
    }
    connection.out.erase(connection.out.begin(), connection.out.begin() + static_cast<std::ptrdiff_t>(sent));
    const bool more = !connection.out.empty();
    if (more != connection.waiting_to_write) {
      watch(epoll_.get(), connection.fd.get(), more ? EPOLLOUT : EPOLLIN, tag, true);
      connection.waiting_to_write = more;
    }
    return true;
  }

  void push_due() {
    const std::uint64_t now = now_ms();
    std::vector<std::uint64_t> closed;
    for (auto& [tag, connection] : connections_) {
      const Hello& hello = connection->hello;
      if (connection->hello_bytes < sizeof(Hello) || hello.mode != Mode::kPush || now < connection->next_push_ms ||
          !connection->out.empty()) {
        continue;
      }
      connection->next_push_ms = now + hello.interval_ms;
      connection->out.resize(hello.bytes);
      fill_pattern(hello.seed, connection->pushed, connection->out);
      connection->pushed += hello.bytes;
      if (!write_out(*connection, tag)) closed.push_back(tag);
    }
    for (const std::uint64_t tag : closed) connections_.erase(tag);
  }

  Name name_{};
  Descriptor epoll_, listener_, datagrams_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::uint64_t next_tag_ = kFirstConnectionTag;
  bool pushing_ = false;
};

}  // namespace

void serve(const std::string& name, std::uint16_t port) { Server(name, port).run(); }

}  // namespace isthmus::load
