#include "control/handover/predecessor.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "control/handover/codec.h"
#include "control/handover/port.h"

namespace isthmus {
namespace {

using Clock = HandOverChannel::Clock;

// It writes what it keeps to the disk first.
constexpr auto kWelcome = std::chrono::seconds(20);
constexpr auto kState = std::chrono::seconds(10);
constexpr auto kGone = std::chrono::seconds(20);
// Frames wait a second for a neighbour at most.
constexpr auto kBusy = std::chrono::milliseconds(1500);
constexpr useconds_t kBusyPause = 20'000;
constexpr int kEndChecks = 100;

}  // namespace

Result<std::unique_ptr<Predecessor>> Predecessor::find(const std::string& path, const std::string& hello) {
  auto socket = connect_hand_over(path);
  if (!socket) {
    return std::unique_ptr<Predecessor>();
  }
  HandOverChannel channel(*std::move(socket));
  const auto peer = channel.peer();
  if (!peer || peer->user != ::geteuid()) {
    return Error{"the socket of the gateway that runs belongs to another user", path, "remove it"};
  }
  static_cast<void>(channel.send(HandOverKind::kHello, hello));  // refused, it has an answer without it
  const auto answer = channel.receive(Clock::now() + kWelcome);
  if (!answer && channel.closed()) {
    Predecessor(std::move(channel), peer->process).await_end();
    return std::unique_ptr<Predecessor>();
  }
  if (!answer || (answer->kind != HandOverKind::kWelcome && answer->kind != HandOverKind::kDifferent)) {
    return Error{"another gateway runs, and does not hand over: " + (answer ? answer->text : "it does not answer"),
                 path, "stop process " + std::to_string(peer->process) + ", or give this gateway another name"};
  }
  std::unique_ptr<Predecessor> found(new Predecessor(std::move(channel), peer->process));
  (answer->kind == HandOverKind::kDifferent ? found->different_ : found->peers_) = answer->text;
  return found;
}

Result<HandedEngine> Predecessor::take() {
  std::string why = "it does not answer";
  for (const auto until = Clock::now() + kBusy;; ::usleep(kBusyPause)) {
    const bool last = Clock::now() >= until;
    auto answer = channel_.send(HandOverKind::kGive, last ? "dropped" : "") ? channel_.receive(Clock::now() + kState)
                                                                            : std::nullopt;
    if (answer && answer->kind == HandOverKind::kState) {
      return receive_engine(channel_, *std::move(answer), Clock::now() + HandOverPort::kAnswer);
    }
    why = answer ? answer->text : channel_.closed() ? "it has gone" : why;
    if (last || !answer || answer->kind != HandOverKind::kBusy) {
      return Error{"process " + std::to_string(process_) + " hands nothing over: " + why, "hand-over"};
    }
  }
}

Status Predecessor::taken() {
  if (channel_.send(HandOverKind::kTaken)) {
    return Ok{};
  }
  const auto answer = channel_.receive(Clock::now() + kState);
  if (answer && answer->kind == HandOverKind::kLate) {
    return Error{"process " + std::to_string(process_) + " did not wait for this gateway, and goes on", "hand-over",
                 "start this gateway again, when the machine is less busy"};
  }
  return Ok{};  // it has died meanwhile: all of it is ours
}

void Predecessor::serving() {
  static_cast<void>(channel_.send(HandOverKind::kServing));
  await_gone();
}

void Predecessor::stop() {
  static_cast<void>(channel_.send(HandOverKind::kStop));
  await_gone();
}

void Predecessor::await_gone() {
  const auto answer = channel_.receive(Clock::now() + kGone);
  if (answer && answer->kind == HandOverKind::kGone && !answer->text.empty()) {
    peers_ = answer->text;
  } else if (!answer && channel_.closed()) {
    await_end();
  }
}

void Predecessor::await_end() const {
  for (int left = kEndChecks; left > 0 && process_ > 0 && ::kill(process_, 0) == 0; --left) {
    ::usleep(kBusyPause);
  }
}

}  // namespace isthmus
