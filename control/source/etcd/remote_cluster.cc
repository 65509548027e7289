#include "control/source/etcd/remote_cluster.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kMinTick{10}, kTick{1000};
// A canary that is missing for longer is reported as a problem.
constexpr std::chrono::seconds kCanaryTimeout{60};
constexpr const char* kGrant =
    "give the etcd user's role read access to it (Cilium's roles: remote, or local for KVStoreMesh)";

}  // namespace

FollowerOptions follower_options(const EtcdSourceOptions& options) {
  FollowerOptions follower;
  follower.page = options.list_page;
  follower.first_backoff = options.list_backoff;
  follower.max_backoff = options.max_list_backoff;
  return follower;
}

RemoteCluster::RemoteCluster(const EtcdShared& shared, std::string name, Hub& hub)
    : shared_(shared),
      name_(std::move(name)),
      hub_(hub),
      publish_timer_(shared.loop),
      removal_timer_(shared.loop),
      tick_timer_(shared.loop) {}

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
  reply_received();
  config_text_ = value;
  Result<ClusterConfigValue> config = decode_cluster_config(shared_.options.max_connected_clusters, value);
  if (!config) {
    reject_config(config.error());
    return;
  }
  if (const std::string owner = shared_.registry.reserve(config->id, name_); !owner.empty()) {
    reject_config({"cluster " + name_ + " has the id " + std::to_string(config->id.value()) + ", which cluster " +
                       owner + " already uses" + (import_ ? "; its data under its old id stays in force" : ""),
                   {},
                   "give one of the two another id (Cilium's cluster.id)"});
    return;
  }
  if (import_ && import_->context().id != config->id) {
    spdlog::warn("cluster {}: its id changed to {} from {}: all data of the old id is removed", name_,
                 config->id.value(), import_->context().id.value());
    purge();
  }
  apply_config(*config);
}

void RemoteCluster::reject_config(Error error) {
  if (error.what != config_error_.what) {
    spdlog::warn("cluster {}: its cluster-config is rejected: {}", name_, error.what);
  }
  last_error_ = error.what;
  config_error_ = std::move(error);
}

void RemoteCluster::config_missing() {
  reject_config({"the hub has no configuration of cluster " + name_ + (import_ ? "; its data stays in force" : ""),
                 {},
                 "check the cluster's name and that its clustermesh-apiserver is running (with KVStoreMesh: that it is "
                 "connected)"});
}

void RemoteCluster::retry_config() {
  if (has_failed() && client_ != nullptr && !config_text_.empty()) {
    const std::string text = config_text_;
    config_put(text);
  }
}

void RemoteCluster::apply_config(const ClusterConfigValue& config) {
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
    if (!is_followed(resource)) {
      if (resource == EtcdResource::kSlices) {
        import_->use_slices(false);
      }
      import_->purge(resource);
    }
  }
  start_feeds();
}

void RemoteCluster::purge() {
  stop_feeds();
  publish_timer_.cancel();
  removal_timer_.cancel();
  config_.reset();
  config_confirmed_ = false;
  if (import_) {
    const ClusterId id = import_->context().id;
    import_->purge_all();
    import_.reset();
    shared_.registry.release(id, name_);
    shared_.id_released();
  }
}

bool RemoteCluster::is_followed(EtcdResource resource) const {
  using Slices = ClusterConfigValue::Slices;
  switch (resource) {
    case EtcdResource::kExports:
      return config_->service_exports.has_value();
    case EtcdResource::kSlices:
      return config_->slices == Slices::kOnly ||
             (config_->slices == Slices::kBesideServices && shared_.options.prefer_slices);
    case EtcdResource::kGateways:
      return !config_->cached;  // KVStoreMesh does not mirror our own keys
    default:
      return true;
  }
}

bool RemoteCluster::is_required(EtcdResource resource) const {
  switch (resource) {
    case EtcdResource::kServices:
      return config_->slices != ClusterConfigValue::Slices::kOnly;
    case EtcdResource::kExports:
      return config_->service_exports.value_or(false);
    default:
      return is_followed(resource);
  }
}

bool RemoteCluster::is_listed(EtcdResource resource) const {
  const auto& feed = feeds_[static_cast<std::size_t>(resource)];
  return feed != nullptr &&
         (feed->follower->listed() || (resource == EtcdResource::kGateways && !feed->range_error.empty()));
}

bool RemoteCluster::synced() const {
  return import_ != nullptr && std::all_of(kAllEtcdResources.begin(), kAllEtcdResources.end(), [&](EtcdResource r) {
           return !is_required(r) || import_->listed(r) || (r == EtcdResource::kGateways && is_listed(r));
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

void RemoteCluster::canary(std::string_view suffix) {
  for (const EtcdResource resource : kAllEtcdResources) {
    const std::string expected = canary_suffix(resource, layout());
    if (!expected.empty() && expected == suffix) {
      start_feed(resource);
    }
  }
}

void RemoteCluster::start_feed(EtcdResource resource) {
  auto& feed = feeds_[static_cast<std::size_t>(resource)];
  if (feed != nullptr || !is_followed(resource)) {
    return;
  }
  const std::string prefix = key_prefix(resource, layout(), name_);
  feed = std::make_unique<Feed>(*this, resource);
  feed->follower = std::make_unique<EtcdFollower>(shared_.loop, *client_, *pin_, follower_options(shared_.options),
                                                  prefix_range(prefix), prefix.size(), *feed);
  feed->follower->start();
}

void RemoteCluster::Feed::put(std::string_view suffix, std::string_view value) {
  owner_.import_->put(resource_, suffix, value);
  owner_.on_change();
}

void RemoteCluster::Feed::removed(std::string_view suffix) {
  owner_.import_->leaves(resource_, suffix, EtcdLoop::Clock::now());
  owner_.on_change();
}

void RemoteCluster::Feed::range_failed(const EtcdFailure& failure) {
  // Cilium's stock roles may not cover our own keys; a cluster with such a role has no registered gateways.
  const bool normal = resource_ == EtcdResource::kGateways && failure.kind == EtcdFailure::Kind::kDenied;
  if (range_error.empty() && !normal) {
    spdlog::warn("cluster {}: {} cannot be read: {}", owner_.name_, to_text(resource_), failure.text);
    owner_.last_error_ = failure.text;
  }
  range_error = failure.text;
}

void RemoteCluster::Canaries::range_failed(const EtcdFailure& failure) {
  range_error = failure.text;
  owner_.last_error_ = failure.text;
}

void RemoteCluster::list_ended(EtcdResource resource) {
  feeds_[static_cast<std::size_t>(resource)]->range_error.clear();
  import_->list_ends(resource, EtcdLoop::Clock::now());
  if (resource == EtcdResource::kSlices) {
    import_->use_slices(true);
  }
  publish_cluster();
}

void RemoteCluster::settle_removals() {
  if (import_) {
    import_->settle_removals(EtcdLoop::Clock::now());
    on_change();
  }
}

void RemoteCluster::on_change() {
  if (import_->removals_wait() && !removal_timer_.armed()) {
    removal_timer_.set(shared_.options.cluster_debounce, [this] { settle_removals(); });
  }
  if (import_->cluster_changed() && !publish_timer_.armed()) {
    publish_timer_.set(shared_.options.cluster_debounce, [this] { publish_cluster(); });
  }
}

void RemoteCluster::publish_cluster() {
  const auto& nodes = feeds_[static_cast<std::size_t>(EtcdResource::kNodes)];
  if (import_ && nodes != nullptr && nodes->follower->listed()) {
    import_->publish_cluster();
  }
}

void RemoteCluster::reply_received() {
  last_event_ = EtcdLoop::Clock::now();
  hub_.reply_received();
}

void RemoteCluster::tick() {
  tick_timer_.set(std::clamp(shared_.options.hold_time, kMinTick, kTick), [this] {
    if (import_) {
      import_->release_expired(EtcdLoop::Clock::now(), [&](EtcdResource resource) { return is_listed(resource); });
      publish_cluster();
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
  state.server = endpoint_;
  state.connects = connects_;
  state.last_event = last_event_;
  state.last_error = last_error_;
  state.listed = synced();
  if (import_) {
    const ClusterImport::Counts counts = import_->counts();
    state.objects = counts.objects;
    state.events = counts.events;
    state.rejected = counts.rejected;
    state.retained = counts.retained;
    state.invalid_keys = import_->invalid_keys();
  }
  const bool any_unreadable = std::any_of(kAllEtcdResources.begin(), kAllEtcdResources.end(), [&](EtcdResource r) {
    const auto& feed = feeds_[static_cast<std::size_t>(r)];
    return r != EtcdResource::kGateways && feed != nullptr && !feed->range_error.empty();
  });
  const bool complete = config_ && std::all_of(kAllEtcdResources.begin(), kAllEtcdResources.end(),
                                               [&](EtcdResource r) { return !is_required(r) || is_listed(r); });
  if (!connected) {
    state.sync = synced() ? Sync::kStale : Sync::kConnecting;
  } else if (has_failed() || any_unreadable || (canaries_ != nullptr && !canaries_->range_error.empty())) {
    state.sync = Sync::kFailed;
  } else {
    state.sync = complete ? Sync::kSynced : Sync::kListing;
  }
  return state;
}

std::vector<SourceProblem> RemoteCluster::problems() const {
  std::vector<SourceProblem> problems;
  if (has_failed()) {
    const std::string at = endpoint_.empty() ? "" : " (" + endpoint_ + ")";
    problems.push_back(
        problem_at(std::string(kClusterConfigPrefix) + name_ + at, config_error_.what, config_error_.fix));
  }
  const auto add_unreadable = [&](const std::string& prefix, const std::string& why) {
    problems.push_back(problem_at(prefix + " (" + endpoint_ + ")", "the hub denies read access: " + why, kGrant));
  };
  if (canaries_ != nullptr && !canaries_->range_error.empty()) {
    add_unreadable(canary_prefix(name_), canaries_->range_error);
  }
  for (const EtcdResource resource : kAllEtcdResources) {
    const auto& feed = feeds_[static_cast<std::size_t>(resource)];
    if (feed != nullptr && !feed->range_error.empty() && resource != EtcdResource::kGateways) {
      add_unreadable(key_prefix(resource, layout(), name_), feed->range_error);
    }
    const bool canary_missing = client_ != nullptr && config_confirmed_ && feed == nullptr && is_required(resource);
    if (canary_missing && EtcdLoop::Clock::now() - session_since_ > kCanaryTimeout) {
      problems.push_back(problem_at(canary_prefix(name_) + canary_suffix(resource, layout()) + " (" + endpoint_ + ")",
                                    "the canary key is missing, so " + std::string(to_text(resource)) + " of cluster " +
                                        name_ +
                                        " may be incomplete and is not read; its last known data stays in force",
                                    "check the cluster's clustermesh-apiserver"));
    }
  }
  if (import_) {
    std::vector<SourceProblem> more = import_->problems(layout(), endpoint_);
    problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return problems;
}

}  // namespace isthmus
