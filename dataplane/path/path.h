// The life of a packet: the list of stages, in order, one file each, and the proof that every header fits in front.
//
// Each stage is called once per burst by the owning worker, inside a read section, with the snapshot that holds for the
// whole burst. It looks only at packets that are alive(); it drops by Packet::drop(), never frees, never allocates,
// locks, logs or calls the kernel. PathContext (context.h) is all it may touch.
#pragma once

#include "dataplane/encap/encap.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/frame.h"
#include "dataplane/path/packet.h"

namespace isthmus {

struct PathContext;

void parse(PathContext& context, Burst& burst) noexcept;  // parse.cc: the side it came from, the header it carries
void decap(PathContext& context, Burst& burst) noexcept;  // decap.cc: the peer, the VNI, the inner packet and its key
void track(PathContext& context, Burst& burst) noexcept;  // track.cc: the connection, if its decision still stands
void admit(PathContext& context, Burst& burst) noexcept;  // admit.cc: else vet → service → policy → route
// send.cc, a packet at a time: rewrite.h (MTU, addresses, L4 ports, TTL, checksums) → encap.h (outer header) →
// neighbour.h (MAC addresses, out of the device). The frames of dropped packets go back to the pool and are counted.
void send(PathContext& context, Burst& burst) noexcept;

// All of the above.
void run_path(PathContext& context, Burst& burst) noexcept;

// Every header that can ever stand in front of a received frame's first byte.
inline constexpr std::uint32_t kWireGuardBytes = 80;  // outer IPv6, UDP, transport header and tag
static_assert(kFrameHeadroom >= Encapsulation::kHeaderBytes - sizeof(net::Ethernet)  // tunnel, the Ethernet re-used
                                    + kWireGuardBytes);

}  // namespace isthmus
