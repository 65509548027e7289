// One cluster of a hub: its configuration, the order in which its prefixes are followed, and its data, which outlives
// connections.
//
// Owner: the hub's connection. Thread: the etcd source's. A session lasts as long as one connection: session_begins(),
// the cluster's configuration as the hub has it now, then each prefix as its canary shows up, session_ends(). Between
// sessions everything stays in force. Failure: a configuration that cannot be used leaves the former one in force, but
// for one with another id: then all data of the old id is drained first.
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

// What all parts of the source share.
struct EtcdShared {
  EtcdLoop& loop;
  const EtcdSourceOptions& options;
  FleetRegistry& registry;
  std::vector<ObjectDelta>& out;
  std::function<void()> id_released;
};

[[nodiscard]] FollowerOptions follower_options(const EtcdSourceOptions& options);

class RemoteCluster {
 public:
  class Hub {
   public:
    virtual ~Hub() = default;
    // Ends the session soon, not at once.
    virtual void session_lost(const std::string& why, EtcdFailure::Kind kind) = 0;
    virtual void heard() = 0;
  };

  RemoteCluster(const EtcdShared& shared, std::string name, Hub& hub);
  ~RemoteCluster();
  RemoteCluster(const RemoteCluster&) = delete;
  RemoteCluster& operator=(const RemoteCluster&) = delete;

  void session_begins(EtcdClient& client, EtcdPin& pin, const std::string& endpoint);
  void session_ends(const std::string& why);
  void config_put(std::string_view value);
  // There is none in the hub. Data stays in force.
  void config_missing();
  // For when another cluster gave an id back.
  void retry_config();
  // The cluster is no longer ours to follow: its data goes.
  void drain();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool synced() const;  // everything that is awaited was listed once
  [[nodiscard]] bool has_failed() const { return !config_error_.what.empty(); }
  [[nodiscard]] HubState state(bool connected) const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  // One prefix, in one session.
  class Feed final : public EtcdFollower::Handler {
   public:
    Feed(RemoteCluster& owner, EtcdResource resource) : owner_(owner), resource_(resource) {}
    void list_begins() override { owner_.import_->list_begins(resource_); }
    void put(std::string_view tail, std::string_view value) override;
    void gone(std::string_view tail) override;
    void list_ends() override { owner_.list_ended(resource_); }
    void heard() override { owner_.heard(); }
    void refused(const EtcdFailure& failure) override;
    void lost(const std::string& why, EtcdFailure::Kind kind) override { owner_.hub_.session_lost(why, kind); }

    std::unique_ptr<EtcdFollower> follower;
    std::string refusal;

   private:
    RemoteCluster& owner_;
    EtcdResource resource_;
  };
  // The cluster's canaries.
  class Canaries final : public EtcdFollower::Handler {
   public:
    explicit Canaries(RemoteCluster& owner) : owner_(owner) {}
    void put(std::string_view tail, std::string_view) override { owner_.canary(tail); }
    void gone(std::string_view) override {}  // says nothing about the data
    void list_ends() override {}
    void heard() override { owner_.heard(); }
    void refused(const EtcdFailure& failure) override;
    void lost(const std::string& why, EtcdFailure::Kind kind) override { owner_.hub_.session_lost(why, kind); }

    std::unique_ptr<EtcdFollower> follower;
    std::string refusal;

   private:
    RemoteCluster& owner_;
  };

  [[nodiscard]] EtcdLayout layout() const;
  [[nodiscard]] bool followed(EtcdResource resource) const;  // by the configuration
  [[nodiscard]] bool awaited(EtcdResource resource) const;   // before the cluster counts as synced
  [[nodiscard]] bool done(EtcdResource resource) const;      // listed in this session, or refused where that is normal
  void adopt(const ClusterConfigValue& config);
  void reject(Error error);
  void start_feeds();
  void stop_feeds();
  void canary(std::string_view tail);
  void start_feed(EtcdResource resource);
  void list_ended(EtcdResource resource);
  void note_change();
  void settle();
  void heard();
  void tick();

  EtcdShared shared_;
  std::string name_;
  Hub& hub_;
  std::optional<ClusterConfigValue> config_;  // in force
  std::string config_text_;                   // the last one seen
  Error config_error_;
  bool config_confirmed_ = false;  // in this session
  std::unique_ptr<ClusterImport> import_;

  std::unique_ptr<PacedClient> client_;  // of the session
  EtcdPin* pin_ = nullptr;
  std::string endpoint_;
  std::array<std::unique_ptr<Feed>, kEtcdResources> feeds_;
  std::unique_ptr<Canaries> canaries_;
  EtcdTimer settle_timer_, tick_timer_;
  EtcdLoop::Clock::time_point session_since_;
  std::optional<EtcdLoop::Clock::time_point> last_event_;
  std::uint64_t connects_ = 0;
  std::string last_error_;
};

}  // namespace isthmus
