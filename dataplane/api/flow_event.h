// A flow event: what a worker tells about one packet. Emitted for the first packet of each direction of a connection
// and the first FIN and RST of each, for packets that policy would have denied under audit, and for every packet that
// dies; never for another packet of an established connection. Plain value; ports and numbers in host byte order. What
// a worker cannot know (names, labels, the wall clock) is added by control.
#pragma once

#include <cstdint>
#include <type_traits>

#include "dataplane/api/policy.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

enum class FlowVerdict : std::uint8_t { kForwarded, kDropped, kAudited };
inline constexpr std::size_t kFlowVerdicts = 3;

// Where a forwarded packet stood in its connection. kUnknown: of dropped packets.
enum class TraceReason : std::uint8_t { kUnknown, kNew, kEstablished, kReply };

// Of the connection, as seen from our cluster: egress is opened by one of ours. kUnknown: neither end is, or the packet
// died before that was known.
enum class TrafficDirection : std::uint8_t { kUnknown, kIngress, kEgress };

struct FlowEvent {
  // Addresses and ports at one place of the path; unspecified where the packet died before they were read.
  struct Tuple {
    IpAddress source, destination;
    L4Port source_port, destination_port;  // 0: the protocol has none
  };

  std::uint64_t time_ns = 0;  // of the worker's clock, CLOCK_BOOTTIME
  FlowVerdict verdict = FlowVerdict::kForwarded;
  std::uint8_t drop_reason = 0;  // kDropped: index into EngineCounters::drops
  TraceReason trace = TraceReason::kUnknown;
  TrafficDirection direction = TrafficDirection::kUnknown;
  Side from = Side::kLocal, to = Side::kLocal;  // `to` of forwarded packets
  IpProtocol protocol = IpProtocol::kHopByHop;  // kHopByHop where it was not read
  std::uint8_t tcp_flags = 0;
  std::uint8_t icmp_type = 0, icmp_code = 0;
  Tuple received;                                  // before translation
  Tuple translated;                                // after it; as `received` where there was none
  Identity source_identity, destination_identity;  // identity::kUnknown: not looked up
  ClusterId source_cluster, destination_cluster;   // kNoCluster: not looked up
  PeerId peer;                                     // the tunnel end it came from, or leaves to; kNoPeer: none
  Vni vni;                                         // as received
  ServiceId service;                               // kNoService: direct, or not known yet
  PolicyVerdict egress, ingress;
  std::uint32_t bytes = 0;  // of the IP packet; 0 where its header was not read
};
static_assert(std::is_trivially_copyable_v<FlowEvent>);

// Per verdict: events that control has received or will; those beyond the worker's budget; those that found the queue
// full. Their sum is what there was to tell.
struct FlowEventCount {
  std::uint64_t reported = 0, sampled_out = 0, lost = 0;
};

}  // namespace isthmus
