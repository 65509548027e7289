#include "control/source/kubernetes/kubernetes_source.h"

#include <memory>

#include "control/source/kubernetes/cluster_objects.h"

namespace isthmus {

KubernetesSource::KubernetesSource(const KubernetesSourceOptions& options)
    : ApiSource(
          "the Kubernetes API of cluster " + options.cluster, options.server,
          [cluster = options.cluster, global = options.default_global_namespace, imported = options.imported_slices,
           agents = options.agent_config](const std::string& server) {
            return std::make_unique<ClusterObjects>(ClusterObjectsOptions{cluster, server, global, imported, agents});
          }) {}

}  // namespace isthmus
