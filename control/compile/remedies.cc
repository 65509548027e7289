#include "control/compile/remedies.h"

namespace isthmus {
namespace {

std::string allocate_command(const std::string& what, const std::string& at, const std::string& pool) {
  return "isthmus allocate " + what + " " + at + " --pool " + pool;
}

}  // namespace

std::string alias_command(const CompilerOptions& options, const std::string& cluster, Family family) {
  return allocate_command("--alias " + cluster, options.allocate_at.fleet,
                          family == Family::kIpv4 ? "100.64.0.0/10" : "fd64::/32");
}

std::string vip_command(const CompilerOptions& options, const Fleet& fleet, const std::string& cluster,
                        const ServiceName& service, Family family) {
  const auto pool = fleet.admission.vip_pool_of(cluster, family);
  const std::string& at =
      cluster == options.cluster ? options.allocate_at.own_services : options.allocate_at.other_services;
  return allocate_command(service.text(), at + " --cluster " + cluster, pool ? pool->to_string() : "CIDR");
}

}  // namespace isthmus
