#include "control/source/file/vip_claims.h"

#include <algorithm>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

IpAddress next_address(const IpAddress& address) {
  IpAddress::ByteArray bytes = address.bytes();
  for (auto byte = bytes.rbegin(); byte != bytes.rend() && ++*byte == 0; ++byte) {
  }
  return IpAddress(bytes);
}

// The lowest free address of the block. Each step skips one address that is in use, so the cost does not depend on the
// size of the block.
std::optional<IpAddress> lowest_free(const Prefix& block, const std::set<IpAddress>& taken) {
  const unsigned host_bits = 128U - block.length128();
  const IpAddress last = block.last();
  IpAddress candidate = host_bits > 1 ? next_address(block.address()) : block.address();
  while (true) {
    const bool reserved = block.family() == Family::kIpv4 && host_bits > 1 && candidate == last;
    if (!reserved && !taken.contains(candidate)) {
      return candidate;
    }
    if (candidate == last) {
      return std::nullopt;
    }
    candidate = next_address(candidate);
  }
}

}  // namespace

void collect_claims(const ObjectDelta& delta, const VipRequest& request, ClaimView& view) {
  const ObjectKey& key = delta.key;
  const bool same_service = key.ns == request.ns && key.name == request.name;
  const auto claims = [&](const std::vector<IpAddress>& addresses) {
    view.taken.insert(addresses.begin(), addresses.end());
    if (same_service && !addresses.empty()) {
      view.service_claims.push_back({addresses, delta.provenance});
    }
  };
  const auto add_blocks = [&](const std::vector<Prefix>& blocks, const std::string& whose) {
    for (const Prefix& block : blocks) {
      view.blocks.emplace_back(block, whose);
    }
  };
  if (const auto* import = std::get_if<ServiceImportObject>(&*delta.value)) {
    claims(import->ips);
  } else if (const auto* service = std::get_if<ServiceObject>(&*delta.value)) {
    claims(service->claimed_vips);
    if (same_service && key.cluster == request.cluster) {
      view.service = *service;
    }
  } else if (const auto* cluster = std::get_if<ClusterObject>(&*delta.value)) {
    view.cluster_known = view.cluster_known || key.name == request.cluster;
    add_blocks(cluster->pod_prefixes, " of cluster " + key.name);
    add_blocks(cluster->node_prefixes, " of cluster " + key.name);
  } else if (const auto* node = std::get_if<NodeObject>(&*delta.value)) {
    view.taken.insert(node->addresses.begin(), node->addresses.end());
    add_blocks(node->pod_prefixes, " of node " + key.name);
  } else if (const auto* profile = std::get_if<ProfileObject>(&*delta.value)) {
    for (const auto& [of, member] : profile->members) {
      for (const AliasPrefix& pair : member.aliases) {
        add_blocks({pair.alias}, ", aliases of pods of cluster " + of);
        add_blocks({pair.own}, " of cluster " + of);
      }
    }
  } else if (const auto* gateway = std::get_if<GatewayObject>(&*delta.value)) {
    view.taken.insert(gateway->underlay);
    view.taken.insert(gateway->more.begin(), gateway->more.end());
  }
}

Status check_request(const VipRequest& request) {
  if (!is_label(request.ns) || !is_label(request.name)) {
    return Error{"\"" + request.ns + "/" + request.name + "\" is not the name of a Service",
                 {},
                 "write NAMESPACE/NAME of 1 to 63 characters of a-z, 0-9 and - each"};
  }
  if (!request.cluster.empty() && !is_label(request.cluster, kClusterNameLength)) {
    return Error{shown(request.cluster) + " is not the name of a cluster", {}, "name a cluster of the hub"};
  }
  if (request.pools.empty()) {
    return Error{"no address pool is given", {}, "give one, such as --pool 10.200.0.0/24"};
  }
  return Ok{};
}

Status check_pools(const VipRequest& request, const ClaimView& view) {
  for (const Prefix& pool : request.pools) {
    for (const auto& [block, whose] : view.blocks) {
      if (pool.family() == block.family() && (pool.contains(block) || block.contains(pool))) {
        return Error{"pool " + pool.to_string() + " overlaps " + block.to_string() + whose,
                     {},
                     "allocate VIPs from a block in which no cluster has pods, nodes or aliases"};
      }
    }
  }
  return Ok{};
}

std::string join_addresses(const std::vector<IpAddress>& addresses, const std::string& separator) {
  std::string out;
  for (const IpAddress& address : addresses) {
    out += (out.empty() ? "" : separator) + address.to_string();
  }
  return out;
}

// The claim the service already has, if it matches the request: an address from the pools in each of their families.
Result<std::optional<ClaimView::ExistingClaim>> existing_claim(const VipRequest& request, const ClaimView& view) {
  if (view.service_claims.empty()) {
    return std::optional<ClaimView::ExistingClaim>();
  }
  const ClaimView::ExistingClaim& existing = view.service_claims.front();
  const std::string service = request.ns + "/" + request.name;
  for (const ClaimView::ExistingClaim& other : view.service_claims) {
    if (std::set(other.addresses.begin(), other.addresses.end()) !=
        std::set(existing.addresses.begin(), existing.addresses.end())) {
      return Error{service + " has two claims: " + join_addresses(existing.addresses) + ", and " +
                       join_addresses(other.addresses) + " in " + other.provenance.text(),
                   existing.provenance.text(), "remove one of them"};
    }
  }
  std::set<Family> requested, covered;
  for (const Prefix& pool : request.pools) {
    requested.insert(pool.family());
    for (const IpAddress& address : existing.addresses) {
      if (pool.contains(address)) {
        covered.insert(pool.family());
      }
    }
  }
  if (requested != covered) {
    return Error{service + " already claims " + join_addresses(existing.addresses) + ", which does not match the pools",
                 existing.provenance.text(), "keep this claim, or remove it before allocating another"};
  }
  return std::optional(existing);
}

Result<std::vector<IpAddress>> take_addresses(const VipRequest& request, const ClaimView& view) {
  std::vector<IpAddress> addresses;
  std::set<Family> requested, found;
  for (const Prefix& pool : request.pools) {
    requested.insert(pool.family());
    const auto address = found.contains(pool.family()) ? std::nullopt : lowest_free(pool, view.taken);
    if (address) {
      addresses.push_back(*address);
      found.insert(pool.family());
    }
  }
  for (const Family family : requested) {
    if (!found.contains(family)) {
      return Error{
          std::string("no free ") + (family == Family::kIpv4 ? "IPv4" : "IPv6") + " address is left in the pools",
          {},
          "give a larger pool, or delete claims of services that no longer exist"};
    }
  }
  return addresses;
}

}  // namespace isthmus
