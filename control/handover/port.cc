#include "control/handover/port.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "control/handover/codec.h"

namespace isthmus {
namespace {

int process_of(const HandOverChannel& channel) {
  const auto peer = channel.peer();
  return peer ? peer->process : 0;
}

}  // namespace

Result<std::unique_ptr<HandOverPort>> HandOverPort::listen(EventLoop& loop, const std::string& path, int signals,
                                                           Part part) {
  auto listener = listen_hand_over(path);
  if (!listener) {
    return listener.error();
  }
  std::unique_ptr<HandOverPort> port(new HandOverPort(loop, path, *std::move(listener), signals, std::move(part)));
  if (Status watched = loop.watch(port->listener_.get(), [raw = port.get()] { raw->accept(); }); !watched) {
    return watched.error();
  }
  return port;
}

HandOverPort::HandOverPort(EventLoop& loop, std::string path, UniqueFd listener, int signals, Part part)
    : loop_(loop),
      path_(std::move(path)),
      listener_(std::move(listener)),
      signals_(signals),
      part_(std::move(part)),
      hello_timer_(loop.add_timer([this] {
        if (successor_ != nullptr && !greeted_) {
          drop();
        }
      })) {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }
}

HandOverPort::~HandOverPort() {
  drop();
  close();
  loop_.cancel_timer(hello_timer_);
}

void HandOverPort::close() {
  if (!listener_.valid()) {
    return;
  }
  loop_.unwatch(listener_.get());
  listener_.reset();
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

void HandOverPort::drop() {
  if (successor_ != nullptr) {
    loop_.unwatch(successor_->fd());
    successor_.reset();
    if (std::exchange(greeted_, false)) {
      spdlog::warn("the gateway that was to take over has gone: this one goes on");
      part_.abandoned();
    }
  }
}

// One that has not said what it wants gives way to the next.
void HandOverPort::accept() {
  UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.valid()) {
    return;
  }
  auto channel = std::make_shared<HandOverChannel>(std::move(socket));
  const auto peer = channel->peer();
  if (!peer || peer->user != ::geteuid()) {
    spdlog::warn("user {} asks for a hand-over, which is for user {} alone: refused", peer ? peer->user : 0,
                 ::geteuid());
    return;
  }
  if (greeted_) {
    static_cast<void>(channel->send(HandOverKind::kRefused,
                                    "process " + std::to_string(process_of(*successor_)) + " is taking over"));
    return;
  }
  drop();
  if (loop_.watch(channel->fd(), [this] { answer(); })) {
    successor_ = std::move(channel);
    loop_.set_timer(hello_timer_, EventLoop::Clock::now() + kHello);
  }
}

void HandOverPort::answer() {
  const auto message = successor_->receive(HandOverChannel::Clock::now());
  if (!message) {
    if (successor_->closed()) {
      drop();
    }
    return;
  }
  if (message->kind == HandOverKind::kHello && !greeted_) {
    greet(*message);
  } else if (message->kind == HandOverKind::kGive && greeted_) {
    hand_over(message->text == "dropped");
  } else if (message->kind == HandOverKind::kStop && greeted_) {
    spdlog::info("process {} takes over and needs the devices: this gateway ends its service", process_of(*successor_));
    retire();
  } else {
    spdlog::warn("process {} sends what is no part of a hand-over: refused", process_of(*successor_));
    drop();
  }
}

void HandOverPort::greet(const HandOverMessage& hello) {
  const Fit fit = part_.compare(hello.text);
  if (fit.kind == HandOverKind::kRefused) {
    spdlog::warn("process {} asks for a hand-over: refused: {}", process_of(*successor_), fit.why);
    static_cast<void>(successor_->send(fit.kind, fit.why));
    drop();
    return;
  }
  spdlog::info("process {} is about to take over{}", process_of(*successor_),
               fit.kind == HandOverKind::kWelcome ? "" : ", after a stop: " + fit.why);
  greeted_ = true;
  part_.prepare([this, fit, weak = std::weak_ptr(successor_)] {
    if (const auto successor = weak.lock()) {
      static_cast<void>(successor->send(fit.kind, fit.kind == HandOverKind::kWelcome ? part_.peers() : fit.why));
    }
  });
}

void HandOverPort::hand_over(bool dropped) {
  Status sent = Ok{};
  {
    const auto handed = part_.hand_over(dropped);  // its descriptors are not to outlive the engine
    if (!handed) {
      static_cast<void>(successor_->send(HandOverKind::kBusy, handed.error().what));
      return;
    }
    sent = send_engine(*successor_, *handed);
  }
  auto next = sent ? successor_->receive(HandOverChannel::Clock::now() + kAnswer) : std::nullopt;
  if (!next && !successor_->closed()) {
    next = successor_->last();  // its answer came just now, or it cannot come any more
    if (!next) {
      static_cast<void>(successor_->send(HandOverKind::kLate));
    }
  }
  if (next && next->kind == HandOverKind::kTaken) {
    await_serving();
  } else if (next && next->kind == HandOverKind::kStop) {
    retire();
  } else {
    spdlog::warn("what was handed over was not taken{}", sent ? "" : ": " + sent.error().text());
    part_.resume();
    drop();
  }
}

void HandOverPort::await_serving() {
  const auto next = successor_->receive(std::nullopt, signals_);
  if (next && next->kind == HandOverKind::kServing) {
    retire();
  } else if (successor_->closed()) {
    spdlog::error("the gateway that took over died before it served: this one starts anew");
    drop();
    part_.lost();
  }
}

void HandOverPort::retire() {
  const auto successor = successor_;
  loop_.unwatch(successor->fd());
  successor_.reset();
  greeted_ = false;
  close();
  const std::string peers = part_.peers();
  part_.retire();
  spdlog::info("handed over to process {}", process_of(*successor));
  static_cast<void>(successor->send(HandOverKind::kGone, peers));
}

}  // namespace isthmus
