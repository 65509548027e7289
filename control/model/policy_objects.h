// Policies as plain values: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy objects normalized to
// one form by the sources. Defaults that depend on the kind and on the object's namespace are filled in. What depends
// on our cluster (the default of io.cilium.k8s.policy.cluster) or on other objects (services, CIDR groups, named ports)
// is resolved in control/policy. Thread: control.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

enum class LabelOperator : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist };

struct LabelRequirement {
  std::string source;  // "k8s", "reserved", ...; "any" matches every source
  std::string key;
  LabelOperator op = LabelOperator::kIn;
  std::vector<std::string> values;  // sorted, unique
  friend auto operator<=>(const LabelRequirement&, const LabelRequirement&) = default;
};

// The conjunction of its requirements. Without requirements it matches everything.
struct LabelSelector {
  std::vector<LabelRequirement> requirements;
  friend auto operator<=>(const LabelSelector&, const LabelSelector&) = default;
};

enum class PolicyEntity : std::uint8_t {
  kAll,
  kWorld,
  kWorldIpv4,
  kWorldIpv6,
  kHost,
  kRemoteNode,
  kKubeApiserver,
  kIngress,
  kHealth,
  kInit,
  kUnmanaged,
  kNone,
  kCluster
};

// Exactly one of: a prefix, a CIDR group by name, or CIDR groups by label; minus the prefixes in `except`.
struct PolicyCidr {
  std::optional<Prefix> prefix;
  std::string group;
  std::optional<LabelSelector> groups;
  std::vector<Prefix> except;
  friend bool operator==(const PolicyCidr&, const PolicyCidr&) = default;
};

// A Service by name, or Services by label; in one namespace, or in any when `ns` is empty.
struct PolicyService {
  std::string ns, name;
  std::optional<LabelSelector> labels;
  friend bool operator==(const PolicyService&, const PolicyService&) = default;
};

struct PolicyPort {
  std::uint8_t protocol = 0;  // an IpProtocol
  std::uint16_t first = 0, last = 65535;
  std::string name;  // a named port; when set, the numbers are not used
  friend bool operator==(const PolicyPort&, const PolicyPort&) = default;
};

// Peers and ports must both match. Only one of endpoints, entities, cidrs and services is used.
struct PolicyRule {
  unsigned line = 0;  // relative to the object's first line, which is 0
  bool egress = false, deny = false;
  bool any_peer = false;  // no condition on the peer
  std::vector<LabelSelector> endpoints;
  std::vector<PolicyEntity> entities;
  std::vector<PolicyCidr> cidrs;
  std::vector<PolicyService> services;
  bool any_port = false;  // no condition on protocol and port
  std::vector<PolicyPort> ports;
  friend bool operator==(const PolicyRule&, const PolicyRule&) = default;
};

struct PolicySpec {
  LabelSelector subjects;  // among this cluster's endpoints
  bool default_deny_ingress = false, default_deny_egress = false;
  std::vector<PolicyRule> rules;
  friend bool operator==(const PolicySpec&, const PolicySpec&) = default;
};

struct PolicyObject {
  std::vector<PolicySpec> specs;
  // Has errors: the specs are what is safe to apply of it, see ManifestDocument::refused.
  bool refused = false;
  friend bool operator==(const PolicyObject&, const PolicyObject&) = default;
};

struct CidrGroupObject {
  std::vector<Prefix> prefixes;
  std::map<std::string, std::string> labels;
  friend bool operator==(const CidrGroupObject&, const CidrGroupObject&) = default;
};

}  // namespace isthmus
