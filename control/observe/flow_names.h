// The names that stand behind a flow's numbers: pods, labels, clusters, services, peers.
//
// Reads the compiler's and the model's present state; remembers what it has looked up until forget(), which the owner
// calls when the model has moved. Owner: the observer's. Thread: control only. Failure: none; what nobody knows is
// empty.
#pragma once

#include <map>
#include <memory>
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
  // `told`: the worker's word for the identity; identity::kUnknown: as the address has it.
  [[nodiscard]] FlowParty party(const IpAddress& address, L4Port port, Identity told, ClusterId cluster);
  [[nodiscard]] const std::string& service(ServiceId id);
  [[nodiscard]] IpAddress peer(PeerId id);
  // The policy of a rule; null for kNoRule.
  [[nodiscard]] std::shared_ptr<const PolicyName> policy(RuleId id);
  // Of an endpoint: its identity's, or where that is not published its pod's own.
  [[nodiscard]] std::vector<std::string> labels(const EndpointView& endpoint) const;
  // Of an identity, as Cilium writes them: "k8s:app=web", "reserved:world".
  [[nodiscard]] std::vector<std::string> labels(Identity id) const;

 private:
  struct Known {
    Identity identity;  // kUnknown: nobody has the address
    std::shared_ptr<const EndpointNames> names;
  };
  [[nodiscard]] Known look_up(const IpAddress& address) const;
  [[nodiscard]] std::shared_ptr<const EndpointNames> stranger(Identity id, ClusterId cluster);

  const Compiler& compiler_;
  const Model& model_;
  std::unordered_map<IpAddress, Known> addresses_;
  std::map<std::pair<Identity, ClusterId>, std::shared_ptr<const EndpointNames>> strangers_;
  std::unordered_map<ServiceId, std::string> services_;
  std::unordered_map<PeerId, IpAddress> peers_;
  std::unordered_map<RuleId, std::shared_ptr<const PolicyName>> rules_;
};

}  // namespace isthmus
