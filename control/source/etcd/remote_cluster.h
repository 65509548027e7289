// One cluster of a hub: its configuration, the order in which its prefixes are followed, and its data, which outlives
// connections.
//
// Owner: HubConnection. Thread: the etcd source's. A session lasts as long as one connection: session_begins(), then
// the cluster's current configuration, then each prefix once its canary (Cilium's "synced" key) exists, and finally
// session_ends(). Between sessions all data stays in force. Failure: an unusable configuration is rejected and the
// former one stays in force; a configuration with another cluster id first removes all data of the old id.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/source/etcd/cluster_import.h"
#include "control/source/etcd/follower.h"
#include "control/source/etcd/options.h"
#include "control/source/etcd/paced_client.h"
#include "control/source/source.h"

namespace isthmus {

// Shared by all parts of the source; owned by EtcdEngine.
struct EtcdShared {
  EtcdLoop& loop;
  const EtcdSourceOptions& options;
  FleetRegistry& registry;
  std::vector<ObjectDelta>& out;
  std::function<void()> id_released;  // a cluster id became free
};

[[nodiscard]] FollowerOptions follower_options(const EtcdSourceOptions& options);

class RemoteCluster {
 public:
  class Hub {
   public:
    virtual ~Hub() = default;
    // The connection failed. Ends the session asynchronously, so that a follower may call it.
    virtual void session_lost(const std::string& why, EtcdFailure::Kind kind) = 0;
    // The server sent something.
    virtual void reply_received() = 0;
  };

  RemoteCluster(const EtcdShared& shared, std::string name, Hub& hub);
  ~RemoteCluster();
  RemoteCluster(const RemoteCluster&) = delete;
  RemoteCluster& operator=(const RemoteCluster&) = delete;

  void session_begins(EtcdClient& client, EtcdPin& pin, const std::string& endpoint);
  void session_ends(const std::string& why);
  void config_put(std::string_view value);
  // The hub has no configuration of the cluster. Its data stays in force.
  void config_missing();
  // Retries a rejected configuration, after another cluster released an id.
  void retry_config();
  // Removes all of the cluster's data: it is no longer followed, or its id changed.
  void purge();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool synced() const;  // every required prefix was listed at least once
  [[nodiscard]] bool has_failed() const { return !config_error_.what.empty(); }
  [[nodiscard]] HubState state(bool connected) const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  // Follows one prefix during one session.
  class Feed final : public EtcdFollower::Handler {
   public:
    Feed(RemoteCluster& owner, EtcdResource resource) : owner_(owner), resource_(resource) {}
    void list_begins() override { owner_.import_->list_begins(resource_); }
    void put(std::string_view suffix, std::string_view value) override;
    void removed(std::string_view suffix) override;
    void list_ends() override { owner_.list_ended(resource_); }
    void reply_received() override { owner_.reply_received(); }
    void range_failed(const EtcdFailure& failure) override;
    void connection_lost(const std::string& why, EtcdFailure::Kind kind) override {
      owner_.hub_.session_lost(why, kind);
    }

    std::unique_ptr<EtcdFollower> follower;
    std::string range_error;  // why the range cannot be read; empty: it can

   private:
    RemoteCluster& owner_;
    EtcdResource resource_;
  };
  // Follows the cluster's canaries.
  class Canaries final : public EtcdFollower::Handler {
   public:
    explicit Canaries(RemoteCluster& owner) : owner_(owner) {}
    void put(std::string_view suffix, std::string_view) override { owner_.canary(suffix); }
    void removed(std::string_view) override {}  // does not affect the data
    void list_ends() override {}
    void reply_received() override { owner_.reply_received(); }
    void range_failed(const EtcdFailure& failure) override;
    void connection_lost(const std::string& why, EtcdFailure::Kind kind) override {
      owner_.hub_.session_lost(why, kind);
    }

    std::unique_ptr<EtcdFollower> follower;
    std::string range_error;  // why the range cannot be read; empty: it can

   private:
    RemoteCluster& owner_;
  };

  [[nodiscard]] EtcdLayout layout() const;
  [[nodiscard]] bool is_followed(EtcdResource resource) const;  // as the configuration demands
  [[nodiscard]] bool is_required(EtcdResource resource) const;  // for the cluster to count as synced
  [[nodiscard]] bool is_listed(EtcdResource resource) const;  // listed in this session, or denied where that is normal
  void apply_config(const ClusterConfigValue& config);
  void reject_config(Error error);
  void start_feeds();
  void stop_feeds();
  void canary(std::string_view suffix);
  void start_feed(EtcdResource resource);
  void list_ended(EtcdResource resource);
  void on_change();
  void settle_removals();
  void publish_cluster();
  void reply_received();
  void tick();

  EtcdShared shared_;
  std::string name_;
  Hub& hub_;
  std::optional<ClusterConfigValue> config_;  // in force
  std::string config_text_;                   // the last one received
  Error config_error_;
  bool config_confirmed_ = false;  // in this session
  std::unique_ptr<ClusterImport> import_;

  std::unique_ptr<PacedClient> client_;  // of the session
  EtcdPin* pin_ = nullptr;
  std::string endpoint_;
  std::array<std::unique_ptr<Feed>, kEtcdResources> feeds_;
  std::unique_ptr<Canaries> canaries_;
  EtcdTimer publish_timer_, removal_timer_, tick_timer_;
  EtcdLoop::Clock::time_point session_since_;
  std::optional<EtcdLoop::Clock::time_point> last_event_;
  std::uint64_t connects_ = 0;
  std::string last_error_;
};

}  // namespace isthmus
