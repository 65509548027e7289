// The policy table: which peers may talk to an identity of our cluster and which it may talk to
// (dataplane/api/policy.h), and the identities of addresses that are not endpoints.
//
// A tree of shared immutable parts: subjects in 256 shards, selectors in blocks of 256, so that a change copies only
// the parts it affects. Built by the publisher (control thread) as part of a snapshot, read by workers at admission,
// freed with the last snapshot that refers to it. Lookups are lock-free and do not allocate.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/api/tables.h"
#include "dataplane/tables/range_map.h"
#include "dataplane/tables/receivers.h"

namespace isthmus {

// Input of an entry's L4 condition: the connection's destination port, or the ICMP type.
struct PolicyL4 {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  friend bool operator==(const PolicyL4&, const PolicyL4&) = default;
};

class SelectorSets {
 public:
  static constexpr std::uint32_t kMaxId = 1u << 20;
  using Members = std::shared_ptr<const std::vector<Identity>>;

  // O(log n) in the selector's size. False for an id without a selector.
  [[nodiscard]] bool holds(SelectorId id, Identity identity) const noexcept;
  // nullptr: no such selector.
  [[nodiscard]] const std::vector<Identity>* find(SelectorId id) const noexcept;
  // Control, before the table is published. Ids are at most kMaxId.
  void apply(const std::vector<SelectorEntry>& upsert, const std::vector<SelectorId>& remove);

 private:
  static constexpr std::size_t kBlock = 256;
  using Block = std::array<Members, kBlock>;
  std::vector<std::shared_ptr<const Block>> blocks_;  // indexed by id; a block without selectors may be null
};

// One direction of a subject's policy: its entries grouped by L4 condition, deny entries first. Protocols and ports are
// cut into classes that the groups do not tell apart; each has a list of the groups that cover it, so that a decision
// does not look at the others.
class DirectionRules {
 public:
  DirectionRules() = default;
  explicit DirectionRules(const DirectionPolicy& policy);
  // The rule in the verdict is one of those that match.
  [[nodiscard]] PolicyVerdict decide(const SelectorSets& selectors, Identity peer, PolicyL4 l4) const noexcept;
  // What decide() takes of `l4`: of one class, it is the same for every port.
  [[nodiscard]] std::uint32_t class_of(PolicyL4 l4) const noexcept;
  // Whether any entry selects an identity that addresses get from their prefix.
  [[nodiscard]] bool asks_prefixes(const SelectorSets& selectors) const noexcept;

 private:
  struct Group {
    std::uint16_t first_port, last_port;
    std::uint8_t protocol;  // 0: any
    bool deny;
    std::uint32_t end;  // end of its peers; they begin at the previous group's end
    [[nodiscard]] bool covers(PolicyL4 l4) const noexcept {
      return (protocol == 0 || protocol == l4.protocol) && first_port <= l4.port && l4.port <= last_port;
    }
  };
  struct Peer {
    SelectorId selector;
    RuleId rule;
  };
  struct Class {
    std::uint32_t start = 0;  // protocol and first port; the next one's is the end
    std::uint32_t begin = 0;  // of its groups in covering_; the next one's is the end
  };
  // Groups that overlap so much that lists would take more than this many places, and 16 for each group, have none.
  static constexpr std::size_t kMaxPlaces = 65'536, kPlacesPerGroup = 16;

  [[nodiscard]] static constexpr std::uint32_t point(std::uint32_t protocol, std::uint32_t port) noexcept {
    return (protocol << 16) + port;
  }
  void build_classes();
  bool enforced_ = false;
  std::vector<Class> classes_{{0, 0}, {~std::uint32_t{0}, 0}};  // ascending; the last is none
  std::vector<std::uint32_t> covering_;
  bool listed_ = true;
  std::vector<Group> groups_;
  std::vector<Peer> peers_;
};

struct SubjectRules {
  explicit SubjectRules(const SubjectPolicy& policy)
      : subject(policy.subject), audit(policy.audit), ingress(policy.ingress), egress(policy.egress) {}
  Identity subject;
  bool audit;
  DirectionRules ingress, egress;
};

class PolicyTable {
 public:
  explicit PolicyTable(Realm realm);  // of all its addresses

  // A copy with a validated delta applied, but for its prefixes, whose identities are those of `prefixes`; shares every
  // part that did not change.
  [[nodiscard]] std::shared_ptr<const PolicyTable> changed(const TableDelta& delta,
                                                           std::shared_ptr<const RangeMap> prefixes) const;

  [[nodiscard]] PolicyVerdict ingress(Identity subject, Identity peer, PolicyL4 l4) const noexcept;
  [[nodiscard]] PolicyVerdict egress(Identity subject, Identity peer, PolicyL4 l4) const noexcept;
  // DirectionRules::class_of(); 0 for a subject without a policy.
  [[nodiscard]] std::uint32_t class_of(Identity subject, bool ingress, PolicyL4 l4) const noexcept;
  // The identity of an address by its longest prefix, or `otherwise`.
  [[nodiscard]] Identity by_prefix(Realm realm, const IpAddress& address, Identity otherwise) const noexcept {
    const std::uint32_t value = prefixes_->find(realm, address);
    return value == RangeMap::kMiss ? otherwise : Identity{value};
  }
  // The identity for which packets to the address are decided, given that of its endpoint.
  [[nodiscard]] Identity receives_as(Realm realm, const IpAddress& address, Identity identity) const noexcept {
    return receivers_ == nullptr ? identity : receivers_->find(realm, address, identity);
  }
  [[nodiscard]] const SelectorSets& selectors() const noexcept { return selectors_; }
  // Subjects whose verdicts may change when the identities of prefixes change.
  [[nodiscard]] std::vector<Identity> subjects_by_prefix() const;

 private:
  static constexpr std::size_t kShards = 256;
  using Shard = std::vector<std::shared_ptr<const SubjectRules>>;  // ascending by subject
  [[nodiscard]] static std::size_t shard_of(Identity subject) noexcept { return subject.value() % kShards; }
  [[nodiscard]] const SubjectRules* find(Identity subject) const noexcept;
  [[nodiscard]] PolicyVerdict by_default(Identity subject, bool deny) const noexcept;
  void change_subjects(const TableDelta& delta);

  Realm realm_;
  std::array<std::shared_ptr<const Shard>, kShards> subjects_;
  SelectorSets selectors_;
  PolicyDefaults defaults_;
  std::shared_ptr<const RangeMap> prefixes_;
  std::shared_ptr<const ReceiverTable> receivers_;  // null: none
};

}  // namespace isthmus
