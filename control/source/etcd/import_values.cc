// The part of ClusterImport that turns one value into objects, or removes the objects of one key.
#include "control/source/etcd/cluster_import.h"

namespace isthmus {

Status ClusterImport::apply(EtcdResource resource, std::string_view suffix, std::string_view value) {
  switch (resource) {
    case EtcdResource::kNodes:
      return apply_node(suffix, value);
    case EtcdResource::kIdentities: {
      Result<IdentityObject> identity = decode_identity(context_, suffix, value);
      if (!identity) {
        return identity.error();
      }
      emit(ObjectKind::kIdentity, suffix, std::move(*identity), resource);
      return Ok{};
    }
    case EtcdResource::kAddresses: {
      Result<AddressObject> address = decode_address(context_, suffix, value);
      if (!address) {
        return address.error();
      }
      emit(ObjectKind::kAddress, suffix, std::move(*address), resource);
      return Ok{};
    }
    case EtcdResource::kServices:
      return apply_service(suffix, value);
    case EtcdResource::kExports: {
      Result<ServiceExportValue> exported = decode_service_export(context_, suffix, value);
      if (!exported) {
        return exported.error();
      }
      registry_.set_export(context_.cluster, std::string(suffix), *exported);
      services_.set_export(std::string(suffix), std::move(*exported));
      return Ok{};
    }
    case EtcdResource::kSlices: {
      Result<EndpointSliceValue> slice = decode_endpoint_slice(context_, suffix, value);
      if (!slice) {
        return slice.error();
      }
      services_.set_slice(std::string(suffix), std::move(*slice));
      return Ok{};
    }
    case EtcdResource::kGateways: {
      Result<GatewayValue> gateway = decode_gateway(context_, suffix, value);
      if (!gateway) {
        return gateway.error();
      }
      registry_.set_registered_gateway(context_.cluster, std::string(suffix), std::move(*gateway));
      return Ok{};
    }
  }
  return Ok{};
}

Status ClusterImport::apply_node(std::string_view suffix, std::string_view value) {
  Result<NodeObject> node = decode_node(context_, suffix, value);
  if (!node) {
    return node.error();
  }
  NodeObject& current = nodes_[std::string(suffix)];
  cluster_dirty_ = cluster_dirty_ || !(current == *node);
  current = *node;
  emit(ObjectKind::kNode, suffix, std::move(*node), EtcdResource::kNodes);
  return Ok{};
}

Status ClusterImport::apply_service(std::string_view suffix, std::string_view value) {
  Result<ServiceValue> service = decode_service(context_, suffix, value);
  if (!service) {
    return service.error();
  }
  if (!service->shared) {
    // Valid, but not shared with other clusters.
    remove_object(EtcdResource::kServices, suffix);
    return Ok{};
  }
  if (is_gateway_service(suffix)) {
    registry_.set_service_gateways(context_.cluster, service->backends);
    return Ok{};  // gateways are not a service for clients
  }
  services_.set_service(std::string(suffix), std::move(*service));
  return Ok{};
}

void ClusterImport::remove_object(EtcdResource resource, std::string_view suffix) {
  switch (resource) {
    case EtcdResource::kNodes:
      nodes_.erase(std::string(suffix));
      cluster_dirty_ = true;
      emit(ObjectKind::kNode, suffix, std::nullopt, resource);
      break;
    case EtcdResource::kIdentities:
      emit(ObjectKind::kIdentity, suffix, std::nullopt, resource);
      break;
    case EtcdResource::kAddresses:
      emit(ObjectKind::kAddress, suffix, std::nullopt, resource);
      break;
    case EtcdResource::kServices:
      if (is_gateway_service(suffix)) {
        registry_.set_service_gateways(context_.cluster, {});
      }
      services_.set_service(std::string(suffix), std::nullopt);
      break;
    case EtcdResource::kExports:
      registry_.set_export(context_.cluster, std::string(suffix), std::nullopt);
      services_.set_export(std::string(suffix), std::nullopt);
      break;
    case EtcdResource::kSlices:
      services_.set_slice(std::string(suffix), std::nullopt);
      break;
    case EtcdResource::kGateways:
      registry_.set_registered_gateway(context_.cluster, std::string(suffix), std::nullopt);
      break;
  }
}

}  // namespace isthmus
