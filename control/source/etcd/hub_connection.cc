#include "control/source/etcd/hub_connection.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <utility>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

constexpr const char* kMeshName = "kvstoremesh";

std::string remedy_of(EtcdFailure::Kind kind, const std::string& certificate) {
  if (!certificate.empty()) {
    return "renew the client certificate: it " + certificate;
  }
  switch (kind) {
    case EtcdFailure::Kind::kIdentity:
    case EtcdFailure::Kind::kDenied:
      return "use a client certificate whose name is an etcd user with Cilium's role (remote, or local for "
             "KVStoreMesh)";
    default:
      return "check that the hub runs and can be reached, and that the certificates fit; it is tried again";
  }
}

std::size_t random_number(std::size_t below) {
  static std::minstd_rand generator{std::random_device{}()};
  return below < 2 ? 0 : std::uniform_int_distribution<std::size_t>(0, below - 1)(generator);
}

}  // namespace

HubConnection::HubConnection(const EtcdShared& shared, std::string cluster, std::string place, Unwanted unwanted)
    : shared_(shared),
      cluster_(std::move(cluster)),
      place_(std::move(place)),
      unwanted_(std::move(unwanted)),
      connect_timer_(shared.loop),
      heartbeat_timer_(shared.loop),
      lose_timer_(shared.loop),
      heartbeat_(*this),
      configs_(*this) {
  if (!is_mesh()) {
    clusters_[cluster_] = std::make_unique<RemoteCluster>(shared_, cluster_, *this);
  }
}

HubConnection::~HubConnection() { end_session(""); }

void HubConnection::configure(const std::string& text) {
  text_ = text;
  end_session("");
  failures_ = 0;
  attempts_ = 0;
  Result<EtcdClientConfig> config = parse_etcd_client_config(text, place_);
  if (!config) {
    config_.reset();
    connect_timer_.cancel();
    failed(config.error());
    return;
  }
  config_ = std::move(*config);
  // Not all gateways of a fleet to the same one.
  std::rotate(config_->endpoints.begin(),
              config_->endpoints.begin() + static_cast<std::ptrdiff_t>(random_number(config_->endpoints.size())),
              config_->endpoints.end());
  connect();
}

void HubConnection::failed(Error error) {
  last_error_ = error.what;
  if (error.text() != problem_.text()) {
    spdlog::warn("hub {}: {}", is_mesh() ? kMeshName : cluster_, error.text());
  }
  problem_ = std::move(error);
}

void HubConnection::connect_later(std::chrono::milliseconds wait) {
  connect_timer_.set(wait, [this] { connect(); });
}

void HubConnection::connect() {
  endpoint_ = config_->endpoints[attempts_++ % config_->endpoints.size()];
  const bool plaintext = config_->insecure_transport || endpoint_.starts_with("http://");
  EtcdCertificates certificates;
  if (!plaintext) {
    Result<EtcdCertificates> read = read_certificates(*config_);
    if (!read) {
      failed(read.error());
      connect_later(shared_.options.missing_file_period);
      return;
    }
    certificates = std::move(*read);
  }
  client_ = connect_etcd(shared_.loop, {endpoint_, plaintext, config_->insecure_skip_tls_verify, certificates.ca,
                                        certificates.certificate, certificates.key, shared_.options.call_timeout,
                                        shared_.options.keepalive_time, shared_.options.keepalive_timeout});
  pin_ = {};
  losing_ = false;
  heartbeat_follower_ =
      std::make_unique<EtcdFollower>(shared_.loop, *client_, pin_, follower_options(shared_.options),
                                     prefix_range(std::string(kHeartbeatPrefix)), kHeartbeatPrefix.size(), heartbeat_);
  heartbeat_follower_->start();
}

// The heartbeat was listed, for the first time in this session or after a compaction.
void HubConnection::connected() {
  last_heartbeat_ = EtcdLoop::Clock::now();
  if (config_follower_ != nullptr) {
    return;
  }
  ++connects_;
  failures_ = 0;
  problem_ = {};
  for (auto& [name, cluster] : clusters_) {
    cluster->session_begins(*client_, pin_, endpoint_);
  }
  const std::string prefix(kClusterConfigPrefix);
  configs_.refusal.clear();
  config_follower_ = std::make_unique<EtcdFollower>(shared_.loop, *client_, pin_, follower_options(shared_.options),
                                                    is_mesh() ? prefix_range(prefix) : EtcdRange{prefix + cluster_, ""},
                                                    prefix.size(), configs_);
  config_follower_->start();
  check_heartbeat();
}

void HubConnection::check_heartbeat() {
  heartbeat_timer_.set(shared_.options.status_period, [this] {
    if (EtcdLoop::Clock::now() - last_heartbeat_ > shared_.options.heartbeat_limit) {
      session_lost("no heartbeat of the hub for longer than " +
                       std::to_string(shared_.options.heartbeat_limit.count() / 1000) + " s",
                   EtcdFailure::Kind::kConnection);
    } else {
      check_heartbeat();
    }
  });
}

void HubConnection::session_lost(const std::string& why, EtcdFailure::Kind kind) {
  if (std::exchange(losing_, true)) {
    return;
  }
  // Called by a follower that must not be destroyed under its own feet.
  lose_timer_.set(std::chrono::milliseconds(0), [this, why, kind] {
    end_session(why);
    ++failures_;
    std::string certificate;
    if (const auto read = read_certificates(*config_); read && !read->certificate.empty()) {
      certificate = certificate_fault(read->certificate);
    }
    const std::string text = certificate.empty() ? why : why + "; the client certificate " + certificate;
    failed({text, endpoint_, remedy_of(kind, certificate)});
    const auto wait = std::min(shared_.options.backoff_step * failures_, shared_.options.longest_backoff);
    // Up to a tenth more: a load balancer's failure sends everybody here at the same time.
    const auto spread = static_cast<std::size_t>(wait.count() / 10);
    connect_later(wait + std::chrono::milliseconds(random_number(spread + 1)));
  });
}

void HubConnection::end_session(const std::string& why) {
  connect_timer_.cancel();
  heartbeat_timer_.cancel();
  lose_timer_.cancel();
  for (auto& [name, cluster] : clusters_) {
    cluster->session_ends(why);
  }
  config_follower_.reset();
  heartbeat_follower_.reset();
  client_.reset();
  losing_ = false;
}

RemoteCluster& HubConnection::cluster(const std::string& name) {
  auto& entry = clusters_[name];
  if (entry == nullptr) {
    entry = std::make_unique<RemoteCluster>(shared_, name, *this);
    entry->session_begins(*client_, pin_, endpoint_);
  }
  return *entry;
}

void HubConnection::remove_cluster(const std::string& name) {
  if (const auto found = clusters_.find(name); found != clusters_.end()) {
    const std::unique_ptr<RemoteCluster> gone = std::move(found->second);
    clusters_.erase(found);
    gone->drain();
  }
}

void HubConnection::Configs::put(std::string_view tail, std::string_view value) {
  const std::string name(tail);
  if (owner_.is_mesh() && (owner_.unwanted_(name) || !is_label(name, kClusterNameLength))) {
    return;
  }
  seen_.push_back(name);
  owner_.cluster(name).config_put(value);
}

void HubConnection::Configs::gone(std::string_view tail) {
  const std::string name(tail);
  if (owner_.is_mesh()) {
    // KVStoreMesh says so before it takes the cluster's data away.
    owner_.remove_cluster(name);
  } else if (const auto found = owner_.clusters_.find(name); found != owner_.clusters_.end()) {
    found->second->config_missing();
  }
}

void HubConnection::Configs::list_ends() {
  refusal.clear();
  owner_.listed_ = true;
  for (auto& [name, cluster] : owner_.clusters_) {
    if (std::find(seen_.begin(), seen_.end(), name) == seen_.end()) {
      cluster->config_missing();
    }
  }
}

void HubConnection::Configs::refused(const EtcdFailure& failure) {
  refusal = failure.text;
  owner_.last_error_ = failure.text;
}

void HubConnection::retry_configs() {
  for (auto& [name, cluster] : clusters_) {
    cluster->retry_config();
  }
}

void HubConnection::drain() {
  for (auto& [name, cluster] : clusters_) {
    cluster->drain();
  }
}

void HubConnection::drop_unwanted() {
  std::vector<std::string> names;
  for (const auto& [name, cluster] : clusters_) {
    if (is_mesh() && unwanted_(name)) {
      names.push_back(name);
    }
  }
  for (const std::string& name : names) {
    remove_cluster(name);
  }
}

bool HubConnection::settled() const {
  return (!is_mesh() || listed_) &&
         std::all_of(clusters_.begin(), clusters_.end(), [](const auto& entry) { return entry.second->synced(); });
}

void HubConnection::append_states(std::vector<HubState>& states) const {
  const bool up = config_follower_ != nullptr;
  if (is_mesh()) {
    HubState state;
    state.name = kMeshName;
    state.place = endpoint_;
    state.sync = !configs_.refusal.empty() ? HubState::Sync::kFailed
                 : up                      ? (listed_ ? HubState::Sync::kSynced : HubState::Sync::kListing)
                 : listed_                 ? HubState::Sync::kStale
                                           : HubState::Sync::kConnecting;
    state.objects = clusters_.size();
    state.connects = connects_;
    state.last_event = last_event_;
    state.last_error = last_error_;
    states.push_back(std::move(state));
  }
  for (const auto& [name, cluster] : clusters_) {
    HubState state = cluster->state(up);
    if (!is_mesh()) {
      state.place = endpoint_;
      state.connects = connects_;
      state.last_event = std::max(state.last_event, last_event_);
      state.last_error = state.last_error.empty() || !problem_.what.empty() ? last_error_ : state.last_error;
      state.sync = !config_ || (up && !configs_.refusal.empty()) ? HubState::Sync::kFailed : state.sync;
    }
    states.push_back(std::move(state));
  }
}

void HubConnection::append_problems(std::vector<SourceProblem>& problems) const {
  const std::string name = is_mesh() ? "the KVStoreMesh hub" : "cluster " + cluster_;
  if (!problem_.what.empty()) {
    problems.push_back(
        {{problem_.where, 0},
         name + " cannot be followed: " + problem_.what + (connects_ > 0 ? "; what is known of it stays in force" : ""),
         problem_.remedy});
  }
  if (!configs_.refusal.empty()) {
    problems.push_back({{std::string(kClusterConfigPrefix) + cluster_ + " (" + endpoint_ + ")", 0},
                        "the hub refuses to let it be read: " + configs_.refusal,
                        remedy_of(EtcdFailure::Kind::kDenied, "")});
  }
  for (const auto& [cluster, remote] : clusters_) {
    std::vector<SourceProblem> more = remote->problems();
    problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
}

}  // namespace isthmus
