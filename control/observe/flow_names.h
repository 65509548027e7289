// Resolves the ids of a flow to names: pods, labels, clusters, services, peers.
//
// Reads the compiler's and the model's present state; caches what it has looked up until forget(), which the owner
// calls when the model has changed. Owner: ActiveGateway. Thread: control only. Failure: none; unknown names are empty.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/compile/compiler.h"
#include "control/model/model.h"
#include "control/observe/flow.h"

namespace isthmus {

class FlowNames {
 public:
  // Both must outlive this.
  FlowNames(const Compiler& compiler, const Model& model) : compiler_(compiler), model_(model) {}

  void forget();
  // `reported`: the identity from the worker; identity::kUnknown: take that of the address.
  [[nodiscard]] FlowParty party(const IpAddress& address, L4Port port, Identity reported, ClusterId cluster);
  // The sender of what comes from another cluster, where nobody has our own addresses of pods that have aliases.
  [[nodiscard]] FlowParty remote_party(const IpAddress& address, L4Port port, Identity reported, ClusterId cluster);
  [[nodiscard]] const std::string& service(ServiceId id);
  [[nodiscard]] const FlowPeer& peer(PeerId id);
  // The policy of a rule; null for kNoRule.
  [[nodiscard]] std::shared_ptr<const PolicyName> policy(RuleId id);
  // Of an endpoint: its identity's, or its pod's own where the identity is not published.
  [[nodiscard]] std::vector<std::string> labels(const EndpointView& endpoint) const;
  // Of an identity, as Cilium writes them: "k8s:app=web", "reserved:world".
  [[nodiscard]] std::vector<std::string> labels(Identity id) const;

 private:
  struct Entry {
    Identity identity;  // kUnknown: no endpoint has the address
    std::shared_ptr<const EndpointNames> names;
    std::optional<AddressForms> forms{};
  };
  [[nodiscard]] Entry look_up(const IpAddress& address) const;
  [[nodiscard]] std::shared_ptr<const EndpointNames> unknown_endpoint(Identity id, ClusterId cluster);

  const Compiler& compiler_;
  const Model& model_;
  std::unordered_map<IpAddress, Entry> addresses_;
  std::map<std::pair<Identity, ClusterId>, std::shared_ptr<const EndpointNames>> unknown_endpoints_;
  std::unordered_map<ServiceId, std::string> services_;
  std::unordered_map<PeerId, FlowPeer> peers_;
  std::unordered_map<RuleId, std::shared_ptr<const PolicyName>> rules_;
};

}  // namespace isthmus
