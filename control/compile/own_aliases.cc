// What the aliases of our own cluster must not overlap, and what does not go with one.
#include "control/compile/fleet_builder.h"
#include "control/compile/remedies.h"

namespace isthmus {

// Others refuse an alias of ours that takes what is somebody's; here its own pods are not to find out.
void FleetBuilder::check_aliases() {
  const FleetCluster* own = fleet_.find(options_.cluster);
  if (options_.direct_return && own != nullptr && !own->aliases.empty()) {
    layout_problems_.push_back({"services.dsr is geneve, and cluster " + options_.cluster +
                                    " has an alias: its backends would answer clients by addresses that these do not "
                                    "know, so that nothing is sent with the DSR option",
                                own->where, "write services.dsr: none for the gateways of a cluster with an alias"});
  }
  for (const AliasPrefix& pair : own == nullptr ? AliasPrefixes{} : own->aliases) {
    std::string under = fleet_.admission.under_alias(pair.alias);
    for (const IpAddress& address : options_.own_addresses) {
      if (under.empty() && pair.alias.contains(address)) {
        under = address.to_string() + ", a translation address of this gateway";
      }
    }
    if (!under.empty()) {
      layout_problems_.push_back(
          {"alias " + pair.alias.to_string() + " of " + pair.own.to_string() + " of this cluster overlaps " + under,
           own->where,
           "give the cluster an alias that nothing else uses (" +
               alias_command(options_, options_.cluster, pair.alias.family()) + "), or move what it overlaps"});
    }
  }
}

}  // namespace isthmus
