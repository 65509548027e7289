// Every identity that policy can speak of: reserved ones, those that clusters publish, those of prefixes. By number,
// and by their labels. Thread: control.
#pragma once

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
  bool own = false;              // of this cluster's endpoints: may be a subject
  bool unlabelled = false;       // pods of whose labels nothing is known but the cluster
  std::optional<Prefix> prefix;  // of a prefix
  friend bool operator==(const KnownIdentity&, const KnownIdentity&) = default;
};

// Whether the selector chooses whoever has this identity. Of pods without labels it says only what holds whatever
// their labels are: which cluster they are of, that they have some namespace, that they are nothing reserved.
[[nodiscard]] bool chooses(const LabelSelector& selector, const KnownIdentity& identity);
// Whether it chooses some of these pods without labels, if they have the labels that it asks for.
[[nodiscard]] bool may_choose(const LabelSelector& selector, const KnownIdentity& unlabelled);

class IdentityIndex {
 public:
  // Begins with the reserved identities, 1 to 10.
  IdentityIndex();
  // False: nothing changed.
  bool set(Identity number, KnownIdentity identity);
  bool erase(Identity number);
  // Null: unknown. Valid until the next change.
  [[nodiscard]] const KnownIdentity* find(Identity number) const;
  void visit_matching(const LabelSelector& selector,
                      const std::function<void(Identity, const KnownIdentity&)>& visit) const;
  [[nodiscard]] std::size_t size() const { return identities_.size(); }

 private:
  void index(Identity number, const LabelSet& labels);
  void unindex(Identity number, const LabelSet& labels);

  std::unordered_map<Identity, KnownIdentity> identities_;
  std::unordered_map<std::string, std::vector<Identity>> by_term_;  // sorted
};

}  // namespace isthmus
