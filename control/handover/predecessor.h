// The gateway of this name that runs already, seen by the one that takes over from it.
//
// Life cycle: find → (prepare everything) → take → taken → serving, or, where that cannot be, stop. Destroyed before
// taken(), it lets the other one go on. Owner: Gateway. Thread: control; what waits, waits for the other process, with
// a limit. Failure: as each says.
#pragma once

#include <memory>
#include <string>

#include "control/handover/channel.h"

namespace isthmus {

class Predecessor {
 public:
  // nullptr: none runs, or one that hands nothing over. An error: one runs that must be left alone. `hello`: our
  // parameters. The last known state is ours when it returns.
  [[nodiscard]] static Result<std::unique_ptr<Predecessor>> find(const std::string& path, const std::string& hello);
  Predecessor(const Predecessor&) = delete;
  Predecessor& operator=(const Predecessor&) = delete;

  [[nodiscard]] int process() const { return process_; }
  // Why it can only be stopped; empty: it hands over.
  [[nodiscard]] const std::string& different() const { return different_; }
  // What it said last of its peers: as it was found, then as it ended (control/health/known_peers.h).
  [[nodiscard]] const std::string& peers() const { return peers_; }

  // What it has; it stands from then on. An error: it has gone, or cannot, and stop() comes next.
  [[nodiscard]] Result<HandedEngine> take();
  // It is ours. An error: it was too late, and the other one goes on.
  [[nodiscard]] Status taken();
  // Returns when the other one uses nothing any more.
  void serving();
  void stop();

 private:
  Predecessor(HandOverChannel channel, int process) : channel_(std::move(channel)), process_(process) {}
  void await_gone();
  // One that has closed the connection is about to end: until it has, it holds what we need.
  void await_end() const;

  HandOverChannel channel_;
  int process_;
  std::string different_, peers_;
};

}  // namespace isthmus
