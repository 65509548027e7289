// The life of a packet: the stages in order, one file each, and the compile-time proof that all outer headers fit into
// the headroom.
//
// Each stage is called once per burst by the owning worker, inside a read section, with one snapshot for the whole
// burst. It handles only packets that are alive() and drops with Packet::drop(); it never frees, allocates, locks, logs
// or calls the kernel. It may use PathContext (context.h) and nothing else. The rare half of a stage stands beside it
// as
// *_slow.cc. [open], [inspect] and [seal] are the places of decryption, application policy and encryption.
#pragma once

#include "dataplane/encap/encap.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

struct PathContext;

// Of a device that receives the kernel's packets, too: what is not the fleet's goes back to it, here or where parse and
// forward find out (host.h).

// parse.cc: the headers, the flow key; for tunnel packets from the underlay first decap.h: the peer, the VNI
void parse(PathContext& context, Burst& burst) noexcept;
// lookup.cc: the connection of each packet, and its decision
void lookup(PathContext& context, Burst& burst) noexcept;
// forward.cc: packets with a valid decision: rewrite.h → encap.h → forward.h, one at a time; the rest is left undecided
void forward(PathContext& context, Burst& burst) noexcept;
// decide.cc: the undecided: the slow path (dataplane/slowpath) decides, then as in forward
void decide(PathContext& context, Burst& burst) noexcept;

// All stages in order, over frames that the burst's device has just received; then all but parse over the fragments
// that have waited for one of them (fragments.h). Afterwards the burst is not what it was.
void run_path(PathContext& context, Burst& burst) noexcept;

// All headers that can be put in front of a received frame.
inline constexpr std::uint32_t kWireGuardBytes = 80;  // outer IPv6, UDP, transport header and tag
static_assert(kFrameHeadroom >= encap::kIpv6Bytes -
                                    sizeof(net::Ethernet)  // tunnel; the received Ethernet header is reused
                                    + encap::Geneve::kMostDsrBytes + sizeof(net::Ipv6Fragment) + kWireGuardBytes);

}  // namespace isthmus
