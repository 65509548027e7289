// The section `admission`.
#include "config/load/field_kinds.h"
#include "config/load/fields.h"

namespace isthmus {

using namespace config_field;

void add_admission_fields(std::vector<ConfigField>& fields) {
  fields.push_back(prefixes(
      "admission.ranges", [](GatewayConfig& c) -> std::vector<Prefix>& { return c.admission.ranges; },
      "Where the pods of other clusters may be, unless the profile says it for the cluster: what a member claims "
      "outside is refused and listed. `[0.0.0.0/0, ::/0]`: anywhere."));
  fields.push_back(prefixes_by_cluster(
      "admission.pods",
      [](GatewayConfig& c) -> std::map<std::string, std::vector<Prefix>>& { return c.admission.pods; },
      "Where the pods of single clusters may be, by name, as in `{west: [10.2.0.0/16]}`: instead of `ranges` and of "
      "what profiles say. If no node of "
      "such a cluster has a CIDR for its pods (Azure CNI with a pod subnet, ENI), these are its prefixes; if nothing "
      "is said of it either, each of its pods has a route of its own, merged where addresses adjoin, within "
      "`prefixes_per_cluster`."));
  fields.push_back(prefixes_by_cluster(
      "admission.aliases",
      [](GatewayConfig& c) -> std::map<std::string, std::vector<Prefix>>& { return c.admission.alias_cidrs; },
      "What the blocks of `pods` are called outside of their clusters, by name, as in `{west: [10.102.0.0/16]}`: for "
      "clusters whose pods have the addresses of others. The n-th of a family is the alias of the n-th of "
      "`pods`, and as large. All gateways of the fleet must have the same; a profile's `aliasCIDRs` are for all of "
      "them. "
      "Instead of what profiles say."));
  fields.push_back(prefixes(
      "admission.node_ranges", [](GatewayConfig& c) -> std::vector<Prefix>& { return c.admission.node_ranges; },
      "Where the nodeCIDRs of other clusters may be: what a member claims outside is refused and listed."));
  fields.push_back(prefixes(
      "admission.vip_pools", [](GatewayConfig& c) -> std::vector<Prefix>& { return c.admission.vip_pools; },
      "Where services of any cluster may have VIPs, beside the pools of the profile. A VIP in no pool is refused and "
      "listed; pods of other clusters never cover a pool."));
  fields.push_back(number<std::uint8_t>(
      "admission.shortest_ipv4", [](GatewayConfig& c) -> std::uint8_t& { return c.admission.shortest_ipv4; }, 1, 32,
      "The shortest IPv4 prefix that a member may claim for pods or nodes."));
  fields.push_back(number<std::uint8_t>(
      "admission.shortest_ipv6", [](GatewayConfig& c) -> std::uint8_t& { return c.admission.shortest_ipv6; }, 1, 128,
      "The same for IPv6."));
  fields.push_back(number<std::uint32_t>(
      "admission.prefixes_per_cluster",
      [](GatewayConfig& c) -> std::uint32_t& { return c.admission.prefixes_per_cluster; }, 1, 1'000'000,
      "How many prefixes of another cluster are used, after merging; those that it had come before the others."));
  fields.push_back(number<std::uint32_t>(
      "admission.endpoints_per_cluster",
      [](GatewayConfig& c) -> std::uint32_t& { return c.admission.limits.endpoints; }, 0, 100'000'000,
      "How many pods, addresses and nodes of another cluster are used, unless the profile says it for the cluster. "
      "What "
      "is beyond is left out and listed, and comes in when there is room again; what stands stays."));
  fields.push_back(number<std::uint32_t>(
      "admission.services_per_cluster", [](GatewayConfig& c) -> std::uint32_t& { return c.admission.limits.services; },
      0, 100'000'000, "The same of its Services, EndpointSlices and ServiceImports together."));
  fields.push_back(number<std::uint32_t>(
      "admission.megabytes_per_cluster",
      [](GatewayConfig& c) -> std::uint32_t& { return c.admission.limits.megabytes; }, 0, 1'000'000,
      "The same of the memory that all of its objects take, in MiB. A new version that does not fit leaves the one "
      "before it in force."));
  fields.push_back(number<std::uint32_t>(
      "admission.gateways_per_cluster", [](GatewayConfig& c) -> std::uint32_t& { return c.admission.limits.gateways; },
      0, 100'000, "The same of its gateways. Those of this gateway's own cluster have no limit."));
}

}  // namespace isthmus
