#include "control/loop/stream_server.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <set>
#include <vector>

#include "control/loop/stream_connection.h"

namespace isthmus {
namespace {

// With no descriptor left, a client may make room for another after it has been idle for this long.
constexpr auto kPatience = std::chrono::seconds(1);

int spare_descriptor() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

Error shortage_problem(const std::string& name, int why) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string process = "/proc/" + std::to_string(::getpid()) + "/fd";
  if (why == EMFILE) {
    return {"this process has no file descriptor left of the " + std::to_string(limit.rlim_cur) +
                " that it may have; clients are served one at a time, or wait",
            name, "see what holds them (ls -l " + process + "), or raise LimitNOFILE= of its service"};
  }
  return {"this machine has no file descriptor left; clients are served one at a time, or wait", name,
          "see which process holds them (lsof), or raise sysctl fs.file-max"};
}

}  // namespace

struct StreamServer::Impl final : StreamOwner, std::enable_shared_from_this<StreamServer::Impl> {
  Impl(boost::asio::io_context& context, std::string called, const StreamLimits& bounds, MakeProtocol make,
       OnProblem report)
      : io(context),
        name(std::move(called)),
        limits(bounds),
        make_protocol(std::move(make)),
        on_problem(std::move(report)),
        listener(context),
        pause(context),
        check(context) {}

  void await_clients();
  void accept_clients();
  // A descriptor for the next client where accepting failed for want of one, or -1.
  int accept_without_room();
  void admit(int fd);
  void wait_before_accepting();
  [[nodiscard]] StreamConnection* idlest() const;
  void evict(StreamConnection& connection);
  void ended(StreamConnection& connection, bool late) override;
  void note_shortage(int why);
  void check_shortage();
  void close();

  boost::asio::io_context& io;
  const std::string name;
  const StreamLimits limits;
  const MakeProtocol make_protocol;
  const OnProblem on_problem;
  boost::asio::posix::stream_descriptor listener;
  boost::asio::steady_timer pause, check;
  std::set<std::shared_ptr<StreamConnection>> connections;
  StreamCounts counts;
  int reserve = -1;      // given up for a client when there is no other descriptor
  int shortage = 0;      // errno of it; 0: there is none
  bool waiting = false;  // for clients
  bool closed = false;
};

Result<std::unique_ptr<StreamServer>> StreamServer::serve(EventLoop& loop, int listener, std::string name,
                                                          const StreamLimits& limits, MakeProtocol protocol,
                                                          OnProblem on_problem) {
  auto impl = std::make_shared<Impl>(loop.io(), std::move(name), limits, std::move(protocol), std::move(on_problem));
  boost::system::error_code failed;
  impl->listener.assign(listener, failed);
  if (failed) {
    ::close(listener);
    return Error{"cannot watch a socket: " + failed.message(), impl->name};
  }
  impl->reserve = spare_descriptor();
  impl->await_clients();
  return std::unique_ptr<StreamServer>(new StreamServer(std::move(impl)));
}

StreamServer::~StreamServer() { impl_->close(); }

void StreamServer::Impl::close() {
  closed = true;
  for (const auto& connection : connections) {
    connection->drop();
  }
  connections.clear();
  boost::system::error_code ignored;
  listener.close(ignored);
  pause.cancel();
  check.cancel();
  if (reserve >= 0) {
    ::close(std::exchange(reserve, -1));
  }
}

void StreamServer::Impl::await_clients() {
  if (std::exchange(waiting, true)) {
    return;
  }
  listener.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](boost::system::error_code) {
                        self->waiting = false;
                        if (!self->closed) {
                          self->accept_clients();
                        }
                      });
}

void StreamServer::Impl::accept_clients() {
  for (std::size_t i = 0; i < limits.clients; ++i) {
    int fd = ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      break;
    }
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
      fd = accept_without_room();
      if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        break;
      }
    } else if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) {
      continue;
    }
    if (fd < 0) {
      wait_before_accepting();
      return;
    }
    admit(fd);
  }
  await_clients();
}

int StreamServer::Impl::accept_without_room() {
  note_shortage(errno);
  if (reserve >= 0) {
    ::close(std::exchange(reserve, -1));
  } else {
    const auto now = StreamConnection::Clock::now();
    const auto idle = std::find_if(connections.begin(), connections.end(), [&](const auto& connection) {
      return !connection->answering() && now - connection->last_request() > kPatience;
    });
    if (idle == connections.end()) {
      errno = EMFILE;
      return -1;
    }
    evict(**idle);
  }
  return ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void StreamServer::Impl::admit(int fd) {
  if (connections.size() >= limits.clients) {
    evict(*idlest());
  }
  const auto connection = std::make_shared<StreamConnection>(io, *this, limits, make_protocol());
  connections.insert(connection);
  ++counts.accepted;
  if (!connection->begin(fd)) {
    connections.erase(connection);
  }
}

void StreamServer::Impl::wait_before_accepting() {
  ++counts.pauses;
  pause.expires_after(limits.accept_pause);
  pause.async_wait([self = shared_from_this()](boost::system::error_code) {
    if (!self->closed) {
      self->await_clients();
    }
  });
}

// Of those that are not being answered, if there are any.
StreamConnection* StreamServer::Impl::idlest() const {
  return std::min_element(connections.begin(), connections.end(),
                          [](const auto& a, const auto& b) {
                            return std::pair(a->answering(), a->last_active()) <
                                   std::pair(b->answering(), b->last_active());
                          })
      ->get();
}

void StreamServer::Impl::evict(StreamConnection& connection) {
  ++counts.evicted;
  const auto held = connection.shared_from_this();
  held->drop();
  connections.erase(held);
}

void StreamServer::Impl::ended(StreamConnection& connection, bool late) {
  counts.late += late ? 1 : 0;
  connections.erase(connection.shared_from_this());
  if (reserve < 0) {
    reserve = spare_descriptor();
    pause.cancel();  // there may be room for who waits
  }
}

void StreamServer::Impl::note_shortage(int why) {
  ++counts.no_descriptor;
  if (shortage == 0) {
    shortage = why;
    if (on_problem) {
      on_problem(shortage_problem(name, why));
    }
    check_shortage();
  }
}

void StreamServer::Impl::check_shortage() {
  check.expires_after(limits.shortage_check);
  check.async_wait([self = shared_from_this()](boost::system::error_code) {
    if (self->closed) {
      return;
    }
    if (self->reserve < 0) {
      self->reserve = spare_descriptor();
    }
    const int another = self->reserve >= 0 ? spare_descriptor() : -1;
    if (another < 0) {
      self->check_shortage();
      return;
    }
    ::close(another);
    self->shortage = 0;
    if (self->on_problem) {
      self->on_problem(std::nullopt);
    }
  });
}

void StreamServer::feed_clients() {
  const std::vector<std::shared_ptr<StreamConnection>> all(impl_->connections.begin(), impl_->connections.end());
  for (const auto& connection : all) {
    connection->feed();
  }
}

std::size_t StreamServer::clients() const { return impl_->connections.size(); }
const StreamCounts& StreamServer::counts() const { return impl_->counts; }

}  // namespace isthmus
