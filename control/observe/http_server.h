// A small HTTP server for metrics and health: GET and HEAD of a few pages, on one address. Without authentication: bind
// it to an address that only those can reach who may see everything.
//
// Owner and thread: control only. Connections and their limits are those of loop/stream_server.h.
// Failure: listen() returns an error with its fix; afterwards only single clients are lost, never the server.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "control/loop/event_loop.h"
#include "control/loop/stream_server.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct HttpPage {
  std::string content_type, body;
  unsigned status = 200;
};

// One that is there at once.
[[nodiscard]] inline Awaited<HttpPage> page_of(HttpPage page) {
  return std::make_shared<const std::optional<HttpPage>>(std::move(page));
}

struct HttpOptions {
  IpAddress address;
  L4Port port;  // 0: any free port, see port()
  StreamLimits limits{32, std::size_t{16} << 10};
};

class HttpServer {
 public:
  // The page at a path ("/metrics"), at once or later; null: there is none. Must not throw. `query`: what follows the
  // question mark.
  using Handler = std::function<Awaited<HttpPage>(std::string_view path, std::string_view query)>;

  // `loop` must outlive the result.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> listen(EventLoop& loop, const HttpOptions& options,
                                                                  Handler handler,
                                                                  StreamServer::OnProblem on_problem = {});

  [[nodiscard]] L4Port port() const noexcept { return port_; }
  // To be called when an awaited page is there.
  void feed_clients() { server_->feed_clients(); }
  [[nodiscard]] std::size_t clients() const { return server_->clients(); }
  [[nodiscard]] const StreamCounts& counts() const { return server_->counts(); }

 private:
  HttpServer(L4Port port, std::unique_ptr<StreamServer> server) : port_(port), server_(std::move(server)) {}

  const L4Port port_;
  const std::unique_ptr<StreamServer> server_;
};

}  // namespace isthmus
