// The identity sets by which rules select their peers. Rules with equal peer selectors share one set. Sets are updated
// as identities appear and disappear: a change visits only the sets that the identity leaves or may enter. Beside them
// there are lists, whose members their user sets. Thread: control.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/compile/id_pool.h"
#include "control/policy/cidrs.h"
#include "control/policy/identities.h"
#include "dataplane/api/tables.h"

namespace isthmus {

// The union of its members; empty selects nothing.
struct PeerSelector {
  std::vector<LabelSelector> labels;  // sorted, unique
  std::vector<CidrBlock> cidrs;       // sorted, unique
  [[nodiscard]] bool empty() const { return labels.empty() && cidrs.empty(); }
  [[nodiscard]] bool matches(const KnownIdentity& identity) const;
  friend auto operator<=>(const PeerSelector&, const PeerSelector&) = default;
};

class SelectorTable {
 public:
  using Moves = std::set<std::pair<SelectorId, Identity>>;

  // Takes a reference. Precondition: the prefixes of the selector have identities that were passed to
  // identity_changed().
  SelectorId acquire(const PeerSelector& selector, const IdentityIndex& identities, const CidrTable& cidrs);
  // A list, with one reference; empty at first.
  [[nodiscard]] SelectorId acquire_list();
  // Puts the identity into a list, or takes it out.
  void set_member(SelectorId list, Identity number, bool member);
  void release(SelectorId id);
  // The identity was added, removed (`now` is null) or has other labels.
  void identity_changed(Identity number, const KnownIdentity* now);
  // Notes what enters and leaves the selector; off after as many calls with false.
  void watch(SelectorId id, bool on);
  // What has entered or left a selector since the last call while it was watched, some of it both.
  [[nodiscard]] Moves take_moves() { return std::exchange(moves_, {}); }
  // Precondition: the id came from acquire() and is not released.
  [[nodiscard]] const PeerSelector& peers(SelectorId id) const { return *selectors_.at(id).peers; }
  // Sorted. Null when there is no such selector.
  [[nodiscard]] const std::vector<Identity>* members(SelectorId id) const;
  // Appends what changed since the last call; `changed` receives the ids among them that had been published before.
  void take_changes(TableDelta& delta, std::set<SelectorId>& changed);
  [[nodiscard]] std::size_t size() const { return selectors_.size(); }

 private:
  struct Selector {
    const PeerSelector* peers = nullptr;  // key in by_peers_; null: a list
    std::size_t references = 0, watched = 0;
    std::shared_ptr<std::vector<Identity>> members;  // sorted; immutable once published
    bool shared = false;                             // `members` is published: copy on write
    bool published = false;
  };

  void change(SelectorId id, Selector& selector, Identity number, bool enters);
  void edit(SelectorId id, Selector& selector, Identity number, bool enters);
  void index(SelectorId id, const PeerSelector& selector);
  void unindex(SelectorId id, const PeerSelector& selector);

  std::map<PeerSelector, SelectorId> by_peers_;
  std::unordered_map<SelectorId, Selector> selectors_;
  std::unordered_map<Identity, std::vector<SelectorId>> memberships_;
  SelectorIndex<SelectorId> by_label_;
  std::map<Prefix, std::vector<SelectorId>> by_prefix_;
  std::set<SelectorId> touched_, removed_;
  Moves moves_;
  IdPool<SelectorId> numbers_{4096};
};

}  // namespace isthmus
