// A cluster's own Kubernetes API server as a source: what its manifests would say in clusters/<cluster>/ of a file hub,
// and the fleet's own kinds where they are installed. Needs get, list and watch on what cluster_objects.cc lists.
// See api_source.h for threads and failure.
#pragma once

#include <string>

#include "control/source/kubernetes/api_source.h"

namespace isthmus {

struct KubernetesSourceOptions {
  std::string cluster;  // whose objects these are
  ApiServerOptions server;
  // clustermesh-default-global-namespace of the cluster's Cilium (the managed mesh of AKS: false).
  bool default_global_namespace = true;
  // Whether the EndpointSlices that the Multi-Cluster Services API imported count: where no other hub tells of the
  // other clusters.
  bool imported_slices = true;
};

class KubernetesSource final : public ApiSource {
 public:
  explicit KubernetesSource(const KubernetesSourceOptions& options);
};

}  // namespace isthmus
