// Output, shared by the stages and by packets that the gateway originates (ICMP errors, probes).
#pragma once

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus {

// Sends a frame that is complete but for its Ethernet addresses: to the device's batch, or to wait for the next hop's
// MAC address. Always takes ownership of the frame; one that cannot be sent is counted as a drop and freed.
void send_frame(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept;

// Puts the outer header for `peer` in front of the IP packet at `ip` inside `frame` and moves the frame's start.
// Returns the drop reason on failure: no such peer, no headroom, or longer than the underlay's MTU.
[[nodiscard]] std::optional<DropReason> push_tunnel(PathContext& context, Frame& frame, std::uint8_t* ip,
                                                    std::uint32_t ip_bytes, Family family, PeerId peer, Vni vni,
                                                    std::uint16_t entropy) noexcept;

// Once per round: sends the waiting frames whose next hop is resolved and drops those that have waited for a second.
void retry_waiting(PathContext& context) noexcept;

// Sends an ICMP error about a packet to its source, on the side it came from (RFC 1812 section 4.3, RFC 4443).
// Rate-limited by kind and source prefix, and never about an ICMP error. Does not change the packet.
void send_icmp_error(PathContext& context, const Packet& packet, IcmpError what, Bytes mtu = Bytes{0}) noexcept;

// Health probes inside the tunnel. handle_probe() answers a request, reports an answer to control, and drops anything
// else; a valid probe is consumed.
void handle_probe(PathContext& context, Packet& packet) noexcept;
void send_probe(PathContext& context, PeerId peer, std::uint32_t sequence) noexcept;

}  // namespace isthmus
