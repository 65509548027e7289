// isthmus allocate: the VIPs of a service, or the aliases of a cluster.
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "config/model/special_prefixes.h"
#include "control/cli/exit_code.h"
#include "control/cli/local_commands.h"
#include "control/source/file/alias_claims.h"
#include "control/source/file/claims.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/cluster_aliases.h"
#include "control/source/kubernetes/service_vips.h"

namespace isthmus {
namespace {

std::optional<std::vector<Prefix>> read_pools(const AllocateOptions& options) {
  std::vector<Prefix> pools;
  for (const std::string& pool : options.pools) {
    const auto prefix = Prefix::parse(pool);
    const std::string_view first = std::string_view(pool).substr(0, pool.find('/'));
    if (!prefix || first.size() == pool.size()) {
      complain({"not an address block: '" + pool + "'", "--pool", "write it as 10.200.0.0/24"});
      return std::nullopt;
    }
    if (IpAddress::parse(first) != prefix->address()) {
      complain({"'" + pool + "' begins in the middle of a block", "--pool", "write it as " + prefix->to_string()});
      return std::nullopt;
    }
    if (const std::string special = special_part(*prefix); !special.empty()) {
      complain({pool + ", " + special + ", is no pool", "--pool",
                "name a block that nothing else uses, such as one of 10.0.0.0/8, 100.64.0.0/10 or fd00::/8"});
      return std::nullopt;
    }
    pools.push_back(*prefix);
  }
  return pools;
}

std::optional<VipRequest> vip_request(const AllocateOptions& options, const std::vector<Prefix>& pools) {
  const auto slash = options.service.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == options.service.size() ||
      options.service.find('/', slash + 1) != std::string::npos) {
    complain({"not a service: '" + options.service + "'", "", "write NAMESPACE/NAME, for example shop/web"});
    return std::nullopt;
  }
  if (!options.hub.empty() && options.cluster.empty()) {
    complain({"--hub requires --cluster", "", "name the cluster that the service is of"});
    return std::nullopt;
  }
  return VipRequest{options.cluster, options.service.substr(0, slash), options.service.substr(slash + 1), pools};
}

Result<ApiAccess> server_access(const AllocateOptions& options) {
  return options.kubeconfig == "in-cluster" ? in_cluster_access()
                                            : load_kubeconfig(options.kubeconfig, options.context);
}

void print_notes(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) {
    std::fprintf(stderr, "isthmus: note: %s\n", note.c_str());
  }
}

void print_place(bool created, bool dry_run, const std::string& where) {
  std::fprintf(stderr, "isthmus: %s %s\n",
               created   ? "claimed in"
               : dry_run ? "would be claimed in, or is,"
                         : "already claimed in",
               where.c_str());
}

void print_addresses(const std::vector<IpAddress>& addresses) {
  for (const IpAddress& address : addresses) {
    std::printf("%s\n", address.to_string().c_str());
  }
}

int allocate_in_folder(const AllocateOptions& options, const VipRequest& vip) {
  ClaimRequest request{vip, options.hub};
  request.dry_run = options.dry_run;
  const auto claim = allocate_vip(request);
  if (!claim) {
    complain(claim.error());
    return kExitFailure;
  }
  print_addresses(claim->addresses);
  print_place(claim->created, options.dry_run, claim->file);
  if (!claim->service_known) {
    std::fprintf(stderr, "isthmus: note: cluster %s has no Service %s yet\n", options.cluster.c_str(),
                 options.service.c_str());
  }
  return kExitOk;
}

int allocate_at_server(const AllocateOptions& options, const VipRequest& vip) {
  const auto access = server_access(options);
  if (!access) {
    complain(access.error());
    return kExitFailure;
  }
  const auto claim = allocate_service_vip({vip, options.dry_run}, *access);
  if (!claim) {
    complain(claim.error());
    return kExitFailure;
  }
  print_addresses(claim->addresses);
  print_notes(claim->notes);
  print_place(claim->created, options.dry_run, claim->where);
  return kExitOk;
}

Result<AliasClaim> claim_aliases(const AllocateOptions& options, const AliasRequest& request) {
  if (options.kubeconfig.empty()) {
    AliasClaimRequest claim{request, options.hub};
    claim.dry_run = options.dry_run;
    return allocate_alias(claim);
  }
  const auto access = server_access(options);
  return access ? allocate_cluster_alias({request, options.dry_run}, *access) : Result<AliasClaim>(access.error());
}

int allocate_aliases(const AllocateOptions& options, const std::vector<Prefix>& pools) {
  const auto claim = claim_aliases(options, {options.alias, pools});
  if (!claim) {
    complain(claim.error());
    return kExitFailure;
  }
  for (const AliasBlock& block : claim->blocks) {
    std::printf("%s\n", block.pair.alias.to_string().c_str());
  }
  for (const AliasBlock& block : claim->blocks) {
    std::fprintf(stderr, "isthmus: %s of cluster %s is %s\n", block.pair.own.to_string().c_str(), options.alias.c_str(),
                 block.pair.alias.to_string().c_str());
  }
  print_notes(claim->notes);
  print_place(claim->created, options.dry_run, claim->where);
  return kExitOk;
}

}  // namespace

int allocate_command(const AllocateOptions& options) {
  const auto pools = read_pools(options);
  if (!pools) {
    return kExitUsage;
  }
  if (!options.alias.empty()) {
    return allocate_aliases(options, *pools);
  }
  const auto request = vip_request(options, *pools);
  return !request                     ? kExitUsage
         : options.kubeconfig.empty() ? allocate_in_folder(options, *request)
                                      : allocate_at_server(options, *request);
}

}  // namespace isthmus
