// The etcd source's thread: looks at the configuration folder, keeps one connection for each hub, and hands over what
// changed.
//
// Owner: EtcdSource. Thread: run() makes the calling one the engine's; stop() and look_soon() may be called by any.
// A configuration that is gone or is none any more takes its cluster's data with it, but only when two looks in a row
// say so: a file that is being rewritten is empty for a moment. When the folder itself is gone, all stays as it is.
#pragma once

#include <map>
#include <memory>
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
  // Both outlive this object.
  EtcdEngine(const EtcdSourceOptions& options, EtcdOutbox& outbox);
  ~EtcdEngine();
  EtcdEngine(const EtcdEngine&) = delete;
  EtcdEngine& operator=(const EtcdEngine&) = delete;

  void run();
  void stop() { loop_.stop(); }
  void look_soon();

 private:
  struct Hub {
    std::unique_ptr<HubConnection> connection;
    bool missed = false;  // by the last look
  };
  void look();
  void look_at_folder();
  void look_at_mesh();
  void follow(const std::string& cluster, const std::string& path, const std::string& text);
  void forget_absent(const std::set<std::string>& present);
  [[nodiscard]] bool is_unwanted(const std::string& cluster) const;
  void hand_over();
  void publish_view();
  void folder_problem(std::string place, std::string what, std::string remedy);

  const EtcdSourceOptions& options_;
  EtcdOutbox& outbox_;
  std::vector<ObjectDelta> out_;
  EtcdLoop loop_;
  FleetRegistry registry_;
  EtcdShared shared_;
  std::map<std::string, Hub> hubs_;  // by cluster; the KVStoreMesh hub has no name
  std::vector<SourceProblem> folder_problems_;
  bool folder_read_ = false, complete_ = false;
  EtcdLoop::Clock::time_point started_, viewed_;
  EtcdTimer look_timer_, retry_timer_;
};

}  // namespace isthmus
