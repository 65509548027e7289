// The etcd source's thread: scans the folder of client configurations, keeps one connection per hub, and hands changes
// to control through the outbox.
//
// Owner: EtcdSource. Thread: run() turns the calling thread into the engine's; stop() and rescan_soon() may be called
// from any thread. When a configuration file is deleted, or is no longer a client configuration, its cluster's data is
// removed, but only after two consecutive scans without it: a file that is being rewritten is empty for a moment.
// Failure: when the folder itself cannot be read, everything stays in force.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/source/etcd/fleet_registry.h"
#include "control/source/etcd/hub_connection.h"
#include "control/source/etcd/loop.h"
#include "control/source/etcd/options.h"
#include "control/source/etcd/outbox.h"

namespace isthmus {

class EtcdEngine {
 public:
  // Both references must outlive this object.
  EtcdEngine(const EtcdSourceOptions& options, EtcdOutbox& outbox);
  ~EtcdEngine();
  EtcdEngine(const EtcdEngine&) = delete;
  EtcdEngine& operator=(const EtcdEngine&) = delete;

  void run();
  void stop() { loop_.stop(); }
  // Rescans the configurations without waiting for folder_period.
  void rescan_soon();
  // Any thread, also before run(): see Source::set_restored().
  void set_restored(RestoredMembers members);

 private:
  struct Hub {
    std::unique_ptr<HubConnection> connection;
    bool missed = false;  // absent in the last scan
  };
  void rescan();
  void scan_folder();
  void read_mesh_config();
  void follow(const std::string& cluster, const std::string& path, const std::string& text);
  [[nodiscard]] bool holds_emptied(const std::set<std::string>& present);
  void remove_absent(const std::set<std::string>& present);
  [[nodiscard]] bool is_excluded(const std::string& cluster) const;
  void publish_changes();
  [[nodiscard]] bool all_synced() const;
  // The clusters that are configured, where that is known.
  [[nodiscard]] std::optional<std::set<std::string>> configured() const;
  void publish_view();
  void add_folder_problem(std::string path, std::string what, std::string fix);

  const EtcdSourceOptions& options_;
  EtcdOutbox& outbox_;
  std::vector<ObjectDelta> out_;
  EtcdLoop loop_;
  FleetRegistry registry_;
  EtcdShared shared_;
  std::optional<EtcdLoop::Clock::time_point> emptied_since_;  // the folder, of configurations
  std::map<std::string, Hub> hubs_;                           // by cluster; the KVStoreMesh hub has no name
  std::vector<SourceProblem> folder_problems_;
  std::set<std::string> unread_;  // names in the folder that may be clusters, without a configuration
  unsigned scans_ = 0;            // complete ones
  bool folder_read_ = false, complete_ = false;
  EtcdLoop::Clock::time_point started_, viewed_;
  EtcdTimer scan_timer_, retry_timer_;
};

}  // namespace isthmus
