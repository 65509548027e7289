// The life of a packet: the stages in order, one file each, and the compile-time proof that all outer headers fit into
// the headroom.
//
// Each stage is called once per burst by the owning worker, inside a read section, with one snapshot for the whole
// burst. It handles only packets that are alive() and drops with Packet::drop(); it never frees, allocates, locks, logs
// or calls the kernel. It may use PathContext (context.h) and nothing else.
#pragma once

#include "dataplane/encap/encap.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

struct PathContext;
struct SlowContext;

void parse(PathContext& context, Burst& burst) noexcept;   // parse.cc: the side, the headers, the flow key
void decap(PathContext& context, Burst& burst) noexcept;   // decap.cc: the peer, the VNI, the inner packet, its key
void lookup(PathContext& context, Burst& burst) noexcept;  // lookup.cc: the connection and its decision, if valid
void admit(SlowContext& context, Burst& burst) noexcept;
// send.cc, one packet at a time: rewrite.h (MTU, addresses, L4 ports, TTL, checksums) → encap.h (outer header) →
// neighbour.h (MAC addresses, transmit batch). Dropped packets are counted and their frames freed.
void send(PathContext& context, Burst& burst) noexcept;

// All stages in order.
void run_path(PathContext& context, Burst& burst) noexcept;

// All headers that can be put in front of a received frame.
inline constexpr std::uint32_t kWireGuardBytes = 80;  // outer IPv6, UDP, transport header and tag
static_assert(kFrameHeadroom >= encap::kIpv6Bytes -
                                    sizeof(net::Ethernet)  // tunnel; the received Ethernet header is reused
                                    + kWireGuardBytes);

}  // namespace isthmus
