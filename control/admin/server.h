// The admin socket: a Unix stream socket on which a client sends one request per line and gets one line back.
//
// Owner and thread: control only. Nothing here blocks: clients have non-blocking sockets and buffers of their own, a
// client that does not read its reply is not read from either, and one that sends no end of line is dropped at the
// request cap. The bound on memory is max_clients * (max_request + max_reply).
// Who may connect is the file's mode, 0660, root and one group. What the lines mean is request.h's and replies.h's
// business.
// Failure: listen() says what is wrong and the remedy; afterwards only single clients are lost, never the server.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

struct AdminOptions {
  std::string path;                                 // of the socket; its folder is made when missing
  std::string group = "root";                       // the one group beside root that may connect
  std::size_t max_clients = 16;                     // one more pushes out the one that has been silent for longest
  std::size_t max_request = std::size_t{64} << 10;  // bytes of one line
  std::size_t max_reply = std::size_t{16} << 20;    // bytes of one reply
};

class AdminServer {
 public:
  // One request line in, one reply line out, both without the line's end. Must not throw.
  using Handler = std::function<std::string(std::string_view request)>;

  // Replaces the socket file of a dead process; refuses that of a living one.
  [[nodiscard]] static Result<std::unique_ptr<AdminServer>> listen(const AdminOptions& options, Handler handler);
  // Removes the socket file if it is still ours.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // Readable (level-triggered) when poll() has work.
  [[nodiscard]] int fd() const noexcept { return epoll_; }
  // Accepts, reads, answers and writes as far as that goes without waiting.
  void poll();
  [[nodiscard]] std::size_t clients() const noexcept { return clients_.size(); }

 private:
  struct Client {
    std::string in, out;
    std::size_t sent = 0;           // bytes of `out` already written
    bool ended = false;             // the client will send nothing more
    std::uint64_t last_active = 0;  // turn_ of its last event
  };

  AdminServer(AdminOptions options, Handler handler) : options_(std::move(options)), handler_(std::move(handler)) {}
  [[nodiscard]] Status open();
  void accept_clients();
  void push_out_oldest();
  // False: the client is done or broken and must go.
  [[nodiscard]] bool serve(int fd, Client& client);
  [[nodiscard]] bool read_some(int fd, Client& client) const;
  [[nodiscard]] bool write_some(int fd, Client& client) const;
  // Answers the next whole line of `in`, if there is one.
  void answer_next(Client& client) const;
  void watch(int fd, const Client& client) const;
  void drop(int fd);

  AdminOptions options_;
  Handler handler_;
  int listener_ = -1;
  int epoll_ = -1;
  std::uint64_t device_ = 0, inode_ = 0;  // of the socket file we made
  std::uint64_t turn_ = 0;
  std::map<int, Client> clients_;
};

}  // namespace isthmus
