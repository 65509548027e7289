#include "control/observe/flow_metrics.h"

#include "control/observe/cilium_names.h"
#include "control/observe/flow_json.h"

namespace isthmus {
namespace {

std::string protocol_label(IpProtocol protocol) {
  switch (protocol) {
    case IpProtocol::kTcp:
      return "TCP";
    case IpProtocol::kUdp:
      return "UDP";
    case IpProtocol::kSctp:
      return "SCTP";
    case IpProtocol::kIcmp:
      return "ICMPv4";
    case IpProtocol::kIcmpv6:
      return "ICMPv6";
    default:
      break;
  }
  return "Unknown L4";
}

std::string drop_label(const DropCount& drop) {
  const CiliumDrop* cilium = find_cilium_drop(drop.cilium_code);
  return cilium == nullptr ? "DROP_REASON_UNKNOWN" : std::string(cilium->name);
}

const char* flag_label(std::uint8_t flags) {
  constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
  if ((flags & kSyn) != 0) {
    return (flags & kAck) != 0 ? "SYN-ACK" : "SYN";
  }
  return (flags & kRst) != 0 ? "RST" : (flags & kFin) != 0 ? "FIN" : nullptr;
}

const char* action_label(PolicyOutcome outcome) {
  switch (outcome) {
    case PolicyOutcome::kNotApplicable:
      return nullptr;
    case PolicyOutcome::kAllowed:
      return "forwarded";
    case PolicyOutcome::kAudited:
      return "audit";
    default:
      return "dropped";
  }
}

}  // namespace

void FlowMetrics::count(const Flow& flow) {
  const FlowEvent& e = flow.event;
  const std::string protocol = protocol_label(e.protocol);
  const std::string family = flow.source.address.is_ipv4() ? "IPv4" : "IPv6";
  const FlowKind kind = kind_of(flow);
  const char* type = kind == FlowKind::kDrop ? "Drop" : kind == FlowKind::kTrace ? "Trace" : "PolicyVerdict";
  const char* point = kind != FlowKind::kTrace ? "" : e.to == Side::kFabric ? "to-overlay" : "to-endpoint";
  ++processed_[{protocol, type, point, verdict_name(e.verdict)}];
  if (flow.drop != nullptr) {
    ++dropped_[{drop_label(*flow.drop), protocol}];
  } else {
    if (const char* flag = flag_label(e.tcp_flags); flag != nullptr && e.protocol == IpProtocol::kTcp) {
      ++tcp_flags_[{flag, family}];
    }
  }
  if (e.protocol == IpProtocol::kIcmp || e.protocol == IpProtocol::kIcmpv6) {
    ++icmp_[{family, icmp_type_name(e.protocol, e.icmp_type)}];
  }
  for (const auto& [direction, verdict] : {std::pair("egress", e.egress), std::pair("ingress", e.ingress)}) {
    if (const char* action = action_label(verdict.outcome); action != nullptr && e.trace != TraceReason::kReply) {
      ++verdicts_[{direction, verdict.rule == kNoRule ? "none" : "rule", action}];
    }
  }
}

}  // namespace isthmus
