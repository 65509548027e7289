// Why policy says what it says: the rules that apply to an endpoint, and a question (from, to, port) judged rule by
// rule with the labels at hand. For people; the engine judges by the compiled tables. Pure. Thread: control.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/model/model.h"
#include "control/policy/policy_set.h"

namespace isthmus {

// One end of a question. Without a number it is only a set of labels.
struct PolicyParty {
  std::string name;  // as a person knows it
  std::optional<Identity> identity;
  KnownIdentity known;
};
// "k8s:app=web,io.kubernetes.pod.namespace=shop": labels of nobody in particular, of `cluster` unless they say
// otherwise. Nothing for other text.
[[nodiscard]] std::optional<PolicyParty> parse_label_party(const std::string& text, const std::string& cluster);
// As the tables know that number; the labels are empty when they do not.
[[nodiscard]] PolicyParty party_of(Identity identity, const std::string& name, const PolicySet& policy);

struct PolicyQuestion {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;  // ICMP: the type
};
// "80/tcp", "53/udp", "8/icmp", "128/icmpv6"; a number alone is of TCP.
[[nodiscard]] std::optional<PolicyQuestion> parse_question(const std::string& text);

struct ExplainedRule {
  RuleName name;
  std::string peers, ports;
  bool peer_matches = false, port_matches = false;  // only where there was a question
  bool decides = false;
};

struct ExplainedDirection {
  bool egress = false;
  std::string subject, peer;
  bool ours = false;      // the subject is of this cluster: its policies are judged here
  bool enforced = false;  // what no rule allows is denied
  std::vector<ExplainedRule> rules;
  PolicyOutcome outcome = PolicyOutcome::kNotAsked;
  std::string reason;  // in words
};

// Without a peer and question: the rules only.
[[nodiscard]] ExplainedDirection explain(const PolicySet& policy, const Model& model, const std::string& cluster,
                                         bool egress, const PolicyParty& subject, const PolicyParty* peer = nullptr,
                                         const PolicyQuestion* question = nullptr);

}  // namespace isthmus
