// The hub that is a ClusterMesh: each remote cluster's etcd, as Cilium's own agents read it, or one KVStoreMesh hub.
//
// Owner: control/daemon. Thread: control for its methods, none of which waits; one thread of its own connects, reads
// and decodes. Emits Clusters, Nodes, identities, addresses, Services with their slices, Gateways and one profile, for
// every remote cluster; nothing for our own. Failure: a hub that cannot be reached keeps its data in force and is tried
// again for ever; see states() and problems(). Destruction ends the thread and drains nothing.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/source/etcd/options.h"
#include "control/source/source.h"

namespace isthmus {

class EtcdEngine;
class EtcdOutbox;

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
  // Looks at the configurations at once; the hubs themselves are followed anyway.
  void reread() override;
  // True also when a hub has not answered for sync_timeout since the start: states() tells which.
  [[nodiscard]] bool synced() const override { return synced_; }
  [[nodiscard]] std::string describe() const override;
  // One for each remote cluster, and one called "kvstoremesh" for such a hub.
  [[nodiscard]] std::vector<HubState> states() const override;

 private:
  EtcdSourceOptions options_;
  std::unique_ptr<EtcdOutbox> outbox_;
  std::unique_ptr<EtcdEngine> engine_;
  std::thread thread_;
  bool synced_ = false;
};

}  // namespace isthmus
