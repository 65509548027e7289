#include "control/source/kubernetes/api_source.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/reflector.h"

namespace isthmus {
namespace {

constexpr auto kTick = std::chrono::seconds(1);  // for what changes by the clock alone
// Looking for problems goes over every object, so that a stream of events may not ask for it each time.
constexpr auto kProblemsPause = std::chrono::milliseconds(100);

}  // namespace

// The thread and everything on it. Members above the line are the thread's, those below are shared.
class ApiSource::Loop final : public ReflectorSink {
 public:
  Loop(ApiAccess access, const ApiServerOptions& options, std::unique_ptr<ApiObjects> objects)
      : access_(std::move(access)),
        times_(options.times),
        objects_(std::move(objects)),
        credentials_(io_, access_, times_),
        tick_(io_),
        settled_(objects_->resources().size(), false),
        refused_(objects_->resources().size(), 0),
        lost_(objects_->resources().size(), false),
        event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    const auto& resources = objects_->resources();
    for (std::size_t i = 0; i < resources.size(); ++i) {
      reflectors_.push_back(std::make_unique<Reflector>(io_, access_, credentials_, times_, resources[i], i,
                                                        options.streaming_lists, *this));
    }
    publish();
  }
  ~Loop() override {
    io_.stop();
    if (thread_.joinable()) {
      thread_.join();
    }
    reflectors_.clear();
    if (event_ >= 0) {
      close(event_);
    }
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Status start() {
    if (event_ < 0) {
      return Error{std::string("no eventfd: ") + std::strerror(errno), access_.server, "raise the limit of open files"};
    }
    // Signals are the main thread's.
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
    return failed.empty() ? Status(Ok{}) : Status(Error{"no thread: " + failed, access_.server, "raise the limit"});
  }

  // Control's.
  [[nodiscard]] int fd() const { return event_; }
  [[nodiscard]] std::vector<ObjectDelta> poll() {
    std::uint64_t ignored = 0;
    (void)!read(event_, &ignored, sizeof ignored);
    const std::lock_guard lock(mutex_);
    synced_taken_ = synced_given_;
    return std::exchange(deltas_, {});
  }
  [[nodiscard]] bool synced() const { return synced_taken_; }
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
    settled_[resource] = true;
    refused_[resource] = 0;
  }
  void object_is(std::size_t resource, const std::string& version, const YamlNode& object) override {
    objects_->object_is(resource, version, object);
  }
  void object_gone(std::size_t resource, const YamlNode& object) override { objects_->object_gone(resource, object); }
  void unavailable(std::size_t resource, unsigned status) override {
    objects_->unavailable(resource);
    settled_[resource] = true;
    refused_[resource] = status;
    stale_problems_ = true;
  }
  void flush() override {
    auto deltas = objects_->take_deltas(std::chrono::steady_clock::now());
    const std::vector<std::string> lines = objects_->take_log();
    for (const std::string& line : lines) {
      spdlog::warn("{}", line);
    }
    stale_problems_ = stale_problems_ || !lines.empty();
    const bool synced = std::all_of(settled_.begin(), settled_.end(), [](bool settled) { return settled; });
    bool wake = publish() || !deltas.empty();
    log_changes();
    {
      const std::lock_guard lock(mutex_);
      wake = wake || synced != synced_given_;
      synced_given_ = synced;
      deltas_.insert(deltas_.end(), std::make_move_iterator(deltas.begin()), std::make_move_iterator(deltas.end()));
    }
    if (wake) {
      const std::uint64_t one = 1;
      (void)!write(event_, &one, sizeof one);
    }
    arm();
  }

 private:
  void run() {
    for (const auto& reflector : reflectors_) {
      reflector->start();
    }
    arm();
    io_.run();
  }

  void arm() {
    const auto now = std::chrono::steady_clock::now();
    auto next = now + kTick;
    if (const auto due = objects_->due()) {
      next = std::min(next, std::max(*due, now));
    }
    if (armed_ && next >= armed_for_) {
      return;
    }
    armed_ = true;
    armed_for_ = next;
    tick_.expires_at(next);
    tick_.async_wait([this](boost::system::error_code stopped) {
      if (!stopped) {
        armed_ = false;
        flush();
      }
    });
  }

  // Brings what control sees up to date; whether the problems changed.
  bool publish() {
    std::vector<HubState> states;
    std::shared_ptr<std::vector<SourceProblem>> problems;
    const auto now = std::chrono::steady_clock::now();
    if (stale_problems_ || now - problems_at_ >= kProblemsPause) {
      problems = std::make_shared<std::vector<SourceProblem>>(objects_->problems(std::chrono::system_clock::now()));
      problems_at_ = now;
      stale_problems_ = false;
    }
    for (std::size_t i = 0; i < reflectors_.size(); ++i) {
      HubState state = reflectors_[i]->state();
      const ApiObjects::Counts& counts = objects_->counts(i);
      state.objects = counts.objects;
      state.rejected = counts.rejected;
      constexpr std::size_t kMostShown = 10;
      for (const std::string& name : counts.bad) {
        if (state.bad.size() < kMostShown) {
          state.bad.push_back(name);
        }
      }
      if (problems) {
        add_refusal(i, state, *problems);
      }
      states.push_back(std::move(state));
    }
    const std::lock_guard lock(mutex_);
    states_ = std::move(states);
    if (!problems) {
      return false;
    }
    const bool changed = !problems_ || !same(*problems_, *problems);
    problems_ = std::move(problems);
    return changed;
  }

  // Lost and found again, a line each; what is found only later is in states().
  void log_changes() {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      const HubState& state = states_[i];  // which only this thread writes
      const bool lost = state.sync == HubState::Sync::kStale;
      if (lost && !lost_[i]) {
        spdlog::warn("{} of {} cannot be followed at present: {}; what was read stays in force", state.name,
                     state.place, state.last_error);
      } else if (lost_[i] && !lost) {
        spdlog::info("{} of {} are followed again", state.name, state.place);
      }
      lost_[i] = lost;
    }
  }

  void add_refusal(std::size_t index, const HubState& state, std::vector<SourceProblem>& problems) const {
    const ApiResource& resource = objects_->resources()[index];
    if (refused_[index] == 0 || (refused_[index] == 404 && resource.optional)) {
      return;
    }
    const bool forbidden = refused_[index] == 403;
    const std::string& version = resource.versions.front();
    problems.push_back({{access_.server + resource_path(resource, version), 0},
                        resource.plural + " cannot be read: " + state.last_error,
                        forbidden ? "grant get, list and watch on " + resource.plural + " in a ClusterRole"
                                  : "install the kind, or follow another server"});
  }

  static bool same(const std::vector<SourceProblem>& a, const std::vector<SourceProblem>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const SourceProblem& x, const SourceProblem& y) {
      return x.what == y.what && x.provenance.place == y.provenance.place && x.object == y.object;
    });
  }

  boost::asio::io_context io_{1};
  ApiAccess access_;
  ApiTimes times_;
  std::unique_ptr<ApiObjects> objects_;
  Credentials credentials_;
  std::vector<std::unique_ptr<Reflector>> reflectors_;
  boost::asio::steady_timer tick_;
  bool armed_ = false;
  std::chrono::steady_clock::time_point armed_for_{};
  bool stale_problems_ = true;
  std::chrono::steady_clock::time_point problems_at_{};
  std::vector<bool> settled_;      // of the resources: listed, or found unavailable
  std::vector<unsigned> refused_;  // of the resources: 403, 404 or 0
  std::vector<bool> lost_;         // of the resources: said so in the log
  std::thread thread_;
  bool synced_taken_ = false;  // control's

  // Shared.
  int event_ = -1;
  mutable std::mutex mutex_;
  std::vector<ObjectDelta> deltas_;
  bool synced_given_ = false;  // once the deltas above are taken, everything is
  std::shared_ptr<const std::vector<SourceProblem>> problems_;
  std::vector<HubState> states_;
};

ApiSource::ApiSource(std::string description, ApiServerOptions options, MakeObjects make)
    : description_(std::move(description)), options_(std::move(options)), make_(std::move(make)) {}

ApiSource::~ApiSource() = default;

Status ApiSource::start() {
  auto access = options_.kubeconfig.empty() ? in_cluster_access(options_.service_account_folder)
                                            : load_kubeconfig(options_.kubeconfig, options_.context);
  if (!access) {
    return access.error();
  }
  access->headers.insert(access->headers.end(), options_.headers.begin(), options_.headers.end());
  auto objects = make_(access->server);
  loop_ = std::make_unique<Loop>(*std::move(access), options_, std::move(objects));
  return loop_->start();
}

int ApiSource::fd() const { return loop_ ? loop_->fd() : -1; }

std::vector<ObjectDelta> ApiSource::poll() { return loop_ ? loop_->poll() : std::vector<ObjectDelta>{}; }

std::vector<SourceProblem> ApiSource::problems() const {
  return loop_ ? loop_->problems() : std::vector<SourceProblem>{};
}

bool ApiSource::synced() const { return loop_ && loop_->synced(); }

std::string ApiSource::describe() const { return description_ + (loop_ ? " at " + loop_->server() : std::string()); }

std::vector<HubState> ApiSource::states() const { return loop_ ? loop_->states() : std::vector<HubState>{}; }

}  // namespace isthmus
