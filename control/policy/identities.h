// Every identity that policy can select: reserved ones, those published by clusters, and those of prefixes. Indexed by
// number and by label. Thread: control.
#pragma once

#include <absl/hash/hash.h>

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/policy/labels.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct KnownIdentity {
  LabelSet labels;
  bool own = false;              // an endpoint identity of this cluster: may be a policy subject
  bool unlabelled = false;       // pods whose labels are unknown except for the cluster
  std::optional<Prefix> prefix;  // set for identities of prefixes
  friend bool operator==(const KnownIdentity&, const KnownIdentity&) = default;
};

// Whether the selector selects the identity. Unlabelled pods are selected only if they would be whatever their labels
// are: all that is known is their cluster, that they have some namespace, and that they are not a reserved identity.
[[nodiscard]] bool selects(const LabelSelector& selector, const KnownIdentity& identity);
// Whether the selector could select some of these unlabelled pods, depending on labels that are not known.
[[nodiscard]] bool may_select(const LabelSelector& selector, const KnownIdentity& unlabelled);

class IdentityIndex {
 public:
  // Contains the reserved identities 1 to 10.
  IdentityIndex();
  // Both return false when nothing changed.
  bool set(Identity number, KnownIdentity identity);
  bool erase(Identity number);
  // Null when unknown. Valid until the next change.
  [[nodiscard]] const KnownIdentity* find(Identity number) const;
  void visit_matching(const LabelSelector& selector,
                      const std::function<void(Identity, const KnownIdentity&)>& visit) const;
  [[nodiscard]] std::size_t size() const { return identities_.size(); }

 private:
  void index(Identity number, const LabelSet& labels);
  void unindex(Identity number, const LabelSet& labels);

  std::unordered_map<Identity, KnownIdentity> identities_;
  std::unordered_map<std::string, std::vector<Identity>, absl::Hash<std::string>> by_term_;  // sorted
};

}  // namespace isthmus
