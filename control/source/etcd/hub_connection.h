// The connection to one hub's etcd, re-established after every failure. It serves one cluster, or with KVStoreMesh all
// clusters that the hub has a configuration of.
//
// Owner: EtcdEngine. Thread: the etcd source's. Each attempt rereads the certificates, takes the next endpoint of the
// configuration, creates a new client and pins the cluster id of the etcd that answers. The hub counts as connected
// once the heartbeat key has been listed. Failure: when the connection fails, or the heartbeat key does not change for
// heartbeat_timeout (even if the etcd still answers), the session ends and a new attempt follows after a back-off.
// The clusters' data stays in force throughout.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/source/etcd/client_config.h"
#include "control/source/etcd/remote_cluster.h"

namespace isthmus {

class HubConnection final : public RemoteCluster::Hub {
 public:
  using IsExcluded = std::function<bool(const std::string& cluster)>;
  // `cluster`: the cluster to follow. Empty: a KVStoreMesh hub; every cluster it has a configuration of is followed,
  // except those for which `is_excluded` returns true (evaluated at each use). `config_path`: the client configuration
  // file, for messages.
  HubConnection(const EtcdShared& shared, std::string cluster, std::string config_path, IsExcluded is_excluded);
  ~HubConnection() override;

  // Reconnects with this client configuration; data stays in force.
  void configure(const std::string& text);
  // Retries rejected cluster configurations, after a cluster id was released.
  void retry_configs();
  // Removes the data of all clusters.
  void purge();
  // Removes the clusters that have become excluded because another hub follows them now.
  void drop_excluded();

  // Extends the heartbeat deadline by a time during which this thread was blocked and could not receive heartbeats.
  void extend_heartbeat_deadline(EtcdLoop::Clock::duration blocked) { last_heartbeat_ += blocked; }

  void session_lost(const std::string& why, EtcdFailure::Kind kind) override;
  void reply_received() override { last_event_ = EtcdLoop::Clock::now(); }

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool all_synced() const;  // every known cluster is synced
  void append_states(std::vector<HubState>& states) const;
  void append_problems(std::vector<SourceProblem>& problems) const;

 private:
  // Follows the heartbeat key. Only its arrival matters, not its value.
  class Heartbeat final : public EtcdFollower::Handler {
   public:
    explicit Heartbeat(HubConnection& owner) : owner_(owner) {}
    void put(std::string_view, std::string_view) override { owner_.last_heartbeat_ = EtcdLoop::Clock::now(); }
    void removed(std::string_view) override {}
    void list_ends() override { owner_.connected(); }
    void reply_received() override { owner_.reply_received(); }
    void range_failed(const EtcdFailure& failure) override { owner_.session_lost(failure.text, failure.kind); }
    void connection_lost(const std::string& why, EtcdFailure::Kind kind) override { owner_.session_lost(why, kind); }

   private:
    HubConnection& owner_;
  };
  // Follows the cluster configuration: of the one cluster, or of all clusters of a KVStoreMesh hub.
  class Configs final : public EtcdFollower::Handler {
   public:
    explicit Configs(HubConnection& owner) : owner_(owner) {}
    void list_begins() override { seen_.clear(); }
    void put(std::string_view suffix, std::string_view value) override;
    void removed(std::string_view suffix) override;
    void list_ends() override;
    void reply_received() override { owner_.reply_received(); }
    void range_failed(const EtcdFailure& failure) override;
    void connection_lost(const std::string& why, EtcdFailure::Kind kind) override { owner_.session_lost(why, kind); }

    std::string range_error;  // why the range cannot be read; empty: it can

   private:
    HubConnection& owner_;
    std::vector<std::string> seen_;  // cluster names of the current list
  };

  [[nodiscard]] bool is_mesh() const { return cluster_.empty(); }
  void connect();
  void connected();
  void check_heartbeat();
  void end_session(const std::string& why);
  void set_problem(Error error);
  void connect_later(std::chrono::milliseconds wait);
  RemoteCluster& cluster(const std::string& name);
  void remove_cluster(const std::string& name);

  EtcdShared shared_;
  std::string cluster_, config_path_;
  IsExcluded is_excluded_;
  std::string text_;
  std::optional<EtcdClientConfig> config_;
  std::map<std::string, std::unique_ptr<RemoteCluster>> clusters_;

  std::string endpoint_;
  std::size_t attempts_ = 0;  // since configure(); selects the endpoint
  unsigned failures_ = 0;     // consecutive
  std::uint64_t connects_ = 0;
  bool listed_ = false;  // the cluster configurations were listed at least once
  bool ending_ = false;  // end_timer_ will end the session
  Error problem_;        // of the last attempt; empty: none
  std::string last_error_;
  std::optional<EtcdLoop::Clock::time_point> last_event_;
  EtcdLoop::Clock::time_point last_heartbeat_;

  EtcdTimer connect_timer_, heartbeat_timer_, end_timer_;
  std::unique_ptr<EtcdClient> client_;
  EtcdPin pin_;
  Heartbeat heartbeat_;
  Configs configs_;
  std::unique_ptr<EtcdFollower> heartbeat_follower_, config_follower_;
};

}  // namespace isthmus
