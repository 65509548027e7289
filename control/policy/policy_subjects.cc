// What PolicySet publishes: the policies of subjects, built from the specs that select them, and the subjects whose
// peer sets changed.
#include <algorithm>
#include <utility>

#include "control/policy/policy_set.h"

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
  for (const CompiledSpec::NamedPeers& each : rule.named) {
    add(each.peers, each.protocol, each.number, each.number);
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

void PolicySet::emit_subjects(TableDelta& delta) {
  for (const Identity number : std::exchange(dirty_, {})) {
    const auto at = subjects_.find(number);
    if (at == subjects_.end()) {
      continue;
    }
    Subject& subject = at->second;
    if (subject.specs.empty() || settings_.enforcement == PolicyEnforcement::kNever) {
      if (subject.published) {
        delta.remove_policies.push_back(number);
        subject.published.reset();
      }
      if (subject.specs.empty()) {
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
