// What PolicySet publishes: the policies of subjects, built from the specs that select them, and the subjects whose
// peer sets changed.
#include <algorithm>
#include <utility>

#include "control/policy/policy_set.h"
#include "dataplane/api/identity.h"

namespace isthmus {

void PolicySet::add_entries(const CompiledSpec::Rule& rule, Identity subject, Entries& out) const {
  if (rule.matches_nothing) {
    return;
  }
  const auto add = [&](SelectorId peers, std::uint8_t protocol, std::uint16_t first, std::uint16_t last) {
    if (out.seen.emplace(peers, protocol, rule.text.deny, first, last).second) {
      out.direction.entries.push_back({peers, protocol, rule.text.deny, first, last, rule.id});
    }
  };
  if (rule.text.any_port) {
    add(rule.peers, 0, 0, 65535);
  }
  for (const PolicyPort& port : rule.text.ports) {
    if (port.name.empty()) {
      add(rule.peers, port.protocol, port.first, port.last);
    } else if (!rule.text.egress) {  // the subject's own port
      for (const std::uint16_t number : named_ports_.numbers(port.name, port.protocol, subject)) {
        add(rule.peers, port.protocol, number, number);
      }
    }
  }
  for (const NamedPeers* named : rule.named) {
    for (const auto& [number, peers] : named->sets) {
      add(peers, named->protocol, number, number);
    }
  }
}

std::shared_ptr<SubjectPolicy> PolicySet::build(Identity number) const {
  auto policy = std::make_shared<SubjectPolicy>();
  policy->subject = number;
  policy->audit = settings_.audit;
  policy->ingress.enforced = policy->egress.enforced = settings_.enforcement == PolicyEnforcement::kAlways;
  Entries ingress{policy->ingress, {}}, egress{policy->egress, {}};
  for (const CompiledSpec* spec : specs_of(number)) {
    policy->ingress.enforced = policy->ingress.enforced || spec->default_deny_ingress;
    policy->egress.enforced = policy->egress.enforced || spec->default_deny_egress;
    for (const CompiledSpec::Rule& rule : spec->rules) {
      add_entries(rule, number, rule.text.egress ? egress : ingress);
    }
  }
  return policy;
}

// A local identity comes with its first pod and goes with its last, and so does a receiver. So that its policy need not
// arrive before the one and stay until the other, it is published even if it is empty, and an identity that has none is
// denied as unknown. A receiver whose pods' identity is not published is decided as that is, which has no policy.
bool PolicySet::is_always_published(Identity number) const {
  const KnownIdentity* known = identities_.find(number);
  if (identity::is_receiver(number)) {
    return known != nullptr ? known->own : named_ports_.ports_of(number) != nullptr && has_number_of_ours(number);
  }
  return known != nullptr && identity::is_local(number);
}

bool PolicySet::has_number_of_ours(Identity receiver) const {
  const std::uint32_t number = named_ports_.identity_of(receiver).value();
  return std::any_of(clusters_.clusters.begin(), clusters_.clusters.end(), [&](const PolicyClusters::Cluster& cluster) {
    return cluster.name == cluster_ && cluster.id.value() == number >> clusters_.shift;
  });
}

// The subjects stay dirty while they are held, and are published with the defaults that end it.
void PolicySet::emit_defaults(const Model& model, TableDelta& delta) {
  const bool always = settings_.enforcement == PolicyEnforcement::kAlways;
  listed_ = model.policies_listed();
  held_ =
      !listed_ && settings_.until_listed == UntilListed::kDeny && settings_.enforcement != PolicyEnforcement::kNever;
  PolicyDefaults now{settings_.audit, always || held_, always || held_};
  // What might be a pod that some policy selects.
  now.deny_unknown = always || held_ || (!specs_.empty() && settings_.enforcement != PolicyEnforcement::kNever);
  if (defaults_ != now) {
    defaults_ = now;
    delta.policy_defaults = now;
  }
}

std::optional<Problem> PolicySet::unlisted_problem() const {
  if (listed_ || settings_.enforcement == PolicyEnforcement::kNever) {
    return std::nullopt;
  }
  const bool audited = held_ && settings_.audit;
  const std::string effect = !held_ ? "are open as far as no policy that was read selects them"
                                    : (audited ? "would be denied, which policy.audit only reports" : "are denied");
  return Problem{
      "the policies of cluster " + cluster_ + " are not all known, since its hub was not read " +
          "completely: packets from and to its pods " + effect,
      "policy",
      "correct the problems listed for that hub" + std::string(held_ ? ", or set policy.until_listed: allow" : "")};
}

void PolicySet::emit_subjects(TableDelta& delta) {
  if (held_) {
    return;
  }
  for (const Identity number : std::exchange(dirty_, {})) {
    const auto at = subjects_.find(number);
    if (at == subjects_.end()) {
      continue;
    }
    Subject& subject = at->second;
    const bool unused = subject.specs.empty() && !is_always_published(number);
    if (unused || settings_.enforcement == PolicyEnforcement::kNever) {
      if (subject.published) {
        delta.remove_policies.push_back(number);
        subject.published.reset();
      }
      if (unused) {
        subjects_.erase(at);
      }
      continue;
    }
    const auto next = build(number);
    if (!subject.published || subject.published->ingress != next->ingress ||
        subject.published->egress != next->egress) {
      subject.published = next;
      delta.upsert_policies.push_back(next);
    }
  }
}

void PolicySet::emit_peer_changes(const std::set<SelectorId>& changed, TableDelta& delta) const {
  std::set<Identity> subjects;
  for (const SelectorId selector : changed) {
    if (const auto users = users_.find(selector); users != users_.end()) {
      for (const SpecId id : users->second) {
        const auto& selected = specs_.at(id).selected;
        subjects.insert(selected.begin(), selected.end());
      }
    }
  }
  for (const auto& upserted : delta.upsert_policies) {
    subjects.erase(upserted->subject);
  }
  for (const Identity number : subjects) {
    if (subjects_.at(number).published) {
      delta.affected_subjects.push_back(number);
    }
  }
}

}  // namespace isthmus
