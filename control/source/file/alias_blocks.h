// Which blocks of addresses a hub, a folder or an API server, leaves free for aliases, and which aliases a cluster has:
// the part of `isthmus allocate --alias` that is the same for both. Pure; thread: any.
//
// A claim is a CrossClusterNetworkProfile of its own, alias-CLUSTER, which names that cluster alone: it links nobody,
// and says of members nothing but these aliases.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/model/objects.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct AliasRequest {
  std::string cluster;        // whose pods get aliases
  std::vector<Prefix> pools;  // tried in order; only blocks of their families get aliases
};

// What of a hub affects a claim.
struct AliasView {
  struct Existing {
    AliasPrefix pair;
    std::string profile;
    Provenance provenance;
  };
  struct Claim {
    ProfileObject profile;
    Provenance provenance;
  };
  std::vector<std::pair<Prefix, std::string>> taken;   // with what it is: "10.1.0.0/16 of cluster east"
  std::map<std::string, std::vector<Prefix>> pods;     // of the Cluster objects, by name
  std::map<std::string, std::vector<Prefix>> allowed;  // by profiles
  std::vector<Existing> aliases;                       // of the cluster
  std::optional<Claim> claim;                          // the profile alias-CLUSTER
};

// One alias of a block of pods, or of what of it lies in an alias.
struct AliasBlock {
  AliasPrefix pair;
  bool fresh = false;  // not claimed yet
};

struct AliasPlan {
  std::vector<AliasBlock> blocks;  // as the cluster's blocks of pods are ordered
  AliasPrefixes claim;             // all that the profile alias-CLUSTER is to say
  std::vector<std::string> notes;  // of what gets no alias
  [[nodiscard]] bool changes() const;
};

[[nodiscard]] std::string alias_profile_name(const std::string& cluster);
void collect_alias_blocks(const ObjectDelta& delta, const AliasRequest& request, AliasView& view);

// The name, and pools that do not overlap.
[[nodiscard]] Status check_alias_request(const AliasRequest& request);
// The lowest free block for each block of pods that has no alias. Error: the cluster is not known or has no blocks,
// what it has does not match the pools, the pools are used up, or the profile says something else besides.
[[nodiscard]] Result<AliasPlan> plan_aliases(const AliasRequest& request, const AliasView& view);
// Who else has addresses of the block; empty: nobody.
[[nodiscard]] std::string user_of(const Prefix& block, const AliasView& view);

// spec.members of the claim, in JSON, which is YAML.
[[nodiscard]] std::string alias_members_json(const std::string& cluster, const AliasPrefixes& pairs);
// "10.244.0.0/16 is 100.64.0.0/16, ..."
[[nodiscard]] std::string join_aliases(const AliasPrefixes& pairs);

}  // namespace isthmus
