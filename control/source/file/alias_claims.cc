#include "control/source/file/alias_claims.h"

#include <sys/stat.h>

#include <utility>

#include "control/source/file/claim_files.h"
#include "control/source/file/hub_folder.h"
#include "control/source/manifest/manifest.h"

namespace isthmus {
namespace {

std::string profile_text(const AliasRequest& request, const AliasPrefixes& pairs, unsigned max_clusters) {
  return "# What the rest of the fleet calls the pods of this cluster, allocated by isthmus allocate. A claim never "
         "moves; delete\n# the file to release it.\n"
         "apiVersion: isthmus.io/v1alpha1\nkind: CrossClusterNetworkProfile\nmetadata:\n  name: \"" +
         alias_profile_name(request.cluster) + "\"\nspec:\n  clusters: [\"" + request.cluster + "\"]\n" +
         (max_clusters == ProfileObject{}.max_connected_clusters
              ? std::string()
              : "  maxConnectedClusters: " + std::to_string(max_clusters) + "\n") +
         "  members: " + alias_members_json(request.cluster, pairs) + "\n";
}

// The file that is written: that of the claim, if it has nothing else, or a new one.
Result<std::string> claim_file(const AliasClaimRequest& request, const AliasView& view, const AliasPlan& plan) {
  const std::string folder = request.hub + "/" + std::string(kFleetFolder);
  if (!view.claim) {
    std::string path = folder + "/" + alias_profile_name(request.cluster) + ".yaml";
    struct stat s {};
    if (lstat(path.c_str(), &s) == 0) {
      return Error{"a file with the claim's name exists already, but does not contain the claim", path,
                   "move or delete it"};
    }
    return path;
  }
  const std::string& path = view.claim->provenance.location;
  const FileText file = read_file_text(path);
  const Manifest manifest = parse_manifest(file.text, {});
  std::size_t objects = 0;
  for (const Manifest::Entry& entry : manifest.documents) {
    objects += entry.document->objects.size() + entry.document->invalid.size() + entry.document->ignored +
               (entry.document->unreadable ? 1 : 0);
  }
  if (objects == 1) {
    return path;
  }
  return Error{"the file has more than the claim of cluster " + request.cluster + ", and is not changed", path,
               "move profile " + alias_profile_name(request.cluster) +
                   " to a file of its own, or write into it as members " +
                   alias_members_json(request.cluster, plan.claim)};
}

}  // namespace

Result<AliasClaim> allocate_alias(const AliasClaimRequest& request) {
  if (auto valid = check_alias_request(request); !valid) {
    return valid.error();
  }
  HubLock lock(request.hub);
  if (auto locked = request.dry_run ? Status(Ok{}) : lock.acquire(request.lock_timeout); !locked) {
    return locked.error();
  }
  AliasView view;
  const auto clusters = visit_hub(request.hub,
                                  {ObjectKind::kCluster, ObjectKind::kGateway, ObjectKind::kProfile, ObjectKind::kNode,
                                   ObjectKind::kService, ObjectKind::kServiceImport},
                                  [&](const ObjectDelta& delta) { collect_alias_blocks(delta, request, view); });
  if (!clusters) {
    return clusters.error();
  }
  auto plan = plan_aliases(request, view);
  if (!plan) {
    Error error = plan.error();
    error.where = error.where.empty() ? request.hub : error.where;
    return error;
  }
  AliasClaim claim{plan->blocks, {}, false, std::move(plan->notes)};
  if (!plan->changes()) {
    claim.where = view.aliases.empty() ? request.hub : view.aliases.front().provenance.location;
    return claim;
  }
  const auto path = claim_file(request, view, *plan);
  if (!path) {
    return path.error();
  }
  claim.where = *path;
  if (request.dry_run) {
    return claim;
  }
  const unsigned max_clusters =
      view.claim ? view.claim->profile.max_connected_clusters : ProfileObject{}.max_connected_clusters;
  const std::size_t slash = path->rfind('/');
  if (auto written = write_claim(path->substr(0, slash), path->substr(slash + 1),
                                 profile_text(request, plan->claim, max_clusters));
      !written) {
    return written.error();
  }
  claim.created = true;
  return claim;
}

}  // namespace isthmus
