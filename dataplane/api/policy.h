// Identity policy as control compiles it and the engine evaluates it, at admission only.
//
// A subject is an identity of our own cluster; its policy says, per direction, which peers may talk to it (ingress) or
// be talked to by it (egress). Entries name their peers by selector, a set of identities that many entries share: an
// identity that comes or goes changes the sets that hold it and no subject's policy.
//
// Evaluation of one direction: an entry matches when its selector holds the peer's identity, its protocol is the
// packet's or any, and the destination port (the type, for ICMP) lies in its range. Any matching deny entry denies;
// else any matching allow entry allows; else the direction denies if it is enforced and allows if it is not. Egress
// sees the destination behind the service translation, ingress the source before it. Thread: control makes these; they
// are immutable once handed to the engine.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

// A set of identities that policies choose peers by. Numbered by control, never re-used while an entry names it.
using SelectorId = Strong<struct SelectorIdTag, std::uint32_t>;
// What control can turn back into a policy's name, file and line. 0: no rule (a default).
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
  bool enforced = false;  // what no entry allows is denied
  std::vector<PolicyEntry> entries;
  friend bool operator==(const DirectionPolicy&, const DirectionPolicy&) = default;
};

struct SubjectPolicy {
  Identity subject;
  bool audit = false;  // what would be denied passes and is reported
  DirectionPolicy ingress, egress;
};

// Of identities of our cluster that no SubjectPolicy names.
struct PolicyDefaults {
  bool audit = false;
  bool deny_ingress = false, deny_egress = false;
  friend bool operator==(const PolicyDefaults&, const PolicyDefaults&) = default;
};

// Addresses that are no endpoint take the identity of their longest prefix, else identity::kWorld; so do endpoints of
// world. For endpoints without labels see dataplane/api/identity.h, which tells the scopes of these numbers, too.
struct CidrIdentity {
  Prefix prefix;
  Identity identity;
  friend bool operator==(const CidrIdentity&, const CidrIdentity&) = default;
};

// What a policy said of one packet in one direction.
enum class PolicyOutcome : std::uint8_t {
  kNotAsked,      // no subject of ours at that end
  kAllowed,       // by `rule`, or by default
  kDenied,        // nothing allows it (Cilium 133)
  kDeniedByRule,  // `rule` denies it (Cilium 181)
  kAudited,       // would have been denied; passes
};
struct PolicyVerdict {
  PolicyOutcome outcome = PolicyOutcome::kNotAsked;
  RuleId rule;
};

}  // namespace isthmus
