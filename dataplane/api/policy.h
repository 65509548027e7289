// Identity policy as compiled by control and evaluated by the engine, at admission only.
//
// A subject is an identity of our own cluster; its policy says, per direction, which peers may talk to it (ingress) and
// which it may talk to (egress). Entries refer to their peers by selector, a set of identities shared by many entries:
// adding or removing an identity changes only the sets that contain it, not any subject's policy.
//
// Evaluation of one direction: an entry matches when its selector contains the peer's identity, its protocol is the
// packet's or any, and the destination port (the type, for ICMP) lies in its range. Any matching deny entry denies;
// else any matching allow entry allows; else the direction denies if it is enforced and allows if it is not. Egress
// uses the destination after service translation, ingress the source before translation. Thread: control builds these;
// they are immutable once passed to the engine.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

// A set of identities that entries select peers with. Assigned by control, never re-used while an entry refers to it.
using SelectorId = Strong<struct SelectorIdTag, std::uint32_t>;
// Control maps it back to a policy's name, file and line. 0: no rule (a default).
using RuleId = Strong<struct RuleIdTag, std::uint32_t>;

inline constexpr SelectorId kEveryPeer{0};
inline constexpr RuleId kNoRule{0};

struct SelectorEntry {
  SelectorId id;
  std::shared_ptr<const std::vector<Identity>> identities;  // sorted, unique, never null
};

struct PolicyEntry {
  SelectorId peers;           // kEveryPeer: no condition
  std::uint8_t protocol = 0;  // an IpProtocol; 0: any
  bool deny = false;
  std::uint16_t first_port = 0, last_port = 65535;  // inclusive; ICMP: the type
  RuleId rule;
  friend bool operator==(const PolicyEntry&, const PolicyEntry&) = default;
};

struct DirectionPolicy {
  bool enforced = false;  // deny what no entry allows
  std::vector<PolicyEntry> entries;
  friend bool operator==(const DirectionPolicy&, const DirectionPolicy&) = default;
};

struct SubjectPolicy {
  Identity subject;
  bool audit = false;  // report what would be denied, but let it pass
  DirectionPolicy ingress, egress;
};

// Policy of what lies in our cluster and has no SubjectPolicy.
struct PolicyDefaults {
  bool audit = false;
  bool deny_ingress = false, deny_egress = false;
  bool deny_unknown = false;  // both ways: pods without labels, and addresses of which nothing is known
  friend bool operator==(const PolicyDefaults&, const PolicyDefaults&) = default;
};

// Addresses that are not endpoints get the identity of their longest prefix, else identity::kWorld; so do endpoints
// with the identity world. For endpoints without labels, and for the scopes of these numbers, see
// dataplane/api/identity.h.
struct CidrIdentity {
  Prefix prefix;
  Identity identity;
  friend bool operator==(const CidrIdentity&, const CidrIdentity&) = default;
};

// A pod with ports whose names rules use. Connections to it are decided for another identity than those from it: one
// with the same labels, of the pods that have the same ports of these names. A subject's egress policy is the same for
// both.
struct Receiver {
  IpAddress address;
  Identity identity;  // of the endpoint: another holder of the address is not meant
  Identity receives_as;
  friend bool operator==(const Receiver&, const Receiver&) = default;
};

// Result of policy for one packet in one direction.
enum class PolicyOutcome : std::uint8_t {
  kNotApplicable,  // that end is not a subject of ours
  kAllowed,        // by `rule`, or by default
  kDenied,         // nothing allows it (Cilium 133)
  kDeniedByRule,   // `rule` denies it (Cilium 181)
  kAudited,        // would have been denied; passes
};
struct PolicyVerdict {
  PolicyOutcome outcome = PolicyOutcome::kNotApplicable;
  RuleId rule;
};

}  // namespace isthmus
