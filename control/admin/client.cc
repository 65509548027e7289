#include "control/admin/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "control/admin/request.h"

namespace isthmus {
namespace {

using Clock = std::chrono::steady_clock;

class Connection {
 public:
  Connection(std::string path, std::chrono::milliseconds timeout)
      : path_(std::move(path)), deadline_(Clock::now() + timeout) {}
  ~Connection() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] Status open() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.empty() || path_.size() >= sizeof address.sun_path) {
      return Error{"not a usable socket path", path_, "name its path or the gateway with --socket"};
    }
    std::memcpy(address.sun_path, path_.data(), path_.size());
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) {
      return Error{std::string("cannot create a socket: ") + std::strerror(errno), path_};
    }
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      connect_error_ = errno;
      return no_answer();
    }
    return Ok{};
  }
  // After open() failed: whether a gateway may listen all the same.
  [[nodiscard]] bool may_listen() const {
    return connect_error_ == EACCES || connect_error_ == EPERM || connect_error_ == EAGAIN;
  }

  [[nodiscard]] Status send_line(std::string_view line) {
    std::string text(line);
    text += '\n';
    std::size_t sent = 0;
    while (sent < text.size()) {
      const ssize_t put = ::send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (put >= 0) {
        sent += static_cast<std::size_t>(put);
      } else if ((errno != EAGAIN && errno != EINTR) || !wait_for(POLLOUT)) {
        return lost();
      }
    }
    return Ok{};
  }

  [[nodiscard]] Result<std::string> read_line() {
    std::string text;
    std::array<char, 65536> chunk{};
    for (;;) {
      const ssize_t got = ::recv(fd_, chunk.data(), chunk.size(), 0);
      if (got > 0) {
        text.append(chunk.data(), static_cast<std::size_t>(got));
        if (text.back() == '\n') {
          text.pop_back();
          return text;
        }
        if (text.size() > kMaxAdminReply) {
          return too_long();
        }
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(POLLIN)) {
        return lost();
      }
    }
  }

  // Calls `take` with every line until it returns false. Only the first has a time limit.
  [[nodiscard]] Status read_lines(const std::function<bool(std::string_view)>& take) {
    std::string text;
    std::array<char, 65536> chunk{};
    for (;;) {
      const ssize_t got = ::recv(fd_, chunk.data(), chunk.size(), 0);
      if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(POLLIN)) {
          return lost();
        }
        continue;
      }
      text.append(chunk.data(), static_cast<std::size_t>(got));
      std::size_t start = 0;
      for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n', start)) {
        deadline_ = Clock::time_point::max();
        if (!take(std::string_view(text).substr(start, end - start))) {
          return Ok{};
        }
        start = end + 1;
      }
      text.erase(0, start);
      if (text.size() > kMaxAdminReply) {
        return too_long();
      }
    }
  }

 private:
  [[nodiscard]] Error no_answer() const {
    std::string fix = "check that it runs: systemctl status isthmus, or isthmus run -c FILE";
    if (connect_error_ == EACCES || connect_error_ == EPERM) {
      fix = "run as root or as a member of the socket's group (admin.group)";
    }
    return Error{std::string("no gateway answers: ") + std::strerror(connect_error_), path_, fix};
  }
  [[nodiscard]] Error lost() const { return Error{"the gateway did not answer", path_, "see its log"}; }
  [[nodiscard]] Error too_long() const {
    return Error{"the answer is longer than any of a gateway", path_, "check that this is the socket of a gateway"};
  }
  // False at the deadline, and when the socket cannot be waited for. A signal does not end the wait.
  [[nodiscard]] bool wait_for(short what) const {
    pollfd entry{fd_, what, 0};
    for (;;) {
      std::int64_t left = -1;
      if (deadline_ != Clock::time_point::max()) {
        left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
        if (left <= 0) {
          return false;
        }
      }
      const int ready = ::poll(&entry, 1, static_cast<int>(left));
      if (ready >= 0 || errno != EINTR) {
        return ready > 0;
      }
    }
  }

  std::string path_;
  Clock::time_point deadline_;
  int fd_ = -1;
  int connect_error_ = 0;  // errno of a failed connect
};

}  // namespace

Result<std::string> ask_gateway(const std::string& socket, std::string_view request,
                                std::chrono::milliseconds timeout) {
  Connection connection(socket, timeout);
  if (auto opened = connection.open(); !opened) {
    return opened.error();
  }
  if (auto sent = connection.send_line(request); !sent) {
    return sent.error();
  }
  return connection.read_line();
}

Status ask_gateway_for_lines(const std::string& socket, std::string_view request,
                             const std::function<bool(std::string_view)>& take, std::chrono::milliseconds timeout) {
  Connection connection(socket, timeout);
  if (auto opened = connection.open(); !opened) {
    return opened;
  }
  if (auto sent = connection.send_line(request); !sent) {
    return sent;
  }
  return connection.read_lines([&](std::string_view line) { return line != R"({"end":true})" && take(line); });
}

bool gateway_listens(const std::string& socket) {
  Connection connection(socket, std::chrono::seconds(1));
  return connection.open().ok() || connection.may_listen();
}

std::vector<std::string> list_gateway_sockets(std::string_view folder) {
  std::vector<std::string> found;
  std::error_code failed;
  std::filesystem::directory_iterator it(std::filesystem::path(folder), failed);
  while (!failed && it != std::filesystem::directory_iterator()) {
    std::error_code unknown;
    if (it->path().extension() == ".sock" && it->is_socket(unknown)) {
      found.push_back(it->path().string());
    }
    it.increment(failed);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace isthmus
