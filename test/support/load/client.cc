#include "test/support/load/client.h"

#include <netinet/in.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <map>
#include <random>

#include "test/support/load/signals.h"

namespace isthmus::load {
namespace {

constexpr int kTickMs = 10;
constexpr std::uint64_t kStuckMs = 10000;
constexpr unsigned kStuckListed = 5;
constexpr std::uint64_t kRetryMs = 1000;  // until an unanswered datagram is sent again

enum class State : std::uint8_t { kUnused, kConnecting, kGreeting, kIdle, kWaiting, kFailed };

struct Connection {
  Descriptor fd;
  State state = State::kUnused;
  Name backend{};
  std::size_t name_bytes = 0;
  std::uint64_t seed = 0;
  std::uint64_t sent = 0, received = 0;  // bytes of the pattern
  std::uint64_t rounds = 0;
  std::uint64_t due_ms = 0;    // kIdle: start of the next round
  std::uint64_t asked_ms = 0;  // start of the current wait
  std::uint64_t retry_ms = 0;  // UDP: next retransmission
};

struct BackendCount {
  std::uint64_t connections = 0, failed = 0, min_rounds = ~0ULL;
};

class Client {
 public:
  explicit Client(const ClientOptions& options)
      : options_(options),
        epoll_(make_epoll()),
        connections_(options.connections),
        base_seed_(std::random_device{}()) {}

  void run() {
    started_ms_ = now_ms();
    std::uint64_t next_report = started_ms_ + 1000;
    std::uint64_t next_tick = started_ms_;
    std::array<epoll_event, 256> events{};
    while (!stop_requested()) {
      const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), kTickMs);
      for (int i = 0; i < ready; ++i) on_event(events[static_cast<std::size_t>(i)]);
      const std::uint64_t now = now_ms();
      if (now >= next_tick) {
        next_tick = now + kTickMs;
        tick(now);
      }
      if (now >= next_report) {
        next_report += 1000;
        report();
      }
    }
    report();
  }

 private:
  void tick(std::uint64_t now) {
    const std::uint64_t allowed = (now - started_ms_) * options_.per_second / 1000 + 1;
    while (opened_ < connections_.size() && opened_ < allowed) open(opened_++, now);
    for (std::size_t i = 0; i < opened_; ++i) {
      Connection& connection = connections_[i];
      if (connection.state == State::kIdle && now >= connection.due_ms) begin_round(connection, now);
      if (connection.state == State::kUnused || connection.state == State::kIdle ||
          connection.state == State::kFailed) {
        continue;
      }
      if (now - connection.asked_ms > options_.stall_ms) {
        mark_failed(connection, "stalled");
      } else if (options_.udp && now >= connection.retry_ms) {
        ++retries_;
        send_datagram(connection, now);
      }
    }
  }

  void open(std::size_t index, std::uint64_t now) {
    Connection& connection = connections_[index];
    const Address& target = options_.targets[index % options_.targets.size()];
    connection.seed = pattern_word(base_seed_, index);
    connection.asked_ms = now;
    connection.fd = Descriptor(
        socket(target.family(), (options_.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!connection.fd.valid()) fail("socket");
    const int status = connect(connection.fd.get(), reinterpret_cast<const sockaddr*>(&target.storage), target.length);
    if (status != 0 && errno != EINPROGRESS) return mark_failed(connection, "connect");
    watch(epoll_.get(), connection.fd.get(), options_.udp ? EPOLLIN : EPOLLIN | EPOLLOUT, index);
    if (options_.udp) {
      begin_round(connection, now);
    } else {
      connection.state = State::kConnecting;
    }
  }

  void on_event(const epoll_event& event) {
    Connection& connection = connections_[event.data.u64];
    if (connection.state == State::kFailed) return;
    if (options_.udp) return read_datagrams(connection);
    if (connection.state == State::kConnecting && !finish_connect(connection, event.data.u64)) return;
    read_stream(connection);
    if (connection.state == State::kWaiting && (event.events & EPOLLOUT) != 0) send_stream(connection, event.data.u64);
  }

  bool finish_connect(Connection& connection, std::uint64_t index) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
      mark_failed(connection, error_name(error));
      return false;
    }
    const Hello hello{
        .seed = connection.seed, .mode = options_.mode, .bytes = options_.bytes, .interval_ms = options_.interval_ms};
    if (send(connection.fd.get(), &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) {
      if (errno == EAGAIN || errno == ENOTCONN) return false;
      mark_failed(connection, error_name(errno));
      return false;
    }
    connection.state = State::kGreeting;
    watch(epoll_.get(), connection.fd.get(), EPOLLIN, index, true);
    return true;
  }

  void begin_round(Connection& connection, std::uint64_t now) {
    connection.state = State::kWaiting;
    connection.asked_ms = now;
    if (options_.udp) return send_datagram(connection, now);
    send_stream(connection, static_cast<std::uint64_t>(&connection - connections_.data()));
  }

  // Sends the rest of this round; if the socket buffer is full, waits for EPOLLOUT.
  void send_stream(Connection& connection, std::uint64_t index) {
    const std::uint64_t goal = (connection.rounds + 1) * options_.bytes;
    std::array<std::uint8_t, 16384> buffer{};
    while (connection.sent < goal && options_.mode == Mode::kEcho) {
      const std::size_t part = std::min<std::uint64_t>(buffer.size(), goal - connection.sent);
      fill_pattern(connection.seed, connection.sent, std::span(buffer).first(part));
      const ssize_t wrote = send(connection.fd.get(), buffer.data(), part, MSG_NOSIGNAL);
      if (wrote < 0 && errno == EAGAIN) {
        watch(epoll_.get(), connection.fd.get(), EPOLLIN | EPOLLOUT, index, true);
        return;
      }
      if (wrote < 0) return mark_failed(connection, error_name(errno));
      connection.sent += static_cast<std::uint64_t>(wrote);
    }
    watch(epoll_.get(), connection.fd.get(), EPOLLIN, index, true);
  }

  void read_stream(Connection& connection) {
    std::array<std::uint8_t, 65536> buffer{};
    while (connection.state != State::kFailed) {
      const ssize_t got = recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got < 0) return mark_failed(connection, error_name(errno));
      if (got == 0) return mark_failed(connection, "closed");
      receive_bytes(connection, std::span<const std::uint8_t>(buffer.data(), static_cast<std::size_t>(got)));
    }
  }

  void receive_bytes(Connection& connection, std::span<const std::uint8_t> bytes) {
    if (connection.name_bytes < kNameSize) {
      const std::size_t part = std::min(kNameSize - connection.name_bytes, bytes.size());
      std::memcpy(connection.backend.data() + connection.name_bytes, bytes.data(), part);
      connection.name_bytes += part;
      bytes = bytes.subspan(part);
      if (connection.name_bytes < kNameSize) return;
      greeted(connection);
    }
    if (!is_pattern(connection.seed, connection.received, bytes)) return mark_failed(connection, "wrong bytes");
    connection.received += bytes.size();
    bytes_ += bytes.size();
    while (connection.state == State::kWaiting && connection.received >= (connection.rounds + 1) * options_.bytes) {
      end_round(connection);
    }
  }

  void greeted(Connection& connection) {
    ++greeted_;
    const std::uint64_t now = now_ms();
    longest_wait_ms_ = std::max(longest_wait_ms_, now - connection.asked_ms);
    connection.state = options_.mode == Mode::kPush ? State::kWaiting : State::kIdle;
    connection.asked_ms = now;
    connection.due_ms = now;
  }

  void end_round(Connection& connection) {
    const std::uint64_t now = now_ms();
    longest_wait_ms_ = std::max(longest_wait_ms_, now - connection.asked_ms);
    ++connection.rounds;
    ++rounds_;
    connection.asked_ms = now;
    connection.due_ms = now + options_.interval_ms;
    if (options_.mode == Mode::kEcho) connection.state = State::kIdle;
  }

  void send_datagram(Connection& connection, std::uint64_t now) {
    std::vector<std::uint8_t> datagram(sizeof(DatagramHeader) + options_.bytes);
    const DatagramHeader header{.seed = connection.seed, .sequence = connection.rounds};
    std::memcpy(datagram.data(), &header, sizeof header);
    fill_pattern(connection.seed, connection.rounds * options_.bytes, std::span(datagram).subspan(sizeof header));
    connection.retry_ms = now + kRetryMs;
    // Lost datagrams (buffer full, or port not open yet) are retransmitted until the stall limit.
    (void)!send(connection.fd.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL);
  }

  void read_datagrams(Connection& connection) {
    std::array<std::uint8_t, 65536> buffer{};
    while (connection.state == State::kWaiting || connection.state == State::kIdle) {
      const ssize_t got = recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
      if (got < 0) return;
      receive_datagram(connection, std::span<const std::uint8_t>(buffer.data(), static_cast<std::size_t>(got)));
    }
  }

  void receive_datagram(Connection& connection, std::span<const std::uint8_t> bytes) {
    DatagramHeader header;
    if (bytes.size() != kNameSize + sizeof header + options_.bytes) return mark_failed(connection, "wrong length");
    Name name;
    std::memcpy(name.data(), bytes.data(), kNameSize);
    std::memcpy(&header, bytes.data() + kNameSize, sizeof header);
    bytes = bytes.subspan(kNameSize + sizeof header);
    if (header.seed != connection.seed || !is_pattern(connection.seed, header.sequence * options_.bytes, bytes)) {
      return mark_failed(connection, "wrong bytes");
    }
    if (connection.state != State::kWaiting || header.sequence != connection.rounds) return;  // duplicate answer
    connection.backend = name;
    if (connection.name_bytes == 0) {
      connection.name_bytes = kNameSize;
      ++greeted_;
    }
    bytes_ += bytes.size();
    end_round(connection);
  }

  static std::string error_name(int error) {
    switch (error) {
      case ECONNRESET:
        return "reset";
      case ECONNREFUSED:
        return "refused";
      case ETIMEDOUT:
        return "timed out";
      default:
        return std::string("error ") + std::to_string(error);
    }
  }

  static std::string backend_of(const Connection& connection) {
    if (connection.name_bytes < kNameSize) return "(none)";
    return {connection.backend.data(), strnlen(connection.backend.data(), kNameSize)};
  }

  void mark_failed(Connection& connection, const std::string& why) {
    ++failures_[backend_of(connection) + " " + why];
    ++failed_;
    connection.state = State::kFailed;
    connection.fd.reset();
  }

  void report() const {
    std::map<std::string, BackendCount> backends;
    std::uint64_t min_rounds = ~0ULL;
    for (std::size_t i = 0; i < opened_; ++i) {
      const Connection& connection = connections_[i];
      BackendCount& count = backends[backend_of(connection)];
      ++count.connections;
      if (connection.state == State::kFailed) {
        ++count.failed;
      } else {
        count.min_rounds = std::min(count.min_rounds, connection.rounds);
        min_rounds = std::min(min_rounds, connection.rounds);
      }
    }
    std::printf("{\"open\": %zu, \"greeted\": %llu, \"failed\": %llu, \"rounds\": %llu, \"min_rounds\": %llu, ",
                static_cast<std::size_t>(opened_) - failed_, number(greeted_), number(failed_), number(rounds_),
                number(min_rounds == ~0ULL ? 0 : min_rounds));
    std::printf("\"bytes\": %llu, \"longest_wait_ms\": %llu, \"retries\": %llu, \"backends\": {", number(bytes_),
                number(longest_wait_ms_), number(retries_));
    const char* comma = "";
    for (const auto& [name, count] : backends) {
      std::printf("%s\"%s\": {\"connections\": %llu, \"failed\": %llu, \"min_rounds\": %llu}", comma, name.c_str(),
                  number(count.connections), number(count.failed),
                  number(count.min_rounds == ~0ULL ? 0 : count.min_rounds));
      comma = ", ";
    }
    std::printf("}, \"failures\": {");
    comma = "";
    for (const auto& [what, count] : failures_) {
      std::printf("%s\"%s\": %llu", comma, what.c_str(), number(count));
      comma = ", ";
    }
    std::printf("}, \"stuck\": [");
    report_stuck();
    std::printf("]}\n");
    std::fflush(stdout);
  }

  void report_stuck() const {
    const std::uint64_t now = now_ms();
    unsigned listed = 0;
    for (const Connection& connection : connections_) {
      const bool waits = connection.state == State::kConnecting || connection.state == State::kGreeting ||
                         connection.state == State::kWaiting;
      if (!waits || now - connection.asked_ms < kStuckMs || listed == kStuckListed) {
        continue;
      }
      std::printf("%s{\"port\": %u, \"backend\": \"%s\", \"ms\": %llu}", listed++ == 0 ? "" : ", ",
                  unsigned{own_port(connection.fd.get())}, backend_of(connection).c_str(),
                  number(now - connection.asked_ms));
    }
  }

  static unsigned long long number(std::uint64_t value) { return value; }

  ClientOptions options_;
  Descriptor epoll_;
  std::vector<Connection> connections_;
  std::uint64_t base_seed_, started_ms_ = 0;
  std::size_t opened_ = 0;
  std::uint64_t greeted_ = 0, failed_ = 0, rounds_ = 0, bytes_ = 0, longest_wait_ms_ = 0, retries_ = 0;
  std::map<std::string, std::uint64_t> failures_;
};

}  // namespace

void run_client(const ClientOptions& options) { Client(options).run(); }

}  // namespace isthmus::load
