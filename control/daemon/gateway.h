// The control side of one gateway: signals, hubs, admin socket, and the active gateway once the hubs have our own
// Cluster and Gateway objects. Owner: run(). Thread: control only; what needs the model is done in turns, so that the
// loop answers while the compiler works.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/admin/replies.h"
#include "control/admin/server.h"
#include "control/daemon/active_gateway.h"
#include "control/daemon/answers.h"
#include "control/daemon/checks.h"
#include "control/daemon/earlier_answers.h"
#include "control/daemon/front.h"
#include "control/daemon/hubs.h"
#include "control/daemon/polling.h"
#include "control/daemon/problem_list.h"
#include "control/daemon/publish_pace.h"
#include "control/daemon/service_manager.h"
#include "control/handover/port.h"
#include "control/handover/predecessor.h"
#include "control/loop/event_loop.h"
#include "control/loop/turns.h"
#include "control/model/model.h"
#include "control/observe/http_server.h"

namespace isthmus {

class Gateway {
 public:
  // `front`: ends when this gateway outlives its process's end.
  Gateway(const GatewayConfig& config, Front& front) : config_(config), front_(front) {}
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Returns when a signal stops it, or on an error.
  [[nodiscard]] Status run();

 private:
  [[nodiscard]] Status open_signals();
  [[nodiscard]] Status open_hubs();
  [[nodiscard]] Status open_admin();
  void open_metrics();
  // What two gateways of one name cannot both have: admin socket, port for a successor, metrics.
  void open_servers();
  // gateway_hand_over.cc
  [[nodiscard]] Status find_predecessor();
  [[nodiscard]] std::string hand_over_path() const;
  void open_port();
  [[nodiscard]] bool ready_to_activate() const;
  void stop_predecessor(const std::string& why);
  // Takes what the predecessor has, or its place where that cannot be, and starts the engine.
  [[nodiscard]] Status take_over();
  [[nodiscard]] HandOverPort::Part hand_over_part();
  void retire();
  // By a signal.
  void end();
  void take_signal();
  void read_hubs();
  void take_hubs();
  // Applies the model's changes; activates the gateway once our own objects are there.
  void apply();
  void apply_model();
  void activate();
  // The active gateway has applied them.
  void applied();
  // Whether what this gateway is started with is as it was known before the restart, and not confirmed by a hub.
  [[nodiscard]] bool own_restored() const;
  // Starts it anew where the hub says other parameters than those it was started with without the hub.
  void confirm_own();
  // Those of the admin socket that follow flows.
  void feed_clients();
  void check_log();
  // That the workers poll; feeds the service manager's watchdog while they do, and this loop turns.
  void check_polling();
  [[nodiscard]] bool waited_for_hubs() const;
  [[nodiscard]] AdminAnswer answer(std::string_view line);
  [[nodiscard]] Awaited<HttpPage> page(std::string_view path, std::string_view query);
  // gateway_health.cc
  [[nodiscard]] std::vector<HealthCheck> ready_checks() const;
  // What a restart would cure.
  [[nodiscard]] std::vector<HealthCheck> live_checks() const;
  void set_draining(bool draining);
  // The service manager: one that was told to end would be taken for a word of the process that has its place by now.
  void tell_manager(std::string_view state) const;
  [[nodiscard]] DrainReply drain_reply() const;
  // In words, for `/readyz`, hubs and problems.
  [[nodiscard]] std::string draining_text() const;
  void list_draining();
  void report_to_hubs();
  // An answer that is wanted: in a turn of its own, unless whoever asked for it has gone.
  struct Question {
    std::weak_ptr<void> asked_by;  // expired: nobody
    std::function<PendingAnswer()> begin;
    std::function<void(std::string)> give;  // on the loop
  };
  void ask(Question question);
  void answer_next();
  [[nodiscard]] GatewayParts parts() const;

  const GatewayConfig& config_;
  Front& front_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  EventLoop loop_;
  EventLoop::TimerId apply_timer_ = 0, wait_timer_ = 0, metrics_timer_ = 0, hubs_timer_ = 0, log_timer_ = 0;
  EventLoop::TimerId servers_timer_ = 0, end_timer_ = 0, polling_timer_ = 0;
  Polling polling_;
  const std::optional<std::chrono::microseconds> watchdog_ = watchdog_time();
  std::uint64_t log_lines_lost_ = 0;  // when it was looked at last
  PublishPace pace_;
  int signals_ = -1;
  ProblemList problems_;
  Turns turns_{loop_};  // with the model, and the compiler of active_
  Model model_;
  Hubs hubs_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<HttpServer> metrics_;
  std::unique_ptr<Predecessor> predecessor_;  // null: none, or it has handed over
  std::unique_ptr<HandOverPort> port_;
  bool told_ = false;                      // to end, and awaits a successor
  bool retired_ = false;                   // a successor has everything; this waits to be ended
  std::unique_ptr<ActiveGateway> active_;  // null while our own objects are missing in the hub
  bool serving_ = false;                   // it has applied the model once
  bool from_restored_ = false;             // active_ was started with what no hub had confirmed
  bool take_due_ = false, apply_due_ = false, answer_due_ = false;  // their turn is to come
  std::deque<Question> questions_;
  EventLoop::Clock::time_point retry_restored_;  // after a start with it has failed
  EarlierAnswers earlier_answers_;               // to the active_ before this one
  KnownPeers known_peers_;                       // what the active_ before this one knew, or another process
  bool draining_ = false;
  std::uint64_t changes_ = 0, applying_ = 0, applied_ = 0;  // of the model: how many there were, are, and have been
  EventLoop::Clock::time_point turn_asked_;                 // with take_due_
  std::optional<Error> fatal_;
};

}  // namespace isthmus
