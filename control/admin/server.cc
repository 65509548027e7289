#include "control/admin/server.h"

#include <grp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "control/admin/replies.h"

namespace isthmus {
namespace {

Error os_error(const std::string& what, const std::string& where, std::string fix = {}) {
  return Error{what + ": " + std::strerror(errno), where, std::move(fix)};
}

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error{"the path of a Unix socket has 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes", path,
                 "choose a shorter admin.socket"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* as_sockaddr(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

// Fails for what must not be replaced: a socket that a process listens on, or a file that is no socket.
Status check_replaceable(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Status(Ok{}) : Status(os_error("cannot examine the admin socket", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Error{"there is a file at the path of the admin socket that is not a socket", path,
                 "move it away or choose another admin.socket"};
  }
  auto address = socket_address(path);
  if (!address) {
    return address.error();
  }
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) {
    return os_error("cannot create a socket", path);
  }
  const bool answered = ::connect(probe, as_sockaddr(*address), sizeof *address) == 0 || errno == EAGAIN;
  ::close(probe);
  if (answered) {
    return Error{"another process already serves this admin socket", path,
                 "stop that gateway first, or give this one another name or admin.socket"};
  }
  return Ok{};
}

Result<gid_t> group_id(const std::string& name) {
  std::array<char, 16384> buffer{};
  group entry{};
  group* found = nullptr;
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return Error{"there is no group '" + name + "' on this machine", "admin.group",
                 "create it (groupadd --system " + name + ") or name another"};
  }
  return found->gr_gid;
}

// Binds under a temporary name, so that the socket appears with its final owner and mode.
Result<int> bind_private(const std::string& path, const std::string& temporary, gid_t group) {
  auto address = socket_address(temporary);
  if (!address) {
    return address.error();
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return os_error("cannot create a socket", path);
  }
  ::unlink(temporary.c_str());
  const bool done = ::fchmod(fd, 0600) == 0 && ::bind(fd, as_sockaddr(*address), sizeof *address) == 0 &&
                    ::chown(temporary.c_str(), static_cast<uid_t>(-1), group) == 0 &&
                    ::chmod(temporary.c_str(), 0660) == 0 && ::listen(fd, 64) == 0 &&
                    ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!done) {
    Error error = os_error("cannot create the admin socket", path, "run as root, or choose a folder you may write to");
    ::close(fd);
    ::unlink(temporary.c_str());
    return error;
  }
  return fd;
}

}  // namespace

Result<std::unique_ptr<AdminServer>> AdminServer::listen(const AdminOptions& options, Handler handler) {
  std::unique_ptr<AdminServer> server(new AdminServer(options, std::move(handler)));
  if (auto status = server->open(); !status) {
    return status.error();
  }
  return server;
}

Status AdminServer::open() {
  std::error_code failed;
  const auto folder = std::filesystem::path(options_.path).parent_path();
  if (!folder.empty() && !std::filesystem::create_directories(folder, failed) && failed) {
    return Error{"cannot create the folder of the admin socket: " + failed.message(), folder.string(),
                 "run as root, or choose another admin.socket"};
  }
  const std::string temporary = options_.path + "." + std::to_string(::getpid());
  if (auto usable = socket_address(temporary); !usable) {
    return usable.error();
  }
  if (auto free = check_replaceable(options_.path); !free) {
    return free;
  }
  const auto group = group_id(options_.group);
  if (!group) {
    return group.error();
  }
  const auto bound = bind_private(options_.path, temporary, *group);
  if (!bound) {
    return bound.error();
  }
  listener_ = *bound;
  struct stat info {};
  if (::lstat(options_.path.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = listener_;
  if (epoll_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) {
    return os_error("cannot watch the admin socket", options_.path);
  }
  return Ok{};
}

AdminServer::~AdminServer() {
  for (const auto& [fd, client] : clients_) {
    ::close(fd);
  }
  if (listener_ >= 0) {
    struct stat info {};
    if (::lstat(options_.path.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
      ::unlink(options_.path.c_str());
    }
    ::close(listener_);
  }
  if (epoll_ >= 0) {
    ::close(epoll_);
  }
}

void AdminServer::poll() {
  std::array<epoll_event, 32> events{};
  const int ready = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  ++turn_;
  bool connecting = false;
  for (int i = 0; i < ready; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (fd == listener_) {
      connecting = true;
      continue;
    }
    const auto found = clients_.find(fd);
    if (found == clients_.end()) {
      continue;
    }
    found->second.last_active = turn_;
    const bool hung_up = (events[static_cast<std::size_t>(i)].events & EPOLLHUP) != 0;
    if (hung_up && found->second.feed) {
      drop(fd);
    } else if (serve(fd, found->second)) {
      watch(fd, found->second);
    } else {
      drop(fd);
    }
  }
  // Last, so that a descriptor closed above and reused cannot receive an event of its former client.
  if (connecting) {
    accept_clients();
  }
}

void AdminServer::accept_clients() {
  for (std::size_t i = 0; i < options_.max_clients; ++i) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      return;
    }
    if (clients_.size() >= options_.max_clients) {
      evict_idlest();
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      ::close(fd);
      continue;
    }
    clients_[fd].last_active = turn_;
  }
}

void AdminServer::evict_idlest() {
  const auto oldest = std::min_element(clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
    return a.second.last_active < b.second.last_active;
  });
  if (oldest != clients_.end()) {
    drop(oldest->first);
  }
}

bool AdminServer::serve(int fd, Client& client) {
  // One answer per turn, and only when the client has taken the last one: neither a slow client nor a busy one holds up
  // the loop.
  if (client.out.empty() && client.feed) {
    if (!client.ended && !read_some(fd, client)) {
      return false;
    }
    take_feed(client);
  } else if (client.out.empty()) {
    if (!client.ended && client.in.find('\n') == std::string::npos && !read_some(fd, client)) {
      return false;
    }
    answer_next(client);
  }
  return write_some(fd, client) && !(client.ended && client.out.empty() && client.in.empty() && !client.feed);
}

bool AdminServer::read_some(int fd, Client& client) const {
  std::array<char, 4096> chunk{};
  while (client.in.size() <= options_.max_request) {
    const ssize_t got = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (got > 0) {
      client.in.append(chunk.data(), static_cast<std::size_t>(got));
      continue;
    }
    if (got == 0) {
      client.ended = true;
      return true;
    }
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  }
  return true;
}

void AdminServer::answer_next(Client& client) const {
  const auto end = client.in.find('\n');
  std::string line;
  if (end != std::string::npos) {
    line = client.in.substr(0, end);
    client.in.erase(0, end + 1);
  } else if (client.in.size() >= options_.max_request) {
    client.in.clear();
    client.ended = true;
    client.out = encode_error(Error{"the request has more than " + std::to_string(options_.max_request) + " bytes", "",
                                    "send one JSON object per line"}) +
                 "\n";
    return;
  } else if (client.ended && !client.in.empty()) {
    line = std::exchange(client.in, {});
  } else {
    return;
  }
  AdminAnswer answer = handler_(line);
  client.out = std::move(answer.line);
  client.feed = std::move(answer.feed);
  client.feed_ready = client.feed != nullptr;
  if (client.out.size() > options_.max_reply) {
    client.out = encode_error(Error{"the reply would have " + std::to_string(client.out.size()) + " bytes", "",
                                    "narrow the request with a filter or a limit"});
  }
  client.out += '\n';
}

void AdminServer::take_feed(Client& client) const {
  if (!client.feed_ready) {
    return;
  }
  if (auto lines = client.feed(); lines) {
    client.feed_ready = !lines->empty();
    client.out = std::move(*lines);
  } else {
    client.feed = nullptr;
    client.feed_ready = false;
    client.out = "{\"end\":true}\n";
  }
}

void AdminServer::feed_clients() {
  std::vector<int> fed;
  for (auto& [fd, client] : clients_) {
    if (client.feed) {
      client.feed_ready = true;
      fed.push_back(fd);
    }
  }
  ++turn_;
  for (const int fd : fed) {
    Client& client = clients_.at(fd);
    client.last_active = turn_;
    if (!client.out.empty()) {
      continue;  // it continues once the client has taken that
    }
    if (serve(fd, client)) {
      watch(fd, client);
    } else {
      drop(fd);
    }
  }
}

bool AdminServer::write_some(int fd, Client& client) const {
  while (client.sent < client.out.size()) {
    const ssize_t put = ::send(fd, client.out.data() + client.sent, client.out.size() - client.sent, MSG_NOSIGNAL);
    if (put < 0) {
      return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    }
    client.sent += static_cast<std::size_t>(put);
  }
  client.out.clear();
  client.out.shrink_to_fit();
  client.sent = 0;
  return true;
}

void AdminServer::watch(int fd, const Client& client) const {
  epoll_event event{};
  const bool work_left = !client.out.empty() || client.feed_ready ||
                         (!client.feed && (client.ended || client.in.find('\n') != std::string::npos));
  // From a client with a feed that has closed, or has sent too much, only the hang-up is awaited.
  const bool deaf = client.ended || client.in.size() > options_.max_request;
  event.events = work_left ? EPOLLOUT : deaf ? 0U : EPOLLIN;
  event.data.fd = fd;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void AdminServer::drop(int fd) {
  ::close(fd);
  clients_.erase(fd);
}

}  // namespace isthmus
