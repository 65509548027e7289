// The admin socket: a Unix stream socket on which a client sends one request per line and gets one line back, or that
// line followed by a feed: more lines as they arise, closed by {"end":true} when it ends.
//
// Owner and thread: control only. Nothing here blocks: clients have non-blocking sockets and buffers of their own, a
// client that does not read its reply is not read from either, and one that sends no line end is dropped at the request
// bound. A feed is asked for more only when the client has taken the last lines: what a slow client misses is up to the
// feed. Memory is bounded by max_clients * (max_request + max_reply).
// Access is by the file's mode, 0660, root and one group. The content of the lines is that of request.h and replies.h.
// Failure: listen() returns an error with its fix; afterwards only single clients are lost, never the server.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "dataplane/api/types.h"

namespace isthmus {

struct AdminOptions {
  std::string path;                                 // of the socket; its folder is created when missing
  std::string group = "root";                       // the one group beside root that may connect
  std::size_t max_clients = 16;                     // one more evicts the one that was idle for longest
  std::size_t max_request = std::size_t{64} << 10;  // bytes of one line
  std::size_t max_reply = std::size_t{16} << 20;    // bytes of one reply
};

// The next lines, each with its line end, of bounded length; empty: none at present; nullopt: the feed has ended.
using AdminFeed = std::function<std::optional<std::string>()>;

struct AdminAnswer {
  AdminAnswer(std::string text) : line(std::move(text)) {}  // NOLINT(google-explicit-constructor): most are one line
  AdminAnswer(std::string text, AdminFeed more) : line(std::move(text)), feed(std::move(more)) {}
  std::string line;  // without the line end
  AdminFeed feed;    // empty: the line is the whole answer
};

class AdminServer {
 public:
  // Receives one request line without the line end. Must not throw.
  using Handler = std::function<AdminAnswer(std::string_view request)>;

  // Replaces the socket file of a dead process; fails on that of a living one.
  [[nodiscard]] static Result<std::unique_ptr<AdminServer>> listen(const AdminOptions& options, Handler handler);
  // Removes the socket file if it is still ours.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // Readable (level-triggered) when poll() has work.
  [[nodiscard]] int fd() const noexcept { return epoll_; }
  // Accepts, reads, answers and writes as far as possible without blocking.
  void poll();
  // To be called when feeds have new lines.
  void feed_clients();
  [[nodiscard]] std::size_t clients() const noexcept { return clients_.size(); }

 private:
  struct Client {
    std::string in, out;
    std::size_t sent = 0;           // bytes of `out` already written
    AdminFeed feed;                 // what follows `out`
    bool feed_ready = false;        // it may have lines
    bool ended = false;             // the client has closed its sending side
    std::uint64_t last_active = 0;  // turn_ of its last event
  };

  AdminServer(AdminOptions options, Handler handler) : options_(std::move(options)), handler_(std::move(handler)) {}
  [[nodiscard]] Status open();
  void accept_clients();
  void evict_idlest();
  // False: the client is done or broken and must be dropped.
  [[nodiscard]] bool serve(int fd, Client& client);
  [[nodiscard]] bool read_some(int fd, Client& client) const;
  [[nodiscard]] bool write_some(int fd, Client& client) const;
  // Answers the next whole line of `in`, if there is one.
  void answer_next(Client& client) const;
  void take_feed(Client& client) const;
  void watch(int fd, const Client& client) const;
  void drop(int fd);

  AdminOptions options_;
  Handler handler_;
  int listener_ = -1;
  int epoll_ = -1;
  std::uint64_t device_ = 0, inode_ = 0;  // of the socket file we created
  std::uint64_t turn_ = 0;
  std::map<int, Client> clients_;
};

}  // namespace isthmus
