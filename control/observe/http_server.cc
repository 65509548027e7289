#include "control/observe/http_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
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
  response.set(http::field::server, "isthmus");
  response.prepare_payload();
  std::ostringstream text;
  if (head) {
    text << response.base();  // with the Content-Length of a GET
  } else {
    text << response;
  }
  return text.str();
}

// Requests without a body, one after the other, in HTTP/1.1 or 1.0.
class HttpProtocol final : public StreamProtocol {
 public:
  explicit HttpProtocol(std::shared_ptr<const HttpServer::Handler> handler) : handler_(std::move(handler)) { renew(); }

  [[nodiscard]] std::optional<StreamAnswer> next(std::string& in, bool) override {
    beast::error_code failed;
    while (!in.empty() && !parser_->is_done() && !failed) {
      const std::size_t used = parser_->put(boost::asio::buffer(in), failed);
      in.erase(0, used);
    }
    const bool broken = failed && failed != http::error::need_more;
    if (!broken && !parser_->is_done()) {
      return std::nullopt;
    }
    StreamAnswer answer = broken ? refusal(http::status::bad_request) : respond();
    renew();
    return answer;
  }

  [[nodiscard]] std::string too_slow() const override { return refusal(http::status::request_timeout).text; }

 private:
  void renew() {
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
  }

  [[nodiscard]] static StreamAnswer refusal(http::status status) {
    Response response(status, 11U);
    response.keep_alive(false);
    explain(response);
    return {text_of(response, false), {}, true};
  }

  static void explain(Response& response) {
    response.set(http::field::content_type, "text/plain");
    response.body() = std::string(http::obsolete_reason(response.result())) + "\n";
  }

  [[nodiscard]] StreamAnswer respond() const {
    const auto& request = parser_->get();
    const bool head = request.method() == http::verb::head;
    Response response(http::status::ok, request.version());
    response.keep_alive(request.keep_alive());
    const bool last = !response.keep_alive();
    if (request.method() != http::verb::get && !head) {
      response.result(http::status::method_not_allowed);
      response.set(http::field::allow, "GET, HEAD");
      explain(response);
      return {text_of(response, head), {}, last};
    }
    const std::string target(request.target().data(), request.target().size());
    const std::size_t mark = std::min(target.find('?'), target.size());
    auto page = (*handler_)(std::string_view(target).substr(0, mark),
                            std::string_view(target).substr(std::min(mark + 1, target.size())));
    if (page == nullptr) {
      response.result(http::status::not_found);
      explain(response);
      return {text_of(response, head), {}, last};
    }
    auto render = [response = std::move(response), head](const HttpPage& found) mutable {
      response.result(found.status);
      response.set(http::field::content_type, found.content_type);
      response.body() = found.body;
      return text_of(response, head);
    };
    if (*page) {
      return {render(**page), {}, last};
    }
    return awaited_answer(std::move(page), std::move(render), last);
  }

  const std::shared_ptr<const HttpServer::Handler> handler_;
  std::optional<Parser> parser_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(EventLoop& loop, const HttpOptions& options, Handler handler,
                                                       StreamServer::OnProblem on_problem) {
  SocketAddress address{};
  const socklen_t length = to_sockaddr(options.address, options.port, address);
  const int listener = ::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int one = 1;
  if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::bind(listener, &address.any, length) != 0 || ::listen(listener, 64) != 0) {
    const Error error{std::string("cannot serve metrics there: ") + std::strerror(errno),
                      options.address.to_string() + " port " + std::to_string(options.port.value()),
                      "choose another metrics.address or metrics.port, or set metrics.enabled: false"};
    if (listener >= 0) {
      ::close(listener);
    }
    return error;
  }
  socklen_t bound = sizeof address;
  ::getsockname(listener, &address.any, &bound);
  const L4Port port{ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port)};
  const auto shared = std::make_shared<const Handler>(std::move(handler));
  auto server = StreamServer::serve(
      loop, listener, "metrics at " + options.address.to_string() + " port " + std::to_string(port.value()),
      options.limits, [shared] { return std::make_unique<HttpProtocol>(shared); }, std::move(on_problem));
  if (!server) {
    return server.error();
  }
  return std::unique_ptr<HttpServer>(new HttpServer(port, std::move(*server)));
}

}  // namespace isthmus
