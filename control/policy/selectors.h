// Sets of identities that rules choose their peers by. One set per different choice, however many rules make it, kept
// up to date as identities come and go: a change looks only at the sets that the identity leaves or may enter. Thread:
// control.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "control/compile/id_pool.h"
#include "control/policy/cidrs.h"
#include "control/policy/identities.h"
#include "dataplane/api/tables.h"

namespace isthmus {

// Any of these. What is in no list is not chosen.
struct PeerChoice {
  std::vector<LabelSelector> labels;  // sorted, unique
  std::vector<CidrBlock> cidrs;       // sorted, unique
  [[nodiscard]] bool empty() const { return labels.empty() && cidrs.empty(); }
  [[nodiscard]] bool holds(const KnownIdentity& identity) const;
  friend auto operator<=>(const PeerChoice&, const PeerChoice&) = default;
};

class SelectorTable {
 public:
  // Counts references. Precondition: the prefixes of the choice have identities, which identity_changed() was told of.
  SelectorId acquire(const PeerChoice& choice, const IdentityIndex& identities, const CidrTable& cidrs);
  void release(SelectorId id);
  // It came, went (null) or has other labels.
  void identity_changed(Identity number, const KnownIdentity* now);
  // Precondition: acquire() gave the number.
  [[nodiscard]] const PeerChoice& choice(SelectorId id) const { return *selectors_.at(id).choice; }
  // Sorted. Null: no such selector.
  [[nodiscard]] const std::vector<Identity>* members(SelectorId id) const;
  // What changed since the last take(); `moved` gets those of them that were published before.
  void take(TableDelta& delta, std::set<SelectorId>& moved);
  [[nodiscard]] std::size_t size() const { return selectors_.size(); }

 private:
  struct Selector {
    const PeerChoice* choice = nullptr;  // key in by_choice_
    std::size_t references = 0;
    std::shared_ptr<std::vector<Identity>> members;  // immutable once published
    bool shared = false;                             // members were published: copy before a change
    bool published = false;
  };

  void change(SelectorId id, Selector& selector, Identity number, bool enters);
  void index(SelectorId id, const PeerChoice& choice);
  void unindex(SelectorId id, const PeerChoice& choice);

  std::map<PeerChoice, SelectorId> by_choice_;
  std::unordered_map<SelectorId, Selector> selectors_;
  std::unordered_map<Identity, std::vector<SelectorId>> memberships_;
  SelectorIndex<SelectorId> by_label_;
  std::map<Prefix, std::vector<SelectorId>> by_prefix_;
  std::set<SelectorId> touched_, gone_;
  IdPool<SelectorId> numbers_{4096};
};

}  // namespace isthmus
