#include "control/source/file/claims.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>
#include <utility>

#include "control/source/file/claim_files.h"
#include "control/source/file/hub_folder.h"

namespace isthmus {
namespace {

Result<ClaimView> read_hub(const ClaimRequest& request) {
  ClaimView view;
  const auto clusters = visit_hub(request.hub,
                                  {ObjectKind::kCluster, ObjectKind::kGateway, ObjectKind::kProfile, ObjectKind::kNode,
                                   ObjectKind::kService, ObjectKind::kServiceImport},
                                  [&](const ObjectDelta& delta) { collect_claims(delta, request, view); });
  if (!clusters) {
    return clusters.error();
  }
  view.cluster_known =
      view.cluster_known || std::find(clusters->begin(), clusters->end(), request.cluster) != clusters->end();
  return view;
}

std::string_view protocol_name(IpProtocol protocol) {
  return protocol == IpProtocol::kUdp ? "UDP" : (protocol == IpProtocol::kSctp ? "SCTP" : "TCP");
}

std::string claim_text(const ClaimRequest& request, const std::vector<IpAddress>& addresses, const ClaimView& view) {
  std::array<char, 32> now{};
  const std::time_t seconds = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::strftime(now.data(), now.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  std::string text =
      "# The VIP of this Service, allocated by isthmus allocate. A claim never moves; delete the file to release it.\n"
      "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata:\n  name: \"" +
      request.name + "\"\n  namespace: \"" + request.ns + "\"\n  creationTimestamp: \"" + now.data() +
      "\"\nspec:\n  type: ClusterSetIP\n  ips:\n";
  for (const IpAddress& address : addresses) {
    text += "  - \"" + address.to_string() + "\"\n";
  }
  if (!view.service || view.service->ports.empty()) {
    return text + "  ports: []\n";
  }
  text += "  ports:\n";
  for (const ServicePort& port : view.service->ports) {
    text += "  - port: " + std::to_string(port.port.value()) +
            "\n    protocol: " + std::string(protocol_name(port.protocol)) + "\n";
    text += port.name.empty() ? "" : "    name: \"" + port.name + "\"\n";
  }
  return text;
}

// serviceimport-<namespace>-<name>.yaml, or with a dot between the two where
// another service has that name already (a-b/c and a/b-c).
Result<std::string> free_name(const std::string& folder, const ClaimRequest& request) {
  for (const char* separator : {"-", "."}) {
    const std::string name = "serviceimport-" + request.ns + separator + request.name + ".yaml";
    struct stat s {};
    if (lstat((folder + "/" + name).c_str(), &s) != 0) {
      return name;
    }
  }
  return Error{"files with the claim's name exist already, but do not contain the claim",
               folder + "/serviceimport-" + request.ns + "-" + request.name + ".yaml", "move or delete them"};
}

}  // namespace

Result<Claim> allocate_vip(const ClaimRequest& request) {
  if (auto valid = check_request(request); !valid) {
    return valid.error();
  }
  if (request.cluster.empty()) {
    return Error{"no cluster is given", {}, "name a cluster of the hub"};
  }
  HubLock lock(request.hub);
  if (auto locked = request.dry_run ? Status(Ok{}) : lock.acquire(request.lock_timeout); !locked) {
    return locked.error();
  }
  const auto view = read_hub(request);
  if (!view) {
    return view.error();
  }
  if (!view->cluster_known) {
    return Error{"the hub has no cluster " + request.cluster, request.hub, "name a cluster of the hub"};
  }
  const auto existing = existing_claim(request, *view);
  if (!existing) {
    return existing.error();
  }
  if (*existing) {
    return Claim{(*existing)->addresses, (*existing)->provenance.location, false, view->service.has_value()};
  }
  if (auto valid = check_pools(request, *view); !valid) {
    return valid.error();
  }
  auto addresses = take_addresses(request, *view);
  if (!addresses) {
    return addresses.error();
  }
  Claim claim{*std::move(addresses), {}, !request.dry_run, view->service.has_value()};
  const std::string folder = request.hub + "/" + std::string(kClustersFolder) + "/" + request.cluster;
  const auto name = free_name(folder, request);
  if (!name) {
    return name.error();
  }
  const std::string text = claim_text(request, claim.addresses, *view);
  if (auto written = request.dry_run ? Status(Ok{}) : write_claim(folder, *name, text); !written) {
    return written.error();
  }
  claim.file = folder + "/" + *name;
  return claim;
}

}  // namespace isthmus
