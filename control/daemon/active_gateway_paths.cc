// ActiveGateway: how long packets the underlay carries to each peer.
#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "control/daemon/active_gateway.h"
#include "control/daemon/random_seed.h"

namespace isthmus {

void ActiveGateway::make_path_mtus() {
  const PathMtuOptions options{std::chrono::milliseconds(config_.health_path_mtu_ms), random_seed()};
  path_mtus_ = std::make_unique<PathMtus>(options, [this](const SizedProbe& probe) {
    return node_.engine->send_probe(probe.peer, probe.sequence, false, probe.bytes, probe.way);
  });
}

void ActiveGateway::follow_underlay_mtu() {
  if (published_ && node_.engine->device(node_.underlay).mtu() != underlay_mtu_) {
    underlay_mtu_ = node_.engine->device(node_.underlay).mtu();
    in_turn({[this] {
      update_gateways();  // which peers there are is the compiler's
      take_path_mtus();
    }});
  }
}

void ActiveGateway::take_claims(const std::vector<PathMtuClaim>& claims) {
  const HealthTime now = HealthClock::now();
  for (const PathMtuClaim& claim : claims) {
    spdlog::debug("{} says that the path to peer {} carries {} bytes", claim.router.to_string(), claim.peer.value(),
                  claim.mtu.value());
    path_mtus_->claim(claim, underlay_mtu_, now);
  }
}

void ActiveGateway::tick_path_mtus() {
  path_mtus_->tick(HealthClock::now());
  take_path_mtus();
}

void ActiveGateway::take_path_mtus() {
  if (path_mtus_->take_news()) {
    list_path_problems();
  }
  if (const HealthTime due = path_mtus_->next_due(); due == HealthTime::max()) {
    loop_.cancel_timer(path_mtu_timer_);
  } else {
    loop_.set_timer(path_mtu_timer_, due);
  }
  if (!published_) {
    return;
  }
  TableDelta delta;
  delta.path_mtus = path_mtus_->take_changes();
  if (delta.path_mtus.empty()) {
    return;
  }
  // Of next hops it says nothing: those that are given up wait for the compiler's tables.
  const Status status = node_.engine->publish(delta);
  publish_failed_ = publish_failed_ || !status.ok();
  publishes_ += status.ok() ? 1 : 0;
}

}  // namespace isthmus
