// From a RuleId, as entries of compiled policies carry it, back to what a person wrote: for events, listings and
// traces. Owner: PolicySet. Thread: control. A number of a rule that is gone keeps its last meaning until it is used
// again.
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
  std::string name_space, name;  // of the policy; a clusterwide one has no namespace
  std::string place;             // file of the policy, or what its hub has in place of files
  unsigned line = 0;             // of the rule in it
  bool egress = false, deny = false;
  bool any_peer = false, any_port = false;  // as of PolicyRule
  std::vector<PolicyPort> ports;
  // "CiliumNetworkPolicy shop/allow-web".
  [[nodiscard]] std::string policy() const;
  // "east/policies.yaml:17".
  [[nodiscard]] std::string where() const;
};

class RuleNames {
 public:
  [[nodiscard]] RuleId add(const ObjectKey& policy, const Provenance& provenance, const PolicyRule& rule);
  // The rule stands in another line of the same policy.
  void move(RuleId id, const Provenance& provenance, const PolicyRule& rule);
  void remove(RuleId id) { numbers_.give_back(id); }
  // Nothing for kNoRule and numbers never given. The line is that of the model's present version.
  [[nodiscard]] std::optional<RuleName> find(RuleId id, const Model& model) const;

 private:
  struct Entry {
    ObjectKey policy;
    Provenance provenance;  // of the policy when it was compiled
    unsigned line = 0;      // from the policy's own
    bool egress = false, deny = false;
    bool any_peer = false, any_port = false;
    std::vector<PolicyPort> ports;
  };
  std::map<RuleId, Entry> entries_;
  IdPool<RuleId> numbers_{65536};
};

// Name of the policy object: "CiliumNetworkPolicy shop/allow-web".
[[nodiscard]] std::string policy_text(const ObjectKey& policy);

}  // namespace isthmus
