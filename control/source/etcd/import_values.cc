// The part of ClusterImport that turns one value into objects, or takes one key's objects away.
#include "control/source/etcd/cluster_import.h"

namespace isthmus {

Status ClusterImport::apply(EtcdResource resource, std::string_view tail, std::string_view value) {
  switch (resource) {
    case EtcdResource::kNodes:
      return apply_node(tail, value);
    case EtcdResource::kIdentities: {
      Result<IdentityObject> identity = decode_identity(context_, tail, value);
      if (!identity) {
        return identity.error();
      }
      emit(ObjectKind::kIdentity, tail, std::move(*identity), resource);
      return Ok{};
    }
    case EtcdResource::kAddresses: {
      Result<AddressObject> address = decode_address(context_, tail, value);
      if (!address) {
        return address.error();
      }
      emit(ObjectKind::kAddress, tail, std::move(*address), resource);
      return Ok{};
    }
    case EtcdResource::kServices:
      return apply_service(tail, value);
    case EtcdResource::kExports: {
      Result<ServiceExportValue> exported = decode_service_export(context_, tail, value);
      if (!exported) {
        return exported.error();
      }
      registry_.set_export(context_.cluster, std::string(tail), *exported);
      services_.set_export(std::string(tail), std::move(*exported));
      return Ok{};
    }
    case EtcdResource::kSlices: {
      Result<EndpointSliceValue> slice = decode_endpoint_slice(context_, tail, value);
      if (!slice) {
        return slice.error();
      }
      services_.set_slice(std::string(tail), std::move(*slice));
      return Ok{};
    }
    case EtcdResource::kGateways: {
      Result<GatewayValue> gateway = decode_gateway(context_, tail, value);
      if (!gateway) {
        return gateway.error();
      }
      registry_.set_registered_gateway(context_.cluster, std::string(tail), std::move(*gateway));
      return Ok{};
    }
  }
  return Ok{};
}

Status ClusterImport::apply_node(std::string_view tail, std::string_view value) {
  Result<NodeObject> node = decode_node(context_, tail, value);
  if (!node) {
    return node.error();
  }
  NodeObject& known = nodes_[std::string(tail)];
  cluster_dirty_ = cluster_dirty_ || !(known == *node);
  known = *node;
  emit(ObjectKind::kNode, tail, std::move(*node), EtcdResource::kNodes);
  return Ok{};
}

Status ClusterImport::apply_service(std::string_view tail, std::string_view value) {
  Result<ServiceValue> service = decode_service(context_, tail, value);
  if (!service) {
    return service.error();
  }
  if (!service->shared) {
    // Known and good, and nothing of it is for others.
    remove_object(EtcdResource::kServices, tail);
    return Ok{};
  }
  if (is_gateway_service(tail)) {
    registry_.set_service_gateways(context_.cluster, service->backends);
    return Ok{};  // nobody is to be balanced over gateways
  }
  services_.set_service(std::string(tail), std::move(*service));
  return Ok{};
}

void ClusterImport::remove_object(EtcdResource resource, std::string_view tail) {
  switch (resource) {
    case EtcdResource::kNodes:
      nodes_.erase(std::string(tail));
      cluster_dirty_ = true;
      emit(ObjectKind::kNode, tail, std::nullopt, resource);
      break;
    case EtcdResource::kIdentities:
      emit(ObjectKind::kIdentity, tail, std::nullopt, resource);
      break;
    case EtcdResource::kAddresses:
      emit(ObjectKind::kAddress, tail, std::nullopt, resource);
      break;
    case EtcdResource::kServices:
      if (is_gateway_service(tail)) {
        registry_.set_service_gateways(context_.cluster, {});
      }
      services_.set_service(std::string(tail), std::nullopt);
      break;
    case EtcdResource::kExports:
      registry_.set_export(context_.cluster, std::string(tail), std::nullopt);
      services_.set_export(std::string(tail), std::nullopt);
      break;
    case EtcdResource::kSlices:
      services_.set_slice(std::string(tail), std::nullopt);
      break;
    case EtcdResource::kGateways:
      registry_.set_registered_gateway(context_.cluster, std::string(tail), std::nullopt);
      break;
  }
}

}  // namespace isthmus
