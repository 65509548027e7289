#include "control/policy/identities.h"

#include <algorithm>
#include <utility>

namespace isthmus {
namespace {

bool is_pod_label(const LabelRequirement& requirement) {
  return requirement.source != "reserved" && requirement.key != kClusterLabel;
}

// Checks only the requirements on the cluster label and on reserved labels: for unlabelled pods these are known.
bool known_labels_match(const LabelSelector& selector, const LabelSet& labels) {
  return std::all_of(selector.requirements.begin(), selector.requirements.end(),
                     [&](const LabelRequirement& r) { return is_pod_label(r) || matches({{r}}, labels); });
}

}  // namespace

bool selects(const LabelSelector& selector, const KnownIdentity& identity) {
  if (!identity.unlabelled) {
    return matches(selector, identity.labels);
  }
  return known_labels_match(selector, identity.labels) &&
         std::all_of(selector.requirements.begin(), selector.requirements.end(), [](const LabelRequirement& r) {
           return !is_pod_label(r) || (r.key == kNamespaceLabel && r.op == LabelOperator::kExists);
         });
}

bool may_select(const LabelSelector& selector, const KnownIdentity& unlabelled) {
  return known_labels_match(selector, unlabelled.labels) &&
         std::none_of(selector.requirements.begin(), selector.requirements.end(), [](const LabelRequirement& r) {
           return r.key == kNamespaceLabel && r.op == LabelOperator::kDoesNotExist;
         });
}

IdentityIndex::IdentityIndex() {
  const std::pair<std::uint32_t, std::vector<const char*>> kReserved[] = {
      {1, {"host"}},       {2, {"world"}},       {3, {"unmanaged"}}, {4, {"health"}},
      {5, {"init"}},       {6, {"remote-node"}}, {8, {"ingress"}},   {7, {"kube-apiserver", "remote-node"}},
      {9, {"world-ipv4"}}, {10, {"world-ipv6"}},
  };
  for (const auto& [number, names] : kReserved) {
    KnownIdentity identity;
    for (const char* name : names) {
      identity.labels.push_back({name, "reserved", {}});
    }
    set(Identity{number}, std::move(identity));
  }
}

bool IdentityIndex::set(Identity number, KnownIdentity identity) {
  const auto [it, inserted] = identities_.try_emplace(number);
  if (!inserted) {
    if (it->second == identity) {
      return false;
    }
    unindex(number, it->second.labels);
  }
  it->second = std::move(identity);
  index(number, it->second.labels);
  return true;
}

bool IdentityIndex::erase(Identity number) {
  const auto it = identities_.find(number);
  if (it == identities_.end()) {
    return false;
  }
  unindex(number, it->second.labels);
  identities_.erase(it);
  return true;
}

const KnownIdentity* IdentityIndex::find(Identity number) const {
  const auto it = identities_.find(number);
  return it == identities_.end() ? nullptr : &it->second;
}

void IdentityIndex::index(Identity number, const LabelSet& labels) {
  for (const Label& label : labels) {
    auto& list = by_term_[lookup_term(label.key, label.value)];
    const auto at = std::lower_bound(list.begin(), list.end(), number);
    if (at == list.end() || *at != number) {
      list.insert(at, number);
    }
  }
}

void IdentityIndex::unindex(Identity number, const LabelSet& labels) {
  for (const Label& label : labels) {
    const auto of = by_term_.find(lookup_term(label.key, label.value));
    if (of == by_term_.end()) {
      continue;
    }
    const auto at = std::lower_bound(of->second.begin(), of->second.end(), number);
    if (at != of->second.end() && *at == number) {
      of->second.erase(at);
    }
    if (of->second.empty()) {
      by_term_.erase(of);
    }
  }
}

void IdentityIndex::visit_matching(const LabelSelector& selector,
                                   const std::function<void(Identity, const KnownIdentity&)>& visit) const {
  const LabelRequirement* by = nullptr;
  std::size_t min_count = identities_.size();
  for (const LabelRequirement& requirement : selector.requirements) {
    if (requirement.op != LabelOperator::kIn) {
      continue;
    }
    std::size_t count = 0;
    for (const std::string& value : requirement.values) {
      const auto of = by_term_.find(lookup_term(requirement.key, value));
      count += of == by_term_.end() ? 0 : of->second.size();
    }
    if (by == nullptr || count < min_count) {
      by = &requirement;
      min_count = count;
    }
  }
  if (by == nullptr) {
    for (const auto& [number, identity] : identities_) {
      if (selects(selector, identity)) {
        visit(number, identity);
      }
    }
    return;
  }
  for (const std::string& value : by->values) {
    const auto of = by_term_.find(lookup_term(by->key, value));
    for (std::size_t i = 0; of != by_term_.end() && i < of->second.size(); ++i) {
      const KnownIdentity& identity = identities_.at(of->second[i]);
      if (selects(selector, identity)) {
        visit(of->second[i], identity);
      }
    }
  }
}

}  // namespace isthmus
