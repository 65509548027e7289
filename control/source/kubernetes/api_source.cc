#include "control/source/kubernetes/api_source.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>
#include <thread>

#include "control/source/kubernetes/api_writer.h"
#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/reflector.h"

namespace isthmus {
namespace {

constexpr auto kTick = std::chrono::seconds(1);  // for what changes with time alone
// Collecting problems visits every object, so a stream of events must not trigger it each time.
constexpr auto kProblemsInterval = std::chrono::milliseconds(100);
// A server that has said nothing for this long is a problem to list.
constexpr auto kSilence = std::chrono::seconds(5);

}  // namespace

// The thread and its state. Members below the "Shared" comment are guarded by mutex_; the others belong to the thread.
class ApiSource::Loop final : public ReflectorSink {
 public:
  Loop(ApiAccess access, const ApiServerOptions& options, std::unique_ptr<ApiObjects> objects)
      : access_(std::move(access)),
        times_(options.times),
        objects_(std::move(objects)),
        credentials_(io_, access_, times_),
        tick_(io_),
        listed_(objects_->resources().size(), false),
        known_(objects_->resources().size(), Known::kNo),
        http_status_(objects_->resources().size(), 0),
        stale_(objects_->resources().size(), false),
        event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    const auto& resources = objects_->resources();
    for (std::size_t i = 0; i < resources.size(); ++i) {
      reflectors_.push_back(std::make_unique<Reflector>(io_, access_, credentials_, times_, resources[i], i,
                                                        options.streaming_lists, *this));
    }
    if (ObjectReports* reports = objects_->reports()) {
      writer_.emplace(io_, access_, credentials_, times_, *reports);
    }
    publish();
  }
  ~Loop() override {
    io_.stop();
    if (thread_.joinable()) {
      thread_.join();
    }
    writer_.reset();
    reflectors_.clear();
    if (event_ >= 0) {
      close(event_);
    }
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Status start() {
    if (event_ < 0) {
      return Error{std::string("cannot create an eventfd: ") + std::strerror(errno), access_.server,
                   "raise the limit of open files (ulimit -n)"};
    }
    // The main thread handles signals.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::string failed;
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& error) {
      failed = error.what();
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return failed.empty() ? Status(Ok{})
                          : Status(Error{"cannot start a thread: " + failed, access_.server,
                                         "raise the limit of processes (ulimit -u)"});
  }

  // Called by control.
  [[nodiscard]] int fd() const { return event_; }
  [[nodiscard]] std::vector<ObjectDelta> poll() {
    std::uint64_t ignored = 0;
    (void)!read(event_, &ignored, sizeof ignored);
    const std::lock_guard lock(mutex_);
    synced_polled_ = synced_published_;
    policies_polled_ = policies_published_;
    if (known_polled_ != known_published_) {
      known_polled_ = known_published_;
    }
    reportable_polled_ = reportable_published_;
    return std::exchange(deltas_, {});
  }
  [[nodiscard]] bool synced() const { return synced_polled_; }
  [[nodiscard]] const std::shared_ptr<const ReportableObjects>& reportable() const { return reportable_polled_; }
  void report(std::shared_ptr<const GatewayReport> report) {
    boost::asio::post(io_, [this, report = std::move(report)]() mutable {
      if (writer_) {
        objects_->reports()->set(std::move(report));
        writer_->kick();
      }
    });
  }
  [[nodiscard]] bool policies_listed() const { return policies_polled_; }
  // Of a kind that is read from one resource, that resource; of others (a Fleet hub's, ServiceExports) all of them.
  // What is withheld of one kind says nothing of the others.
  [[nodiscard]] bool listed(const std::string& kind) const {
    const auto& resources = objects_->resources();  // constant
    bool all = known_polled_.size() == resources.size();
    std::size_t of_kind = 0, known_of_kind = 0;
    for (std::size_t i = 0; i < known_polled_.size(); ++i) {
      all = all && known_polled_[i] != Known::kNo;
      of_kind += resources[i].kind == kind ? 1 : 0;
      known_of_kind += resources[i].kind == kind && known_polled_[i] == Known::kYes ? 1 : 0;
    }
    return !withholds(kind) &&
           (all || (of_kind == 1 && known_of_kind == 1 && kind != kind_text(ObjectKind::kNode) &&
                    kind != kind_text(ObjectKind::kService) && kind != kind_text(ObjectKind::kSlice)));
  }
  [[nodiscard]] bool withholds(const std::string& kind) const {
    const auto& resources = objects_->resources();
    bool any = false;
    for (std::size_t i = 0; i < known_polled_.size(); ++i) {
      any = any || (resources[i].kind == kind && known_polled_[i] == Known::kWithheld);
    }
    return any;
  }
  [[nodiscard]] std::vector<SourceProblem> problems() const {
    const std::lock_guard lock(mutex_);
    return *problems_;
  }
  [[nodiscard]] std::vector<HubState> states() const {
    const std::lock_guard lock(mutex_);
    return states_;
  }
  [[nodiscard]] const std::string& server() const { return access_.server; }

  void list_begins(std::size_t resource) override { objects_->list_begins(resource); }
  void list_ends(std::size_t resource) override {
    objects_->list_ends(resource);
    problems_dirty_ = problems_dirty_ || http_status_[resource] != 0 || known_[resource] != Known::kYes;
    listed_[resource] = true;
    known_[resource] = Known::kYes;
    http_status_[resource] = 0;
  }
  void put(std::size_t resource, const std::string& version, const YamlNode& object) override {
    objects_->put(resource, version, object);
  }
  void removed(std::size_t resource, const YamlNode& object) override { objects_->removed(resource, object); }
  void unavailable(std::size_t resource, unsigned status) override {
    objects_->unavailable(resource);
    listed_[resource] = true;
    if (known_[resource] != Known::kYes && is_absent(resource, status)) {
      known_[resource] = status == 404 ? Known::kYes : Known::kWithheld;
    }
    http_status_[resource] = status;
    problems_dirty_ = true;
  }
  void resumed(std::size_t resource) override {
    problems_dirty_ = problems_dirty_ || http_status_[resource] != 0;
    http_status_[resource] = 0;
  }
  void flush() override {
    auto deltas = objects_->take_deltas(std::chrono::steady_clock::now());
    const std::vector<std::string> lines = objects_->take_log();
    for (const std::string& line : lines) {
      spdlog::warn("{}", line);
    }
    problems_dirty_ = problems_dirty_ || !lines.empty();
    const bool synced = std::all_of(listed_.begin(), listed_.end(), [](bool listed) { return listed; });
    const bool policies = policies_known();
    bool wake = publish() || !deltas.empty();
    log_changes();
    {
      const std::lock_guard lock(mutex_);
      wake = wake || synced != synced_published_ || policies != policies_published_;
      synced_published_ = synced;
      known_published_ = known_;
      policies_published_ = policies;
      reportable_published_ = writer_ ? objects_->reports()->objects() : nullptr;
      deltas_.insert(deltas_.end(), std::make_move_iterator(deltas.begin()), std::make_move_iterator(deltas.end()));
    }
    if (wake) {
      const std::uint64_t one = 1;
      (void)!write(event_, &one, sizeof one);
    }
    if (writer_) {
      writer_->kick();
    }
    schedule_flush();
  }

 private:
  // kYes: listed once, or the server does not have the kind. kWithheld: not for us (403), of a kind where that is no
  // problem; what was known of it stands.
  enum class Known : std::uint8_t { kNo, kWithheld, kYes };

  void run() {
    for (const auto& reflector : reflectors_) {
      reflector->start();
    }
    schedule_flush();
    io_.run();
  }

  void schedule_flush() {
    const auto now = std::chrono::steady_clock::now();
    auto next = now + kTick;
    if (const auto due = objects_->due()) {
      next = std::min(next, std::max(*due, now));
    }
    if (scheduled_ && next >= scheduled_for_) {
      return;
    }
    scheduled_ = true;
    scheduled_for_ = next;
    tick_.expires_at(next);
    tick_.async_wait([this](boost::system::error_code stopped) {
      if (!stopped) {
        scheduled_ = false;
        flush();
      }
    });
  }

  // Whether that answer says that the server does not have the kind, or not for us, which is no problem.
  [[nodiscard]] bool is_absent(std::size_t resource, unsigned status) const {
    const ApiResource& of = objects_->resources()[resource];
    return (status == 404 && of.optional) || (status == 403 && of.may_be_forbidden);
  }

  [[nodiscard]] bool policies_known() const {
    bool known = true;
    for (std::size_t i = 0; i < known_.size(); ++i) {
      known = known && (known_[i] != Known::kNo || !objects_->resources()[i].policy);
    }
    return known;
  }

  // Updates what control sees. Returns whether the problems changed.
  bool publish() {
    std::vector<HubState> states;
    std::shared_ptr<std::vector<SourceProblem>> problems;
    const auto now = std::chrono::steady_clock::now();
    if (problems_dirty_ || now - problems_updated_ >= kProblemsInterval) {
      problems = std::make_shared<std::vector<SourceProblem>>(objects_->problems(std::chrono::system_clock::now()));
      problems_updated_ = now;
      problems_dirty_ = false;
    }
    for (std::size_t i = 0; i < reflectors_.size(); ++i) {
      HubState state = reflectors_[i]->state();
      const ApiObjects::Counts& counts = objects_->counts(i);
      state.kind = objects_->resources()[i].kind;
      state.policies = objects_->resources()[i].policy;
      state.absent = is_absent(i, http_status_[i]);
      state.objects = counts.objects;
      state.rejected = counts.rejected;
      constexpr std::size_t kMaxShown = 10;
      for (const std::string& name : counts.invalid) {
        if (state.invalid_keys.size() < kMaxShown) {
          state.invalid_keys.push_back(name);
        }
      }
      if (problems) {
        add_unavailable_problem(i, state, *problems);
      }
      states.push_back(std::move(state));
    }
    if (problems) {
      add_unlisted_problems(states, now, *problems);
      if (writer_) {
        auto unwritten = writer_->problems();
        problems->insert(problems->end(), std::make_move_iterator(unwritten.begin()),
                         std::make_move_iterator(unwritten.end()));
      }
    }
    const std::lock_guard lock(mutex_);
    states_ = std::move(states);
    if (!problems) {
      return false;
    }
    const bool changed = !problems_ || !same_problems(*problems_, *problems);
    problems_ = std::move(problems);
    return changed;
  }

  // Logs when a resource becomes stale and when it recovers, and each error of those that were never listed once.
  void log_changes() {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const HubState& state = states_[i];  // only this thread writes it
      if (!listed_[i] && !state.last_error.empty() && logged_.insert(state.last_error).second) {
        spdlog::warn("{} of {} cannot be listed yet: {}; trying again", state.name, state.server, state.last_error);
      }
      const bool stale = state.sync == HubState::Sync::kStale;
      if (stale && !stale_[i]) {
        spdlog::warn("{} of {} cannot be watched at present: {}; the objects read before stay in force", state.name,
                     state.server, state.last_error);
      } else if (stale_[i] && !stale) {
        spdlog::info("{} of {} are watched again", state.name, state.server);
      }
      stale_[i] = stale;
    }
    if (std::find(listed_.begin(), listed_.end(), false) == listed_.end()) {
      logged_.clear();
    }
  }

  void add_unavailable_problem(std::size_t index, const HubState& state, std::vector<SourceProblem>& problems) const {
    const ApiResource& resource = objects_->resources()[index];
    if (http_status_[index] == 0 || is_absent(index, http_status_[index])) {
      return;
    }
    const bool forbidden = http_status_[index] == 403;
    const std::string& version = resource.versions.front();
    problems.push_back({{access_.server + resource_path(resource, version), 0},
                        resource.plural + " cannot be read: " + state.last_error + unknown_text(index),
                        forbidden ? "grant list and watch on " + resource.plural + " in a ClusterRole"
                                  : "install the kind, or use another server"});
  }

  // The resources that no answer of the server says anything about, with what that means for policies. One that is
  // refused is listed by itself.
  void add_unlisted_problems(const std::vector<HubState>& states, std::chrono::steady_clock::time_point now,
                             std::vector<SourceProblem>& problems) const {
    std::map<std::pair<std::string, std::string>, std::string> by_error;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const std::string& error = states[i].last_error;
      const bool silent = error.empty() && now - created_ >= kSilence;
      if (known_[i] == Known::kNo && http_status_[i] == 0 && (silent || !error.empty())) {
        const std::string what = silent ? "the server has not sent all of them yet" : error;
        std::string& names = by_error[{unknown_text(i), what}];
        names += (names.empty() ? "" : ", ") + states[i].name;
      }
    }
    for (const auto& [why, names] : by_error) {
      problems.push_back({{access_.server, 0},
                          names + " have not been listed yet" + why.first + ": " + why.second,
                          "see that the API server can be reached from this gateway and accepts its credentials"});
    }
  }

  static constexpr auto kUnknownPolicies = ", so that this cluster's policies are not known";
  [[nodiscard]] std::string unknown_text(std::size_t index) const {
    return objects_->resources()[index].policy && known_[index] == Known::kNo ? kUnknownPolicies : "";
  }

  static bool same_problems(const std::vector<SourceProblem>& a, const std::vector<SourceProblem>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SourceProblem& x, const SourceProblem& y) {
      return x.what == y.what && x.provenance.location == y.provenance.location && x.object == y.object;
    });
  }

  boost::asio::io_context io_{1};
  ApiAccess access_;
  ApiTimes times_;
  std::unique_ptr<ApiObjects> objects_;
  Credentials credentials_;
  std::vector<std::unique_ptr<Reflector>> reflectors_;
  std::optional<ApiWriter> writer_;  // none: nothing is written to this server
  boost::asio::steady_timer tick_;
  bool scheduled_ = false;
  std::chrono::steady_clock::time_point scheduled_for_{};
  bool problems_dirty_ = true;
  std::chrono::steady_clock::time_point problems_updated_{};
  std::vector<bool> listed_;           // per resource: listed, or found unavailable
  std::vector<Known> known_;           // per resource
  std::vector<unsigned> http_status_;  // per resource: 403, 404, or 0 if available
  std::vector<bool> stale_;            // per resource: logged as stale
  std::set<std::string> logged_;       // errors of resources that were never listed
  std::thread thread_;
  const std::chrono::steady_clock::time_point created_ = std::chrono::steady_clock::now();
  bool synced_polled_ = false, policies_polled_ = false;  // used by control, as what follows
  std::vector<Known> known_polled_;
  std::shared_ptr<const ReportableObjects> reportable_polled_;

  // Shared.
  int event_ = -1;
  mutable std::mutex mutex_;
  std::vector<ObjectDelta> deltas_;
  bool synced_published_ = false;       // true: with the deltas above, everything has been returned
  std::vector<Known> known_published_;  // known_ when the deltas above were taken
  bool policies_published_ = false;     // the same of what policies are made of
  std::shared_ptr<const ReportableObjects>
      reportable_published_;  // with the deltas above, all of them have been returned
  std::shared_ptr<const std::vector<SourceProblem>> problems_;
  std::vector<HubState> states_;
};

ApiSource::ApiSource(std::string description, ApiServerOptions options, MakeObjects make_objects)
    : description_(std::move(description)), options_(std::move(options)), make_objects_(std::move(make_objects)) {}

ApiSource::~ApiSource() = default;

Result<ApiAccess> ApiSource::access() const {
  return options_.kubeconfig.empty() ? in_cluster_access(options_.service_account_folder)
                                     : load_kubeconfig(options_.kubeconfig, options_.context);
}

Status ApiSource::start() {
  auto access = this->access();
  if (!access) {
    return access.error();
  }
  access->headers.insert(access->headers.end(), options_.headers.begin(), options_.headers.end());
  for (const std::string& ignored : access->ignored) {
    spdlog::warn("{}: {} has no effect here", options_.kubeconfig, ignored);
  }
  auto objects = make_objects_(access->server);
  loop_ = std::make_unique<Loop>(*std::move(access), options_, std::move(objects));
  return loop_->start();
}

int ApiSource::fd() const { return loop_ ? loop_->fd() : -1; }

std::vector<ObjectDelta> ApiSource::poll() { return loop_ ? loop_->poll() : std::vector<ObjectDelta>{}; }

std::vector<SourceProblem> ApiSource::problems() const {
  return loop_ ? loop_->problems() : std::vector<SourceProblem>{};
}

bool ApiSource::synced() const { return loop_ && loop_->synced(); }

bool ApiSource::listed(ObjectKind kind, const std::string& /*cluster*/) const {
  return loop_ && loop_->listed(kind_text(kind));
}

bool ApiSource::withholds(ObjectKind kind) const { return loop_ && loop_->withholds(kind_text(kind)); }

bool ApiSource::follows(const std::string& part) const {
  const auto objects = make_objects_({});
  const auto& resources = objects->resources();
  return std::any_of(resources.begin(), resources.end(), [&](const ApiResource& each) { return each.kind == part; });
}

bool ApiSource::policies_listed() const { return loop_ && loop_->policies_listed(); }

std::string ApiSource::describe() const { return description_ + (loop_ ? " at " + loop_->server() : std::string()); }

std::optional<std::string> ApiSource::identity() const {
  const auto server = access();
  return server ? std::optional(description_ + " at " + server->server) : std::nullopt;
}

std::shared_ptr<const ReportableObjects> ApiSource::reportable() const { return loop_ ? loop_->reportable() : nullptr; }

void ApiSource::report(std::shared_ptr<const GatewayReport> report) {
  if (loop_) {
    loop_->report(std::move(report));
  }
}

std::vector<HubState> ApiSource::states() const { return loop_ ? loop_->states() : std::vector<HubState>{}; }

}  // namespace isthmus
