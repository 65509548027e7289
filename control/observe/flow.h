// A flow as people see it: what a worker told, with the names that stood when it was received. Plain values, any
// thread; names are shared between flows and never change.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/model/policy_objects.h"
#include "dataplane/api/engine.h"

namespace isthmus {

// Who has an address. Empty where nobody we know has it.
struct EndpointNames {
  std::string cluster, name_space, pod;
  std::vector<std::string> labels;  // "k8s:app=web", sorted
};

struct FlowParty {
  IpAddress address;
  L4Port port;
  Identity identity;
  std::shared_ptr<const EndpointNames> names;  // never null
};

// The policy that a verdict came from, and what its deciding rule asks about.
struct PolicyName {
  std::string kind, name_space, name;
  bool any_peer = false, any_port = false;
  std::vector<PolicyPort> ports;  // one of them, unless any_port
};

struct Flow {
  std::int64_t time_ns = 0;         // since 1970
  FlowEvent event;                  // as told
  FlowParty source, destination;    // the source before translation, the destination behind it: the two ends' own
  const DropCount* drop = nullptr;  // why, of dropped ones; its texts are the program's
  std::string service;              // "namespace/name" of the VIP; empty: direct
  IpAddress peer;                   // underlay address of the tunnel end; unspecified: none
  std::shared_ptr<const PolicyName> egress_policy, ingress_policy;  // null: none, or by default
};

// Flows that nobody will see: beyond a worker's budget or queue, or overwritten before a reader came.
struct LostFlows {
  enum class Where : std::uint8_t { kQueue, kRing };
  std::int64_t time_ns = 0;
  Where where = Where::kQueue;
  std::uint64_t count = 0;
};

using FlowEntry = std::variant<Flow, LostFlows>;

}  // namespace isthmus
