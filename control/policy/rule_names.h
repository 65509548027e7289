// Maps a RuleId, as carried by the entries of compiled policies, to the rule in the policy object: for events, listings
// and traces. Owner: PolicySet. Thread: control. The id of a removed rule resolves to that rule until the id is reused.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/compile/id_pool.h"
#include "control/model/model.h"
#include "dataplane/api/policy.h"

namespace isthmus {

struct RuleName {
  ObjectKind kind = ObjectKind::kCiliumPolicy;
  std::string ns, name;  // of the policy; ns is empty for a clusterwide one
  std::string source;    // file, key or URL of the policy
  unsigned line = 0;     // of the rule; 0 when there is none
  bool egress = false, deny = false;
  bool any_peer = false, any_port = false;  // as in PolicyRule
  std::vector<PolicyPort> ports;
  // "CiliumNetworkPolicy shop/allow-web".
  [[nodiscard]] std::string policy() const;
  // "east/policies.yaml:17".
  [[nodiscard]] std::string where() const;
};

class RuleNames {
 public:
  [[nodiscard]] RuleId add(const ObjectKey& policy, const Provenance& provenance, const PolicyRule& rule);
  // Updates the rule's source location after the policy object moved or was edited.
  void move(RuleId id, const Provenance& provenance, const PolicyRule& rule);
  void remove(RuleId id) { numbers_.release(id); }
  // Nothing for kNoRule and ids never allocated. The line is that of the version now in the model.
  [[nodiscard]] std::optional<RuleName> find(RuleId id, const Model& model) const;

 private:
  struct Entry {
    ObjectKey policy;
    Provenance provenance;  // of the policy when it was compiled
    unsigned line = 0;      // relative to the policy's first line
    bool egress = false, deny = false;
    bool any_peer = false, any_port = false;
    std::vector<PolicyPort> ports;
  };
  std::map<RuleId, Entry> entries_;
  IdPool<RuleId> numbers_{65536};
};

// The name of a policy object: "CiliumNetworkPolicy shop/allow-web".
[[nodiscard]] std::string policy_text(const ObjectKey& policy);

}  // namespace isthmus
