// A flow event: a worker's report about one packet. Emitted for the first packet and the first FIN and RST of each
// direction of a connection, for packets that policy would deny if it were not in audit mode, and for every dropped
// packet; never for other packets of an established connection. Plain value; ports and numbers in host byte order.
// Control adds what a worker does not know (names, labels, wall-clock time).
#pragma once

#include <cstdint>
#include <type_traits>

#include "dataplane/api/policy.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

enum class FlowVerdict : std::uint8_t { kForwarded, kDropped, kAudited };
inline constexpr std::size_t kFlowVerdicts = 3;

// Position of a forwarded packet in its connection. kUnknown: dropped packets.
enum class TraceReason : std::uint8_t { kUnknown, kNew, kEstablished, kReply };

// Direction of the connection as seen from our cluster: egress if one of our endpoints opened it. kUnknown: neither end
// is ours, or the packet was dropped before that was known.
enum class TrafficDirection : std::uint8_t { kUnknown, kIngress, kEgress };

struct FlowEvent {
  // Addresses and ports at one point of the path; unspecified if the packet was dropped before they were parsed.
  struct Tuple {
    IpAddress source, destination;
    L4Port source_port, destination_port;  // 0: the protocol has none
  };

  std::uint64_t time_ns = 0;  // worker's clock, CLOCK_BOOTTIME
  FlowVerdict verdict = FlowVerdict::kForwarded;
  std::uint8_t drop_reason = 0;  // kDropped: index into EngineCounters::drops
  TraceReason trace = TraceReason::kUnknown;
  TrafficDirection direction = TrafficDirection::kUnknown;
  Side from = Side::kLocal, to = Side::kLocal;  // `to`: valid for forwarded packets
  IpProtocol protocol = IpProtocol::kHopByHop;  // kHopByHop: not parsed
  std::uint8_t tcp_flags = 0;
  std::uint8_t icmp_type = 0, icmp_code = 0;
  Tuple received;                                  // before translation
  Tuple translated;                                // after translation; equal to `received` without one
  Identity source_identity, destination_identity;  // identity::kUnknown: not looked up
  ClusterId source_cluster, destination_cluster;   // kNoCluster: not looked up
  PeerId peer;                                     // peer it came from or is sent to; kNoPeer: none
  Vni vni;                                         // as received
  ServiceId service;                               // kNoService: no service, or not looked up
  PolicyVerdict egress, ingress;
  std::uint32_t bytes = 0;  // length of the IP packet; 0: header not parsed
};
static_assert(std::is_trivially_copyable_v<FlowEvent>);

// Per verdict: events queued for control, above the rate limit, and lost to a full queue. The sum is the number of
// events that occurred.
struct FlowEventCount {
  std::uint64_t reported = 0, sampled_out = 0, lost = 0;
};

}  // namespace isthmus
