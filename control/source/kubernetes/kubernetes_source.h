// A cluster's own Kubernetes API server as a source: the same objects as manifests in clusters/<cluster>/ of a file
// hub, and our own fleet kinds where they are installed. The rights it needs stand in control/source/README.md. See
// api_source.h for threads and failure.
#pragma once

#include <string>

#include "control/source/kubernetes/api_source.h"

namespace isthmus {

struct KubernetesSourceOptions {
  std::string cluster;  // whose objects these are
  ApiServerOptions server;
  // clustermesh-default-global-namespace of the cluster's Cilium (the managed mesh of AKS: false).
  bool default_global_namespace = true;
  // Whether to use EndpointSlices imported by the Multi-Cluster Services API. False where another hub publishes the
  // other clusters.
  bool imported_slices = true;
  // Whether to ask for the agents' configuration.
  bool agent_config = true;
};

class KubernetesSource final : public ApiSource {
 public:
  explicit KubernetesSource(const KubernetesSourceOptions& options);
};

}  // namespace isthmus
