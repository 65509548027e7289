// The fields of the model's objects that are kept across restarts, in the order in which they are written.
//
// A field is appended at the end of its object's list, never moved: a reader takes what is there and leaves the rest at
// its default, so that a file of another version of this program can still be read. What cannot be read so needs
// another kFormat (codec.h). Plain data; any thread.
#pragma once

#include <cstdint>
#include <tuple>

#include "control/model/objects.h"

namespace isthmus::kept {

template <typename T>
inline constexpr std::tuple<> kFields{};  // none: not an object

template <>
inline constexpr auto kFields<ClusterObject> = std::tuple{&ClusterObject::id, &ClusterObject::pod_prefixes,
                                                          &ClusterObject::node_prefixes, &ClusterObject::encapsulation};
template <>
inline constexpr auto kFields<GatewayObject> =
    std::tuple{&GatewayObject::cluster, &GatewayObject::underlay, &GatewayObject::port, &GatewayObject::more,
               &GatewayObject::encapsulation};
template <>
inline constexpr auto kFields<AliasPrefix> = std::tuple{&AliasPrefix::own, &AliasPrefix::alias};
template <>
inline constexpr auto kFields<ProfileObject::Member> = std::tuple{
    &ProfileObject::Member::pod_prefixes, &ProfileObject::Member::vip_pools, &ProfileObject::Member::endpoints,
    &ProfileObject::Member::services,     &ProfileObject::Member::megabytes, &ProfileObject::Member::gateways,
    &ProfileObject::Member::aliases};
template <>
inline constexpr auto kFields<ProfileObject> =
    std::tuple{&ProfileObject::clusters, &ProfileObject::max_connected_clusters, &ProfileObject::vip_pools,
               &ProfileObject::members};
template <>
inline constexpr auto kFields<NamespaceObject> = std::tuple{&NamespaceObject::labels, &NamespaceObject::annotations};
template <>
inline constexpr auto kFields<ServicePort> = std::tuple{&ServicePort::name, &ServicePort::protocol, &ServicePort::port};
template <>
inline constexpr auto kFields<ServiceRules> =
    std::tuple{&ServiceRules::source_ranges,    &ServiceRules::ranges_denied,   &ServiceRules::internal_local,
               &ServiceRules::external_local,   &ServiceRules::distribution,    &ServiceRules::slow_start,
               &ServiceRules::outlier_failures, &ServiceRules::outlier_seconds, &ServiceRules::outlier_percent};
template <>
inline constexpr auto kFields<ServiceObject> = std::tuple{
    &ServiceObject::global,  &ServiceObject::shared,       &ServiceObject::affinity, &ServiceObject::client_ip_affinity,
    &ServiceObject::ports,   &ServiceObject::claimed_vips, &ServiceObject::selector, &ServiceObject::labels,
    &ServiceObject::created, &ServiceObject::ignored,      &ServiceObject::rules,    &ServiceObject::affinity_seconds};
template <>
inline constexpr auto kFields<SliceEndpoint> =
    std::tuple{&SliceEndpoint::addresses, &SliceEndpoint::ready, &SliceEndpoint::serving,   &SliceEndpoint::terminating,
               &SliceEndpoint::node,      &SliceEndpoint::zone,  &SliceEndpoint::for_zones, &SliceEndpoint::for_nodes};
template <>
inline constexpr auto kFields<SliceObject> =
    std::tuple{&SliceObject::service, &SliceObject::ports, &SliceObject::endpoints, &SliceObject::weight};
template <>
inline constexpr auto kFields<PodObject> = std::tuple{&PodObject::addresses, &PodObject::node, &PodObject::host_network,
                                                      &PodObject::labels, &PodObject::named_ports};
template <>
inline constexpr auto kFields<CiliumEndpointObject> =
    std::tuple{&CiliumEndpointObject::addresses, &CiliumEndpointObject::identity, &CiliumEndpointObject::node};
template <>
inline constexpr auto kFields<IdentityObject> = std::tuple{&IdentityObject::id, &IdentityObject::labels};
template <>
inline constexpr auto kFields<AddressObject> =
    std::tuple{&AddressObject::prefix, &AddressObject::identity, &AddressObject::node,
               &AddressObject::ns,     &AddressObject::pod,      &AddressObject::named_ports};
template <>
inline constexpr auto kFields<NodeObject> =
    std::tuple{&NodeObject::addresses, &NodeObject::pod_prefixes, &NodeObject::inner,
               &NodeObject::health,    &NodeObject::ingress,      &NodeObject::zone};
template <>
inline constexpr auto kFields<ServiceImportObject> =
    std::tuple{&ServiceImportObject::ips, &ServiceImportObject::ports, &ServiceImportObject::created};
template <>
inline constexpr auto kFields<LabelRequirement> =
    std::tuple{&LabelRequirement::source, &LabelRequirement::key, &LabelRequirement::op, &LabelRequirement::values};
template <>
inline constexpr auto kFields<LabelSelector> = std::tuple{&LabelSelector::requirements};
template <>
inline constexpr auto kFields<PolicyCidr> =
    std::tuple{&PolicyCidr::prefix, &PolicyCidr::group, &PolicyCidr::groups, &PolicyCidr::except};
template <>
inline constexpr auto kFields<PolicyService> =
    std::tuple{&PolicyService::ns, &PolicyService::name, &PolicyService::labels};
template <>
inline constexpr auto kFields<PolicyPort> =
    std::tuple{&PolicyPort::protocol, &PolicyPort::first, &PolicyPort::last, &PolicyPort::name};
template <>
inline constexpr auto kFields<PolicyRule> = std::tuple{
    &PolicyRule::line,     &PolicyRule::egress, &PolicyRule::deny,     &PolicyRule::any_peer, &PolicyRule::endpoints,
    &PolicyRule::entities, &PolicyRule::cidrs,  &PolicyRule::services, &PolicyRule::any_port, &PolicyRule::ports};
template <>
inline constexpr auto kFields<PolicySpec> = std::tuple{&PolicySpec::subjects, &PolicySpec::default_deny_ingress,
                                                       &PolicySpec::default_deny_egress, &PolicySpec::rules};
template <>
inline constexpr auto kFields<PolicyObject> = std::tuple{&PolicyObject::specs, &PolicyObject::refused};
template <>
inline constexpr auto kFields<CidrGroupObject> = std::tuple{&CidrGroupObject::prefixes, &CidrGroupObject::labels};
template <>
inline constexpr auto kFields<AgentConfigObject> = std::tuple{&AgentConfigObject::default_local_cluster};

// The last enumerator of each enumeration among the fields: what lies beyond is not read.
template <typename E>
inline constexpr E kLast{};
template <>
inline constexpr auto kLast<ObjectKind> = ObjectKind::kAgentConfig;
template <>
inline constexpr auto kLast<EncapsulationKind> = EncapsulationKind::kNone;
template <>
inline constexpr auto kLast<ServiceAffinity> = ServiceAffinity::kRemote;
template <>
inline constexpr auto kLast<TrafficDistribution> = TrafficDistribution::kNode;
template <>
inline constexpr auto kLast<IpProtocol> = IpProtocol{255};
template <>
inline constexpr auto kLast<LabelOperator> = LabelOperator::kDoesNotExist;
template <>
inline constexpr auto kLast<PolicyEntity> = PolicyEntity::kCluster;

}  // namespace isthmus::kept
