#include "control/observe/flow_names.h"

#include <algorithm>

#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

// Max cached addresses: a scan of a whole prefix must not make memory grow.
constexpr std::size_t kMaxCached = 65536;

}  // namespace

void FlowNames::forget() {
  addresses_.clear();
  unknown_endpoints_.clear();
  services_.clear();
  peers_.clear();
  rules_.clear();
}

std::vector<std::string> FlowNames::labels(Identity id) const {
  std::vector<std::string> labels;
  if (const auto name = reserved_identity_name(id); !name.empty()) {
    labels.push_back("reserved:" + std::string(name));
    return labels;
  }
  const auto objects = model_.identities(id);
  if (!objects.empty()) {
    for (const auto& [key, value] : objects.front()->labels) {
      labels.push_back(key + "=" + value);
    }
  }
  return labels;
}

std::vector<std::string> FlowNames::labels(const EndpointView& endpoint) const {
  std::vector<std::string> found = labels(endpoint.identity);
  if (!found.empty()) {
    return found;
  }
  const auto pod = model_.find<PodObject>({ObjectKind::kPod, endpoint.cluster, endpoint.ns, endpoint.name});
  if (pod) {
    for (const auto& [key, value] : pod->labels) {
      found.push_back("k8s:" + key + "=" + value);
    }
  }
  return found;
}

FlowNames::Entry FlowNames::look_up(const IpAddress& address) const {
  const auto view = compiler_.find_endpoint(address);
  if (!view) {
    return {identity::kUnknown, nullptr, compiler_.forms_of(address)};
  }
  EndpointNames names;
  names.cluster = view->cluster;
  names.ns = view->ns;
  names.pod = view->node ? "" : view->name;
  names.labels = labels(*view);
  return {view->identity, std::make_shared<const EndpointNames>(std::move(names)), compiler_.forms_of(address)};
}

std::shared_ptr<const EndpointNames> FlowNames::unknown_endpoint(Identity id, ClusterId cluster) {
  auto& cached = unknown_endpoints_[{id, cluster}];
  if (cached == nullptr) {
    EndpointNames names;
    names.cluster = compiler_.cluster_name(cluster);
    names.labels = labels(id);
    cached = std::make_shared<const EndpointNames>(std::move(names));
  }
  return cached;
}

FlowParty FlowNames::party(const IpAddress& address, L4Port port, Identity reported, ClusterId cluster) {
  if (addresses_.size() >= kMaxCached || unknown_endpoints_.size() >= kMaxCached) {
    forget();
  }
  auto found = addresses_.find(address);
  if (found == addresses_.end()) {
    found = addresses_.emplace(address, look_up(address)).first;
  }
  const Entry& entry = found->second;
  if (entry.names != nullptr) {
    return {address, port, reported == identity::kUnknown ? entry.identity : reported, entry.names, entry.forms};
  }
  return {address, port, reported, unknown_endpoint(reported, cluster), entry.forms};
}

FlowParty FlowNames::remote_party(const IpAddress& address, L4Port port, Identity reported, ClusterId cluster) {
  FlowParty found = party(address, port, reported, cluster);
  const bool ours = found.forms && found.forms->own == address;
  return ours ? FlowParty{address, port, reported, unknown_endpoint(reported, cluster)} : found;
}

const std::string& FlowNames::service(ServiceId id) {
  const auto [entry, fresh] = services_.try_emplace(id);
  if (fresh && id != kNoService) {
    entry->second = compiler_.service_name(id);
  }
  return entry->second;
}

std::shared_ptr<const PolicyName> FlowNames::policy(RuleId id) {
  const auto [entry, fresh] = rules_.try_emplace(id);
  if (fresh && id != kNoRule) {
    if (const auto rule = compiler_.rule_name(id); rule) {
      // "CiliumNetworkPolicy shop/allow-web"
      const std::string text = rule->policy();
      entry->second = std::make_shared<const PolicyName>(PolicyName{
          text.substr(0, text.find(' ')), rule->ns, rule->name, rule->any_peer, rule->any_port, rule->ports});
    }
  }
  return entry->second;
}

const FlowPeer& FlowNames::peer(PeerId id) {
  const auto [entry, fresh] = peers_.try_emplace(id);
  if (fresh && id != kNoPeer) {
    if (const auto peer = compiler_.find_peer(id)) {
      entry->second = {peer->underlay, peer->encapsulation, peer->from_encapsulation};
    }
  }
  return entry->second;
}

}  // namespace isthmus
