#include "control/policy/policy_set.h"

#include <algorithm>

#include "control/compile/listing.h"
#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

bool is_policy(ObjectKind kind) {
  return kind == ObjectKind::kNetworkPolicy || kind == ObjectKind::kCiliumPolicy ||
         kind == ObjectKind::kClusterwidePolicy;
}

bool same_but_line(const PolicyRule& a, PolicyRule b) {
  b.line = a.line;
  return a == b;
}

}  // namespace

PolicySet::PolicySet(std::string cluster, PolicySettings settings)
    : cluster_(std::move(cluster)), settings_(settings) {}

void PolicySet::update(const ModelChanges& changes, bool first, const Model& model,
                       const std::optional<PolicyClusters>& clusters, const std::vector<PolicyRange>& ranges,
                       const UnlabelledClusters& unlabelled, LocalIdentities& local, TableDelta& delta) {
  if (clusters && (first || clusters_ != *clusters)) {
    update_clusters(model, *clusters);
  } else {
    update_ranges(ranges);
    for (const Identity number : changes.identities) {
      update_identity(number, model);
    }
  }
  update_local(local);
  const bool rescoped = update_scope(model);
  const bool every = std::exchange(renamed_, false) || rescoped;
  if (first) {
    for (const ObjectKind kind : {ObjectKind::kPod, ObjectKind::kAddress}) {
      model.visit_keys(kind, [&](const ObjectKey& key) { named_ports_.refresh(key, model, local); });
    }
    for (const ObjectKind kind :
         {ObjectKind::kNetworkPolicy, ObjectKind::kCiliumPolicy, ObjectKind::kClusterwidePolicy}) {
      model.visit<PolicyObject>(kind, [&](const ObjectKey& key, const auto&, const auto&) {
        update_policy(key, model);
        count_change(key, false);
      });
    }
  } else {
    for (const ObjectKey& pod : changes.endpoints) {
      named_ports_.refresh(pod, model, local);
    }
    for (const ObjectKey& key : changed_policies(changes, every)) {
      const bool before = policies_.contains(key);
      update_policy(key, model);
      if (changes.policies.contains(key)) {  // not only recompiled because of another object
        count_change(key, before);
      }
    }
  }
  update_named(model, delta);
  std::set<SelectorId> changed;
  selectors_.take_changes(delta, changed);
  emit_defaults(model, delta);
  emit_subjects(delta);
  emit_peer_changes(changed, delta);
  set_unlabelled(unlabelled);
  emit_cidrs(delta);
}

// The clusters' prefixes or identity ranges changed: re-evaluates every identity.
void PolicySet::update_clusters(const Model& model, const PolicyClusters& clusters) {
  const PolicyClusters before = std::exchange(clusters_, clusters);
  every_cidr_changed_ = true;
  for (const auto& [prefix, cluster] : clusters_.ranges) {
    acquire_prefix(prefix);
  }
  for (const auto& [prefix, cluster] : before.ranges) {
    release_prefix(prefix);
  }
  for (const CidrIdentity& each : cidrs_.list()) {
    if (each.identity != identity::kWorld) {
      set_prefix_identity(each.identity, each.prefix);
    }
  }
  set_cluster_identities(before);
  std::map<std::string, ClusterId> ids;
  for (const PolicyClusters::Cluster& cluster : clusters_.clusters) {
    ids.emplace(cluster.name, cluster.id);
  }
  named_ports_.set_clusters(std::move(ids), clusters_.shift);
  std::set<Identity> numbers;
  model.visit<IdentityObject>(ObjectKind::kIdentity, [&](const ObjectKey&, const IdentityObject& object, const auto&) {
    numbers.insert(object.id);
  });
  for (const Identity number : numbers) {
    update_identity(number, model);
  }
}

void PolicySet::update_identity(Identity number, const Model& model) {
  const auto claims = model.identities(number);
  const auto keys = model.identity_keys(number);
  const bool conflict = std::any_of(claims.begin(), claims.end(),
                                    [&](const auto& claim) { return claim->labels != claims.front()->labels; });
  const auto owner = std::find_if(clusters_.clusters.begin(), clusters_.clusters.end(), [&](const auto& cluster) {
    return cluster.id.value() == number.value() >> clusters_.shift;
  });
  const bool published =
      owner != clusters_.clusters.end() && number.value() >= identity::kFirstAllocated &&
      std::any_of(keys.begin(), keys.end(), [&](const ObjectKey& key) { return key.cluster == owner->name; });
  if (conflict || !published) {
    erase_identity(number);
    return;
  }
  KnownIdentity known;
  known.own = owner->name == cluster_;
  // The publishing cluster decides, whatever the label says.
  auto labels = claims.front()->labels;
  labels["k8s:" + std::string(kClusterLabel)] = owner->name;
  known.labels = parse_labels(labels);
  set_identity(number, std::move(known));
}

void PolicySet::update_local(LocalIdentities& local) {
  for (const Identity number : local.take_changes()) {
    if (const LocalIdentities::Labels* labels = local.labels(number)) {
      set_identity(number, {parse_labels(*labels), true, false, std::nullopt});
    } else {
      erase_identity(number);
    }
  }
}

void PolicySet::set_identity(Identity number, KnownIdentity identity) {
  if (identities_.set(number, std::move(identity))) {
    const KnownIdentity* now = identities_.find(number);
    selectors_.identity_changed(number, now);
    select_subject(number, now->own ? now : nullptr);
    for (const Identity receiver : named_ports_.receivers_of(number)) {
      set_identity(receiver, KnownIdentity(*identities_.find(number)));
    }
  }
}

void PolicySet::erase_identity(Identity number) {
  if (identities_.erase(number)) {
    selectors_.identity_changed(number, nullptr);
    select_subject(number, nullptr);
    for (const Identity receiver : named_ports_.receivers_of(number)) {
      erase_identity(receiver);
    }
  }
}

void PolicySet::select_subject(Identity number, const KnownIdentity* now) {
  std::vector<SpecId> desired;
  if (now != nullptr) {
    by_subject_.candidates(now->labels, desired);
    std::sort(desired.begin(), desired.end());
    desired.erase(std::unique(desired.begin(), desired.end()), desired.end());
    std::erase_if(desired, [&](SpecId id) { return !matches(specs_.at(id).subjects, now->labels); });
  }
  const auto at = subjects_.find(number);
  if (at == subjects_.end() && desired.empty() && !is_always_published(number)) {
    return;
  }
  Subject& subject = at == subjects_.end() ? subjects_[number] : at->second;
  if (now != nullptr && at != subjects_.end() && subject.specs == desired) {
    return;
  }
  for (const SpecId id : subject.specs) {
    specs_.at(id).selected.erase(number);
  }
  for (const SpecId id : desired) {
    specs_.at(id).selected.insert(number);
  }
  subject.specs = std::move(desired);
  dirty_.insert(number);
}

bool PolicySet::update_scope(const Model& model) {
  SelectorScope scope = settings_.scope;
  if (scope == SelectorScope::kAgents) {
    const auto agents =
        model.find<AgentConfigObject>({ObjectKind::kAgentConfig, cluster_, "kube-system", "cilium-config"});
    scope = agents && !agents->default_local_cluster.value_or(true) ? SelectorScope::kAny : SelectorScope::kOwn;
  }
  return std::exchange(scope_, scope) != scope;
}

std::set<ObjectKey> PolicySet::changed_policies(const ModelChanges& changes, bool every) const {
  std::set<ObjectKey> out;
  for (auto at = policies_.begin(); every && at != policies_.end(); ++at) {
    out.insert(at->first);
  }
  for (const ObjectKey& key : changes.policies) {
    if (key.cluster != cluster_) {
      continue;
    }
    if (is_policy(key.kind)) {
      out.insert(key);
    } else if (key.kind == ObjectKind::kCidrGroup) {
      out.insert(by_group_.begin(), by_group_.end());
    }
  }
  if (!changes.services.empty()) {
    for (const ObjectKey& key : by_service_) {
      if (names_service(key, changes.services)) {
        out.insert(key);
      }
    }
  }
  return out;
}

bool PolicySet::names_service(const ObjectKey& policy, const std::set<ServiceName>& services) const {
  const auto named = [&](const PolicyService& reference) {
    return std::any_of(services.begin(), services.end(), [&](const ServiceName& name) {
      return (reference.ns.empty() || reference.ns == name.ns) && (reference.labels || reference.name == name.name);
    });
  };
  for (const SpecId id : policies_.at(policy).specs) {
    for (const CompiledSpec::Rule& rule : specs_.at(id).rules) {
      if (std::any_of(rule.text.services.begin(), rule.text.services.end(), named)) {
        return true;
      }
    }
  }
  return false;
}

void PolicySet::update_policy(const ObjectKey& key, const Model& model) {
  if (key.cluster != cluster_) {
    return;
  }
  const auto object = model.find<PolicyObject>(key);
  Policy next;
  const auto at = policies_.find(key);
  const Policy before = at == policies_.end() ? Policy{} : at->second;
  std::vector<CompiledSpec::Rule> old_rules;
  for (const SpecId id : before.specs) {
    const auto& rules = specs_.at(id).rules;
    old_rules.insert(old_rules.end(), rules.begin(), rules.end());
  }
  for (std::size_t i = 0; object && i < object->specs.size(); ++i) {
    CompiledSpec spec;
    spec.policy = key;
    spec.position = i;
    spec.refused = next.refused = object->refused;
    compile_spec(key, object->specs[i], object.provenance.copy(), model, old_rules, spec);
    for (const CompiledSpec::Rule& rule : spec.rules) {
      next.by_group = next.by_group || std::any_of(rule.text.cidrs.begin(), rule.text.cidrs.end(),
                                                   [](const PolicyCidr& cidr) { return !cidr.prefix; });
      next.by_service = next.by_service || !rule.text.services.empty();
    }
    next.specs.push_back(spec_numbers_.allocate());
    add_spec(next.specs.back(), std::move(spec));
  }
  // After the new version has acquired what both share.
  for (const SpecId id : before.specs) {
    remove_spec(id);
  }
  for (const CompiledSpec::Rule& rule : old_rules) {
    names_.remove(rule.id);
  }
  const auto set_member = [&](std::set<ObjectKey>& set, bool member) {
    if (member) {
      set.insert(key);
    } else {
      set.erase(key);
    }
  };
  set_member(by_group_, next.by_group);
  set_member(by_service_, next.by_service);
  if (object) {
    policies_[key] = std::move(next);
  } else if (at != policies_.end()) {
    policies_.erase(at);
  }
}

void PolicySet::count_change(const ObjectKey& key, bool before) {
  using Change = PolicyCounts::Change;
  const bool after = policies_.contains(key);
  if (before || after) {
    ++counted_.revision;
    ++counted_.changes[{key.kind, !before ? Change::kAdd : after ? Change::kUpdate : Change::kDelete}];
  }
}

PolicyCounts PolicySet::counts() const {
  PolicyCounts counts = counted_;
  counts.policies = static_cast<std::size_t>(
      std::count_if(policies_.begin(), policies_.end(), [](const auto& each) { return !each.second.refused; }));
  for (const auto& [number, subject] : subjects_) {
    if (subject.specs.empty() || identity::is_receiver(number)) {
      continue;
    }
    const bool ingress = subject.published && subject.published->ingress.enforced;
    const bool egress = subject.published && subject.published->egress.enforced;
    ++(ingress && egress ? counts.subjects.both
       : ingress         ? counts.subjects.ingress
       : egress          ? counts.subjects.egress
                         : counts.subjects.none);
  }
  return counts;
}

// The id of an equal rule of the previous version, which is removed from `before`, or else a new id.
RuleId PolicySet::rule_id_for(const ObjectKey& key, const Provenance& provenance, const PolicyRule& rule,
                              std::vector<CompiledSpec::Rule>& before) {
  const auto same = std::find_if(before.begin(), before.end(),
                                 [&](const CompiledSpec::Rule& old) { return same_but_line(rule, old.text); });
  if (same == before.end()) {
    return names_.add(key, provenance, rule);
  }
  const RuleId id = same->id;
  names_.move(id, provenance, rule);
  before.erase(same);
  return id;
}

void PolicySet::compile_spec(const ObjectKey& key, const PolicySpec& spec, const Provenance& provenance,
                             const Model& model, std::vector<CompiledSpec::Rule>& before, CompiledSpec& out) {
  out.provenance = provenance;
  out.subjects = spec.subjects;
  out.default_deny_ingress = spec.default_deny_ingress;
  out.default_deny_egress = spec.default_deny_egress;
  for (const PolicyRule& text : spec.rules) {
    CompiledSpec::Rule rule{rule_id_for(key, provenance, text, before), kEveryPeer, false, text, {}};
    if (!text.any_peer) {
      std::vector<Problem> problems;
      const PeerSelector selector = resolve_peers(text, cluster_, scope_, own_forms_, model, problems);
      for (Problem& problem : problems) {
        problem.what = policy_text(key) + " " + problem.what;
        problem.where = Provenance{provenance.location, provenance.line == 0 ? 0 : provenance.line + text.line}.text();
        out.problems.push_back(std::move(problem));
      }
      for (const Prefix& prefix : prefixes_of(selector)) {
        acquire_prefix(prefix);
        out.prefixes.push_back(prefix);
      }
      rule.matches_nothing = selector.empty();
      if (!rule.matches_nothing) {
        rule.peers = selectors_.acquire(selector, identities_, cidrs_);
      }
    }
    out.rules.push_back(std::move(rule));
  }
}

void PolicySet::add_spec(SpecId id, CompiledSpec spec) {
  for (const CompiledSpec::Rule& rule : spec.rules) {
    if (rule.peers != kEveryPeer) {
      users_[rule.peers].insert(id);
    }
  }
  by_subject_.add(spec.subjects, id);
  identities_.visit_matching(spec.subjects, [&](Identity number, const KnownIdentity& known) {
    if (known.own) {
      spec.selected.insert(number);
      auto& specs = subjects_[number].specs;
      specs.insert(std::lower_bound(specs.begin(), specs.end(), id), id);
      dirty_.insert(number);
    }
  });
  use_names(spec, true);
  specs_[id] = std::move(spec);
  add_named(id);
  find_unapplied_rules(id);
}

void PolicySet::remove_spec(SpecId id) {
  const auto at = specs_.find(id);
  const CompiledSpec& spec = at->second;
  use_names(spec, false);
  by_subject_.remove(spec.subjects, id);
  remove_named(id);
  unapplied_.erase(id);
  for (const Identity number : spec.selected) {
    std::erase(subjects_.at(number).specs, id);
    dirty_.insert(number);
  }
  for (const CompiledSpec::Rule& rule : spec.rules) {
    if (rule.peers == kEveryPeer) {
      continue;
    }
    remove_user(rule.peers, id);
    selectors_.release(rule.peers);
  }
  for (const Prefix& prefix : spec.prefixes) {
    release_prefix(prefix);
  }
  specs_.erase(at);
  spec_numbers_.release(id);
}

void PolicySet::append_problems(std::vector<Problem>& problems) const {
  std::vector<Problem> own;
  for (const ObjectKey& key : by_group_) {
    for (const CompiledSpec* spec : specs_of(key)) {
      own.insert(own.end(), spec->problems.begin(), spec->problems.end());
    }
  }
  for (const ObjectKey& key : by_service_) {
    if (!by_group_.contains(key)) {
      for (const CompiledSpec* spec : specs_of(key)) {
        own.insert(own.end(), spec->problems.begin(), spec->problems.end());
      }
    }
  }
  if (const auto unlisted = unlisted_problem()) {
    problems.push_back(*unlisted);
  }
  list_problems(own, "policies that reference missing objects", problems,
                [](const Problem& problem, auto& list) { list.push_back(problem); });
  list_problems(unapplied_, "policies with rules not applied to endpoints without labels", problems,
                [&](SpecId id, auto& list) {
                  const CompiledSpec& spec = specs_.at(id);
                  list.insert(list.end(), spec.unapplied.begin(), spec.unapplied.end());
                });
}

const SubjectPolicy* PolicySet::subject(Identity number) const {
  const auto at = subjects_.find(number);
  return at == subjects_.end() ? nullptr : at->second.published.get();
}

std::vector<const CompiledSpec*> PolicySet::specs_of(Identity subject) const {
  std::vector<const CompiledSpec*> out;
  if (const auto at = subjects_.find(subject); at != subjects_.end()) {
    for (const SpecId id : at->second.specs) {
      out.push_back(&specs_.at(id));
    }
  }
  std::sort(out.begin(), out.end(), [](const CompiledSpec* a, const CompiledSpec* b) {
    return std::tie(a->policy, a->position) < std::tie(b->policy, b->position);
  });
  return out;
}

std::vector<const CompiledSpec*> PolicySet::specs_of(const ObjectKey& policy) const {
  std::vector<const CompiledSpec*> out;
  if (const auto at = policies_.find(policy); at != policies_.end()) {
    for (const SpecId id : at->second.specs) {
      out.push_back(&specs_.at(id));
    }
  }
  return out;
}

std::vector<ObjectKey> PolicySet::policies() const {
  std::vector<ObjectKey> out;
  for (const auto& [key, policy] : policies_) {
    out.push_back(key);
  }
  return out;
}

}  // namespace isthmus
