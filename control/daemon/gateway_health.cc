// Gateway: what it says of its health, to probes and to hubs, and draining.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "control/daemon/checks.h"
#include "control/daemon/gateway.h"
#include "control/daemon/gateway_report.h"
#include "control/daemon/service_manager.h"

namespace isthmus {
namespace {

// A turn of model and compiler that takes longer will not end: the first tables of a million endpoints take half a
// minute.
constexpr auto kLongestTurn = std::chrono::minutes(5);

constexpr const char* kDraining = "it is drained: its peers send elsewhere, and what still comes is forwarded";
constexpr const char* kDrainingAlone =
    "it is drained, and its cluster has no other gateway: peers go on sending here, but for new connections to "
    "services that have backends elsewhere";
constexpr std::size_t kMostNames = 5;

std::string names_text(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMostNames); ++i) {
    text.append(i == 0 ? "" : ", ").append(names[i]);
  }
  return names.size() > kMostNames ? text + " and " + std::to_string(names.size() - kMostNames) + " more" : text;
}

}  // namespace

std::vector<HealthCheck> Gateway::ready_checks() const {
  std::vector<HealthCheck> checks{{"hubs", ""}, {"own-objects", ""}, {"tables", ""}, {"draining", ""}};
  if (!serving_ && !ready_to_activate()) {
    checks[0].failed = "the hubs have not said all that they have yet; isthmus status --hub shows which";
  }
  if (active_ == nullptr) {
    checks[1].failed = problems_.first("own objects").value_or("they have not been looked for yet");
  }
  if (!serving_) {
    checks[2].failed = active_ == nullptr ? "they wait for the above" : "the first ones are being made";
  }
  checks[3].failed = draining_ ? draining_text() : "";
  return checks;
}

// That this is answered shows that the loop turns.
std::vector<HealthCheck> Gateway::live_checks() const {
  const bool stuck = take_due_ && EventLoop::Clock::now() - turn_asked_ > kLongestTurn;
  return {{"loop", ""},
          {"workers", problems_.first("polling").value_or("")},
          {"turns", stuck ? "model and compiler have been at work for more than 5 minutes without an end" : ""}};
}

void Gateway::set_draining(bool draining) {
  if (draining_ == draining) {
    return;
  }
  draining_ = draining;
  spdlog::info(draining ? "draining: peers' probes are answered with it, and all packets that come are forwarded"
                        : "no longer draining");
  if (serving_) {
    active_->node().engine->set_draining(draining_);
    tell_manager(draining_ ? "STATUS=draining" : "STATUS=serving");
  }
  list_draining();
  read_hubs();  // they are told, too
}

void Gateway::tell_manager(std::string_view state) const {
  if (!told_) {
    notify_service_manager(state);
  }
}

DrainReply Gateway::drain_reply() const {
  if (!serving_) {
    return {draining_, std::nullopt, {}, false};
  }
  ActiveGateway::Ways ways = active_->ways_of_peers();
  return {draining_, active_->others(), std::move(ways.here), !ways.elsewhere.empty()};
}

std::string Gateway::draining_text() const {
  const DrainReply reply = drain_reply();
  if (reply.others && reply.others->empty()) {
    return kDrainingAlone;
  }
  if (reply.others && !reply.staying.empty()) {
    return "it is drained, but no other gateway of its cluster serves " + names_text(reply.staying) +
           ": what they send goes on coming here, and is forwarded";
  }
  return kDraining;
}

void Gateway::list_draining() {
  problems_.set_one("drain", draining_ ? std::optional(Error{draining_text(), "isthmus drain",
                                                             "stop the gateway, or let peers send to it again: "
                                                             "isthmus drain --undo"})
                                       : std::nullopt);
}

// In a turn. Nothing is said while changes have not come into force: it would be of what was before them.
void Gateway::report_to_hubs() {
  if (!serving_ || applied_ != changes_) {
    return;
  }
  const std::vector<SourceProblem> refused = hubs_.problems();
  const std::vector<ProblemRow> problems = problems_.rows();
  hubs_.report([&](const ReportableObjects& objects) {
    GatewayReport report =
        report_objects(objects, {config_.name, config_.cluster, model_, active_->compiler(), refused, problems});
    report.ready = !draining_;
    report.ready_reason = draining_ ? "Draining" : "Serving";
    report.ready_message = draining_ ? draining_text() : "packets of the fleet are forwarded";
    report.version = ISTHMUS_VERSION;
    report.workers = config_.cores.empty() ? config_.workers : config_.cores.size();
    report.problems = problems.size();
    return report;
  });
}

}  // namespace isthmus
