// Short expressions for policies in tests: builds the delta that publishes them.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/api/tables.h"

namespace isthmus::test {

inline constexpr std::uint8_t kAnyProtocol = 0, kTcpNumber = 6, kUdpNumber = 17, kIcmpNumber = 1;

[[nodiscard]] inline SelectorEntry selector(std::uint32_t id, std::vector<std::uint32_t> identities) {
  std::sort(identities.begin(), identities.end());
  auto members = std::make_shared<std::vector<Identity>>();
  for (const std::uint32_t i : identities) {
    members->push_back(Identity{i});
  }
  return {SelectorId{id}, std::move(members)};
}

// The rule id equals the selector id, so that a verdict shows which entry it came from.
[[nodiscard]] inline PolicyEntry allow(std::uint32_t peers, std::uint8_t protocol = kAnyProtocol,
                                       std::uint16_t first = 0, std::uint16_t last = 65535) {
  return {SelectorId{peers}, protocol, false, first, last, RuleId{peers}};
}
[[nodiscard]] inline PolicyEntry deny(std::uint32_t peers, std::uint8_t protocol = kAnyProtocol,
                                      std::uint16_t first = 0, std::uint16_t last = 65535) {
  return {SelectorId{peers}, protocol, true, first, last, RuleId{peers}};
}
[[nodiscard]] inline DirectionPolicy enforced(std::vector<PolicyEntry> entries = {}) {
  return {true, std::move(entries)};
}

// Collects what a test publishes in one delta.
class PolicyDelta {
 public:
  PolicyDelta& select(std::uint32_t id, std::vector<std::uint32_t> identities) {
    delta.upsert_selectors.push_back(selector(id, std::move(identities)));
    return *this;
  }
  PolicyDelta& ingress(std::uint32_t subject, DirectionPolicy policy) {
    of(subject).ingress = std::move(policy);
    return *this;
  }
  PolicyDelta& egress(std::uint32_t subject, DirectionPolicy policy) {
    of(subject).egress = std::move(policy);
    return *this;
  }
  PolicyDelta& audit(std::uint32_t subject) {
    of(subject).audit = true;
    return *this;
  }
  PolicyDelta& without(std::uint32_t subject) {
    delta.remove_policies.push_back(Identity{subject});
    return *this;
  }
  PolicyDelta& moved(std::uint32_t subject) {
    delta.affected_subjects.push_back(Identity{subject});
    return *this;
  }
  PolicyDelta& prefix(const char* prefix, std::uint32_t identity) {
    if (!delta.cidr_identities) {
      delta.cidr_identities.emplace();
    }
    delta.cidr_identities->push_back({*Prefix::parse(prefix), Identity{identity}});
    return *this;
  }

  TableDelta delta;

 private:
  SubjectPolicy& of(std::uint32_t subject) {
    for (std::size_t i = 0; i < subjects_.size(); ++i) {
      if (subjects_[i]->subject.value() == subject) {
        return *subjects_[i];
      }
    }
    subjects_.push_back(std::make_shared<SubjectPolicy>());
    subjects_.back()->subject = Identity{subject};
    delta.upsert_policies.push_back(subjects_.back());
    return *subjects_.back();
  }
  std::vector<std::shared_ptr<SubjectPolicy>> subjects_;
};

}  // namespace isthmus::test
