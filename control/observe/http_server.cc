#include "control/observe/http_server.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

namespace isthmus {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using Parser = http::request_parser<http::empty_body>;
using Response = http::response<http::string_body>;

constexpr std::uint32_t kMaxHeader = 8192;

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

socklen_t to_sockaddr(const IpAddress& address, L4Port port, SocketAddress& out) {
  std::memset(&out, 0, sizeof out);
  if (address.is_ipv4()) {
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(port.value());
    out.v4.sin_addr.s_addr = address.as_ipv4().wire();
    return sizeof out.v4;
  }
  out.v6.sin6_family = AF_INET6;
  out.v6.sin6_port = htons(port.value());
  std::memcpy(&out.v6.sin6_addr, address.bytes().data(), 16);
  return sizeof out.v6;
}

std::string text_of(Response& response, bool head) {
  response.prepare_payload();
  std::ostringstream text;
  if (head) {
    text << response.base();  // with the Content-Length of a GET
  } else {
    text << response;
  }
  return text.str();
}

}  // namespace

struct HttpServer::Client {
  Client() { renew(); }
  void renew() {
    parser.emplace();
    parser->header_limit(kMaxHeader);
  }
  std::optional<Parser> parser;
  std::string in, out;
  std::size_t sent = 0;
  bool closing = false;    // once `out` is sent
  bool half_read = false;  // `in` holds the beginning of a request
  std::uint64_t last_active = 0;
};

HttpServer::HttpServer(HttpOptions options, Handler handler)
    : options_(std::move(options)), handler_(std::move(handler)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpOptions& options, Handler handler) {
  std::unique_ptr<HttpServer> server(new HttpServer(options, std::move(handler)));
  if (auto status = server->open(); !status) {
    return status.error();
  }
  return server;
}

Status HttpServer::open() {
  const std::string where = options_.address.to_string() + " port " + std::to_string(options_.port.value());
  const auto failed = [&](const char* what) {
    return Error{std::string(what) + ": " + std::strerror(errno), where,
                 "choose another metrics.address or metrics.port, or set metrics.enabled: false"};
  };
  SocketAddress address{};
  const socklen_t length = to_sockaddr(options_.address, options_.port, address);
  listener_ = ::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int one = 1;
  if (listener_ < 0 || ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::bind(listener_, &address.any, length) != 0 || ::listen(listener_, 64) != 0) {
    return failed("cannot serve metrics there");
  }
  socklen_t bound = sizeof address;
  ::getsockname(listener_, &address.any, &bound);
  port_ = L4Port{ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port)};
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = listener_;
  if (epoll_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) {
    return failed("cannot watch the metrics socket");
  }
  return Ok{};
}

HttpServer::~HttpServer() {
  for (const auto& [fd, client] : clients_) {
    ::close(fd);
  }
  for (const int fd : {listener_, epoll_}) {
    if (fd >= 0) {
      ::close(fd);
    }
  }
}

void HttpServer::poll() {
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
    found->second->last_active = turn_;
    if (serve(fd, *found->second)) {
      watch(fd, *found->second);
    } else {
      drop(fd);
    }
  }
  // Last, so that a descriptor closed above and reused cannot receive an event of its former client.
  if (connecting) {
    accept_clients();
  }
}

void HttpServer::accept_clients() {
  for (std::size_t i = 0; i < options_.max_clients; ++i) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      return;
    }
    if (clients_.size() >= options_.max_clients) {
      const auto oldest = std::min_element(clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
        return a.second->last_active < b.second->last_active;
      });
      drop(oldest->first);
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
      ::close(fd);
      continue;
    }
    auto client = std::make_unique<Client>();
    client->last_active = turn_;
    clients_[fd] = std::move(client);
  }
}

bool HttpServer::serve(int fd, Client& client) {
  // One answer per turn, and only when the client has taken the last one.
  if (client.out.empty()) {
    if (!read_some(fd, client)) {
      return false;
    }
    answer(client);
  }
  while (client.sent < client.out.size()) {
    const ssize_t put = ::send(fd, client.out.data() + client.sent, client.out.size() - client.sent, MSG_NOSIGNAL);
    if (put < 0) {
      return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    }
    client.sent += static_cast<std::size_t>(put);
  }
  const bool answered = !client.out.empty();
  client.out.clear();
  client.sent = 0;
  return !(answered && client.closing);
}

bool HttpServer::read_some(int fd, Client& client) {
  std::array<char, 4096> chunk{};
  while (client.in.size() <= kMaxHeader) {
    const ssize_t got = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (got > 0) {
      client.in.append(chunk.data(), static_cast<std::size_t>(got));
      continue;
    }
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
  }
  return true;
}

void HttpServer::answer(Client& client) {
  beast::error_code failed;
  while (!client.in.empty() && !client.parser->is_done() && !failed) {
    const std::size_t used = client.parser->put(boost::asio::buffer(client.in), failed);
    client.in.erase(0, used);
  }
  client.half_read = failed == http::error::need_more;
  const bool broken = failed && failed != http::error::need_more;
  if (!broken && !client.parser->is_done()) {
    return;
  }
  const auto& request = client.parser->get();
  const bool head = !broken && request.method() == http::verb::head;
  Response response(http::status::ok, broken ? 11U : request.version());
  response.set(http::field::server, "isthmus");
  response.keep_alive(!broken && request.keep_alive());
  if (broken) {
    response.result(http::status::bad_request);
  } else if (request.method() != http::verb::get && !head) {
    response.result(http::status::method_not_allowed);
    response.set(http::field::allow, "GET, HEAD");
  } else {
    const std::string target(request.target().data(), request.target().size());
    if (auto page = handler_(target.substr(0, target.find('?'))); page) {
      response.set(http::field::content_type, page->content_type);
      response.body() = std::move(page->body);
    } else {
      response.result(http::status::not_found);
    }
  }
  if (response.result() != http::status::ok) {
    response.set(http::field::content_type, "text/plain");
    response.body() = std::string(http::obsolete_reason(response.result())) + "\n";
  }
  client.closing = !response.keep_alive();
  client.out = text_of(response, head);
  client.renew();
}

void HttpServer::watch(int fd, const Client& client) const {
  epoll_event event{};
  const bool work_left = !client.out.empty() || (!client.in.empty() && !client.half_read);
  event.events = work_left ? EPOLLOUT : EPOLLIN;
  event.data.fd = fd;
  ::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void HttpServer::drop(int fd) {
  ::close(fd);
  clients_.erase(fd);
}

}  // namespace isthmus
