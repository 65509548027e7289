// ActiveGateway: how connections to backends of watched services open, and what is logged of backends left out for
// that.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "control/daemon/active_gateway.h"

namespace isthmus {
namespace {

// Outcomes are gathered for so long: a turn for each would cost more than the outcome is worth.
constexpr auto kOpeningsDelay = std::chrono::milliseconds(200);
constexpr std::size_t kMostOpenings = 65536;

}  // namespace

// While all peers are silent at once, the fault is ours and not the backends'; what was asked then is told later.
void ActiveGateway::take_openings(const EngineEvents& events) {
  openings_lost_ = openings_lost_ || events.openings_lost != openings_lost_before_;
  openings_lost_before_ = events.openings_lost;
  const bool isolated = health_->isolated_within(std::chrono::seconds(kSilenceSpan.value()), HealthClock::now());
  for (const OpeningOutcome& opening : events.openings) {
    const bool unheard =
        opening.kind == OpeningOutcome::Kind::kSilent || opening.kind == OpeningOutcome::Kind::kUnreachable;
    if (isolated && unheard) {
      continue;
    }
    if (openings_.size() == kMostOpenings) {
      openings_lost_ = true;
      break;
    }
    openings_.push_back(opening);
  }
  if (!openings_.empty() || openings_lost_) {
    loop_.set_timer_if_idle(openings_timer_, EventLoop::Clock::now() + kOpeningsDelay);
  }
}

void ActiveGateway::log_ejections(const std::vector<EjectionChange>& changes) {
  for (const EjectionChange& change : changes) {
    const std::string backend = change.address.to_string() + " port " + std::to_string(change.port.value()) + " of " +
                                change.cluster + " for service " + change.service.text();
    if (change.ejected) {
      ++ejections_;
      spdlog::warn("backend {} takes no new connections for {} s, it is ejected: {} in a row did not open", backend,
                   change.time.count(), change.failures);
    } else {
      spdlog::info("backend {} takes new connections again", backend);
    }
  }
}

}  // namespace isthmus
