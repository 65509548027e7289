#include "control/model/aliases.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

constexpr std::array kAliased{ObjectKind::kCluster,        ObjectKind::kSlice,   ObjectKind::kPod,
                              ObjectKind::kCiliumEndpoint, ObjectKind::kAddress, ObjectKind::kNode};

// What replaces one address or one prefix by another.
struct Translation {
  const AliasPrefixes& aliases;
  bool back;

  template <typename T>
  void replace(T& value) const {
    value = back ? isthmus::to_own(aliases, value) : isthmus::to_alias(aliases, value);
  }
  template <typename T>
  void replace(std::vector<T>& values) const {
    for (T& value : values) {
      replace(value);
    }
  }

  void operator()(SliceObject& slice) const {
    for (SliceEndpoint& endpoint : slice.endpoints) {
      replace(endpoint.addresses);
    }
  }
  void operator()(PodObject& pod) const {
    if (!pod.host_network) {
      replace(pod.addresses);
    }
  }
  void operator()(CiliumEndpointObject& endpoint) const { replace(endpoint.addresses); }
  void operator()(AddressObject& address) const { replace(address.prefix); }
  void operator()(NodeObject& node) const {
    replace(node.pod_prefixes);
    replace(node.inner);
    replace(node.health);
    std::vector<IpAddress> ingress = *node.ingress;
    replace(ingress);
    node.ingress = std::move(ingress);
  }
  void operator()(ClusterObject& cluster) const { replace(cluster.pod_prefixes); }
  template <typename Other>
  void operator()(Other&) const {}

  void replace_name(ObjectKey& key) const {
    if (key.kind != ObjectKind::kAddress) {
      return;
    }
    if (const auto address = IpAddress::parse(key.name)) {
      IpAddress now = *address;
      replace(now);
      key.name = now.to_string();
    } else if (const auto prefix = Prefix::parse(key.name)) {
      Prefix now = *prefix;
      replace(now);
      key.name = now.to_string();
    }
  }
};

bool meet(const Prefix& a, const Prefix& b) { return a.contains(b) || b.contains(a); }

// Unless one of the two has an address of what is there.
void add_pair(const AliasPrefix& pair, AliasPrefixes& pairs) {
  const auto meets = [&](const Prefix& prefix) { return meet(prefix, pair.own) || meet(prefix, pair.alias); };
  if (std::none_of(pairs.begin(), pairs.end(),
                   [&](const AliasPrefix& each) { return meets(each.own) || meets(each.alias); })) {
    pairs.push_back(pair);
  }
}

ObjectDelta translated(const Translation& translation, ObjectDelta delta) {
  translation.replace_name(delta.key);
  if (delta.value) {
    std::visit(translation, *delta.value);
  }
  return delta;
}

}  // namespace

ClusterAliases read_aliases(const Model& model, const ClusterAliases& configured) {
  ClusterAliases found = configured;
  model.visit<ProfileObject>(ObjectKind::kProfile, [&](const ObjectKey&, const ProfileObject& profile, const auto&) {
    for (const auto& [cluster, member] : profile.members) {
      if (configured.count(cluster) != 0) {
        continue;
      }
      for (const AliasPrefix& pair : member.aliases) {
        add_pair(pair, found[cluster]);
      }
    }
  });
  return found;
}

const AliasPrefixes& aliases_of(const ClusterAliases& aliases, const std::string& cluster) {
  static const AliasPrefixes kNone;
  const auto at = aliases.find(cluster);
  return at == aliases.end() ? kNone : at->second;
}

ObjectDelta to_alias(const AliasPrefixes& aliases, ObjectDelta delta) {
  return translated({aliases, false}, std::move(delta));
}
ObjectDelta to_own(const AliasPrefixes& aliases, ObjectDelta delta) {
  return translated({aliases, true}, std::move(delta));
}
ObjectKey to_alias(const AliasPrefixes& aliases, ObjectKey key) {
  Translation{aliases, false}.replace_name(key);
  return key;
}

bool has_aliases(ObjectKind kind) { return std::find(kAliased.begin(), kAliased.end(), kind) != kAliased.end(); }

}  // namespace isthmus
