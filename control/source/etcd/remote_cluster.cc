#include "control/source/etcd/remote_cluster.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kShortestTick{10}, kTick{1000};
// After so long without a canary a person is told.
constexpr std::chrono::seconds kCanaryPatience{60};
constexpr const char* kGrant =
    "give the etcd user's role read access to it (Cilium's roles: remote, or local for KVStoreMesh)";

}  // namespace

FollowerOptions follower_options(const EtcdSourceOptions& options) {
  FollowerOptions follower;
  follower.page = options.list_page;
  follower.first_backoff = options.list_backoff;
  follower.longest_backoff = options.longest_list_backoff;
  return follower;
}

RemoteCluster::RemoteCluster(const EtcdShared& shared, std::string name, Hub& hub)
    : shared_(shared), name_(std::move(name)), hub_(hub), settle_timer_(shared.loop), tick_timer_(shared.loop) {}

RemoteCluster::~RemoteCluster() = default;

EtcdLayout RemoteCluster::layout() const {
  return config_ && config_->cached ? EtcdLayout::kCache : EtcdLayout::kState;
}

void RemoteCluster::session_begins(EtcdClient& client, EtcdPin& pin, const std::string& endpoint) {
  client_ = std::make_unique<PacedClient>(shared_.loop, client, shared_.options.reads_per_second);
  pin_ = &pin;
  endpoint_ = endpoint;
  session_since_ = EtcdLoop::Clock::now();
  config_confirmed_ = false;
  ++connects_;
  tick();
}

void RemoteCluster::session_ends(const std::string& why) {
  stop_feeds();
  client_.reset();
  pin_ = nullptr;
  config_confirmed_ = false;
  if (!why.empty()) {
    last_error_ = why;
  }
}

void RemoteCluster::config_put(std::string_view value) {
  heard();
  config_text_ = value;
  Result<ClusterConfigValue> config = decode_cluster_config(shared_.options.max_connected_clusters, value);
  if (!config) {
    reject(config.error());
    return;
  }
  if (import_ && import_->context().id != config->id) {
    spdlog::warn("cluster {}: its id is {} now, not {}: everything of the old id is drained", name_, config->id.value(),
                 import_->context().id.value());
    drain();
  }
  if (const std::string holder = shared_.registry.reserve(config->id, name_); !holder.empty()) {
    reject({"cluster " + name_ + " has the id " + std::to_string(config->id.value()) + ", which cluster " + holder +
                " holds",
            {},
            "give one of the two another id"});
    return;
  }
  adopt(*config);
}

void RemoteCluster::reject(Error error) {
  if (error.what != config_error_.what) {
    spdlog::warn("cluster {}: its cluster-config is refused: {}", name_, error.what);
  }
  last_error_ = error.what;
  config_error_ = std::move(error);
}

void RemoteCluster::config_missing() {
  reject(
      {"the hub has no configuration of cluster " + name_ + (import_ ? "; its data stays in force" : ""),
       {},
       "check the cluster's name, and that clustermesh-apiserver runs there (with KVStoreMesh: that it is connected)"});
}

void RemoteCluster::retry_config() {
  if (has_failed() && client_ != nullptr && !config_text_.empty()) {
    const std::string text = config_text_;
    config_put(text);
  }
}

void RemoteCluster::adopt(const ClusterConfigValue& config) {
  config_error_ = {};
  if (!import_) {
    import_ = std::make_unique<ClusterImport>(
        shared_.options, EtcdValueContext{name_, config.id, shared_.options.max_connected_clusters}, shared_.registry,
        shared_.out);
  }
  const bool same = config_ && *config_ == config;
  config_ = config;
  if (client_ == nullptr || (same && config_confirmed_)) {
    return;
  }
  config_confirmed_ = true;
  stop_feeds();
  for (const EtcdResource resource : {EtcdResource::kExports, EtcdResource::kSlices}) {
    if (!followed(resource)) {
      if (resource == EtcdResource::kSlices) {
        import_->use_slices(false);
      }
      import_->drain(resource);
    }
  }
  start_feeds();
}

void RemoteCluster::drain() {
  stop_feeds();
  settle_timer_.cancel();
  config_.reset();
  config_confirmed_ = false;
  if (import_) {
    const ClusterId id = import_->context().id;
    import_->drain_all();
    import_.reset();
    shared_.registry.release(id, name_);
    shared_.id_released();
  }
}

bool RemoteCluster::followed(EtcdResource resource) const {
  using Slices = ClusterConfigValue::Slices;
  switch (resource) {
    case EtcdResource::kExports:
      return config_->service_exports.has_value();
    case EtcdResource::kSlices:
      return config_->slices == Slices::kOnly ||
             (config_->slices == Slices::kBesideServices && shared_.options.prefer_slices);
    case EtcdResource::kGateways:
      return !config_->cached;  // KVStoreMesh mirrors what it knows, and not that
    default:
      return true;
  }
}

bool RemoteCluster::awaited(EtcdResource resource) const {
  switch (resource) {
    case EtcdResource::kServices:
      return config_->slices != ClusterConfigValue::Slices::kOnly;
    case EtcdResource::kExports:
      return config_->service_exports.value_or(false);
    default:
      return followed(resource);
  }
}

bool RemoteCluster::done(EtcdResource resource) const {
  const auto& feed = feeds_[static_cast<std::size_t>(resource)];
  return feed != nullptr &&
         (feed->follower->listed() || (resource == EtcdResource::kGateways && !feed->refusal.empty()));
}

bool RemoteCluster::synced() const {
  return import_ != nullptr && std::all_of(kAllEtcdResources.begin(), kAllEtcdResources.end(), [&](EtcdResource r) {
           return !awaited(r) || import_->listed(r) || (r == EtcdResource::kGateways && done(r));
         });
}

void RemoteCluster::start_feeds() {
  if (!config_->synced_canaries) {
    for (const EtcdResource resource : kAllEtcdResources) {
      start_feed(resource);
    }
    return;
  }
  start_feed(EtcdResource::kGateways);  // has no canary
  canaries_ = std::make_unique<Canaries>(*this);
  const std::string prefix = canary_prefix(name_);
  canaries_->follower = std::make_unique<EtcdFollower>(shared_.loop, *client_, *pin_, follower_options(shared_.options),
                                                       prefix_range(prefix), prefix.size(), *canaries_);
  canaries_->follower->start();
}

void RemoteCluster::stop_feeds() {
  canaries_.reset();
  for (auto& feed : feeds_) {
    feed.reset();
  }
}

void RemoteCluster::canary(std::string_view tail) {
  for (const EtcdResource resource : kAllEtcdResources) {
    const std::string expected = canary_tail(resource, layout());
    if (!expected.empty() && expected == tail) {
      start_feed(resource);
    }
  }
}

void RemoteCluster::start_feed(EtcdResource resource) {
  auto& feed = feeds_[static_cast<std::size_t>(resource)];
  if (feed != nullptr || !followed(resource)) {
    return;
  }
  const std::string prefix = key_prefix(resource, layout(), name_);
  feed = std::make_unique<Feed>(*this, resource);
  feed->follower = std::make_unique<EtcdFollower>(shared_.loop, *client_, *pin_, follower_options(shared_.options),
                                                  prefix_range(prefix), prefix.size(), *feed);
  feed->follower->start();
}

void RemoteCluster::Feed::put(std::string_view tail, std::string_view value) {
  owner_.import_->put(resource_, tail, value);
  owner_.note_change();
}

void RemoteCluster::Feed::gone(std::string_view tail) {
  owner_.import_->gone(resource_, tail);
  owner_.note_change();
}

void RemoteCluster::Feed::refused(const EtcdFailure& failure) {
  // A role from before our own keys has no grant for them, and nothing is missing then.
  const bool normal = resource_ == EtcdResource::kGateways && failure.kind == EtcdFailure::Kind::kDenied;
  if (refusal.empty() && !normal) {
    spdlog::warn("cluster {}: {} cannot be read: {}", owner_.name_, to_text(resource_), failure.text);
    owner_.last_error_ = failure.text;
  }
  refusal = failure.text;
}

void RemoteCluster::Canaries::refused(const EtcdFailure& failure) {
  refusal = failure.text;
  owner_.last_error_ = failure.text;
}

void RemoteCluster::list_ended(EtcdResource resource) {
  feeds_[static_cast<std::size_t>(resource)]->refusal.clear();
  import_->list_ends(resource, EtcdLoop::Clock::now());
  if (resource == EtcdResource::kSlices) {
    import_->use_slices(true);
  }
  settle();
}

void RemoteCluster::note_change() {
  if (import_->cluster_changed() && !settle_timer_.armed()) {
    settle_timer_.set(shared_.options.cluster_settle, [this] { settle(); });
  }
}

void RemoteCluster::settle() {
  const auto& nodes = feeds_[static_cast<std::size_t>(EtcdResource::kNodes)];
  if (import_ && nodes != nullptr && nodes->follower->listed()) {
    import_->publish_cluster();
  }
}

void RemoteCluster::heard() {
  last_event_ = EtcdLoop::Clock::now();
  hub_.heard();
}

void RemoteCluster::tick() {
  tick_timer_.set(std::clamp(shared_.options.hold_time, kShortestTick, kTick), [this] {
    if (import_) {
      import_->release_held(EtcdLoop::Clock::now(), [&](EtcdResource resource) { return done(resource); });
      settle();
    }
    if (client_ != nullptr) {
      tick();
    }
  });
}

HubState RemoteCluster::state(bool connected) const {
  using Sync = HubState::Sync;
  HubState state;
  state.name = name_;
  state.place = endpoint_;
  state.connects = connects_;
  state.last_event = last_event_;
  state.last_error = last_error_;
  if (import_) {
    const ClusterImport::Counts counts = import_->counts();
    state.objects = counts.objects;
    state.events = counts.events;
    state.rejected = counts.rejected;
    state.held = counts.held;
    state.bad = import_->bad();
  }
  const bool refused = std::any_of(kAllEtcdResources.begin(), kAllEtcdResources.end(), [&](EtcdResource r) {
    const auto& feed = feeds_[static_cast<std::size_t>(r)];
    return r != EtcdResource::kGateways && feed != nullptr && !feed->refusal.empty();
  });
  const bool complete = config_ && std::all_of(kAllEtcdResources.begin(), kAllEtcdResources.end(),
                                               [&](EtcdResource r) { return !awaited(r) || done(r); });
  if (!connected) {
    state.sync = synced() ? Sync::kStale : Sync::kConnecting;
  } else if (has_failed() || refused || (canaries_ != nullptr && !canaries_->refusal.empty())) {
    state.sync = Sync::kFailed;
  } else {
    state.sync = complete ? Sync::kSynced : Sync::kListing;
  }
  return state;
}

std::vector<SourceProblem> RemoteCluster::problems() const {
  std::vector<SourceProblem> problems;
  if (has_failed()) {
    problems.push_back(
        {{std::string(kClusterConfigPrefix) + name_ + (endpoint_.empty() ? "" : " (" + endpoint_ + ")"), 0},
         config_error_.what,
         config_error_.remedy});
  }
  const auto refused = [&](const std::string& prefix, const std::string& why) {
    problems.push_back({{prefix + " (" + endpoint_ + ")", 0}, "the hub refuses to let it be read: " + why, kGrant});
  };
  if (canaries_ != nullptr && !canaries_->refusal.empty()) {
    refused(canary_prefix(name_), canaries_->refusal);
  }
  for (const EtcdResource resource : kAllEtcdResources) {
    const auto& feed = feeds_[static_cast<std::size_t>(resource)];
    if (feed != nullptr && !feed->refusal.empty() && resource != EtcdResource::kGateways) {
      refused(key_prefix(resource, layout(), name_), feed->refusal);
    }
    const bool waiting = client_ != nullptr && config_confirmed_ && feed == nullptr && awaited(resource);
    if (waiting && EtcdLoop::Clock::now() - session_since_ > kCanaryPatience) {
      problems.push_back({{canary_prefix(name_) + canary_tail(resource, layout()) + " (" + endpoint_ + ")", 0},
                          "the hub has not said that " + std::string(to_text(resource)) + " of cluster " + name_ +
                              " are complete, so they are not read; what is known stays in force",
                          "check the cluster's clustermesh-apiserver"});
    }
  }
  if (import_) {
    std::vector<SourceProblem> more = import_->problems(layout(), endpoint_);
    problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return problems;
}

}  // namespace isthmus
