// Gateway: its part in a planned restart, as the one that takes over and as the one that is taken over from.
#include <spdlog/spdlog.h>

#include "control/daemon/gateway.h"
#include "control/daemon/hand_over_fit.h"
#include "control/health/known_peers.h"

namespace isthmus {
namespace {

constexpr auto kServersRetry = std::chrono::seconds(1);
// While another gateway forwards, what was known before the restart need not do; but not for ever.
constexpr auto kHubsWait = std::chrono::seconds(5);

}  // namespace

std::string Gateway::hand_over_path() const { return config_.admin_socket + ".next"; }

Status Gateway::find_predecessor() {
  auto found = Predecessor::find(hand_over_path(), hand_over_hello(config_));
  if (!found) {
    return found.error();
  }
  predecessor_ = *std::move(found);
  if (predecessor_ != nullptr) {
    spdlog::info("this gateway runs already, as process {}: {}", predecessor_->process(),
                 predecessor_->different().empty()
                     ? "taking over from it once the tables are made"
                     : "it is stopped once the hubs are read, since " + predecessor_->different());
  }
  return Ok{};
}

void Gateway::open_port() {
  auto port = HandOverPort::listen(loop_, hand_over_path(), signals_, hand_over_part());
  problems_.set_status("hand-over", port ? Status(Ok{}) : Status(port.error()));
  if (port) {
    port_ = *std::move(port);
  }
}

// The gateway forwards without them; who has the names may let them go.
void Gateway::open_servers() {
  if (admin_ == nullptr) {
    const Status opened = open_admin();
    problems_.set_status("admin", opened);
  }
  if (port_ == nullptr) {
    open_port();
  }
  open_metrics();
  if (admin_ == nullptr || port_ == nullptr) {
    loop_.set_timer(servers_timer_, EventLoop::Clock::now() + kServersRetry);
  }
}

bool Gateway::ready_to_activate() const {
  if (retired_) {
    return false;
  }
  const bool restored = !hubs_.restored().empty() &&
                        (predecessor_ == nullptr || std::chrono::steady_clock::now() - started_ >= kHubsWait);
  return hubs_.synced() || waited_for_hubs() || restored;
}

void Gateway::stop_predecessor(const std::string& why) {
  spdlog::warn("the gateway that runs, process {}, is stopped before this one starts: {}", predecessor_->process(),
               why);
  predecessor_->stop();
  known_peers_ = parse_known_peers(predecessor_->peers());
  predecessor_.reset();
  if (active_ != nullptr) {
    active_->remember(known_peers_);
  }
  open_servers();
}

Status Gateway::take_over() {
  Engine& engine = *active_->node().engine;
  auto handed = predecessor_->take();
  Status adopted = handed ? engine.adopt(*std::move(handed)) : Status(handed.error());
  if (adopted) {
    if (Status taken = predecessor_->taken(); !taken) {
      return taken;
    }
  } else {
    stop_predecessor(adopted.error().text());
  }
  if (Status started = engine.start(); !started) {
    return started;
  }
  if (predecessor_ != nullptr) {
    predecessor_->serving();
    active_->remember(parse_known_peers(predecessor_->peers()));
    spdlog::info("taken over from process {}", predecessor_->process());
    predecessor_.reset();
    open_servers();
  }
  return Ok{};
}

HandOverPort::Part Gateway::hand_over_part() {
  HandOverPort::Part part;
  part.compare = [this](const std::string& hello) {
    HandOverPort::Fit fit = hand_over_fit(hand_over_hello(config_), hello);
    if (fit.kind == HandOverKind::kWelcome && !serving_) {
      fit = {HandOverKind::kDifferent, "it does not serve yet"};
    }
    return fit;
  };
  part.prepare = [this](std::function<void()> then) { hubs_.release(std::move(then)); };
  part.abandoned = [this] { hubs_.regain(); };
  part.hand_over = [this](bool dropped) -> Result<HandedEngine> {
    if (!serving_) {
      return Error{"the gateway that runs is starting anew", "hand-over"};
    }
    return active_->node().engine->hand_over(dropped);
  };
  part.resume = [this] {
    if (const Status resumed = active_->node().engine->resume(); !resumed) {
      problems_.set_one("workers", resumed.error());
    }
  };
  part.peers = [this] {
    return known_peers_text(active_ != nullptr ? active_->known_peers() : known_peers_, HandOverChannel::kMaxText);
  };
  part.retire = [this] { retire(); };
  part.lost = [this] {
    known_peers_ = active_->known_peers();
    active_.reset();
    serving_ = false;
    turns_.take([this] {
      if (active_ == nullptr) {
        activate();
      }
    });
  };
  return part;
}

void Gateway::end() {
  if (config_.handover_wait_ms == 0 || told_ || retired_ || !serving_) {
    loop_.stop();
    return;
  }
  told_ = true;
  spdlog::info("forwarding on for {} ms, or until a successor takes over", config_.handover_wait_ms);
  const std::chrono::milliseconds time(config_.handover_wait_ms);
  loop_.set_timer(end_timer_, EventLoop::Clock::now() + time);
  front_.goes_on(time);
}

// It stays until it is ended, if it was not told to end before: whoever keeps it running would start it anew, and take
// everything back.
void Gateway::retire() {
  retired_ = true;
  for (const auto timer : {apply_timer_, wait_timer_, metrics_timer_, hubs_timer_, servers_timer_}) {
    loop_.cancel_timer(timer);
  }
  questions_.clear();
  admin_.reset();
  metrics_.reset();
  active_.reset();
  turns_.wait();
  hubs_.close();
  serving_ = false;
  if (told_) {
    loop_.stop();
  } else {
    tell_manager("STATUS=another process serves; waiting to be ended");
  }
}

}  // namespace isthmus
