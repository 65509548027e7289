// One HTTPS/1.1 connection to an API server, made when it is needed and used again while it can be: one request at a
// time, its answer handed over as it comes. Thread: the io_context's only. Nothing throws; every failure, bad keys and
// certificates included, comes as the end of the exchange with a text.
//
// The server's certificate must stand under the given authorities and name the host (or tls-server-name), TLS 1.2 or
// later. A connection that was used before and fails before its answer begins is made anew once, unnoticed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/times.h"

namespace boost::asio {
class io_context;
}

namespace isthmus {

// Who we are for one request: texts, not files. Another `version` needs a new connection.
struct ApiIdentity {
  std::string authorization;  // the header's value; empty: none
  std::string ca, certificate, key;
  std::uint64_t version = 0;
};

struct ApiRequest {
  std::string target;  // path and query, without the path of the server's url
  std::chrono::milliseconds idle{60'000};
};

struct ApiHead {
  unsigned status = 0;
  std::optional<std::chrono::seconds> retry_after;
};

struct ApiEnd {
  bool complete = false;   // the answer came whole
  bool timed_out = false;  // nothing came for the request's idle time
  std::string error;       // when not complete
};

struct ApiCallbacks {
  std::function<void(const ApiHead&)> head;
  std::function<void(std::string_view)> body;
  std::function<void(const ApiEnd&)> end;  // once, last; may begin the next request
};

class ApiConnection {
 public:
  ApiConnection(boost::asio::io_context& io, const ApiAccess& access, const ApiTimes& times);
  ~ApiConnection();
  ApiConnection(const ApiConnection&) = delete;
  ApiConnection& operator=(const ApiConnection&) = delete;

  // Precondition: no exchange is under way. No callback is made before this returns.
  void get(const std::shared_ptr<const ApiIdentity>& identity, ApiRequest request, ApiCallbacks callbacks);
  // Of the exchange under way, from its next piece on.
  void set_idle(std::chrono::milliseconds idle);
  // Ends an exchange without another callback.
  void close();
  // Connections made since start.
  [[nodiscard]] std::uint64_t connects() const noexcept { return connects_; }

 private:
  class Session;
  void open(const std::shared_ptr<const ApiIdentity>& identity);

  boost::asio::io_context& io_;
  const ApiAccess& access_;
  const ApiTimes& times_;
  std::shared_ptr<Session> session_;
  std::uint64_t identity_version_ = 0, connects_ = 0;
};

}  // namespace isthmus
