#include "perf/pods/client.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "perf/pods/server.h"
#include "perf/pods/sockets.h"

namespace isthmus::perf {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kOpening = 0.2;
constexpr std::size_t kChunk = 128 << 10;
constexpr std::chrono::milliseconds kPause{2};
constexpr unsigned kPauses = 5000;  // until what is in flight has to be acknowledged

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// CPU time of the machine since its start, of all cores, in seconds, that was neither idle nor of niced processes.
double busy_seconds() {
  std::ifstream stat("/proc/stat");
  std::string word;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft = 0;
  if (!(stat >> word >> user >> nice >> system >> idle >> waiting >> interrupts >> soft)) {
    end_with("cannot read /proc/stat");
  }
  return (user + system + interrupts + soft) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class Meter {
 public:
  [[nodiscard]] TurnTime read() const { return {seconds_since(start_), busy_seconds() - busy_}; }

 private:
  double busy_ = busy_seconds();
  Clock::time_point start_ = Clock::now();
};

// `exchange` sends the request and returns whether its answer is in the same bytes.
template <typename Exchange>
AskedTurn ask(unsigned requests, std::uint64_t& number, const Exchange& exchange) {
  AskedTurn turn;
  turn.nanoseconds.reserve(requests);
  std::array<std::byte, kRequestBytes> request{};
  const Meter meter;
  for (unsigned n = 0; n < requests; ++n) {
    const std::uint64_t mine = ++number;
    std::memcpy(request.data(), &mine, sizeof mine);
    const auto start = Clock::now();
    if (!exchange(request)) {
      end_with("no answer to request " + std::to_string(mine));
    }
    turn.nanoseconds.push_back(
        static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count()));
    std::uint64_t answered = 0;
    std::memcpy(&answered, request.data(), sizeof answered);
    if (answered != mine) {
      end_with("request " + std::to_string(mine) + " has the answer of " + std::to_string(answered));
    }
  }
  turn.time = meter.read();
  std::sort(turn.nanoseconds.begin(), turn.nanoseconds.end());
  return turn;
}

std::uint64_t unacknowledged(int fd) {
  int bytes = 0;
  if (ioctl(fd, SIOCOUTQ, &bytes) != 0) {
    end_with("the stream's socket does not tell what is unacknowledged");
  }
  return static_cast<std::uint64_t>(bytes);
}

std::uint64_t retransmitted(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
    end_with("the stream's socket does not tell what it has sent again");
  }
  return info.tcpi_total_retrans;
}

}  // namespace

PodClient::PodClient(const std::string& address)
    : datagrams_(connected_socket(SOCK_DGRAM, address, kAnswerPort)),
      requests_(connected_socket(SOCK_STREAM, address, kAnswerPort)),
      stream_(connected_socket(SOCK_STREAM, address, kStreamPort)) {}

AskedTurn PodClient::ask_udp(unsigned requests) {
  return ask(requests, number_, [this](std::array<std::byte, kRequestBytes>& request) {
    send_all(datagrams_.get(), request);
    return receive_all(datagrams_.get(), request);
  });
}

AskedTurn PodClient::ask_tcp(unsigned requests) {
  return ask(requests, number_, [this](std::array<std::byte, kRequestBytes>& request) {
    send_all(requests_.get(), request);
    return receive_all(requests_.get(), request);
  });
}

StreamedTurn PodClient::stream(double seconds) {
  const std::vector<std::byte> chunk(kChunk);
  const auto write_for = [&](double time) {
    for (const auto start = Clock::now(); seconds_since(start) < time;) {
      send_all(stream_.get(), chunk);
      written_ += chunk.size();
    }
  };
  write_for(kOpening);
  const Meter meter;
  const std::uint64_t before = written_ - unacknowledged(stream_.get());
  const std::uint64_t again = retransmitted(stream_.get());
  write_for(seconds);
  StreamedTurn turn;
  turn.time = meter.read();
  turn.bytes = written_ - unacknowledged(stream_.get()) - before;
  turn.retransmitted = retransmitted(stream_.get()) - again;
  for (unsigned pause = 0; unacknowledged(stream_.get()) != 0; ++pause) {
    if (pause == kPauses) {
      end_with("the end of a stream is never acknowledged");
    }
    std::this_thread::sleep_for(kPause);
  }
  return turn;
}

}  // namespace isthmus::perf
