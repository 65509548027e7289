#include "control/source/etcd/resources.h"

namespace isthmus {
namespace {

std::string base(EtcdResource resource, EtcdLayout layout) {
  return std::string(layout == EtcdLayout::kState ? "cilium/state/" : "cilium/cache/") + to_text(resource) + "/v1";
}

}  // namespace

const char* to_text(EtcdResource resource) {
  switch (resource) {
    case EtcdResource::kNodes:
      return "nodes";
    case EtcdResource::kIdentities:
      return "identities";
    case EtcdResource::kAddresses:
      return "ip";
    case EtcdResource::kServices:
      return "services";
    case EtcdResource::kExports:
      return "serviceexports";
    case EtcdResource::kSlices:
      return "endpointslices";
    case EtcdResource::kGateways:
      return "isthmus/gateways";
  }
  return "";
}

std::string key_prefix(EtcdResource resource, EtcdLayout layout, const std::string& cluster) {
  const std::string prefix = base(resource, layout) + "/";
  if (resource == EtcdResource::kIdentities) {
    return layout == EtcdLayout::kState ? prefix + "id/" : prefix + cluster + "/id/";
  }
  if (resource == EtcdResource::kAddresses && layout == EtcdLayout::kState) {
    return prefix + "default/";
  }
  return prefix + cluster + "/";
}

std::string canary_prefix(const std::string& cluster) { return "cilium/synced/" + cluster + "/"; }

std::string canary_suffix(EtcdResource resource, EtcdLayout layout) {
  return resource == EtcdResource::kGateways ? "" : base(resource, layout);
}

}  // namespace isthmus
