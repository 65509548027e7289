// The ClusterMesh hub: each remote cluster's etcd, read as Cilium's own agents read it, or one KVStoreMesh hub.
//
// Owner: control/daemon. Thread: control for its methods, none of which blocks; a thread of its own connects, reads and
// decodes. Emits clusters, nodes, identities, addresses, services with their slices and gateways of every remote
// cluster, none of our own cluster, and one profile. Failure: the data of an unreachable hub stays in force, and the
// connection is retried forever; see states() and problems(). Destruction ends the thread and removes no data.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "control/source/etcd/options.h"
#include "control/source/etcd/outbox.h"
#include "control/source/source.h"

namespace isthmus {

class EtcdEngine;

class EtcdSource final : public Source {
 public:
  explicit EtcdSource(EtcdSourceOptions options);
  ~EtcdSource() override;
  EtcdSource(const EtcdSource&) = delete;
  EtcdSource& operator=(const EtcdSource&) = delete;

  [[nodiscard]] Status start() override;
  [[nodiscard]] int fd() const override;
  [[nodiscard]] std::vector<ObjectDelta> poll() override;
  [[nodiscard]] std::vector<SourceProblem> problems() const override;
  // Rescans the configurations at once. The hubs themselves are watched all the time.
  void reload() override;
  // Also true after sync_timeout, even if some hub has not answered by then; states() shows which.
  [[nodiscard]] bool synced() const override { return synced_; }
  // By cluster: what it is required to have has been listed, or all hubs were and none has the cluster, or no hub of it
  // is configured.
  [[nodiscard]] bool listed(ObjectKind kind, const std::string& cluster) const override;
  void set_restored(const RestoredMembers& members) override;
  [[nodiscard]] std::string describe() const override;
  [[nodiscard]] std::optional<std::string> identity() const override;
  // One for each remote cluster, and one named "kvstoremesh" for a KVStoreMesh hub.
  [[nodiscard]] std::vector<HubState> states() const override;

 private:
  EtcdSourceOptions options_;
  std::unique_ptr<EtcdOutbox> outbox_;
  std::unique_ptr<EtcdEngine> engine_;
  std::thread thread_;
  bool synced_ = false;
  EtcdListed listed_;
  RestoredMembers restored_;
};

}  // namespace isthmus
