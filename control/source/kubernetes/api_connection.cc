#include "control/source/kubernetes/api_connection.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

#include "control/source/kubernetes/dial.h"
#include "control/source/kubernetes/host_lookup.h"

namespace isthmus {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr std::size_t kChunkBytes = 64 << 10;
constexpr std::uint32_t kMaxHeadBytes = 256 << 10;

// Loads the certificate authorities and our own certificate. Returns the first error; empty: success.
std::string load_certificates(asio::ssl::context& tls, const ApiIdentity& identity) {
  ErrorCode error;
  if (identity.ca.empty()) {
    tls.set_default_verify_paths(error);
  } else {
    tls.add_certificate_authority(asio::buffer(identity.ca), error);
  }
  if (error) {
    return "the certificate authority cannot be used: " + error.message();
  }
  if (identity.certificate.empty()) {
    return {};
  }
  tls.use_certificate_chain(asio::buffer(identity.certificate), error);
  if (error) {
    return "the client certificate cannot be used: " + error.message();
  }
  tls.use_private_key(asio::buffer(identity.key), asio::ssl::context::pem, error);
  return error ? "the client key cannot be used: " + error.message() : std::string();
}

// Makes OpenSSL check the peer's name as part of verification.
bool set_expected_name(SSL* ssl, const std::string& name) {
  X509_VERIFY_PARAM* params = SSL_get0_param(ssl);
  if (IpAddress::parse(name)) {
    return X509_VERIFY_PARAM_set1_ip_asc(params, name.c_str()) == 1;
  }
  X509_VERIFY_PARAM_set_hostflags(params, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set_tlsext_host_name(ssl, name.c_str()) == 1 &&
         X509_VERIFY_PARAM_set1_host(params, name.c_str(), name.size()) == 1;
}

void set_socket_options(int fd, const ApiTimes& times) {
  const auto set = [fd](int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value,
                     sizeof value);  // failure only delays the detection of a dead connection
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(times.user_timeout.count()));
}

std::optional<std::chrono::seconds> read_retry_after(std::string_view text) {
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;  // a date: our own backoff applies
  }
  return std::chrono::seconds(std::min(seconds, 3600U));
}

}  // namespace

struct ApiConnection::LastGood {
  Tcp::endpoint endpoint;
};

// Owned by the ApiConnection and by its pending operations.
class ApiConnection::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(asio::io_context& io, const ApiAccess& access, const ApiTimes& times, const ApiIdentity& identity,
          std::shared_ptr<LastGood> last_good)
      : io_(io),
        last_good_(std::move(last_good)),
        access_(access),
        times_(times),
        tls_(asio::ssl::context::tls_client),
        tls_error_(configure_tls(identity)),
        stream_(io, tls_) {}

  void start(const std::shared_ptr<const ApiIdentity>& identity, const ApiRequest& request, ApiCallbacks callbacks) {
    callbacks_ = std::make_shared<const ApiCallbacks>(std::move(callbacks));
    idle_ = request.idle;
    request_ = {http::string_to_verb(request.method), access_.url.path + request.target, 11};
    const bool v6 = access_.url.host.find(':') != std::string::npos;
    request_.set(http::field::host, (v6 ? "[" + access_.url.host + "]" : access_.url.host) + ":" + access_.url.port);
    request_.set(http::field::accept, "application/json");
    if (!request.content_type.empty()) {
      request_.set(http::field::content_type, request.content_type);
      request_.body() = request.body;
      request_.prepare_payload();
    }
    request_.set(http::field::user_agent, "isthmus/" ISTHMUS_VERSION);
    if (!identity->authorization.empty()) {
      request_.set(http::field::authorization, identity->authorization);
    }
    for (const auto& [name, value] : access_.headers) {
      request_.insert(name, value);
    }
    if (connected_) {
      write();
    } else {
      connect();
    }
  }

  // No callback is called after this.
  void close() {
    callbacks_.reset();
    closed_ = true;
    lookup_.reset();
    if (dial_) {
      dial_->cancel();
    }
    beast::get_lowest_layer(stream_).close();
  }

  void set_idle(std::chrono::milliseconds idle) { idle_ = idle; }
  [[nodiscard]] bool reusable() const { return connected_ && !closed_ && reusable_; }
  // Repeats the request on a new connection, if the server had closed the idle one. Null once the response begins.
  std::function<bool()> retry;

 private:
  std::string configure_tls(const ApiIdentity& identity) {
    ErrorCode error;
    tls_.set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
    tls_.set_verify_mode(access_.insecure ? asio::ssl::verify_none : asio::ssl::verify_peer, error);
    // An intermediate authority may be what is trusted, as with Go, without the root that signed it.
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls_.native_handle()), X509_V_FLAG_PARTIAL_CHAIN);
    if (SSL_CTX_set_min_proto_version(tls_.native_handle(), TLS1_2_VERSION) != 1) {
      return "TLS 1.2 is not available";
    }
    return load_certificates(tls_, identity);
  }

  void connect() {
    const std::string name = access_.tls_server_name.empty() ? access_.url.host : access_.tls_server_name;
    if (tls_error_.empty() && !set_expected_name(stream_.native_handle(), name)) {
      tls_error_ = "the server name " + name + " cannot be verified";
    }
    if (!tls_error_.empty()) {
      asio::post(io_, [self = shared_from_this()] { self->fail(self->tls_error_); });
      return;
    }
    const std::string port = access_.proxy ? access_.proxy->port : access_.url.port;
    lookup_.emplace(io_, access_.proxy ? access_.proxy->host : access_.url.host,
                    [this, port](const HostAddresses& found) {
                      if (!found.error.empty()) {
                        fail(found.error);
                        return;
                      }
                      std::vector<Tcp::endpoint> endpoints;
                      for (const std::string& text : found.addresses) {
                        ErrorCode error;
                        const auto address = asio::ip::make_address(text, error);
                        if (!error) {
                          endpoints.emplace_back(address, static_cast<std::uint16_t>(std::stoul(port)));
                        }
                      }
                      connect_to(std::move(endpoints));
                    });
  }

  void connect_to(std::vector<Tcp::endpoint> endpoints) {
    if (endpoints.empty()) {
      fail("cannot connect: the name has no address");
      return;
    }
    // The address that answered last time goes first.
    const auto good = std::find(endpoints.begin(), endpoints.end(), last_good_->endpoint);
    if (good != endpoints.end()) {
      std::rotate(endpoints.begin(), good, good + 1);
    }
    dial_ = std::make_shared<Dial>(io_, std::move(endpoints), times_.connect,
                                   [self = shared_from_this()](ErrorCode error, Tcp::socket socket) {
                                     if (!self->closed_ && !self->failed("cannot connect", error)) {
                                       self->connected(std::move(socket));
                                     }
                                   });
    dial_->start();
  }

  void connected(Tcp::socket socket) {
    ErrorCode ignored;
    endpoint_ = socket.remote_endpoint(ignored);
    last_good_->endpoint = {};  // until it has answered: a frozen server accepts too
    auto& tcp = beast::get_lowest_layer(stream_);
    tcp.socket() = std::move(socket);
    set_socket_options(tcp.socket().native_handle(), times_);
    tcp.expires_after(times_.connect);
    if (access_.proxy) {
      ask_proxy();
    } else {
      handshake();
    }
  }

  // RFC 9110 section 9.3.6.
  void ask_proxy() {
    const bool v6 = access_.url.host.find(':') != std::string::npos;
    const std::string server = (v6 ? "[" + access_.url.host + "]" : access_.url.host) + ":" + access_.url.port;
    connect_request_ = {http::verb::connect, server, 11};
    connect_request_.set(http::field::host, server);
    connect_request_.set(http::field::user_agent, "isthmus/" ISTHMUS_VERSION);
    if (!access_.proxy->authorization.empty()) {
      connect_request_.set(http::field::proxy_authorization, access_.proxy->authorization);
    }
    http::async_write(beast::get_lowest_layer(stream_), connect_request_,
                      [self = shared_from_this()](ErrorCode error, std::size_t) {
                        if (!self->closed_ && !self->failed("the proxy cannot be asked", error)) {
                          self->read_proxy();
                        }
                      });
  }

  void read_proxy() {
    connect_parser_.emplace();
    connect_parser_->skip(true);  // behind a 200 comes what the server sends
    http::async_read_header(
        beast::get_lowest_layer(stream_), buffer_, *connect_parser_,
        [self = shared_from_this()](ErrorCode error, auto) {
          if (self->closed_ || self->failed("no response of the proxy " + self->access_.proxy->host, error)) {
            return;
          }
          const auto& head = self->connect_parser_->get();
          if (head.result_int() / 100 != 2) {
            self->fail("the proxy " + self->access_.proxy->host + " refuses: HTTP " +
                       std::to_string(head.result_int()) + " " + std::string(head.reason().substr(0, 100)));
          } else if (self->buffer_.size() != 0) {
            self->fail("the proxy " + self->access_.proxy->host + " sent something of its own");
          } else {
            self->handshake();
          }
        });
  }

  void handshake() {
    stream_.async_handshake(asio::ssl::stream_base::client, [self = shared_from_this()](ErrorCode error) {
      const long verify_result = SSL_get_verify_result(self->stream_.native_handle());
      if (!self->closed_ && error && verify_result != X509_V_OK && !self->access_.insecure) {
        self->fail(std::string("the server's certificate is rejected: ") +
                   X509_verify_cert_error_string(verify_result));
      } else if (!self->closed_ && !self->failed("the TLS handshake failed", error)) {
        self->connected_ = true;
        self->last_good_->endpoint = self->endpoint_;
        self->write();
      }
    });
  }

  void write() {
    reusable_ = false;
    beast::get_lowest_layer(stream_).expires_after(times_.response);
    http::async_write(stream_, request_, [self = shared_from_this()](ErrorCode error, std::size_t) {
      if (!self->closed_ && !self->retried(error) && !self->failed("the request could not be sent", error)) {
        self->read_head();
      }
    });
  }

  void read_head() {
    parser_.emplace();
    parser_->header_limit(kMaxHeadBytes);
    parser_->body_limit(std::numeric_limits<std::uint64_t>::max());
    http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](ErrorCode error, std::size_t) {
      if (self->closed_ || self->retried(error) || self->failed("no response", error)) {
        return;
      }
      self->retry = nullptr;
      const auto& head = self->parser_->get();
      const auto after = head[http::field::retry_after];
      const auto callbacks = self->callbacks_;  // keeps it alive: the callback may release it
      callbacks->head({head.result_int(), read_retry_after({after.data(), after.size()})});
      if (!self->closed_) {
        self->read_body();
      }
    });
  }

  void read_body() {
    if (parser_->is_done()) {
      reusable_ = parser_->keep_alive();
      finish({true, false, {}});
      return;
    }
    auto& body = parser_->get().body();
    body.data = chunk_.data();
    body.size = chunk_.size();
    body.more = true;
    beast::get_lowest_layer(stream_).expires_after(idle_);
    http::async_read_some(stream_, buffer_, *parser_, [self = shared_from_this()](ErrorCode error, std::size_t) {
      if (self->closed_) {
        return;
      }
      if (error == http::error::need_buffer) {
        error = {};
      }
      const std::size_t got = self->chunk_.size() - self->parser_->get().body().size;
      if (got > 0) {
        const auto callbacks = self->callbacks_;  // keeps it alive: the callback may release it
        callbacks->body({self->chunk_.data(), got});
      }
      if (!self->closed_ && !self->failed("the response was cut off", error)) {
        self->read_body();
      }
    });
  }

  bool retried(ErrorCode error) {
    if (!error || error == beast::error::timeout || !retry) {
      return false;
    }
    const auto reconnect = std::exchange(retry, nullptr);
    return reconnect();
  }
  bool failed(const std::string& what, ErrorCode error) {
    if (!error) {
      return false;
    }
    connected_ = false;
    const bool timed_out = error == beast::error::timeout;
    finish({false, timed_out, what + ": " + (timed_out ? std::string("timed out") : error.message())});
    return true;
  }
  void fail(std::string error) {
    connected_ = false;
    finish({false, false, std::move(error)});
  }
  void finish(const ApiOutcome& end) {
    beast::get_lowest_layer(stream_).expires_never();
    if (const auto callbacks = std::exchange(callbacks_, nullptr)) {
      callbacks->end(end);
    }
  }

  asio::io_context& io_;
  const std::shared_ptr<LastGood> last_good_;
  Tcp::endpoint endpoint_;  // connected to
  const ApiAccess& access_;
  const ApiTimes& times_;
  asio::ssl::context tls_;
  std::string tls_error_;
  beast::ssl_stream<beast::tcp_stream> stream_;
  std::optional<HostLookup> lookup_;
  std::shared_ptr<Dial> dial_;
  http::request<http::empty_body> connect_request_;
  std::optional<http::response_parser<http::empty_body>> connect_parser_;
  http::request<http::string_body> request_;
  beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::buffer_body>> parser_;
  std::array<char, kChunkBytes> chunk_{};
  std::shared_ptr<const ApiCallbacks> callbacks_;
  std::chrono::milliseconds idle_{0};
  bool connected_ = false, reusable_ = false, closed_ = false;
};

ApiConnection::ApiConnection(asio::io_context& io, const ApiAccess& access, const ApiTimes& times)
    : io_(io), access_(access), times_(times), last_good_(std::make_shared<LastGood>()) {}

ApiConnection::~ApiConnection() { close(); }

void ApiConnection::open(const std::shared_ptr<const ApiIdentity>& identity) {
  close();
  session_ = std::make_shared<Session>(io_, access_, times_, *identity, last_good_);
  identity_version_ = identity->version;
  ++connects_;
}

void ApiConnection::send(const std::shared_ptr<const ApiIdentity>& identity, ApiRequest request,
                         ApiCallbacks callbacks) {
  if (session_ && session_->reusable() && identity_version_ == identity->version) {
    session_->retry = [this, identity, request, callbacks] {
      open(identity);
      session_->start(identity, request, callbacks);
      return true;
    };
  } else {
    open(identity);
  }
  session_->start(identity, request, std::move(callbacks));
}

std::string ApiConnection::address() const {
  const auto address = last_good_->endpoint.address();
  return address.is_unspecified() ? std::string() : address.to_string();
}

void ApiConnection::set_idle(std::chrono::milliseconds idle) {
  if (session_) {
    session_->set_idle(idle);
  }
}

void ApiConnection::close() {
  if (session_) {
    session_->retry = nullptr;
    session_->close();
    session_.reset();
  }
}

}  // namespace isthmus
