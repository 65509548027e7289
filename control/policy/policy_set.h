// Identity policy of this cluster: compiles the policies, identities, services and named ports of the model to
// subjects, selectors and prefixes for the engine.
//
// Owner: Compiler. Thread: control. The cost of update() is proportional to the change: an identity change re-evaluates
// the selectors it leaves or may enter and, for an identity of ours, the policies that may select it; a policy change
// re-evaluates its own subjects. Policies published by other clusters are ignored.
// Until the model has all policies, no subject's policy is published and everything in our cluster is denied.
// Failure: an identity number with conflicting label sets, or outside its cluster's range, is selected by nothing.
// Endpoints without labels are selected by cluster, entity and prefix only; a rule by labels that could select some of
// them is reported as a problem and not applied to them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "config/model/policy_enforcement.h"
#include "control/model/model.h"
#include "control/policy/cidrs.h"
#include "control/policy/identities.h"
#include "control/policy/local_identities.h"
#include "control/policy/named_ports.h"
#include "control/policy/rule_names.h"
#include "control/policy/rules.h"
#include "control/policy/selectors.h"
#include "dataplane/api/identity.h"
#include "dataplane/api/tables.h"

namespace isthmus {

struct PolicySettings {
  PolicyEnforcement enforcement = PolicyEnforcement::kDefault;
  bool audit = false;
  UntilListed until_listed = UntilListed::kDeny;
  SelectorScope scope = SelectorScope::kAgents;
};

// The clusters' prefixes and identity ranges, as needed by policy.
struct PolicyClusters {
  struct Cluster {
    std::string name;
    ClusterId id;
    friend bool operator==(const Cluster&, const Cluster&) = default;
  };
  std::vector<Cluster> clusters;
  std::map<Prefix, std::string> ranges;  // disjoint; with the names of their clusters
  std::uint8_t shift = 16;               // an identity number shifted right by this is its cluster id
  friend bool operator==(const PolicyClusters&, const PolicyClusters&) = default;
};

// A prefix that a cluster has now; none: the name is empty.
struct PolicyRange {
  Prefix prefix;
  std::string cluster;
};

// Other clusters with pods whose labels are unknown. Policy for those is by cluster and prefix only.
struct UnlabelledClusters {
  std::set<std::string> some;  // some endpoints have no labels
  std::set<std::string> all;   // no endpoint has labels: any address of the cluster may be a pod
  friend bool operator==(const UnlabelledClusters&, const UnlabelledClusters&) = default;
};

// Of the peers of a rule, those that have a port of some name, by its number there.
struct NamedPeers {
  std::uint8_t protocol = 0;
  std::map<std::uint16_t, SelectorId> sets;  // lists with members; PolicySet has a reference of each
};

// One spec of one policy, compiled.
struct CompiledSpec {
  struct Rule {
    RuleId id;
    SelectorId peers;              // kEveryPeer: no condition
    bool matches_nothing = false;  // selects no peer
    PolicyRule text;
    std::vector<const NamedPeers*> named;  // of egress ports by name; the spec uses each
  };
  ObjectKey policy;
  std::size_t position = 0;  // among the policy's specs
  bool refused = false;      // the policy has errors: the rules are what is safe to apply of it
  Provenance provenance;
  LabelSelector subjects;
  bool default_deny_ingress = false, default_deny_egress = false;
  std::vector<Rule> rules;
  std::vector<Prefix> prefixes;  // each holds a reference in cidrs_
  std::vector<Problem> problems;
  std::vector<Problem> unapplied;  // rules by labels that endpoints without labels may have
  std::set<Identity> selected;     // receivers included
};

// For metrics.
struct PolicyCounts {
  enum class Change : std::uint8_t { kAdd, kUpdate, kDelete };
  struct Enforced {
    std::size_t none = 0, ingress = 0, egress = 0, both = 0;
  };
  std::size_t policies = 0;    // without refused ones
  std::uint64_t revision = 0;  // incremented by every change
  std::map<std::pair<ObjectKind, Change>, std::uint64_t> changes;
  Enforced subjects;  // identities selected by a policy, by the directions with default deny
};

class PolicySet {
 public:
  PolicySet(std::string cluster, PolicySettings settings);

  // Appends the changes to `delta`. `clusters`: absent when unchanged, except for the prefixes in `ranges`. `first`:
  // compile the whole model; `clusters` is set.
  void update(const ModelChanges& changes, bool first, const Model& model,
              const std::optional<PolicyClusters>& clusters, const std::vector<PolicyRange>& ranges,
              const UnlabelledClusters& unlabelled, LocalIdentities& local, TableDelta& delta);
  // Of the clusters whose pods a rule may name by their own addresses; from the next update() on.
  void set_own_forms(AliasPrefixes forms) {
    renamed_ = renamed_ || own_forms_ != forms;
    own_forms_ = std::move(forms);
  }
  void append_problems(std::vector<Problem>& problems) const;

  [[nodiscard]] const RuleNames& rule_names() const { return names_; }
  [[nodiscard]] const IdentityIndex& identities() const { return identities_; }
  [[nodiscard]] const SelectorTable& selectors() const { return selectors_; }
  [[nodiscard]] const CidrTable& cidrs() const { return cidrs_; }
  [[nodiscard]] const NamedPorts& named_ports() const { return named_ports_; }
  [[nodiscard]] const PolicySettings& settings() const { return settings_; }
  [[nodiscard]] const AliasPrefixes& own_forms() const { return own_forms_; }
  // As set, or as the agents are configured; never kAgents.
  [[nodiscard]] SelectorScope scope() const { return scope_; }
  // The identity of an address that is not an endpoint; `unlabelled`: of an endpoint without labels.
  [[nodiscard]] Identity identity_at(const IpAddress& address, bool unlabelled) const;
  // As what an endpoint receives, given its address and identity.
  [[nodiscard]] Identity receives_as(const IpAddress& address, Identity identity) const {
    return named_ports_.receiver_at(address, identity).value_or(identity);
  }
  // The policy published for an identity; null when the defaults apply.
  [[nodiscard]] const SubjectPolicy* subject(Identity number) const;
  // The specs that select the subject, sorted by policy.
  [[nodiscard]] std::vector<const CompiledSpec*> specs_of(Identity subject) const;
  // The specs of one policy.
  [[nodiscard]] std::vector<const CompiledSpec*> specs_of(const ObjectKey& policy) const;
  [[nodiscard]] std::vector<ObjectKey> policies() const;
  // Cost: one pass over all subjects.
  [[nodiscard]] PolicyCounts counts() const;
  // The identities that some policy selects. Cost: as counts().
  [[nodiscard]] std::size_t subject_count() const {
    return static_cast<std::size_t>(std::count_if(subjects_.begin(), subjects_.end(), [](const auto& each) {
      return !each.second.specs.empty() && !identity::is_receiver(each.first);
    }));
  }
  // By policy, the number of rules that are not applied to endpoints without labels although they might select them.
  [[nodiscard]] std::map<ObjectKey, std::size_t> unapplied() const;
  // Whether our cluster's endpoints are denied because the policies are not known yet.
  [[nodiscard]] bool held() const { return held_; }
  // Whether what lies in our cluster and has no known labels is denied: a policy might select it.
  [[nodiscard]] bool denies_unknown() const { return defaults_ && defaults_->deny_unknown; }

 private:
  using SpecId = Strong<struct SpecIdTag, std::uint32_t>;
  struct Subject {
    std::vector<SpecId> specs;
    std::shared_ptr<const SubjectPolicy> published;
  };
  struct Policy {
    std::vector<SpecId> specs;
    bool by_group = false, by_service = false;  // recompiled when a CIDR group or Service changes
    bool refused = false;
  };

  // The name and protocol of an egress port, and the peers of the rules that name it.
  using NamedKey = std::pair<NamedPorts::Name, SelectorId>;
  struct NamedUse {
    NamedPeers peers;
    std::map<SpecId, std::size_t> users;  // with the number of their ports
  };
  using Emptied = std::set<std::pair<NamedUse*, std::uint16_t>>;

  // Entries of one direction; duplicates are dropped, the first is kept.
  struct Entries {
    DirectionPolicy& direction;
    std::set<std::tuple<SelectorId, std::uint8_t, bool, std::uint16_t, std::uint16_t>> seen;
  };

  void update_clusters(const Model& model, const PolicyClusters& clusters);
  void update_ranges(const std::vector<PolicyRange>& ranges);
  // The cluster that has the whole prefix; null: none.
  [[nodiscard]] const std::string* cluster_of(const Prefix& prefix) const;
  void update_identity(Identity number, const Model& model);
  void update_local(LocalIdentities& local);
  void set_identity(Identity number, KnownIdentity identity);
  void erase_identity(Identity number);
  void select_subject(Identity number, const KnownIdentity* now);
  void acquire_prefix(const Prefix& prefix);
  void release_prefix(const Prefix& prefix);
  void set_prefix_identity(Identity number, const Prefix& prefix);
  void set_cluster_identities(const PolicyClusters& before);
  [[nodiscard]] KnownIdentity identity_of(const Prefix& prefix) const;

  [[nodiscard]] std::set<ObjectKey> changed_policies(const ModelChanges& changes, bool every) const;
  [[nodiscard]] bool names_service(const ObjectKey& policy, const std::set<ServiceName>& services) const;
  // True: the scope has changed, so that every policy is to be compiled again.
  bool update_scope(const Model& model);
  void update_policy(const ObjectKey& key, const Model& model);
  void count_change(const ObjectKey& key, bool before);
  void compile_spec(const ObjectKey& key, const PolicySpec& spec, const Provenance& provenance, const Model& model,
                    std::vector<CompiledSpec::Rule>& before, CompiledSpec& out);
  [[nodiscard]] RuleId rule_id_for(const ObjectKey& key, const Provenance& provenance, const PolicyRule& rule,
                                   std::vector<CompiledSpec::Rule>& before);
  void use_names(const CompiledSpec& spec, bool use);
  void update_named(const Model& model, TableDelta& delta);
  void add_named(SpecId user);
  void remove_named(SpecId user);
  void fill_named(const NamedKey& key, NamedUse& use);
  void set_destination(NamedUse& use, std::uint16_t l4_port, Identity number, bool member, Emptied& emptied);
  void set_destinations(SelectorId of, Identity number, const NamedPorts::Ports& ports, const NamedPorts::Ports* now,
                        Emptied& emptied);
  void remove_emptied(const Emptied& emptied);
  void users_changed(const NamedUse& use);
  void remove_user(SelectorId peers, SpecId user);
  [[nodiscard]] bool is_destination(SelectorId of, Identity number) const;
  [[nodiscard]] bool is_address(Identity number) const;
  void add_spec(SpecId id, CompiledSpec spec);
  void remove_spec(SpecId id);
  void set_unlabelled(const UnlabelledClusters& now);
  void find_unapplied_rules(SpecId id);
  // The identity to publish for a prefix whose own identity is `own`.
  [[nodiscard]] Identity identity_of(const Prefix& prefix, Identity own) const;
  [[nodiscard]] std::vector<CidrIdentity> cidr_identities() const;
  void emit_cidrs(TableDelta& delta);

  [[nodiscard]] std::shared_ptr<SubjectPolicy> build(Identity number) const;
  void add_entries(const CompiledSpec::Rule& rule, Identity subject, Entries& out) const;
  [[nodiscard]] bool is_always_published(Identity number) const;
  [[nodiscard]] bool has_number_of_ours(Identity receiver) const;
  void emit_defaults(const Model& model, TableDelta& delta);
  [[nodiscard]] std::optional<Problem> unlisted_problem() const;
  void emit_subjects(TableDelta& delta);
  void emit_peer_changes(const std::set<SelectorId>& changed, TableDelta& delta) const;

  const std::string cluster_;
  const PolicySettings settings_;
  SelectorScope scope_ = SelectorScope::kOwn;
  AliasPrefixes own_forms_;
  bool renamed_ = false;  // own_forms_ since the last update()
  PolicyClusters clusters_;
  UnlabelledClusters unlabelled_;
  IdentityIndex identities_;
  CidrTable cidrs_;
  SelectorTable selectors_;
  NamedPorts named_ports_;
  RuleNames names_;
  std::map<ObjectKey, Policy> policies_;
  std::set<ObjectKey> by_group_, by_service_;
  std::map<SpecId, CompiledSpec> specs_;
  IdPool<SpecId> spec_numbers_{0};
  SelectorIndex<SpecId> by_subject_;
  std::map<SelectorId, std::set<SpecId>> users_;
  std::map<NamedKey, NamedUse> named_peers_;
  std::set<SpecId> unapplied_;
  std::map<Identity, Subject> subjects_;
  std::set<Identity> dirty_;         // subjects to rebuild
  std::set<Prefix> changed_cidrs_;   // that have come or gone, or may have another identity
  bool every_cidr_changed_ = false;  // or may have
  bool listed_ = false, held_ = false;
  std::optional<PolicyDefaults> defaults_;  // as published
  PolicyCounts counted_;                    // only revision and changes are maintained here
};

}  // namespace isthmus
