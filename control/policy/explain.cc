#include "control/policy/explain.h"

#include <algorithm>
#include <charconv>

#include "control/policy/policy_text.h"

namespace isthmus {
namespace {

std::string_view take_word(std::string_view& rest, char end) {
  const std::string_view word = rest.substr(0, rest.find(end));
  rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  return word;
}

bool port_matches(const PolicySet& policy, const PolicyRule& rule, const PolicyParty& subject, const PolicyParty& peer,
                  const PolicyQuestion& question) {
  if (rule.any_port) {
    return true;
  }
  const PolicyParty& owner = rule.egress ? peer : subject;
  return std::any_of(rule.ports.begin(), rule.ports.end(), [&](const PolicyPort& port) {
    if (port.protocol != question.protocol) {
      return false;
    }
    if (port.name.empty()) {
      return port.first <= question.port && question.port <= port.last;
    }
    if (!owner.receives_as) {
      return false;
    }
    const auto numbers = policy.named_ports().numbers(port.name, port.protocol, *owner.receives_as);
    return std::find(numbers.begin(), numbers.end(), question.port) != numbers.end();
  });
}

// The specs that select the subject, by identity if it has one, otherwise by labels.
std::vector<const CompiledSpec*> specs_for(const PolicySet& policy, const PolicyParty& subject) {
  if (subject.identity) {
    return policy.specs_of(*subject.identity);
  }
  std::vector<const CompiledSpec*> out;
  for (const ObjectKey& key : policy.policies()) {
    for (const CompiledSpec* spec : policy.specs_of(key)) {
      if (matches(spec->subjects, subject.known.labels)) {
        out.push_back(spec);
      }
    }
  }
  return out;
}

// Whether this is an address of the cluster that has no labels of its own.
bool is_unknown_in(const KnownIdentity& known, const std::string& cluster) {
  return (known.prefix || known.unlabelled) &&
         std::any_of(known.labels.begin(), known.labels.end(),
                     [&](const Label& label) { return label.key == kClusterLabel && label.value == cluster; });
}

// Sets the outcome and its reason, and marks the deciding rule.
void decide(const PolicySet& policy, bool selected, ExplainedDirection& out) {
  const PolicySettings& settings = policy.settings();
  const auto deciding = [&](bool deny) {
    return std::find_if(out.rules.begin(), out.rules.end(), [&](const ExplainedRule& rule) {
      return rule.name.deny == deny && rule.peer_matches && rule.port_matches;
    });
  };
  if (settings.enforcement == PolicyEnforcement::kNever) {
    out.outcome = PolicyOutcome::kAllowed;
    out.reason = "policy is not enforced (policy.enforcement: never)";
    return;
  }
  auto rule = policy.held() ? out.rules.end() : deciding(true);
  if (policy.held()) {
    out.outcome = PolicyOutcome::kDenied;
    out.reason = "this cluster's policies are not all known yet (policy.until_listed: deny)";
  } else if (rule != out.rules.end()) {
    out.outcome = PolicyOutcome::kDeniedByRule;
    out.reason = "a deny rule matches";
  } else if (rule = deciding(false); rule != out.rules.end()) {
    out.outcome = PolicyOutcome::kAllowed;
    out.reason = "a rule allows it";
  } else if (out.enforced) {
    out.outcome = PolicyOutcome::kDenied;
    out.reason = selected ? "no rule allows it" : "no policy selects it, and policy.enforcement is always";
  } else {
    out.outcome = PolicyOutcome::kAllowed;
    out.reason = selected ? "no policy enforces this direction" : "no policy selects it";
  }
  if (rule != out.rules.end()) {
    rule->decides = true;
  }
  if (settings.audit && out.outcome != PolicyOutcome::kAllowed) {
    out.outcome = PolicyOutcome::kAudited;
    out.reason += "; allowed because policy.audit is on";
  }
}

}  // namespace

std::optional<PolicyParty> parse_label_party(const std::string& text, const std::string& cluster) {
  PolicyParty party;
  party.name = text;
  std::map<std::string, std::string> labels;
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view word = take_word(rest, ',');
    const std::string key(take_word(word, '='));
    if (key.empty()) {
      return std::nullopt;
    }
    labels[key.find(':') == std::string::npos ? "k8s:" + key : key] = std::string(word);
  }
  const bool reserved =
      std::any_of(labels.begin(), labels.end(), [](const auto& label) { return label.first.starts_with("reserved:"); });
  if (labels.empty()) {
    return std::nullopt;
  }
  if (!reserved) {
    labels.try_emplace("k8s:" + std::string(kClusterLabel), cluster);
  }
  party.known.labels = parse_labels(labels);
  party.known.own = !reserved && labels.at("k8s:" + std::string(kClusterLabel)) == cluster;
  return party;
}

PolicyParty party_of(Identity identity, const std::string& name, const PolicySet& policy) {
  PolicyParty party{name, identity, {}, std::nullopt};
  if (const KnownIdentity* known = policy.identities().find(identity)) {
    party.known = *known;
  }
  return party;
}

std::optional<PolicyQuestion> parse_question(const std::string& text) {
  PolicyQuestion question;
  const auto slash = text.find('/');
  const std::string number = text.substr(0, slash),
                    protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), question.port);
  for (const std::uint8_t known :
       {std::uint8_t{1}, std::uint8_t{6}, std::uint8_t{17}, std::uint8_t{58}, std::uint8_t{132}}) {
    if (protocol == protocol_text(known)) {
      question.protocol = known;
    }
  }
  const bool valid = error == std::errc{} && end == number.data() + number.size() && question.protocol != 0;
  return valid ? std::optional(question) : std::nullopt;
}

ExplainedDirection explain(const PolicySet& policy, const Model& model, const std::string& cluster, bool egress,
                           const PolicyParty& subject, const PolicyParty* peer, const PolicyQuestion* question) {
  ExplainedDirection out;
  out.egress = egress;
  out.subject = subject.name;
  out.peer = peer == nullptr ? "" : peer->name;
  const bool unknown = policy.denies_unknown() && is_unknown_in(subject.known, cluster);
  out.ours = subject.known.own || unknown;
  out.enforced = unknown || policy.settings().enforcement == PolicyEnforcement::kAlways;
  if (!out.ours) {
    out.reason =
        "it is not a labelled endpoint of cluster " + cluster + ": only that cluster's policies are evaluated here";
    return out;
  }
  if (unknown) {
    out.outcome = policy.settings().audit ? PolicyOutcome::kAudited : PolicyOutcome::kDenied;
    out.reason = "its labels are not known, so that any policy might select it";
    return out;
  }
  const auto specs = specs_for(policy, subject);
  for (const CompiledSpec* spec : specs) {
    if (spec->refused && (out.refused.empty() || out.refused.back() != policy_text(spec->policy))) {
      out.refused.push_back(policy_text(spec->policy));
    }
    out.enforced = out.enforced || (egress ? spec->default_deny_egress : spec->default_deny_ingress);
    for (const CompiledSpec::Rule& rule : spec->rules) {
      if (rule.text.egress != egress) {
        continue;
      }
      ExplainedRule row{policy.rule_names().find(rule.id, model).value_or(RuleName{}),
                        peers_text(rule.text),
                        ports_text(rule.text),
                        false,
                        false,
                        false};
      if (peer != nullptr && question != nullptr) {
        std::vector<Problem> ignored;
        row.peer_matches =
            rule.text.any_peer ||
            resolve_peers(rule.text, cluster, policy.scope(), policy.own_forms(), model, ignored).matches(peer->known);
        row.port_matches = port_matches(policy, rule.text, subject, *peer, *question);
      }
      out.rules.push_back(std::move(row));
    }
  }
  if (peer != nullptr && question != nullptr) {
    decide(policy, !specs.empty(), out);
  }
  return out;
}

}  // namespace isthmus
