// The admin socket: a Unix stream socket on which a client sends one request per line and gets one line back, or that
// line followed by a feed: more lines as they arise, closed by {"end":true} when it ends.
//
// Owner and thread: control only. Connections and their limits are those of loop/stream_server.h; memory is bounded by
// clients * (request + max_reply). Access is by the file's mode, 0660, root and one group. The content of the lines is
// that of request.h and replies.h.
// Failure: listen() returns an error with its fix; afterwards only single clients are lost, never the server.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "control/admin/request.h"
#include "control/loop/event_loop.h"
#include "control/loop/stream_server.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct AdminOptions {
  std::string path;                        // of the socket; its folder is created when missing
  std::string group = "root";              // the one group beside root that may connect
  std::size_t max_reply = kMaxAdminReply;  // bytes of one reply
  StreamLimits limits{};                   // `request`: bytes of one line
};

// Lines, each with its line end.
using AdminFeed = StreamFeed;

struct AdminAnswer {
  AdminAnswer(std::string text) : line(std::move(text)) {}  // NOLINT(google-explicit-constructor): most are one line
  AdminAnswer(std::string text, AdminFeed more) : line(std::move(text)), feed(std::move(more)) {}
  AdminAnswer(Awaited<std::string> later) : awaited(std::move(later)) {}  // NOLINT(google-explicit-constructor)
  std::string line;                                                       // without the line end
  AdminFeed feed;                                                         // empty: the line is the whole answer
  Awaited<std::string> awaited;                                           // not null: the line is not there yet
};

class AdminServer {
 public:
  // Receives one request line without the line end. Must not throw.
  using Handler = std::function<AdminAnswer(std::string_view request)>;

  // Replaces the socket file of a dead process; fails on that of a living one. `loop` must outlive the result.
  [[nodiscard]] static Result<std::unique_ptr<AdminServer>> listen(EventLoop& loop, const AdminOptions& options,
                                                                   Handler handler,
                                                                   StreamServer::OnProblem on_problem = {});
  // Removes the socket file if it is still ours.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // To be called when feeds have new lines, or an awaited answer is there.
  void feed_clients() { server_->feed_clients(); }
  [[nodiscard]] std::size_t clients() const { return server_->clients(); }
  [[nodiscard]] const StreamCounts& counts() const { return server_->counts(); }

 private:
  explicit AdminServer(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::uint64_t device_ = 0, inode_ = 0;  // of the socket file we created
  std::unique_ptr<StreamServer> server_;  // null while listen() has not succeeded
};

}  // namespace isthmus
