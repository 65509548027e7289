// A small HTTP server for metrics: GET and HEAD of a few pages, on one address. Without authentication: bind it to an
// address that only those can reach who may see everything.
//
// Owner and thread: control only. Nothing here blocks: clients have non-blocking sockets and buffers of their own.
// Failure: listen() returns an error with its fix; afterwards only single clients are lost, never the server.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

struct HttpPage {
  std::string content_type, body;
};

struct HttpOptions {
  IpAddress address;
  L4Port port;                   // 0: any free port, see port()
  std::size_t max_clients = 32;  // one more evicts the one that was idle for longest
};

class HttpServer {
 public:
  // The page at a path ("/metrics"); nullopt: there is none. Must not throw.
  using Handler = std::function<std::optional<HttpPage>(std::string_view path)>;

  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> listen(const HttpOptions& options, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Readable (level-triggered) when poll() has work.
  [[nodiscard]] int fd() const noexcept { return epoll_; }
  // Accepts, reads, answers and writes as far as possible without blocking.
  void poll();
  [[nodiscard]] L4Port port() const noexcept { return port_; }

 private:
  struct Client;

  HttpServer(HttpOptions options, Handler handler);
  [[nodiscard]] Status open();
  void accept_clients();
  // False: the client is done or broken and must be dropped.
  [[nodiscard]] bool serve(int fd, Client& client);
  [[nodiscard]] bool read_some(int fd, Client& client);
  void answer(Client& client);
  void watch(int fd, const Client& client) const;
  void drop(int fd);

  HttpOptions options_;
  Handler handler_;
  L4Port port_;
  int listener_ = -1, epoll_ = -1;
  std::uint64_t turn_ = 0;
  std::map<int, std::unique_ptr<Client>> clients_;
};

}  // namespace isthmus
