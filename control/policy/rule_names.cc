#include "control/policy/rule_names.h"

namespace isthmus {

std::string policy_text(const ObjectKey& policy) {
  return std::string(kind_text(policy.kind)) + " " + (policy.ns.empty() ? policy.name : policy.ns + "/" + policy.name);
}

std::string RuleName::policy() const { return policy_text({kind, {}, ns, name}); }

std::string RuleName::where() const { return Provenance{source, line}.text(); }

RuleId RuleNames::add(const ObjectKey& policy, const Provenance& provenance, const PolicyRule& rule) {
  const RuleId id = numbers_.allocate();
  entries_[id] = {policy, provenance, rule.line, rule.egress, rule.deny, rule.any_peer, rule.any_port, rule.ports};
  return id;
}

void RuleNames::move(RuleId id, const Provenance& provenance, const PolicyRule& rule) {
  Entry& entry = entries_.at(id);
  entry.provenance = provenance;
  entry.line = rule.line;
}

std::optional<RuleName> RuleNames::find(RuleId id, const Model& model) const {
  const auto at = entries_.find(id);
  if (at == entries_.end()) {
    return std::nullopt;
  }
  const Entry& entry = at->second;
  const auto present = model.find<PolicyObject>(entry.policy);
  const Provenance provenance = present ? present.provenance.copy() : entry.provenance;
  return RuleName{entry.policy.kind,
                  entry.policy.ns,
                  entry.policy.name,
                  provenance.location,
                  provenance.line == 0 ? 0 : provenance.line + entry.line,
                  entry.egress,
                  entry.deny,
                  entry.any_peer,
                  entry.any_port,
                  entry.ports};
}

}  // namespace isthmus
