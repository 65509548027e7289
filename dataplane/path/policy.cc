// policy: clusters exchange packets only where a cross-cluster network profile links them with ours. The verdict is the
// connection's: both directions ask about the same pair.
#include "dataplane/path/admission.h"

namespace isthmus {

Refusal policy(PathContext& context, Admission& admission) noexcept {
  const ClusterTable& clusters = *context.snapshot->clusters;
  context.shared.flows->epochs().sample(admission.block, kSubjectPlace,
                                        EpochTable::of_policy_subject(admission.source_identity));
  if (!clusters[admission.source_cluster].linked || !clusters[admission.destination_cluster].linked) {
    return DropReason::k_not_linked;
  }
  return std::nullopt;
}

}  // namespace isthmus
