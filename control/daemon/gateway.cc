#include "control/daemon/gateway.h"

#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "control/admin/request.h"
#include "control/daemon/daemon.h"
#include "control/daemon/log.h"
#include "control/daemon/priority.h"
#include "control/health/known_peers.h"
#include "control/observe/metrics_page.h"

namespace isthmus {
namespace {

// For what changes with time alone: what is restored or held.
constexpr auto kHubsInterval = std::chrono::seconds(1);
constexpr auto kMetricsRetry = std::chrono::seconds(2);
constexpr auto kRestoredRetry = std::chrono::seconds(5);

// How often a person is told that the log is losing lines.
constexpr auto kLogInterval = std::chrono::seconds(5);

// How often the workers are looked at; with a watchdog, three times in its time.
constexpr std::chrono::microseconds kPollingInterval = std::chrono::seconds(5);

constexpr auto kStopping =
    "stopping; local device, routes and XDP programs stay: fleet traffic is dropped until the next start, but for "
    "settled "
    "flows handed down to them, which go on for engine.kernel_flow_hold";
constexpr auto kStoppingWithDpdk =
    "stopping; DPDK lets go of its devices, at which nothing arrives until the next start; all else that keeps fleet "
    "traffic from the node's ordinary routes stays";

sigset_t taken_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ::sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

void hold_signals() {
  const sigset_t set = taken_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Status run(const GatewayConfig& config) {
  Front front;
  if (config.handover_wait_ms > 0) {
    if (Status started = front.start(); !started) {
      return started;
    }
  }
  const Log log(config);
  spdlog::info("isthmus {}, gateway of cluster {}, configuration {}", ISTHMUS_VERSION, config.cluster, config.file);
  raise_priority();
  Gateway gateway(config, front);
  Status status = gateway.run();
  if (!status) {
    spdlog::error("{}", status.error().text());
  }
  return status;
}

Gateway::~Gateway() {
  // The sockets close first, so that no request reaches parts that are being destroyed.
  port_.reset();
  admin_.reset();
  metrics_.reset();
  active_.reset();
  turns_.wait();
  if (signals_ >= 0) {
    ::close(signals_);
  }
}

Status Gateway::run() {
  if (auto opened = loop_.open(); !opened) {
    return opened;
  }
  apply_timer_ = loop_.add_timer([this] { apply(); });
  wait_timer_ = loop_.add_timer([this] { apply(); });
  metrics_timer_ = loop_.add_timer([this] { open_metrics(); });
  hubs_timer_ = loop_.add_timer([this] { read_hubs(); });
  log_timer_ = loop_.add_timer([this] { check_log(); });
  servers_timer_ = loop_.add_timer([this] { open_servers(); });
  end_timer_ = loop_.add_timer([this] { loop_.stop(); });
  polling_timer_ = loop_.add_timer([this] { check_polling(); });
  if (auto opened = open_signals(); !opened) {
    return opened;
  }
  if (auto started = turns_.start(); !started) {
    return started;
  }
  if (auto found = find_predecessor(); !found) {
    return found;
  }
  if (predecessor_ == nullptr) {
    if (auto opened = open_admin(); !opened) {
      return opened;
    }
    open_servers();
  }
  if (auto opened = open_hubs(); !opened) {
    return opened;
  }
  check_log();
  check_polling();
  loop_.run();
  if (fatal_) {
    return *fatal_;
  }
  tell_manager("STOPPING=1");
  if (retired_) {
    return Ok{};
  }
  spdlog::info("{}", config_.uses_dpdk() ? kStoppingWithDpdk : kStopping);
  return Ok{};
}

Status Gateway::open_signals() {
  hold_signals();
  ::signal(SIGPIPE, SIG_IGN);
  const sigset_t set = taken_signals();
  signals_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signals_ < 0) {
    return Error{std::string("cannot receive signals: ") + std::strerror(errno), "signals"};
  }
  return loop_.watch(signals_, [this] { take_signal(); });
}

void Gateway::take_signal() {
  signalfd_siginfo info{};
  while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGHUP && !retired_) {
      spdlog::info("SIGHUP: reloading the hubs");
      hubs_.reload();
      read_hubs();
    } else if (info.ssi_signo != SIGHUP) {
      spdlog::info("signal {}", info.ssi_signo);
      end();
    }
  }
}

Status Gateway::open_admin() {
  AdminOptions options;
  options.path = config_.admin_socket;
  options.group = config_.admin_group;
  auto server = AdminServer::listen(
      loop_, options, [this](std::string_view line) { return answer(line); },
      [this](const std::optional<Error>& problem) { problems_.set_one("admin socket", problem); });
  if (!server) {
    return server.error();
  }
  admin_ = std::move(*server);
  return Ok{};
}

// A gateway forwards without its metrics, too: a failure here is a problem to list, not a reason not to start. Who has
// the port may let it go.
void Gateway::open_metrics() {
  if (!config_.metrics_enabled || metrics_ != nullptr) {
    return;
  }
  auto server = HttpServer::listen(
      loop_, {config_.metrics_address, L4Port{config_.metrics_port}},
      [this](std::string_view path, std::string_view query) { return page(path, query); },
      [this](const std::optional<Error>& problem) { problems_.set_one("metrics socket", problem); });
  if (!server) {
    problems_.set_one("metrics", server.error());
    loop_.set_timer(metrics_timer_, EventLoop::Clock::now() + kMetricsRetry);
    return;
  }
  problems_.set_one("metrics", std::nullopt);
  metrics_ = std::move(*server);
}

Awaited<HttpPage> Gateway::page(std::string_view path, std::string_view query) {
  if (path == "/metrics") {
    const auto page = std::make_shared<std::optional<HttpPage>>();
    ask({page, [this] { return begin_metrics(parts()); },
         [this, weak = std::weak_ptr(page)](std::string text) {
           if (const auto wanted = weak.lock()) {
             *wanted = HttpPage{kMetricsContentType, std::move(text)};
             metrics_->feed_clients();
           }
         }});
    return page;
  }
  if (path == "/livez" || path == "/healthz") {
    return page_of(checks_page(path.substr(1), live_checks(), query));
  }
  if (path == "/readyz") {
    return page_of(checks_page(path.substr(1), ready_checks(), query));
  }
  return nullptr;
}

Status Gateway::open_hubs() {
  if (auto opened = hubs_.open(config_, loop_, model_, [this] { read_hubs(); }); !opened) {
    return opened;
  }
  loop_.set_timer(wait_timer_, EventLoop::Clock::now() + std::chrono::milliseconds(config_.hub_wait_ms));
  read_hubs();
  return Ok{};
}

void Gateway::read_hubs() {
  loop_.set_timer(hubs_timer_, EventLoop::Clock::now() + kHubsInterval);
  if (std::exchange(take_due_, true)) {
    return;
  }
  turn_asked_ = EventLoop::Clock::now();
  turns_.take([this] {
    take_due_ = false;
    hubs_.resume();
    take_hubs();
  });
  if (take_due_) {  // its turn is yet to come
    hubs_.pause();
  }
}

void Gateway::take_hubs() {
  const bool changed = hubs_.take(model_, [this, now = EventLoop::Clock::now()](const std::string& gateway) {
    return (active_ != nullptr && active_->answers(gateway)) || earlier_answers_.has(gateway, now);
  });
  std::vector<Error> problems;
  for (const SourceProblem& problem : hubs_.problems()) {
    problems.push_back({problem.what, problem.provenance.text(), problem.fix});
  }
  problems_.set("hub", problems);
  if (!active_) {  // the first compilation takes the whole model; a change of each object would take as much memory
    static_cast<void>(model_.take_changes());
  }
  changes_ += changed ? 1 : 0;
  if (changed || !active_) {
    loop_.set_timer_if_idle(apply_timer_, pace_.due(EventLoop::Clock::now()));
  }
  list_draining();  // peers may send elsewhere now, or not
  report_to_hubs();
}

void Gateway::apply() {
  if (!std::exchange(apply_due_, true)) {
    turns_.take([this] {
      apply_due_ = false;
      apply_model();
    });
  }
}

void Gateway::apply_model() {
  applying_ = changes_;
  problems_.set("model", model_.problems());
  if (active_ && from_restored_) {
    confirm_own();
  }
  if (active_) {
    active_->apply();
  } else if (ready_to_activate()) {
    activate();
  }
  pace_.published(EventLoop::Clock::now());
}

void Gateway::applied() {
  applied_ = applying_;
  pace_.published(EventLoop::Clock::now());
  if (std::exchange(serving_, true)) {
    return;
  }
  active_->node().engine->set_draining(draining_);
  hubs_.announce(config_, active_->own());
  spdlog::info("serving: {} endpoints, {} services, {} peers", active_->compiler().endpoint_count(),
               active_->compiler().service_count(), active_->compiler().peer_count());
  tell_manager(draining_ ? "READY=1\nSTATUS=draining" : "READY=1\nSTATUS=serving");
}

// One hub that does not answer must not delay the other clusters for long.
bool Gateway::waited_for_hubs() const {
  return std::chrono::steady_clock::now() - started_ >= std::chrono::milliseconds(config_.hub_wait_ms);
}

void Gateway::activate() {
  const auto own = find_own_gateway(model_, config_.cluster, config_.name);
  if (!own) {
    problems_.set_one("own objects", own.error());
    tell_manager("STATUS=waiting for its own objects in the hub");
    return;
  }
  if (predecessor_ != nullptr) {
    known_peers_ = parse_known_peers(predecessor_->peers());
  }
  if (predecessor_ != nullptr && !predecessor_->different().empty()) {
    stop_predecessor(predecessor_->different());
  }
  const bool restored = own_restored();
  if (restored && EventLoop::Clock::now() < retry_restored_) {
    return;
  }
  ActiveGateway::Calls calls{[this] { applied(); }};
  if (predecessor_ != nullptr) {
    calls.take_over = [this] {
      const Status taken = take_over();
      if (!taken) {
        fatal_ = taken.error();
        loop_.stop();
      }
      return taken.ok();
    };
  }
  auto started = ActiveGateway::start(config_, *own, model_, hubs_, problems_, loop_, turns_, std::move(calls));
  if (!started && restored) {  // to end would begin the same again
    retry_restored_ = EventLoop::Clock::now() + kRestoredRetry;
    problems_.set_one("own objects", Error{"with the parameters that were known before the restart this gateway cannot "
                                           "start, and it waits for what the hub says: " +
                                               started.error().what,
                                           started.error().where, started.error().fix});
    tell_manager("STATUS=waiting for its own objects in the hub");
    return;
  }
  if (!started) {
    fatal_ = started.error();
    loop_.stop();
    return;
  }
  problems_.set_one("own objects", std::nullopt);  // not before: one that fails each time would come and go
  active_ = std::move(*started);
  active_->remember(known_peers_);
  from_restored_ = restored;
  tell_manager("STATUS=making its first tables");
  active_->observer().on_flows([this] { feed_clients(); });
}

bool Gateway::own_restored() const {
  bool restored = model_.is_restored({ObjectKind::kCluster, {}, {}, config_.cluster}) ||
                  model_.is_restored({ObjectKind::kGateway, {}, {}, config_.name});
  model_.visit_keys(ObjectKind::kProfile,
                    [&](const ObjectKey& key) { restored = restored || model_.is_restored(key); });
  return restored;
}

void Gateway::confirm_own() {
  const auto own = find_own_gateway(model_, config_.cluster, config_.name);
  if (!own || own_restored()) {
    return;
  }
  from_restored_ = false;
  if (!(*own == active_->own())) {
    spdlog::warn("the hub says other parameters of this gateway than were known before the restart: it starts anew");
    earlier_answers_.set(active_->answering(), EventLoop::Clock::now());
    known_peers_ = active_->known_peers();
    active_.reset();
    serving_ = false;
    feed_clients();  // the flows that they follow have ended
    activate();
  }
}

void Gateway::feed_clients() {
  if (admin_ != nullptr) {
    admin_->feed_clients();
  }
}

void Gateway::check_log() {
  const std::uint64_t lost = log_lines_lost();
  std::optional<Error> problem;
  if (lost != log_lines_lost_) {
    problem = Error{"lines of the log are lost: who reads stderr does not keep up", "log",
                    "see to its reader (journald, the container runtime), or raise log.level"};
  }
  log_lines_lost_ = lost;
  problems_.set_one("log", problem);
  loop_.set_timer(log_timer_, EventLoop::Clock::now() + kLogInterval);
}

void Gateway::check_polling() {
  std::vector<std::size_t> standing;
  if (serving_) {
    standing = polling_.standing(active_->node().engine->polls());
  } else {
    polling_.forget();
  }
  problems_.set_one("polling", polling_problem(standing));
  if (watchdog_ && standing.empty()) {
    tell_manager("WATCHDOG=1");
  }
  loop_.set_timer(polling_timer_, EventLoop::Clock::now() + (watchdog_ ? *watchdog_ / 3 : kPollingInterval));
}

AdminAnswer Gateway::answer(std::string_view line) {
  auto request = parse_request(line);
  if (!request) {
    return encode_error(request.error());
  }
  if (request->command == AdminCommand::kDrain) {
    set_draining(!request->undo);
    return encode_drain(drain_reply());
  }
  // The turns of one that starts come after its first tables, which may take seconds.
  if (!serving_ && (active_ != nullptr || request->command != AdminCommand::kStatus)) {
    return answer_unserved(*request, parts());
  }
  if (request->command == AdminCommand::kFlows) {  // the observer is the loop's
    return answer_flows(request->flows, *active_);
  }
  const auto text = std::make_shared<std::optional<std::string>>();
  ask({text, [this, request = *std::move(request)] { return begin_answer(request, parts()); },
       [this, weak = std::weak_ptr(text)](std::string reply) {
         if (const auto wanted = weak.lock()) {
           *wanted = std::move(reply);
           admin_->feed_clients();
         }
       }});
  return Awaited<std::string>(text);
}

// Those who have gone leave nothing behind: clients are few, but they may come and go while a turn takes seconds.
void Gateway::ask(Question question) {
  std::erase_if(questions_, [](const Question& each) { return each.asked_by.expired(); });
  questions_.push_back(std::move(question));
  answer_next();
}

// One at a time, so that what the hubs say comes before the next.
void Gateway::answer_next() {
  if (questions_.empty() || std::exchange(answer_due_, true)) {
    return;
  }
  struct Answering {
    Question question;
    PendingAnswer answer;
  };
  const auto now = std::make_shared<Answering>();
  turns_.take_last({[this, now] {
                      while (!questions_.empty() && !now->answer.work) {
                        now->question = std::move(questions_.front());
                        questions_.pop_front();
                        if (!now->question.asked_by.expired()) {
                          now->answer = now->question.begin();
                        }
                      }
                    },
                    [now] {
                      if (now->answer.work) {
                        now->answer.work();
                      }
                    },
                    [this, now] {
                      answer_due_ = false;
                      if (now->answer.work) {
                        now->question.give(now->answer.finish());
                      }
                      answer_next();
                    }});
}

GatewayParts Gateway::parts() const {
  GatewayParts parts{config_, model_, hubs_, problems_, active_.get(), serving_, started_, {}};
  if (admin_ != nullptr) {
    parts.servers.push_back({"admin", admin_->counts()});
  }
  if (metrics_ != nullptr) {
    parts.servers.push_back({"metrics", metrics_->counts()});
  }
  return parts;
}

}  // namespace isthmus
