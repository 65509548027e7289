// A server of stream connections on the event loop: what the admin socket and the metrics share. It accepts, reads,
// writes and ends connections; a protocol, one object per connection, makes answers of the bytes.
//
// Owner and thread: control only. Nothing here blocks, and every wait for a client has an end: one that does not read
// its answer is not read from either and is dropped in time, as is one that stops within a request. Memory is bounded
// by clients * (request + the protocol's answer). A feed is asked for more only when the client has taken the last
// lines: what a slow client misses is up to the feed.
//
// Failure: single clients are lost, never the server. Where the process has no file descriptor left, one kept in
// reserve serves clients one at a time; where that is gone too, connections wait in the kernel while the server
// pauses. Both are a problem() as long as they last.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "dataplane/api/types.h"

namespace isthmus {

class EventLoop;

struct StreamLimits {
  std::size_t clients = 16;                         // one more evicts the one that was idle for longest, answered last
  std::size_t request = std::size_t{64} << 10;      // bytes that wait to be understood
  std::chrono::milliseconds request_time{10'000};   // for a request, from its first byte
  std::chrono::milliseconds answer_time{60'000};    // for the client to take an answer
  std::chrono::milliseconds feed_time{600'000};     // for the client to take lines of a feed
  std::chrono::milliseconds idle_time{300'000};     // between requests
  std::chrono::milliseconds accept_pause{100};      // after a connection could not be accepted
  std::chrono::milliseconds shortage_check{1'000};  // whether there are descriptors again
};

// The next bytes, of bounded length; empty: none at present; nullopt: the feed has ended.
using StreamFeed = std::function<std::optional<std::string>()>;

// An answer that is made elsewhere. Whoever makes it sets it on the loop's thread, and calls feed_clients() then.
template <typename T>
using Awaited = std::shared_ptr<const std::optional<T>>;

struct StreamAnswer {
  std::string text;
  StreamFeed feed{};  // what follows `text`; may be empty
  bool last = false;  // the connection ends with it
  bool late = false;  // the feed is this answer, which is not there yet: it counts as one, not as a feed
};

// One that is awaited, as text by `render(value)`.
template <typename T, typename Render>
[[nodiscard]] StreamAnswer awaited_answer(Awaited<T> awaited, Render render, bool last = false) {
  return {
      {},
      [awaited = std::move(awaited), render = std::move(render), over = false]() mutable -> std::optional<std::string> {
        if (over) {
          return std::nullopt;
        }
        over = awaited->has_value();
        return over ? render(**awaited) : std::string();
      },
      last,
      true};
}

// What is spoken on one connection. Must not throw.
class StreamProtocol {
 public:
  virtual ~StreamProtocol() = default;
  // Takes the next request off the front of `in` and answers it; nullopt: there is no whole one yet. `ended`: the
  // client sends no more. May take parts of a request and remember them.
  [[nodiscard]] virtual std::optional<StreamAnswer> next(std::string& in, bool ended) = 0;
  // What a client is told that has not ended its request in time.
  [[nodiscard]] virtual std::string too_slow() const = 0;
};

struct StreamCounts {
  std::uint64_t accepted = 0;
  std::uint64_t evicted = 0;        // for the sake of a new one
  std::uint64_t late = 0;           // dropped at a time limit, idle ones not counted
  std::uint64_t no_descriptor = 0;  // attempts to accept without one left
  std::uint64_t pauses = 0;         // of these and others, after which the server waited
};

class StreamServer {
 public:
  using MakeProtocol = std::function<std::unique_ptr<StreamProtocol>()>;
  using OnProblem = std::function<void(const std::optional<Error>&)>;

  // Takes over `listener`, a listening, non-blocking stream socket. `name` is what problems call it. `on_problem` (may
  // be empty) hears of each change of problem(). Fails when the loop cannot watch the socket. `loop` must outlive the
  // result.
  [[nodiscard]] static Result<std::unique_ptr<StreamServer>> serve(EventLoop& loop, int listener, std::string name,
                                                                   const StreamLimits& limits, MakeProtocol protocol,
                                                                   OnProblem on_problem = {});
  ~StreamServer();
  StreamServer(const StreamServer&) = delete;
  StreamServer& operator=(const StreamServer&) = delete;

  // To be called when feeds have new lines.
  void feed_clients();
  [[nodiscard]] std::size_t clients() const;
  [[nodiscard]] const StreamCounts& counts() const;

 private:
  struct Impl;
  explicit StreamServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace isthmus
