// Identity policy of this cluster: from policies, identities, services and named ports in the model to subjects,
// selectors and prefixes for the engine.
//
// Owner: Compiler. Thread: control. update() costs what changed: an identity's change looks at the selectors it leaves
// or may enter and, where it is one of ours, at the policies that may select it; a policy's change at its own subjects.
// Policies of other clusters' manifests are those clusters' business. Two label sets under one number, and numbers
// outside their cluster's range, are no identity: nothing selects them. Endpoints without labels are chosen by cluster,
// by entity and by prefix; a rule by labels that could mean some of them is a problem, and is not applied to them.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "control/model/model.h"
#include "control/policy/cidrs.h"
#include "control/policy/identities.h"
#include "control/policy/named_ports.h"
#include "control/policy/rule_names.h"
#include "control/policy/rules.h"
#include "control/policy/selectors.h"
#include "dataplane/api/tables.h"

namespace isthmus {

enum class PolicyEnforcement : std::uint8_t {
  kDefault,  // an endpoint is open in a direction until a policy with rules for it selects the endpoint
  kAlways,   // closed from the start
  kNever     // policies are read and not enforced
};

struct PolicySettings {
  PolicyEnforcement enforcement = PolicyEnforcement::kDefault;
  bool audit = false;
};

// Whose addresses and numbers are whose, as far as policy asks.
struct PolicyClusters {
  struct Cluster {
    std::string name;
    ClusterId id;
    std::vector<Prefix> prefixes;
    friend bool operator==(const Cluster&, const Cluster&) = default;
  };
  std::vector<Cluster> clusters;
  std::uint8_t shift = 16;  // of identity numbers
  friend bool operator==(const PolicyClusters&, const PolicyClusters&) = default;
};

// Other clusters of whose pods no labels are known. Policy is by prefix there, and by cluster.
struct UnlabelledClusters {
  std::set<std::string> some;  // endpoints are known without labels
  std::set<std::string> all;   // of no endpoint are labels known: any address of theirs may be a pod
  friend bool operator==(const UnlabelledClusters&, const UnlabelledClusters&) = default;
};

// One spec of one policy, compiled.
struct CompiledSpec {
  struct Rule {
    RuleId id;
    SelectorId peers;     // kEveryPeer: no condition
    bool nobody = false;  // chooses no peer at all
    PolicyRule text;
  };
  ObjectKey policy;
  std::size_t position = 0;  // among the policy's specs
  Provenance provenance;
  LabelSelector subjects;
  bool default_deny_ingress = false, default_deny_egress = false;
  bool named_egress_ports = false;
  std::vector<Rule> rules;
  std::vector<Prefix> prefixes;  // acquired
  std::vector<Problem> problems;
  std::vector<Problem> unapplied;  // rules by labels that known endpoints may have, and that nobody publishes
  std::set<Identity> selected;
};

// What there is and what was done, for metrics.
struct PolicyCounts {
  enum class Change : std::uint8_t { kAdd, kUpdate, kDelete };
  struct Enforced {
    std::size_t none = 0, ingress = 0, egress = 0, both = 0;
  };
  std::size_t policies = 0;
  std::uint64_t revision = 0;  // moves with every change
  std::map<std::pair<ObjectKind, Change>, std::uint64_t> changes;
  Enforced subjects;  // identities that a policy selects, by the directions that are closed to them
};

class PolicySet {
 public:
  PolicySet(std::string cluster, PolicySettings settings);

  // `clusters`: absent when none has changed. `first`: look at the whole model; they are there then.
  void update(const ModelChanges& changes, bool first, const Model& model,
              const std::optional<PolicyClusters>& clusters, const UnlabelledClusters& unlabelled, TableDelta& delta);
  void append_problems(std::vector<Problem>& problems) const;

  [[nodiscard]] const RuleNames& rule_names() const { return names_; }
  [[nodiscard]] const IdentityIndex& identities() const { return identities_; }
  [[nodiscard]] const SelectorTable& selectors() const { return selectors_; }
  [[nodiscard]] const CidrTable& cidrs() const { return cidrs_; }
  [[nodiscard]] const NamedPorts& named_ports() const { return named_ports_; }
  [[nodiscard]] const PolicySettings& settings() const { return settings_; }
  // Of an address that is no endpoint; `unlabelled`: of an endpoint without labels.
  [[nodiscard]] Identity identity_at(const IpAddress& address, bool unlabelled) const;
  // What is published for an identity; null: the defaults.
  [[nodiscard]] const SubjectPolicy* subject(Identity number) const;
  // The specs that select it, in order of policy.
  [[nodiscard]] std::vector<const CompiledSpec*> specs_of(Identity subject) const;
  // Every policy with its specs.
  [[nodiscard]] std::vector<const CompiledSpec*> specs_of(const ObjectKey& policy) const;
  [[nodiscard]] std::vector<ObjectKey> policies() const;
  // Looks at every subject.
  [[nodiscard]] PolicyCounts counts() const;
  [[nodiscard]] std::size_t subject_count() const { return subjects_.size(); }
  // By policy, how many of its rules are not applied to endpoints without labels that they could mean.
  [[nodiscard]] std::map<ObjectKey, std::size_t> unapplied() const;

 private:
  using SpecId = Strong<struct SpecIdTag, std::uint32_t>;
  struct Subject {
    std::vector<SpecId> specs;
    std::shared_ptr<const SubjectPolicy> published;
  };
  struct Policy {
    std::vector<SpecId> specs;
    bool by_group = false, by_service = false;  // to be looked at again when one of those changes
  };

  // Entries of one direction; of equal ones the first stays.
  struct Entries {
    DirectionPolicy& direction;
    std::set<std::tuple<SelectorId, std::uint8_t, bool, std::uint16_t, std::uint16_t>> seen;
  };

  void update_clusters(const Model& model, const PolicyClusters& clusters);
  void update_identity(Identity number, const Model& model);
  void set_identity(Identity number, KnownIdentity identity);
  void erase_identity(Identity number);
  void select_subject(Identity number, const KnownIdentity* now);
  void acquire_prefix(const Prefix& prefix);
  void release_prefix(const Prefix& prefix);
  void set_prefix_identity(Identity number, const Prefix& prefix);
  void set_cluster_identities(const PolicyClusters& before);
  [[nodiscard]] KnownIdentity identity_of(const Prefix& prefix) const;

  [[nodiscard]] std::set<ObjectKey> changed_policies(const ModelChanges& changes) const;
  [[nodiscard]] bool names_service(const ObjectKey& policy, const std::set<ServiceName>& services) const;
  void update_policy(const ObjectKey& key, const Model& model);
  void count_change(const ObjectKey& key, bool before);
  void compile_spec(const ObjectKey& key, const PolicySpec& spec, const Provenance& provenance, const Model& model,
                    std::vector<CompiledSpec::Rule>& before, CompiledSpec& out);
  [[nodiscard]] RuleId number_rule(const ObjectKey& key, const Provenance& provenance, const PolicyRule& rule,
                                   std::vector<CompiledSpec::Rule>& before);
  void add_spec(SpecId id, CompiledSpec spec);
  void drop_spec(SpecId id);
  void set_unlabelled(const UnlabelledClusters& now);
  void judge_unlabelled(SpecId id);
  // As published.
  [[nodiscard]] Identity identity_of(const Prefix& prefix, Identity own) const;
  [[nodiscard]] std::vector<CidrIdentity> cidr_identities() const;

  [[nodiscard]] std::shared_ptr<SubjectPolicy> build(Identity number) const;
  void add_entries(const CompiledSpec::Rule& rule, Identity subject, Entries& out) const;
  void emit_subjects(TableDelta& delta);
  void emit_moved(const std::set<SelectorId>& moved, TableDelta& delta) const;

  const std::string cluster_;
  const PolicySettings settings_;
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
  std::set<SpecId> named_egress_, unapplied_;
  std::map<Identity, Subject> subjects_;
  std::set<Identity> dirty_;  // subjects to be built again
  bool cidrs_moved_ = false;
  PolicyCounts counted_;  // of it, revision and changes
};

}  // namespace isthmus
