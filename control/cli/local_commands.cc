#include "control/cli/local_commands.h"

#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "config/load/load.h"
#include "control/cli/exit_code.h"
#include "control/daemon/daemon.h"
#include "control/source/file/claims.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/service_vips.h"

namespace isthmus {
namespace {

// The configuration, or nothing after every error in it was printed.
std::optional<GatewayConfig> read_config(const std::string& file, const std::string& name) {
  const auto text = read_config_text(file);
  if (!text) {
    complain(text.error());
    return std::nullopt;
  }
  auto config = parse_config(*text, file, name);
  if (config) {
    return *std::move(config);
  }
  for (const Error& error : check_config(*text, file, name)) {
    complain(error);
  }
  return std::nullopt;
}

int exit_code_of(const Status& status) {
  if (status) {
    return kExitOk;
  }
  complain(status.error());
  return kExitFailure;
}

}  // namespace

int run_command(const std::string& config_file, const std::string& name) {
  const auto config = read_config(config_file, name);
  // An error that stops a gateway is in its log already.
  return !config ? kExitUsage : run(*config) ? kExitOk : kExitFailure;
}

int config_check_command(const std::string& config_file, const std::string& name) {
  std::vector<std::string> names;
  if (const auto text = name.empty() ? read_config_text(config_file) : Result<std::string>(std::string()); text) {
    names = gateways_in(*text);
  }
  if (names.empty()) {
    names.push_back(name);
  }
  int exit_code = kExitOk;
  for (const std::string& each : names) {
    if (const auto config = read_config(config_file, each)) {
      std::printf("%s: good. In force, with defaults:\n%s", config_file.c_str(), describe(*config).c_str());
    } else {
      exit_code = kExitUsage;
    }
  }
  return exit_code;
}

int cleanup_command(const std::string& config_file, const std::string& name, bool keep_known) {
  const auto config = read_config(config_file, name);
  return config ? exit_code_of(clean_up(*config, keep_known)) : kExitUsage;
}

namespace {

std::optional<VipRequest> vip_request(const AllocateOptions& options) {
  const auto slash = options.service.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == options.service.size() ||
      options.service.find('/', slash + 1) != std::string::npos) {
    complain({"not a service: '" + options.service + "'", "", "write NAMESPACE/NAME, for example shop/web"});
    return std::nullopt;
  }
  VipRequest request{options.cluster, options.service.substr(0, slash), options.service.substr(slash + 1), {}};
  for (const std::string& pool : options.pools) {
    const auto prefix = Prefix::parse(pool);
    if (!prefix) {
      complain({"not an address block: '" + pool + "'", "--pool", "write it as 10.200.0.0/24"});
      return std::nullopt;
    }
    request.pools.push_back(*prefix);
  }
  return request;
}

void print_addresses(const std::vector<IpAddress>& addresses) {
  for (const IpAddress& address : addresses) {
    std::printf("%s\n", address.to_string().c_str());
  }
}

int allocate_in_folder(const AllocateOptions& options, const VipRequest& vip) {
  ClaimRequest request{vip, options.hub};
  const auto claim = allocate_vip(request);
  if (!claim) {
    complain(claim.error());
    return kExitFailure;
  }
  print_addresses(claim->addresses);
  std::fprintf(stderr, "isthmus: %s %s\n", claim->created ? "claimed in" : "already claimed in", claim->file.c_str());
  if (!claim->service_known) {
    std::fprintf(stderr, "isthmus: note: cluster %s has no Service %s yet\n", options.cluster.c_str(),
                 options.service.c_str());
  }
  return kExitOk;
}

int allocate_at_server(const AllocateOptions& options, const VipRequest& vip) {
  const auto access =
      options.kubeconfig == "in-cluster" ? in_cluster_access() : load_kubeconfig(options.kubeconfig, options.context);
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
  for (const std::string& note : claim->notes) {
    std::fprintf(stderr, "isthmus: note: %s\n", note.c_str());
  }
  std::fprintf(stderr, "isthmus: %s %s\n",
               claim->created    ? "claimed by"
               : options.dry_run ? "would be claimed, or is, by"
                                 : "already claimed by",
               claim->where.c_str());
  return kExitOk;
}

}  // namespace

int allocate_command(const AllocateOptions& options) {
  const auto request = vip_request(options);
  return !request                     ? kExitUsage
         : options.kubeconfig.empty() ? allocate_in_folder(options, *request)
                                      : allocate_at_server(options, *request);
}

}  // namespace isthmus
