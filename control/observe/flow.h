// A flow record for people: a worker's event, with the names that were valid when it was received. Plain values, any
// thread; names are shared between flows and never change.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/compile/views.h"
#include "control/model/policy_objects.h"
#include "dataplane/api/engine.h"

namespace isthmus {

// The endpoint that has an address. Empty where none is known.
struct EndpointNames {
  std::string cluster, ns, pod;
  std::vector<std::string> labels;  // "k8s:app=web", sorted
};

struct FlowParty {
  IpAddress address;
  L4Port port;
  Identity identity;
  std::shared_ptr<const EndpointNames> names;  // never null
  std::optional<AddressForms> forms{};         // `address` is one of them; none: it has no alias
};

// The policy that decided a verdict, and what its deciding rule matches on.
struct PolicyName {
  std::string kind, ns, name;
  bool any_peer = false, any_port = false;
  std::vector<PolicyPort> ports;  // any of them; unused with any_port
};

// The tunnel end that a flow's packets came from or went to.
struct FlowPeer {
  IpAddress underlay;
  EncapsulationKind to = EncapsulationKind::kVxlan, from = EncapsulationKind::kVxlan;  // of packets to it, from it
};

struct Flow {
  std::int64_t time_ns = 0;         // since 1970
  FlowEvent event;                  // as the worker reported it
  FlowParty source, destination;    // source before, destination after translation: the ends' own addresses
  const DropCount* drop = nullptr;  // why, when dropped; points to static text
  std::string service;              // "namespace/name" of the VIP; empty: direct
  IpAddress peer;                   // underlay address of the tunnel end; unspecified: none
  EncapsulationKind encapsulation = EncapsulationKind::kVxlan;      // of that tunnel
  std::shared_ptr<const PolicyName> egress_policy, ingress_policy;  // null: none, or the default decided
};

// Flows that were lost: beyond a worker's rate or queue, or overwritten before a reader got to them.
struct LostFlows {
  enum class Where : std::uint8_t { kQueue, kRing };
  std::int64_t time_ns = 0;
  Where where = Where::kQueue;
  std::uint64_t count = 0;
};

using FlowEntry = std::variant<Flow, LostFlows>;

}  // namespace isthmus
