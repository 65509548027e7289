// An HTTPS/1.1 connection to an API server, opened on demand and reused where possible. One request at a time; the
// response is delivered as it arrives. Thread: the io_context's only. Nothing throws: every failure, including unusable
// keys and certificates, is reported as the outcome of the request.
//
// TLS 1.2 or later. The server's certificate must be signed by the given authorities and match the host, or
// tls-server-name. A request that fails on a reused connection before its response begins is retried once on a new one.
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

// Credentials for a request: texts, not file names. A different `version` needs a new connection.
struct ApiIdentity {
  std::string authorization;  // the header's value; empty: none
  std::string ca, certificate, key;
  std::uint64_t version = 0;
};

struct ApiRequest {
  std::string target;                      // path and query, relative to the path of the server's URL
  std::chrono::milliseconds idle{60'000};  // timeout between two pieces of the response
  std::string method = "GET", content_type = {}, body = {};
};

struct ApiHead {
  unsigned status = 0;
  std::optional<std::chrono::seconds> retry_after;
};

struct ApiOutcome {
  bool complete = false;   // the whole response was received
  bool timed_out = false;  // nothing was received within the idle timeout
  std::string error;       // if not complete
};

struct ApiCallbacks {
  std::function<void(const ApiHead&)> head;
  std::function<void(std::string_view)> body;
  std::function<void(const ApiOutcome&)> end;  // once, last; may start the next request
};

class ApiConnection {
 public:
  ApiConnection(boost::asio::io_context& io, const ApiAccess& access, const ApiTimes& times);
  ~ApiConnection();
  ApiConnection(const ApiConnection&) = delete;
  ApiConnection& operator=(const ApiConnection&) = delete;

  // Precondition: no request is in progress. No callback is called before this returns. One that fails on a reused
  // connection may reach the server twice: it must be the same to send it once more.
  void send(const std::shared_ptr<const ApiIdentity>& identity, ApiRequest request, ApiCallbacks callbacks);
  // For the request in progress, from the next piece of its response on.
  void set_idle(std::chrono::milliseconds idle);
  // Cancels the request in progress without further callbacks.
  void close();
  // With which TLS was agreed last; empty: none since it failed.
  [[nodiscard]] std::string address() const;
  // Connections opened since start.
  [[nodiscard]] std::uint64_t connects() const noexcept { return connects_; }

 private:
  class Session;
  struct LastGood;
  void open(const std::shared_ptr<const ApiIdentity>& identity);

  boost::asio::io_context& io_;
  const ApiAccess& access_;
  const ApiTimes& times_;
  std::shared_ptr<LastGood> last_good_;  // the address with which TLS was agreed last; none since it failed
  std::shared_ptr<Session> session_;
  std::uint64_t identity_version_ = 0, connects_ = 0;
};

}  // namespace isthmus
