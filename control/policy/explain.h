// Explains policy decisions: lists the rules that apply to an endpoint, and evaluates a question (from, to, port) rule
// by rule from labels. For display only; the engine decides by the compiled tables. Pure. Thread: control.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/model/model.h"
#include "control/policy/policy_set.h"

namespace isthmus {

// One end of a question: an existing identity, or only a set of labels.
struct PolicyParty {
  std::string name;  // for display
  std::optional<Identity> identity;
  KnownIdentity known;
  std::optional<Identity> receives_as;  // of an endpoint
};
// Parses a label set such as "k8s:app=web,io.kubernetes.pod.namespace=shop"; the cluster label defaults to `cluster`.
// Nothing when the text is malformed.
[[nodiscard]] std::optional<PolicyParty> parse_label_party(const std::string& text, const std::string& cluster);
// The party with this identity; its labels are empty when the identity is unknown.
[[nodiscard]] PolicyParty party_of(Identity identity, const std::string& name, const PolicySet& policy);

struct PolicyQuestion {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;  // ICMP: the type
};
// "80/tcp", "53/udp", "8/icmp", "128/icmpv6"; a number alone means TCP.
[[nodiscard]] std::optional<PolicyQuestion> parse_question(const std::string& text);

struct ExplainedRule {
  RuleName name;
  std::string peers, ports;
  bool peer_matches = false, port_matches = false;  // set only when a question was asked
  bool decides = false;
};

struct ExplainedDirection {
  bool egress = false;
  std::string subject, peer;
  bool ours = false;      // the subject belongs to this cluster, so its policies are evaluated here
  bool enforced = false;  // default deny is in effect
  std::vector<ExplainedRule> rules;
  std::vector<std::string> refused;  // policies with errors that select the subject: "CiliumNetworkPolicy shop/web"
  PolicyOutcome outcome = PolicyOutcome::kNotApplicable;
  std::string reason;  // for display
};

// Without `peer` and `question`, lists the rules only.
[[nodiscard]] ExplainedDirection explain(const PolicySet& policy, const Model& model, const std::string& cluster,
                                         bool egress, const PolicyParty& subject, const PolicyParty* peer = nullptr,
                                         const PolicyQuestion* question = nullptr);

}  // namespace isthmus
