#include "control/policy/local_identities.h"

#include "control/policy/labels.h"
#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

LocalIdentities::Labels labels_of(const ObjectKey& pod, const PodObject& object, const Model& model) {
  LocalIdentities::Labels labels;
  for (const auto& [key, value] : object.labels) {
    labels["k8s:" + key] = value;
  }
  if (const auto ns = model.find<NamespaceObject>({ObjectKind::kNamespace, pod.cluster, {}, pod.ns})) {
    for (const auto& [key, value] : ns->labels) {
      labels["k8s:" + std::string(kNamespaceLabelPrefix) + key] = value;
    }
  }
  labels["k8s:" + std::string(kNamespaceLabel)] = pod.ns;
  labels["k8s:" + std::string(kClusterLabel)] = pod.cluster;
  return labels;
}

}  // namespace

Identity LocalIdentities::assign(const ObjectKey& pod, const PodObject& object, const Model& model) {
  const auto [group, added] = groups_.try_emplace(labels_of(pod, object, model));
  if (added) {
    group->second.number = identity::local(pool_.allocate().value());
    numbers_[group->second.number] = group;
    changed_.insert(group->second.number);
  }
  const auto at = pods_.find(pod);
  if (at != pods_.end() && at->second == group) {
    return group->second.number;
  }
  ++group->second.pods;
  if (at != pods_.end()) {
    leave(std::exchange(at->second, group));
  } else {
    pods_[pod] = group;
  }
  return group->second.number;
}

void LocalIdentities::release(const ObjectKey& pod) {
  if (const auto at = pods_.find(pod); at != pods_.end()) {
    leave(at->second);
    pods_.erase(at);
  }
}

void LocalIdentities::leave(Groups::iterator group) {
  if (--group->second.pods != 0) {
    return;
  }
  const Identity number = group->second.number;
  changed_.insert(number);
  numbers_.erase(number);
  pool_.release(Identity{identity::local_number(number)});
  groups_.erase(group);
}

std::optional<Identity> LocalIdentities::find(const ObjectKey& pod) const {
  const auto at = pods_.find(pod);
  return at == pods_.end() ? std::nullopt : std::optional(at->second->second.number);
}

const LocalIdentities::Labels* LocalIdentities::labels(Identity number) const {
  const auto at = numbers_.find(number);
  return at == numbers_.end() ? nullptr : &at->second->first;
}

}  // namespace isthmus
