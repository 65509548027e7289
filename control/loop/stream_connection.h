// One connection of a StreamServer. Internal to this folder; included by .cc files only, because it includes
// Boost.Asio. Owner: the server's list, and each operation in progress. Thread: the loop's. After drop() nothing calls
// the owner.
#pragma once

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "control/loop/event_loop.h"
#include "control/loop/stream_server.h"

namespace isthmus {

class StreamConnection;

class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  // The connection has ended by itself.
  virtual void ended(StreamConnection& connection, bool late) = 0;
};

class StreamConnection : public std::enable_shared_from_this<StreamConnection> {
 public:
  using Clock = EventLoop::Clock;
  using Socket = boost::asio::generic::stream_protocol::socket;

  StreamConnection(boost::asio::io_context& io, StreamOwner& owner, const StreamLimits& limits,
                   std::unique_ptr<StreamProtocol> protocol);

  // Takes over `fd`; false: the loop has no room for it, and it is closed.
  [[nodiscard]] bool begin(int fd);
  // Its feed, if it has one, may have new lines.
  void feed();
  void drop();

  // When anything happened last, and when a request came last. A feed may be active without requests.
  [[nodiscard]] Clock::time_point last_active() const { return last_active_; }
  [[nodiscard]] Clock::time_point last_request() const { return last_request_; }
  // An answer is awaited, or under way, that is not a feed's.
  [[nodiscard]] bool answering() const { return awaited_ || (writing_ && !feed_); }

 private:
  // Does what can be done now: answers, feeds, reads on, or ends.
  void step();
  [[nodiscard]] bool take_feed();
  // Waits, for as long as is allowed, for more of a request or for the client's end.
  void await_client();
  void read();
  void received(std::size_t bytes);
  void await_hang_up();
  void write();
  void set_deadline(Clock::time_point due);  // max(): none
  void deadline_passed();
  void end();

  StreamOwner& owner_;
  const StreamLimits limits_;
  Socket socket_;
  boost::asio::steady_timer deadline_;
  std::unique_ptr<StreamProtocol> protocol_;
  std::array<char, 4096> chunk_{};
  std::string in_, out_;
  StreamFeed feed_;
  bool feed_ready_ = false;  // it may have lines
  bool awaited_ = false;     // it is an answer that is made elsewhere
  bool reading_ = false, writing_ = false, awaiting_hang_up_ = false;
  bool ended_ = false;  // the client has closed its sending side
  bool last_ = false;   // ends once `out_` is sent
  bool late_ = false;   // a time limit has passed
  bool closed_ = false;
  std::optional<Clock::time_point> request_began_;  // a part of a request is here
  Clock::time_point last_active_ = Clock::now(), last_request_ = Clock::now();
};

}  // namespace isthmus
