// The answers to `isthmus policy`: plain values, and their form as one line of JSON (see replies.h). Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/admin/replies.h"

namespace isthmus {

struct PolicyRow {
  std::string kind, name;  // name: namespace/name
  std::string where;       // file:line
  // "applied"; "outdated": its new version is refused, the previous one applies; "refused": of it applies only what
  // does not open more than a correct version
  std::string state;
  std::string problem;  // why it is refused, or what it refers to that does not exist
  std::size_t subjects = 0, rules = 0;
};

struct PolicyListReply {
  std::string enforcement;  // "default", "always", "never"
  bool audit = false;
  std::size_t subjects = 0;  // identities of this cluster that some policy selects
  Listing<PolicyRow> policies;
};

struct PolicyRuleRow {
  std::string policy;  // "CiliumNetworkPolicy shop/allow-web"
  std::string where;
  bool deny = false;
  std::string peers, ports;
  std::optional<bool> peer_matches, port_matches;  // of a trace
  bool decides = false;
};

struct PolicyDirectionRow {
  std::string direction;  // "ingress", "egress"
  std::string subject, peer;
  bool ours = false;  // this gateway enforces the subject's policies
  bool enforced = false;
  std::string verdict;  // "allowed", "denied", "denied by a rule", "audited"; empty: not a trace
  std::string reason;
  std::vector<std::string> refused;  // policies that select the subject and have errors
  std::vector<PolicyRuleRow> rules;
};

struct PolicyPartyRow {
  std::string name;
  std::optional<std::uint32_t> identity;
  std::string labels;
};

// The rules of one endpoint, or, with `to`, the trace of a connection.
struct PolicyTraceReply {
  PolicyPartyRow endpoint;
  std::optional<PolicyPartyRow> to;
  std::string port, verdict;  // of a trace
  std::vector<PolicyDirectionRow> directions;
};

[[nodiscard]] std::string encode_policies(const PolicyListReply& reply);
[[nodiscard]] std::string encode_policy_trace(const PolicyTraceReply& reply);

}  // namespace isthmus
