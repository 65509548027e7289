// The connection to one hub's etcd: made anew whenever it is of no more use, with one or all of its clusters following.
//
// Owner: EtcdSource's engine. Thread: its. Each attempt reads the certificates again, takes the next endpoint and a
// fresh client, and pins the first etcd that answers. It counts as made when the heartbeat's key has been listed; when
// no heartbeat is heard for too long it is given up, though the etcd may still answer. Data stays in force throughout.
#pragma once

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
  // `cluster` empty: a KVStoreMesh hub, whose clusters are all those it has a configuration of but `not_these` (asked
  // anew each time). `place`: the file it is configured in.
  using Unwanted = std::function<bool(const std::string& cluster)>;
  HubConnection(const EtcdShared& shared, std::string cluster, std::string place, Unwanted unwanted);
  ~HubConnection() override;

  // Connects anew; data stays.
  void configure(const std::string& text);
  void retry_configs();
  // All clusters' data goes.
  void drain();
  // Cluster names that another hub took over are let go.
  void drop_unwanted();

  // We did not listen for so long: that is not the hub's silence.
  void pardon(EtcdLoop::Clock::duration time) { last_heartbeat_ += time; }

  void session_lost(const std::string& why, EtcdFailure::Kind kind) override;
  void heard() override { last_event_ = EtcdLoop::Clock::now(); }

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool settled() const;  // all that was found is synced
  void append_states(std::vector<HubState>& states) const;
  void append_problems(std::vector<SourceProblem>& problems) const;

 private:
  // Its arrival is what counts, not what it says.
  class Heartbeat final : public EtcdFollower::Handler {
   public:
    explicit Heartbeat(HubConnection& owner) : owner_(owner) {}
    void put(std::string_view, std::string_view) override { owner_.last_heartbeat_ = EtcdLoop::Clock::now(); }
    void gone(std::string_view) override {}
    void list_ends() override { owner_.connected(); }
    void heard() override { owner_.heard(); }
    void refused(const EtcdFailure& failure) override { owner_.session_lost(failure.text, failure.kind); }
    void lost(const std::string& why, EtcdFailure::Kind kind) override { owner_.session_lost(why, kind); }

   private:
    HubConnection& owner_;
  };
  // The configuration of the one cluster, or of all of a KVStoreMesh hub.
  class Configs final : public EtcdFollower::Handler {
   public:
    explicit Configs(HubConnection& owner) : owner_(owner) {}
    void list_begins() override { seen_.clear(); }
    void put(std::string_view tail, std::string_view value) override;
    void gone(std::string_view tail) override;
    void list_ends() override;
    void heard() override { owner_.heard(); }
    void refused(const EtcdFailure& failure) override;
    void lost(const std::string& why, EtcdFailure::Kind kind) override { owner_.session_lost(why, kind); }

    std::string refusal;

   private:
    HubConnection& owner_;
    std::vector<std::string> seen_;
  };

  [[nodiscard]] bool is_mesh() const { return cluster_.empty(); }
  void connect();
  void connected();
  void check_heartbeat();
  void end_session(const std::string& why);
  void failed(Error error);
  void connect_later(std::chrono::milliseconds wait);
  RemoteCluster& cluster(const std::string& name);
  void remove_cluster(const std::string& name);

  EtcdShared shared_;
  std::string cluster_, place_;
  Unwanted unwanted_;
  std::string text_;
  std::optional<EtcdClientConfig> config_;
  std::map<std::string, std::unique_ptr<RemoteCluster>> clusters_;

  std::string endpoint_;
  std::size_t attempts_ = 0;  // since start, to take endpoints in turn
  unsigned failures_ = 0;     // in a row
  std::uint64_t connects_ = 0;
  bool listed_ = false;  // a KVStoreMesh hub's clusters are known
  bool losing_ = false;
  Error problem_;  // of the last attempt; empty: none
  std::string last_error_;
  std::optional<EtcdLoop::Clock::time_point> last_event_;
  EtcdLoop::Clock::time_point last_heartbeat_;

  EtcdTimer connect_timer_, heartbeat_timer_, lose_timer_;
  std::unique_ptr<EtcdClient> client_;
  EtcdPin pin_;
  Heartbeat heartbeat_;
  Configs configs_;
  std::unique_ptr<EtcdFollower> heartbeat_follower_, config_follower_;
};

}  // namespace isthmus
