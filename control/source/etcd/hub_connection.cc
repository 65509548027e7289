#include "control/source/etcd/hub_connection.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

constexpr const char* kMeshName = "kvstoremesh";

std::string fix_of(EtcdFailure::Kind kind, const std::string& certificate) {
  if (!certificate.empty()) {
    return "renew the client certificate: it " + certificate;
  }
  switch (kind) {
    case EtcdFailure::Kind::kUnauthenticated:
    case EtcdFailure::Kind::kDenied:
      return "use a client certificate whose common name is an etcd user with Cilium's role (remote, or local for "
             "KVStoreMesh)";
    default:
      return "check that the hub is running and reachable and that the certificates match; the connection is retried";
  }
}

std::size_t random_number(std::size_t below) {
  static std::minstd_rand generator{std::random_device{}()};
  return below < 2 ? 0 : std::uniform_int_distribution<std::size_t>(0, below - 1)(generator);
}

}  // namespace

HubConnection::HubConnection(const EtcdShared& shared, std::string cluster, std::string config_path,
                             IsExcluded is_excluded)
    : shared_(shared),
      cluster_(std::move(cluster)),
      config_path_(std::move(config_path)),
      is_excluded_(std::move(is_excluded)),
      connect_timer_(shared.loop),
      heartbeat_timer_(shared.loop),
      end_timer_(shared.loop),
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
  Result<EtcdClientConfig> config = parse_etcd_client_config(text, config_path_);
  if (!config) {
    config_.reset();
    connect_timer_.cancel();
    set_problem(config.error());
    return;
  }
  config_ = std::move(*config);
  // A random first endpoint, so that the gateways of a fleet do not all connect to the same one.
  std::rotate(config_->endpoints.begin(),
              config_->endpoints.begin() + static_cast<std::ptrdiff_t>(random_number(config_->endpoints.size())),
              config_->endpoints.end());
  connect();
}

void HubConnection::set_problem(Error error) {
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
      set_problem(read.error());
      connect_later(shared_.options.missing_file_period);
      return;
    }
    certificates = std::move(*read);
  }
  client_ = connect_etcd(shared_.loop, {endpoint_, plaintext, config_->insecure_skip_tls_verify, certificates.ca,
                                        certificates.certificate, certificates.key, shared_.options.call_timeout,
                                        shared_.options.keepalive_time, shared_.options.keepalive_timeout});
  pin_ = {};
  ending_ = false;
  heartbeat_follower_ =
      std::make_unique<EtcdFollower>(shared_.loop, *client_, pin_, follower_options(shared_.options),
                                     prefix_range(std::string(kHeartbeatPrefix)), kHeartbeatPrefix.size(), heartbeat_);
  heartbeat_follower_->start();
}

// Called when the heartbeat key was listed: first in a session, and again whenever its watch was lost.
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
  configs_.range_error.clear();
  config_follower_ = std::make_unique<EtcdFollower>(shared_.loop, *client_, pin_, follower_options(shared_.options),
                                                    is_mesh() ? prefix_range(prefix) : EtcdRange{prefix + cluster_, ""},
                                                    prefix.size(), configs_);
  config_follower_->start();
  check_heartbeat();
}

void HubConnection::check_heartbeat() {
  heartbeat_timer_.set(shared_.options.status_period, [this] {
    if (EtcdLoop::Clock::now() - last_heartbeat_ > shared_.options.heartbeat_timeout) {
      session_lost("no heartbeat from the hub for more than " +
                       std::to_string(shared_.options.heartbeat_timeout.count() / 1000) + " s",
                   EtcdFailure::Kind::kConnection);
    } else {
      check_heartbeat();
    }
  });
}

void HubConnection::session_lost(const std::string& why, EtcdFailure::Kind kind) {
  if (std::exchange(ending_, true)) {
    return;
  }
  // Deferred: the caller is a follower, which end_session() destroys.
  end_timer_.set(std::chrono::milliseconds(0), [this, why, kind] {
    end_session(why);
    ++failures_;
    std::string certificate;
    if (const auto read = read_certificates(*config_); read && !read->certificate.empty()) {
      certificate = certificate_error(read->certificate);
    }
    const std::string text = certificate.empty() ? why : why + "; the client certificate " + certificate;
    set_problem({text, endpoint_, fix_of(kind, certificate)});
    const auto wait = std::min(shared_.options.backoff_step * failures_, shared_.options.max_backoff);
    // Jitter of up to 10 %, so that gateways that lost a hub at the same time do not all reconnect at once.
    const auto jitter = static_cast<std::size_t>(wait.count() / 10);
    connect_later(wait + std::chrono::milliseconds(random_number(jitter + 1)));
  });
}

void HubConnection::end_session(const std::string& why) {
  connect_timer_.cancel();
  heartbeat_timer_.cancel();
  end_timer_.cancel();
  for (auto& [name, cluster] : clusters_) {
    cluster->session_ends(why);
  }
  config_follower_.reset();
  heartbeat_follower_.reset();
  client_.reset();
  ending_ = false;
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
    const std::unique_ptr<RemoteCluster> removed = std::move(found->second);
    clusters_.erase(found);
    removed->purge();
  }
}

void HubConnection::Configs::put(std::string_view suffix, std::string_view value) {
  const std::string name(suffix);
  if (owner_.is_mesh() && (owner_.is_excluded_(name) || !is_label(name, kClusterNameLength))) {
    return;
  }
  seen_.push_back(name);
  owner_.cluster(name).config_put(value);
}

void HubConnection::Configs::removed(std::string_view suffix) {
  const std::string name(suffix);
  if (owner_.is_mesh()) {
    // KVStoreMesh deletes a cluster's configuration before the cluster's data.
    owner_.remove_cluster(name);
  } else if (const auto found = owner_.clusters_.find(name); found != owner_.clusters_.end()) {
    found->second->config_missing();
  }
}

void HubConnection::Configs::list_ends() {
  range_error.clear();
  owner_.listed_ = true;
  for (auto& [name, cluster] : owner_.clusters_) {
    if (std::find(seen_.begin(), seen_.end(), name) == seen_.end()) {
      cluster->config_missing();
    }
  }
}

void HubConnection::Configs::range_failed(const EtcdFailure& failure) {
  range_error = failure.text;
  owner_.last_error_ = failure.text;
}

void HubConnection::retry_configs() {
  for (auto& [name, cluster] : clusters_) {
    cluster->retry_config();
  }
}

void HubConnection::purge() {
  for (auto& [name, cluster] : clusters_) {
    cluster->purge();
  }
}

void HubConnection::drop_excluded() {
  std::vector<std::string> names;
  for (const auto& [name, cluster] : clusters_) {
    if (is_mesh() && is_excluded_(name)) {
      names.push_back(name);
    }
  }
  for (const std::string& name : names) {
    remove_cluster(name);
  }
}

bool HubConnection::all_synced() const {
  return (!is_mesh() || listed_) &&
         std::all_of(clusters_.begin(), clusters_.end(), [](const auto& entry) { return entry.second->synced(); });
}

void HubConnection::append_states(std::vector<HubState>& states) const {
  const bool up = config_follower_ != nullptr;
  if (is_mesh()) {
    HubState state;
    state.name = kMeshName;
    state.server = endpoint_;
    state.servers = config_ ? config_->endpoints : std::vector<std::string>{};
    state.sync = !configs_.range_error.empty() ? HubState::Sync::kFailed
                 : up                          ? (listed_ ? HubState::Sync::kSynced : HubState::Sync::kListing)
                 : listed_                     ? HubState::Sync::kStale
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
      state.server = endpoint_;
      state.servers = config_ ? config_->endpoints : std::vector<std::string>{};
      state.connects = connects_;
      state.last_event = std::max(state.last_event, last_event_);
      state.last_error = state.last_error.empty() || !problem_.what.empty() ? last_error_ : state.last_error;
      state.sync = !config_ || (up && !configs_.range_error.empty()) ? HubState::Sync::kFailed : state.sync;
    }
    states.push_back(std::move(state));
  }
}

void HubConnection::append_problems(std::vector<SourceProblem>& problems) const {
  const std::string name = is_mesh() ? "the KVStoreMesh hub" : "cluster " + cluster_;
  if (!problem_.what.empty()) {
    const char* const data = connects_ > 0 ? "; its last known data stays in force" : "";
    problems.push_back(problem_at(problem_.where, name + " cannot be read: " + problem_.what + data, problem_.fix));
  }
  if (!configs_.range_error.empty()) {
    problems.push_back(problem_at(std::string(kClusterConfigPrefix) + cluster_ + " (" + endpoint_ + ")",
                                  "the hub denies read access: " + configs_.range_error,
                                  fix_of(EtcdFailure::Kind::kDenied, "")));
  }
  for (const auto& [cluster, remote] : clusters_) {
    std::vector<SourceProblem> more = remote->problems();
    problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
}

}  // namespace isthmus
