// The labels of an identity, and what a selector says of them. Pure values. Thread: any.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/model/policy_objects.h"

namespace isthmus {

inline constexpr std::string_view kClusterLabel = "io.cilium.k8s.policy.cluster";
inline constexpr std::string_view kNamespaceLabel = "io.kubernetes.pod.namespace";

struct Label {
  std::string key, source, value;
  friend auto operator<=>(const Label&, const Label&) = default;
};
using LabelSet = std::vector<Label>;  // sorted

// "k8s:app" → "shop" as hubs publish them; a key without a source has the source "unspec".
[[nodiscard]] LabelSet parse_labels(const std::map<std::string, std::string>& labels);
[[nodiscard]] bool matches(const LabelSelector& selector, const LabelSet& labels);
// "k8s:app=shop, !any:tier": for people.
[[nodiscard]] std::string to_text(const LabelSelector& selector);
[[nodiscard]] std::string to_text(const LabelSet& labels);
// The requirement by which a selector is best looked up: an In on the label that tells most apart. Null: none is an In.
[[nodiscard]] const LabelRequirement* lookup_requirement(const LabelSelector& selector);
[[nodiscard]] std::string lookup_term(std::string_view key, std::string_view value);

// Ids by the labels that they wait for: given a label set, those whose selector may match it.
template <typename Id>
class SelectorIndex {
 public:
  void add(const LabelSelector& selector, Id id) {
    if (const LabelRequirement* by = lookup_requirement(selector)) {
      for (const std::string& value : by->values) {
        by_term_[lookup_term(by->key, value)].push_back(id);
      }
    } else {
      residual_.push_back(id);
    }
  }
  // Precondition: add() was called with the same.
  void remove(const LabelSelector& selector, Id id) {
    if (const LabelRequirement* by = lookup_requirement(selector)) {
      for (const std::string& value : by->values) {
        const auto at = by_term_.find(lookup_term(by->key, value));
        drop(at->second, id);
        if (at->second.empty()) {
          by_term_.erase(at);
        }
      }
    } else {
      drop(residual_, id);
    }
  }
  // Appends; an id may come more than once.
  void candidates(const LabelSet& labels, std::vector<Id>& out) const {
    for (const Label& label : labels) {
      if (const auto at = by_term_.find(lookup_term(label.key, label.value)); at != by_term_.end()) {
        out.insert(out.end(), at->second.begin(), at->second.end());
      }
    }
    out.insert(out.end(), residual_.begin(), residual_.end());
  }

 private:
  static void drop(std::vector<Id>& ids, Id id) {
    for (Id& each : ids) {
      if (each == id) {
        each = ids.back();
        ids.pop_back();
        return;
      }
    }
  }
  std::unordered_map<std::string, std::vector<Id>> by_term_;
  std::vector<Id> residual_;
};

}  // namespace isthmus
