// Where a gateway that runs awaits its successor: a Unix socket beside the admin socket, for this user alone.
//
// One successor at a time. Until it has taken what was handed over, the gateway goes on whatever becomes of it: it is
// closed, asks for nothing, or asks in another language. Owner: Gateway. Thread: control; while the workers stand, the
// loop waits for the successor's answer, no longer than kAnswer. Failure: listen() returns it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "control/handover/channel.h"
#include "control/loop/event_loop.h"

namespace isthmus {

class HandOverPort {
 public:
  // Below the usual age at which a steer program gives up an engine: the workers run on before packets are dropped.
  static constexpr std::chrono::milliseconds kAnswer{500};
  static constexpr std::chrono::seconds kHello{5};

  // What a successor with other parameters gets: kWelcome, kDifferent or kRefused, and why.
  struct Fit {
    HandOverKind kind = HandOverKind::kWelcome;
    std::string why;
  };
  // The gateway's part.
  struct Part {
    std::function<Fit(const std::string& hello)> compare;
    // Frees what two processes cannot have at once and the workers do not need; `then` is called on the loop. And back.
    std::function<void(std::function<void()> then)> prepare;
    std::function<void()> abandoned;
    // See Engine. The workers stand after it, or it is an error.
    std::function<Result<HandedEngine>(bool dropped)> hand_over;
    std::function<void()> resume;
    // What it knows of its peers, for the successor (control/health/known_peers.h).
    std::function<std::string()> peers;
    // Ends the service: nothing is in use after it. The port is closed then.
    std::function<void()> retire;
    // The successor has taken everything and has died before it served.
    std::function<void()> lost;
  };

  // `signals`: while it waits for a successor to serve, that descriptor ends the wait.
  [[nodiscard]] static Result<std::unique_ptr<HandOverPort>> listen(EventLoop& loop, const std::string& path,
                                                                    int signals, Part part);
  ~HandOverPort();
  HandOverPort(const HandOverPort&) = delete;
  HandOverPort& operator=(const HandOverPort&) = delete;

 private:
  HandOverPort(EventLoop& loop, std::string path, UniqueFd listener, int signals, Part part);
  void accept();
  void answer();
  void greet(const HandOverMessage& hello);
  void hand_over(bool dropped);
  void await_serving();
  void retire();
  void drop();   // the connection
  void close();  // the port

  EventLoop& loop_;
  std::string path_;
  UniqueFd listener_;
  std::uint64_t device_ = 0, inode_ = 0;  // of the socket's name
  int signals_;
  Part part_;
  EventLoop::TimerId hello_timer_ = 0;
  std::shared_ptr<HandOverChannel> successor_;  // null: none
  bool greeted_ = false;                        // it has said hello and is welcome
};

}  // namespace isthmus
