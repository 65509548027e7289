// Who has what clusters and services dispute, kept for the next start: told what stands, it passes on what has changed.
// A gateway that starts anew in its process finds in it what its predecessor told last. Owner: Hubs, so that it
// outlives the ActiveGateway that tells it. Thread: control. Failure: none.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/compile/incumbents.h"
#include "control/compile/views.h"
#include "control/restore/keeper.h"

namespace isthmus {

class ClaimHolders {
 public:
  // `keeper` may be null: nothing is kept; otherwise it outlives this. `kept`: what was kept before, whose objects are
  // not used.
  ClaimHolders(Keeper* keeper, const KeptState& kept) : keeper_(keeper), clusters_(kept.clusters), vips_(kept.vips) {
    beginnings_ = keeper == nullptr ? 0 : keeper->beginnings();
  }

  // Those that were told last; before that, those that were kept.
  [[nodiscard]] Incumbents incumbents() const;
  // Whether the keeper has lost what it was told before.
  [[nodiscard]] bool lost() const { return keeper_ != nullptr && keeper_->beginnings() != beginnings_; }
  // `disputed`: of the addresses in no prefix that several clusters say, who has them.
  void clusters_are(const std::vector<ClusterView>& clusters,
                    const std::map<std::string, std::vector<IpAddress>>& disputed = {});
  void services_are(const std::vector<ServiceView>& services);

 private:
  void begin_anew();

  Keeper* keeper_;
  std::uint64_t beginnings_ = 0;                // of the keeper, as far as it was told of them
  std::map<std::string, KeptClaims> clusters_;  // as kept
  std::map<IpAddress, KeptHolder> vips_;
};

}  // namespace isthmus
