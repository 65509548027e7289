// Identities of our own cluster's pods that have no CiliumEndpoint: by the labels of Pod and Namespace, as Cilium's
// are. Their numbers are this gateway's own and never sent, see dataplane/api/identity.h. Pods with equal labels share
// one.
//
// Owner: Compiler; written by EndpointSet, read by PolicySet. Thread: control. Cost: of one pod's labels. Failure:
// none.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "control/compile/id_pool.h"
#include "control/model/model.h"

namespace isthmus {

class LocalIdentities {
 public:
  using Labels = std::map<std::string, std::string>;  // as a CiliumIdentity has them: "k8s:app" → "shop"

  // The identity for the labels that the pod has now; the one it had before is released.
  Identity assign(const ObjectKey& pod, const PodObject& object, const Model& model);
  void release(const ObjectKey& pod);

  [[nodiscard]] std::optional<Identity> find(const ObjectKey& pod) const;
  // Null: no pod has it.
  [[nodiscard]] const Labels* labels(Identity number) const;
  // The numbers that appeared or went since the last call.
  [[nodiscard]] std::set<Identity> take_changes() { return std::exchange(changed_, {}); }

 private:
  struct Group {
    Identity number;
    std::size_t pods = 0;
  };
  using Groups = std::map<Labels, Group>;

  void leave(Groups::iterator group);

  Groups groups_;
  std::map<ObjectKey, Groups::iterator> pods_;
  std::map<Identity, Groups::iterator> numbers_;
  IdPool<Identity> pool_{kQuarantine};
  std::set<Identity> changed_;
  static constexpr std::size_t kQuarantine = 1024;
};

}  // namespace isthmus
