// The labels of an identity, and matching them against selectors. Pure values. Thread: any.
#pragma once

#include <absl/hash/hash.h>

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/model/policy_objects.h"

namespace isthmus {

inline constexpr std::string_view kClusterLabel = "io.cilium.k8s.policy.cluster";
inline constexpr std::string_view kNamespaceLabel = "io.kubernetes.pod.namespace";
inline constexpr std::string_view kNamespaceLabelPrefix = "io.cilium.k8s.namespace.labels.";  // of a Namespace's labels

struct Label {
  std::string key, source, value;
  friend auto operator<=>(const Label&, const Label&) = default;
};
using LabelSet = std::vector<Label>;  // sorted

// Parses labels as hubs publish them: "k8s:app" → "shop". A key without a source gets the source "unspec".
[[nodiscard]] LabelSet parse_labels(const std::map<std::string, std::string>& labels);
[[nodiscard]] bool matches(const LabelSelector& selector, const LabelSet& labels);
// For display: "k8s:app=shop, !any:tier".
[[nodiscard]] std::string to_text(const LabelSelector& selector);
[[nodiscard]] std::string to_text(const LabelSet& labels);
// The requirement to index a selector by: the In requirement expected to be the most selective. Null when there is
// none.
[[nodiscard]] const LabelRequirement* lookup_requirement(const LabelSelector& selector);
[[nodiscard]] std::string lookup_term(std::string_view key, std::string_view value);

// Finds, for a label set, the ids whose selector may match it.
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
  // Precondition: add() was called with the same arguments.
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
  // Appends the ids of selectors that may match; an id may occur more than once.
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
  std::unordered_map<std::string, std::vector<Id>, absl::Hash<std::string>> by_term_;
  std::vector<Id> residual_;
};

}  // namespace isthmus
